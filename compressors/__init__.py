"""Dense checkpoint in, compressed checkpoint out, with the proof that it was compressed.

Importing this package, or `compressors.recipe`, imports neither torch nor transformers.
"""
