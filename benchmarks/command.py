"""The command line of a benchmark: its module's own words are its help."""

from __future__ import annotations

import argparse


def parser(name: str, words: str | None) -> argparse.ArgumentParser:
    """For `python -m benchmarks.NAME`, with the module's docstring."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=words, formatter_class=argparse.RawDescriptionHelpFormatter
    )
