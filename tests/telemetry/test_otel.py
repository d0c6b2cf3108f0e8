from __future__ import annotations

import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from mcpwatch.model.errors import ConfigError
from mcpwatch.model.fact import MemberExited, RepairProved
from mcpwatch.telemetry.otel import Tracer
from mcpwatch.telemetry.spec import OtelSpec
from tests.telemetry import fleet

SPEC = OtelSpec(endpoint="http://127.0.0.1:9/v1/traces")


def test_a_failed_probe_is_a_span_with_a_child_for_each_stage() -> None:
    spans = InMemorySpanExporter()
    tracer = Tracer(SPEC, "1", spans)
    tracer.offer(fleet.probed("time", fleet.BAD, "route"))
    tracer.offer(MemberExited(at=fleet.NOW, text="x", member="time", generation=1))
    tracer.close()
    found = {span.name: span for span in spans.get_finished_spans()}
    probe = found.pop("probe time route")
    assert probe.attributes is not None
    assert probe.attributes["error.type"] == "timeout"
    assert probe.attributes["mcp.protocol.version"] == "2025-06-18"
    assert probe.status.status_code is StatusCode.ERROR
    assert probe.end_time is not None
    assert probe.start_time is not None
    assert probe.end_time - probe.start_time == 10_000_000_000
    assert [timing.stage for timing in fleet.BAD.timings] == list(found)
    inside = probe.get_span_context()
    assert inside is not None
    assert all(span.parent is not None and span.parent.span_id == inside.span_id for span in found.values())
    assert found["tools_list"].attributes == {"mcp.method.name": "tools/list"}
    assert found["tools_list"].status.status_code is StatusCode.ERROR
    assert found["initialize"].status.status_code is StatusCode.UNSET


def test_a_repair_is_a_span_up_to_its_proof() -> None:
    spans = InMemorySpanExporter()
    tracer = Tracer(SPEC, "1", spans)
    tracer.offer(
        RepairProved(at=fleet.NOW, text="x", member="fetch", rung="restart", cause="member_hung", outcome="proved", seconds=2.5)
    )
    tracer.close()
    (span,) = spans.get_finished_spans()
    assert span.attributes is not None
    assert (span.name, span.attributes["mcpwatch.rung"]) == ("repair fetch", "restart")


def test_good_probes_are_sampled_and_bad_ones_never_left_out() -> None:
    spans = InMemorySpanExporter()
    tracer = Tracer(SPEC.model_copy(update={"sample": 0.0}), "1", spans)
    tracer.offer(fleet.probed("time"))
    tracer.offer(fleet.probed("time", fleet.BAD))
    tracer.close()
    assert sum(span.name.startswith("probe") for span in spans.get_finished_spans()) == 1


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"telemetry\.otel: needs OpenTelemetry .* pip install 'mcpwatch\[otel\]'"):
        Tracer(SPEC, "1")
