"""Protocol `paper`: each dimension as the code behind "Decoding Compressed Trust" asks and scores it, flaws included."""
