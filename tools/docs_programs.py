"""The page of minimum versions, from the table that `doctor`, `up` and `export` use."""

from __future__ import annotations

from collections.abc import Mapping

from mcpwatch.foreign.programs import PROGRAMS

PAGE = "docs/reference/minimum-versions.md"
_HEAD = """\
# Minimum versions of foreign programs

`mcpwatch doctor` asks each program that the fleet uses and names what is too old. `mcpwatch up` refuses a fleet whose proxy is
too old, and warns of the rest; `mcpwatch export` warns of a Compose or Podman of this machine. A program that tells no version is
not called old.

| program | oldest | what is missing before |
|---|---|---|
"""


def pages() -> Mapping[str, str]:
    """The page by its path."""
    rows = "".join(f"| {one.name}{', for ' + one.use if one.use else ''} | {one.oldest} | {one.lacks} |\n" for one in PROGRAMS)
    return {PAGE: _HEAD + rows}
