"""Measurements, each one command: `python -m benchmarks.NAME`."""
