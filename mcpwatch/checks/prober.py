"""The prober: runs checks for the whole daemon, bounded in time, number and memory. Implements `mcpwatch.ports.Prober`.

One probe never raises: whatever happens becomes a `ProbeResult`. Knows nothing of members, schedules or verdicts.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from mcpwatch.checks import era, words
from mcpwatch.checks.caller import Caller
from mcpwatch.checks.course import Course
from mcpwatch.checks.era import Eras
from mcpwatch.checks.exam import Asked, Found, examine
from mcpwatch.checks.guard import examine_guard
from mcpwatch.checks.lines import Lines, Shared
from mcpwatch.checks.memory import Memory
from mcpwatch.checks.plain import examine_http, examine_tcp
from mcpwatch.checks.stdio import StdioWire
from mcpwatch.checks.trouble import MESSAGE_LIMIT, SAID_LIMIT, Trouble, one_line, redact
from mcpwatch.checks.wire import Wire
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom, Target, Vantage
from mcpwatch.model.spec import CheckSpec

CONCURRENT = 512
"""Probes that run at once."""
CONCURRENT_PER_HOST = 64
"""Probes that run at once against one host and port."""


class Prober:
    """Runs checks. One instance serves the whole daemon; it belongs to one event loop.

    A probe's `timeout` begins when it gets its slot: the wait before is bounded by the probes that run, each bounded itself.
    """

    def __init__(self, concurrent: int = CONCURRENT, per_host: int = CONCURRENT_PER_HOST) -> None:
        self._shared = Shared()
        self._eras = Eras()
        self._memory = Memory()
        self._slots = asyncio.Semaphore(concurrent)
        self._per_host = per_host
        self._hosts: dict[str, tuple[asyncio.Semaphore, list[None]]] = {}
        self._courses: set[Course] = set()
        self._closed = False
        self.most_running = 0
        """The most probes that ever ran at once."""

    @property
    def running(self) -> int:
        """Probes that run now."""
        return len(self._courses)

    async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        """Run one check now, within `check.timeout` seconds. Never raises (but is cancelled like any other task)."""
        async with self._slot(target):
            if self._closed:
                return ProbeResult(Outcome.UNKNOWN, message="the prober is closed")
            course = Course(check.timeout)
            self._courses.add(course)
            self.most_running = max(self.most_running, len(self._courses))
            try:
                return await self._run(check, target, vantage, course)
            finally:
                self._courses.discard(course)

    def forget(self, target: Target) -> None:
        """Drop what was learned of this target: it is a new incarnation."""
        self._eras.forget(target)
        self._memory.forget(target)
        with contextlib.suppress(ValueError):
            parts = urlsplit(target.url)
            if parts.hostname:
                self._shared.forget(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))

    async def close(self) -> None:
        """End every running probe (its outcome is unknown) and start no more."""
        self._closed = True
        for course in tuple(self._courses):
            course.abort()
        await asyncio.sleep(0)

    async def _run(self, check: CheckSpec, target: Target, vantage: Vantage, course: Course) -> ProbeResult:
        lines = Lines(target, self._shared, course)
        found = Found()
        trouble: Trouble | None = None
        wire: Wire | None = None
        try:
            async with course.scope:
                if check.kind == "mcp":
                    wire = StdioWire(target, course) if target.command else era.choose(Caller(target, lines, course), self._eras)
                    await examine(wire, Asked(check, target, vantage, self._memory), course, found)
                    found.degraded += _polluting(wire)
                else:
                    await self._plain(check, target, lines, course)
        except TimeoutError:
            trouble = self._late(wire, course)
        except Trouble as caught:
            trouble = words.judge(caught, vantage)
        except Exception as error:  # noqa: BLE001 - a broken prober says nothing about the member
            broken = one_line(f"the prober broke at {course.stage or 'start'}: {type(error).__name__}: {error}", MESSAGE_LIMIT)
            return _result(course, found, lines, Outcome.UNKNOWN, None, redact(broken, _secrets(target)))
        finally:
            if trouble is not None:
                trouble.stage = trouble.stage or course.stage
            course.finish()
            await self._close(wire, lines, course)
        if course.aborted:
            return _result(course, found, lines, Outcome.UNKNOWN, None, "the prober was closed")
        return _judged(check, target, course, found, lines, trouble)

    async def _plain(self, check: CheckSpec, target: Target, lines: Lines, course: Course) -> None:
        if check.kind == "refusal":
            await examine_guard(target, lines, course)
        elif check.kind == "http":
            await examine_http(Caller(target, lines, course), check.expect, dict(check.options), course)
        elif check.kind == "tcp":
            await examine_tcp(Caller(target, lines, course))
        else:
            raise ValueError(f"no check kind {check.kind!r}")

    def _late(self, wire: Wire | None, course: Course) -> Trouble:
        stage = course.stage or Stage.CONNECT
        trouble = wire.silence(stage) if wire is not None else None
        return trouble or Trouble(Symptom.TIMEOUT, f"no answer within the deadline of stage {stage}", stage=stage)

    async def _close(self, wire: Wire | None, lines: Lines, course: Course) -> None:
        """Close the session within what is left of the timeout; then drop every socket, whatever happened."""
        child = wire.child if isinstance(wire, StdioWire) else None
        try:
            task = asyncio.current_task()
            if wire is not None and not course.aborted and not (task and task.cancelling()):
                with contextlib.suppress(TimeoutError, Trouble, OSError):
                    async with asyncio.timeout_at(course.closing):
                        await wire.close()
        finally:
            if wire is not None:
                wire.abort()
            lines.abort()
            if isinstance(wire, StdioWire):
                await wire.reap(child)

    @contextlib.asynccontextmanager
    async def _slot(self, target: Target) -> AsyncGenerator[None]:
        host = target.url.partition("://")[2].partition("/")[0]
        slots, users = self._hosts.setdefault(host, (asyncio.Semaphore(self._per_host), []))
        users.append(None)
        try:
            async with slots, self._slots:
                yield
        finally:
            users.pop()
            if not users:
                self._hosts.pop(host, None)


def _judged(check: CheckSpec, target: Target, course: Course, found: Found, lines: Lines, trouble: Trouble | None) -> ProbeResult:
    outcome = Outcome.FAILURE if trouble else Outcome.SUCCESS
    degraded = [*found.degraded, *_tardy(check, course), *_expiring(check, lines)]
    if trouble is None and degraded:
        outcome, trouble = Outcome.DEGRADED, degraded[0]
    if trouble is None:
        return _result(course, found, lines, outcome, None, "")
    secrets = _secrets(target)
    trouble.message = one_line(redact(trouble.message, secrets), MESSAGE_LIMIT)
    trouble.said = one_line(redact(trouble.said, secrets), SAID_LIMIT)
    return _result(course, found, lines, outcome, trouble, trouble.message)


def _result(course: Course, found: Found, lines: Lines, outcome: Outcome, trouble: Trouble | None, message: str) -> ProbeResult:
    result = ProbeResult(
        outcome=outcome,
        message=message,
        seconds=round(course.seconds, 6),
        timings=course.timings(),
        server=found.server,
        tools=found.tools,
        fingerprint=found.fingerprint,
        contract=found.contract,
        tokens=found.tokens,
        lint=found.lint,
        certificate_days=_days(lines),
    )
    if trouble is None:
        return result
    return replace(
        result,
        symptom=trouble.symptom,
        stage=trouble.stage,
        said=trouble.said,
        http_status=trouble.status,
        rpc_code=trouble.code,
    )


def _polluting(wire: Wire) -> list[Trouble]:
    if not isinstance(wire, StdioWire) or not wire.polluted:
        return []
    text = f"{len(wire.polluted)} lines of its stdout are no messages, the first: {wire.polluted[0]}"
    return [Trouble(Symptom.POLLUTED, text, said=wire.polluted[0], stage=Stage.TOOLS_LIST)]


def _tardy(check: CheckSpec, course: Course) -> list[Trouble]:
    bound = check.expect.max_latency
    if bound is None or course.seconds <= bound:
        return []
    slowest = max(course.timings(), key=lambda timing: timing.seconds, default=None)
    where = f", most of it in {slowest.stage} ({slowest.seconds:.3f} s)" if slowest else ""
    text = f"the probe took {course.seconds:.3f} s, expected at most {bound:g} s{where}"
    return [Trouble(Symptom.SLOW, text, stage=slowest.stage if slowest else None)]


def _expiring(check: CheckSpec, lines: Lines) -> list[Trouble]:
    bound, days = check.expect.certificate_days, _days(lines)
    if bound is None or days is None or days >= bound:
        return []
    text = f"the certificate expires in {days:.1f} days, expected at least {bound}"
    return [Trouble(Symptom.CERTIFICATE_EXPIRING, text, stage=Stage.TLS)]


def _days(lines: Lines) -> float | None:
    until = lines.certificate.get("notAfter")
    return round((ssl.cert_time_to_seconds(until) - time.time()) / 86400, 2) if isinstance(until, str) else None


def _secrets(target: Target) -> tuple[str, ...]:
    values = [target.token or "", *(value for _, value in target.headers), *(value for _, value in target.env)]
    with contextlib.suppress(ValueError):
        parts = urlsplit(target.url)
        values += [parts.password or "", *(value for _, value in parse_qsl(parts.query))]
    return tuple(sorted({value for value in values if len(value) >= 6}, key=len, reverse=True))
