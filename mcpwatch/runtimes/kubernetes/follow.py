"""What a member's pods mean for its life: which run is its present one, when it ended and how, when another began. Pure.

The kubelet starts ended containers again and the controllers replace lost pods; that is told as an end and a return. Must not know:
who asked for a start, or what the API is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mcpwatch.runtimes.kubernetes.pod import Pod, PodContainerEnd


@dataclass(frozen=True, slots=True)
class Life:
    """One member as last seen. `template`: the generation that its pods carry; `old`: pods that a rollout replaces.

    `run` is the present run, empty while none lives. Where `replicas` are wanted, another that runs takes its place unnoticed.
    """

    template: int = 0
    old: frozenset[str] = frozenset()
    run: tuple[str, str] = ("", "")
    pod: str = ""
    started: float = 0.0
    replicas: int = 1
    seen: Pod | None = None
    """The pod of the present run as it was last seen: what was said of it before it was removed."""

    @property
    def up(self) -> bool:
        """Whether a run lives."""
        return bool(self.run[0])


@dataclass(frozen=True, slots=True)
class RunOver:
    """The present run ended, and no other lives."""

    ended: PodContainerEnd
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RunBegan:
    """A run lives that nobody here was told of."""

    pod: Pod


Step = RunOver | RunBegan


def own_pods(life: Life, pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """The pods of the present rollout, the oldest first."""
    found = (pod for pod in pods if pod.uid not in life.old and (not life.template or pod.generation == life.template))
    return tuple(sorted(found, key=lambda pod: (pod.deleting, pod.created, pod.name)))


def advance(life: Life, pods: Iterable[Pod]) -> tuple[Life, tuple[Step, ...]]:
    """The life after a look at all pods of the workload, and what has to be told."""
    mine = own_pods(life, pods)
    running = [pod for pod in mine if pod.running]
    present = next((pod for pod in running if pod.run == life.run), None)
    if present is not None:
        life = replace(life, seen=present)
    if present is not None and not present.deleting:
        return life, ()
    chosen = next((pod for pod in running if not pod.deleting), present)
    if chosen is None:
        down = replace(life, run=("", ""), pod="", started=0.0, seen=None)
        return (down, (_over(life, mine),)) if life.up else (life, ())
    if chosen is present:
        return life, ()
    after = replace(life, run=chosen.run, pod=chosen.name, started=chosen.started, seen=chosen)
    if not life.up:
        return after, (RunBegan(chosen),)
    if life.replicas > 1 and chosen.uid != life.run[0]:
        return after, ()  # a replica that lived beside it: the member as a whole never ended
    return after, (_over(life, mine), RunBegan(chosen))


def _over(life: Life, pods: Iterable[Pod]) -> RunOver:
    """How the present run ended, as far as its pod still says."""
    found = next((pod for pod in pods if pod.uid == life.run[0]), None)
    pod = found or life.seen
    words = (pod.disrupted or f"{pod.reason}: {pod.message}".strip(": ")) if pod is not None else ""
    if pod is None or (found is None and not words):
        ended = pod.ended if pod is not None else None
        return RunOver(ended or PodContainerEnd(), f"pod {life.pod} is gone: somebody or the cluster removed it")
    before = pod.last if pod.run != life.run else None  # of a run that goes on, `last` is how another one ended
    ended = pod.ended or before or PodContainerEnd()
    if pod.deleting and not words:
        words = f"pod {pod.name} is being removed"
    said = ended.message.splitlines()[-1] if ended.message else ""
    return RunOver(ended, words or said or (ended.reason if ended.oom or ended.code is None else ""))
