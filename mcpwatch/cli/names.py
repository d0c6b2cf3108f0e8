"""Names of members on the command line, where none of them and `--all` both mean the whole fleet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from mcpwatch.model.errors import UsageError

WholeOption = Annotated[bool, typer.Option("--all", help="Every member, which is meant without names too.")]


def some(names: Sequence[str] | None, *, whole: bool) -> Sequence[str]:
    """The names that were given; none stands for all. Raises `UsageError` for names beside `--all`."""
    if names and whole:
        raise UsageError("give names or --all, not both")
    return names or ()
