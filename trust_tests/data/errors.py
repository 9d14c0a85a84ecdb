"""What is wrong with items' raw material."""


class DataError(ValueError):
    """A data file that is absent or cannot be used; the message is one line for the user: what, where, how to mend."""
