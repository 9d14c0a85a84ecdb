"""Readers of the benchmarks' files, one module per dimension: files → checked, typed rows."""
