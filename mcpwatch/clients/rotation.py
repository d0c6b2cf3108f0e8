"""Changing the token without a refused request: what is in the env file when, and when the old token may go. Pure.

    before      TOKEN=old                      accepted: old
    admit       TOKEN=old  TOKEN_NEXT=new      accepted: old, new      nobody uses new yet
    switch      TOKEN=new  TOKEN_OLD=old       accepted: new, old      clients are rewritten, callers move over
    drop        TOKEN=new                      accepted: new           once nobody uses old, or the wait is over

The env file is the only place a token is ever in; the note of a rotation holds none. A daemon that is killed at any point finds
both in the env file again, and goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from mcpwatch.clients.formats.path import members
from mcpwatch.model.time import WallTime, iso

QUIET = 600.0
"""Seconds without a call with the old token after which nobody is taken to use it."""
_LINE = re.compile(
    r"(?P<head>[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=)(?P<value>[^\r\n]*)(?P<end>\r?\n|\Z)"
)


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation under way. Times are wall time, for they outlive the daemon."""

    variable: str
    env_file: str
    phase: Literal["admitting", "waiting"]
    started_at: WallTime
    deadline: WallTime

    @property
    def following(self) -> str:
        """The variable that holds the token to come."""
        return f"{self.variable}_NEXT"

    @property
    def former(self) -> str:
        """The variable that holds the token that goes."""
        return f"{self.variable}_OLD"


def dumps(rotation: Rotation) -> str:
    """The note of a rotation; it holds no token."""
    return json.dumps(asdict(rotation))


def loads(text: str) -> Rotation | None:
    """The inverse of `dumps`, or `None` for what is no note."""
    try:
        body = members(json.loads(text))
        phase: Literal["admitting", "waiting"] = "waiting" if body["phase"] == "waiting" else "admitting"
        at, until = WallTime(float(body["started_at"])), WallTime(float(body["deadline"]))
        return Rotation(str(body["variable"]), str(body["env_file"]), phase, at, until)
    except (ValueError, KeyError, TypeError):
        return None


def value(text: str, name: str) -> str | None:
    """The value of a variable in an env file; the last one counts, quotes are taken off."""
    found = [match["value"].strip() for match in _lines(text) if match["name"] == name]
    if not found:
        return None
    last = found[-1]
    return last[1:-1] if len(last) > 1 and last[0] == last[-1] and last[0] in "'\"" else last


def edited(text: str, changes: Mapping[str, str | None]) -> str:
    """The env file with these variables set (`None` takes one out); every other byte stays."""
    eol = "\r\n" if "\r\n" in text else "\n"
    for name, new in changes.items():
        lines = [match for match in _lines(text) if match["name"] == name]
        for match in reversed(lines):
            keep = "" if new is None else f"{match['head']}{new}{match['end']}"
            text = text[: match.start()] + keep + text[match.end() :]
        if not lines and new is not None:
            text += ("" if not text or text.endswith("\n") else eol) + f"{name}={new}{eol}"
    return text


def may_drop(rotation: Rotation, now: WallTime, last_use: WallTime | None, *, known: bool) -> str:
    """Why the old token may go now, or the empty string. `last_use` is that of the old token, if `known` at all."""
    if rotation.phase != "waiting":
        return ""
    if now >= rotation.deadline:
        return f"the wait was over at {iso(rotation.deadline)}"
    quiet_since = max(rotation.started_at, last_use or rotation.started_at)
    if known and now - quiet_since >= QUIET:
        return "nobody used the old token any more"
    return ""


def _lines(text: str) -> list[re.Match[str]]:
    found: list[re.Match[str]] = []
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        match = _LINE.match(text, start)
        if match:
            found.append(match)
        start = len(text) if end < 0 else end + 1
    return found
