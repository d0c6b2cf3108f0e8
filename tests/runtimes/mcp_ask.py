"""A client in ten lines: the names of the tools that a URL of Streamable HTTP serves."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

ABOUT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


def tools(url: str, token: str = "", bound: float = 20.0) -> list[str]:
    """What it serves; nothing where a request fails. Raises `HTTPError` with 401 where the token is refused."""
    try:
        session, _ = _ask(url, "initialize", ABOUT, token, "", bound)
        _, found = _ask(url, "tools/list", {}, token, session, bound)
        return [tool["name"] for tool in found["result"]["tools"]]
    except urllib.error.HTTPError as refused:
        if refused.code == 401:
            raise
        return []
    except (OSError, ValueError, KeyError):
        return []


def _ask(url: str, method: str, params: Mapping[str, object], token: str, session: str, bound: float) -> tuple[str, Any]:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        **({"Authorization": f"Bearer {token}"} if token else {}),
        **({"Mcp-Session-Id": session} if session else {}),
    }
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=bound) as answer:
        text = answer.read().decode()
        line = next((line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")), text)
        return answer.headers.get("Mcp-Session-Id") or session, json.loads(line)
