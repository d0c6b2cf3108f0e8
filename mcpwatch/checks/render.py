"""A probe's result as lines for people: every stage with its time, the symptom, what to do. Pure; no colour, no width."""

from __future__ import annotations

from mcpwatch.checks.symptoms import MEANINGS, anchor
from mcpwatch.model.probe import Outcome, ProbeResult, Stage

_MARKS = {Outcome.SUCCESS: "ok", Outcome.DEGRADED: "degraded", Outcome.FAILURE: "FAILED", Outcome.UNKNOWN: "unknown"}


def lines(result: ProbeResult, title: str = "") -> tuple[str, ...]:
    """What `mcpwatch check` prints for one probe, a line each, without trailing spaces.

    First line: title, outcome, total time. Then a line per stage, what the server is, its tools, what it weighs, what is
    wrong with it, and for everything but success the symptom, its usual meaning, the repair and where to read on.
    """
    head = " ".join(part for part in (title, _MARKS[result.outcome], f"in {duration(result.seconds)}") if part)
    return (head, *_stages(result), *_facts(result), *_failure(result))


def duration(seconds: float) -> str:
    """`340 µs`, `1.2 ms`, `3.41 s`."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _stages(result: ProbeResult) -> list[str]:
    width = max((len(timing.stage) for timing in result.timings), default=0)
    failed = result.stage if result.outcome is Outcome.FAILURE else None
    shown = [_stage(timing.stage, timing.seconds, width, failed is timing.stage) for timing in result.timings]
    if failed is not None and failed not in {timing.stage for timing in result.timings}:
        shown.append(f"  x {failed}")
    return shown


def _stage(stage: Stage, seconds: float, width: int, failed: bool) -> str:
    return f"  {'x' if failed else '✓'} {stage:<{width}}  {duration(seconds):>9}"


def _facts(result: ProbeResult) -> list[str]:
    facts: list[str] = []
    server = result.server
    if server is not None and server.protocol:
        name = " ".join(part for part in (server.name or "(unnamed)", server.version) if part)
        facts.append(f"  server   {name}, protocol {server.protocol}, wire {server.wire}")
    if result.tools is not None:
        weight = f", about {result.tokens} tokens" if result.tokens is not None else ""
        facts.append(f"  tools    {len(result.tools)}{weight}")
    if result.lists_from_cache:
        facts.append(f"  cache    it lists from a cache: {result.lists_from_cache}")
    valid = f"certificate valid for {result.certificate_days:.0f} more days" if result.certificate_days is not None else ""
    if valid or result.tls_version:
        facts.append(f"  tls      {', '.join(part for part in (result.tls_version, valid) if part)}")
    facts += [f"  lint     {line}" for line in result.lint]
    return facts


def _failure(result: ProbeResult) -> list[str]:
    if result.symptom is None:
        return [f"  {result.message}"] if result.message else []
    meaning = MEANINGS[result.symptom]
    told = [f"  symptom  {result.symptom_text}: {result.message}"]
    if result.said and result.said not in result.message:
        told.append(f"  it said  {result.said}")
    told += [f"  also     {remark}" for remark in result.remarks]
    if result.versions:
        told.append(f"  knows    protocol {', '.join(result.versions)}")
    if result.retry_after is not None:
        told.append(f"  wait     it wants to be asked again in {result.retry_after:g} s")
    return [*told, f"  means    {meaning.means}", f"  to do    {meaning.repair}", f"  more     {anchor(result.symptom)}"]
