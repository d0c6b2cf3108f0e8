"""Every byte that a peer sends is under a bound, in every state of the parsers: bytes taken before the cut are counted, not memory.

Each row of the table of bounds in docs/reference/gateway.md names a test; those of bytes and lines are here.
"""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from mcpwatch.gateway.http import limits
from mcpwatch.gateway.http.budget import Budget, address_of
from mcpwatch.http_client import connection as connections
from mcpwatch.http_client import framing, sse
from mcpwatch.http_client.connection import ClientConnection
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.sse import EventParser
from tests.gateway.wireless import READ, FakeTransport, Keeper, Wireless, held_bytes

pytestmark = pytest.mark.anyio

HEAD = 4096
BODY = 100_000
CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
HELD = b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n"
SOME = 4 * READ
"""What a socket hands over before a cut is felt (bytes)."""
AROUND = framing.FRAMING + SOME
REFUSED = limits.LINGER_BYTES + SOME
"""What a refused client may still send."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


SERVER_STATES = {
    "method": (b"", b"A", REFUSED),
    "target": (b"GET /", b"a", HEAD + REFUSED),
    "version": (b"GET / HTTP/", b"1", REFUSED),
    "blank lines before a request": (b"", b"\r\n", HEAD + REFUSED),
    "blank lines after a request": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n", HEAD + REFUSED),
    "header name": (b"GET / HTTP/1.1\r\n", b"a", HEAD + REFUSED),
    "header value": (b"GET / HTTP/1.1\r\nA: ", b"b", HEAD + REFUSED),
    "space before a value": (b"GET / HTTP/1.1\r\nA:", b" ", HEAD + REFUSED),
    "header lines": (b"GET / HTTP/1.1\r\n", b"A:\r\n", HEAD + REFUSED),
    "digits of a length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ", b"0", HEAD + REFUSED),
    "body of known length": (LENGTH % (b"/", 10**14), b"x", REFUSED),
    "body of many digits": (LENGTH % (b"/", 10**40), b"x", REFUSED),
    "body of a refused request": (LENGTH % (b"/no", 10**14), b"x", REFUSED),
    "chunked body": (CHUNKED % b"/", b"3e8\r\n" + b"x" * 1000 + b"\r\n", 2 * BODY + REFUSED),
    "chunked body of a refused request": (CHUNKED % b"/no", b"3e8\r\n" + b"x" * 1000 + b"\r\n", 2 * BODY + REFUSED),
    "small chunks": (CHUNKED % b"/", b"1\r\nx\r\n", 6 * BODY + REFUSED),
    "digits of a chunk": (CHUNKED % b"/", b"0", AROUND + REFUSED),
    "extension of a chunk": (CHUNKED % b"/" + b"1;", b"e", AROUND + REFUSED),
    "extensions of chunks": (CHUNKED % b"/", b"1;eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\r\nx\r\n", AROUND + REFUSED),
    "quoted extension of a chunk": (CHUNKED % b"/" + b'1;a="', b"e", AROUND + REFUSED),
    "name of a trailer": (CHUNKED % b"/" + b"0\r\n", b"t", AROUND + REFUSED),
    "trailers": (CHUNKED % b"/" + b"0\r\n", b"T: v\r\n", AROUND + REFUSED),
    "trailers of a refused request": (CHUNKED % b"/no" + b"0\r\n", b"T: v\r\n", AROUND + REFUSED),
    "trailers behind a body": (CHUNKED % b"/" + b"1\r\nx\r\n0\r\n", b"T: v\r\n", AROUND + REFUSED),
    "after a refusal": (b"nonsense\r\n\r\n", b"x", REFUSED),
    "after an answer that closes": (b"GET /no HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"x", REFUSED),
    "requests behind one that runs": (HELD, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", SOME),
    "bodies behind one that runs": (HELD, LENGTH % (b"/", 90_000) + b"x" * 90_000, limits.PIPELINED_BYTES + BODY + SOME),
    "a body behind one that runs": (HELD + LENGTH % (b"/", 10**14), b"x", REFUSED),
    "trailers behind one that runs": (HELD + CHUNKED % b"/" + b"0\r\n", b"T: v\r\n", AROUND + REFUSED),
    "nonsense behind one that runs": (HELD + b"nonsense\r\n\r\n", b"x", REFUSED),
    "an offer to upgrade": (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", b"\x00" * 9, HEAD + REFUSED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("state", SERVER_STATES)
async def test_an_endless_sender_is_cut_in_every_state_of_the_server(state: str) -> None:
    begin, again, most = SERVER_STATES[state]
    server = Wireless(Keeper(BODY), head_bytes=HEAD)
    taken = await server.flood(begin, again, most)
    assert taken <= most
    assert held_bytes(server.connection) <= HEAD + limits.PIPELINED_BYTES + BODY + SOME
    server.end()
    await asyncio.sleep(0)
    assert server.shared.budget.held == 0


@pytest.mark.parametrize("path", [b"/", b"/no"])
async def test_trailers_are_never_kept_nor_taken_for_headers(path: bytes) -> None:
    server = Wireless()
    await server.send(CHUNKED % path + b"1\r\nx\r\n0\r\nMcp-Name: evil\r\nAuthorization: Bearer x\r\n\r\n")
    await server.send(b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [name for turn in server.app.served for name, _ in turn.lines if name != b"host"] == [b"transfer-encoding"] * (
        path == b"/"
    )
    assert server.app.admitted == 2
    server.end()


async def test_a_body_may_come_in_chunks_of_one_byte() -> None:
    server = Wireless()
    await server.send(CHUNKED % b"/" + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert server.transport.sent.endswith(b"x" * 50_000)
    server.end()


@pytest.mark.parametrize(("lines", "status"), [(limits.HEAD_LINES - 1, b"200"), (limits.HEAD_LINES, b"431")])
async def test_a_request_has_so_many_header_lines(lines: int, status: bytes) -> None:
    server = Wireless()
    await server.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * lines + b"\r\n")
    await asyncio.sleep(0)
    assert server.transport.sent.startswith(b"HTTP/1.1 " + status)
    server.end()


@pytest.mark.parametrize(
    ("peers", "open_ones"),
    [
        ([("10.0.0.1", 1)] * 4, 2),
        ([("10.0.0.1", 1), ("10.0.0.2", 1)] * 3, 3),
        ([(f"2001:db8::{number}", 1, 0, 0) for number in range(4)], 2),
        ([("::ffff:10.0.0.1", 1, 0, 0), ("10.0.0.1", 1), ("10.0.0.1", 1)], 2),
        ([""] * 9, 9),
    ],
)
async def test_only_so_many_connections_are_served_of_one_address_and_in_all(peers: list[object], open_ones: int) -> None:
    budget = Budget(3, 2)
    servers = [Wireless(budget=budget, peer=peer or "/a/socket") for peer in peers]
    refused = [server for server in servers if server.transport.sent.startswith(b"HTTP/1.1 503")]
    assert len(servers) - len(refused) == open_ones
    assert all(b"retry-after: 5" in server.transport.sent for server in refused)
    for server in servers:
        server.end()
    assert budget.connections == 0
    again = Wireless(budget=budget, peer=peers[0] or "/a/socket")
    assert not again.transport.sent
    again.end()


async def test_bodies_that_are_read_have_a_bound_for_one_address_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HELD_PER_ADDRESS", 4 * BODY)
    budget = Budget(1000, 1000)
    servers: dict[str, list[Wireless]] = {}
    for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"):
        servers[address] = [Wireless(Keeper(BODY), budget, peer=(address, 1)) for _ in range(6)]
        for server in servers[address]:
            await server.send(LENGTH % (b"/", BODY) + b"x" * (BODY - 1))
    refused = {address: sum(b" 503 " in bytes(server.transport.sent) for server in ones) for address, ones in servers.items()}
    assert refused == {"10.0.0.1": 2, "10.0.0.2": 2, "10.0.0.3": 2, "10.0.0.4": 2, "10.0.0.5": 6}
    assert budget.held <= 16 * BODY
    for server in [server for ones in servers.values() for server in ones]:
        server.end()
    assert budget.held == 0


def test_an_address_is_what_one_customer_gets() -> None:
    assert address_of(("2001:db8::1", 1, 0, 0)) == address_of(("2001:db8::2", 1, 0, 0)) != address_of(("2001:db8:0:1::1", 1, 0, 0))
    assert address_of(("fe80::1%eth0", 1, 0, 2)) == "fe80::/64"
    assert (address_of("/path"), address_of(b""), address_of(None), address_of(("odd:host", 1))) == ("", "", "", "odd:host")


# --- the client ---

ANSWER = b"HTTP/1.1 200 OK\r\n"
CHUNKS = ANSWER + b"Transfer-Encoding: chunked\r\n\r\n"
READS = connections.READ + SOME
CLIENT_STATES = {
    "status": (b"HTTP/1.1 200 ", b"O", connections.HEAD_BYTES + READS),
    "header name": (ANSWER, b"a", connections.HEAD_BYTES + READS),
    "header value": (ANSWER + b"A: ", b"b", connections.HEAD_BYTES + READS),
    "header lines": (ANSWER, b"A: b\r\n", READS),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", connections.HEAD_BYTES + READS),
    "interim answers with lines": (b"", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", connections.HEAD_BYTES + READS),
    "body that is not read": (ANSWER + b"Content-Length: %d\r\n\r\n" % 10**14, b"x", connections.UNREAD_LIMIT + READS),
    "endless body that is not read": (ANSWER + b"\r\n", b"x", connections.UNREAD_LIMIT + READS),
    "chunks that are not read": (CHUNKS, b"3e8\r\n" + b"x" * 1000 + b"\r\n", 2 * connections.UNREAD_LIMIT + READS),
    "digits of a chunk": (CHUNKS, b"0", framing.FRAMING + READS),
    "extension of a chunk": (CHUNKS + b"1;", b"e", framing.FRAMING + READS),
    "trailers": (CHUNKS + b"0\r\n", b"T: v\r\n", framing.FRAMING + READS),
    "behind the answer": (ANSWER + b"Content-Length: 1\r\n\r\nx", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny", READS),
}


@pytest.mark.parametrize("state", CLIENT_STATES)
async def test_an_endless_upstream_is_cut_or_left_in_the_socket_in_every_state_of_the_client(state: str) -> None:
    begin, again, most = CLIENT_STATES[state]
    transport, connection = FakeTransport(), ClientConnection()
    connection.connection_made(cast("asyncio.Transport", transport))
    asking = asyncio.create_task(connection.exchange(b"GET / HTTP/1.1\r\n\r\n"))
    await asyncio.sleep(0)
    taken, piece = 0, begin
    while taken <= most and not transport.closed and not transport.paused:
        connection.data_received(piece)
        taken += len(piece)
        piece = (again * (READ // len(again) + 1))[: READ // len(again) * len(again)]
        if connection.complete and not connection.reusable:
            break
    assert taken <= most
    if not transport.closed:
        connection.abort()
    connection.connection_lost(None)
    await asyncio.wait({asking})
    assert asking.exception() is None or isinstance(asking.exception(), HttpFailed)
    assert len(connection.headers) <= connections.HEAD_LINES


ENDLESS = [b"data: x\n", b"data:\n", b"data: " + b"x" * 5000, b"x"]
ENDING = [b"event: x\n", b"id: x\n", b": ping\n", b"\r", b"\n", b"data: x\n\n"]


@pytest.mark.parametrize("line", ENDLESS)
def test_an_endless_event_is_given_up(line: bytes) -> None:
    parser = EventParser(limit=100_000)
    with pytest.raises(HttpFailed, match="100000 bytes"):
        _ = [parser.feed(line) for _ in range(200_000 // len(line))]


@pytest.mark.parametrize("line", ENDING)
def test_endless_events_keep_nothing(line: bytes) -> None:
    parser = EventParser(limit=1000)
    for _ in range(200_000 // 100 // len(line)):
        parser.feed(line * 100)


def test_the_largest_answer_is_the_largest_event() -> None:
    parser = EventParser()
    piece = b"x" * 2**20
    parser.feed(b"data: ")
    for _ in range(sse.ANSWER_LIMIT // len(piece) - 1):
        parser.feed(piece)
    assert len(parser.feed(b"\n\n")[0].data) == sse.ANSWER_LIMIT - len(piece)


async def test_what_an_upstream_sends_unasked_is_never_taken_for_an_answer() -> None:
    transport, connection = FakeTransport(), ClientConnection()
    connection.connection_made(cast("asyncio.Transport", transport))
    asking = asyncio.create_task(connection.exchange(b"GET / HTTP/1.1\r\n\r\n"))
    await asyncio.sleep(0)
    connection.data_received(ANSWER + b"Content-Length: 1\r\n\r\nx")
    await asking
    assert await connection.next_part() == b"x"
    assert connection.reusable
    connection.idle()
    connection.data_received(ANSWER + b"Content-Length: 6\r\n\r\nforged")
    assert transport.aborted
    assert not connection.reusable
    connection.connection_lost(None)
