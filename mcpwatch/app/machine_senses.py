"""What the fleet asks of this machine: its ports, its processes, the last lines of members, the gateway inside it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from mcpwatch import journal
from mcpwatch.app.paths import StatePaths
from mcpwatch.app.services import Services
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.admin import AdminSocket
from mcpwatch.runtimes.hosted import HostedRuntime
from mcpwatch.runtimes.hosted_calls import GatewayCalls
from mcpwatch.runtimes.kept_still import StillWatch
from mcpwatch.runtimes.port import PortWatch, child_of
from mcpwatch.runtimes.processor import ProcessorWatch
from mcpwatch.runtimes.stopped import StopWatch
from mcpwatch.runtimes.usage import exhausted
from mcpwatch.watchdog.senses import Senses

TAIL = 20
"""Lines of stderr that go with the news of an exit."""
KEPT = 5.0
"""Seconds for which `recent` answers what it read."""
EARLY = 0.01
"""Seconds by which a line may be older than the start that wrote it: two clocks of one machine are read."""
TAIL_WIDTH = 500
"""Characters of each of them."""


class Tail:
    """Reads journals of the state directory `root`; `redact` takes the secrets out of a line.

    `began`: when the present run of a member began, in epoch seconds, 0 when that is not known.
    """

    def __init__(self, root: Path, redact: Callable[[str], str], began: Callable[[str], float] = lambda _: 0.0) -> None:
        self._root = root
        self._began = began
        self._redact = redact
        self._recent: dict[str, tuple[float, tuple[str, ...]]] = {}

    def of(self, member: str) -> tuple[str, ...]:
        """The last lines a member wrote to stderr in its present run, without secrets."""
        since = self._began(member) - EARLY
        lines = (self._redact(line.text) for line in journal.read(self._root, member, ("stderr",), TAIL) if line.at >= since)
        return tuple(line[:TAIL_WIDTH] for line in lines if line.strip())

    def recent(self, member: str) -> tuple[str, ...]:
        """The same, a few seconds old at most: for whoever asks again and again."""
        read, lines = self._recent.get(member, (-KEPT, ()))
        if time.monotonic() - read >= KEPT:
            lines = self.of(member)
            self._recent[member] = (time.monotonic(), lines)
        return lines


def machine_senses(
    paths: StatePaths,
    tail: Tail,
    prepare: Callable[[MemberSpec], Awaitable[None]],
    services: Callable[[], Services],
    hold: Callable[[], None],
) -> Senses:
    """The senses of a fleet on this machine. `services` are built from the fleet, so they are asked for when they are needed."""
    ports, processes = PortWatch(paths.instance), StopWatch()
    return Senses(
        tail=tail.of,
        words=tail.recent,
        stopped=processes.stopped,
        port_holder=ports.held_by,
        port_free=ports.free,
        still=StillWatch(processes).still,
        listening=ports.listening,
        places=ports.places,
        rival=ports.rival,
        works=ProcessorWatch().works,
        holds=ports.holds,
        listener=ports.listener,
        idle=ports.idle,
        descriptors=exhausted,
        child=child_of,
        runs=ports.runs,
        below=ports.below,
        inside=ports.inside,
        prepare=prepare,
        notice=lambda: services().self_watch.notice(),  # noqa: PLW0108 - the services are built from the fleet
        nudge=HostedRuntime(paths.root, paths.instance).nudge,
        calls=GatewayCalls(AdminSocket(paths.proxy / "admin.sock")).of,
        hold=hold,
    )
