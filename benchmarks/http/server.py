"""python -m benchmarks.http.server KIND: one application behind one HTTP server, on uvloop; prints its port, then serves.

The application reads a body and answers it. KIND: ours, httptools (uvicorn), h11 (uvicorn).
"""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import Any

import uvloop


async def ours() -> None:
    from mcpwatch.gateway.http.http_exchange import HttpExchange, Serve
    from mcpwatch.gateway.http.listener import Listener

    class App:
        body_limit = 8 * 1024 * 1024

        def admit(self, turn: HttpExchange) -> Serve | None:
            return functools.partial(self.serve, turn)

        def too_large(self, turn: HttpExchange) -> None:
            turn.answer(413)

        async def serve(self, turn: HttpExchange) -> None:
            turn.answer(200, turn.body)

    print(await Listener(App(), 65536).tcp("127.0.0.1", 0), flush=True)
    await asyncio.get_running_loop().create_future()


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def uvicorn(parser: Any) -> None:
    import uvicorn

    config = uvicorn.Config(asgi, "127.0.0.1", 0, http=parser, lifespan="off", ws="none", log_level="error", access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.get_running_loop().create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await serving


if __name__ == "__main__":
    kind = sys.argv[1]
    uvloop.run(ours() if kind == "ours" else uvicorn(kind))
