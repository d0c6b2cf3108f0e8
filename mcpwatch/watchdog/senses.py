"""What the watchdog asks of the machine and of the proxy beyond probes: plain functions, given once, at construction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from mcpwatch.clock import Clock
from mcpwatch.model.member import ClientCalls
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import Publish
from mcpwatch.watchdog.schedule import Schedule

Spawn = Callable[[Coroutine[Any, Any, None], str], None]
"""Runs a coroutine as a named task of the fleet's task group."""


async def _nobody(spec: MemberSpec) -> str:  # noqa: ARG001
    return ""


async def _unprepared(spec: MemberSpec) -> None:
    del spec


async def _nothing(routes: Sequence[str]) -> object:  # noqa: ARG001
    return None


@dataclass(frozen=True, slots=True)
class Senses:
    """Each field has a default that sees nothing.

    `prepare`: has what a member reads at its start as the plan says. `inside`: where what runs in a container listens, when all of
    that is its own loopback.

    `tail`: the last lines that a member wrote to stderr; `words`: the same, perhaps of some seconds ago. `stopped`: which of these
    main processes are stopped (state T); `still`: who keeps one from running, so that no signal changes it, as a cause and a
    sentence. `port_holder`: who else holds the port of a member, or the empty string; `port_free`: whether nobody does at this
    moment, false where it has none on this machine. `listening`: the ports that the processes below a main process listen on;
    `places`: where exactly; `rival`: who else listens on a port that they listen on; `holds`: who but this member listens on a
    port; `listener`: which member does; `works`: whether they took the processor since that silence began; `idle`: whether they
    listen on a port and no connection waits there to be taken. `descriptors`: how many files one of them has open, when that is
    all it may. `child`: the process below a proxy that serves a route, or the one known before while that lives; else 0. `runs`:
    whether what a main process (of a container, or "") runs lives; `below`: its numbers, or `None`. `notice`: tells
    `Fleet.unwatched` now if time went by that nobody watched. `nudge`: have the proxy try these upstreams at once; raises
    `RuntimeFailed`. `calls`: what clients wait for and get from a route, where the proxy tells that. `schedule`: makes what runs
    checks when they are due. `hold`: facts may wait for the next turn of the loop, because a start that goes before them is due.
    `open`: what to wait for before what was just asked is known, `None` when it is (`beside`: the machine is not read on the loop).
    """

    tail: Callable[[str], tuple[str, ...]] = lambda _: ()
    words: Callable[[str], tuple[str, ...]] = lambda _: ()
    stopped: Callable[[frozenset[int]], frozenset[int]] = lambda _: frozenset()
    port_holder: Callable[[MemberSpec], Awaitable[str]] = _nobody
    port_free: Callable[[MemberSpec], bool] = lambda _: False
    still: Callable[[int], tuple[str, str]] = lambda _: ("", "")
    listening: Callable[[int], tuple[int, ...]] = lambda _: ()
    places: Callable[[int], tuple[str, ...]] = lambda _: ()
    descriptors: Callable[[int], str] = lambda _: ""
    rival: Callable[[int, int], str] = lambda _pid, _port: ""
    holds: Callable[[int, str], str] = lambda _port, _member: ""
    listener: Callable[[int], str] = lambda _: ""
    works: Callable[[int, float], bool] = lambda _pid, _silence: False
    idle: Callable[[int, int], bool] = lambda _pid, _port: False
    child: Callable[[int, str, int], int] = lambda _proxy, _route, _known: 0
    below: Callable[[int, str], frozenset[int] | None] = lambda _pid, _container: None
    runs: Callable[[int, str], bool] = lambda _pid, _container: False
    calls: Callable[[str], ClientCalls] = lambda _: ClientCalls()
    notice: Callable[[], None] = lambda: None
    nudge: Callable[[Sequence[str]], Awaitable[object]] = _nothing
    schedule: Callable[[], Schedule] = Schedule
    hold: Callable[[], None] = lambda: None
    prepare: Callable[[MemberSpec], Awaitable[None]] = _unprepared
    inside: Callable[[int, str], tuple[str, ...]] = lambda _pid, _container: ()
    open: Callable[[], Callable[[], Awaitable[None]] | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Context:
    """What every part of the watchdog needs: the clock, whom to tell facts, how to run a task, and the senses."""

    clock: Clock
    publish: Publish
    spawn: Spawn
    senses: Senses = Senses()
