"""Many models and recipes in one go: `python -m trust_tests sweep SPEC.yaml`, on this machine or on a Ray cluster."""
