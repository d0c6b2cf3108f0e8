"""The prober against real servers of every wire, alive, killed and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from mcpwatch.checks import Prober, probe
from mcpwatch.model.probe import Canary, Expect, Outcome, ProbeResult, Target, Transport
from mcpwatch.model.spec import CheckSpec
from tests.parts import ROOT, program, server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

START = 50.0
"""Seconds a real server may take to start on a busy machine."""


def free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


LISTENING = re.compile(rb"running on|listening on", re.IGNORECASE)
"""What real servers say when they listen."""


@contextlib.asynccontextmanager
async def running(
    *command: str, until: re.Pattern[bytes] = LISTENING, **environment: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A server that says that it listens, for the length of a block, in a session of its own, killed with all it started."""
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert child.stdout is not None
    drain: asyncio.Task[bytes] | None = None
    try:
        said = b""
        async with asyncio.timeout(START):
            while not until.search(said):
                line = await child.stdout.readline()
                assert line, f"{command}: ended before it listened: {said.decode()}"
                said += line
        drain = asyncio.create_task(child.stdout.read())
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
        if drain is not None:
            await drain


async def ready(target: Target, check: CheckSpec | None = None) -> ProbeResult:
    """What a probe finds once the port is open: some servers say that they listen a moment before they do."""
    prober = Prober()
    async with asyncio.timeout(START):
        while True:
            result = await prober.probe(check or CheckSpec("mcp", timeout=20), target, "direct")
            if result.symptom_text != "refused":
                return result


def canary(text: str = "hello") -> CheckSpec:
    return CheckSpec(
        "canary",
        timeout=20,
        canary=Canary("echo", json.dumps({"text": text})),
        expect=Expect(contains=text),
        safe_call=True,
    )


@pytest.mark.parametrize(
    ("transport", "path", "wire", "found", "protocol"),
    [
        ("sse", "/sse", "auto", "sse", "2025-11-25"),
        ("streamable-http", "/mcp", "http", "http", "2025-11-25"),
        ("streamable-http", "/mcp", "auto", "stateless", "2026-07-28"),
    ],
)
async def test_the_official_sdk_is_proven_on_every_wire(
    transport: str, path: str, wire: Transport, found: str, protocol: str
) -> None:
    port = free_port()
    async with running(sys.executable, "-m", "tests.servers.official", transport, str(port)) as child:
        target = Target(f"http://127.0.0.1:{port}{path}", wire)
        result = await ready(target, canary())
        assert result.outcome is Outcome.SUCCESS, result
        assert result.server is not None
        assert (result.server.name, result.server.wire, result.server.protocol) == ("official", found, protocol)
        assert result.contract is not None
        assert [entry["name"] for entry in json.loads(result.contract)["prompts"]] == ["greet"]

        os.kill(child.pid, signal.SIGSTOP)
        hung = await Prober().probe(CheckSpec("mcp", timeout=0.5), target, "direct")
        os.kill(child.pid, signal.SIGCONT)
        assert hung.symptom_text.startswith("timeout@"), hung

        redirected = await probe(f"http://127.0.0.1:{port}{path}/", transport=wire)
        assert redirected.symptom_text == "redirect", redirected
        guarded = await Prober().probe(canary(), Target(target.url, wire, public_url=f"http://evil.example{path}"), "direct")
        assert guarded.symptom_text == "host_guard", guarded
    dead = await probe(target.url)
    assert dead.symptom_text == "refused"


@pytest.mark.needs("npm")
@pytest.mark.parametrize(("transport", "path", "wire"), [("sse", "/sse", "sse"), ("streamableHttp", "/mcp", "http")])
async def test_the_everything_server_is_proven_over_http(transport: str, path: str, wire: str) -> None:
    port = free_port()
    async with running(str(program("npm")), transport, PORT=str(port)):
        check = CheckSpec(
            "c", timeout=20, canary=Canary("echo", '{"message": "hello"}'), expect=Expect(contains="hello", min_tools=8)
        )
        result = await ready(Target(f"http://127.0.0.1:{port}{path}"), check)
    assert result.outcome is Outcome.SUCCESS, result
    assert result.server is not None
    assert result.server.wire == wire


@pytest.mark.needs("npm")
async def test_the_everything_server_is_proven_over_stdio() -> None:
    result = await probe(
        command=[str(program("npm"))], tool="echo", arguments={"message": "hello"}, expect=Expect(contains="hello"), timeout=40
    )
    assert result.outcome is Outcome.SUCCESS, result


@pytest.mark.needs("fastmcp")
@pytest.mark.parametrize(("transport", "path"), [("sse", "/sse"), ("http", "/mcp")])
async def test_fastmcp_is_proven(transport: str, path: str) -> None:
    port = free_port()
    async with running(str(program("fastmcp")), str(ROOT / "tests/servers/fast.py"), transport, str(port)):
        result = await ready(Target(f"http://127.0.0.1:{port}{path}"), canary())
    assert result.outcome is Outcome.SUCCESS, result


@pytest.mark.needs("sparfenyuk")
@pytest.mark.parametrize(("path", "wire"), [("/sse", "sse"), ("/mcp", "http")])
async def test_a_sparfenyuk_bridge_whose_child_died_is_seen_through(path: str, wire: str, tmp_path: Path) -> None:
    port = free_port()
    pid_file = tmp_path / "pid"
    shell = f"echo $$ > {pid_file}; exec {server('mcp-server-time')}"
    async with running(str(program("sparfenyuk")), "--port", str(port), "--host", "127.0.0.1", "--", "sh", "-c", shell):
        target = Target(f"http://127.0.0.1:{port}{path}")
        well = await ready(target)
        assert well.outcome is Outcome.SUCCESS, well
        assert well.server is not None
        assert well.server.wire == wire
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        await gone(int(pid_file.read_text()))
        dead = await Prober().probe(CheckSpec("mcp", timeout=5), target, "route")
    assert dead.symptom_text == "upstream_down", dead


@pytest.mark.needs("tbxark")
async def test_tbxark_that_lists_a_dead_member_is_seen_through_by_a_safe_call(tmp_path: Path) -> None:
    port, inner = free_port(), free_port()
    options = {"authTokens": ["right-token"]}
    config = {
        "mcpProxy": {
            "baseURL": "http://proxy.lan:9090",
            "addr": f"127.0.0.1:{port}",
            "name": "t",
            "version": "1",
            "options": options,
        },
        "mcpServers": {"echo": {"url": f"http://127.0.0.1:{inner}/sse"}},
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    url, public = f"http://127.0.0.1:{port}/echo/sse", "http://proxy.lan:9090/echo/sse"
    target = Target(url, token="right-token", public_url=public)
    safe, plain = CheckSpec("safe", timeout=10, safe_call=True), CheckSpec("plain", timeout=10)
    prober = Prober()
    async with running(sys.executable, "-m", "tests.servers.official", "sse", str(inner)) as member:
        await ready(Target(f"http://127.0.0.1:{inner}/sse"))
        async with running(str(program("tbxark")), "-config", str(path), until=re.compile(b"All clients initialized")):
            well = await ready(target, safe)
            assert well.outcome is Outcome.SUCCESS, well
            assert (await prober.probe(plain, Target(url, token="wrong", public_url=public), "route")).symptom_text == "auth"
            assert (await prober.probe(CheckSpec("r", kind="refusal"), target, "route")).outcome is Outcome.SUCCESS
            assert (await prober.probe(plain, Target(url, token="right-token"), "route")).symptom_text == "bad_endpoint"
            os.killpg(member.pid, signal.SIGKILL)
            await member.wait()
            lying = await prober.probe(plain, target, "route")
            honest = await prober.probe(safe, target, "route")
            bridged = await prober.probe(plain, target, "direct")
            absent = await probe(f"http://127.0.0.1:{port}/nobody/sse", token="right-token")
            async with running(sys.executable, "-m", "tests.servers.official", "sse", str(inner)):
                await ready(Target(f"http://127.0.0.1:{inner}/sse"))
                stale = await prober.probe(safe, target, "route")
    assert lying.outcome is Outcome.SUCCESS, lying
    assert "TBXark" in lying.lists_from_cache
    assert bridged.symptom_text == "upstream_down", "as a member it is asked for what is behind its cache"
    assert honest.symptom_text == "upstream_down", honest
    assert absent.symptom_text == "not_mounted", absent
    assert stale.symptom_text in ("stale_session", "upstream_down"), stale


def alive(pid: int) -> bool:
    """Whether a process lives, not only its remains."""
    try:
        return "\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False


async def gone(pid: int) -> None:
    """Return when no process has this id any more, or only its remains."""
    async with asyncio.timeout(10):
        while alive(pid):  # noqa: ASYNC110 - a process of another parent tells nobody of its end
            await asyncio.sleep(0)
