from __future__ import annotations

import asyncio
import io
import logging
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.bus import Bus
from mcpwatch.model.fact import Fact, Troubled
from mcpwatch.telemetry import service
from mcpwatch.telemetry.logs import configure
from mcpwatch.telemetry.readings import AlertsNow, Readings
from mcpwatch.telemetry.service import Telemetry, TelemetryContext
from mcpwatch.telemetry.spec import TelemetrySpec
from tests.fakes.loki import FakeLoki, fake_loki
from tests.telemetry import fleet
from tests.telemetry.member_logs import MemberLog
from tests.telemetry.running import CLOCK, FleetAsData, room

pytestmark = pytest.mark.anyio


def spec_of(**written: Any) -> TelemetrySpec:
    return TelemetrySpec.model_validate(written)


async def scrape(telemetry: Telemetry) -> str:
    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{telemetry.port}/metrics", timeout=30) as answer:
            return answer.read().decode()

    return await asyncio.to_thread(read)


async def test_facts_published_are_in_the_next_scrape_with_what_other_rooms_know(tmp_path: Path) -> None:
    bus = Bus()
    now = AlertsNow({"critical": 1}, {"silence": 1}, {"ops": 3}, 2, frozenset({"time"}))
    readings = Readings(lambda: now, receivers=("ops",))
    async with room(tmp_path, spec_of(metrics={"listen": "127.0.0.1:0"}), FleetAsData("time"), bus, readings) as telemetry:
        bus.publish(fleet.probed("time"))
        text = await scrape(telemetry)
    assert 'mcpwatch_probes_total{member="time",check="mcp",vantage="direct",outcome="success"} 1\n' in text
    assert 'mcpwatch_notifications_pending{receiver="ops"} 3\n' in text
    assert 'mcpwatch_alerts_firing{severity="critical"} 1\n' in text
    assert 'mcpwatch_alerts_firing{severity="info"} 0\n' in text
    assert 'mcpwatch_alerts_muted{why="silence"} 1\n' in text
    assert "mcpwatch_silences_active 2\n" in text
    assert 'mcpwatch_member_maintenance{member="time"} 1\n' in text


async def test_a_port_that_is_taken_is_told_and_tried_again_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "REBIND_EVERY", 0.01)
    bus = Bus()
    told = bus.subscribe(Troubled)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        spec = spec_of(metrics={"listen": f"127.0.0.1:{taken.getsockname()[1]}"})
        telemetry = Telemetry(TelemetryContext(FleetAsData("time"), bus, CLOCK, tmp_path, "1"), spec)
        running = asyncio.get_running_loop().create_task(telemetry.run())
        facts = aiter(told)
        async with asyncio.timeout(30):
            first = await anext(facts)
        assert isinstance(first, Troubled)
        assert "cannot be served on 127.0.0.1" in first.text
    async with asyncio.timeout(30):
        second = await anext(facts)
    assert isinstance(second, Troubled)
    assert second.cleared
    assert 'mcpwatch_trouble{subject="metrics"} 0' in await scrape(telemetry)
    running.cancel()
    await asyncio.wait([running], timeout=30)


async def shipped(loki: FakeLoki, count: int) -> None:
    await asyncio.to_thread(loki.wait, count)


async def test_facts_records_and_member_lines_are_shipped_each_to_its_member(tmp_path: Path) -> None:
    bus = Bus()
    with fake_loki() as loki:
        logs = configure("human", "info", stream=io.StringIO(), secrets=["very-secret"])
        spec = spec_of(loki={"url": loki.url, "wait": 0.02})
        telemetry = Telemetry(TelemetryContext(FleetAsData("time"), bus, CLOCK, tmp_path, "1", logs=logs), spec)
        running = asyncio.get_running_loop().create_task(telemetry.run())
        MemberLog(tmp_path / "logs", "time", "stdout").write("tick")
        telemetry.wake()
        await shipped(loki, 1)
        bus.publish(fleet.probed("time", fleet.BAD, "route"))
        bus.publish(Troubled(at=CLOCK.wall(), text="disk has very-secret problems", subject="disk", level="error"))
        logging.getLogger("mcpwatch.x").warning("a record")
        await shipped(loki, 4)
        running.cancel()
        await asyncio.wait([running], timeout=30)
        logs.close()
    by_line = {line: (labels, metadata) for labels, _, line, metadata in loki.entries}
    assert set(by_line) == {"tick", "time probed", "disk has *** problems", "a record"}
    labels, metadata = by_line["time probed"]
    assert (labels["member"], labels["stream"]) == ("time", "facts")
    assert metadata == {
        "fact": "probe_finished",
        "level": "info",
        "route": "time",
        "vantage": "route",
        "check": "mcp",
        "outcome": "failure",
        "symptom": "timeout@tools_list",
    }
    assert by_line["disk has *** problems"][0]["member"] == "mcpwatch"
    assert by_line["a record"][1] == {"severity": "warning", "logger": "mcpwatch.x"}


async def test_the_last_facts_before_the_end_wait_on_disk_for_the_next_start(tmp_path: Path) -> None:
    bus = Bus()
    with fake_loki() as loki:
        loki.be("500")
        spec = spec_of(loki={"url": loki.url, "wait": 0.02})
        async with room(tmp_path, spec, FleetAsData("time"), bus):
            bus.publish(Troubled(at=CLOCK.wall(), text="the very last", subject="x"))
        loki.be("up")
        async with room(tmp_path, spec, FleetAsData("time"), Bus()):
            await shipped(loki, 1)
        assert loki.lines() == ["the very last"]


async def test_a_loki_that_hangs_is_told_once_and_delays_neither_facts_nor_the_end(tmp_path: Path) -> None:
    bus = Bus()
    told = bus.subscribe(Troubled)
    with fake_loki() as loki:
        loki.be("hang")
        spec = spec_of(loki={"url": loki.url, "wait": 0.02, "timeout": 0.2})
        async with room(tmp_path, spec, FleetAsData("time"), bus) as telemetry:
            MemberLog(tmp_path / "logs").write("one")
            telemetry.wake()
            async with asyncio.timeout(30):
                fact = await anext(aiter(told))
            assert isinstance(fact, Troubled)
            assert fact.subject == "loki"
            for _ in range(1000):
                bus.publish(fleet.probed("time"))
            assert loki.hanging, "no fact waited for the answer"
        assert loki.hanging, "nor did the end"


async def test_what_is_not_configured_opens_and_writes_nothing(tmp_path: Path) -> None:
    bus = Bus()
    async with room(tmp_path, TelemetrySpec(), FleetAsData("time"), bus) as telemetry:
        bus.publish(fleet.probed("time"))
        assert not telemetry.serving.is_set()
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def test_a_state_directory_that_cannot_be_written_is_told_and_metrics_still_work(tmp_path: Path) -> None:
    bus = Bus()
    facts: list[Fact] = []
    bus.hook(facts.append)
    (tmp_path / "spool").write_text("in the way")
    spec = spec_of(loki={"url": "http://127.0.0.1:9"}, metrics={"listen": "127.0.0.1:0"})
    async with room(tmp_path, spec, FleetAsData("time"), bus) as telemetry:
        assert "mcpwatch_build_info" in await scrape(telemetry)
    assert any("logs are not shipped" in fact.text for fact in facts)


async def test_a_reload_moves_the_port_and_turns_shipping_on_and_off(tmp_path: Path) -> None:
    bus = Bus()
    with fake_loki() as loki:
        async with room(tmp_path, spec_of(metrics={"listen": "127.0.0.1:0"}), FleetAsData("time"), bus) as telemetry:
            first = telemetry.port
            MemberLog(tmp_path / "logs").write("one")
            telemetry.retune(spec_of(loki={"url": loki.url, "wait": 0.02}, metrics={"listen": "127.0.0.1:0", "open": True}))
            await shipped(loki, 1)
            async with asyncio.timeout(30):
                await telemetry.serving.wait()
            assert telemetry.port != first
            async with asyncio.timeout(30):
                while "mcpwatch_loki_sent_lines_total 1\n" not in await scrape(telemetry):
                    continue  # Loki has the line a moment before the shipper has counted it
            telemetry.serving.clear()
            telemetry.retune(spec_of(metrics={"listen": "127.0.0.1:0"}))
            async with asyncio.timeout(30):
                await telemetry.serving.wait()
            MemberLog(tmp_path / "logs", "late").write("two")
            assert "mcpwatch_build_info" in await scrape(telemetry)
        assert loki.lines() == ["one"]


async def test_traces_without_the_extra_are_told_and_hurt_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    bus = Bus()
    told = bus.subscribe(Troubled)
    spec = spec_of(otel={"endpoint": "http://127.0.0.1:9"}, metrics={"listen": "127.0.0.1:0"})
    async with room(tmp_path, spec, FleetAsData("time"), bus) as telemetry:
        async with asyncio.timeout(30):
            fact = await anext(aiter(told))
        assert "pip install 'mcpwatch[otel]'" in fact.text
        assert "mcpwatch_build_info" in await scrape(telemetry)
