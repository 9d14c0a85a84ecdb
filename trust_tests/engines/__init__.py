"""Engines put questions to a model; the store keeps every answer."""
