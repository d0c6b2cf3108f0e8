"""Traces of probes and repairs by OpenTelemetry, as the optional extra `mcpwatch[otel]`: imported only when configured.

A probe is one span with a child for each stage; a repair is one span from the first rung to its proof. Exporting happens in the
SDK's own thread with a bounded queue; nothing waits for it.
"""

from __future__ import annotations

import random
from typing import Any, cast

from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.fact import Fact, ProbeFinished, RepairProved
from mcpwatch.model.probe import Outcome
from mcpwatch.telemetry.metrics_recorder import METHODS
from mcpwatch.telemetry.spec import OtelSpec

EXPORT_TIMEOUT = 5
"""Seconds one export may take."""
FLUSH_TIMEOUT = 2000
"""Milliseconds that closing waits for the last spans."""
QUEUE_SIZE = 2048


class Tracer:
    """Turns facts into spans. Raises `ConfigError` when the extra is not installed."""

    def __init__(self, spec: OtelSpec, version: str, exporter: Any = None) -> None:
        """`exporter` replaces the one for `spec.endpoint` (tests collect spans in memory)."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        except ImportError as error:
            text = f"needs OpenTelemetry ({error.name} is not installed); install it with: pip install 'mcpwatch[otel]'"
            raise ConfigError(Fault("telemetry.otel", text)) from error
        headers = {key: value.get_secret_value() for key, value in spec.headers.items()}
        chosen = exporter or OTLPSpanExporter(endpoint=spec.endpoint, headers=headers, timeout=EXPORT_TIMEOUT)
        resource = Resource({"service.name": "mcpwatch", "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(chosen, max_queue_size=QUEUE_SIZE))
        self._tracer = self._provider.get_tracer("mcpwatch", version)
        self._sample = spec.sample
        self._chance = random.Random()  # noqa: S311 - sampling
        self._client = SpanKind.CLIENT
        self._failed = Status(StatusCode.ERROR)
        self._under = set_span_in_context

    def offer(self, fact: Fact) -> None:
        """Trace a fact when it is one to trace; never blocks."""
        if isinstance(fact, ProbeFinished):
            if fact.result.outcome is not Outcome.SUCCESS or self._chance.random() < self._sample:
                self._probe(fact)
        elif isinstance(fact, RepairProved):
            self._repair(fact)

    def close(self) -> None:
        """Send what waits, within `FLUSH_TIMEOUT`, and stop."""
        self._provider.force_flush(FLUSH_TIMEOUT)
        self._provider.shutdown()

    def _probe(self, fact: ProbeFinished) -> None:
        result = fact.result
        began = _nanoseconds(fact.at - result.seconds)
        tags: dict[str, Any] = {
            "mcpwatch.member": fact.member,
            "mcpwatch.check": fact.check,
            "mcpwatch.vantage": fact.vantage,
            "mcpwatch.outcome": str(result.outcome),
            "mcpwatch.generation": fact.generation,
        }
        if fact.route:
            tags["mcpwatch.route"] = fact.route
        if result.symptom:
            tags["error.type"] = str(result.symptom)
        if result.server and result.server.protocol:
            tags["mcp.protocol.version"] = result.server.protocol
        name = f"probe {fact.member} {fact.vantage}"
        span = self._tracer.start_span(name, start_time=began, kind=self._client, attributes=tags)
        if result.outcome is Outcome.FAILURE:
            span.set_status(self._failed)
        at = began
        for timing in result.timings:
            stage = {"mcp.method.name": METHODS[timing.stage]} if timing.stage in METHODS else {}
            child = self._tracer.start_span(str(timing.stage), self._under(span), start_time=at, attributes=stage)
            at += round(timing.seconds * 1e9)
            if timing.stage is result.stage and result.outcome is Outcome.FAILURE:
                child.set_status(self._failed)
            child.end(at)
        span.end(_nanoseconds(fact.at))

    def _repair(self, fact: RepairProved) -> None:
        tags = cast("dict[str, Any]", {f"mcpwatch.{key}": value for key, value in fact.labels().items()})
        span = self._tracer.start_span(f"repair {fact.member}", start_time=_nanoseconds(fact.at - fact.seconds), attributes=tags)
        if fact.outcome == "failed":
            span.set_status(self._failed)
        span.end(_nanoseconds(fact.at))


def _nanoseconds(at: float) -> int:
    return round(at * 1e9)
