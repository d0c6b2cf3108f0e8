"""What a check costs: `python -m benchmarks.prober`."""
