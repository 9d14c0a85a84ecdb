"""From stored results to pages people read. Pure: nothing here needs a model, a GPU or a network."""
