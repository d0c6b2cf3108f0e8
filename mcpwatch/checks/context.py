"""What every kind of check is given: one probe in progress, with its target, its deadlines and what it found so far.

A kind of check is a `CheckKind`: the spec a user writes and the function that runs it, together in one file. It raises
`ProbeFailure` at the first failure. Imports no HTTP client until one is asked for: the configuration imports every kind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.list_cache import ListCache
from mcpwatch.checks.rpc import Message
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.wire import Wire
from mcpwatch.model.probe import ServerInfo, Target, Tool, Vantage
from mcpwatch.model.spec import CheckSpec
from mcpwatch.registry import Kind, KindSpec

if TYPE_CHECKING:
    from mcpwatch.checks.caller import ProbeHttp
    from mcpwatch.checks.era import Eras
    from mcpwatch.checks.transport import ProbeTransport


@dataclass(slots=True)
class ProbeFindings:
    """What a probe has learned so far; the prober makes its result of it, whatever happens next."""

    server: ServerInfo | None = None
    tools: tuple[Tool, ...] | None = None
    fingerprint: str | None = None
    tokens: int | None = None
    contract: str | None = None
    lint: tuple[str, ...] = ()
    items: list[Message] = field(default_factory=list[Message])
    digest: bytes = b""
    safe: str | None = None
    """A tool that may be called without arguments."""
    said: str = ""
    """What that said when it was."""
    remarks: tuple[str, ...] = ()
    """What is told beside the symptom."""
    lists_from_cache: str = ""
    """By what the server shows that it answers lists from a cache; empty when it does not show it."""
    remembers: bool = False
    """Whether lists are taken for no proof here, because they may come from a memory."""
    degraded: list[ProbeFailure] = field(default_factory=list[ProbeFailure])
    """What is wrong, but not so wrong that a client cannot work."""


@dataclass(slots=True)
class Probe:
    """One probe in progress."""

    check: CheckSpec
    target: Target
    vantage: Vantage
    timeline: ProbeTimeline
    transport: ProbeTransport
    eras: Eras
    cache: ListCache
    found: ProbeFindings = field(default_factory=ProbeFindings)
    wire: Wire | None = None
    """The session in use, if there is one; the prober closes it."""

    @property
    def listed(self) -> bool:
        """Whether this very session listed what is behind it, and no memory did: then the session lives."""
        return bool(self.found.tools) and not self.found.lists_from_cache and not self.found.remembers

    @property
    def passes_results(self) -> bool:
        """Whether an error in the result of a call is of the tool: as above, or it is one that never tells its own troubles so."""
        return self.listed or (bool(self.found.tools) and bool(self.found.lists_from_cache))

    def caller(self, target: Target | None = None) -> ProbeHttp:
        """What sends HTTP requests for this probe, to its own target or to another."""
        from mcpwatch.checks.caller import ProbeHttp

        return ProbeHttp(target or self.target, self.transport, self.timeline)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckKind(Kind[KindSpec]):
    """A kind of check. `run(probe, spec)` carries it out; `spec` is what the user wrote for it, validated."""

    run: Callable[[Probe, Any], Awaitable[None]]

    def options(self, written: object) -> KindSpec:
        """The spec of a check: as written, else the kind's defaults. Raises `TypeError` for the spec of another kind."""
        if written is None:
            return self.spec()
        if not isinstance(written, self.spec):
            raise TypeError(f"a check of kind {self.name} has no options of type {type(written).__name__}")
        return written


def as_written(spec: KindSpec) -> KindSpec:
    """The `make` of every check kind: its options are the spec itself."""
    return spec
