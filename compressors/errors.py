"""Errors whose message is one line for the user: what is wrong, where, and how to mend it."""


class CompressionError(Exception):
    """A model, recipe, calibration text or checkpoint that cannot be used."""


class RecipeError(CompressionError, ValueError):
    """A recipe that does not say what to do."""


class ModelError(CompressionError):
    """A model that cannot be found, read or used."""
