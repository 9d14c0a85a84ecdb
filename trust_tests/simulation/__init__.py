"""How often the gate is wrong: its own false-alarm and miss rates, from made-up answers with a known truth. Pure."""
