"""The trust regression gate for compressed language models.

Nothing is imported here: pytest loads this package in every environment it is installed in.
"""
