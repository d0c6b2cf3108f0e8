"""A client under way: one session on one route, calling a tool again and again from a thread, and noting how each call ended."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from tests.e2e.patience import Patience

HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


class CallFailed(Exception):
    """The call did not give a result."""


@dataclass
class Session:
    """A Streamable HTTP session, spoken by hand."""

    url: str
    token: str | None = None
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10.0, trust_env=False))
    session: str | None = None
    number: int = 0

    def open(self) -> Self:
        """Shake hands."""
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "load", "version": "1"}}
        self.session = None
        answer = self._post("initialize", hello)
        self.session = answer.headers.get("mcp-session-id")
        body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        self.client.post(self.url, json=body, headers=self._headers()).raise_for_status()
        return self

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool; its result. Raises `CallFailed` for anything else."""
        try:
            answer = self._post("tools/call", {"name": tool, "arguments": arguments})
        except httpx.HTTPError as error:
            raise CallFailed(f"{type(error).__name__}: {error}") from error
        message = _message(answer)
        if "result" not in message or message["result"].get("isError"):
            raise CallFailed(str(message)[:300])
        return message["result"]

    def _post(self, method: str, params: dict[str, Any]) -> httpx.Response:
        self.number += 1
        body = {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}
        answer = self.client.post(self.url, json=body, headers=self._headers())
        answer.raise_for_status()
        return answer

    def _headers(self) -> dict[str, str]:
        extra = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if self.session:
            extra |= {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": "2025-06-18"}
        return HEADERS | extra


def _message(answer: httpx.Response) -> dict[str, Any]:
    """The JSON-RPC answer in a JSON body or in the last event of an event stream."""
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        import json

        data = [line[5:].strip() for line in answer.text.splitlines() if line.startswith("data:")]
        return json.loads(data[-1])
    return answer.json()


class Load:
    """Calls in the background until closed. A failed call opens a new session, as clients do."""

    def __init__(self, url: str, tool: str, arguments: dict[str, Any], token: str | None = None, timeout: float = 10.0) -> None:
        self.good = 0
        self.failures: list[tuple[float, str]] = []
        self._args = (tool, arguments)
        self._session = Session(url, token, httpx.Client(timeout=timeout, trust_env=False))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._session.open()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(30.0)
        self._session.client.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._session.session is None:
                    self._session.open()
                self._session.call(*self._args)
                self.good += 1
            except (CallFailed, httpx.HTTPError) as error:
                self.failures.append((time.time(), str(error)))
                self._session.session = None
            self._stop.wait(0.01)

    def progress(self, more: int = 5, patience: Patience | None = None) -> None:
        """Wait until `more` further calls succeeded. Fails when they do not in time; `patience` is that of the server."""
        goal, patience = self.good + more, patience or Patience(30.0, tuple)
        while self.good < goal:
            if patience.over():
                raise AssertionError(f"no {more} good calls within {patience.seconds}s; last: {self.failures[-3:]}")
            self._stop.wait(0.01)
