"""Look-ups of names: each in a thread of its own, one for all who ask at the same time, and its answer never thrown away.

A name server that does not answer holds a look-up for half a minute, which nothing can cut short: those who asked give up, and the
thread goes on. In a pool that many share it would hold what everybody else needs. Where a name server is slow, the answer comes
when nobody waits for it any more: who asks next has it at once, instead of waiting in vain again. Knows no connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.url import address_family
from mcpwatch.model.symptom import Symptom

SLOW = 1.0
"""Seconds beyond which a look-up was slow: its answer is used again for a while, as the next one may come too late again."""
KEPT = 30.0
"""Seconds for which such an answer is used before it is asked for anew."""
OUTDATED = 300.0
"""Seconds after which it is not used any more, however long a newer one takes."""
ANEW = 2.0
"""Seconds after which a look-up under way is no longer joined: whoever asks then may be answered sooner than it."""
AT_ONCE = 4
"""Look-ups of one name that may be under way at once; beyond them the latest is joined whatever its age."""
CROWD, ALL_MAX = 32, 256
"""Look-ups of all names from which on each name has one alone, and beyond which none is begun: each is a thread, and a container
has a bound of them that the start of members needs too."""
KEPT_MAX = 4096
"""Slow answers that are kept; beyond it all are dropped."""

Addresses = tuple[str, ...]
Asked = Callable[[str], Addresses]
"""Asks the resolver of this machine; blocks. Raises `OSError` or `UnicodeError`."""
_Answer = tuple[Addresses, OSError | UnicodeError | None]
"""Addresses, or why there are none."""


class Names(Protocol):
    """Who tells the addresses of hosts."""

    async def addresses(self, host: str, port: int) -> Addresses:
        """The addresses of a host. Raises `HttpFailed`."""
        ...

    def forget(self, host: str, port: int) -> None:
        """Ask anew next time: nothing was reached at these addresses."""
        ...


def ask_machine(host: str) -> Addresses:
    """The addresses of a host, as this machine resolves it."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(slots=True, eq=False)
class _Lookup:
    """One that is under way, and who waits for it, on whatever loop."""

    began: float
    waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[_Answer]]] = field(
        default_factory=list[tuple[asyncio.AbstractEventLoop, asyncio.Future[_Answer]]]
    )


class Lookups:
    """The look-ups of a process. Serves every loop of it."""

    def __init__(self, ask: Asked = ask_machine, now: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._now = now
        self._lock = threading.Lock()
        self._under_way: dict[str, list[_Lookup]] = {}
        self._all = 0
        self._slow: dict[str, tuple[float, Addresses]] = {}
        """Answers that took long, and when they came."""

    @property
    def running(self) -> int:
        """Names that are looked up now."""
        return len(self._under_way)

    async def addresses(self, host: str, port: int) -> Addresses:
        """The addresses of a host; a literal address is its own. Raises `HttpFailed`, and `OSError` when this process cannot."""
        del port
        if address_family(host) is not None:
            return (host,)
        kept = self._slow.get(host)
        age = self._now() - kept[0] if kept is not None else OUTDATED
        if kept is not None and age < KEPT:
            return kept[1]
        answer = self._asked_for(host)
        try:
            async with asyncio.timeout(SLOW if age < OUTDATED else None):
                found, failed = await answer
        except TimeoutError:
            assert kept is not None
            return kept[1]
        if failed is not None:
            why = getattr(failed, "strerror", None) or failed
            raise HttpFailed(f"the name {host} does not resolve: {why}", Symptom.UNRESOLVED) from failed
        return found

    def forget(self, host: str, port: int) -> None:
        """Ask anew next time."""
        del port
        self._slow.pop(host, None)

    def _asked_for(self, host: str) -> asyncio.Future[_Answer]:
        """The answer to come: of a look-up that is under way, or of a new one. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer] = loop.create_future()
        with self._lock:
            now, running = self._now(), self._under_way.setdefault(host, [])
            most = AT_ONCE if self._all < CROWD else 1
            if running and (now - running[-1].began < ANEW or len(running) >= most):
                running[-1].waiting.append((loop, answer))
                return answer
            if self._all >= ALL_MAX:
                del self._under_way[host]
                raise OSError(errno.ENOMEM, f"{self._all} names are looked up already, and none of them is answered")
            self._all += 1
            lookup = _Lookup(now, [(loop, answer)])
            running.append(lookup)
        thread = threading.Thread(target=self._look, args=(host, lookup), name=f"name {host}"[:15], daemon=True)
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._over(host, lookup)
            raise OSError(errno.ENOMEM, "no thread can be started to look a name up") from None
        return answer

    def _look(self, host: str, lookup: _Lookup) -> None:
        """Ask, keep what came late, and tell all who wait: a good answer serves those of every look-up. In the look-up's thread."""
        answer = self._told(host)
        now = self._now()
        with self._lock:
            waiting = [*lookup.waiting]
            self._over(host, lookup)
            if answer[1] is None:
                for other in self._under_way.get(host, ()):
                    waiting += other.waiting
                    other.waiting.clear()
            self._keep(host, answer, slow=now - lookup.began >= SLOW)
        for loop, one in waiting:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(_tell, one, answer)

    def _over(self, host: str, lookup: _Lookup) -> None:
        running = self._under_way[host]
        running.remove(lookup)
        self._all -= 1
        if not running:
            del self._under_way[host]

    def _keep(self, host: str, answer: _Answer, *, slow: bool) -> None:
        """Keep a good answer that came late; forget what was kept before another one."""
        if answer[1] is not None or not slow:
            self._slow.pop(host, None)
            return
        if len(self._slow) >= KEPT_MAX:
            self._slow.clear()
        self._slow[host] = (self._now(), answer[0])

    def _told(self, host: str) -> _Answer:
        try:
            return self._ask(host), None
        except (OSError, UnicodeError) as error:
            return (), error


def _tell(waiting: asyncio.Future[_Answer], answer: _Answer) -> None:
    if not waiting.done():
        waiting.set_result(answer)


def unresolved(host: str, seconds: float) -> HttpFailed:
    """What is told of a look-up that was waited for in vain."""
    text = f"the name {host} does not resolve within {seconds:g} s: its name server is slow, or does not answer"
    return HttpFailed(text, Symptom.UNRESOLVED)


NAMES = Lookups()
"""Those of this process."""
