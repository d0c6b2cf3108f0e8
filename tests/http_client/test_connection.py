"""One HTTP connection, fed by hand: what is a whole answer, what is a cut, and where its bounds are."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from mcpwatch.http_client.connection import HEAD_BYTES, UNREAD_LIMIT, ClientConnection
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.probe import Symptom

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(5)]

ASK = b"GET / HTTP/1.1\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Socket(asyncio.Transport):
    """Takes what is written and notes how it ended."""

    def __init__(self, **extra: object) -> None:
        super().__init__(extra)
        self.written = b""
        self.ended = ""
        self.paused = False
        self.unsent = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return bool(self.ended)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Wired:
    """A connection with its socket; `ask` begins an exchange."""

    def __init__(self, **extra: object) -> None:
        self.socket = Socket(**extra)
        self.connection = ClientConnection()
        self.connection.connection_made(self.socket)
        self.hears = self.connection.data_received

    async def ask(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.connection.exchange(ASK))
        await asyncio.sleep(0)
        return task

    async def answered(self, *pieces: bytes) -> int:
        task = await self.ask()
        for piece in pieces:
            self.hears(piece)
        await task
        return self.connection.status

    async def body(self) -> bytes:
        found = b""
        while (part := await self.connection.next_part()) is not None:
            found += part
        return found


async def failure_of(task: Any) -> HttpFailed:
    with pytest.raises(HttpFailed) as caught:
        await task
    return caught.value


async def test_an_answer_in_pieces_is_given_with_its_headers_and_its_body() -> None:
    wired = Wired()
    status = await wired.answered(b"HTTP/1.1 207 X\r\nContent-", b"Length: 4\r\nX-Y: z\r\n\r\nab")
    assert (status, wired.connection.headers) == (207, {"content-length": "4", "x-y": "z"})
    assert wired.socket.written == ASK
    assert not wired.connection.reusable
    reading = asyncio.create_task(wired.body())
    await asyncio.sleep(0)
    wired.hears(b"cd")
    assert await reading == b"abcd"
    assert wired.connection.reusable


async def test_a_piece_of_a_body_is_given_when_it_comes() -> None:
    wired = Wired()
    await wired.answered(b"HTTP/1.1 200 OK\r\n\r\n")
    for piece in (b"first", b"second"):
        reading = asyncio.create_task(wired.connection.next_part())
        await asyncio.sleep(0)
        wired.hears(piece)
        assert await reading == piece


async def test_a_connection_carries_one_exchange_after_the_other() -> None:
    wired = Wired()
    for body in (b"ok", b"on", b"ok"):
        assert wired.connection.reusable
        await wired.answered(WHOLE.replace(b"ok", body))
        assert not wired.connection.read, "the body is not read yet"
        assert await wired.body() == body
        assert wired.connection.read
        wired.connection.idle()
    assert wired.socket.ended == ""


async def test_what_was_left_unread_of_one_answer_is_not_taken_for_the_next() -> None:
    wired = Wired()
    await wired.answered(WHOLE)
    await wired.answered(WHOLE.replace(b"ok", b"on"))
    assert await wired.body() == b"on"


async def test_a_request_on_a_connection_that_is_gone_was_not_sent() -> None:
    wired = Wired()
    wired.connection.connection_lost(None)
    for connection in (wired.connection, ClientConnection()):
        failure = await failure_of(connection.exchange(ASK))
        assert (failure.symptom, failure.sent, failure.reason) == (
            Symptom.CUT,
            False,
            "the connection was closed before the request",
        )


async def test_an_early_hint_is_not_the_answer() -> None:
    wired = Wired()
    task = await wired.ask()
    wired.hears(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    await asyncio.sleep(0)
    assert not task.done()
    wired.hears(WHOLE)
    await task
    assert wired.connection.headers == {"content-length": "2"}
    wired = Wired()
    assert (await wired.answered(b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE)) == 200


@pytest.mark.parametrize("framing", [b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_framed_answer_that_ends_early_is_cut_and_one_without_a_length_ends_with_its_connection(framing: bytes) -> None:
    wired = Wired()
    await wired.answered(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
    wired.connection.connection_lost(None)
    assert (await failure_of(wired.connection.next_part())).reason == "the connection was closed in the middle of its answer"
    wired = Wired()
    await wired.answered(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    assert await wired.connection.next_part() == b"all of it"
    reading = asyncio.create_task(wired.connection.next_part())
    await asyncio.sleep(0)
    wired.connection.connection_lost(None)
    assert await reading is None


@pytest.mark.parametrize(
    ("error", "words"),
    [(None, "closed"), (ConnectionResetError(), "reset"), (OSError(), "closed"), (OSError("odd"), "lost (odd)")],
)
async def test_a_connection_lost_before_or_within_an_answer_is_told_by_how_it_ended(error: Exception | None, words: str) -> None:
    wired = Wired()
    task = await wired.ask()
    wired.connection.connection_lost(error)
    failure = await failure_of(task)
    assert (failure.symptom, failure.reason) == (Symptom.CUT, f"the connection was {words} before it answered")
    wired = Wired()
    await wired.answered(b"HTTP/1.1 200 OK\r\n\r\n")
    reading = asyncio.create_task(wired.connection.next_part())
    await asyncio.sleep(0)
    wired.connection.connection_lost(error or OSError())
    assert (await failure_of(reading)).reason == f"the connection was {words} in the middle of its answer"


@pytest.mark.parametrize("encrypted", [False, True])
async def test_no_request_is_sent_behind_one_that_was_answered_before_it_was_taken_whole(encrypted: bool) -> None:
    wired = Wired()
    if encrypted:
        wired.connection.transport = Socket()
    wired.socket.unsent = 1
    await wired.answered(WHOLE)
    assert (await wired.body(), wired.connection.reusable) == (b"ok", False)


async def test_the_end_of_an_idle_connection_is_no_failure() -> None:
    wired = Wired()
    await wired.answered(WHOLE)
    wired.connection.connection_lost(None)
    assert (await wired.body(), wired.connection.reusable) == (b"ok", False)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP ("),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "the server wants to switch"),
    ],
)
async def test_an_answer_that_is_not_http_is_a_bad_reply_and_the_end(answer: bytes, words: str) -> None:
    wired = Wired()
    task = await wired.ask()
    wired.hears(answer)
    failure = await failure_of(task)
    assert (failure.symptom, wired.socket.ended, wired.connection.closed) == (Symptom.BAD_REPLY, "aborted", True)
    assert failure.reason.startswith(words)


async def test_what_is_not_http_is_kept_to_be_shown() -> None:
    wired = Wired()
    task = await wired.ask()
    wired.hears(b"SSH " + b"\xe9" * 500)
    assert (await failure_of(task)).said == b"SSH " + b"\xe9" * 500


async def test_the_first_failure_is_the_one_that_is_told() -> None:
    wired = Wired()
    await wired.answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n")
    wired.connection.connection_lost(ConnectionResetError())
    assert (await failure_of(wired.connection.next_part())).reason.startswith("the answer is not HTTP (")


async def test_more_than_the_length_of_an_answer_ends_the_connection_and_leaves_the_answer() -> None:
    wired = Wired()
    await wired.answered(WHOLE + WHOLE)
    assert (await wired.body(), wired.connection.reusable) == (b"ok", False)
    for unasked in (WHOLE, b"SSH-2.0\r\n"):
        wired = Wired()
        wired.hears(unasked)
        assert (wired.socket.ended, wired.connection.closed) == ("aborted", True)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (WHOLE, True),
        (WHOLE.replace(b"200 OK", b"200 OK\r\nConnection: close"), False),
        (WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
    ],
)
async def test_a_connection_that_the_server_does_not_keep_is_not_used_again(answer: bytes, kept: bool) -> None:
    wired = Wired()
    await wired.answered(answer)
    assert await wired.body() == b"ok"
    assert wired.connection.reusable is kept


async def test_headers_are_bounded_in_every_answer_anew() -> None:
    fits = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: %s\r\n\r\nok" % (b"x" * (HEAD_BYTES - len("Content-Length2X")))
    wired = Wired()
    for _ in range(2):
        assert await wired.answered(fits) == 200
        assert await wired.body() == b"ok"
    task = await wired.ask()
    wired.hears(fits.replace(b"X: ", b"XX: "))
    failure = await failure_of(task)
    assert (failure.symptom, failure.reason) == (Symptom.TOO_LARGE, "the answer has more than 64 KiB of headers")
    assert wired.socket.ended == "aborted"


async def test_a_body_that_is_not_read_is_left_in_the_socket_until_it_is() -> None:
    wired = Wired()
    await wired.answered(b"HTTP/1.1 200 OK\r\n\r\n")
    wired.hears(bytes(UNREAD_LIMIT))
    assert not wired.socket.paused
    wired.hears(b"x")
    assert wired.socket.paused
    assert await wired.connection.next_part() == bytes(UNREAD_LIMIT) + b"x"
    assert not wired.socket.paused


async def test_a_reader_that_was_cancelled_is_not_woken_and_another_may_read() -> None:
    wired = Wired()
    task = await wired.ask()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    wired.hears(b"HTTP/1.1 200 OK\r\n\r\n")
    reading = asyncio.create_task(wired.connection.next_part())
    await asyncio.sleep(0)
    reading.cancel()
    wired.hears(b"late")
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await wired.connection.next_part() == b"late"


async def test_what_tls_agreed_on_is_known_and_without_tls_there_is_nothing() -> None:
    class Secured:
        def version(self) -> str:
            return "TLSv1.3"

    secure = Wired(ssl_object=Secured(), peercert={"notAfter": "x"}).connection
    assert (secure.tls_version, secure.peer_certificate) == ("TLSv1.3", {"notAfter": "x"})
    for bare in (Wired().connection, ClientConnection()):
        assert (bare.tls_version, bare.peer_certificate) == ("", {})


async def test_an_aborted_connection_is_over_even_before_it_was_made() -> None:
    connection = ClientConnection()
    connection.abort()
    assert (connection.closed, connection.reusable) == (True, False)


async def test_a_connection_that_was_lost_leaves_no_cycle_to_the_garbage_collector() -> None:
    wired = Wired()
    ask = await wired.ask()
    wired.hears(WHOLE)
    await ask
    ended = weakref.ref(wired.connection)
    gc.disable()
    try:
        wired.connection.connection_lost(None)
        del wired, ask
        assert ended() is None
    finally:
        gc.enable()
