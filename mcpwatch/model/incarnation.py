"""One living member as its runtime knows it, and what a runtime tells of it. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from mcpwatch.model.probe import Target
from mcpwatch.model.time import WallTime


@dataclass(frozen=True, slots=True)
class Exited:
    """A runtime saw an incarnation end. `code` and `signal` as the kernel or engine tells; `None` when it cannot be known."""

    member: str
    generation: int
    code: int | None = None
    signal: int | None = None
    oom: bool = False
    detail: str = ""
    final: bool = False
    """Another start would end the same way, and end what this one left."""


@dataclass(frozen=True, slots=True)
class Appeared:
    """A runtime with `supervision = "theirs"` started a new incarnation by itself."""

    member: str
    pid: int | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Parked:
    """A runtime with `supervision = "theirs"` gave a member up by its restart policy. Some of the ends may not have been told."""

    member: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A runtime lost sight of everything it carries (engine away, gateway down); `back` when it sees again."""

    runtime: str
    detail: str = ""
    back: bool = False


@dataclass(frozen=True, slots=True)
class Preparing:
    """What a runtime does before a member can start, where that takes long: a step of a build, a pull."""

    member: str
    text: str


@dataclass(frozen=True, slots=True)
class Paused:
    """A member was paused where it runs (its container), by whomever; `back` when it runs again."""

    member: str
    back: bool = False


@dataclass(frozen=True, slots=True)
class Hindered:
    """What an engine itself says keeps a member from running or being reached: a named cause, and a sentence with its own words.

    Both are empty when nothing does any more. The engine goes on trying by itself, so no restart answers such a cause.
    """

    member: str
    cause: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """A member that runs on answers at another place than before: its container has another address."""

    member: str
    generation: int
    direct: Target


@dataclass(frozen=True, slots=True)
class Startable:
    """What a member runs in, which is not ours, was started by somebody: there is something to start or to take over again."""

    member: str


RuntimeEvent = Exited | Appeared | Parked | Gone | Preparing | Paused | Hindered | Moved | Startable


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One living member as its runtime knows it: what adoption finds and `start` returns.

    `direct` is set when only the runtime knows where the member answers (a container's address). `generation` is `None` for one
    that its carrier started while nobody watched: the watchdog gives it its number.
    """

    member: str
    generation: int | None
    fingerprint: str
    pid: int | None = None
    container: str | None = None
    started_at: WallTime | None = None
    direct: Target | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The latest start of a member, as the store has it."""

    generation: int
    pid: int
    fingerprint: str = ""
