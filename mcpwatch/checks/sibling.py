"""Whether a server that does not greet on the wire it is asked over does so on another: it was started with another option.

The wire beside is asked at the same URL, then at the path that ends in `/mcp` where ours ends in `/sse`, and the other way round.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from mcpwatch.checks.context import Probe
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.wire import Wire
from mcpwatch.model.probe import Stage, Symptom, Target, Transport
from mcpwatch.model.symptom import GREETING_STAGES
from mcpwatch.model.wire import WIRE_NAMES

ASKED = frozenset({Symptom.NOT_MOUNTED, Symptom.ERA_MISMATCH, Symptom.REJECTED, Symptom.WRONG_TYPE, Symptom.NO_ENDPOINT})
"""What a server may say, or not say, to one who greets it over a wire that it does not serve, beside a status that blames him."""
NO_METHOD = -32601
"""JSON-RPC: the method is not found."""
SHARE, LIMIT = 0.8, 1.5
"""Share of the time left that all questions may take, and seconds for each."""
_OTHERS: dict[str, tuple[Transport, ...]] = {
    "sse": ("http", "stateless"),
    "http": ("sse", "stateless"),
    "stateless": ("http", "sse"),
}
SWAPPED = {"sse": "mcp", "mcp": "sse"}


async def opened(wire: Wire, probe: Probe) -> None:
    """Go through the handshake. Raises `ProbeFailure`: `era_mismatch` where the server greets on another wire."""
    try:
        await wire.open()
    except ProbeFailure as failure:
        failure.stage = failure.stage or probe.timeline.stage
        if _unspoken(failure) and (other := await _other(wire, probe)):
            raise ProbeFailure(
                Symptom.ERA_MISMATCH,
                f"{other}: {failure.message}",
                said=failure.said,
                status=failure.status,
                code=failure.code,
                stage=failure.stage,
            ) from failure
        raise


def _unspoken(failure: ProbeFailure) -> bool:
    """Whether a failed greeting may be of a server that does not speak this wire."""
    blamed = failure.symptom is Symptom.HTTP_STATUS and failure.status is not None and failure.status < 500
    unknown = failure.stage is Stage.DISCOVER and failure.code == NO_METHOD
    return (blamed or unknown or failure.symptom in ASKED) and failure.stage in GREETING_STAGES


async def _other(wire: Wire, probe: Probe) -> str:
    """The words where the server greets on another wire; the empty string when it does not."""
    from mcpwatch.checks.era import FoundWire

    target, now = probe.target, probe.timeline.now
    if not target.url or not probe.eras.may_ask(target, now):
        return ""
    own: Transport = "http" if isinstance(wire, FoundWire) else wire.name
    left = probe.timeline.left * SHARE
    for beside, name in besides(target, own):
        timeline = ProbeTimeline(min(LIMIT, left))
        if await _greets(probe, beside, name, timeline):
            probe.eras.asked(target, None)
            place = "" if beside.url == target.url else f" at {urlsplit(beside.url).path}"
            return f"it speaks {WIRE_NAMES[name]}{place}, the configuration says {WIRE_NAMES[own]}{_by_path(target, place)}"
        left -= timeline.seconds
        if left <= 0:
            break
    probe.eras.asked(target, now)
    return ""


def _by_path(target: Target, place: str) -> str:
    path = urlsplit(target.url).path
    if place:
        return f" at {path}"
    return f" (by its path {path})" if target.transport == "auto" else ""


async def _greets(probe: Probe, beside: Target, name: Transport, timeline: ProbeTimeline) -> bool:
    from mcpwatch.checks.caller import ProbeHttp
    from mcpwatch.checks.era import made

    wire = made(name, ProbeHttp(beside, probe.transport, timeline))
    try:
        async with timeline.scope:
            await wire.open()
    except (TimeoutError, ProbeFailure):
        return False
    finally:
        with contextlib.suppress(TimeoutError, ProbeFailure):
            async with ProbeTimeline(LIMIT).scope:
                await wire.close()
    return True


def besides(target: Target, name: Transport) -> list[tuple[Target, Transport]]:
    """Where else, and over which wire, a server may answer that is asked over `name`."""
    found: list[tuple[Target, Transport]] = []
    if target.transport != "auto" or name == "sse":  # one that finds out has asked them all at its own place
        found.extend((target, other) for other in _OTHERS[name])
    if (swapped := _swapped(target)) is not None:
        found.append((swapped, "http" if name == "sse" else "sse"))
    return found


def _swapped(target: Target) -> Target | None:
    url = _swap(target.url)
    if not url:
        return None
    return replace(target, url=url, public_url=_swap(target.public_url) if target.public_url else "")


def _swap(url: str) -> str:
    parts = urlsplit(url)
    before, slash, last = parts.path.rstrip("/").rpartition("/")
    if last not in SWAPPED:
        return ""
    return urlunsplit(parts._replace(path=f"{before}{slash}{SWAPPED[last]}"))
