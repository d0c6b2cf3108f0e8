"""All processes of this machine at one moment, and what belongs together among them. Pure; identity is (pid, start ticks)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Proc:
    """One process of a snapshot. `ticks` is its start on the kernel's clock; `mark` the value of MCPWATCH_MARK, if any.

    `hosted` names the stdio server that a gateway runs there; `cpu_seconds` and `rss` (bytes) are what it used when it was read.
    """

    pid: int
    ppid: int
    sid: int
    ticks: int
    state: str = "S"
    mark: str = ""
    hosted: str = ""
    cpu_seconds: float = 0.0
    rss: int = 0
    group: int = 0

    @property
    def alive(self) -> bool:
        """Whether it still runs: a zombie is only an unread exit status."""
        return self.state not in ("Z", "X")


@dataclass(frozen=True)
class ProcessSnapshot:
    """All processes at one moment. The look began `at` (monotonic clock); whoever has `young` ticks or more was not settled yet.

    `whole`: nobody came while it was taken who is not in it, so who is not in it did not live.
    `forks`: how many processes and threads the machine had ever started when the look began; `None` where it does not tell.
    A thousand members are looked for in one snapshot: it is indexed once, when first asked.
    """

    procs: dict[int, Proc]
    children: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    at: float = 0.0
    young: float = math.inf
    whole: bool = True
    forks: int | None = None

    @cached_property
    def sessions(self) -> Mapping[int, Sequence[Proc]]:
        """The processes of each session."""
        return _grouped(self.procs.values(), lambda proc: proc.sid)

    @cached_property
    def groups(self) -> Mapping[int, Sequence[Proc]]:
        """The processes of each group."""
        return _grouped(self.procs.values(), lambda proc: proc.group)

    @cached_property
    def marked(self) -> Mapping[str, Sequence[Proc]]:
        """Those that carry the mark of a member, by `<instance>/<member>`."""
        return _grouped((proc for proc in self.procs.values() if proc.mark), lambda proc: proc.mark.rpartition("/")[0])

    def has(self, pid: int, ticks: int) -> bool:
        """Whether exactly this process lives (not another that got its number, not its zombie)."""
        found = self.procs.get(pid)
        return found is not None and found.ticks == ticks and found.alive

    def descend(self, roots: Iterable[int]) -> set[int]:
        """`roots` and everything below them."""
        found: set[int] = set()
        todo = list(roots)
        while todo:
            pid = todo.pop()
            if pid not in found:
                found.add(pid)
                todo.extend(self.children.get(pid, ()))
        return found

    def of_member(self, main: int) -> set[int]:
        """`main` and what is below it, without what a gateway there hosts for other members: each is counted for one member."""
        if (first := self.procs.get(main)) is None:
            return set()
        own = {"", first.hosted, _member_of(first.mark)}
        found: set[int] = set()
        todo = [main]
        while todo:
            pid = todo.pop()
            proc = self.procs.get(pid)
            if proc is None or pid in found or proc.hosted not in own:
                continue
            found.add(pid)
            todo.extend(self.children.get(pid, ()))
        return found


_Key = TypeVar("_Key")


def _grouped(procs: Iterable[Proc], key: Callable[[Proc], _Key]) -> dict[_Key, list[Proc]]:
    found: dict[_Key, list[Proc]] = {}
    for proc in procs:
        found.setdefault(key(proc), []).append(proc)
    return found


def _member_of(mark: str) -> str:
    """The member that a mark `<instance>/<member>/<generation>` names."""
    return mark.partition("/")[2].rpartition("/")[0]
