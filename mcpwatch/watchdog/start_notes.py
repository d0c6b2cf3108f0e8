"""The latest start of each member as the store keeps it, for runtimes whose own records may be lost. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mcpwatch.model.incarnation import Incarnation, Started

_PREFIX = "started:"


def start_note(member: str, generation: int, living: Incarnation) -> tuple[str, str | None]:
    """Key and value of the note of a start; no value where there is no process."""
    value = f"{generation} {living.pid} {living.fingerprint}" if living.pid is not None else None
    return f"{_PREFIX}{member}", value


def no_note(member: str) -> tuple[str, None]:
    """The key of a member's note, and that there is none any more."""
    return f"{_PREFIX}{member}", None


def noted_starts(room: Mapping[str, str]) -> dict[str, Started]:
    """The starts that a room's small values tell, by member; what cannot be read tells none."""
    found: dict[str, Started] = {}
    for key, value in room.items():
        generation, _, rest = value.partition(" ")
        pid, _, fingerprint = rest.partition(" ")
        if key.startswith(_PREFIX) and generation.isdecimal() and pid.isdecimal():
            found[key.removeprefix(_PREFIX)] = Started(int(generation), int(pid), fingerprint)
    return found
