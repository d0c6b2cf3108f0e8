"""`python -m tools.mcp_session`: record `docs/reference/mcp-session.md`, a real session of a client with `mcpwatch mcp`.

A fleet of two routes is started, where nothing listens behind one; then a client speaks JSON-RPC with the server over its standard
input and output, as an agent that was asked "what is down, and why?". What both sides sent is written down; long lists are cut.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from tests.e2e.daemon import Daemon, free_port, running
from tests.parts import server

PAGE = Path("docs/reference/mcp-session.md")
HELLO: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "an-agent", "version": "1.0"},
}
ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("fleet_status", {"only_trouble": True}),
    ("explain", {"name": "postgres"}),
    ("events", {"name": "postgres", "limit": 3}),
    ("restart", {"name": "postgres"}),
)
SHORT = 160
"""Characters of a message that is shown in one line."""
WORDS = """# A recorded session

<!-- Made by `python -m tools.mcp_session`; do not edit. A test holds the messages against the tools as they are. -->

A client and [`mcpwatch mcp`](web.md#mcp-server), message by message, as one run had them: `→` from the client, `←` from the server.
The fleet has two routes; nothing listens where `postgres` should be. The user asked the agent: *What is down, and why?* Long lists
are cut (`…`), and of a tool's answer the structured form is shown; the same as text comes beside it.
"""


class Client:
    """A client of `mcpwatch mcp` that notes what both sides say."""

    def __init__(self, daemon: Daemon) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mcpwatch", "mcp"], env=daemon.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.said: list[tuple[str, dict[str, Any]]] = []
        self._number = 0

    def tell(self, method: str) -> None:
        """A notification."""
        self._send({"jsonrpc": "2.0", "method": method})

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """A request; its answer."""
        self._number += 1
        self._send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        assert self._process.stdout is not None
        while True:
            answer = cast("dict[str, Any]", json.loads(self._process.stdout.readline()))
            if answer.get("id") == self._number:
                self.said.append(("←", answer))
                return answer

    def close(self) -> None:
        """End the server by closing its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self.said.append(("→", message))
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


def record() -> list[tuple[str, dict[str, Any]]]:
    """One session with a fleet of which one route is down."""
    config: dict[str, Any] = {
        "proxy": {"listen": f"127.0.0.1:{free_port()}"},
        "members": {
            "time": {"stdio": {"command": str(server("mcp-server-time"))}},
            "postgres": {"url": f"http://127.0.0.1:{free_port()}/sse"},
        },
        "defaults": {"check": {"interval": "2s", "failure_threshold": 2}},
    }
    with tempfile.TemporaryDirectory() as place, running(Path(place), config) as daemon:
        daemon.wait(
            lambda _: daemon.route("time")["verdict"] == "healthy" and daemon.route("postgres")["diagnosis"],
            "the cause is known",
            90,
        )
        client = Client(daemon)
        client.ask("initialize", HELLO)
        client.tell("notifications/initialized")
        client.ask("tools/list", {})
        for name, arguments in ASKED:
            client.ask("tools/call", {"name": name, "arguments": arguments})
        client.close()
        return client.said


def shown(message: dict[str, Any]) -> dict[str, Any]:
    """A message as the page shows it."""
    result = message.get("result")
    if isinstance(result, dict) and "structuredContent" in result:
        kept = {key: value for key, value in cast("dict[str, Any]", result).items() if key != "content"}
        return {**message, "result": cut(kept)}
    return cast("dict[str, Any]", cut(message))


def cut(value: Any) -> Any:
    """The same with lists of two items at most, of twelve lines of text, and `…` where more were."""
    if isinstance(value, dict):
        return {key: cut(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        most = 12 if all(isinstance(item, str) for item in items) else 2
        return [cut(item) for item in items[:most]] + (["…"] if len(items) > most else [])
    return value


def main() -> None:
    """Record, and write the page."""
    parts = [WORDS]
    for side, message in record():
        line = json.dumps(shown(message), ensure_ascii=False)
        text = line if len(line) < SHORT else json.dumps(shown(message), ensure_ascii=False, indent=1)
        parts.append(f"{side}\n\n```json\n{text}\n```\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
