"""`check`: through the daemon for its own members, or by the prober here for any URL or stdio command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from mcpwatch.cli import exits
from mcpwatch.cli.control import call
from mcpwatch.cli.out import say_answer
from mcpwatch.cli.since import span
from mcpwatch.model.errors import UsageError
from mcpwatch.model.json import plain
from mcpwatch.model.probe import Canary, Outcome, ProbeResult, Target, Transport
from mcpwatch.model.runtime import traits_of
from mcpwatch.model.spec import CheckSpec


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """What the options of a stand-alone check say."""

    url: str
    argv: tuple[str, ...]
    token: str | None
    timeout: str
    transport: Transport
    headers: tuple[str, ...]
    tool: str | None
    arguments: str


def check_target(asked: ProbeRequest, *, as_json: bool) -> int:
    """Probe a URL or a stdio command from here, without a daemon."""
    target, check = _target(asked), _check(asked)
    result = asyncio.run(_probe(check, target))
    shown = [{"url": asked.url, "vantage": "direct", "check": "mcp", **plain(result)}]
    say_answer(shown, _lines(result, asked.url or " ".join(asked.argv)), as_json=as_json)
    return exits.OK if result.outcome in (Outcome.SUCCESS, Outcome.DEGRADED) else exits.UNHEALTHY


async def _probe(check: CheckSpec, target: Target) -> ProbeResult:
    from mcpwatch.checks import Prober

    prober = Prober()
    try:
        return await prober.probe(check, target, "direct")
    finally:
        await prober.close()


def _target(asked: ProbeRequest) -> Target:
    if asked.argv:
        return Target(transport="stdio", command=asked.argv)
    if not asked.url.startswith(("http://", "https://")):
        raise UsageError(f"--url {asked.url or '(empty)'}: must begin with http:// or https://")
    headers: list[tuple[str, str]] = []
    for header in asked.headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise UsageError(f"--header {header!r}: write it as 'Name: value'")
        headers.append((name.strip(), value.strip()))
    return Target(url=asked.url, transport=asked.transport, token=asked.token, headers=tuple(headers))


def _check(asked: ProbeRequest) -> CheckSpec:
    canary = None
    if asked.tool:
        try:
            arguments = json.loads(asked.arguments)
        except ValueError as error:
            raise UsageError(f"--arguments: not JSON: {error}") from None
        if not isinstance(arguments, dict):
            raise UsageError('--arguments: must be a JSON object, e.g. \'{"timezone": "UTC"}\'')
        canary = Canary(asked.tool, json.dumps(arguments))
    timeout = span(asked.timeout)
    if timeout <= 0:
        raise UsageError(f"--timeout {asked.timeout}: must be more than nothing")
    return CheckSpec(name="mcp", timeout=timeout, canary=canary)


def check_fleet(name: str | None, vantage: str | None, *, as_json: bool) -> int:
    """Ask the daemon to run the checks of one member or route, or of all, now."""
    names: list[str] = [name] if name else [member["name"] for member in call("GET", "/status")["members"]]
    found: list[dict[str, Any]] = []
    for one in names:
        found += call("POST", "/probe", {"name": one, "vantage": vantage})
    say_answer(found, _told(found, names, vantage), as_json=as_json)
    bad = [result for result in found if result["outcome"] == "failure"]
    return exits.UNHEALTHY if bad or not found else exits.OK


def _told(found: list[dict[str, Any]], names: list[str], vantage: str | None) -> Iterator[str]:
    for result in found:
        yield from _lines(result_from(result), f"{result['name']} {result['check']} {result['vantage']}")
    yield from () if found else _nothing(names, vantage)


def _nothing(names: list[str], vantage: str | None) -> list[str]:
    """Why there was nothing to check, a line per member."""
    status: dict[str, Any] = call("GET", "/status")
    lines: list[str] = []
    for member in status["members"]:
        if member["name"] not in names:
            continue
        if member["phase"] != "running":
            why = f": {member['last_exit']}" if member["last_exit"] else ""
            lines.append(f"{member['name']} is {member['phase']}{why}; see 'mcpwatch why {member['name']}'")
        elif vantage == "direct" and traits_of(member["runtime"]).hosted:
            lines.append(f"{member['name']} is hosted inside the proxy and cannot be reached past it; use --route, or add a bridge")
        else:
            lines.append(f"{member['name']} has no check {'from there' if vantage else 'configured'}")
    return lines or ["nothing to check"]


def _lines(result: ProbeResult, title: str) -> Iterable[str]:
    from mcpwatch.checks.render import lines

    return lines(result, title)


def result_from(found: dict[str, Any]) -> ProbeResult:
    """A `ProbeResult` from its JSON form."""
    from mcpwatch.model.probe import ServerInfo, Stage, StageTiming, Symptom, Tool

    fields = ("message", "said", "http_status", "rpc_code", "seconds", "tokens", "retry_after")
    known = {field: found.get(field) for field in fields}
    server: dict[str, Any] | None = found.get("server")
    tools: list[dict[str, Any]] | None = found.get("tools")
    return ProbeResult(
        outcome=Outcome(found["outcome"]),
        symptom=Symptom(found["symptom"]) if found.get("symptom") else None,
        stage=Stage(found["stage"]) if found.get("stage") else None,
        timings=tuple(StageTiming(Stage(t["stage"]), t["seconds"]) for t in found["timings"]),
        server=ServerInfo(**cast("dict[str, Any]", {**server, "capabilities": tuple(server["capabilities"])})) if server else None,
        tools=tuple(Tool(t["name"], t["fingerprint"], t["read_only"]) for t in tools) if tools is not None else None,
        lint=tuple(found.get("lint") or ()),
        certificate_days=found.get("certificate_days"),
        tls_version=found.get("tls_version") or "",
        remarks=tuple(found.get("remarks") or ()),
        versions=tuple(found.get("versions") or ()),
        lists_from_cache=found.get("lists_from_cache") or "",
        **cast("Any", known),
    )
