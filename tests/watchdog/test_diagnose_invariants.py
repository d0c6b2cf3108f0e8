"""Whatever a snapshot holds, plausible or not, no diagnosis leads to a repair that can only do harm.

Snapshots are generated: vantages that contradict each other, that are old, or that are missing; every kind of proxy and carrier.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

import pytest

from mcpwatch.model.member import Phase, Streaks, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, StageTiming, Symptom
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.doubt import BRIEF, BRIEF_MARGIN, ENOUGH, SPELLS
from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.history import CheckHistory, Sight, glance
from mcpwatch.watchdog.ladder import Step, choose, steps
from mcpwatch.watchdog.snapshot import HUNG_SYMPTOMS, MUTE_SYMPTOMS, FleetSnapshot, MemberSnapshot, Observation, ProxyLogHint
from mcpwatch.watchdog.spared import tells

pytestmark = pytest.mark.xdist_group("generated snapshots")
"""Each snapshot is made once, by one worker."""

NOW = Instant(100.0)
OK = ProbeResult(Outcome.SUCCESS)
SEEDS = range(1000)
STAGES, SYMPTOMS, PHASES = tuple(Stage), tuple(Symptom), tuple(Phase)

TOLD = frozenset(
    {Symptom.AUTH, Symptom.UNGUARDED, Symptom.OVERLOADED, Symptom.WRONG_SERVER, Symptom.DRIFT, Symptom.BAD_ENDPOINT}
    | {Symptom.SCHEMA, Symptom.REDIRECT, Symptom.HOST_GUARD, Symptom.TLS, Symptom.ERA_MISMATCH, Symptom.UNRESOLVED}
)
"""What no restart of anything answers, whoever saw it: credentials, load, configuration, another server."""
OWN = TOLD | {Symptom.TOOL_ERROR, Symptom.UNEXPECTED, Symptom.EMPTY_TOOLS, Symptom.MISSING_TOOLS}
"""The same of a member itself."""
WORDS = ("", "license expired", "too many sessions", "401 unauthorized", "ECONNREFUSED 10.0.0.1:5432", "boom")
HARMLESS_WORDS = ("", "boom")


def seen(chance: random.Random, *, likely: float = 0.5) -> Observation | None:
    """What a vantage might say: nothing at all, nothing yet, well, failing or failed; now or long ago."""
    if chance.random() < 0.1:
        return None
    began = chance.choice((5.0, 30.0, 60.0, 85.0, 97.0, 99.0))
    since = chance.uniform(0.0, began)
    at = Instant(min(NOW, began + chance.choice((0.1, 5.0))))
    succeeded, deep = chance.random() < 0.7, chance.random() < 0.5
    rate = 0.4 if chance.random() < 0.1 else 0.0
    looked = Observation(at=at, since=Instant(since), began_at=Instant(began), deep=deep, rate=rate, succeeded=succeeded)
    if chance.random() < likely:
        ways = (StageTiming(Stage.OPEN, 0.1), StageTiming(Stage.SAFE_CALL, 0.1))[: 2 if deep else 1]
        verdict = chance.choice((*[Verdict.HEALTHY] * 4, Verdict.DEGRADED, Verdict.UNKNOWN, Verdict.UNHEALTHY))
        good = ProbeResult(chance.choice((Outcome.SUCCESS, Outcome.SUCCESS, Outcome.UNKNOWN)), timings=ways)
        return replace(looked, verdict=verdict, result=good, succeeded=True)
    stage = chance.choice(STAGES)
    failed = ProbeResult(
        Outcome.FAILURE, chance.choice(SYMPTOMS), stage, chance.choice(WORDS), rpc_code=chance.choice((None, -32602))
    )
    verdict, failures = chance.choice(((Verdict.UNHEALTHY, 3), (Verdict.UNHEALTHY, 9), (Verdict.UNKNOWN, 1), (Verdict.HEALTHY, 2)))
    spells, brief = chance.choice((1, 1, 2, 3)), chance.random() < 0.2
    return replace(looked, verdict=verdict, result=failed, failures=failures, spells=spells, brief=brief)


def time(chance: random.Random) -> Instant | None:
    return chance.choice((None, Instant(10.0), Instant(50.0), Instant(90.0), Instant(98.0)))


def member(chance: random.Random, name: str) -> MemberSnapshot:
    runtime = chance.choice(("process", "process", "docker", "kubernetes", "hosted", "external"))
    phase = chance.choice((*[Phase.RUNNING] * 6, *PHASES))
    started = time(chance)
    return MemberSnapshot(
        name,
        "bridge",
        runtime,
        chance.choice((Want.UP, Want.UP, Want.UP, Want.DOWN)),
        phase,
        started if runtime != "external" else None,
        None if runtime == "hosted" else seen(chance),
        f"route-{name}",
        seen(chance),
        direct_call=seen(chance),
        depends_on=("b",) if name == "a" and chance.random() < 0.3 else (),
        failures=chance.choice((0, 0, 1, 3)),
        stopped_processes=chance.random() < 0.05,
        planned=chance.random() < 0.05,
        paused=chance.random() < 0.05,
        start_grace=chance.choice((5.0, 60.0)),
        changed_at=started,
        listens_on=chance.choice(((), (), (), (8000,), (9,))),
        child_runs=chance.random() < 0.2,
        port=chance.choice((None, 8000)),
        alone="bye" if chance.random() < 0.05 else "",
        hindered="node_not_ready" if chance.random() < 0.05 else "",
    )


@cache
def snapshot(seed: int) -> FleetSnapshot:
    chance = random.Random(seed)
    likely = chance.choice((0.2, 0.5, 0.9))
    members = tuple(member(chance, name) for name in "abcdef"[: chance.randint(1, 6)])
    proxy = MemberSnapshot(
        "proxy",
        "proxy",
        chance.choice(("process", "process", "docker", "external")),
        chance.choice((Want.UP, Want.UP, Want.UP, Want.UP, Want.DOWN)),
        chance.choice((*[Phase.RUNNING] * 8, *PHASES)),
        time(chance),
        seen(chance, likely=likely),
        failures=chance.choice((0, 2)),
        stopped_processes=chance.random() < 0.03,
        paused=chance.random() < 0.03,
        budget_at=time(chance),
    )
    hints = [ProxyLogHint(f"route-{one.name}", chance.choice(("failed", "connecting", "polluted")), "x", NOW) for one in members]
    log = tuple(hint for hint in (*hints, ProxyLogHint("", "exhausted", "x", Instant(70.0))) if chance.random() < 0.15)
    holds, late, cache, again, nudges = (chance.random() < 0.5 for _ in range(5))
    gone = "no answer" if chance.random() < 0.1 else ""
    return FleetSnapshot(NOW, (*members, proxy), "proxy", holds, late, cache, gone, ("docker",) if gone else (), again, log, nudges)


@cache
def findings(seed: int) -> tuple[Finding, ...]:
    """What is wrong with the fleet of a seed."""
    return diagnose(snapshot(seed)).found


def repairs(fleet: FleetSnapshot, findings: Iterable[Finding]) -> Iterator[tuple[Finding, Step, MemberSnapshot]]:
    """Every step that any finding may ever lead to, with whom it is done to."""
    for found in findings:
        for step in steps(found):
            target = fleet.member(step.subject)
            assert target is not None, f"{step} is done to nobody"
            yield found, step, target


def by_hand(fleet: FleetSnapshot, changed: MemberSnapshot) -> FleetSnapshot:
    return replace(fleet, members=tuple(changed if one.name == changed.name else one for one in fleet.members))


def test_nothing_is_repaired_that_others_carry_that_is_not_wanted_or_whose_engine_is_away() -> None:
    for seed in SEEDS:
        fleet = snapshot(seed)
        for found, step, target in repairs(fleet, findings(seed)):
            assert target.want is Want.UP, (seed, found)
            assert target.runtime != "external", (seed, found)
            assert not fleet.engine_gone or target.runtime not in fleet.engines_gone, (seed, found, step)


def test_a_member_is_restarted_first_only_for_what_was_seen_of_its_present_life_and_a_restart_can_heal() -> None:
    restarted = 0
    for seed in SEEDS:
        fleet = snapshot(seed)
        down = {one.name for one in fleet.members if one.want is Want.UP and one.down}
        for found, step, target in repairs(fleet, findings(seed)):
            if step != steps(found)[0] or step.rung != "restart" or target.name == "proxy":
                continue
            restarted += 1
            own = target.own
            assert own is not None, (seed, found)
            assert own.bad, (seed, found)
            assert own.symptom is not None, (seed, found)
            assert own.began_at is not None, (seed, found)
            assert target.started_at is None or own.began_at >= target.started_at, (seed, found)
            assert own.symptom not in OWN, (seed, found)
            assert not set(target.depends_on) & down, (seed, found)
            assert not (target.listens_elsewhere and own.symptom in (Symptom.REFUSED, Symptom.CUT)), (seed, found)
            assert not (target.port in target.listens_on and own.symptom is Symptom.REFUSED), (seed, found)
            if own.symptom in (Symptom.RPC_ERROR, Symptom.HTTP_STATUS):
                assert own.message in HARMLESS_WORDS, (seed, found)
    assert restarted > 20, "else this proves nothing"


def test_no_restart_is_chosen_for_a_member_that_serves_that_may_be_well_again_or_that_is_asked_at_a_wrong_path() -> None:
    restarted = 0
    for seed in range(4 * len(SEEDS)):
        fleet = snapshot(seed)
        front = fleet.front
        for found in findings(seed):
            target, choice = fleet.member(found.subject), choose(found, (), NOW)
            if target is None or target.name == "proxy" or choice.step is None or choice.step.rung != "restart":
                continue
            restarted += 1
            own, through = target.own, target.through
            assert own is not None, (seed, found)
            long = own.at is not None and own.began_at is not None and own.at - own.began_at > BRIEF + BRIEF_MARGIN
            assert own.brief or own.symptom not in HUNG_SYMPTOMS or not long, (seed, found)
            assert own.spells < SPELLS, (seed, found)
            assert own.symptom in MUTE_SYMPTOMS or own.failures >= ENOUGH, (seed, found)
            assert own.symptom is not Symptom.NOT_MOUNTED or own is through or target.child_runs or own.deep, (seed, found)
            if own is not through and through is not None and front is not None and front.phase is Phase.RUNNING:
                assert through.failures or not tells(fleet, own, through), (seed, found)
    assert restarted > 20, "else this proves nothing"


def test_a_running_proxy_is_restarted_for_nothing_that_a_restart_cannot_heal() -> None:
    restarted = 0
    for seed in SEEDS:
        fleet = snapshot(seed)
        for found, step, target in repairs(fleet, findings(seed)):
            if target.name != "proxy" or step.rung not in ("restart", "restart_proxy") or found.rung == "resume":
                continue
            restarted += 1
            assert target.phase is Phase.RUNNING, (seed, found)
            vantages = [one.through for one in fleet.members if one.through and one.route in found.affects]
            vantages += [target.direct] if target.direct is not None else []
            said = {one.symptom for one in vantages if one.failures}
            assert found.cause == "stale_session" or said - TOLD, (seed, found)
            if found.about.startswith("route:"):
                (through,) = [one.through for one in fleet.members if f"route:{one.route}" == found.about]
                assert through is not None, (seed, found)
                assert not through.bad or through.symptom is not None, (seed, found)
                assert through.symptom not in TOLD, (seed, found)
                assert through.began_at is not None, (seed, found)
                assert target.started_at is None or through.began_at >= target.started_at, (seed, found)
    assert restarted > 20, "else this proves nothing"


def test_a_proxy_through_which_somebody_got_after_every_failure_began_is_not_called_hung() -> None:
    for seed in SEEDS:
        fleet = snapshot(seed)
        proxy = fleet.front
        assert proxy is not None
        answered = Observation(Verdict.HEALTHY, OK, at=NOW, since=Instant(20.0), began_at=Instant(99.9), succeeded=True)
        well = MemberSnapshot("well", "url", "external", Want.UP, Phase.RUNNING, None, answered, "well", answered)
        running = replace(proxy, phase=Phase.RUNNING, stopped_processes=False, paused=False, want=Want.UP)
        more = replace(by_hand(fleet, running), members=(*by_hand(fleet, running).members, well), proxy_log=())
        assert not [found for found in diagnose(more).found if found.cause == "proxy_hung"], seed


def test_unknown_never_becomes_blame() -> None:
    for seed in SEEDS:
        fleet = snapshot(seed)

        def unknown(one: Observation | None) -> Observation | None:
            return one and replace(one, verdict=Verdict.UNKNOWN, failures=0)

        blind = replace(
            fleet,
            members=tuple(replace(one, direct=unknown(one.direct), through=unknown(one.through)) for one in fleet.members),
        )
        for found, step, target in repairs(blind, diagnose(blind).found):
            own_words = target.own is not None and target.own.answered and target.restarting
            assert found.rung == "resume" or (own_words and step.rung != "restart_proxy"), (seed, found)


def test_where_everybody_is_well_nothing_is_wrong_whatever_was_before() -> None:
    for seed in SEEDS:
        fleet = snapshot(seed)
        good = Observation(
            Verdict.HEALTHY,
            ProbeResult(Outcome.SUCCESS, timings=(StageTiming(Stage.SAFE_CALL, 0.1),)),
            at=NOW,
            since=Instant(20.0),
            began_at=Instant(99.0),
            succeeded=True,
        )
        well = tuple(
            replace(
                one,
                phase=Phase.RUNNING,
                direct=one.direct and good,
                through=one.through and good,
                paused=False,
                stopped_processes=False,
                planned=False,
                alone="",
            )
            for one in fleet.members
        )
        told = [one for one in diagnose(replace(fleet, members=well, engine_gone="")).found if one.cause != "noisy_stdout"]
        assert told == [], seed


def test_a_prober_that_breaks_hides_no_failure_that_was_seen_before() -> None:
    failing = CheckHistory(Verdict.UNHEALTHY, Streaks(failures=3), ProbeResult(Outcome.FAILURE, Symptom.TIMEOUT), at=Instant(90.0))
    assert glance(failing, ProbeResult(Outcome.UNKNOWN), Sight(Instant(99.0), NOW, WallTime(0.0))) == failing
