"""What the prober makes of whatever happens in a probe; with kinds of checks made for it, in virtual time."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import pytest

from mcpwatch.checks import prober as module
from mcpwatch.checks.context import CheckKind, Probe, as_written
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.prober import Prober
from mcpwatch.checks.wire import Wire
from mcpwatch.model.probe import Expect, Outcome, ProbeResult, ServerInfo, Stage, Symptom, Target, Tool
from mcpwatch.model.spec import CheckSpec
from mcpwatch.registry import KindSpec
from tests.virtual import VirtualClock, VirtualLoop, run

TARGET = Target("http://h/x")
CHECK = CheckSpec("mcp", kind="test", timeout=10)
Body = Callable[[Probe], Awaitable[None]]


class Written(KindSpec):
    """No options."""


class Hanging:
    """A session that notes how it is ended, and may take long for it."""

    def __init__(self, seconds: float = 0, told: ProbeFailure | None = None) -> None:
        self._seconds = seconds
        self._told = told
        self.ended: list[str] = []

    async def close(self) -> None:
        self.ended.append("close")
        await asyncio.sleep(self._seconds)
        self.ended.append("closed")

    def abort(self) -> None:
        self.ended.append("abort")

    def silence(self, stage: Stage) -> ProbeFailure | None:
        return self._told


def playing(body: Body, scene: Callable[[Prober, VirtualLoop], Awaitable[None]], **prober: int) -> None:
    """Run a scene in which every probe does what `body` does."""

    async def check(probe: Probe, spec: Written) -> None:
        await body(probe)

    kind = CheckKind("test", Written, as_written, "for this test", run=check)

    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        await scene(Prober(**prober), loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHECKS", (kind,))
        run(within)


def probed(body: Body, check: CheckSpec = CHECK, target: Target = TARGET) -> ProbeResult:
    found: list[ProbeResult] = []

    async def scene(prober: Prober, loop: VirtualLoop) -> None:
        found.append(await prober.probe(check, target, "direct"))

    playing(body, scene)
    return found[0]


async def works(probe: Probe) -> None:
    probe.timeline.enter(Stage.OPEN)
    await asyncio.sleep(1)
    probe.timeline.enter(Stage.PING)
    await asyncio.sleep(2)


def fails(failure: Exception) -> Body:
    async def body(probe: Probe) -> None:
        probe.timeline.enter(Stage.OPEN)
        raise failure

    return body


def test_a_probe_that_works_tells_all_it_found() -> None:
    async def finds(probe: Probe) -> None:
        await works(probe)
        found = probe.found
        found.server, found.tools, found.fingerprint, found.contract = ServerInfo("m"), (Tool("t", "1"),), "f", "{}"
        found.tokens, found.lint, found.lists_from_cache = 5, ("line",), "shown"
        probe.transport.dialler.tls_version = "TLSv1.3"
        probe.transport.dialler.certificate = {
            "notAfter": time.strftime("%b %d %H:%M:%S %Y GMT", time.gmtime(time.time() + 864_030))
        }

    result = probed(finds)
    assert (result.outcome, result.symptom, result.message, result.seconds) == (Outcome.SUCCESS, None, "", 3)
    assert [(str(timing.stage), timing.seconds) for timing in result.timings] == [("open", 1), ("ping", 2)]
    assert (result.server, result.tools, result.fingerprint) == (ServerInfo("m"), (Tool("t", "1"),), "f")
    assert (result.contract, result.tokens, result.lint, result.lists_from_cache) == ("{}", 5, ("line",), "shown")
    assert (result.tls_version, result.certificate_days, result.remarks) == ("TLSv1.3", 10.0, ())


def test_a_failure_is_told_with_its_stage_and_all_it_knows() -> None:
    failure = ProbeFailure(
        Symptom.RPC_ERROR, "x", said="overloaded", status=400, code=-5, versions=("v",), retry_after=3.0, stage=Stage.PING
    )
    result = probed(fails(failure))
    assert (result.outcome, result.symptom, result.stage) == (Outcome.FAILURE, Symptom.ERA_MISMATCH, Stage.PING)
    assert (result.said, result.http_status, result.rpc_code, result.versions, result.retry_after) == (
        "overloaded",
        400,
        -5,
        ("v",),
        3.0,
    )
    assert probed(fails(ProbeFailure(Symptom.CUT, "x"))).stage is Stage.OPEN


def test_what_a_library_raises_is_a_failure_and_what_mcpwatch_raises_is_unknown() -> None:
    result = probed(fails(ConnectionResetError(104, "reset")))
    assert (result.outcome, result.symptom_text) == (Outcome.FAILURE, "cut@open")
    result = probed(fails(KeyError("x")))
    assert (result.outcome, result.symptom, result.message) == (Outcome.UNKNOWN, None, "the prober broke at open: KeyError: 'x'")

    async def early(probe: Probe) -> None:
        raise RuntimeError("s3cr3t " + "x" * 999)

    result = probed(early, target=replace(TARGET, token="s3cr3t"))
    assert result.message == ("the prober broke at start: RuntimeError: *** " + "x" * 999)[: 299 - 3] + "…"


def test_a_kind_that_is_not_known_and_options_of_another_kind_are_unknown() -> None:
    assert probed(works, replace(CHECK, kind="other")).message == "the prober broke at start: ValueError: no check kind 'other'"
    odd = probed(works, replace(CHECK, options=5))
    assert odd.message == "the prober broke at start: TypeError: a check of kind test has no options of type int"
    assert probed(works, replace(CHECK, options=Written())).outcome is Outcome.SUCCESS


@pytest.mark.parametrize(
    ("told", "symptom", "words"),
    [
        (None, "timeout@ping", "no answer within the deadline of stage ping"),
        (ProbeFailure(Symptom.NO_REPLY, "an event came"), "no_reply", "an event came"),
    ],
)
def test_a_deadline_that_passed_is_told_by_what_the_wire_makes_of_it(told: ProbeFailure | None, symptom: str, words: str) -> None:
    wire = Hanging(told=told)

    async def hangs(probe: Probe) -> None:
        probe.wire = cast("Wire", wire)
        probe.timeline.enter(Stage.PING)
        await asyncio.sleep(1000)

    result = probed(hangs)
    assert (result.symptom_text, result.message, result.stage, result.seconds) == (symptom, words, Stage.PING, 9.5)
    assert wire.ended == ["close", "closed", "abort"]

    async def before(probe: Probe) -> None:
        await asyncio.sleep(1000)

    assert probed(before).symptom_text == "timeout@connect"


def test_closing_is_bounded_and_its_failure_is_none() -> None:
    wire = Hanging(1000)

    async def opens(probe: Probe) -> None:
        def dropped() -> None:
            wire.ended.append("dropped")

        probe.wire = cast("Wire", wire)
        probe.transport.abort = dropped  # type: ignore[method-assign]
        await works(probe)

    found: list[float] = []

    async def scene(prober: Prober, loop: VirtualLoop) -> None:
        result = await prober.probe(CHECK, TARGET, "direct")
        assert (result.outcome, result.seconds) == (Outcome.SUCCESS, 3)
        found.append(loop.time())

    playing(opens, scene)
    assert found == [pytest.approx(3.5)]
    assert wire.ended == ["close", "abort", "dropped"]


SLOW = replace(CHECK, expect=Expect(max_latency=2.5))


def test_a_probe_that_took_longer_than_expected_is_slow_and_names_the_slowest_stage() -> None:
    result = probed(works, SLOW)
    assert (result.outcome, result.symptom, result.stage) == (Outcome.DEGRADED, Symptom.SLOW, Stage.PING)
    assert result.message == "the probe took 3.000 s, expected at most 2.5 s, most of it in ping (2.000 s)"
    assert probed(works, replace(CHECK, expect=Expect(max_latency=3))).outcome is Outcome.SUCCESS
    bare = probed(lambda probe: asyncio.sleep(3), SLOW)
    assert (bare.message, bare.stage) == ("the probe took 3.000 s, expected at most 2.5 s", None)


@pytest.mark.parametrize(("days", "outcome"), [(29.5, Outcome.DEGRADED), (30.0, Outcome.SUCCESS), (None, Outcome.SUCCESS)])
def test_a_certificate_that_expires_sooner_than_expected_degrades(days: float | None, outcome: Outcome) -> None:
    async def secured(probe: Probe) -> None:
        if days is not None:
            until = time.gmtime(time.time() + days * 86_400)
            probe.transport.dialler.certificate = {"notAfter": time.strftime("%b %d %H:%M:%S %Y GMT", until)}

    result = probed(secured, replace(CHECK, expect=Expect(certificate_days=30)))
    assert result.outcome is outcome
    assert result.certificate_days == days
    if outcome is Outcome.DEGRADED:
        assert (result.symptom, result.stage) == (Symptom.CERTIFICATE_EXPIRING, Stage.TLS)
        assert result.message == "the certificate expires in 29.5 days, expected at least 30"
    assert ssl.cert_time_to_seconds("Jan  1 00:00:00 2030 GMT") > 0


def test_the_first_degradation_is_the_symptom_and_the_others_are_remarks_within_bounds() -> None:
    async def degrades(probe: Probe) -> None:
        await works(probe)
        probe.found.degraded += [ProbeFailure(Symptom.SCHEMA, f"line {number} k3y-in-url") for number in range(12)]

    result = probed(degrades, SLOW, Target("http://h/x?key=k3y-in-url"))
    assert (result.outcome, result.symptom, result.message) == (Outcome.DEGRADED, Symptom.SCHEMA, "line 0 ***")
    assert result.remarks == tuple(f"schema: line {number} ***" for number in range(1, 9))

    async def degrades_and_fails(probe: Probe) -> None:
        probe.found.degraded.append(ProbeFailure(Symptom.SCHEMA, "x" * 999))
        raise ProbeFailure(Symptom.CUT, "y" * 999, said="z" * 999)

    result = probed(degrades_and_fails)
    assert (result.outcome, result.symptom, len(result.message), len(result.said)) == (Outcome.FAILURE, Symptom.CUT, 300, 400)
    assert result.remarks == ("schema: " + "x" * 299 + "…",)


def test_no_secret_of_a_target_is_told_but_short_values_are_no_secrets() -> None:
    target = Target(
        "http://user:passw0rd@h/x?a=k3y-in-url&b=short",
        token="t0ken-1",
        headers=(("X", "he4der"),),
        env=(("E", "env-v4lue"), ("F", "t0ken-1-longer")),
    )
    told = "passw0rd k3y-in-url short t0ken-1 he4der env-v4lue t0ken-1-longer"
    result = probed(fails(ProbeFailure(Symptom.CUT, told, said=told)), target=target)
    assert result.message == result.said == "*** *** short *** *** *** ***"
    assert probed(fails(ProbeFailure(Symptom.CUT, "plain")), target=Target("http://[::1/")).message == "plain"


def test_probes_run_within_their_bounds_and_are_counted() -> None:
    async def scene(prober: Prober, loop: VirtualLoop) -> None:
        assert (prober.running, prober.most_running) == (0, 0)
        targets = [Target(f"http://h{number % 2}/{number}") for number in range(12)]
        tasks = [asyncio.create_task(prober.probe(CHECK, target, "direct")) for target in targets]
        await asyncio.sleep(1)
        assert prober.running == 3
        await asyncio.gather(*tasks)
        assert (prober.running, prober.most_running, loop.time()) == (0, 3, 12)
        assert prober._hosts == {}  # pyright: ignore[reportPrivateUsage]

    playing(works, scene, concurrent=3, per_host=2)


def test_one_host_does_not_take_the_slots_of_the_others() -> None:
    async def scene(prober: Prober, loop: VirtualLoop) -> None:
        many = [asyncio.create_task(prober.probe(CHECK, Target(f"http://busy/{number}"), "direct")) for number in range(6)]
        other = asyncio.create_task(prober.probe(CHECK, Target("http://other/"), "direct"))
        await other
        assert (loop.time(), sum(task.done() for task in many)) == (3, 1)
        await asyncio.gather(*many)
        assert loop.time() == 18

    playing(works, scene, concurrent=2, per_host=1)


def test_a_host_keeps_its_bound_while_any_probe_of_it_runs() -> None:
    async def scene(prober: Prober, loop: VirtualLoop) -> None:
        tasks = [asyncio.create_task(prober.probe(CHECK, TARGET, "direct")) for _ in range(2)]
        await tasks[0]
        tasks.append(asyncio.create_task(prober.probe(CHECK, TARGET, "direct")))
        await asyncio.gather(*tasks)
        assert (loop.time(), prober.most_running) == (9, 1)

    playing(works, scene, per_host=1)


def test_a_closed_prober_ends_what_runs_without_closing_it_and_starts_no_more() -> None:
    wire = Hanging()

    async def opens(probe: Probe) -> None:
        probe.wire = cast("Wire", wire)
        await works(probe)

    async def scene(prober: Prober, loop: VirtualLoop) -> None:
        running = asyncio.create_task(prober.probe(CHECK, TARGET, "direct"))
        await asyncio.sleep(0.5)
        await prober.close()
        result = await running
        assert (result.outcome, result.message, loop.time()) == (Outcome.UNKNOWN, "the prober was closed", 0.5)
        assert wire.ended == ["abort"]
        late = await prober.probe(CHECK, TARGET, "direct")
        assert (late.outcome, late.message) == (Outcome.UNKNOWN, "the prober is closed")

    playing(opens, scene)


def test_a_cancelled_probe_drops_its_session_at_once() -> None:
    wire = Hanging(5)

    async def opens(probe: Probe) -> None:
        probe.wire = cast("Wire", wire)
        await works(probe)

    async def scene(prober: Prober, loop: VirtualLoop) -> None:
        running = asyncio.create_task(prober.probe(CHECK, TARGET, "direct"))
        await asyncio.sleep(0.5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (wire.ended, loop.time(), prober.running) == (["abort"], 0.5, 0)

    playing(opens, scene)


def test_a_target_that_is_forgotten_is_learned_anew() -> None:
    async def scene(prober: Prober, loop: VirtualLoop) -> None:
        resolved: list[tuple[str, int]] = []

        class Resolver:
            """Notes who is asked for."""

            async def addresses(self, host: str, port: int) -> tuple[str, ...]:
                resolved.append((host, port))
                return ("192.0.2.1",)

            def forget(self, host: str, port: int) -> None:
                """It keeps nothing."""

        shared, eras = prober._names, prober._eras  # pyright: ignore[reportPrivateUsage]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shared, "_resolver", Resolver())
            for _ in range(2):
                await shared.addresses("h", 80)
                await shared.addresses("h", 443)
                eras.keep(TARGET, "http")
                prober.forget(TARGET)
                prober.forget(Target("https://h/"))
                assert eras.get(TARGET) is None
            prober.forget(Target("http://[::1/"))
            prober.forget(Target(command=("x",)))
        assert resolved == [("h", 80), ("h", 443)] * 2

    playing(works, scene)
