"""The stateless wire of 2026-07-28: no session, no initialize; every POST says by headers and `_meta` what it is."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, cast

from mcpwatch.checks import rpc
from mcpwatch.checks.caller import ProbeHttp
from mcpwatch.checks.failure import WORD_MAX, ProbeFailure, one_line
from mcpwatch.checks.rpc import Message
from mcpwatch.checks.streamable import ACCEPT, reply_in
from mcpwatch.checks.wire import META, MODERN_VERSION, client_info, modern_info
from mcpwatch.model.probe import ServerInfo, Stage, Symptom, Transport

PARAM_KEY = "x-mcp-header"
"""Annotation of a tool's parameter that travels as a header too."""

_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")


class StatelessWire:
    """Calls without a session."""

    name: Transport = "stateless"

    def __init__(self, caller: ProbeHttp) -> None:
        self._caller = caller
        self._number = 0
        self._awaited: rpc.Awaited | None = None
        self._oddities = rpc.Oddities()
        self._schemas: dict[str, Message] = {}
        self.digest = b""
        self.hello: Message = {}
        self.stray_session = ""
        """A session that a server of an older wire opened for us although we asked for none."""
        self.server = ServerInfo(wire="stateless")

    async def open(self) -> None:
        """Discover what the server is."""
        await self._caller.transport.prepare(self._caller.url)
        self._caller.timeline.enter(Stage.DISCOVER)
        self.accept(await self.call("server/discover", {}))

    def accept(self, result: Message) -> None:
        """Take a discover result as this session's. Raises `ProbeFailure` when the server does not speak our version."""
        self.hello, self.server = result, modern_info(result, "stateless")

    async def call(self, method: str, params: Message) -> Message:
        """POST a request with all it must say of itself and read its answer."""
        self._number += 1
        what = f"{self._caller.path('POST')} ({method})"
        self._awaited = rpc.Awaited(self._number, method, self._oddities)
        response = await self._caller.post(rpc.request(self._number, method, envelope(params)), self._headers(method, params))
        self.stray_session = response.headers.get("mcp-session-id", "") or self.stray_session
        if response.status != 200:
            raise await self._caller.refuse(response, what)
        message, self.digest = await reply_in(response, self._awaited, what, None)
        result = rpc.outcome(message, method)
        kind = result.get("resultType", "complete")
        if kind != "complete":
            raise ProbeFailure(
                Symptom.UNEXPECTED, f"{method} wants something first: its result is {one_line(str(kind), WORD_MAX)!r}"
            )
        if method == "tools/list":
            self._learn(result)
        return result

    async def close(self) -> None:
        """Close the connections; there is no session to end."""
        self.abort()

    def abort(self) -> None:
        """Drop the connections."""
        self._caller.transport.abort()

    def remarks(self) -> list[ProbeFailure]:
        """Forms of answers that some clients refuse."""
        return self._oddities.remarks()

    def silence(self, stage: Stage) -> ProbeFailure | None:
        """What came instead of the answer when the deadline passed."""
        del stage
        return self._awaited.missing() if self._awaited is not None else None

    def _headers(self, method: str, params: Message) -> tuple[tuple[str, str], ...]:
        headers = [ACCEPT, ("MCP-Protocol-Version", MODERN_VERSION), ("Mcp-Method", method)]
        name = params.get("name") if method in ("tools/call", "prompts/get") else params.get("uri")
        if isinstance(name, str):
            headers.append(("Mcp-Name", encoded(name)))
        if method == "tools/call":
            headers += parameter_headers(self._schemas.get(str(name), {}), params.get("arguments"))
        return tuple(headers)

    def _learn(self, result: Message) -> None:
        tools = result.get("tools")
        for tool in cast("list[Any]", tools) if isinstance(tools, list) else []:
            schema = cast("Message", tool).get("inputSchema") if isinstance(tool, dict) else None
            if isinstance(schema, dict) and PARAM_KEY in json.dumps(schema):
                self._schemas[str(cast("Message", tool).get("name"))] = cast("Message", schema)


def encoded(value: str) -> str:
    """A value as it may stand in a header: as it is, or Base64 within the sentinel."""
    if _PLAIN.fullmatch(value) and not value.startswith("=?base64?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode('ascii')}?="


def parameter_headers(schema: Message, arguments: object) -> list[tuple[str, str]]:
    """The `Mcp-Param-*` headers for a call: every scalar argument whose property is annotated for it, at any depth."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not isinstance(arguments, dict):
        return []
    given = cast("Message", arguments)
    headers: list[tuple[str, str]] = []
    for name, rule in cast("dict[str, Any]", properties).items():
        if name not in given or not isinstance(rule, dict):
            continue
        told = cast("Message", rule)
        value, token = given[name], told.get(PARAM_KEY)
        if isinstance(token, str) and _TOKEN.fullmatch(token) and isinstance(value, (str, int, float)):
            headers.append((f"Mcp-Param-{token}", encoded(str(value).lower() if isinstance(value, bool) else str(value))))
        headers += parameter_headers(told, value)
    return headers


def envelope(params: Message) -> Message:
    """Parameters with what every request of this wire says of its sender."""
    meta = {f"{META}protocolVersion": MODERN_VERSION, f"{META}clientCapabilities": {}, f"{META}clientInfo": client_info()}
    return {**params, "_meta": meta}
