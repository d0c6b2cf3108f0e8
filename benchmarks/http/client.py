"""python -m benchmarks.http.client KIND URL CALLS AT_ONCE: calls by one HTTP client.

Prints seconds to import, calls/s, CPU ms a call, and MiB.

KIND: ours, httpx, httpcore.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

BODY = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}'
HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
Call = Callable[[], Awaitable[object]]


def caller(kind: str, url: str) -> Call:
    client: Any
    if kind == "ours":
        from mcpwatch.http_client.client import HttpClient

        client = HttpClient(url)

        async def call() -> object:
            return await (await client.request("POST", url, HEADERS, BODY)).read()

    elif kind == "httpx":
        import httpx

        client = httpx.AsyncClient(timeout=30)

        async def call() -> object:
            return (await client.post(url, content=BODY, headers=HEADERS)).content

    else:
        import httpcore

        client = httpcore.AsyncConnectionPool()

        async def call() -> object:
            return (await client.request("POST", url, content=BODY, headers=HEADERS)).content

    return call


async def main(kind: str, url: str, calls: int, at_once: int) -> None:
    begun = time.perf_counter()
    call = caller(kind, url)
    imported = time.perf_counter() - begun
    await call()

    async def several() -> None:
        for _ in range(calls // at_once):
            await call()

    cpu, begun = time.process_time(), time.perf_counter()
    await asyncio.gather(*(several() for _ in range(at_once)))
    took, used = time.perf_counter() - begun, time.process_time() - cpu
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"import s": imported, "calls/s": calls / took, "cpu ms/call": used / calls * 1000, "rss MiB": rss}))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
