"""From two sides' outcomes to a verdict. Pure: no model, no GPU, no network, no torch."""
