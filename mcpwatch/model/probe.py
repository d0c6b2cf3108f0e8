"""What a probe is asked and what it answers: targets, stages, symptoms, outcomes. Data only; knows no wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from mcpwatch.model.symptom import Stage, Symptom

Vantage = Literal["direct", "route"]
Transport = Literal["auto", "sse", "http", "stateless", "stdio"]
"""How to speak: `sse` = HTTP+SSE 2024-11-05, `http` = Streamable HTTP 2025, `stateless` = 2026-07-28, `auto` = find out."""


NO_TOKEN = "no token was sent"  # noqa: S105 - words
"""What the message of an `auth` failure says where there was none to refuse."""


class Outcome(StrEnum):
    """Result of one probe. `UNKNOWN` means the prober itself broke and argues neither for nor against the member."""

    SUCCESS = "success"
    DEGRADED = "degraded"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Expect:
    """Assertions of a check. Unset fields assert nothing."""

    min_tools: int | None = None
    tools: tuple[str, ...] = ()
    server_name: str | None = None
    server_version: str | None = None
    max_latency: float | None = None
    """Seconds for the whole probe; slower is degraded."""
    contains: str | None = None
    regex: str | None = None
    jsonpath: str | None = None
    """RFC 9535 query on the canary's result; must select at least one value."""
    json_schema: str | None = None
    """JSON text of a schema the canary's result must satisfy."""
    certificate_days: int | None = None


@dataclass(frozen=True, slots=True)
class Canary:
    """A `tools/call` that proves the whole way to the upstream. `arguments` is JSON text of an object."""

    tool: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a member or a route answers. `token` never appears in a repr."""

    url: str = ""
    transport: Transport = "auto"
    token: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    command: tuple[str, ...] = ()
    """For `stdio`: the argv to spawn and speak to."""
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    beneath: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    """The environment to which `env` is added; `None`: our own."""
    cwd: str | None = None
    ca_file: str | None = None
    insecure: bool = False
    cert_file: str | None = None
    """The client certificate to show, a PEM file, and its key where that is a file of its own."""
    key_file: str | None = None
    public_url: str = ""
    """What clients are given, when it differs from `url`: its host goes into the `Host` header, and the
    `endpoint` event of a legacy SSE server may name its origin."""


@dataclass(frozen=True, slots=True)
class StageTiming:
    """How long one stage took, in seconds."""

    stage: Stage
    seconds: float


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool as listed: its name, whether it says it is read-only, and the hash of its whole contract."""

    name: str
    fingerprint: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the server said of itself. `protocol` is the negotiated MCP version, `wire` the transport found."""

    name: str = ""
    version: str = ""
    protocol: str = ""
    wire: Transport = "auto"
    capabilities: tuple[str, ...] = ()


BROKE = "the prober broke"
"""How the message of a probe begins in which our own code failed."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One execution of a check.

    `symptom` and `stage` are set unless the outcome is success. `message` is one line, bounded and redacted.
    `said` is what the server answered, bounded and redacted: of a success, what a call said that had to fail.
    `contract` is canonical JSON text of the listed items when the check asked for it (see `mcpwatch.checks.contract`). `tokens`
    estimates what `tools/list` weighs in a model's context.
    """

    outcome: Outcome
    symptom: Symptom | None = None
    stage: Stage | None = None
    message: str = ""
    said: str = ""
    http_status: int | None = None
    rpc_code: int | None = None
    seconds: float = 0.0
    timings: tuple[StageTiming, ...] = ()
    server: ServerInfo | None = None
    tools: tuple[Tool, ...] | None = None
    fingerprint: str | None = None
    contract: str | None = None
    tokens: int | None = None
    lint: tuple[str, ...] = ()
    certificate_days: float | None = None
    tls_version: str = ""
    """`TLSv1.3`; empty without TLS."""
    versions: tuple[str, ...] = ()
    """Protocol versions that the server says it supports, when it refused ours."""
    retry_after: float | None = None
    """Seconds after which the server wants to be asked again (`Retry-After`)."""
    remarks: tuple[str, ...] = ()
    """What else is wrong but fails nothing, as `slow: the probe took 3.2 s, …`: every degradation but the symptom itself."""
    lists_from_cache: str = ""
    """By what the server shows that it answers lists from a cache, not from what is behind it; empty when it does not show it.
    Such a server proves its upstream by a safe call or a canary alone, on whichever vantage it stands."""

    @property
    def symptom_text(self) -> str:
        """The symptom as shown: `timeout@tools_list`, `refused`, or the empty string."""
        if self.symptom is None:
            return ""
        if self.symptom in (Symptom.TIMEOUT, Symptom.CUT) and self.stage is not None:
            return f"{self.symptom}@{self.stage}"
        return str(self.symptom)

    @property
    def own_fault(self) -> str:
        """What failed in mcpwatch's own code, as ` at open: KeyError: 'x'`, of a probe that saw nothing for it; else empty."""
        ours = self.outcome is Outcome.UNKNOWN and self.message.startswith(BROKE)
        return self.message.removeprefix(BROKE) if ours else ""
