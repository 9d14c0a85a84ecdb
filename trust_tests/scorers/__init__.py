"""Text → judgement: how toxic it is, and whether it declines to answer."""
