"""The kubernetes runtime: a workload for each member, followed by watches; the cluster itself brings back what ends.

Owns: which member is what on which cluster, and the order of a start. Must not know: why a member is started or stopped, nor the
client (that is `api`). Blocking work happens in threads, state changes only in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Appeared, Exited, Gone, Hindered, Incarnation, RuntimeEvent
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.ports import Alone, Fence
from mcpwatch.runtimes.kubernetes.api import Cluster
from mcpwatch.runtimes.kubernetes.carried import CarriedMember, for_each
from mcpwatch.runtimes.kubernetes.causes import Cause
from mcpwatch.runtimes.kubernetes.follow import Life, RunBegan, RunOver, advance
from mcpwatch.runtimes.kubernetes.manifests import FINGERPRINT, GENERATION
from mcpwatch.runtimes.kubernetes.raw import selector
from mcpwatch.runtimes.kubernetes.spec import KubernetesSpec, carrier_of, namespace_of
from mcpwatch.runtimes.kubernetes.view import ClusterView, Seat
from mcpwatch.runtimes.kubernetes.workload import Workload, sweep
from mcpwatch.runtimes.record import Record, Records

START_SHARE = 0.9
"""Of the start grace, how much a start waits for a pod to run: what the cluster says then is told before the grace is over."""
SHORTEST_WAIT = 0.5
STOP_MARGIN = 30.0
"""Seconds beyond the grace that a stop waits until the cluster says that no pod is left."""


class KubernetesRuntime:
    """Carries members whose `carrier` is a `KubernetesSpec`. Speaks to no cluster before the first such member is asked for."""

    name = "kubernetes"
    supervision: Literal["ours", "theirs"] = "theirs"

    def __init__(self, directory: Path, instance: str) -> None:
        """`directory` is the state directory, `instance` its mark (12 hex digits). Does nothing yet."""
        self.fence: Fence = Alone()
        self._logs = directory / "logs"
        self._records = Records(directory, self.name)
        self._instance = instance
        self._views: dict[tuple[str | None, str | None], ClusterView] = {}
        self._members: dict[str, CarriedMember] = {}
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()  # ends, returns and causes: bounded by what the pods do
        self._connecting = asyncio.Lock()

    # -- ports.Runtime ------------------------------------------------------------------------------------------------

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """Adopt what runs and is wanted, remove what is ours and is not."""
        wanted = [spec for spec in specs if isinstance(spec.carrier, KubernetesSpec)]
        adopted = await for_each(wanted, self._adopt)  # why one is left out, the start that follows says
        with contextlib.suppress(RuntimeFailed):
            await self._sweep({spec.name for spec in wanted})
        return tuple(adopted)

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """Have the workload as written and wait until a pod of it runs. What runs already is replaced only where that was asked.

        Raises `RuntimeFailed`: permanently where the cluster says what it waits for, because it goes on trying by itself.
        """
        member = await self._member(spec)
        await member.settled()
        member.spec, member.generation, member.quiet = spec, generation, True
        member.life = replace(member.life, run=("", ""), pod="")
        try:
            await self._launch(member, generation)
            return await self._lives(member)
        finally:
            member.quiet = False

    def number(self, living: Incarnation) -> None:
        """Keep the number that the watchdog gave to a pod which the cluster brought back by itself, while that pod is the one."""
        member = self._members.get(living.member)
        if member is None or living.generation is None or living.container != member.life.pod:
            return
        if member.generation != living.generation:
            member.generation = living.generation
            self._records.note(Record(living.member, living.generation, container="/".join(member.life.run)))

    async def release(self, spec: MemberSpec) -> None:
        """The next start is a rollout: the present pods serve until their successors are ready."""
        member = await self._member(spec)
        member.let_go = True
        member.life = replace(member.life, run=("", ""), pod="")

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """No pods any more. A workload that is not ours keeps running: it is only let go of."""
        member = await self._member(spec)
        await member.settled()
        member.life = replace(member.life, run=("", ""), pod="")
        if not member.workload.carrier.ours:
            member.let_go = True
            return
        member.quiet = True  # what ends now was asked for
        try:
            await asyncio.to_thread(member.workload.scale_down)
            async with asyncio.timeout(grace + STOP_MARGIN):
                while any(pod.phase not in {"Failed", "Succeeded"} for pod in member.seat.pods()):
                    await member.seat.next()
        except TimeoutError:
            raise RuntimeFailed(
                f"{spec.name}: the cluster still shows pods of it {grace + STOP_MARGIN:g}s after the stop"
            ) from None
        finally:
            member.quiet = False
            self._tell_cause(member, None)

    async def resume(self, spec: MemberSpec) -> None:
        """Nothing in a cluster can be stopped and resumed."""
        del spec

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        """Every end and return, what the cluster says, and the cluster itself going and coming back."""
        while True:
            yield await self._events.get()

    def usage(self, member: str) -> Usage | None:
        """Which pod it is, and since when."""
        found = self._members.get(member)
        if found is None or not found.life.up:
            return None
        started = WallTime(found.life.started) if found.life.started else None
        return Usage(started_at=started, container=found.life.pod)

    async def close(self) -> None:
        """Let go of every cluster; no workload is touched."""
        for member in self._members.values():
            for follower in member.followers:
                follower.close()
        for view in self._views.values():
            view.close()
        self._views.clear()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _adopt(self, spec: MemberSpec) -> list[Incarnation]:
        """What runs of a member, taken over without touching a pod."""
        member = await self._member(spec)
        found = await asyncio.to_thread(member.workload.find)
        if found is None or not found.replicas:
            return []
        if self.fence.term:
            await asyncio.to_thread(member.workload.stamp)
        record = self._records.load().get(spec.name)
        template = found.number(GENERATION) if member.workload.carrier.ours else 0
        member.life = replace(member.life, template=template, replicas=found.replicas)
        member.life, steps = advance(member.life, member.seat.pods())
        member.quiet = False
        if not steps:
            return []
        same = record is not None and record.container == "/".join(member.life.run)
        member.generation = (
            record.generation if record and same else max(found.number(GENERATION), record.generation if record else 1)
        )
        fingerprint = found.word(FINGERPRINT) if member.workload.carrier.ours else spec.fingerprint
        return [self._took(member, fingerprint)]

    async def _launch(self, member: CarriedMember, generation: int) -> None:
        """Write what the start needs, and remember whose pods are meant."""
        workload, anew = member.workload, member.let_go
        member.workload = workload = replace(workload, spec=member.spec, carrier=carrier_of(member.spec), fence=self.fence)
        if workload.carrier.ours:
            template = await member.write(lambda: workload.apply(generation, anew=anew))
            member.life = Life(template=template, replicas=workload.carrier.replicas)
        else:
            found = await asyncio.to_thread(workload.find)
            if found is None:
                raise RuntimeFailed(f"{member.spec.name}: there is no {workload.kind} {workload.namespace}/{workload.name}")
            old = frozenset(pod.uid for pod in member.seat.pods()) if anew else frozenset[str]()
            if anew:
                at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                await asyncio.to_thread(workload.roll, at)
            member.life = Life(old=old, replicas=found.replicas)
        member.let_go = False

    async def _lives(self, member: CarriedMember) -> Incarnation:
        """Wait until a pod of the present rollout runs. Raises `RuntimeFailed` with what the cluster says."""
        wait = max(SHORTEST_WAIT, member.spec.start_grace * START_SHARE)
        try:
            async with asyncio.timeout(wait):
                while True:
                    life, steps = advance(member.life, member.seat.pods())
                    if steps:
                        member.life = life
                        return self._took(member, member.spec.fingerprint)
                    self._tell_cause(member, member.cause())
                    await member.seat.next()
        except TimeoutError:
            cause = member.cause()
            said = str(cause) if cause else f"no pod of it runs after {wait:g}s, and the cluster does not say why"
            raise RuntimeFailed(f"{member.spec.name}: {said}", permanent=True) from None

    def _took(self, member: CarriedMember, fingerprint: str) -> Incarnation:
        """A run lives: remember it, and copy what it says."""
        life = member.life
        self._records.note(Record(member.spec.name, member.generation, container="/".join(life.run)))
        self._tell_cause(member, member.cause())
        member.follow_log(self._logs)
        started = WallTime(life.started) if life.started else None
        return Incarnation(member.spec.name, member.generation, fingerprint, container=life.pod, started_at=started)

    def _changed(self, member: CarriedMember) -> None:
        """Something of the member's pods, workload or events changed."""
        if member.quiet or member.let_go:
            return
        member.life, steps = advance(member.life, member.seat.pods())
        for step in steps:
            match step:
                case RunOver(ended, detail):
                    self._events.put_nowait(
                        Exited(member.spec.name, member.generation, ended.code, ended.signal, oom=ended.oom, detail=detail)
                    )
                case RunBegan(pod):
                    member.generation += 1
                    self._took(member, member.spec.fingerprint)
                    self._events.put_nowait(Appeared(member.spec.name, container=pod.name))
        self._tell_cause(member, member.cause())

    def _tell_cause(self, member: CarriedMember, cause: Cause | None) -> None:
        if cause == member.told:
            return
        member.told = cause
        self._events.put_nowait(Hindered(member.spec.name, cause.name if cause else "", str(cause) if cause else ""))

    async def _member(self, spec: MemberSpec) -> CarriedMember:
        """The member, with its cluster watched. Raises `RuntimeFailed`."""
        carrier = carrier_of(spec)
        async with self._connecting:
            known = self._members.get(spec.name)
            view = await self._view(carrier)
            namespace = namespace_of(carrier) or view.cluster.namespace
            workload = Workload(view.cluster, namespace, spec, carrier, carrier.fleet or self._instance, self.fence)
            if known is not None and known.workload.path == workload.path and known.workload.cluster is view.cluster:
                known.workload = replace(workload, spec=known.spec, carrier=known.workload.carrier)
                return known
            if known is not None:
                await self._leave(known)
            seat = await self._seat(view, workload)
            made = CarriedMember(spec, workload, seat, known.generation if known else 0)
            self._members[spec.name] = made
            seat.on_change = lambda: self._changed(made)
        await seat.known()
        return made

    async def _leave(self, known: CarriedMember) -> None:
        """Let go of a workload whose member is carried by another one now; one of ours is removed. Raises `RuntimeFailed`."""
        await known.settled()
        known.seat.on_change = lambda: None
        for view in self._views.values():
            if view.cluster is known.workload.cluster:
                view.leave(known.spec.name)
        for follower in known.followers:
            follower.close()
        if known.workload.carrier.ours:
            await asyncio.to_thread(known.workload.remove)

    async def _seat(self, view: ClusterView, workload: Workload) -> Seat:
        """Where what is heard of a member's pods and workload arrives."""
        if workload.carrier.ours:
            return view.own(workload)
        found = await asyncio.to_thread(workload.find)
        if found is None:
            raise RuntimeFailed(f"{workload.spec.name}: there is no {workload.kind} {workload.namespace}/{workload.name}")
        return view.foreign(workload, selector(found.selector))

    async def _view(self, carrier: KubernetesSpec) -> ClusterView:
        place = (carrier.kubeconfig, carrier.context)
        view = self._views.get(place)
        if view is None:
            loop = asyncio.get_running_loop()
            cluster = await asyncio.to_thread(Cluster, *place)

            def away(detail: str, back: bool) -> None:
                self._events.put_nowait(Gone(self.name, detail, back))

            view = self._views[place] = ClusterView(cluster, loop, away)
        return view

    async def _sweep(self, wanted: set[str]) -> None:
        """Remove workloads of this fleet whose members are in nobody's plan any more, where this runtime looks anyway."""
        for member in self._records.load().keys() - wanted:
            self._records.drop(member)
        members = self._members.values()
        places = {(id(one.workload.cluster), one.workload.namespace, one.workload.fleet): one.workload for one in members}
        for workload in places.values():
            await asyncio.to_thread(sweep, workload, wanted)
