"""Answers of a scripted server with one thing changed, and a probe of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mcpwatch.checks import probe
from mcpwatch.model.probe import ProbeResult, Transport
from tests.servers.scripted import HELLO, LISTED, Scripted, scripted

Json = dict[str, Any]


async def ask(server: Scripted, wire: Transport, timeout: float = 5, **more: Any) -> ProbeResult:
    path = "/sse" if wire == "sse" else "/mcp"
    async with scripted(server):
        return await probe(server.url(path), transport=wire, timeout=timeout, **more)


def hello(change: Callable[[Json], object]) -> str:
    return _changed(HELLO, change)


def listed(change: Callable[[Json], object]) -> str:
    return _changed(LISTED, change)


def tool(**keys: Any) -> str:
    return listed(lambda body: body["result"]["tools"][0].update(keys))


def _changed(text: str, change: Callable[[Json], object]) -> str:
    body: Json = json.loads(text.replace("{id}", '"{id}"'))
    change(body)
    return json.dumps(body).replace('"{id}"', "{id}")
