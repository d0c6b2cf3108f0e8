"""What a wire is to a check: handshake, calls, close. The wires themselves are `legacy`, `streamable`, `stateless` and `stdio`."""

from __future__ import annotations

from typing import Any, Protocol, cast

import mcpwatch
from mcpwatch.checks import shapes
from mcpwatch.checks.failure import NAME_MAX, WORD_MAX, ProbeFailure, one_line
from mcpwatch.checks.rpc import Message
from mcpwatch.model.probe import ServerInfo, Stage, Symptom, Transport

HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Protocol versions with `initialize`, newest first; the first is what we ask for."""
META = "io.modelcontextprotocol/"
"""Prefix of what the protocol itself says in `_meta`."""
SERVER_NAME_MAX = 120
"""Characters kept of a server's name."""
MODERN_VERSION = "2026-07-28"
"""The protocol version without sessions."""


class Wire(Protocol):
    """One session with a server, over one transport. Every method raises `ProbeFailure` and nothing else on purpose."""

    @property
    def name(self) -> Transport:
        """Which wire it is."""
        ...

    @property
    def digest(self) -> bytes:
        """A digest of the text in which the latest answer came."""
        ...

    @property
    def server(self) -> ServerInfo:
        """What the server said of itself in the handshake."""
        ...

    @property
    def hello(self) -> Message:
        """The whole result of the handshake."""
        ...

    async def open(self) -> None:
        """Go through the whole handshake, a stage at a time; afterwards `server` is known."""
        ...

    async def call(self, method: str, params: Message) -> Message:
        """Send a request in the present stage and return its result."""
        ...

    async def close(self) -> None:
        """End the session as the protocol asks (DELETE, close streams, end the child). Bounded by the caller."""
        ...

    def abort(self) -> None:
        """Drop everything at once, without waiting."""
        ...

    def remarks(self) -> list[ProbeFailure]:
        """What is wrong with the transport although every call was answered."""
        ...

    def silence(self, stage: Stage) -> ProbeFailure | None:
        """What it means on this wire that the deadline of `stage` passed, where that is more than slowness."""
        ...


def client_info() -> Message:
    """Who we say we are."""
    return {"name": "mcpwatch", "version": mcpwatch.__version__}


def initialize_params(client: Message) -> Message:
    """What we say in `initialize`."""
    return {"protocolVersion": HANDSHAKE_VERSIONS[0], "capabilities": {}, "clientInfo": client}


def server_info(result: Message, wire: Transport) -> ServerInfo:
    """What an `initialize` result says of the server. Raises `ProbeFailure(BAD_REPLY)` when a client could not use it."""
    protocol = result.get("protocolVersion")
    if not isinstance(protocol, str) or not protocol:
        raise ProbeFailure(Symptom.BAD_REPLY, "the initialize result names no protocolVersion")
    shapes.initialized(result)
    if protocol not in HANDSHAKE_VERSIONS:
        told = one_line(protocol, WORD_MAX)
        raise ProbeFailure(
            Symptom.ERA_MISMATCH, f"the server negotiated protocol {told}, which no known client speaks", versions=(told,)
        )
    return describe(result.get("serverInfo"), protocol, result["capabilities"], wire)


def modern_info(result: Message, wire: Transport) -> ServerInfo:
    """What a `server/discover` result says of the server. Raises `ProbeFailure` when it does not speak our version."""
    versions = result.get("supportedVersions")
    told = [one_line(str(version), WORD_MAX) for version in cast("list[Any]", versions)[:8]] if isinstance(versions, list) else []
    if MODERN_VERSION not in told:
        raise unknown_versions(tuple(told))
    meta = result.get("_meta")
    info = cast("Message", meta).get(f"{META}serverInfo") if isinstance(meta, dict) else None
    return describe(info, MODERN_VERSION, result.get("capabilities"), wire)


def unknown_versions(told: tuple[str, ...]) -> ProbeFailure:
    """The failure when a server supports versions that are not ours."""
    shown = ", ".join(told) or "none"
    return ProbeFailure(Symptom.ERA_MISMATCH, f"the server supports protocol {shown}, not {MODERN_VERSION}", versions=told)


def describe(info: Any, protocol: str, capabilities: Any, wire: Transport) -> ServerInfo:
    """A `ServerInfo` from what a server says of itself, bounded."""
    told = cast("Message", info) if isinstance(info, dict) else {}
    names = cast("Message", capabilities) if isinstance(capabilities, dict) else {}
    return ServerInfo(
        name=one_line(str(told.get("name", "")), SERVER_NAME_MAX),
        version=one_line(str(told.get("version", "")), NAME_MAX),
        protocol=protocol,
        wire=wire,
        capabilities=tuple(sorted(one_line(str(name), NAME_MAX) for name in names)[:32]),
    )
