"""What a user writes under `telemetry:`; every default stands beside its field. Knows no library and opens nothing."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from mcpwatch.registry import KindSpec
from mcpwatch.units import Listen, Size, Span, Url

Ratio = Annotated[float, Field(gt=0, lt=1)]
Level = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "human", "json"]

MAX_LABELS = 11
"""Loki takes 15 labels; four are ours (app, host, member, stream)."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OURS = ("app", "host", "member", "stream")


def _push_url(text: str) -> str:
    """A bare address gets the path of the push API."""
    return text if urlsplit(text).path not in {"", "/"} else text.rstrip("/") + "/loki/api/v1/push"


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > MAX_LABELS:
        raise ValueError(f"{len(labels)} labels, Loki takes {MAX_LABELS} beside ours; put the rest into the log text")
    for name in labels:
        if not _LABEL.fullmatch(name):
            raise ValueError(f"'{name}' is no label name; use letters, digits and '_', not starting with a digit")
        if name in _OURS:
            raise ValueError(f"'{name}' is set by mcpwatch itself; use another name")
    return labels


def loopback(listen: str) -> bool:
    """Whether `listen` (HOST:PORT) can be reached from this machine only."""
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class MetricsSpec(KindSpec):
    """Where Prometheus scrapes."""

    listen: Listen = "127.0.0.1:9464"
    token: SecretStr | None = None
    """Bearer token a scraper must show."""
    open: bool = False
    """Serve other machines without a token."""

    @model_validator(mode="after")
    def _guarded(self) -> MetricsSpec:
        if not loopback(self.listen) and self.token is None and not self.open:
            raise ValueError(f"{self.listen} can be reached from other machines; set 'token', or 'open: true' to allow it")
        return self


class BasicAuth(KindSpec):
    """User and password for HTTP basic authentication."""

    username: str
    password: SecretStr


class LokiAuth(KindSpec):
    """How Loki knows us; at most one of the two, and a tenant beside it."""

    basic: BasicAuth | None = None
    bearer: SecretStr | None = None

    @model_validator(mode="after")
    def _one(self) -> LokiAuth:
        if self.basic and self.bearer:
            raise ValueError("both 'basic' and 'bearer' are set; keep one")
        return self


class TlsSpec(KindSpec):
    """TLS towards Loki: own CA, client certificate, or (for a test bench) no verification."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool = False


class LokiSpec(KindSpec):
    """Where and how logs are shipped."""

    url: Annotated[Url, AfterValidator(_push_url)]
    tenant: str | None = None
    """Sent as `X-Scope-OrgID`."""
    auth: LokiAuth = LokiAuth.unwritten()
    tls: TlsSpec = TlsSpec.unwritten()
    host: str | None = None
    """The `host` label; by default this machine's name."""
    labels: Annotated[dict[str, str], AfterValidator(_labels)] = Field(default_factory=dict)
    metadata: Literal["structured", "inline"] = "structured"
    """`inline` writes metadata into the line as logfmt, for a Loki older than 3."""
    batch_bytes: Annotated[Size, Field(ge=1024, le=1 << 20)] = 1 << 20
    batch_lines: Annotated[int, Field(ge=1, le=50_000)] = 5_000
    wait: Span = 1.0
    """How long new lines are gathered before they are sent."""
    timeout: Span = 15.0
    """Deadline of one push."""
    max_age: Span = 7 * 86_400.0
    """Older lines are dropped and counted: Loki refuses them anyway."""
    spool_bytes: Annotated[Size, Field(ge=1 << 16)] = 64 << 20
    """Cap of our own records waiting to be shipped; the oldest are dropped and counted."""
    dead_bytes: Annotated[Size, Field(ge=1 << 16)] = 64 << 20
    """Cap of the dead letters; the oldest are dropped and counted."""


class DaemonLogSpec(KindSpec):
    """The daemon's own log."""

    format: LogFormat = "auto"
    """`auto`: for people on a terminal, JSON elsewhere."""
    level: Level = "info"
    targets: tuple[Annotated[str, Field(pattern=r"^(stderr|journald|syslog|syslog:.+|file:/.+)$")], ...] = ("stderr",)
    """`stderr`, `journald`, `syslog` (the local one), `syslog:HOST:PORT` (UDP) or `file:/PATH` (opened again when moved away)."""


class OtelSpec(KindSpec):
    """Traces of probes and repairs by OTLP over HTTP; needs the extra `mcpwatch[otel]`."""

    endpoint: Url
    """E.g. http://127.0.0.1:4318/v1/traces."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of successful probes that are traced; failures and repairs always are."""


class PromisedObjective(KindSpec):
    """What a member promises."""

    availability: Ratio = 0.99
    """Share of successful probes over 30 days."""
    latency: Span = 5.0
    """95 of 100 probes are faster than this, in seconds."""


class TelemetrySpec(KindSpec):
    """The top-level key `telemetry`. What is not written is off."""

    metrics: MetricsSpec | None = None
    loki: LokiSpec | None = None
    logs: DaemonLogSpec = DaemonLogSpec.unwritten()
    otel: OtelSpec | None = None
    objective: PromisedObjective = PromisedObjective.unwritten()
    objectives: dict[str, PromisedObjective] = Field(default_factory=dict)
    """By member name; the others have `objective`."""

    def promise(self, member: str) -> PromisedObjective:
        """The objective of `member`."""
        return self.objectives.get(member, self.objective)


SECTION = ("telemetry", TelemetrySpec)
