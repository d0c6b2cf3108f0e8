"""Proving an edit on the running fleet: reload, wait for the route (or for its end), for the clients' files; how long starts took.

All through the daemon's API; without a daemon on this file there is nothing to prove, and that is told.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from mcpwatch.cli.control import call
from mcpwatch.model.errors import McpwatchError, NoDaemon
from mcpwatch.model.runtime import traits_of

PROOF_WAIT = 120.0
"""Seconds that the fleet is given by default until the new route is proved."""
CLIENTS_WAIT = 15.0
"""Seconds that clients' files are waited for: `hold_up` is 5 s unless told otherwise."""

_PAUSE = 0.05
_UNDECIDED = 3.0
_DIAGNOSED = 10.0


class ProofFailed(McpwatchError):
    """The edit did not come to life as meant; it was taken back."""

    exit_code = 1


def daemon_on(file: Path) -> dict[str, Any] | None:
    """The status of the watchdog that runs this file, or `None`: none runs, or it runs another file."""
    try:
        status: dict[str, Any] = call("GET", "/status", timeout=10.0)
    except NoDaemon:
        return None
    try:
        same = Path(status["daemon"]["config"]).samefile(file)
    except OSError:
        same = False
    return status if same else None


def reload() -> None:
    """Make the daemon load its file. Raises `ConfigError` when it refuses."""
    call("POST", "/reload")


def route_proved(name: str, healthy_before: frozenset[str], wait: float) -> dict[str, Any]:
    """Wait until the route of a member is proved, and every route healthy before is so again. The route as shown.

    Raises `ProofFailed` with the cause.
    """
    deadline, diagnosed = time.monotonic() + wait, 0.0
    route: dict[str, Any] | None = None
    while time.monotonic() < deadline:
        status: dict[str, Any] = call("GET", "/status")
        member = one_of(status["members"], "name", name)
        route = one_of(status["routes"], "member", name)
        if member is None:
            time.sleep(_PAUSE)
            continue
        others = {one["name"]: one["verdict"] for one in status["routes"] if one["name"] in healthy_before}
        well = member["verdict"] in ("healthy", "unknown") and member["phase"] == "running"
        if (route["verdict"] in ("healthy", "degraded") if route else well) and all(v == "healthy" for v in others.values()):
            _probed(name)
            return route or {"name": "", "url": "", "tools": None, "tokens": None}
        speaks = [
            found for found in status["diagnoses"] if name in (found["subject"], *found.get("members", ()), *found["affects"])
        ]
        diagnosed = (diagnosed or time.monotonic()) if speaks and member["phase"] != "starting" else 0.0
        if member["phase"] == "failed" or (diagnosed and time.monotonic() - diagnosed > _DIAGNOSED):
            raise ProofFailed(f"{name}: {speaks[0]['text'] if speaks else member['last_exit'] or member['reason']}")
        time.sleep(_PAUSE)
    told = f": {route['symptom']}: {route['message']}" if route and route["symptom"] else ""
    raise ProofFailed(f"{name}: not proved through the proxy within {wait:g}s{told}")


def _probed(name: str) -> None:
    """Once more, now and by every check of the route."""
    for result in call("POST", "/probe", {"name": name, "vantage": "route"}):
        if result["outcome"] == "failure":
            raise ProofFailed(f"{name}: check {result['check']}: {result['symptom']}: {result['message']}")


def route_gone(name: str, url: str, wait: float) -> None:
    """Wait until the member is not of the fleet any more and its URL answers 404 (or nothing). Raises `ProofFailed`."""
    deadline = time.monotonic() + wait
    said = "the fleet still holds it"
    while time.monotonic() < deadline:
        if one_of(call("GET", "/status")["members"], "name", name) is None:
            said = _answers(url) if url else ""
            if not said:
                return
        time.sleep(_PAUSE)
    raise ProofFailed(f"{name}: not gone within {wait:g}s: {said}")


def _answers(url: str) -> str:
    """What a URL that should be gone says, or the empty string when it is."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": "text/event-stream"}), timeout=5) as reply:  # noqa: S310
            return f"{url} answers {reply.status}"
    except urllib.error.HTTPError as error:
        return "" if error.code in (401, 403, 404, 410) else f"{url} answers {error.code}"
    except OSError:
        return ""


def member_down(name: str, wait: float) -> None:
    """Wait until a member that is switched off has stopped. Raises `ProofFailed`."""
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        member = one_of(call("GET", "/status")["members"], "name", name)
        if member is None or member["phase"] == "stopped" or (member["want"] == "down" and traits_of(member["runtime"]).watched):
            return
        time.sleep(_PAUSE)
    raise ProofFailed(f"{name}: still not stopped after {wait:g}s")


def clients_follow(route: str, *, listed: bool, wait: float = CLIENTS_WAIT) -> tuple[list[str], list[str]]:
    """Wait until every client that is meant to have a route lists it (or drops it): `(followed, not yet)`, as `kind (path)`."""
    began = time.monotonic()
    while True:
        rows: list[dict[str, Any]] = call("GET", "/clients")
        names = {f"{row['client']} ({row['path']})": route in row["listed"] for row in rows if not row["paused"]}
        if not names:
            return [], []
        waiting = {f"{row['client']} ({row['path']})" for row in rows if route in row.get("waiting", {})}
        followed = [name for name, there in names.items() if there == listed and name not in waiting]
        late = [name for name, there in names.items() if there != listed or name in waiting]
        if listed and not waiting and (followed or time.monotonic() - began > _UNDECIDED):
            return followed, []  # those that do not list it are not meant to have it
        if not late or time.monotonic() - began > wait:
            return followed, late
        time.sleep(_PAUSE)


def one_of(items: list[dict[str, Any]], key: str, value: str) -> dict[str, Any] | None:
    """The first of `items` that holds `value` under `key`, or `None`."""
    return next((item for item in items if item[key] == value), None)


CUT_OFF = "not ready within"
"""How the watchdog begins to say that a start was ended because its grace was over."""


def durations(facts: Iterable[Mapping[str, object]]) -> Iterator[tuple[float, bool]]:
    """Seconds from each start to its first proof; with `True`, to where it was cut off, so that it would have taken longer."""
    began: dict[object, float] = {}
    for fact in facts:
        generation, at = fact.get("generation"), cast("float", fact.get("at", 0.0))
        if fact["fact"] == "member_started" and not fact.get("adopted"):
            began[generation] = at
        elif fact["fact"] == "member_changed" and fact.get("field") == "phase" and fact.get("old") == "starting":
            cut = str(fact.get("reason")).startswith(CUT_OFF)
            if generation in began and (cut or fact.get("new") == "running"):
                yield at - began.pop(generation), cut
