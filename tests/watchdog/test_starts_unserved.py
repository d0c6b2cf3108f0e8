"""Since when a proxy runs that had its try of a member: it never served the member, which has not changed since."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.model.probe import Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.starts import unserved_since
from tests.watchdog.scenes import FETCH, OK, PROXY, bad, scene

NEVER = replace(FETCH, started_at=Instant(40.0), changed_at=Instant(41.0), through=bad(Symptom.NOT_MOUNTED))
"""It is well since 20 s, and the proxy began at 50 s."""


@pytest.mark.parametrize(
    ("member", "proxy", "since"),
    [
        ({}, {}, 50.0),
        ({"started_at": None, "changed_at": None, "direct": None}, {}, 50.0),
        ({"started_at": Instant(50.0)}, {}, None),
        ({"started_at": Instant(60.0)}, {}, None),
        ({"changed_at": Instant(60.0)}, {}, None),
        ({"direct": replace(OK, since=Instant(60.0))}, {}, None),
        ({"direct": replace(OK, since=None)}, {}, 50.0),
        ({"through": replace(bad(Symptom.NOT_MOUNTED), succeeded=True)}, {}, None),
        ({"through": None}, {}, None),
        ({}, {"started_at": None}, None),
        ({}, {"name": "another"}, None),
    ],
)
def test_a_proxy_had_its_try_of_what_was_there_before_it_and_was_never_served(
    member: dict[str, Any], proxy: dict[str, Any], since: float | None
) -> None:
    tried = replace(NEVER, **member)
    assert unserved_since(scene(tried, replace(PROXY, **proxy)), tried) == since
