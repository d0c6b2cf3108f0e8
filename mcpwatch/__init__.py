"""mcpwatch keeps an MCP fleet alive and honest. This package file holds the version and nothing else."""

__version__ = "0.1.0"
