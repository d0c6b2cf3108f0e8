"""The real supergateway from npm as a bridge: a dead server behind it is healed, and the other route serves on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import free_port, running
from tests.e2e.load import Load
from tests.integration.owner_fleet import CLOCK, owner_fleet, route_url
from tests.integration.reference_fleet import proven
from tests.parts import PARTS, program
from tests.parts import server as server_program

pytestmark = [pytest.mark.needs("npm", "node22"), pytest.mark.slow, pytest.mark.timeout(400)]


def supergateway() -> dict[str, Any]:
    """A stdio server behind supergateway, over SSE, as a process."""
    port = free_port()
    script = PARTS / "npm" / "node_modules" / "supergateway" / "dist" / "index.js"
    words = ["--stdio", str(server_program(CLOCK[0])), "--port", str(port), "--outputTransport", "sse"]
    return {"process": {"command": str(program("node22")), "args": [str(script), *words]}, "url": f"http://127.0.0.1:{port}/sse"}


def test_the_server_behind_a_supergateway_dies_and_comes_back_and_no_call_of_another_route_fails(tmp_path: Path) -> None:
    config = owner_fleet(
        {"kind": "gateway"}, {"super": supergateway(), "time": {"stdio": {"command": str(server_program(CLOCK[0]))}}}
    )
    with running(tmp_path, config) as daemon:
        proven(daemon)
        with Load(route_url(config, "time"), *CLOCK[1:]) as load:
            load.progress(1)
            done = daemon.run("drill", "super", "--fault", "child", "--timeout", "150", "--json", timeout=200)
            assert done.stdout, done.stderr
            told = json.loads(done.stdout)
            assert done.returncode == 0, json.dumps(told, indent=1)
            proven(daemon)
            load.progress(1)
        assert set(told["causes"]) <= {"child_died", "member_down", "starting"}
        assert load.failures == []
        assert {one["name"]: one["generation"] for one in daemon.status()["members"]} == {"super": 2, "time": 1, "proxy": 1}
