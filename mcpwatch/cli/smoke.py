"""`test`: the smoke test of a whole fleet, from outside: every route's handshake, list, canary, refusal, and many clients at once.

Needs the configuration and no daemon. It only reads: what it calls are the canaries that the file names.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

from mcpwatch.app.kinds import all_kinds
from mcpwatch.checks import Prober
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.edit.run import file_in_use
from mcpwatch.cli.out import say_answer
from mcpwatch.cli.table import coloured, milliseconds, paint, table
from mcpwatch.config.load import load_plan
from mcpwatch.model.errors import UsageError, suggest
from mcpwatch.model.probe import Outcome, ProbeResult
from mcpwatch.model.spec import CheckSpec, RouteSpec

Verdict = Literal["ok", "failed", "skipped"]
TESTS = ("handshake", "tools", "canary", "refusal", "clients")


@dataclass(frozen=True, slots=True)
class Case:
    """One test of one route: how it ended, why, and how long it took in seconds."""

    route: str
    test: str
    verdict: Verdict
    text: str
    seconds: float


def smoke(names: Sequence[str], config: Path | None, *, clients: int, timeout: float, junit: Path | None, as_json: bool) -> int:
    """Test routes (all, or those named by route or member), print a table. Exits 1 when anything failed."""
    path = file_in_use(config)
    plan = load_plan(path, all_kinds(), dict(os.environ), ControlSettings.paths().root)
    routes = [route for route in plan.routes if not names or route.name in names or route.member in names]
    known = {name for route in plan.routes for name in (route.name, route.member)}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise UsageError(f"no route '{unknown}'{suggest(unknown, known)}")
    off = {member.name for member in plan.members if not member.want_up}
    cases = asyncio.run(_all([route for route in routes if route.member not in off], clients, timeout))
    cases += [Case(route.name, "handshake", "skipped", "the member is disabled", 0.0) for route in routes if route.member in off]
    if junit is not None:
        junit.write_bytes(junit_xml(cases))
    say_answer(rows(cases), _lines(cases), as_json=as_json)
    return exits.UNHEALTHY if any(case.verdict == "failed" for case in cases) or not cases else exits.OK


async def _all(routes: Sequence[RouteSpec], clients: int, timeout: float) -> list[Case]:
    found = await asyncio.gather(*(_route(route, clients, timeout) for route in routes))
    return [case for cases in found for case in cases]


async def _route(route: RouteSpec, clients: int, timeout: float) -> list[Case]:
    plain = next((check for check in route.checks if check.kind == "mcp" and check.canary is None), CheckSpec("mcp"))
    result, seconds = await _probe(plain, route, timeout)
    cases = [_case(route, "handshake", result, seconds, _server(result))]
    if result.outcome is Outcome.FAILURE or result.outcome is Outcome.UNKNOWN:
        return [*cases, *(Case(route.name, test, "skipped", "no handshake", 0.0) for test in TESTS[1:])]
    count = len(result.tools or ())
    cases.append(Case(route.name, "tools", "ok" if count else "failed", f"{count} tools, about {result.tokens or 0} tokens", 0.0))
    cases.append(await _canary(route, timeout))
    cases.append(await _refusal(route, timeout))
    cases.append(await _crowd(route, plain, clients, timeout))
    return cases


async def _canary(route: RouteSpec, timeout: float) -> Case:
    canaries = [check for check in route.checks if check.canary is not None]
    for check in canaries:
        result, seconds = await _probe(check, route, timeout)
        case = _case(route, "canary", result, seconds, f"{check.canary.tool if check.canary else ''} answers as expected")
        if case.verdict != "ok" or check is canaries[-1]:
            return case
    return Case(route.name, "canary", "skipped", "the configuration names none", 0.0)


async def _refusal(route: RouteSpec, timeout: float) -> Case:
    if not route.guarded:
        return Case(route.name, "refusal", "skipped", "no token is asked for", 0.0)
    result, seconds = await _probe(CheckSpec("refusal", "refusal"), route, timeout)
    return _case(route, "refusal", result, seconds, "a caller without a token is refused")


async def _crowd(route: RouteSpec, check: CheckSpec, clients: int, timeout: float) -> Case:
    """Many clients at once, each with a connection of its own."""
    began = time.monotonic()
    results = await asyncio.gather(*(_probe(check, route, timeout) for _ in range(clients)))
    bad = [result for result, _ in results if result.outcome in (Outcome.FAILURE, Outcome.UNKNOWN)]
    text = f"{len(bad)} of {clients} failed: {bad[0].symptom_text}: {bad[0].message}" if bad else f"{clients} at once"
    return Case(route.name, "clients", "failed" if bad else "ok", text, time.monotonic() - began)


async def _probe(check: CheckSpec, route: RouteSpec, timeout: float) -> tuple[ProbeResult, float]:
    prober, began = Prober(), time.monotonic()
    try:
        result = await prober.probe(replace(check, timeout=timeout), route.probe, "route")
    finally:
        await prober.close()
    return result, time.monotonic() - began


def _server(result: ProbeResult) -> str:
    server = result.server
    return f"{server.name} {server.version}, protocol {server.protocol}" if server else ""


def _case(route: RouteSpec, test: str, result: ProbeResult, seconds: float, text: str) -> Case:
    if result.outcome in (Outcome.SUCCESS, Outcome.DEGRADED):
        slow = f" ({result.symptom_text}: {result.message})" if result.outcome is Outcome.DEGRADED else ""
        return Case(route.name, test, "ok", text + slow, seconds)
    return Case(
        route.name, test, "failed", f"{result.symptom_text}: {result.message}" if result.symptom else result.message, seconds
    )


def _lines(cases: Sequence[Case]) -> Iterator[str]:
    colour = coloured()
    routes = list(dict.fromkeys(case.route for case in cases))
    by_key = {(case.route, case.test): case for case in cases}
    marks = {"ok": paint("ok", "green", on=colour), "failed": paint("FAILED", "red", on=colour), "skipped": "-"}
    rows: list[tuple[str, ...]] = []
    for route in routes:
        mine = [by_key.get((route, test)) for test in TESTS]
        total = sum(case.seconds for case in mine if case)
        rows.append((route, *(marks[case.verdict] if case else "-" for case in mine), milliseconds(total)))
    yield from table(("ROUTE", *(test.upper() for test in TESTS), "ms"), rows, colour=colour, right=(6,))
    for case in cases:
        if case.verdict == "failed":
            yield f"{paint('✗', 'red', on=colour)} {case.route}: {case.test}: {case.text}"
    failed = sum(case.verdict == "failed" for case in cases)
    yield f"{len(routes)} routes, {sum(case.verdict == 'ok' for case in cases)} passed, {failed} failed"


def junit_xml(cases: Sequence[Case]) -> bytes:
    """The cases as JUnit XML, a suite per route."""
    root = ET.Element("testsuites", name="mcpwatch")
    for route in dict.fromkeys(case.route for case in cases):
        mine = [case for case in cases if case.route == route]
        counts = {word: str(sum(case.verdict == word for case in mine)) for word in ("failed", "skipped")}
        suite = ET.SubElement(
            root, "testsuite", name=route, tests=str(len(mine)), failures=counts["failed"], skipped=counts["skipped"], errors="0"
        )
        for case in mine:
            element = ET.SubElement(suite, "testcase", classname=f"mcpwatch.{route}", name=case.test, time=f"{case.seconds:.3f}")
            if case.verdict == "failed":
                ET.SubElement(element, "failure", message=_printable(case.text))
            elif case.verdict == "skipped":
                ET.SubElement(element, "skipped", message=_printable(case.text))
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """The cases as plain values."""
    return [{"route": c.route, "test": c.test, "result": c.verdict, "text": c.text, "seconds": round(c.seconds, 4)} for c in cases]
