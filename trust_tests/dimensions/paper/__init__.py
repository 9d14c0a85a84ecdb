"""Protocol `paper`: each dimension as the fork behind \"Decoding Compressed Trust\" asks and scores it, flaws included."""
