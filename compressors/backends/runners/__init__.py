"""Scripts that run inside a library's own process, copied into a job's folder and started as `-m runners.NAME`.

They get everything from the job's folder and import nothing of this project but `job`: the environment of an
isolated library has no `compressors`, another transformers, and perhaps another Python.
"""
