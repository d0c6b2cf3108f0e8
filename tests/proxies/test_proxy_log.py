"""Listening to a foreign proxy: its generation is asked for, its log becomes hints."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from mcpwatch.app.proxy_log import ask
from mcpwatch.model.proxy import ProxyObservation
from mcpwatch.proxies import PROXIES
from mcpwatch.proxies.tbxark import Tbxark
from tests.e2e.daemon import free_port, running
from tests.parts import SERVERS, program

pytestmark = pytest.mark.anyio


async def answer(status: str, body: str) -> tuple[asyncio.Server, str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x/sse"


@pytest.mark.parametrize(
    ("status", "body", "generation"),
    [
        ("404 Not Found", "404 page not found", "A"),
        ("200 OK", '{"name":"p","serverCount":2,"status":"ok"}', "B"),
        ("503 Service Unavailable", '{"status":"degraded","unhealthy":["fetch"]}', "C"),
    ],
)
async def test_the_answer_to_readyz_tells_the_generation(status: str, body: str, generation: str) -> None:
    server, url = await answer(status, body)
    async with server:
        number, said = await ask(url, Tbxark.asks)
    assert Tbxark().learn(ProxyObservation(status=number, body=said)).generation == generation


def test_a_healthy_newest_build_is_told_from_the_one_before_by_its_usage() -> None:
    well = '{"name":"p","serverCount":2,"status":"ok"}'
    assert Tbxark().learn(ProxyObservation(usage="-check-config -doctor", status=200, body=well)).generation == "C"
    assert Tbxark().learn(ProxyObservation(usage="-check-config", status=200, body=well)).generation == "B"
    assert Tbxark().learn(ProxyObservation(usage="-check-config -doctor", status=404)).generation == "A"


async def test_a_proxy_that_does_not_answer_is_taken_for_the_worst() -> None:
    assert await ask(f"http://127.0.0.1:{free_port()}/", "/_readyz") == (0, "")
    assert Tbxark().learn(ProxyObservation()) == Tbxark.traits
    assert Tbxark().learn(ProxyObservation(line="2026/11/21 01:36:38 <fetch> Connected")).generation == "A"


def test_every_other_kind_has_but_one_generation() -> None:
    for kind in PROXIES:
        made = kind.make()
        if not made.asks:
            assert made.learn(ProxyObservation(status=404)) == made.traits


@pytest.mark.needs("tbxark")
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_late_member_gets_its_route_by_a_restart_that_the_proxys_own_log_explains(tmp_path: Path) -> None:
    port, late = free_port(), free_port()
    config = {
        "version": 1,
        "proxy": {"kind": "tbxark", "binary": str(program("tbxark")), "listen": f"127.0.0.1:{port}"},
        "members": {
            "time": {"stdio": {"command": str(SERVERS / "mcp-server-time")}},
            "late": {"url": f"http://127.0.0.1:{late}/sse"},
        },
        "defaults": {"check": {"interval": "2s", "timeout": "5s", "failure_threshold": 2}},
        "telemetry": {"metrics": {"listen": f"127.0.0.1:{free_port()}"}},
    }
    with running(tmp_path, config) as daemon:
        daemon.wait(lambda s: any(r["name"] == "time" and r["verdict"] == "healthy" for r in s["routes"]), "time is served", 60)
        assert daemon.route("late")["verdict"] == "unhealthy"
        config["members"] = {  # type: ignore[index]
            **config["members"],  # type: ignore[dict-item]
            "carrier": {
                "stdio": {"command": str(SERVERS / "mcp-server-time")},
                "bridge": {"listen": f"127.0.0.1:{late}"},
                "route": False,
            },
        }
        daemon.write(json.loads(json.dumps(config)))
        daemon.run("reload")
        daemon.wait(lambda s: any(r["name"] == "late" and r["verdict"] == "healthy" for r in s["routes"]), "late is served", 90)
        told = [fact for fact in daemon.events() if fact["fact"] == "repair_tried"]
        assert [(fact["rung"], fact["cause"]) for fact in told] == [("restart_proxy", "not_mounted")]
