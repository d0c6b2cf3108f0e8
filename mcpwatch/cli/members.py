"""`start`, `stop`, `restart`, `down`, `reload`, `upgrade-in-place`: commands to the daemon, and waiting until they are done."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.cli.out import say, say_answer
from mcpwatch.model.errors import McpwatchError, NoDaemon, UsageError, suggest
from mcpwatch.model.runtime import traits_of

WAIT = 120.0
"""Seconds to wait for a member to come to rest or to run."""

PAUSE = 0.1


def command(verb: str, names: Sequence[str], *, every: bool, as_json: bool, wait: bool) -> int:
    """Send a command for each name (with `every`: for all members, the proxy last) and follow them to where they were sent.

    Exits 1 when one of them did not get there. With one name the JSON is an object, else a list.
    """
    status: dict[str, Any] = call("GET", "/status") if every or len(names) > 1 else {}
    known: list[str] = [member["name"] for member in status["members"]] if status else list(names)
    if every and names:
        raise UsageError("give names or --all, not both")
    if not every and not names:
        raise UsageError("name a member, or say --all")
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise UsageError(f"no member '{unknown}'{suggest(unknown, known)}; nothing was done")
    wanted = list(dict.fromkeys(names)) if names else (known if verb != "stop" else known[::-1])
    inside = _hosted(status, wanted) if verb == "restart" else {}
    down = [name for name, member in inside.items() if member["phase"] not in ("starting", "running")]
    shown = [_one(verb, name, wait=wait) for name in wanted if name not in inside]
    shown += [_one("start", name, wait=wait) for name in down]
    back = [member for name, member in inside.items() if name not in down]
    shown += [_follow(verb, member["name"], member, wait=wait, after=member["generation"]) for member in back]
    say_answer(shown[0] if len(names) == 1 else shown, map(_line, shown), as_json=as_json)
    reached = all(member["phase"] == ("stopped" if verb == "stop" else "running") for member in shown)
    return exits.OK if reached or not wait else exits.UNHEALTHY


def _line(member: dict[str, Any]) -> str:
    why = f" ({member['last_exit']})" if member["phase"] in ("failed", "backoff") and member["last_exit"] else ""
    return f"{member['name']}: {member['phase']}, generation {member['generation']}{why}"


def _hosted(status: dict[str, Any], wanted: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Members that live inside a proxy which is restarted too: they come back with it, and are not restarted once more.

    One that is down is started when the proxy is back: before that it would be started by both.
    """
    if status.get("proxy") not in wanted:
        return {}
    inside = (member for member in status["members"] if traits_of(member["runtime"]).hosted)
    return {member["name"]: member for member in inside if member["name"] in wanted}


def _one(verb: str, name: str, *, wait: bool) -> dict[str, Any]:
    return _follow(verb, name, call("POST", f"/members/{quote(name, safe='')}/{verb}"), wait=wait)


def _follow(verb: str, name: str, shown: dict[str, Any], *, wait: bool, after: int = -1) -> dict[str, Any]:
    """The member when it is where it was sent, in a generation `after` that, or when it took too long."""
    ends = ("stopped", "failed") if verb == "stop" else ("running", "failed")
    deadline = time.monotonic() + (WAIT if wait else 0.0)
    while (shown["phase"] not in ends or shown["generation"] <= after) and time.monotonic() < deadline:
        time.sleep(PAUSE)
        members: list[dict[str, Any]] = call("GET", "/status")["members"]
        shown = next((member for member in members if member["name"] == name), shown)
    return shown


def take_down(*, leave: bool, timeout: float, as_json: bool) -> int:
    """Stop the daemon and wait until its process is gone."""
    pid = int(call("POST", "/down", {"leave": leave})["pid"])
    if not (_silent(timeout) if ControlSettings.url else _gone(pid, timeout)):
        raise McpwatchError(f"the watchdog (pid {pid}) has not ended after {timeout:g}s; look at 'mcpwatch status'")
    line = "mcpwatch: stopped" + (", members left running" if leave else "")
    say_answer({"pid": pid, "left_members": leave}, [line], as_json=as_json)
    return exits.OK


def _silent(timeout: float) -> bool:
    """Whether a watchdog on another machine stops answering within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            call("GET", "/whoami", timeout=2.0)
        except NoDaemon:
            return True
        except McpwatchError:
            pass
        time.sleep(PAUSE)
    return False


def _gone(pid: int, timeout: float) -> bool:
    """Whether the process ended (or answers no more) within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        try:
            call("GET", "/status", timeout=2.0)
        except NoDaemon:
            if _zombie(pid):
                return True
        except McpwatchError:
            pass
        time.sleep(PAUSE)
    return False


def _zombie(pid: int) -> bool:
    """Whether the process has ended and only waits for its parent to notice."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def reload(*, as_json: bool) -> int:
    """Ask the daemon to load its configuration again."""
    changes: dict[str, list[str]] = call("POST", "/reload")
    told = [f"{kind}: {', '.join(names)}" for kind, names in changes.items() if names]
    say_answer(changes, ["; ".join(told) or "nothing changed"], as_json=as_json)
    return exits.OK


def upgrade() -> int:
    """Ask the daemon to become the code installed now, and wait until it answers again. Raises `McpwatchError` if it refuses."""
    before = call("GET", "/status")["daemon"]
    call("POST", "/upgrade", timeout=WAIT)
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        time.sleep(PAUSE)
        try:
            after = call("GET", "/status", timeout=5.0)["daemon"]
        except McpwatchError:
            continue
        if after["started_at"] != before["started_at"]:
            say(f"mcpwatch: {before['version']} -> {after['version']}, pid {after['pid']}, members untouched")
            return exits.OK
    raise McpwatchError("the watchdog does not answer after the upgrade; its members run on, start it with 'mcpwatch up'")
