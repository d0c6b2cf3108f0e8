"""What a proxy reads, and what looking at it and at its log shows. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A user's own file of a proxy, read and never written: what it says goes into the proxy's file, beside what the plan says.

    `expand` says that its program fills in `$VAR`; `yields` are the keys of ours that give way to the user's.
    """

    path: Path
    expand: bool = False
    yields: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A file that a proxy needs: written atomically with `mode` before the proxy starts or reloads, over what `kept` says."""

    path: Path
    text: str
    mode: int = 0o600
    kept: KeptFile | None = None


LogMeaning = Literal[
    "connecting", "mounting", "connected", "failed", "lost", "ready", "bad_config", "exhausted", "polluted", "unasked"
]


@dataclass(frozen=True, slots=True)
class LogHint:
    """What one log line of a proxy means for one of its members (or for the proxy itself when `member` is empty).

    `mounting`: it starts one server after the other, and is at this one.
    `exhausted`: the proxy has no file descriptor left. `polluted`: a server wrote a line to its stdout that is no message.
    `unasked`: it answered what the proxy had not asked.
    """

    member: str
    meaning: LogMeaning
    text: str = ""


@dataclass(frozen=True, slots=True)
class ProxyObservation:
    """What looking at a running proxy showed: its `-help`, its answer to `ProxyKind.asks`, a line of its log. Empty: not seen."""

    usage: str = ""
    status: int = 0
    body: str = ""
    line: str = ""
