"""How a host is found and reached: its addresses, one after the other, and the words for none of them."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from mcpwatch.http_client import dial as module
from mcpwatch.http_client.connection import ClientConnection
from mcpwatch.http_client.dial import connect
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.probe import Symptom

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(5)]


async def failure_of(task: Any) -> HttpFailed:
    with pytest.raises(HttpFailed) as caught:
        await task
    return caught.value


Dial = Callable[[str], ClientConnection | OSError | float]


def dialling(monkeypatch: pytest.MonkeyPatch, dial: Dial) -> list[str]:
    """`connect` with `dial` for a network; every address dialled is noted. A number is after how many seconds it answers."""
    dialled: list[str] = []

    async def connected(address: str, port: int, brief: bool) -> ClientConnection:
        assert (port, brief) == (80, False)
        dialled.append(address)
        made = dial(address)
        if isinstance(made, (int, float)):
            await asyncio.sleep(made)
            return ClientConnection()
        if isinstance(made, OSError):
            raise made
        return made

    monkeypatch.setattr(module, "_connected", connected)
    return dialled


async def test_the_first_address_that_takes_a_connection_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ClientConnection()
    answers: dict[str, ClientConnection | OSError | float] = {
        "a": ConnectionRefusedError(111, "refused"),
        "b": 9.0,
        "c": made,
        "d": 9.0,
    }
    dialled = dialling(monkeypatch, lambda address: answers[address])
    monkeypatch.setattr(module, "FALLBACK_AFTER", 0.01)
    assert await connect("host", 80, ("a", "b", "c", "d")) is made
    assert dialled == ["a", "b", "c"]


async def test_the_last_address_is_given_all_the_time_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FALLBACK_AFTER", 0.001)
    dialled = dialling(monkeypatch, lambda _: 0.03)
    assert await connect("host", 80, ("a", "b"))
    assert dialled == ["a", "b"]

    def late(_: str) -> OSError:
        return TimeoutError(110, "Connection timed out")

    dialling(monkeypatch, late)
    with pytest.raises(TimeoutError):
        await connect("host", 80, ("a", "b"))


@pytest.mark.parametrize(
    ("host", "addresses", "error", "symptom", "words"),
    [
        ("h", ("a",), ConnectionRefusedError(111, "x"), Symptom.REFUSED, "h:80 refuses connections: nothing listens there"),
        ("::1", ("a", "b"), OSError(113, "No route"), Symptom.UNREACHABLE, "[::1]:80 cannot be reached: No route"),
        ("h", ("a",), OSError("odd"), Symptom.UNREACHABLE, "h:80 cannot be reached: odd"),
        ("h", (), OSError(), Symptom.UNREACHABLE, "h:80 cannot be reached: no address"),
    ],
)
async def test_a_host_that_takes_no_connection_is_told_by_its_last_error(
    monkeypatch: pytest.MonkeyPatch, host: str, addresses: tuple[str, ...], error: OSError, symptom: Symptom, words: str
) -> None:
    dialling(monkeypatch, lambda _: error)
    failure = await failure_of(connect(host, 80, addresses))
    assert (failure.symptom, failure.reason) == (symptom, words)


async def test_a_prober_without_descriptors_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = dialling(monkeypatch, lambda _: OSError(errno.EMFILE, "Too many open files"))
    with pytest.raises(OSError, match="Too many open files"):
        await connect("host", 80, ("a", "b"))
    assert dialled == ["a"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_server_of_this_machine_is_connected_before_the_loop_turns_and_a_closed_port_refuses(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        port = int(server.getsockname()[1])
        connection = await connect(host, port, (host,))
        assert connection.transport is not None
        sock = connection.transport.get_extra_info("socket")
        assert sock.getpeername()[:2] == (host, port)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "small requests are not held back"
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), "a host that vanishes is noticed"
        brief = await connect(host, port, (host,), lasting=False)
        assert brief.transport is not None
        assert not brief.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        probe = connect(host, port, (host,), lasting=False, plain=True)
        with pytest.raises(StopIteration) as done:
            probe.send(None)  # no turn of the loop is waited for
        found = done.value.value
        assert found.transport.get_extra_info("socket").getpeername()[:2] == (host, port)
        assert found.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        for one in (connection, brief, found):
            one.abort()
    failure = await failure_of(connect(host, port, (host,)))
    assert failure.symptom is Symptom.REFUSED
