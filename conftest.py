"""Loads the plugin in a checkout; an installed copy is loaded by its entry point of the same name."""

pytest_plugins = ["trust_tests.plugin"]
