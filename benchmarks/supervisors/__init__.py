"""mcpwatch beside other supervisors: `python -m benchmarks.supervisors`."""
