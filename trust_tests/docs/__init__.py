"""The documentation: pages written by hand beside this file, and what makes those of the dimensions."""
