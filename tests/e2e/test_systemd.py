"""Our unit under a real systemd: it hears READY, kills and restarts a hung watchdog, and never takes a member with it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.machine import machine
from tests.e2e.test_supervision import plain

pytestmark = [pytest.mark.slow, pytest.mark.needs("docker", "systemd"), pytest.mark.timeout(900)]


def members(status: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {m["name"]: (m["pid"], m["generation"]) for m in status["members"]}


def test_the_unit_is_ready_when_the_watchdog_is_a_hang_restarts_it_and_members_stay() -> None:
    with machine(plain(2)) as found:
        verified = found.run("systemd-analyze", "verify", "/etc/systemd/system/mcpwatch.service")
        assert (verified.returncode, verified.stderr) == (0, "")

        found.do("systemctl", "start", "mcpwatch")  # returns once READY=1 was heard
        unit = found.shown("SubState", "StatusText", "MainPID", "NRestarts")
        assert unit["SubState"] == "running"
        assert "watches 2 members" in unit["StatusText"]
        up = found.wait(lambda s: s["members"] and all(m["phase"] == "running" for m in s["members"]), "all run")
        before = members(up)
        assert set(before) == {"m0", "m1"}

        found.do("kill", "-STOP", unit["MainPID"])
        after = found.wait(lambda s: s["daemon"]["pid"] not in (0, int(unit["MainPID"])), "systemd restarts what hangs")
        assert after["daemon"]["pid"] == int(found.shown("MainPID")["MainPID"])
        assert found.shown("NRestarts")["NRestarts"] == "1"
        assert "Watchdog timeout" in found.journal()
        assert members(after) == before
        assert all(member["adopted"] for member in after["members"])

        found.do("systemctl", "restart", "mcpwatch")
        again = found.wait(lambda s: s["daemon"]["pid"] not in (0, after["daemon"]["pid"]), "it is restarted as asked")
        assert members(again) == before

        found.do("systemctl", "stop", "mcpwatch")
        assert found.shown("SubState", "Result") == {"SubState": "dead", "Result": "success"}
        assert all(found.run("kill", "-0", str(pid)).returncode == 0 for pid, _ in before.values())
        found.do("systemctl", "start", "mcpwatch")
        assert members(found.wait(lambda s: s["daemon"]["pid"], "it runs again")) == before
        found.do("mcpwatch", "--state-dir", "/var/lib/mcpwatch", "down")
