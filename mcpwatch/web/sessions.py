"""Who calls and what they may do; sessions of browsers: a random cookie for a token that was shown once, and the word that
every form of the session carries.

Kept in memory alone and bounded; a restart of the watchdog logs everybody out. The token itself is never kept.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

from mcpwatch.model.time import Instant

Role = Literal["public", "read", "operate"]
RANK: dict[Role, int] = {"public": 0, "read": 1, "operate": 2}


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller: `by` is written into facts; `csrf` is what a form of this session must carry; empty where none is needed."""

    role: Role
    by: str = ""
    csrf: str = ""
    remote: bool = True
    """Whether it came over TCP. The control socket belongs to the owner of the watchdog."""

    def may(self, role: Role) -> bool:
        """Whether this caller has at least that role."""
        return RANK[self.role] >= RANK[role]


OWNER = Caller("operate", remote=False)


def caller_of(scope: Any) -> Caller:
    """The caller that the guard has found; without a guard (the control socket) the owner."""
    return scope.get("mcpwatch.caller", OWNER)


COOKIE = "mcpwatch_session"
LASTS = 12 * 3600.0
"""Seconds a session lasts."""
SESSIONS = 512
"""Sessions kept; the oldest ends first."""


@dataclass(frozen=True, slots=True)
class _Session:
    caller: Caller
    until: Instant


class LoginSessions:
    """All sessions of one watchdog."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Session] = OrderedDict()

    def begin(self, role: Role, by: str, now: Instant) -> str:
        """A new session; its cookie."""
        cookie = secrets.token_urlsafe(32)
        self._open[cookie] = _Session(Caller(role, by, csrf=secrets.token_urlsafe(24)), Instant(now + LASTS))
        while len(self._open) > SESSIONS:
            self._open.popitem(last=False)
        return cookie

    def find(self, cookie: str, now: Instant) -> Caller | None:
        """Whose cookie that is."""
        found = self._open.get(cookie)
        if found is None or found.until < now:
            self._open.pop(cookie, None)
            return None
        return found.caller

    def end(self, cookie: str) -> None:
        """Log out."""
        self._open.pop(cookie, None)

    def keep(self, names: frozenset[str]) -> None:
        """Log out everybody whose token is not there any more."""
        for cookie in [cookie for cookie, session in self._open.items() if session.caller.by not in names]:
            del self._open[cookie]


def genuine(caller: Caller, word: str) -> bool:
    """Whether a form of this session was filled in by its own user."""
    return bool(caller.csrf) and hmac.compare_digest(caller.csrf.encode(), word.encode("utf-8", "replace"))
