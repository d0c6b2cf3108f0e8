"""Listening to a proxy: what its log says of its routes and of itself, and which generation of its kind it is, found by looking.

Owns: reading its journal as it grows, asking it once after every start. Must not know: what any of it means (that is the kind).
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from mcpwatch import journal
from mcpwatch.model.member import Phase
from mcpwatch.model.proxy import ProxyObservation
from mcpwatch.ports import ProxyKind
from mcpwatch.proxies import PROXIES
from mcpwatch.registry import find
from mcpwatch.runtimes.spawn import ProcessSpec
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.fleet import Fleet

PAUSE = 0.25
"""Seconds from a line that was written to a look at the journal of a foreign proxy: what comes together is read together."""
CALM = 2.0
"""The same where the log only tells of rare troubles: our own gateway says the rest by its admin socket."""
IDLE = 30.0
"""Seconds after which is looked though nothing was told."""
ASK_SECONDS = 3.0
"""Longest answer to a question about its generation."""
ANSWER_BYTES = 64 * 1024
LINES = 500
"""Lines taken at once."""


class ProxyLog:
    """Listens to whatever proxy the plan in force has; `run` until cancelled."""

    def __init__(self, fleet: Fleet, state: Path) -> None:
        self._fleet = fleet
        self._state = state
        self._follower: tuple[str, journal.Follower] | None = None
        self._looked = (-1, "")
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Members wrote, or one of them changed: there may be something to hear."""
        self._news.set()

    async def run(self) -> None:
        """Hear and look whenever there is something new, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE):
                    await self._news.wait()
            kind, actor = self._kind(), self._fleet.monitor.proxy()
            if kind is None or actor is None:
                self._news.clear()
                continue
            self._follow(actor.spec.name)  # before the pause: what a proxy says in its first moments is heard
            await asyncio.sleep(PAUSE if kind.asks else CALM)
            self._news.clear()
            self._hear(kind)
            if actor.state.phase is Phase.RUNNING and kind.asks and self._looked != (actor.state.generation, kind.name):
                self._looked = (actor.state.generation, kind.name)
                look = await self._look(kind, actor)
                self._fleet.monitor.learn(kind.learn(look))

    def _kind(self) -> ProxyKind | None:
        """The kind of a proxy whose log can be read, else `None`."""
        proxy = self._fleet.plan().proxy
        if proxy is None or not proxy.traits.runs:
            return None
        kind = find(PROXIES, proxy.kind)
        return cast("ProxyKind", kind.make()) if kind else None

    def _follow(self, member: str) -> None:
        if self._follower is None or self._follower[0] != member:
            after = {stream: journal.newest(self._state, member, stream) for stream in journal.STREAMS}
            self._follower = (member, journal.Follower(self._state, member, after))

    def _hear(self, kind: ProxyKind) -> None:
        lines = self._follower[1].poll(LINES) if self._follower is not None else []
        if len(lines) >= LINES:
            self._news.set()  # there may be more, and what wrote it may be silent from now on
        for line in lines:
            hint = kind.hint(line.text)
            if hint is not None:
                self._fleet.monitor.hear(hint, line.at)

    async def _look(self, kind: ProxyKind, actor: MemberActor) -> ProxyObservation:
        """Ask the proxy itself and, where it is a program of this machine, its usage."""
        direct = (actor.incarnation.direct if actor.incarnation else None) or actor.spec.direct
        status, body = await ask(direct.url, kind.asks) if direct else (0, "")
        carrier = actor.spec.carrier
        usage = await asyncio.to_thread(_usage, carrier.command) if isinstance(carrier, ProcessSpec) and status in {0, 200} else ""
        last = journal.read(self._state, actor.spec.name, n=1)
        return ProxyObservation(usage, status, body, last[0].text if last else "")


async def ask(url: str, path: str) -> tuple[int, str]:
    """Status and body of `GET path` at the origin of `url`; `(0, "")` when it does not answer in time."""
    parts = urlsplit(url)
    with contextlib.suppress(OSError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(ASK_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n\r\n".encode())
                head, _, body = (await reader.read(ANSWER_BYTES)).partition(b"\r\n\r\n")
                return int(head.split(b" ", 2)[1]), body.decode("utf-8", "replace")
            finally:
                writer.close()
    return 0, ""


def _usage(program: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([program, "-help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=ASK_SECONDS, check=False)
        return (done.stdout + done.stderr).decode("utf-8", "replace")
    return ""
