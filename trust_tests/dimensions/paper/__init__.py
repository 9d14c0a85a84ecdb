"""Protocol `paper`: each dimension as the code of "Decoding Compressed Trust" asks and scores it, flaws included."""
