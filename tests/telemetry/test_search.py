"""Log lines are found again in Loki by LogQL, and what it says against a query reaches the one who asked."""

from __future__ import annotations

import json
import time
from collections.abc import Generator

import pytest
from pydantic import SecretStr

from mcpwatch.model.errors import UsageError
from mcpwatch.telemetry.loki import Push, search
from mcpwatch.telemetry.spec import LokiAuth, LokiSpec
from tests.fakes.loki import FakeLoki


@pytest.fixture
def loki() -> Generator[FakeLoki]:
    made = FakeLoki()
    try:
        yield made
    finally:
        made.close()


def test_lines_are_found_newest_first_and_a_refusal_is_told(loki: FakeLoki) -> None:
    loki.bearer = "tok-of-loki"
    spec = LokiSpec(url=loki.url, auth=LokiAuth(bearer=SecretStr("tok-of-loki")))
    now = time.time_ns()
    streams = [
        {"stream": {"member": name}, "values": [[str(now - age * 10**9), f"{name} {age}"] for age in (30, 20, 10)]}
        for name in ("a", "b")
    ]
    push = Push(spec)
    assert push(json.dumps({"streams": streams}).encode()).status == 204
    push.close()
    since = now / 1e9 - 25
    assert [text for _, _, text in search(spec, '{member="a"}', since, 10)] == ["a 10", "a 20"]
    assert [text for _, _, text in search(spec, '{member="a"} |= "20"', since, 10)] == ["a 20"]
    assert [labels for _, labels, _ in search(spec, '{member="b"}', since, 1)] == [{"member": "b"}]
    with pytest.raises(UsageError, match="Loki answers 400: parse error"):
        search(spec, "nonsense", since, 10)
    with pytest.raises(UsageError, match="Loki answers 401"):
        search(LokiSpec(url=loki.url), '{member="a"}', since, 10)


def test_a_loki_that_is_away_is_told_without_its_address() -> None:
    with pytest.raises(UsageError, match="Loki cannot be asked") as caught:
        search(LokiSpec(url="http://127.0.0.1:9/loki/api/v1/push"), '{a="b"}', 0.0, 1)
    assert "127.0.0.1" not in str(caught.value)
