"""Durations are read the same way by every option, and the first line of the status names what the fleet is doing."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from mcpwatch.cli.main import app
from mcpwatch.cli.since import positive_span, span
from mcpwatch.cli.status import render
from mcpwatch.model.errors import UsageError
from mcpwatch.web.words import fleet_state


def member(name: str, phase: str, verdict: str = "unknown", **more: Any) -> dict[str, Any]:
    """A member of the status document."""
    known = {
        "want": "up",
        "kind": "server",
        "runtime": "process",
        "generation": 1,
        "restarts": 0,
        "pid": None,
        "cpu": 0.0,
        "rss": 0,
    }
    usage = {"usage": {"container": None}, "last_exit": "", "reason": "", "retry_at": None, "started_at": None}
    return {"name": name, "phase": phase, "verdict": verdict, **known, **usage, **more}


def document(*members: dict[str, Any], healthy: bool = False, routes: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """A status document."""
    daemon = {"version": "1", "pid": 7, "started_at": 0.0}
    return {"at": 1.0, "daemon": daemon, "members": list(members), "routes": list(routes), "diagnoses": [], "healthy": healthy}


@pytest.mark.parametrize(
    ("members", "healthy", "word"),
    [
        ((("a", "starting"), ("proxy", "stopped")), False, "starting"),
        ((("a", "running"), ("proxy", "starting")), False, "starting"),
        ((("a", "running", "healthy"),), True, "healthy"),
        ((("a", "running", "unhealthy"), ("b", "starting")), False, "unhealthy"),
        ((("a", "backoff"), ("b", "starting")), False, "unhealthy"),
        ((("a", "running", "degraded"), ("b", "running", "healthy")), False, "degraded"),
        ((("a", "running", "degraded"), ("b", "running", "unknown")), False, "starting"),
        ((("a", "running", "degraded"), ("b", "starting", "healthy")), False, "starting"),
        ((("a", "stopping"), ("b", "stopped")), True, "stopping"),
        ((("a", "stopped"), ("b", "stopped")), True, "stopped"),
    ],
)
def test_the_state_of_the_fleet_is_one_word(members: tuple[tuple[str, ...], ...], healthy: bool, word: str) -> None:
    assert fleet_state(document(*(member(*one) for one in members), healthy=healthy)) == word


def test_a_proxy_that_waits_for_a_member_says_for_which() -> None:
    shown = document(member("slow", "starting"), member("gate", "stopped", generation=0)) | {"proxy": "gate"}
    assert "gate waits for slow to become ready (or for the end of their start_grace)" in render(shown, colour=False)


@pytest.mark.parametrize(("text", "seconds"), [("2m", 120.0), ("1m30s", 90.0), ("250ms", 0.25), ("5", 5.0), (7.0, 7.0)])
def test_a_duration_is_read_the_same_way_everywhere(text: str | float, seconds: float) -> None:
    assert span(text) == positive_span(text) == seconds


def test_no_duration_is_refused_by_an_option_that_waits() -> None:
    with pytest.raises(UsageError, match="more than zero"):
        positive_span("0s")


@pytest.mark.parametrize(
    "words", [("drill", "time", "--timeout", "2m"), ("down", "--timeout", "1m30s"), ("status", "--interval", "500ms", "--json")]
)
def test_every_option_of_a_duration_takes_a_unit(words: tuple[str, ...], tmp_path: Any) -> None:
    done = CliRunner(env={"MCPWATCH_STATE_DIR": str(tmp_path)}).invoke(app, list(words))
    assert "not a valid" not in done.output
    assert done.exit_code == 4 or type(done.exception).__name__ == "NoDaemon"
