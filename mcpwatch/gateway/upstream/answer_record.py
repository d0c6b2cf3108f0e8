"""What the clients of one member got lately: proof that it lives which no check gives, and asks nobody for; and its counts.

A member that serves one call at a time answers no check while clients stand in its queue; who was answered since that check began
proves that the queue moves. Checks of the watchdog, handshakes and pings are no proof: a member can be well for these alone. Must
not know links, sessions or what is concluded.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mcpwatch.gateway.protocol.call import Call

WINDOW = 60.0
"""Seconds that count as lately."""
KEPT = 1000
"""Answers that are counted at most."""
NO_WORK = frozenset({"initialize", "ping", "server/discover"})
"""Methods that a member may answer while it can do nothing else."""


@dataclass(slots=True)
class AnswerRecord:
    """Of one member, all its upstreams together, since a process of it ended last. Moments are monotonic seconds."""

    _answers: deque[float] = field(default_factory=lambda: deque[float](maxlen=KEPT))
    _tool_answer: float | None = None
    _progress: float | None = None
    _given_up: float | None = None

    def answered(self, call: Call) -> None:
        """The member answered this request; one that its client gave up shows as well that it goes on."""
        if _counts(call):
            self.note(tool=call.method == "tools/call")

    def note(self, *, tool: bool) -> None:
        """It answered a client. `tool`: a tool call."""
        now = time.monotonic()
        self._answers.append(now)
        self._tool_answer = now if tool else self._tool_answer
        self._given_up = None

    def progressed(self, call: Call) -> None:
        """It told how far it is with a client's request."""
        if _counts(call):
            self._progress = time.monotonic()

    def gave_up(self, call: Call) -> None:
        """A client waits no longer for this request, to which nothing came."""
        if _counts(call) and call.method:
            self._given_up = min(call.began, self._given_up or call.began)

    def forget(self) -> None:
        """The incarnation is over: what it did proves nothing of the next."""
        self._answers.clear()
        self._tool_answer = self._progress = self._given_up = None

    def show(self, calls: Sequence[Call] = (), *, asks: bool = False) -> dict[str, Any]:
        """As the admin API shows it, in seconds before now; with the calls of clients that are under way, and whether the member
        waits for what it asked one of them: so it shows that it is at work.
        """
        now = time.monotonic()
        left = [*([] if self._given_up is None else [self._given_up]), *(call.began for call in calls if not call.attended)]
        moments = {
            "oldest_call": min((call.began for call in calls if call.attended), default=None),
            "last_answer": self._answers[-1] if self._answers else None,
            "last_tool_answer": self._tool_answer,
            "last_progress": now if asks else self._progress,
            "given_up": min(left, default=None),
        }
        ages = {name: None if at is None else round(now - at, 3) for name, at in moments.items()}
        return {"answers": sum(now - at < WINDOW for at in self._answers), **ages}


def _counts(call: Call) -> bool:
    """Whether it is a client's, and work."""
    return call.began > 0.0 and not call.peer.checking and call.method not in NO_WORK


@dataclass(slots=True)
class Counts:
    """Numbers that only grow, of all upstreams of one member together.

    They outlive the upstreams that count, and the member too when a reload takes it away and brings it back, because a counter that
    goes back is read as a restart of the gateway.
    """

    restarts: int = 0
    """Starts after an upstream's first one."""
    requests: int = 0
    """Requests sent to the member."""
    tool_calls: int = 0
    """Tool calls of clients that were answered, the watchdog's own checks left out."""
    tool_errors: int = 0
    """Those of them that failed."""
    polluted: int = 0
    """Lines on a process's stdout that were no message."""
    dropped: int = 0
    """Lines of a process that were too long."""
    lately: AnswerRecord = field(default_factory=AnswerRecord)
    """What its clients got lately."""
