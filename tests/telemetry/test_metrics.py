from __future__ import annotations

import asyncio
import re
import threading
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from mcpwatch.model.fact import (
    AlertChanged,
    ClientFileSkipped,
    ClientFileWritten,
    ConfigRejected,
    MemberExited,
    MemberStarted,
    PlanApplied,
    RepairTried,
    ToolsChanged,
    Troubled,
)
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import ProbeResult, Symptom
from mcpwatch.model.spec import Plan
from mcpwatch.model.view import Diagnosis, FleetView
from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.fleet_collector import FleetCollector, LoopReader, ScrapeSnapshot
from mcpwatch.telemetry.metrics import MetricsServer, RegistryCollector
from mcpwatch.telemetry.metrics_recorder import MetricsRecorder
from mcpwatch.telemetry.readings import AlertsNow, CallsNow, ObjectiveNow, PromisesNow, Readings
from mcpwatch.telemetry.spec import MetricsSpec, PromisedObjective, TelemetrySpec
from tests.telemetry import fleet


class World:
    """A plan and a view that a test may change, and the collector over them."""

    def __init__(self, *members: str, spec: TelemetrySpec | None = None) -> None:
        self.plan: Plan = fleet.plan(*members)
        self.view: FleetView = fleet.view(*members)
        self.promises = PromisesNow()
        self._text = ""
        self._samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        readings = Readings(receivers=("ops",), clients=("vscode",))
        self.collector = FleetCollector(spec or TelemetrySpec(), "1.2.3", self.look, readings)

    def look(self) -> ScrapeSnapshot:
        return ScrapeSnapshot(self.plan, self.view, offered=self.collector.offered, promises=self.promises)

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        text = re.sub(r"(?m)^mcpwatch_scrape_render_seconds .*", "", self.collector.text())
        if text != self._text:
            self._text = text
            self._samples = {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        return self._samples

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, frozenset(labels.items())))


def test_every_known_series_is_there_with_zero_before_anything_happened() -> None:
    world = World("time")
    probe = {"member": "time", "check": "mcp", "vantage": "direct"}
    assert world.value("mcpwatch_probes_total", **probe, outcome="failure") == 0
    assert world.value("mcpwatch_probe_duration_seconds_count", **probe) == 0
    assert world.value("mcpwatch_probes_total", member="time", route="time", check="mcp", vantage="route", outcome="success") == 0
    counted = {dict(labels)["symptom"] for (name, labels) in world.samples() if name == "mcpwatch_probe_symptoms_total"}
    assert counted == set(Symptom)
    assert world.value("mcpwatch_member_exits_total", member="time", cause="oom") == 0
    assert world.value("mcpwatch_member_exits_total", member="proxy", cause="oom") == 0
    assert world.value("mcpwatch_notifications_total", receiver="ops", outcome="failed") == 0
    assert world.value("mcpwatch_client_config_syncs_total", client="vscode") == 0
    assert world.value("mcpwatch_facts_total", fact="watch_gap") == 0


def test_facts_are_counted() -> None:
    world = World("time", "fetch")
    at, text = fleet.NOW, "x"
    for fact in (
        fleet.probed("time"),
        fleet.probed("time", fleet.BAD, "route"),
        MemberStarted(at=at, text=text, member="time", generation=1, adopted=True),
        MemberExited(at=at, text=text, member="time", generation=1, signal=9),
        MemberExited(at=at, text=text, member="time", generation=2, signal=9, oom=True),
        MemberExited(at=at, text=text, member="time", generation=3, code=0),
        RepairTried(at=at, text=text, member="fetch", rung="reconnect", cause="stale_session"),
        ToolsChanged(at=at, text=text, member="fetch", severity="breaking"),
        ConfigRejected(at=at, text=text),
        AlertChanged(at=at, text=text, member="time", alert="down", old="pending", new="firing", severity="critical"),
        ClientFileSkipped(at=at, text=text, client="vscode", path="/x", reason="broken"),
        Troubled(at=at, text=text, subject="disk_full"),
    ):
        world.collector.offer(fact)
    route = {"member": "time", "route": "time", "check": "mcp", "vantage": "route"}
    assert world.value("mcpwatch_probes_total", member="time", check="mcp", vantage="direct", outcome="success") == 1
    assert world.value("mcpwatch_probes_total", **route, outcome="failure") == 1
    assert world.value("mcpwatch_probe_symptoms_total", member="time", vantage="route", symptom="timeout") == 1
    assert world.value("mcpwatch_probe_duration_seconds_bucket", **route, le="5.0") == 0
    assert world.value("mcpwatch_probe_duration_seconds_bucket", **route, le="10.0") == 1
    assert world.value("mcpwatch_probe_duration_seconds_sum", **route) == 10
    assert world.value("mcpwatch_member_starts_total", member="time", how="adopted") == 1
    causes = {
        cause: world.value("mcpwatch_member_exits_total", member="time", cause=cause)
        for cause in ("signal", "oom", "clean", "error")
    }
    assert causes == {"signal": 1, "oom": 1, "clean": 1, "error": 0}
    assert world.value("mcpwatch_repairs_total", member="fetch", outcome="tried") == 1
    assert world.value("mcpwatch_contract_changes_total", member="fetch", severity="breaking") == 1
    assert world.value("mcpwatch_config_last_reload_successful") == 0
    assert world.value("mcpwatch_alerts_total", state="firing") == 1
    assert world.value("mcpwatch_client_config_drift", client="vscode") == 1
    assert world.value("mcpwatch_trouble", subject="disk_full") == 1
    world.collector.offer(PlanApplied(at=at, text=text))
    world.collector.offer(ClientFileWritten(at=at, text=text, client="vscode", path="/x"))
    world.collector.offer(Troubled(at=at, text=text, subject="disk_full", cleared=True))
    world.collector.offer(AlertChanged(at=at, text=text, member="time", alert="down", old="firing", new="resolved"))
    assert world.value("mcpwatch_config_last_reload_successful") == 1
    assert world.value("mcpwatch_client_config_drift", client="vscode") == 0
    assert world.value("mcpwatch_trouble", subject="disk_full") == 0
    assert world.value("mcpwatch_alerts_total", state="resolved") == 1


def test_the_otel_twin_times_each_mcp_request_and_names_the_error_only_where_it_happened() -> None:
    world = World("time")
    world.collector.offer(fleet.probed("time"))
    world.collector.offer(fleet.probed("time", fleet.BAD))
    assert world.value("mcp_client_operation_duration_seconds_count", mcp_method_name="initialize") == 2
    assert world.value("mcp_client_operation_duration_seconds_count", mcp_method_name="tools/list") == 1
    assert world.value("mcp_client_operation_duration_seconds_count", mcp_method_name="tools/list", error_type="timeout") == 1
    assert world.value("mcp_client_session_duration_seconds_count", mcp_protocol_version="2025-06-18") == 1


def test_the_view_is_shown_as_gauges() -> None:
    world = World("time")
    sick = replace(
        fleet.member("time", fleet.BAD),
        phase=Phase.BACKOFF,
        verdict=Verdict.UNHEALTHY,
        diagnosis=Diagnosis("member_hung", "time", "time hangs"),
        retry_at=fleet.NOW,
    )
    assert world.value("mcpwatch_member_up", member="time") == 1
    assert world.value("mcpwatch_proxy_up", member="proxy") == 1
    assert world.value("mcpwatch_member_tools", member="time") == 2
    assert world.value("mcpwatch_route_tools_tokens", member="time", route="time") == 310
    world.view = replace(world.view, members=(sick, world.view.members[1]))
    assert world.value("mcpwatch_member_up", member="time") == 0
    assert world.value("mcpwatch_member_phase", member="time", phase="running") == 0
    assert world.value("mcpwatch_member_phase", member="time", phase="backoff") == 1
    assert world.value("mcpwatch_member_diagnosis", member="time", cause="member_hung") == 1
    assert world.value("mcpwatch_check_success", member="time", check="mcp", vantage="direct") == 0
    world.view = fleet.view("time")
    assert world.value("mcpwatch_member_diagnosis", member="time", cause="member_hung") is None


def test_all_series_of_a_member_go_with_it_and_a_late_fact_does_not_bring_them_back() -> None:
    world = World("time", "fetch")
    world.collector.offer(fleet.probed("fetch"))
    assert 'member="fetch"' in world.collector.text()
    world.plan, world.view = fleet.plan("time"), fleet.view("time")
    world.collector.offer(fleet.probed("fetch"))
    world.collector.offer(MemberExited(at=fleet.NOW, text="x", member="fetch", generation=1, code=1))
    text = world.collector.text()
    assert "fetch" not in text
    assert 'member="time"' in text


def test_series_of_a_check_that_was_removed_go_and_the_others_keep_their_counts() -> None:
    world = World("time")
    world.collector.offer(fleet.probed("time"))
    world.collector.offer(fleet.probed("time", vantage="route"))
    assert world.value("mcpwatch_check_success", member="time", check="mcp", vantage="direct") == 1
    world.plan = replace(world.plan, members=tuple(replace(member, checks=()) for member in world.plan.members))
    world.view = replace(world.view, members=tuple(replace(member, probes=()) for member in world.view.members))
    assert world.value("mcpwatch_check_success", member="time", check="mcp", vantage="direct") is None
    assert world.value("mcpwatch_probes_total", member="time", check="mcp", vantage="direct", outcome="success") is None
    assert world.value("mcpwatch_probes_total", member="time", route="time", check="mcp", vantage="route", outcome="success") == 1


def test_a_fact_about_a_new_member_is_counted_though_nobody_scraped_since_the_reload() -> None:
    world = World("time")
    world.collector.settle(world.plan, world.collector.offered)
    world.plan, world.view = fleet.plan("time", "fetch"), fleet.view("time", "fetch")
    world.collector.offer(fleet.probed("fetch"))
    world.collector.settle(world.plan, world.collector.offered)
    assert world.value("mcpwatch_probes_total", member="fetch", check="mcp", vantage="direct", outcome="success") == 1


def test_no_url_token_or_free_text_is_in_any_label() -> None:
    world = World("time")
    said = replace(fleet.BAD, message="cannot reach http://10.0.0.7/?token=s3cr3t", said='{"tool": "delete"}')
    world.collector.offer(fleet.probed("time", said))
    text = world.collector.text()
    assert "http:" not in text
    assert "s3cr3t" not in text
    assert "delete" not in text


def test_what_a_member_says_of_itself_is_cut_and_escaped() -> None:
    world = World("time")
    evil = fleet.GOOD.server
    assert evil is not None
    result: ProbeResult = replace(fleet.GOOD, server=replace(evil, name='a"b\\c\nmcpwatch_member_up{member="time"} 0' + "x" * 100))
    world.view = replace(world.view, members=(fleet.member("time", result), *world.view.members[1:]))
    assert world.value("mcpwatch_member_up", member="time") == 1
    assert all(len(value) <= 64 for (name, labels) in world.samples() for _, value in labels if name == "mcpwatch_member_info")


def test_the_objective_of_each_member_is_shown() -> None:
    world = World("time", "fetch", spec=TelemetrySpec(objectives={"fetch": PromisedObjective(availability=0.999)}))
    assert world.value("mcpwatch_slo_target_ratio", member="fetch") == 0.999
    assert world.value("mcpwatch_slo_target_ratio", member="time") == 0.99


def test_objectives_of_routes_are_shown_and_what_is_unknown_has_no_series() -> None:
    world = World("time", "git")
    known = ObjectiveNow("git", "git", "availability", 0.995, 0.999, 0.8)
    world.promises = PromisesNow(
        (known, ObjectiveNow("git", "git", "clients", 10, None, None)),
        (CallsNow("git", "git", 40, 2, 3), CallsNow("gone", "gone", 1, 1, 1)),
    )
    which = {"member": "git", "route": "git", "objective": "availability"}
    assert world.value("mcpwatch_objective_target", **which) == 0.995
    assert world.value("mcpwatch_objective_measured", **which) == 0.999
    assert world.value("mcpwatch_objective_budget_left_ratio", **which) == 0.8
    assert world.value("mcpwatch_objective_target", **(which | {"objective": "clients"})) == 10
    assert world.value("mcpwatch_objective_measured", **(which | {"objective": "clients"})) is None
    route = {"member": "git", "route": "git"}
    assert (world.value("mcpwatch_route_tool_calls_total", **route), world.value("mcpwatch_route_clients", **route)) == (40, 3)
    assert world.value("mcpwatch_route_tool_errors_total", member="gone", route="gone") is None
    world.promises = PromisesNow((replace(known, measured=None, budget=None),))
    assert world.value("mcpwatch_objective_measured", **which) is None
    assert world.value("mcpwatch_route_clients", **route) is None
    assert world.value("mcpwatch_route_tool_calls_total", **route) == 40, "a counter stays where it was"


def test_the_collector_can_live_in_anyones_registry() -> None:
    world = World("time")
    registry = CollectorRegistry()
    registry.register(RegistryCollector(world.collector))
    assert registry.get_sample_value("mcpwatch_member_up", {"member": "time"}) == 1
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(RegistryCollector(World("time").collector))


def test_a_queue_that_nobody_empties_drops_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpwatch.telemetry.fleet_collector.QUEUE_SIZE", 10)
    world = World("time")
    for _ in range(15):
        world.collector.offer(fleet.probed("time"))
    assert world.value("mcpwatch_dropped_facts_total") == 5
    assert world.value("mcpwatch_facts_total", fact="probe_finished") == 10


def test_every_family_has_a_good_name_and_member_first() -> None:
    names = [family.name for family in of.FAMILIES]
    assert len(names) == len(set(names))
    for family in of.FAMILIES:
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert "member" not in family.labels[1:]
        assert family.help.endswith(".")


def fetch(server: MetricsServer, path: str = "/metrics", **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_port_serves_the_fleet_and_the_process_and_nothing_else() -> None:
    server = MetricsServer(MetricsSpec(listen="127.0.0.1:0"), World("time").collector)
    try:
        status, text = fetch(server)
        assert status == 200
        assert 'mcpwatch_member_up{member="time"} 1' in text
        assert "process_resident_memory_bytes" in text
        assert fetch(server, "/")[0] == 404
    finally:
        server.close()


def test_with_a_token_only_its_bearer_is_served() -> None:
    spec = MetricsSpec.model_validate({"listen": "127.0.0.1:0", "token": "let-me-in"})
    server = MetricsServer(spec, World("time").collector)
    try:
        assert fetch(server)[0] == 401
        assert fetch(server, Authorization="Bearer wrong")[0] == 401
        assert fetch(server, Authorization="Bearer let-me-in")[0] == 200
        assert "let-me-in" not in repr(spec)
    finally:
        server.close()


@pytest.mark.anyio
async def test_a_scrape_reads_the_view_in_the_loop_and_survives_a_stuck_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpwatch.telemetry.fleet_collector.VIEW_TIMEOUT", 0.05)
    threads: list[str] = []
    seen = ScrapeSnapshot(fleet.plan("time"), fleet.view("time"))

    def look() -> ScrapeSnapshot:
        threads.append(threading.current_thread().name)
        return seen

    reader = LoopReader(asyncio.get_running_loop(), look)
    assert await asyncio.to_thread(reader) is seen
    assert set(threads) == {threading.current_thread().name}
    answered = threading.Event()
    got: list[ScrapeSnapshot] = []

    def scrape() -> None:
        got.append(reader())
        answered.set()

    threading.Thread(target=scrape, daemon=True).start()
    assert answered.wait(5), "the loop is blocked right here, the scrape must not be"
    assert got == [seen]


def test_a_tally_ignores_what_it_has_no_number_for() -> None:
    recorder = MetricsRecorder("1")
    recorder.adopt(fleet.plan("time"), TelemetrySpec())
    recorder.show(replace(fleet.view("time"), routes=()), AlertsNow())
    assert recorder.get(of.MEMBER_UP, ("time",)) == 1
    assert recorder.get(of.ROUTE_UP, ("time", "time")) is None
