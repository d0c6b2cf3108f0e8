"""What this room tells the bus, and what on the bus wakes it. Makes facts; decides nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from mcpwatch.bus import Bus, Subscription
from mcpwatch.clients.adapter import Client
from mcpwatch.clients.writer import Done
from mcpwatch.model.fact import ClientFileSkipped, ClientFileWritten, Fact, MemberChanged, PlanApplied, RouteChanged
from mcpwatch.model.time import WallTime

QUEUE = 256


def file_written(client: Client, path: Path, done: Done, reasons: Mapping[str, str], at: WallTime) -> ClientFileWritten:
    """That a file was changed, what in it, why, and what makes the client see it."""
    outcome = done.written.outcome
    why = "; ".join(f"{route}: {reason}" for route, reason in reasons.items()) or outcome.summary
    reload = "" if client.adapter.reload == "at once" else f" ({client.adapter.reload})"
    text = f"{client.adapter.title}: {outcome.summary} in {path} because {why}{reload}"
    added, removed = outcome.added, outcome.removed
    return ClientFileWritten(at=at, text=text, client=client.spec.kind, path=str(path), added=added, removed=removed, reason=why)


def file_skipped(client: Client, path: str, why: str, at: WallTime) -> ClientFileSkipped:
    """That a file is not as it should be, and why."""
    text = f"{client.adapter.title}: {why}"
    return ClientFileSkipped(at=at, text=text, level="warning", client=client.spec.kind, path=path, reason=why)


class News:
    """A flag that can be lowered again."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """Raise it."""
        self._event.set()

    def clear(self) -> None:
        """Lower it."""
        self._event = anyio.Event()

    async def wait(self) -> None:
        """Until it is raised."""
        await self._event.wait()


@asynccontextmanager
async def changes(bus: Bus) -> AsyncGenerator[News]:
    """A flag that is raised by whatever may change a decision."""
    news = News()
    subscription = bus.subscribe(RouteChanged, PlanApplied, MemberChanged, size=QUEUE)
    async with anyio.create_task_group() as group:
        group.start_soon(_listen, subscription, news)
        try:
            yield news
        finally:
            subscription.close()
            group.cancel_scope.cancel()


async def _listen(subscription: Subscription, news: News) -> None:
    async for fact in subscription:
        if _matters(fact):
            news.set()


def _matters(fact: Fact) -> bool:
    return not isinstance(fact, MemberChanged) or fact.field in ("want", "phase", "verdict")
