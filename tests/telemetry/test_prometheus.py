from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any, cast

import pytest

from mcpwatch.bus import Bus
from mcpwatch.telemetry.conditions import AlertRule
from mcpwatch.telemetry.rules import groups, render
from mcpwatch.telemetry.spec import TelemetrySpec
from tests.e2e.daemon import free_port
from tests.fakes.loki import fake_loki
from tests.parts import program
from tests.telemetry.running import Living, room
from tests.telemetry.test_dashboards import FILES, queries

SELECTOR = re.compile(r"\bmcpwatch[_:][a-z0-9_:]+(?:\{[^}]*\})?")
GRAFANA = {
    'member="$member"': 'member=~".*"',  # a choice of one: any will do
    "$job": ".*",
    "$member": ".*",
    "$__rate_interval": "4s",
    "$__interval": "4s",
    "$__range": "10s",
}


class Prometheus:
    """A real Prometheus that scrapes one target five times a second."""

    def __init__(self, directory: Path, port: int, rules: str) -> None:
        self.port = free_port()
        (directory / "rules.yml").write_text(rules, encoding="utf-8")
        config = directory / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 200ms, evaluation_interval: 200ms}\n"
            "rule_files: [rules.yml]\n"
            f"scrape_configs: [{{job_name: mcpwatch, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n",
            encoding="utf-8",
        )
        log = (directory / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=log,
            stderr=log,
        )
        log.close()

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The instant vector (or scalar) of a query now."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return cast("list[dict[str, Any]]", json.load(answer)["data"]["result"])

    def wait(self, true: Callable[[], object], what: str, seconds: float = 20) -> None:
        """Return when `true`; it may fail while Prometheus starts."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if true():
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"not in {seconds} s: {what}")


@contextmanager
def prometheus(directory: Path, port: int, rules: str = "") -> Generator[Prometheus]:
    started = Prometheus(directory, port, rules)
    try:
        yield started
    finally:
        started.process.terminate()
        started.process.wait(10)


def ask_everything(server: Prometheus, spec: TelemetrySpec) -> list[str]:
    """Every dashboard query and everything rules look at, that gives no data."""
    empty: list[str] = []
    for name in FILES:
        asked = (reduce(lambda text, pair: text.replace(*pair), GRAFANA.items(), query) for query in queries(name))
        empty += [f"{name}: {query}" for query in asked if not server.ask(query)]
    for group in groups(spec):
        for rule in group.rules:
            parts = SELECTOR.findall(rule.expr) if isinstance(rule, AlertRule) else [rule.record]
            empty += [f"{rule}: {part}" for part in parts if not server.ask(part)]
    return empty


@pytest.mark.slow
@pytest.mark.needs("prometheus")
@pytest.mark.anyio
async def test_a_real_prometheus_gets_an_answer_to_every_dashboard_and_rule_query(tmp_path: Path) -> None:
    bus = Bus()
    living = Living(bus)
    with fake_loki() as loki:
        spec = TelemetrySpec.model_validate({"metrics": {"listen": "127.0.0.1:0"}, "loki": {"url": loki.url, "wait": 0.05}})
        async with room(tmp_path, spec, living, bus) as telemetry:
            living.step()

            async def live() -> None:
                while True:
                    living.step()
                    await asyncio.sleep(0.2)

            life = asyncio.get_running_loop().create_task(live())
            with prometheus(tmp_path, telemetry.port, render(groups(spec))) as server:
                await asyncio.to_thread(
                    server.wait,
                    lambda: server.ask("count_over_time(mcpwatch_build_info[1h]) > 25"),
                    "scrapes",
                )
                empty = await asyncio.to_thread(ask_everything, server, spec)
                firing = await asyncio.to_thread(server.ask, 'ALERTS{alertname="McpDeadMansSwitch",alertstate="firing"}')
            life.cancel()
            assert empty == []
            assert len(firing) == 1


@pytest.mark.needs("promtool")
@pytest.mark.anyio
async def test_promtool_finds_nothing_to_complain_about_in_a_scrape(tmp_path: Path) -> None:
    bus = Bus()
    living = Living(bus)
    spec = TelemetrySpec.model_validate({"metrics": {"listen": "127.0.0.1:0"}, "loki": {"url": "http://127.0.0.1:9"}})
    async with room(tmp_path, spec, living, bus) as telemetry:
        living.step()

        text = await asyncio.to_thread(scraped, telemetry.port)
    assert await asyncio.to_thread(check, text) == (0, b"")


def scraped(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read()


def check(text: bytes) -> tuple[int, bytes]:
    done = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr
