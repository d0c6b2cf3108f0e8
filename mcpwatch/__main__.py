"""`python -m mcpwatch` and the console script: hands over to the command line, importing nothing else."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from mcpwatch.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
