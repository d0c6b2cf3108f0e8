"""`test` from outside, several names at once, and `clean`: on a running fleet of real servers."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.e2e.daemon import free_port, running

pytestmark = pytest.mark.slow

FLEET = """\
version: 1
proxy: {{listen: "127.0.0.1:{port}", auth: {{tokens: [tok-of-the-smoke-test]}}}}
members:
  time:
    stdio: {{command: mcp-server-time}}
    checks: {{canary: {{tool: get_current_time, arguments: {{timezone: UTC}}, expect: {{contains: UTC}}}}}}
  git: {{stdio: {{command: mcp-server-git}}}}
  gone: {{url: "http://127.0.0.1:{dead}/sse"}}
"""


@pytest.mark.timeout(180)
def test_the_smoke_test_names_what_failed_and_several_names_are_taken(tmp_path: Path) -> None:
    with running(tmp_path, FLEET.format(port=free_port(), dead=free_port())) as daemon:
        daemon.wait(lambda shown: sum(route["verdict"] == "healthy" for route in shown["routes"]) == 2, "two routes are served")
        junit = tmp_path / "smoke.xml"
        done = daemon.run("test", "-c", str(daemon.config), "--junit", str(junit), "--json", "--timeout", "20s", timeout=120)
        assert done.returncode == 1, done.stderr
        cases = {(case["route"], case["test"]): case["result"] for case in json.loads(done.stdout)}
        assert [cases[("time", test)] for test in ("handshake", "tools", "canary", "refusal", "clients")] == ["ok"] * 5
        assert cases[("git", "canary")] == "skipped"
        assert cases[("gone", "handshake")] == "failed"
        suites = {suite.get("name"): suite for suite in ET.fromstring(junit.read_text())}
        assert (suites["gone"].get("failures"), suites["time"].get("failures"), suites["time"].get("tests")) == ("1", "0", "5")
        done = daemon.run("test", "time", "git", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 routes, 9 passed, 0 failed" in done.stdout
        done = daemon.run("restart", "time", "git", "--json")
        assert done.returncode == 0, done.stderr
        assert [(one["name"], one["phase"]) for one in json.loads(done.stdout)] == [("time", "running"), ("git", "running")]
        daemon.wait(lambda shown: sum(route["verdict"] == "healthy" for route in shown["routes"]) == 2, "both are served again")
        assert daemon.run("status", "time", "git").returncode == 0
        assert daemon.run("status").returncode == 1
        assert "no member 'tmie'; did you mean 'time'?; nothing was done" in daemon.run("restart", "tmie", "git").stderr
        assert {line.split()[1] for line in daemon.run("logs", "--all", "-n", "50").stdout.splitlines()} <= {"time", "git", "proxy"}
        assert daemon.run("clean", "--yes").returncode == 2
        daemon.stop()
        assert daemon.run("clean").returncode == 2
        assert daemon.state.exists()
        assert daemon.run("clean", "git", "--yes").returncode == 0
        assert not (daemon.state / "logs" / "git").exists()
        assert (daemon.state / "logs" / "time").exists()
        assert daemon.run("clean", "--yes").returncode == 0
        assert not daemon.state.exists()
        assert daemon.config.exists()


@pytest.mark.timeout(180)
def test_clean_leaves_the_state_of_processes_that_still_run(tmp_path: Path) -> None:
    with running(tmp_path, FLEET.format(port=free_port(), dead=free_port())) as daemon:
        pid = daemon.wait(lambda shown: shown["members"][-1]["phase"] == "running", "the gateway runs")["members"][-1]["pid"]
        assert daemon.run("down", "--leave", timeout=120).returncode == 0
        assert daemon.process is not None
        daemon.process.wait(60)
        for names in ([], ["proxy"]):
            done = daemon.run("clean", "--yes", *names)
            assert done.returncode == 2
            assert f"still running: proxy (pid {pid}); take them over with 'mcpwatch up'" in done.stderr
        assert daemon.state.exists()
        daemon.start()
        daemon.stop()
        assert daemon.run("clean", "--yes").returncode == 0
        assert not daemon.state.exists()
