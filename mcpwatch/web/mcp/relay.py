"""`/mcp` on the web address: hands requests to a process of its own that serves MCP, started when it is first asked for.

The official SDK costs tens of megabytes and a second to load; the watchdog never loads it. The process ends with the watchdog (its
standard input closes) and after a while without requests. The role of the caller goes along in a header; a client's own is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mcpwatch.web.problems import problem
from mcpwatch.web.sessions import caller_of

START_TIMEOUT = 60.0
"""Seconds that the process may take to serve."""
IDLE = 600.0
"""Seconds without a request after which the process ends."""
BODY_LIMIT = 1 << 20
AT_ONCE = 64
"""Requests and streams at the same time."""
READ_TIMEOUT = 130.0
"""Seconds without a byte from the process: a check on demand takes its whole deadline."""
_FORWARDED = ("accept", "content-type", "mcp-session-id", "mcp-protocol-version", "last-event-id", "mcp-method", "mcp-name")
_RETURNED = ("content-type", "mcp-session-id", "cache-control", "allow")


class McpRelay:
    """The relay. `socket` is where the process listens; its directory is the state directory."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._process: asyncio.subprocess.Process | None = None
        self._client: httpx.AsyncClient | None = None
        self._starting = asyncio.Lock()
        self._open = 0
        self._reaper: asyncio.TimerHandle | None = None

    async def serve(self, request: Request) -> Response:
        """Relay one request."""
        if self._open >= AT_ONCE:
            return problem(503, f"{AT_ONCE} MCP requests are open already", headers={"Retry-After": "2"})
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_LIMIT:
                return problem(413, f"the message is larger than {BODY_LIMIT} bytes")
        self._open += 1
        self._rest()
        try:
            client = await self._started()
            caller = caller_of(request.scope)
            headers = {name: request.headers[name].strip() for name in _FORWARDED if name in request.headers}
            headers |= {"mcpwatch-role": caller.role, "mcpwatch-by": caller.by, "host": "127.0.0.1"}
            sent = client.build_request(request.method, "http://127.0.0.1/mcp", headers=headers, content=body or None)
            answer = await client.send(sent, stream=True)
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            self._done()
            return problem(503, f"the MCP server of mcpwatch does not answer: {type(error).__name__}")
        except BaseException:
            self._done()
            raise
        kept = {name: answer.headers[name] for name in _RETURNED if name in answer.headers}
        return StreamingResponse(self._pieces(answer), answer.status_code, headers={**kept, "X-Accel-Buffering": "no"})

    async def _pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for piece in answer.aiter_raw():
                yield piece
        except httpx.HTTPError:
            return
        finally:
            with contextlib.suppress(httpx.HTTPError):
                await answer.aclose()
            self._done()

    def _done(self) -> None:
        self._open -= 1
        self._rest()

    def _rest(self) -> None:
        """End the process when nobody has asked for a while."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        if self._open == 0:
            self._reaper = asyncio.get_running_loop().call_later(IDLE, self._end)

    def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def _started(self) -> httpx.AsyncClient:
        """The client of a process that serves. Raises `TimeoutError` or `OSError`."""
        async with self._starting:
            if self._client is not None and self._process is not None and self._process.returncode is None:
                return self._client
            await self.close()
            self._socket.unlink(missing_ok=True)
            command = (
                sys.executable,
                "-m",
                "mcpwatch",
                "--state-dir",
                str(self._socket.parent),
                "mcp",
                "--socket",
                str(self._socket),
            )
            hidden = {key: value for key, value in os.environ.items() if key not in ("MCPWATCH_URL", "MCPWATCH_TOKEN")}
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=hidden,
            )
            await self._ready(self._process)
            limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=4)
            timeout = httpx.Timeout(READ_TIMEOUT, connect=5.0, read=None)
            self._client = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(self._socket), limits=limits), timeout=timeout, trust_env=False
            )
            return self._client

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            if process.returncode is not None:
                raise OSError(f"it ended with code {process.returncode}")
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(str(self._socket))
                writer.close()
                return
            if time.monotonic() > deadline:
                raise TimeoutError
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        """End the process and let go of it."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        process: Any = self._process
        client, self._client, self._process = self._client, None, None
        if client is not None:
            await client.aclose()
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(3.0):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
