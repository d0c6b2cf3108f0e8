"""What can happen to a member, and what `decide` can answer: frozen data, handed in and out of the state machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mcpwatch.model.member import MemberState, Verdict
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.time import Instant


@dataclass(frozen=True, slots=True)
class LifecycleRules:
    """What `decide` needs of a member's spec. `theirs`: the carrier itself restarts the member and we only follow."""

    restart: RestartPolicy = RestartPolicy()
    start_grace: float = 60.0
    stop_grace: float = 10.0
    theirs: bool = False


@dataclass(frozen=True, slots=True)
class StateEvent:
    """The root: something happened at an instant. `reason` is shown to people and never read."""

    at: Instant
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WantUp(StateEvent):
    """Someone wants the member up. Earlier failures are forgotten: an operator asked, or the spec changed."""


@dataclass(frozen=True, slots=True)
class WantDown(StateEvent):
    """Someone wants the member down."""


@dataclass(frozen=True, slots=True)
class WantRestart(StateEvent):
    """Someone wants a new generation. `counts` when it answers a failure, so that it is limited like a crash."""

    counts: bool = False


@dataclass(frozen=True, slots=True)
class Adopted(StateEvent):
    """At boot, a living generation was found and taken over."""

    generation: int = 0


@dataclass(frozen=True, slots=True)
class Judged(StateEvent):
    """Probes of a generation came to a verdict. `proven` when the latest of them succeeded."""

    generation: int = 0
    verdict: Verdict = Verdict.UNKNOWN
    proven: bool = False


@dataclass(frozen=True, slots=True)
class StartFailed(StateEvent):
    """The runtime could not start a generation. `permanent` when trying again soon cannot help."""

    generation: int = 0
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class GenerationEnded(StateEvent):
    """A generation ended by itself. `code` is its exit code, or `None` when a signal ended it or it cannot be known.

    `final`: another start would end the same way.
    """

    generation: int = 0
    code: int | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Lost(StateEvent):
    """What carries the member went away, and the member with it; not the member's fault."""

    generation: int = 0


@dataclass(frozen=True, slots=True)
class CarrierRestarted(StateEvent):
    """The carrier started a new incarnation by itself."""


@dataclass(frozen=True, slots=True)
class CarrierParked(StateEvent):
    """The carrier gave the member up by its restart policy. It may have seen ends that nobody told us."""


@dataclass(frozen=True, slots=True)
class Stopped(StateEvent):
    """A stop is done: nothing of the generation is alive."""

    generation: int = 0


@dataclass(frozen=True, slots=True)
class StopRefused(StateEvent):
    """An engine did not take the stop that a repair began with: what lives is looked at again before anything is done."""

    generation: int = 0


@dataclass(frozen=True, slots=True)
class Unwatched(StateEvent):
    """Nobody watched for a while, until now: what was due meanwhile may have happened unseen."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed(StateEvent):
    """A deadline may have passed. `early`: what a start waited for is there before it was due, as a port that others held."""

    early: bool = False


EVENTS: tuple[type[StateEvent], ...] = (
    WantUp, WantDown, WantRestart, Adopted, Judged, StartFailed, GenerationEnded, Lost, CarrierRestarted, CarrierParked, Stopped,
    StopRefused, Unwatched, DeadlinePassed,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Start:
    """Start this generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End this generation and everything it started, within the grace."""

    generation: int
    grace: float


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell that a field changed."""

    field: Literal["want", "phase", "verdict"]
    old: str
    new: str
    reason: str


Action = Start | Stop | Publish


@dataclass(frozen=True, slots=True)
class Transition:
    """The next state and what to do, in order."""

    state: MemberState
    actions: tuple[Action, ...] = ()
