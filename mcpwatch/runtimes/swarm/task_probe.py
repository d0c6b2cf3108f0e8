"""Whether a server speaks MCP: `python3 -c THIS URL SECONDS`, run in a task of a swarm by the python3 of its image (3.8 on).

Prints why not and exits 1. Knows nothing but the standard library: it is sent as text.
"""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "mcpwatch", "version": "probe"}},
}
BOUND = 1 << 20
"""Bytes of an answer that are read."""


def send(url: str, seconds: float, message: Any = None, method: str = "POST", session: str = "") -> Any:
    """One request, its answer unread."""
    headers = {"Accept": "application/json, text/event-stream", "User-Agent": "mcpwatch/probe"}
    if session:
        headers["Mcp-Session-Id"] = session
    if message is not None:
        headers["Content-Type"] = "application/json"
    body = None if message is None else json.dumps(message).encode()
    asked = urllib.request.Request(url, body, headers, method=method)  # noqa: S310  # a URL of ours
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return direct.open(asked, timeout=seconds)


def events(answer: Any) -> Any:
    """The data of each event, as it comes."""
    left = BOUND
    for line in answer:
        left -= len(line)
        if left < 0:
            raise ValueError("the answer does not end")
        if line.startswith(b"data:"):
            yield line[5:].strip().decode()


def greeted(message: Any) -> bool:
    """Whether this is the answer to `initialize`. Raises `ValueError` for a refusal."""
    if not isinstance(message, dict) or message.get("id") != HELLO["id"]:  # pyright: ignore[reportUnknownMemberType]
        return False
    if "protocolVersion" not in (message.get("result") or {}):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        raise ValueError("initialize was refused: %.200s" % json.dumps(message))  # noqa: UP031
    return True


def by_sse(url: str, seconds: float) -> bool:
    """HTTP+SSE: the endpoint comes on the stream, and so does the answer."""
    with send(url, seconds, method="GET") as stream:
        told = events(stream)
        endpoint = next(told)
        send(urllib.parse.urljoin(url, endpoint), seconds, HELLO).close()
        return any(greeted(json.loads(data)) for data in told)


def by_http(url: str, seconds: float) -> bool:
    """Streamable HTTP: the answer is JSON or a stream; the session is ended again."""
    with send(url, seconds, HELLO) as answer:
        session = answer.headers.get("Mcp-Session-Id", "")
        if answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            found = any(greeted(json.loads(data)) for data in events(answer))
        else:
            found = greeted(json.loads(answer.read(BOUND)))
    if session:
        with contextlib.suppress(urllib.error.HTTPError):  # it need not allow that
            send(url, seconds, method="DELETE", session=session).close()
    return found


def main() -> int:
    """Exit status 0: it answered `initialize`."""
    url, seconds = sys.argv[1], float(sys.argv[2])
    ask = by_sse if urllib.parse.urlsplit(url).path.rstrip("/").endswith("/sse") else by_http
    try:
        if ask(url, seconds):
            return 0
        print("no answer to initialize came")  # noqa: T201
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the reason
        print("%s: %s" % (type(error).__name__, error))  # noqa: T201, UP031
    return 1


if __name__ == "__main__":
    sys.exit(main())
