"""One member on its cluster, as the runtime holds it: its workload, its place in what is heard, its present life and its log.

Owns: what the cluster says of it now, and the copying of its output. Must not know: what is told of it, and to whom.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.kubernetes.causes import Cause, member_cause
from mcpwatch.runtimes.kubernetes.follow import Life, own_pods
from mcpwatch.runtimes.kubernetes.manifests import CONTAINER
from mcpwatch.runtimes.kubernetes.pod_log import MemberLog, PodFollower
from mcpwatch.runtimes.kubernetes.raw import path_of
from mcpwatch.runtimes.kubernetes.view import Seat
from mcpwatch.runtimes.kubernetes.workload import FoundWorkload, Workload

_SPOKEN = frozenset({"not_ready", "ended"})
"""Causes that the watchdog knows better: by its own probes, and by the end itself."""

AT_ONCE = 16
"""Members that are asked for at the same time when a watchdog begins: one after the other, a thousand would keep it."""
T = TypeVar("T")


async def for_each(specs: Iterable[MemberSpec], ask: Callable[[MemberSpec], Awaitable[Iterable[T]]]) -> list[T]:
    """What is found for all of them, in their order. One for which `RuntimeFailed` is raised is left out."""
    free = asyncio.Semaphore(AT_ONCE)

    async def asked(spec: MemberSpec) -> Iterable[T]:
        async with free:
            try:
                return await ask(spec)
            except RuntimeFailed:
                return ()

    return [one for found in await asyncio.gather(*map(asked, specs)) for one in found]


@dataclass(slots=True)
class CarriedMember:
    """One member on its cluster."""

    spec: MemberSpec
    workload: Workload
    seat: Seat
    generation: int = 0
    life: Life = field(default_factory=Life)
    quiet: bool = True
    """What changes now is not told: it is being started or stopped, or nobody took it over yet."""
    let_go: bool = False
    """The next start replaces what runs."""
    told: Cause | None = None
    writing: asyncio.Future[int] | None = None
    """A write that is under way: it goes on when the start that asked for it was given up, and comes before any other."""
    log: MemberLog | None = None
    followers: list[PodFollower] = field(default_factory=list["PodFollower"])

    async def write(self, apply: Callable[[], int]) -> int:
        """Apply the workload in a thread; returns its template. A caller that is cancelled leaves the write behind (`settled`)."""
        self.writing = asyncio.get_running_loop().run_in_executor(None, apply)
        return await asyncio.shield(self.writing)

    async def settled(self) -> None:
        """Return when no write of an earlier start is under way."""
        if self.writing is not None:
            await asyncio.wait((self.writing,))
            self.writing = None

    def cause(self) -> Cause | None:
        """What the cluster says keeps it from running as wanted."""
        seat = self.seat
        wanted = 0 if seat.workload is not None and not FoundWorkload(seat.workload).replicas else 1
        cause = member_cause(seat.workload, own_pods(self.life, seat.pods()), seat.events(), wanted)
        return None if cause is None or cause.name in _SPOKEN else cause

    def follow_log(self, logs: Path) -> None:
        """Copy what its present run says into its log below `logs`."""
        carrier, life = self.workload.carrier, self.life
        if not carrier.logs:
            return
        self.log = self.log or MemberLog(logs / self.spec.name)
        pod = next((pod for pod in self.seat.pods() if pod.name == life.pod), None)
        path = path_of("Pod", self.workload.namespace, life.pod)
        container = CONTAINER if carrier.ours else ""
        again = pod is not None and pod.restarts > 0
        follower = PodFollower(self.workload.cluster, path, life.run[0], container, self.log, previous=again)
        self.followers = [*(one for one in self.followers if not one.over), follower]  # what ended copies its last lines
