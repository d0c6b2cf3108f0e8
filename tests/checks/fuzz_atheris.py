"""Coverage-guided fuzzing of everything that reads what a server sends: `python -m tests.checks.fuzz_atheris -max_total_time=30`.

A crash is any exception that is not `ProbeFailure`; libFuzzer's own flags bound time (`-timeout`) and memory (`-rss_limit_mb`).
"""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["mcpwatch.checks", "mcpwatch.http_client", "mcpwatch.model"]):
    from mcpwatch.checks import classify, expectations, rpc
    from mcpwatch.checks.caller import events, read
    from mcpwatch.checks.failure import ProbeFailure
    from mcpwatch.checks.schema import lint_tools
    from mcpwatch.http_client.client import Response
    from mcpwatch.http_client.connection import ClientConnection
    from mcpwatch.http_client.failure import HttpFailed
    from mcpwatch.model.contract import changes, snapshot

LOOP = asyncio.new_event_loop()


class Wire(asyncio.Transport):
    """A transport that takes everything and is closed when told."""

    def write(self, data: Any) -> None:
        del data

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def answer(pieces: list[bytes]) -> None:
    """Feed pieces to a line as an answer and read it as a probe would: as events, or as a body."""
    line = ClientConnection()
    line.connection_made(Wire())
    exchange = asyncio.create_task(line.exchange(b"GET / HTTP/1.1\r\n\r\n"))
    await asyncio.sleep(0)
    for piece in pieces:
        line.data_received(piece)
    line.connection_lost(None)
    try:
        await exchange
        response = Response(line, lambda _: None)
        if "event-stream" in response.headers.get("content-type", ""):
            async for event in events(response):
                message(event.data)
        else:
            message(await read(response, 1 << 20))
    except HttpFailed:
        pass
    except ProbeFailure as trouble:
        classify.refine(trouble, "route")


def message(data: bytes) -> None:
    """What is made of a message, down to contract and lint."""
    classify.status_failure(500, {}, data, "GET /")
    for found in rpc.parse(data):
        rpc.reply(found)
        if not rpc.answers(found, 1):
            continue
        result = rpc.outcome(found, "tools/list")
        expectations.tool_error(result, "t", "route")
        items = result.get("tools")
        if isinstance(items, list) and all(isinstance(item, dict) for item in items):
            expectations.tools_of(items)
            lint_tools(items)
            changes(snapshot(tools=items), snapshot(tools=items[1:]))


def one(data: bytes) -> None:
    """One input: the first byte says where the answer is cut in two, the next whether a lawful head is put before it."""
    provider = atheris.FuzzedDataProvider(data)
    place, head = provider.ConsumeIntInRange(0, 255), provider.ConsumeIntInRange(0, 3)
    rest = provider.ConsumeBytes(provider.remaining_bytes())
    kinds = (b"", b"text/event-stream", b"application/json", b"text/html")
    lawful = b"HTTP/1.1 200 OK\r\nContent-Type: " + kinds[head] + b"\r\n\r\n" if head else b""
    whole = lawful + rest
    LOOP.run_until_complete(answer([whole[:place], whole[place:]]))
    with contextlib.suppress(ProbeFailure):
        message(rest)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
