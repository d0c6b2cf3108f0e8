"""In which order members start and stop: what is depended on first, the proxy last; the other way round at the end.

Owns the waits between members, every one of them bounded. It must not know why a member starts or stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, MutableMapping

from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.member import Phase, Want
from mcpwatch.model.spec import MemberSpec, Plan
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import MemberActor

TOLD_AT_ONCE = 50
"""Members that are told to stop in one turn of the loop: each takes a fraction of a millisecond, and others have their turn."""
GATE_MARGIN = 5.0
"""Seconds beyond its start grace that a member may keep others waiting."""

_log = logging.getLogger("mcpwatch.watchdog")


def put_in_order(actors: MutableMapping[str, MemberActor], plan: Plan) -> None:
    """Members in the plan's start order, also those that came later: they are shown in it, and stopped in its reverse."""
    ordered = {member.name: actors[member.name] for member in plan.members}
    actors.clear()
    actors.update(ordered)


async def others_first(spec: MemberSpec, plan: Plan, actors: Mapping[str, MemberActor], *, mounts_late: bool) -> None:
    """Return when those that a member waits for are ready, failed, or out of grace.

    A proxy that does not mount late waits for everybody it does not host itself.
    """
    waits = list(spec.depends_on)
    if spec.kind == "proxy" and not mounts_late:
        waits += [member.name for member in plan.members if member.name != spec.name and not member.carried.hosted]
    for name in waits:
        other = actors.get(name)
        if other is None or (other.state.want is Want.DOWN and not other.spec.want_up):
            continue
        await proved(other)


async def proved(actor: MemberActor) -> None:
    """Return when a member that starts is ready, has failed, or is out of grace."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(actor.spec.start_grace + GATE_MARGIN):
            await actor.reached(Phase.RUNNING, Phase.FAILED)


async def stop_in_order(actors: list[MemberActor]) -> None:
    """Stop all: the hosted, the proxy, then the others in reverse start order. Returns when all are at rest."""
    order = list(reversed(actors))
    hosted = [actor for actor in order if actor.spec.carried.hosted]
    others = [actor for actor in order if not actor.spec.carried.hosted]
    proxy = [actor for actor in others if actor.spec.kind == "proxy"]
    rest = [actor for actor in others if actor.spec.kind != "proxy"]
    for wave in (hosted, proxy, *_waves(rest)):
        for number, actor in enumerate(wave, 1):
            actor.tell(d.WantDown(actor.now(), "the watchdog stops"))
            if number % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*(at_rest(actor) for actor in wave))
        await asyncio.gather(*(_insist(actor) for actor in wave if actor.incarnation is not None))


async def _insist(actor: MemberActor) -> None:
    """Stop once more, without grace, a member whose stops failed: others have let go of what it lacked. Told where in vain."""
    try:
        async with asyncio.timeout(d.STOP_MARGIN):
            await actor.force()
    except (McpwatchError, TimeoutError) as error:
        _log.error("%s: may still run: %s", actor.spec.name, error or "it was not stopped in time")


async def at_rest(actor: MemberActor) -> None:
    """Return when a member that was told to stop has stopped, or when it should have long ago."""
    limit = actor.spec.stop_grace + 2 * d.STOP_MARGIN
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit):
            await actor.reached(Phase.STOPPED, Phase.FAILED)


def _waves(actors: list[MemberActor]) -> list[list[MemberActor]]:
    """Members in stop order: those nobody remaining depends on go together, before what they depend on."""
    left, waves = list(actors), list[list[MemberActor]]()
    while left:
        needed = {name for actor in left for name in actor.spec.depends_on}
        wave = [actor for actor in left if actor.spec.name not in needed] or left
        waves.append(wave)
        gone = {actor.spec.name for actor in wave}
        left = [actor for actor in left if actor.spec.name not in gone]
    return waves
