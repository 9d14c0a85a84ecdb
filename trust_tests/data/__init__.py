"""Where items come from: the probes and prompt strings shipped with the package."""
