"""The timeline of one probe: which stage it is in, the absolute deadline of each, and how long each took.

One `asyncio` timeout serves the whole probe: entering a stage moves it to that stage's deadline, so a stage that drips
a byte a second ends as surely as a silent one. Knows nothing of wires.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from mcpwatch.model.probe import Stage, StageTiming

CLOSE_SHARE = 0.05
"""Share of a check's timeout kept for closing its session."""
CLOSE_MAX = 0.5
"""Seconds at most kept for closing."""
CONNECT_SHARE = 0.5
"""Share of a check's timeout that resolving, connecting and the TLS handshake may each take."""
CONNECT_MIN = 2.0
"""Seconds that each of them may take in any case."""
EVENT_SHARE = 0.6
"""Share of a check's timeout that the first event of a stream may take."""
EVENT_MIN = 5.0
"""Seconds that it may take in any case."""

EVENT_SPARE = 0.9
"""Share of that time after which it is given up, so that another question can be asked."""

_CONNECTING = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.TLS})


class Deadline:
    """An `asyncio` timeout that is moved at every stage: to a later moment it moves when its timer fires, not before."""

    def __init__(self, when: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._when = when
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._arm()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        assert task is not None
        if self._expired and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def move(self, when: float) -> None:
        """Let it be this moment, on the loop's clock; of no effect after it passed, or once it is over."""
        self._when = when
        if self._task is not None and not self._expired and self._timer is not None and when < self._timer.when():
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._when, self._fire)

    def _fire(self) -> None:
        if self._loop.time() < self._when:  # it was moved meanwhile
            self._arm()
        elif self._task is not None:
            self._timer, self._expired = None, True
            self._task.cancel()


class ProbeTimeline:
    """The stages of one running probe. Belongs to the task that runs it; `abort` may be called from another."""

    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.started = self._loop.time()
        closing = min(CLOSE_MAX, timeout * CLOSE_SHARE)
        self.end = self.started + timeout
        self.deadline = self.end - closing
        self.stage: Stage | None = None
        self.aborted = False
        self.dialled = False
        self._since = self.started
        self._finished: float | None = None
        self._spent: dict[Stage, float] = {}
        self._limits = (max(CONNECT_MIN, timeout * CONNECT_SHARE), max(EVENT_MIN, timeout * EVENT_SHARE))
        self.scope = Deadline(self.deadline)

    def enter(self, stage: Stage) -> None:
        """Leave the present stage for `stage` and put its deadline in force."""
        self.leave()
        self.stage = stage
        limit = self.deadline
        if stage in _CONNECTING:
            limit = min(limit, self._since + self._limits[0])
        elif stage is Stage.ENDPOINT:
            limit = min(limit, self._since + self._limits[1])
        if not self.aborted:
            self.scope.move(limit)

    def leave(self) -> None:
        """End the present stage and keep its time."""
        now = self._loop.time()
        if self.stage is not None:
            self._spent[self.stage] = self._spent.get(self.stage, 0.0) + now - self._since
        self.stage = None
        self._since = now

    def abort(self) -> None:
        """End the probe now, wherever it is: the prober is closing."""
        self.aborted = True
        self.scope.move(self._loop.time())  # once all stages are over what is left is bounded by `end`

    @property
    def now(self) -> float:
        """The loop's clock, seconds."""
        return self._loop.time()

    @property
    def in_stage(self) -> float:
        """Seconds since the present stage began."""
        return self._loop.time() - self._since

    @property
    def left(self) -> float:
        """Seconds until the deadline of all stages."""
        return max(0.0, self.deadline - self._loop.time())

    @property
    def event_left(self) -> float:
        """Seconds that the first event of a stream may take from now, so that some time is left after it."""
        return min(self._limits[1], self.left) * EVENT_SPARE

    def finish(self) -> None:
        """All stages are over; what follows is closing, and not the server's time."""
        self.leave()
        self._finished = self._loop.time()

    @property
    def closing(self) -> float:
        """The deadline for closing the session, on the loop's clock."""
        return min(self.end, self._loop.time() + CLOSE_MAX)

    @property
    def seconds(self) -> float:
        """Seconds since the probe began, up to its last stage."""
        return (self._finished or self._loop.time()) - self.started

    def timings(self) -> tuple[StageTiming, ...]:
        """What each stage took, in the order they were entered."""
        return tuple(StageTiming(stage, round(seconds, 6)) for stage, seconds in self._spent.items())
