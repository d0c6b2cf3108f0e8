"""What is heard of one cluster, sorted by member: pods, workloads, warnings. Belongs to the event loop.

Owns: which watches there are (a few for each namespace, none for each member of ours), and when a cluster counts as away. Must not
know: what a change means for a member.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mcpwatch.runtimes.kubernetes.api import Cluster
from mcpwatch.runtimes.kubernetes.causes import ClusterEvent, read_event
from mcpwatch.runtimes.kubernetes.manifests import CONTAINER, FLEET, MEMBER, label
from mcpwatch.runtimes.kubernetes.pod import Pod, read_pod
from mcpwatch.runtimes.kubernetes.raw import Object, collection, label_of, name_of, part, word
from mcpwatch.runtimes.kubernetes.watching import Changed, FullList, Heard, Silent, Watch, WatchSource
from mcpwatch.runtimes.kubernetes.workload import Workload

EVENTS_KEPT = 8
"""Latest warnings about one object."""
OBJECTS_KEPT = 2000
"""Objects of which warnings are kept."""
KNOWN_SECONDS = 30.0
"""Longest wait for the first list of a member's pods."""


class Seat:
    """One member's place: what is known of its pods and its workload. `on_change` is called after each change."""

    def __init__(self, workload: Workload, warnings: Callable[[], Iterator[ClusterEvent]]) -> None:
        self.workload: Object | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.name = workload.name
        self.member = workload.spec.name
        self.namespace = workload.namespace
        self.kind = workload.kind
        self._warnings = warnings
        self._pods: dict[str, Pod] = {}
        self._changed = asyncio.Event()
        self._listed = asyncio.Event()

    def pods(self) -> tuple[Pod, ...]:
        """Its pods that are not over."""
        return tuple(pod for pod in self._pods.values() if not (pod.deleting and pod.phase in {"Failed", "Succeeded"}))

    def events(self) -> Iterator[ClusterEvent]:
        """Warnings of its namespace that may be about it."""
        return (event for event in self._warnings() if event.about.partition("/")[2].startswith(self.name))

    async def known(self) -> None:
        """Return when its pods were listed once, or after `KNOWN_SECONDS`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KNOWN_SECONDS):
                await self._listed.wait()

    async def next(self) -> None:
        """Return at the next change. The caller bounds the wait."""
        self._changed.clear()
        await self._changed.wait()

    def take_pod(self, pod: Pod, *, deleted: bool) -> None:
        """One of its pods changed."""
        if deleted:
            self._pods.pop(pod.uid, None)
        else:
            self._pods[pod.uid] = pod
        self.tell()

    def take_all(self, pods: Iterable[Pod]) -> None:
        """These are its pods, and no others."""
        self._pods = {pod.uid: pod for pod in pods}
        self._listed.set()
        self.tell()

    def take_workload(self, raw: Object | None) -> None:
        """Its workload changed."""
        self.workload = raw
        self.tell()

    def tell(self) -> None:
        """Something changed."""
        self._changed.set()
        self.on_change()


@dataclass(frozen=True, slots=True)
class _Topic:
    """What a source tells of: pods or workloads of ours, or of one member (`seat`); or warnings."""

    what: str
    namespace: str
    seat: Seat | None = None
    kind: str = ""


class ClusterView:
    """One cluster as heard."""

    def __init__(self, cluster: Cluster, loop: asyncio.AbstractEventLoop, away: Callable[[str, bool], None]) -> None:
        """`away` is called with the reason when the cluster can be watched no more, and with `True` when it can again."""
        self.cluster = cluster
        self._loop = loop
        self._away = away
        self._watches: dict[WatchSource, Watch] = {}
        self._topics: dict[WatchSource, _Topic] = {}
        self._seats: dict[str, Seat] = {}
        self._warnings: dict[str, dict[str, deque[ClusterEvent]]] = {}
        self._pods: dict[WatchSource, dict[str, tuple[str, Pod]]] = {}
        """Of our own pods, by uid: whose each is."""
        self._workloads: dict[WatchSource, dict[str, Object]] = {}
        self._by_label: dict[tuple[str, str], Seat] = {}
        self._silent: set[WatchSource] = set()

    def own(self, workload: Workload) -> Seat:
        """The place of a member of ours."""
        seat = self._seated(workload)
        namespace, labels = workload.namespace, f"{FLEET}={workload.fleet}"
        self._by_label[namespace, label(seat.member)] = seat
        pods, workloads = (
            WatchSource(collection("Pod", namespace), labels),
            WatchSource(collection(workload.kind, namespace), labels),
        )
        self._follow(pods, _Topic("pods", namespace))
        self._follow(workloads, _Topic("workloads", namespace, kind=workload.kind))
        self._follow_warnings(namespace)
        seat.workload = self._workloads.get(workloads, {}).get(seat.name)
        if pods in self._pods:
            seat.take_all(pod for whose, pod in self._pods[pods].values() if whose == label(seat.member))
        return seat

    def foreign(self, workload: Workload, labels: str) -> Seat:
        """The place of a member that others made, found by its selector."""
        seat, namespace = self._seated(workload), workload.namespace
        self._follow(WatchSource(collection("Pod", namespace), labels), _Topic("pods", namespace, seat))
        name = f"metadata.name={workload.name}"
        self._follow(
            WatchSource(collection(workload.kind, namespace), fields=name), _Topic("workloads", namespace, seat, workload.kind)
        )
        self._follow_warnings(namespace)
        return seat

    def leave(self, member: str) -> None:
        """A member is carried elsewhere now."""
        seat = self._seats.pop(member, None)
        self._by_label = {key: found for key, found in self._by_label.items() if found is not seat}
        for source in [source for source, topic in self._topics.items() if seat is not None and topic.seat is seat]:
            del self._topics[source]
            self._watches.pop(source).close()

    def close(self) -> None:
        """Watch no more."""
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()
        self.cluster.close()

    @property
    def requests(self) -> int:
        """Lists and watches asked for so far."""
        return sum(watch.requests for watch in self._watches.values())

    def _seated(self, workload: Workload) -> Seat:
        namespace = workload.namespace
        warnings = self._warnings.setdefault(namespace, {})
        seat = Seat(workload, lambda: (event for told in warnings.values() for event in told))
        self._seats[workload.spec.name] = seat
        return seat

    def _follow_warnings(self, namespace: str) -> None:
        self._follow(WatchSource(collection("Event", namespace), fields="type=Warning"), _Topic("warnings", namespace))

    def _follow(self, source: WatchSource, topic: _Topic) -> None:
        if source in self._watches:
            return
        self._topics[source] = topic

        def post(heard: Heard) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._heard, heard)

        self._watches[source] = Watch(self.cluster, source, post)

    def _heard(self, heard: Heard) -> None:
        topic = self._topics.get(heard.source)
        if topic is None:
            return
        match heard:
            case Silent():
                self._went_silent(topic, heard)
            case FullList(_, objects):
                self._take_list(heard.source, topic, list(objects))
            case Changed(_, raw, deleted):
                self._take(heard.source, topic, raw, deleted=deleted)

    def _take_list(self, source: WatchSource, topic: _Topic, objects: list[Object]) -> None:
        if topic.what == "warnings":
            for raw in sorted(objects, key=lambda one: word(one, "lastTimestamp")):
                self._warn(topic.namespace, raw)
        elif topic.what == "pods":
            self._take_pods(source, topic, objects)
        else:
            found = {name_of(raw): _lean(raw) for raw in objects}
            self._workloads[source] = found
            for seat in self._about(topic):
                if seat.kind == topic.kind:
                    seat.take_workload(found.get(seat.name))

    def _take_pods(self, source: WatchSource, topic: _Topic, objects: list[Object]) -> None:
        if topic.seat is not None:
            topic.seat.take_all(read_pod(raw, "") for raw in objects)
            return
        held = self._pods[source] = {
            pod.uid: (label_of(raw, MEMBER), pod) for raw in objects for pod in (read_pod(raw, CONTAINER),)
        }
        whose: dict[str, list[Pod]] = {}
        for member, pod in held.values():
            whose.setdefault(member, []).append(pod)
        for seat in self._about(topic):
            seat.take_all(whose.get(label(seat.member), ()))

    def _take(self, source: WatchSource, topic: _Topic, raw: Object, *, deleted: bool) -> None:
        if topic.what == "warnings":
            about = self._warn(topic.namespace, raw).partition("/")[2]
            for seat in self._seats.values():
                if seat.namespace == topic.namespace and about.startswith(seat.name):
                    seat.tell()
        elif topic.what == "pods":
            self._take_pod(source, topic, raw, deleted=deleted)
        else:
            held = self._workloads.setdefault(source, {})
            held.pop(name_of(raw), None)
            if not deleted:
                held[name_of(raw)] = _lean(raw)
            seat = topic.seat or self._by_label.get((topic.namespace, label_of(raw, MEMBER)))
            if seat is not None and seat.name == name_of(raw) and seat.kind == topic.kind:
                seat.take_workload(None if deleted else _lean(raw))

    def _take_pod(self, source: WatchSource, topic: _Topic, raw: Object, *, deleted: bool) -> None:
        if topic.seat is not None:
            topic.seat.take_pod(read_pod(raw, ""), deleted=deleted)
            return
        pod, held = read_pod(raw, CONTAINER), self._pods.setdefault(source, {})
        held.pop(pod.uid, None)
        if not deleted:
            held[pod.uid] = (label_of(raw, MEMBER), pod)
        seat = self._by_label.get((topic.namespace, label_of(raw, MEMBER)))
        if seat is not None:
            seat.take_pod(pod, deleted=deleted)

    def _about(self, topic: _Topic) -> list[Seat]:
        if topic.seat is not None:
            return [topic.seat]
        return [seat for (namespace, _), seat in self._by_label.items() if namespace == topic.namespace]

    def _warn(self, namespace: str, raw: Object) -> str:
        """Keep one warning; returns what it is about."""
        event = read_event(raw)
        kept = self._warnings.setdefault(namespace, {})
        kept.setdefault(event.about, deque(maxlen=EVENTS_KEPT)).append(event)
        if len(kept) > OBJECTS_KEPT:
            kept.pop(next(iter(kept)))
        return event.about

    def _went_silent(self, topic: _Topic, heard: Silent) -> None:
        """A watch broke or works again. What we may not see at all (warnings, without the right to) is no outage."""
        if topic.what == "warnings" and heard.forbidden:
            return
        before = bool(self._silent)
        (self._silent.discard if heard.back else self._silent.add)(heard.source)
        if bool(self._silent) != before:
            self._away(heard.detail or f"{self.cluster.where} answers again", not self._silent)


def _lean(raw: Object) -> Object:
    """Without what says who manages which field: nobody here reads it, and it is the greater part."""
    return {**raw, "metadata": {key: value for key, value in part(raw, "metadata").items() if key != "managedFields"}}
