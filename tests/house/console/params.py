"""The blocks as parameters of a test: those on the same fleet after one another, each with the parts that it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.house.console.blocks import blocks
from tests.house.console.settings import NOT_RUN, setting_of

TUTORIAL = "docs/tutorial.md"
"""One story from its first line to its last: it has a test of its own."""


def params(wanted: Callable[[str], bool]) -> list[Any]:
    """Every block of the wanted pages in which something can be run."""
    found = [block for block in blocks() if wanted(block.page) and block.page != TUTORIAL]
    found = [block for block in found if any(step.command not in NOT_RUN for step in block.steps)]
    found.sort(key=lambda block: setting_of(block).fleet.name)
    return [
        pytest.param(block, id=block.name, marks=[pytest.mark.needs(part) for part in setting_of(block).needs]) for block in found
    ]
