"""The first server by `https` comes by a reload to a gateway that serves and has no TLS yet: it gets it, and nobody notices."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.gateway.program import HELLO, TINY, Gateway, Http, Sse, call, gateway, http, messages, sse, text
from tests.http_client import tls_peers
from tests.http_client.tls_peers import Files, Peer, listening, mute

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(180)]
LIMIT = 60.0
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return tls_peers.make(tmp_path_factory.mktemp("tls"))


def relaying(url: str) -> Peer:
    """Passes bytes on to a server without TLS and back."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near = urlsplit(url)
        back, out = await asyncio.open_connection(near.hostname, near.port)
        await asyncio.gather(pump(reader, out), pump(back, writer))

    return serve


def holds_openssl(running: Gateway) -> bool:
    return "libssl" in Path(f"/proc/{running.process.pid}/maps").read_text()


async def reload(running: Gateway, servers: dict[str, Any]) -> None:
    running.write({"servers": {"tiny": TINY} | servers})
    assert (await asyncio.to_thread(running.admin, "POST", "/reload")).status_code == 200


async def told(running: Gateway, name: str, word: Callable[[str], bool]) -> str:
    """What is said of a server, as soon as it is that."""
    async with asyncio.timeout(LIMIT):
        while True:
            said = str((await asyncio.to_thread(running.members))[name]["error"])
            if word(said):
                return said
            await asyncio.sleep(0.05)


@asynccontextmanager
async def undisturbed(running: Gateway) -> AsyncGenerator[tuple[Http, Sse]]:
    """Sessions on both wires, with a call under way in each that is answered after what the caller does, by the same process."""
    before = running.members()["tiny"]
    async with http(f"{running.url}/tiny/mcp") as one, sse(f"{running.url}/tiny/sse") as other:
        await one.hello()
        await other.hello()
        long = asyncio.create_task(one.post(call(1, "sleep", seconds=3)))
        assert (await other.post(call(2, "sleep", seconds=3))).status_code == 202
        yield one, other
        assert [message["id"] for message in messages(await long)] == [1]
        assert (await other.next())["id"] == 2
        for number in range(3, 8):
            assert text(messages(await one.post(call(number, "echo", n=number)))[-1]) == {"n": number}
            assert text(await other.ask(call(number, "echo", n=number))) == {"n": number}
    after = (await asyncio.to_thread(running.members))["tiny"]
    assert (after["pid"], after["generation"]) == (before["pid"], before["generation"])


async def served(running: Gateway, name: str) -> None:
    """Both wires of a client reach it."""
    async with http(f"{running.url}/{name}/mcp") as one, sse(f"{running.url}/{name}/sse") as other:
        await one.hello()
        await other.hello()
        assert text(messages(await one.post(call(1, "echo", by=name)))[-1]) == {"by": name}
        assert text(await other.ask(call(1, "echo", by=name))) == {"by": name}


async def test_both_wires_by_https_are_served_after_a_reload_and_running_sessions_go_on(files: Files) -> None:
    with gateway({"servers": {"in": TINY}}) as behind, gateway({"servers": {"tiny": TINY}}) as running:
        running.wait({"tiny": "running"})
        behind.wait({"in": "running"})
        assert not holds_openssl(running)
        plain, guarded = tls_peers.context(files), tls_peers.context(files, wants_client=True)
        unknown = tls_peers.context(files, "unknown")
        async with (
            listening(relaying(behind.url), plain) as base,
            listening(relaying(behind.url), guarded) as mine,
            listening(relaying(behind.url), unknown) as other,
            undisturbed(running),
        ):
            trusted = {"ca_file": files["ca"]}
            servers = {
                "far-sse": {"url": f"{base}/in/sse"} | trusted,
                "far-mcp": {"url": f"{base}/in/mcp"} | trusted,
                "mine": {"url": f"{mine}/in/mcp", "cert_file": files["client"]} | trusted,
                "unshown": {"url": f"{mine}/in/mcp"} | trusted,
                "other": {"url": f"{other}/in/mcp"} | trusted,
                "absent": {"url": f"{base}/in/mcp", "ca_file": files["ca"] + ".absent"},
            }
            await reload(running, servers)
            await asyncio.to_thread(running.wait, dict.fromkeys(("far-sse", "far-mcp", "mine"), "running"))
            for name in ("far-sse", "far-mcp", "mine"):
                await served(running, name)
            said = await told(running, "other", bool)
            assert "the certificate of 127.0.0.1 is not accepted: unable to get local issuer certificate" in said
            unshown = await told(running, "unshown", bool)
            assert re.search("the connection was (closed|reset)", unshown), "the kernel chooses which"
            assert f"the CA file {files['ca']}.absent cannot be used" in await told(running, "absent", bool)
            assert holds_openssl(running)


async def test_a_server_by_https_in_the_file_from_the_beginning_is_served_by_the_loops_own_tls(files: Files) -> None:
    with gateway({"servers": {"in": TINY}}) as behind:
        async with listening(relaying(behind.url), tls_peers.context(files)) as base:
            far = {"url": f"{base}/in/mcp", "ca_file": files["ca"]}

            def serve() -> None:
                with gateway({"servers": {"tiny": TINY, "far": far}}) as running:
                    assert holds_openssl(running)
                    running.wait({"tiny": "running", "far": "running"})
                    asyncio.run(served(running, "far"))

            await asyncio.to_thread(serve)


def answering(cut: bytes, executed: list[bytes]) -> Peer:
    """A server on Streamable HTTP whose answer to a call is `cut`, sent as soon as the head of that is there; then it closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if not head.startswith(b"post"):
                    writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
                    continue
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                if length > 100_000:
                    executed.append(b"large")
                    writer.write(cut)
                    break
                body = json.loads(await reader.readexactly(length))
                if body["method"] == "tools/call":
                    executed.append(b"small")
                    writer.write(cut)
                    break
                if "id" not in body:
                    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                    continue
                result: dict[str, Any] = {"protocolVersion": HELLO["protocolVersion"], "capabilities": {"tools": {}}}
                result["serverInfo"] = {"name": "s", "version": "1"}
                answer = json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": result}).encode()
                writer.write(JSON_HEAD + b"Content-Length: %d\r\n\r\n" % len(answer) + answer)
        with suppress(OSError):
            await writer.drain()
        writer.close()

    return serve


CUTS: dict[str, tuple[bytes, str, bool]] = {
    "body": (JSON_HEAD + b'Content-Length: 900\r\n\r\n{"jsonrpc":"2.0","id"', "in the middle of its answer", True),
    "chunk": (JSON_HEAD + b'Transfer-Encoding: chunked\r\n\r\n99\r\n{"jsonrpc":"2.0"', "in the middle of its answer", True),
    "head": (b"HTTP/1.1 200 O", "before it answered", True),
    "stream": (STREAM_HEAD + b"9\r\ndata: {", "in the middle", True),
    "refused": (b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", "413", False),
}  # fmt: skip
"""What a server by https sends of its answer to a call, what its caller is told, and whether the call may have been executed."""


async def test_cut_and_early_answers_by_https_are_told_as_they_are_by_http(files: Files) -> None:
    executed: dict[str, list[bytes]] = {}

    async def outcome(running: Gateway, name: str) -> list[dict[str, Any]]:
        async with http(f"{running.url}/{name}/mcp") as one:
            await one.hello()
            small = messages(await one.post(call(1, "echo")))[-1]
            large = messages(await one.post(call(2, "echo", text="x" * 2_000_000)))[-1]
            return [small["error"], large["error"]]

    with gateway({"servers": {"tiny": TINY}}) as running:
        running.wait({"tiny": "running"})
        async with undisturbed(running):
            servers: dict[str, Any] = {}
            stack: list[Any] = []
            for name, (cut, _, _) in CUTS.items():
                for tls in (True, False):
                    key = f"{name}-{tls}".lower()
                    peer = answering(cut, executed.setdefault(key, []))
                    made = listening(peer, tls_peers.context(files) if tls else None)
                    base = await made.__aenter__()
                    stack.append(made)
                    url = base if tls else base.replace("https:", "http:")
                    servers[key] = {"url": f"{url}/mcp", "transport": "http"} | ({"ca_file": files["ca"]} if tls else {})
            await reload(running, servers)
            await asyncio.to_thread(running.wait, dict.fromkeys(servers, "running"))
            for name, (_, words, possibly) in CUTS.items():
                secure, clear = [await outcome(running, f"{name}-{tls}") for tls in ("true", "false")]
                for one, other in zip(secure, clear, strict=True):
                    assert words in one["message"], one
                    assert bool(one.get("data", {}).get("possiblyExecuted")) is possibly, one
                    assert strip(one) == strip(other)
            assert set(map(tuple, executed.values())) == {(b"small", b"large")}, "a call is sent once"
            for made in stack:
                await made.__aexit__(None, None, None)


def strip(error: dict[str, Any]) -> str:
    """Without the name of the server, which says how it is reached, and whether the kernel closed or reset the connection."""
    return json.dumps(error).replace("-true", "").replace("-false", "").replace("was reset", "was closed")


async def test_a_server_that_is_taken_out_in_the_middle_of_its_handshake_leaves_no_connection(files: Files) -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def hearing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.read(65536))[:1] == b"\x16", "a handshake of TLS"
        came.set()
        await mute(reader, writer)
        gone.set()

    with gateway({"servers": {"tiny": TINY}}) as running:
        running.wait({"tiny": "running"})
        async with listening(hearing) as silent, undisturbed(running):
            await reload(running, {"far": {"url": f"{silent}/mcp", "ca_file": files["ca"]}})
            await asyncio.wait_for(came.wait(), LIMIT)
            await reload(running, {})
            await asyncio.wait_for(gone.wait(), LIMIT)
            assert set(await asyncio.to_thread(running.members)) == {"tiny"}
        log = (running.file.parent / "log").read_text()
        assert "Traceback" not in log
        assert "Exception" not in log
