"""What every test gets: the anyio backend, and `needs(part)` that skips here and fails where MCPWATCH_REQUIRE names the part."""

from __future__ import annotations

import os

import pytest

from tests.parts import ASKED_FOR, missing


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A part that is absent skips its tests, unless MCPWATCH_REQUIRE says it must be there.

    Comma-separated part names, or `all` but those that are only built when asked for, with `-part` for one that cannot be had here.
    """
    required = {part.strip() for part in os.environ.get("MCPWATCH_REQUIRE", "").split(",") if part.strip()}
    for item in items:
        for marker in item.iter_markers("needs"):
            for part in marker.args:
                reason = missing(str(part))
                every = "all" in required and f"-{part}" not in required and part not in ASKED_FOR
                must = str(part) in required or every
                if reason and not must:
                    item.add_marker(pytest.mark.skip(reason=f"{part}: {reason}"))
