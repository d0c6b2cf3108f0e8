"""The bus: facts go up, to every subscriber.

Publishing never blocks and never fails; a slow listener loses its oldest facts, counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from mcpwatch.model.fact import Fact

QUEUE_SIZE = 4096


class Subscription:
    """One listener's bounded queue. Iterate it; `dropped` counts what it was too slow for."""

    def __init__(self, bus: Bus, size: int, only: tuple[type[Fact], ...]) -> None:
        self._bus = bus
        self._only = only
        self._queue: deque[Fact] = deque(maxlen=size)
        self._ready = asyncio.Event()
        self._closed = False
        self.dropped = 0

    def offer(self, fact: Fact) -> None:
        """Take a fact if it is of a kind this listener wants."""
        if self._only and not isinstance(fact, self._only):
            return
        if len(self._queue) == self._queue.maxlen:
            self.dropped += 1
        self._queue.append(fact)
        self._ready.set()

    @property
    def waiting(self) -> int:
        """Facts offered and not yet read."""
        return len(self._queue)

    @property
    def closed(self) -> bool:
        """Whether it takes no more facts."""
        return self._closed

    def close(self) -> None:
        """End the iteration once what is queued has been read."""
        self._closed = True
        self._bus.forget(self)
        self._ready.set()

    async def take(self) -> Fact | None:
        """The next fact, as soon as there is one; `None` once closed and read to the end. Safe to cancel."""
        while not self._queue:
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()

    async def __aiter__(self) -> AsyncIterator[Fact]:
        while (fact := await self.take()) is not None:
            yield fact


class Bus:
    """Where facts are published. Belongs to one event loop; `publish` is for that loop's thread only."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._hooks: list[Callable[[Fact], None]] = []

    def publish(self, fact: Fact) -> None:
        """Tell everyone. Hooks run at once, in order (the store's, so that a fact is durable first); queues follow."""
        for hook in self._hooks:
            hook(fact)
        for subscription in tuple(self._subscriptions):
            subscription.offer(fact)

    def hook(self, call: Callable[[Fact], None]) -> None:
        """Call `call` inside every `publish`. It must not block and must not raise."""
        self._hooks.append(call)

    def subscribe(self, *only: type[Fact], size: int = QUEUE_SIZE) -> Subscription:
        """A new queue of facts, of the given kinds or of all. Close it when done."""
        subscription = Subscription(self, size, only)
        self._subscriptions.append(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Stop offering facts to `subscription`."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    @property
    def dropped(self) -> int:
        """Facts lost by all present listeners together."""
        return sum(subscription.dropped for subscription in self._subscriptions)
