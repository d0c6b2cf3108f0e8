"""A host that vanishes without a word: the kernel finds out, on both sides of the gateway."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from mcpwatch.gateway.http import limits
from mcpwatch.gateway.http.listener import Listener
from mcpwatch.http_client import keepalive
from mcpwatch.http_client.client import HttpClient
from mcpwatch.http_client.failure import HttpFailed
from tests.gateway.raw import Mirror, get, listening

pytestmark = pytest.mark.anyio
LIMIT = 60.0
OPENS = (
    "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
    "s.sendall(sys.argv[3].encode()); sys.stdin.read()"
)
SERVES = (
    "import socket, sys; s = socket.create_server((sys.argv[1], 0)); print(s.getsockname()[1], flush=True)\n"
    "c, _ = s.accept(); c.recv(65536); print('asked', flush=True); sys.stdin.read()"
)


def options(sock: Any) -> list[int]:
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    return [sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *(sock.getsockopt(socket.IPPROTO_TCP, name) for name in names)]


async def test_the_kernel_watches_every_link_to_a_client_and_to_an_upstream() -> None:
    wanted = [1, keepalive.IDLE, keepalive.INTERVAL, keepalive.COUNT]
    app = Mirror()
    async with listening(app) as (listener, connect):
        client = await connect()
        client.writer.write(get("/slow"))
        async with asyncio.timeout(LIMIT):
            await app.waiting.wait()
        connection: Any = next(iter(listener.shared.connections))
        assert options(connection._transport.get_extra_info("socket")) == wanted
        app.go.set()
        url = "http://{}:{}".format(*client.writer.get_extra_info("peername"))
        response: Any = await HttpClient(url).request("GET", url + "/x", {})
        assert options(response._body.transport.get_extra_info("socket")) == wanted
        response.close()


@contextmanager
def other_host() -> Generator[tuple[str, str, str]]:
    """A network namespace as another host: its name, its address and ours. Skips where none can be made."""
    number = os.getpid() % 16384
    name, base = f"mcpw{number}", 4 * number
    ours, theirs = (f"198.{18 + (base >> 16)}.{base >> 8 & 255}.{(base & 255) + last}" for last in (1, 2))
    inside = ["ip", "-n", name]
    made = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name],
        ["ip", "address", "add", f"{ours}/30", "dev", f"{name}a"],
        ["ip", "link", "set", f"{name}a", "up"],
        [*inside, "address", "add", f"{theirs}/30", "dev", f"{name}b"],
        [*inside, "link", "set", f"{name}b", "up"],
    ]
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip")
    try:
        for words in made:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"no network namespace: {done.stderr.strip()}")
        yield name, theirs, ours
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", f"{name}a"], capture_output=True, check=False)


@contextmanager
def on(name: str, program: str, *words: str) -> Generator[subprocess.Popen[str]]:
    """A program on the other host."""
    command = ["ip", "netns", "exec", name, sys.executable, "-c", program, *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def unplug(name: str) -> None:
    subprocess.run(["ip", "-n", name, "link", "set", f"{name}b", "down"], check=True)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("IDLE", "INTERVAL", "COUNT"):
        monkeypatch.setattr(keepalive, bound, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
async def test_a_client_whose_host_vanishes_is_noticed() -> None:
    app = Mirror()
    with other_host() as (name, _, ours):
        listener = Listener(app, 4096)
        port = await listener.tcp(ours, 0)
        try:
            with on(name, OPENS, ours, str(port), get("/slow").decode()):
                async with asyncio.timeout(LIMIT):
                    await app.waiting.wait()
                    unplug(name)
                    await app.lost.wait()
        finally:
            app.go.set()
            listener.refuse()
            await listener.drain(1.0)


READS = (
    "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
    "s.sendall(sys.argv[3].encode()); s.recv(1000); print('reads', flush=True); sys.stdin.read()"
)


@pytest.mark.slow
async def test_a_client_whose_host_vanishes_with_an_answer_on_its_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_LIMIT", 2.0)
    app = Mirror()
    with other_host() as (name, _, ours):
        listener = Listener(app, 4096)
        port = await listener.tcp(ours, 0)
        try:
            with on(name, READS, ours, str(port), get("/stream").decode()) as client:
                assert client.stdout is not None
                assert await asyncio.to_thread(client.stdout.readline) == "reads\n"
                unplug(name)
                app.streams[0].write(b"x" * 1000)  # far less than the kernel takes: nothing of it waits with us
                async with asyncio.timeout(LIMIT):
                    while listener.shared.connections:
                        assert not any(connection.unsent for connection in listener.shared.connections)
                        await asyncio.sleep(0.1)
        finally:
            listener.refuse()
            await listener.drain(1.0)


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
async def test_an_upstream_whose_host_vanishes_during_a_call_is_noticed_long_before_the_calls_bound() -> None:
    with other_host() as (name, theirs, _), on(name, SERVES, theirs) as server:
        assert server.stdout is not None
        port = await asyncio.to_thread(server.stdout.readline)
        url = f"http://{theirs}:{port.strip()}/mcp"
        asking = asyncio.get_running_loop().create_task(HttpClient(url).request("POST", url, {}, b"{}"))
        assert await asyncio.to_thread(server.stdout.readline) == "asked\n"
        unplug(name)
        async with asyncio.timeout(LIMIT):
            with pytest.raises(HttpFailed) as caught:
                await asking
        assert caught.value.sent
