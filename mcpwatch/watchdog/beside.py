"""What only the machine can tell, looked up beside the event loop: reading /proc takes as long as the machine likes.

`beside` makes senses that answer at once from what was looked up a moment ago; `settled` looks again until nothing is open. It must
not know what the answers mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from mcpwatch.clock import Clock
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.senses import Senses

T = TypeVar("T")

ASKED = (
    "words",
    "stopped",
    "still",
    "listening",
    "places",
    "rival",
    "holds",
    "listener",
    "works",
    "descriptors",
    "idle",
    "child",
    "runs",
    "below",
    "inside",
    "calls",
)
"""The senses that read the machine."""
KEPT, KEPT_SHARE, KEPT_MAX = 1.0, 4.0, 10.0
"""Seconds for which an answer counts: at least, as a multiple of what looking it up took, and at most."""
FORGET = 60.0
"""Seconds after which an answer that nobody asked for is dropped."""
PATIENCE = 10.0
"""Seconds that answers are waited for. What cannot be told by then counts as not seen, until the machine answers again."""

Question = tuple[str, tuple[Any, ...]]


class Aside(Protocol):
    """Runs a function where it holds no loop, as `asyncio.to_thread` does."""

    def __call__(self, work: Callable[[], dict[Question, Any]], /) -> Coroutine[Any, Any, dict[Question, Any]]:
        """What the function returns."""
        ...


def beside(senses: Senses, run: Aside, clock: Clock) -> Senses:
    """The same senses, of which those that read the machine are asked by `run`; `open` tells whether something is still to be."""
    return _Lookup(senses, run, clock).senses


async def settled(senses: Senses, look: Callable[[], T]) -> T:
    """What `look` finds with everything that it asks of these senses known. It is called again when something was not."""
    found = look()
    while (answers := senses.open()) is not None:
        await answers()
        found = look()
    return found


class _Lookup:
    """Answers from memory, and what is still to be asked."""

    def __init__(self, senses: Senses, run: Aside, clock: Clock) -> None:
        self._senses = senses
        self._run = run
        self._clock = clock
        self._answers: dict[Question, tuple[Instant, Any]] = {}
        self._asking: dict[Question, Callable[[], Any]] = {}
        self._kept = KEPT
        self._one = asyncio.Lock()
        self._late: asyncio.Future[dict[Question, Any]] | None = None
        self.senses = replace(senses, **{name: partial(self._recall, name) for name in ASKED}, open=self._open)

    def _recall(self, sense: str, *about: Any) -> Any:
        """The answer of a moment ago; where there is none, what one that sees nothing says, and the question is noted."""
        question = (sense, about)
        at, answer = self._answers.get(question, (None, None))
        if at is None or self._clock.now() - at >= self._kept:
            self._asking[question] = partial(getattr(self._senses, sense), *about)
        return _unseen(question) if at is None else answer

    def _open(self) -> Callable[[], Awaitable[None]] | None:
        """What ends when what was asked since the last time is answered; `None`: all of it was."""
        if not self._asking:
            return None
        asking, self._asking = self._asking, {}
        return partial(self._answer, asking)

    async def _answer(self, asking: dict[Question, Callable[[], Any]]) -> None:
        async with self._one:
            began = self._clock.now()
            open_ = {one: ask for one, ask in asking.items() if not self._known_since(one, began - self._kept)}
            found = await self._ask(open_) if open_ else {}
            now = self._clock.now()
            self._kept = min(KEPT_MAX, max(KEPT, KEPT_SHARE * (now - began)))
            self._answers = {one: kept for one, kept in self._answers.items() if now - kept[0] < FORGET}
            self._answers |= {one: (now, found[one] if one in found else _unseen(one)) for one in open_}

    def _known_since(self, question: Question, since: float) -> bool:
        return question in self._answers and self._answers[question][0] > since

    async def _ask(self, open_: dict[Question, Callable[[], Any]]) -> dict[Question, Any]:
        """The answers, or none of them while the machine does not come back from an earlier look."""
        if self._late is not None and not self._late.done():
            return {}
        look = asyncio.get_running_loop().create_task(self._run(lambda: {question: ask() for question, ask in open_.items()}))
        try:
            done, _ = await asyncio.wait({look}, timeout=PATIENCE)
        except asyncio.CancelledError:
            look.cancel()
            raise
        self._late = None if done else look
        return look.result() if done else {}


_BLIND = Senses()


def _unseen(question: Question) -> Any:
    """What senses that see nothing answer."""
    sense, about = question
    return getattr(_BLIND, sense)(*about)
