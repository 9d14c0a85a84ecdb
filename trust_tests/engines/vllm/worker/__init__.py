"""What runs in vLLM's own process, with vLLM's own Python; it imports nothing of this package."""
