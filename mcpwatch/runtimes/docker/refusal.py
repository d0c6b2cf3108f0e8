"""What an engine's refusals and silences mean, in one line that says what to do. Pure.

Owns: the words. Must not know: how the engine is called.
"""

from __future__ import annotations

import os
from pathlib import Path

from mcpwatch.model.errors import RuntimeFailed

LONGEST = 300
"""Characters of an engine's own words that are passed on."""
_BAD_REQUEST, _FORBIDDEN, _CONFLICT = 400, 403, 409


class EngineAway(RuntimeFailed):
    """The engine does not answer: says nothing about the containers it carries."""


def refused(where: str, doing: str, words: str, status: int) -> RuntimeFailed:
    """An answer of the engine that is an error: `words` are its own, `status` that of HTTP."""
    said = line(words)
    low = said.lower()
    if status == 403:
        return RuntimeFailed(f"{where} does not let mcpwatch {doing}: {said}; allow that call in the socket proxy", permanent=True)
    if "port is already allocated" in low or "address already in use" in low or "ports are not available" in low:
        return RuntimeFailed(f"cannot {doing}: its published port is taken: {said}; free the port or publish another")
    if status == 409 and "name" in low:
        return RuntimeFailed(f"cannot {doing}: the name is taken: {said}; choose another with docker.name", permanent=True)
    if "network" in low and "not found" in low:
        return RuntimeFailed(f"cannot {doing}: {said}; name the network under docker.networks, or make it")
    if "bind source path does not exist" in low:
        return RuntimeFailed(f"cannot {doing}: {said}; make that path on the engine's host", permanent=True)
    if "executable file not found" in low or "no such file or directory" in low or "permission denied" in low:
        return RuntimeFailed(f"cannot {doing}: {said}; the image has no such program", permanent=True)
    return RuntimeFailed(f"cannot {doing}: {said}", permanent=status == 400)


def away(where: str, error: Exception, group: int | None = None) -> str:
    """No answer of the engine: why. `group` is the one that owns its socket, where mcpwatch itself runs in a container."""
    text = str(error)
    if "PermissionError" in text or "Permission denied" in text:
        inside = f"run this container with --group-add {group} (in Compose: group_add), the group that owns the socket"
        let_in = "add the user to group 'docker'" if group is None else inside
        return f"{where} refuses this user its socket; {let_in}, or set DOCKER_HOST"
    if "FileNotFoundError" in text or "No such file" in text:
        return f"{where} is not there: no such socket; start it, or set DOCKER_HOST"
    if "Read-only file system" in text:
        return f"{where} cannot be reached: its socket is on a read-only mount; mount it writable"
    if "ConnectionRefusedError" in text or "Connection refused" in text:
        return f"{where} does not answer: nothing listens on its socket any more; start it, or set DOCKER_HOST"
    return f"{where} does not answer: {line(text)}"


def line(error: object) -> str:
    """Any words as one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."


def socket_group() -> int | None:
    """The group that owns the engine's socket, where this is a container into which it was mounted; else `None`."""
    if not any(Path(name).exists() for name in ("/.dockerenv", "/run/.containerenv")):
        return None
    path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    try:
        return Path(path).stat().st_gid
    except OSError:
        return None
