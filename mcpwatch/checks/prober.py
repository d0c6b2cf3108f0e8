"""The prober: runs checks for the whole daemon, bounded in time, number and memory. Implements `mcpwatch.ports.ProbeRunner`.

One probe never raises: whatever happens becomes a `ProbeResult`. Knows nothing of members, schedules or verdicts.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from dataclasses import replace
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from mcpwatch.checks import classify
from mcpwatch.checks.context import CheckKind, Probe
from mcpwatch.checks.era import Eras
from mcpwatch.checks.failure import MESSAGE_LIMIT, SAID_LIMIT, ProbeFailure, one_line, redact
from mcpwatch.checks.kinds import CHECKS
from mcpwatch.checks.list_cache import ListCache
from mcpwatch.checks.stdio import StdioWire
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.transport import NameCache, ProbeTransport, failed
from mcpwatch.checks.wire import Wire
from mcpwatch.http_client.names import unresolved
from mcpwatch.http_client.url import parse
from mcpwatch.model.probe import BROKE, Outcome, ProbeResult, Stage, Symptom, Target, Vantage
from mcpwatch.model.spec import CheckSpec
from mcpwatch.registry import find

REMARKS_MAX = 8
"""Remarks kept beside the symptom."""
CONCURRENT = 512
"""Probes that run at once."""
CONCURRENT_PER_HOST = 64
"""Probes that run at once against one host and port."""


class Prober:
    """Runs checks. One instance serves the whole daemon; it belongs to one event loop.

    A probe's `timeout` begins when it gets its slot: the wait before is bounded by the probes that run, each bounded itself.
    """

    def __init__(self, concurrent: int = CONCURRENT, per_host: int = CONCURRENT_PER_HOST) -> None:
        self._names = NameCache()
        self._eras = Eras()
        self._cache = ListCache()
        self._slots = asyncio.Semaphore(concurrent)
        self._per_host = per_host
        self._hosts: dict[str, tuple[asyncio.Semaphore, list[None]]] = {}
        self._timelines: set[ProbeTimeline] = set()
        self._closed = False
        self.most_running = 0
        """The most probes that ever ran at once."""

    @property
    def running(self) -> int:
        """Probes that run now."""
        return len(self._timelines)

    async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        """Run one check now, within `check.timeout` seconds. Never raises (but is cancelled like any other task)."""
        host = target.url.partition("://")[2].partition("/")[0]
        slots, users = self._hosts.setdefault(host, (asyncio.Semaphore(self._per_host), []))
        users.append(None)
        try:
            async with slots, self._slots:
                return await self._begun(check, target, vantage)
        finally:
            users.pop()
            if not users:
                self._hosts.pop(host, None)

    def forget(self, target: Target) -> None:
        """Drop what was learned of this target: it is a new incarnation."""
        self._eras.forget(target)
        self._cache.forget(target)
        with contextlib.suppress(ValueError):
            url = parse(target.url)
            self._names.forget(url.host, url.port)

    async def close(self) -> None:
        """End every running probe (its outcome is unknown) and start no more."""
        self._closed = True
        for timeline in tuple(self._timelines):
            timeline.abort()
        await asyncio.sleep(0)

    async def _begun(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        """Run a check that has its slot."""
        if self._closed:
            return ProbeResult(Outcome.UNKNOWN, message="the prober is closed")
        timeline = ProbeTimeline(check.timeout)
        self._timelines.add(timeline)
        self.most_running = max(self.most_running, len(self._timelines))
        try:
            return await self._run(check, target, vantage, timeline)
        finally:
            self._timelines.discard(timeline)

    async def _run(self, check: CheckSpec, target: Target, vantage: Vantage, timeline: ProbeTimeline) -> ProbeResult:
        transport = ProbeTransport(target, self._names, timeline)
        probe = Probe(check, target, vantage, timeline, transport, self._eras, self._cache)
        failure: ProbeFailure | None = None
        broken: Exception | None = None
        try:
            async with timeline.scope:
                kind = find(CHECKS, check.kind)
                if kind is None:
                    raise ValueError(f"no check kind {check.kind!r}")
                await cast("CheckKind", kind).run(probe, cast("CheckKind", kind).options(check.options))
        except TimeoutError:
            failure = self._late(probe, timeline)
        except ProbeFailure as caught:
            failure = classify.refine(caught, vantage, listed=probe.listed)
        except Exception as error:  # noqa: BLE001 - a broken prober says nothing about the member
            failure = classify.library_failure(error, timeline.stage)
            broken = error if failure is None else None
        finally:
            at = timeline.stage
            if failure is not None:
                failure.stage = failure.stage or at
            timeline.finish()
            await self._close(probe.wire, transport, timeline)
        if broken is not None:
            text = one_line(f"{BROKE} at {at or 'start'}: {type(broken).__name__}: {broken}", MESSAGE_LIMIT)
            return _result(probe, Outcome.UNKNOWN, None, redact(text, _secrets(target)))
        if timeline.aborted:
            return _result(probe, Outcome.UNKNOWN, None, "the prober was closed")
        if failure is not None:
            self._names.doubt(f"{failure.message} {failure.said}")
        return _judged(probe, failure)

    def _late(self, probe: Probe, timeline: ProbeTimeline) -> ProbeFailure:
        stage = timeline.stage or Stage.CONNECT
        if told := probe.transport.dripping(timeline.in_stage):
            return ProbeFailure(Symptom.DRIPPING, f"the answer in stage {stage} comes too slowly: {told}", stage=stage)
        if stage is Stage.RESOLVE and (host := probe.transport.dialler.host):
            return failed(unresolved(host, round(timeline.in_stage, 1)))
        failure = probe.wire.silence(stage) if probe.wire is not None else None
        return failure or ProbeFailure(Symptom.TIMEOUT, f"no answer within the deadline of stage {stage}", stage=stage)

    async def _close(self, wire: Wire | None, transport: ProbeTransport, timeline: ProbeTimeline) -> None:
        """Close the session within what is left of the timeout; then drop every socket, whatever happened."""
        child = wire.child if isinstance(wire, StdioWire) else None
        try:
            task = asyncio.current_task()
            if wire is not None and not timeline.aborted and not (task and task.cancelling()):
                with contextlib.suppress(TimeoutError, ProbeFailure, OSError):
                    async with asyncio.timeout_at(timeline.closing):
                        await wire.close()
        finally:
            if wire is not None:
                wire.abort()
            transport.abort()
            if isinstance(wire, StdioWire):
                await wire.reap(child)


def _judged(probe: Probe, failure: ProbeFailure | None) -> ProbeResult:
    outcome = Outcome.FAILURE if failure else Outcome.SUCCESS
    degraded = [*probe.found.degraded, *_tardy(probe.check, probe.timeline), *_expiring(probe.check, probe.transport)]
    if failure is None and degraded:
        outcome, failure = Outcome.DEGRADED, degraded.pop(0)
    if failure is None:
        return _result(probe, outcome, None, "")
    secrets = _secrets(probe.target)
    probe.found.remarks = tuple(
        f"{remark.symptom}: {one_line(redact(remark.message, secrets), MESSAGE_LIMIT)}" for remark in degraded[:REMARKS_MAX]
    )
    failure.message = one_line(redact(failure.message, secrets), MESSAGE_LIMIT)
    failure.said = one_line(redact(failure.said, secrets), SAID_LIMIT)
    return _result(probe, outcome, failure, failure.message)


def _result(probe: Probe, outcome: Outcome, failure: ProbeFailure | None, message: str) -> ProbeResult:
    found, timeline = probe.found, probe.timeline
    result = ProbeResult(
        outcome=outcome,
        message=message,
        said=one_line(redact(found.said, _secrets(probe.target)), SAID_LIMIT) if found.said else "",
        seconds=round(timeline.seconds, 6),
        timings=timeline.timings(),
        server=found.server,
        tools=found.tools,
        fingerprint=found.fingerprint,
        contract=found.contract,
        tokens=found.tokens,
        lint=found.lint,
        remarks=found.remarks,
        lists_from_cache=found.lists_from_cache,
        certificate_days=_days(probe.transport),
        tls_version=probe.transport.tls_version,
    )
    if failure is None:
        return result
    return replace(
        result,
        symptom=failure.symptom,
        stage=failure.stage,
        said=failure.said,
        http_status=failure.status,
        rpc_code=failure.code,
        versions=failure.versions,
        retry_after=failure.retry_after,
    )


def _tardy(check: CheckSpec, timeline: ProbeTimeline) -> list[ProbeFailure]:
    bound = check.expect.max_latency
    if bound is None or timeline.seconds <= bound:
        return []
    slowest = max(timeline.timings(), key=lambda timing: timing.seconds, default=None)
    where = f", most of it in {slowest.stage} ({slowest.seconds:.3f} s)" if slowest else ""
    text = f"the probe took {timeline.seconds:.3f} s, expected at most {bound:g} s{where}"
    return [ProbeFailure(Symptom.SLOW, text, stage=slowest.stage if slowest else None)]


def _expiring(check: CheckSpec, transport: ProbeTransport) -> list[ProbeFailure]:
    bound, days = check.expect.certificate_days, _days(transport)
    if bound is None or days is None or days >= bound:
        return []
    text = f"the certificate expires in {days:.1f} days, expected at least {bound}"
    return [ProbeFailure(Symptom.CERTIFICATE_EXPIRING, text, stage=Stage.TLS)]


def _days(transport: ProbeTransport) -> float | None:
    until = transport.certificate.get("notAfter")
    return round((ssl.cert_time_to_seconds(until) - time.time()) / 86400, 2) if isinstance(until, str) else None


def _secrets(target: Target) -> tuple[str, ...]:
    values = [target.token or "", *(value for _, value in target.headers), *(value for _, value in target.env)]
    with contextlib.suppress(ValueError):
        parts = urlsplit(target.url)
        values += [parts.password or "", *(value for _, value in parse_qsl(parts.query))]
    return tuple(sorted({value for value in values if len(value) >= 6}, key=len, reverse=True))
