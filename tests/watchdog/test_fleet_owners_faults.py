"""Faults that an owner of a fleet met and that were answered wrongly: changed tokens, banners, memory limits that are too small."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal

import pytest

from mcpwatch.config.diff import diff
from mcpwatch.model.fact import Fact, RepairTried, Troubled
from mcpwatch.model.incarnation import Exited
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Symptom, Target, Vantage
from mcpwatch.model.probe import Stage as ProbeStage
from mcpwatch.model.restart import not_retried
from mcpwatch.model.spec import CheckSpec, MemberSpec, RestartPolicy
from mcpwatch.model.time import Instant
from mcpwatch.model.view import Usage
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.advice import advice
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.evaluate import aimed
from mcpwatch.watchdog.exit_words import describe_exit
from mcpwatch.watchdog.recycle import Recycler, Row, after, allowed
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation, ProxyLogHint
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.stage import Stage, staged
from tests.watchdog.step_runtime import StepRuntime
from tests.watchdog.world import GATEWAY, TBXARK, Server, World, WorldRuntime
from tests.watchdog.world_prober import WorldProber, plan_of, watched

PROXY = MemberSnapshot("proxy", "proxy", "process", Want.UP, Phase.RUNNING, Instant(0.0))
LOUD = "stdout holds a line that is no JSON-RPC message: 'Welcome'"


def test_a_direct_check_sends_the_token_that_a_reload_brought_to_a_member_that_goes_on_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: dict[str, str | None] = {}
    probe = WorldProber.probe

    async def noted(self: WorldProber, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        if vantage == "direct":
            sent[target.url] = target.token
        return await probe(self, check, target, vantage)

    monkeypatch.setattr(WorldProber, "probe", noted)

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        async with watched(loop, clock, GATEWAY, [Server("e", "url"), Server("p", "process")]) as (world, fleet):
            await asyncio.sleep(20.0)
            before = plan_of(world)
            members = tuple(
                replace(one, direct=replace(one.direct, token="new")) if one.direct and one.name != "proxy" else one
                for one in before.members
            )
            after = replace(before, members=members)
            await fleet.apply(after, diff(before, after))
            sent.clear()
            await asyncio.sleep(20.0)
            assert {url: token for url, token in sent.items() if "proxy" not in url} == {
                "http://127.0.0.1:8000/e/sse": "new",
                "http://127.0.0.1:8000/p/sse": "new",
            }
            assert world.starts == {"e": 1, "p": 1, "proxy": 1}, "nothing was restarted for it"

    run(story)


def test_a_place_that_only_the_runtime_knows_is_kept_with_what_the_configuration_sends_now() -> None:
    wanted = Target("http://mcp-pg:8686/sse", token="new", headers=(("X-Key", "2"),))
    living = Target(
        "http://172.18.0.4:8686/sse", token="old", headers=(("X-Key", "1"), ("Host", "mcp-pg:8686")), public_url=wanted.url
    )
    headers = (("X-Key", "2"), ("Host", "mcp-pg:8686"))
    assert aimed(living, wanted) == Target(living.url, token="new", headers=headers, public_url=wanted.url)
    assert aimed(None, wanted) == wanted
    assert aimed(living, None) == living
    assert aimed(None, None) is None


def _failing(symptom: Symptom, *, since: float = 100.0, succeeded: bool = False) -> Observation:
    result = ProbeResult(Outcome.FAILURE, symptom, ProbeStage.INITIALIZE, "said so")
    at = Instant(199.0)
    return Observation(Verdict.UNHEALTHY, result, 3, at=at, since=Instant(since), began_at=at, succeeded=succeeded)


@pytest.mark.parametrize(
    ("symptom", "said_at", "succeeded", "cause"),
    [
        (Symptom.TIMEOUT, 20.0, False, "polluted"),
        (Symptom.TIMEOUT, 95.0, True, "polluted"),
        (Symptom.TIMEOUT, 20.0, True, "member_hung"),
        (Symptom.AUTH, 150.0, False, "auth"),
        (Symptom.TOOL_ERROR, 150.0, True, "unexpected"),
        (Symptom.WRONG_SERVER, 150.0, True, "wrong_server"),
    ],
)
def test_lines_on_stdout_are_the_cause_only_of_what_they_can_explain(
    symptom: Symptom, said_at: float, succeeded: bool, cause: str
) -> None:
    seen = _failing(symptom, succeeded=succeeded)
    member = MemberSnapshot("git", "server", "hosted", Want.UP, Phase.RUNNING, Instant(10.0), route="git", through=seen)
    hint = ProxyLogHint("git", "polluted", LOUD, Instant(said_at))
    (found,) = diagnose(FleetSnapshot(Instant(200.0), (member, PROXY), "proxy", proxy_log=(hint,))).found
    assert found.cause == cause


@pytest.mark.parametrize(
    ("symptom", "said_at", "succeeded", "cause", "rung"),
    [
        (Symptom.TIMEOUT, 95.0, True, "member_failing", "restart"),
        (Symptom.UPSTREAM_DOWN, 95.0, True, "member_failing", "restart"),
        (Symptom.TIMEOUT, 20.0, False, "config", None),
        (Symptom.NO_REPLY, 20.0, False, "config", None),
        (Symptom.UPSTREAM_DOWN, 20.0, False, "config", None),
        (Symptom.TIMEOUT, 20.0, True, "member_hung", "restart"),
        (Symptom.AUTH, 150.0, False, "auth", None),
        (Symptom.TOOL_ERROR, 150.0, True, "unexpected", None),
    ],
)
def test_answers_to_nothing_are_named_where_they_explain_the_silence(
    symptom: Symptom, said_at: float, succeeded: bool, cause: str, rung: str | None
) -> None:
    seen = _failing(symptom, succeeded=succeeded)
    member = MemberSnapshot("git", "server", "hosted", Want.UP, Phase.RUNNING, Instant(10.0), route="git", through=seen)
    hint = ProxyLogHint("git", "unasked", "answers a request that was not sent, by its id: '99999'", Instant(said_at))
    (found,) = diagnose(FleetSnapshot(Instant(200.0), (member, PROXY), "proxy", proxy_log=(hint,))).found
    assert (found.cause, found.rung, "'99999'" in found.text) == (cause, rung, cause in {"member_failing", "config"})


def test_a_member_to_which_no_way_leads_is_not_restarted_and_one_that_refuses_is() -> None:
    for symptom, expected in (
        (Symptom.UNREACHABLE, ("unreachable", None)),
        (Symptom.UNRESOLVED, ("unreachable", None)),
        (Symptom.REFUSED, ("member_hung", "restart")),
    ):
        seen = _failing(symptom, since=150.0, succeeded=True)
        member = MemberSnapshot("pg", "server", "docker", Want.UP, Phase.RUNNING, Instant(10.0), direct=seen)
        (found,) = diagnose(FleetSnapshot(Instant(200.0), (member,), None)).found
        assert (found.cause, found.rung) == expected
    assert "restart of it does not help" in advice(replace(found, cause="unreachable"))


def test_what_stands_behind_an_address_of_others_is_not_said_to_be_run_by_it() -> None:
    seen = _failing(Symptom.UPSTREAM_DOWN, since=150.0)
    texts: list[str] = []
    for runtime in ("external", "process"):
        member = MemberSnapshot("far", "server", runtime, Want.UP, Phase.RUNNING, Instant(10.0), direct=seen)
        (found,) = diagnose(FleetSnapshot(Instant(200.0), (member,), None)).found
        texts.append(found.text)
    assert texts == ["its address answers, but what stands behind that does not", "it answers, but the server that it runs is gone"]


BRIDGE = (
    "2026-11-29 19:49:51,094 INFO needy: stderr: fatal: database at 127.0.0.1:5432 is not reachable",
    "2026-11-29 19:49:51,094 INFO needy: stderr:  ",
    "2026-11-29 19:49:51,095 INFO needy: exited {'pid': 5, 'code': 1}",
    "2026-11-29 19:49:51,469 ERROR needy: exited with code 1; giving up",
)
NODE = (
    "Fatal error: TypeError: fetch failed",
    "  [cause]: Error: connect ECONNREFUSED 127.0.0.1:80",
    "    code: 'ECONNREFUSED'",
    "}",
)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (BRIDGE, "exited with code 1: fatal: database at 127.0.0.1:5432 is not reachable"),
        (BRIDGE[2:], f"exited with code 1: {BRIDGE[3]}"),
        (NODE, "exited with code 1: [cause]: Error: connect ECONNREFUSED 127.0.0.1:80"),
        (("what it had: {", "}"), "exited with code 1: what it had: {"),
        (("}", "]"), "exited with code 1: ]"),
        (("\x1b[1;31mError: no such\ttable\x1b[0m\x07",), "exited with code 1: Error: no such table"),
    ],
)
def test_an_end_is_told_by_the_line_that_says_something(tail: tuple[str, ...], words: str) -> None:
    assert describe_exit(Exited("a", 1, code=1), tail) == words


@pytest.mark.parametrize("supervision", ["ours", "theirs"])
def test_a_start_that_took_too_long_is_told_as_the_last_exit_until_something_else_is_known(
    supervision: Literal["ours", "theirs"],
) -> None:
    async def play(stage: Stage) -> None:
        stage.actor.spec = replace(stage.actor.spec, start_grace=8.0)
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(8.2)
        stage.actor.exited(Exited("one", 1, signal=15))
        assert stage.actor.last_exit == (
            "not ready within 8s of its start; it was still starting: raise start_grace if it needs longer"
        )
        stage.actor.tell(d.WantDown(stage.clock.now(), "an operator asked"))
        await asyncio.sleep(1.0)
        stage.actor.exited(Exited("one", 2, signal=15))
        assert stage.actor.last_exit == ""

    staged(play, supervision)


@pytest.mark.parametrize(
    ("policy", "code", "words"),
    [
        (RestartPolicy(), 78, "exited with code 78: not found; not retried: exit code 78 is fatal (restart.fatal_exit_codes)"),
        (
            RestartPolicy(fatal_exit_codes=(127,)),
            127,
            "exited with code 127 (command not found): not found; not retried: exit code 127 is fatal (restart.fatal_exit_codes)",
        ),
        (
            RestartPolicy(retry=None),
            127,
            "exited with code 127 (command not found): not found; not retried: exit code 127, and restart.retry is null",
        ),
        (RestartPolicy(), 1, "exited with code 1: not found"),
        (RestartPolicy(fatal_exit_codes=(3,)), 3, "exited with code 3: not found; not retried: exit code 3 is fatal"),
        (RestartPolicy(condition="never"), 1, "exited with code 1: not found; not retried: restart.condition is never"),
        (RestartPolicy(condition="on-failure"), 0, "exited with code 0"),
    ],
)
@pytest.mark.parametrize("supervision", ["ours", "theirs"])
def test_an_end_that_nothing_follows_says_so_and_nothing_follows_it(
    supervision: Literal["ours", "theirs"], policy: RestartPolicy, code: int, words: str
) -> None:
    async def play(stage: Stage) -> None:
        stage.actor.spec = replace(stage.actor.spec, restart=policy)
        await stage.up()
        stage.actor.exited(Exited("one", 1, code=code), ("not found",))
        assert stage.actor.last_exit.startswith(words)
        assert ("not retried" in stage.actor.last_exit) == (not_retried(policy, code) != "")
        if not_retried(policy, code):
            await asyncio.sleep(1000.0)
            assert (stage.actor.state.phase, stage.actor.state.generation) == (Phase.FAILED, 1)

    staged(play, supervision)


@pytest.mark.parametrize("supervision", ["ours", "theirs"])
def test_a_command_that_is_missing_is_tried_again_every_minute_and_told_as_that(supervision: Literal["ours", "theirs"]) -> None:
    """A wrapper whose interpreter was replaced at that moment stayed down until somebody came."""

    async def play(stage: Stage) -> None:
        await stage.up()
        for generation in (1, 2):
            stage.actor.exited(Exited("one", generation, code=127))
            assert stage.actor.last_exit == "exited with code 127 (command not found); tried again every 60s (restart.retry)"
            await asyncio.sleep(59.0)
            assert (stage.actor.state.phase, stage.actor.state.generation) == (Phase.FAILED, generation)
            await asyncio.sleep(2.0)
            assert (stage.actor.state.phase, stage.actor.state.generation) == (Phase.STARTING, generation + 1)

    staged(play, supervision)


def test_a_memory_limit_that_restarts_do_not_keep_is_told_and_slows_them_down() -> None:
    class Fat(StepRuntime):
        rss = 100

        def usage(self, member: str) -> Usage | None:
            return Usage(cpu=0.0, rss=self.rss)

    runtime = Fat()

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        policy = RestartPolicy(max_memory=50, intensity=3, period=60.0)
        stage = Stage(loop, clock, runtime, MemberSpec("one", "server", "step", object(), restart=policy))
        told: list[Fact] = []
        recycler = Recycler({"one": stage.actor}, clock, told.append)
        stage.actor.tell(d.WantUp(clock.now(), "wanted"))
        for _ in range(300):
            await asyncio.sleep(1.0)
            stage.prove()
            recycler.look()
        assert 3 + 3 <= len(runtime.started) - 1 <= 3 + 5, "three at once, then one in a minute"
        (text,) = [fact.text for fact in told]
        assert "3 planned restarts in a row did not help" in text
        runtime.rss = 10
        for _ in range(130):
            await asyncio.sleep(1.0)
            recycler.look()
        assert [fact.cleared for fact in told if isinstance(fact, Troubled)] == [False, True]

    run(story)


def test_a_member_that_outgrows_its_limit_now_and_then_is_restarted_each_time_at_once() -> None:
    policy, row, now = RestartPolicy(intensity=3, period=60.0), Row(), Instant(0.0)
    for _ in range(10):
        assert allowed(row, policy, now)
        row, now = after(row, policy, now), Instant(now + 120.0)
    assert row.count == 1


@pytest.mark.parametrize("uncallable", [True, False], ids=["no tool may be called", "called"])
def test_a_stopped_server_inside_a_proxy_is_let_run_again_and_the_proxy_with_all_the_others_is_not_restarted(
    monkeypatch: pytest.MonkeyPatch, uncallable: bool
) -> None:
    """To the kernel it is a process of the proxy's tree."""
    of_pid, resume, worlds = World.of_pid, WorldRuntime.resume, list[World]()

    def of_tree(self: World, pid: int) -> Server:
        found = of_pid(self, pid)
        stopped = [one for one in self.servers.values() if one.fault == "stopped"]
        return stopped[0] if found is self.proxy and stopped else found

    async def resume_tree(self: WorldRuntime, spec: MemberSpec) -> None:
        await resume(self, spec)
        worlds[0].servers["x"].fault = "none"

    monkeypatch.setattr(World, "of_pid", of_tree)
    monkeypatch.setattr(WorldRuntime, "resume", resume_tree)

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        servers = [Server("x", "inside", uncallable=uncallable), Server("y", "inside")]
        async with watched(loop, clock, TBXARK, servers) as (
            world,
            fleet,
        ):
            worlds.append(world)
            await asyncio.sleep(40.0)
            world.servers["x"].fault = "stopped"
            await asyncio.sleep(60.0)
            tried = [(fact.rung, fact.member) for fact in world.facts if isinstance(fact, RepairTried)]
            assert tried == [("resume", "proxy")]
            assert world.starts["proxy"] == 1
            assert fleet.view().diagnoses == ()

    run(story)
