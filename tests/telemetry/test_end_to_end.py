from __future__ import annotations

import json
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.telemetry.rules import groups, render
from mcpwatch.telemetry.spec import TelemetrySpec
from tests.e2e.daemon import Daemon, free_port
from tests.fakes.loki import FakeLoki, fake_loki
from tests.parts import server as mcp_server
from tests.telemetry.test_prometheus import ask_everything, prometheus

QUIET = re.compile(
    r"diagnosis|certificate|client_config|notifications_total|trouble|backlog_oldest|Anno|> 0$|retry|"
    r"changes\(mcpwatch_member_generation|contract_changes_total\{[^}]*\}\[4s\]\)\) > 0"
)
"""What a fleet in which all is well, without receivers and clients, has no data for."""


def configuration(loki: FakeLoki, metrics: int) -> dict[str, Any]:
    port = free_port()
    return {
        "version": 1,
        "proxy": {"kind": "gateway", "listen": f"127.0.0.1:{port}"},
        "members": {"time": {"stdio": {"command": str(mcp_server("mcp-server-time"))}}},
        "defaults": {"check": {"interval": "1s"}},
        "telemetry": {
            "metrics": {"listen": f"127.0.0.1:{metrics}"},
            "loki": {"url": loki.url, "wait": "100ms", "timeout": "500ms"},
        },
    }


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.needs("prometheus")
def test_a_running_fleet_answers_every_dashboard_and_rule_query(tmp_path: Path) -> None:
    metrics = free_port()
    with fake_loki() as loki:
        daemon = Daemon(tmp_path, configuration(loki, metrics)).start()
        spec = TelemetrySpec.model_validate({"loki": {"url": loki.url}})
        try:
            daemon.healthy()
            with prometheus(tmp_path, metrics, render(groups(spec))) as server:
                server.wait(lambda: server.ask("count_over_time(mcpwatch_build_info[1h]) > 25"), "scrapes", 40)
                empty = [query for query in ask_everything(server, spec) if not QUIET.search(query)]
        finally:
            daemon.stop()
    assert empty == [], "\n".join(empty)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_watchdog_killed_while_loki_is_away_loses_no_line_of_the_fleet_and_stores_none_twice(tmp_path: Path) -> None:
    with fake_loki() as loki:
        loki.be("500")
        daemon = Daemon(tmp_path, configuration(loki, free_port())).start()
        try:
            daemon.healthy()
            daemon.stop(signal.SIGKILL)
            loki.be("lost")
            daemon.start()
            daemon.healthy()
            daemon.stop(signal.SIGKILL)
            loki.be("up")
            daemon.start()
            daemon.healthy()
            wrote = daemon.run("logs", "proxy", "--json", "-n", "100000").stdout.splitlines()
            lines = [json.loads(line) for line in wrote]
            assert lines
            loki.wait_for(lambda: len(loki.lines(member="proxy", stream="stderr")) >= len(lines), 60)
        finally:
            daemon.stop()
        stamped = Counter((at // 1000, line) for labels, at, line, _ in loki.entries if labels["stream"] == "stderr")
        assert set(stamped.values()) == {1}
        assert [line["text"] for line in lines] == loki.lines(member="proxy", stream="stderr")[: len(lines)]
        assert any("adopted" in line for line in loki.lines(stream="facts"))
