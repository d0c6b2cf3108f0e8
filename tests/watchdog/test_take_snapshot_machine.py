"""What is looked up on the machine of members that fail, seen or unseen, and where the proxy reaches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.model.incarnation import Incarnation
from mcpwatch.model.member import ClientCalls, MemberState, Phase, Verdict, Want
from mcpwatch.model.probe import Stage, Symptom, Target
from mcpwatch.model.spec import MemberSpec, Plan, ProxySpec, Traits, UpstreamSpec
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories
from mcpwatch.watchdog.senses import Senses
from mcpwatch.watchdog.snapshot import MemberSnapshot
from mcpwatch.watchdog.take_snapshot import Known, observe, observe_call, take_snapshot
from tests.watchdog.scenes import actor
from tests.watchdog.test_take_snapshot import NOW, RUNNING, SPEC, WELL, failed, seen

FRONT = ProxySpec("tbxark", "proxy", "", "")
PROXY = MemberSpec("proxy", "proxy", "process", None, direct=Target("http://127.0.0.1:9090/"))
TIME = MemberSpec("time", "bridge", "process", None, direct=Target("http://127.0.0.1:8001/sse"), route="time")
INSIDE = MemberSpec("fetch", "server", "external", None, route="web")
PIDS = {"fetch": 7, "time": 8, "proxy": 9}


class Machine:
    """Senses that answer every question, and note it."""

    def __init__(self, listening: tuple[int, ...] = (9,)) -> None:
        self.asked: list[str] = []
        self.listening = listening
        self.senses = Senses(
            stopped=self._stopped,
            listening=lambda _: listening,
            places=self._places,
            rival=self._rival,
            words=lambda member: (f"last words of {member}",),
        )

    def _stopped(self, pids: frozenset[int]) -> frozenset[int]:
        self.asked += [f"stopped {pid}" for pid in sorted(pids)]
        return pids

    def _places(self, pid: int) -> tuple[str, ...]:
        return tuple(f"127.0.0.1:{port}" for port in self.listening) if pid == 7 else ()

    def _rival(self, pid: int, port: int) -> str:
        self.asked.append(f"rival {pid} {port}")
        return f"nginx on {port}"


def looked(
    specs: tuple[MemberSpec, ...], histories: Histories, senses: Senses, known: Known | None = None, front: ProxySpec | None = FRONT
) -> Mapping[str, MemberSnapshot]:
    """The members by name, each with a process of its own but those that others run."""
    actors: dict[str, MemberActor] = {}
    for spec in specs:
        living = Incarnation(spec.name, 3, "", pid=PIDS[spec.name]) if spec.runtime != "external" else None
        actors[spec.name] = actor(spec, RUNNING, incarnation=living)
    taken = take_snapshot(Plan(specs, front), actors, histories, senses, known or Known(), NOW)
    return {one.name: one for one in taken.members}


@pytest.mark.parametrize(
    ("through", "spec", "asked"),
    [
        (failed(Symptom.TIMEOUT), INSIDE, ["stopped 9"]),
        (WELL, INSIDE, []),
        (failed(Symptom.TIMEOUT), replace(SPEC, runtime="docker"), ["stopped 7"]),
    ],
)
def test_what_fails_inside_a_proxy_is_looked_for_among_the_proxys_processes(
    through: CheckHistory, spec: MemberSpec, asked: list[str]
) -> None:
    machine = Machine()
    histories = seen(route_mcp=through)
    if spec.direct is not None:
        histories[CheckKey("fetch", "mcp", "direct")] = WELL
    looked((spec, TIME, PROXY), histories, machine.senses)
    assert [one for one in machine.asked if one.startswith("stopped")] == asked


def test_what_a_failing_member_depends_on_is_looked_at_though_nothing_checks_it() -> None:
    db = MemberSpec("time", "server", "process", None)
    for through in (failed(Symptom.TIMEOUT), WELL):
        machine = Machine()
        histories = seen(route_mcp=through)
        histories[CheckKey("fetch", "mcp", "direct")] = WELL
        found = looked((replace(SPEC, depends_on=("time",)), db, PROXY), histories, machine.senses)
        assert found["time"].stopped_processes is (through is not WELL)


def test_one_that_is_known_to_be_stopped_is_looked_at_though_it_answers_and_one_that_is_gone_inside_the_proxy_is_told() -> None:
    machine = Machine()
    known = Known(frozen=frozenset({"time"}), gone=frozenset({"fetch"}))
    found = looked((SPEC, TIME, PROXY), seen(), machine.senses, known)
    assert machine.asked == ["stopped 8", "rival 8 8001"]
    assert [(one.stopped_processes, one.child_gone) for one in found.values()] == [(False, True), (True, False), (False, False)]


@pytest.mark.parametrize(
    ("symptom", "ports", "places"),
    [
        (Symptom.REFUSED, (9,), ("127.0.0.1:9",)),
        (Symptom.REFUSED, (), ()),
        (Symptom.TIMEOUT, (9,), ()),
    ],
)
def test_where_one_listens_is_looked_up_where_nothing_answers_and_it_listens_at_all(
    symptom: Symptom, ports: tuple[int, ...], places: tuple[str, ...]
) -> None:
    machine = Machine(ports)
    found = looked((SPEC,), seen(direct_mcp=failed(symptom)), machine.senses, front=None)["fetch"]
    assert found.listens_at == places


def test_who_else_listens_on_its_port_is_looked_up_of_a_process_that_fails() -> None:
    machine = Machine()
    found = looked((SPEC, TIME), seen(direct_mcp=failed(Symptom.TIMEOUT)), machine.senses, front=None)
    assert (found["fetch"].rival, found["time"].rival) == ("nginx on 8000", "")
    contained = replace(SPEC, runtime="docker")
    assert looked((contained,), seen(direct_mcp=failed(Symptom.TIMEOUT)), machine.senses, front=None)["fetch"].rival == ""
    assert [one for one in machine.asked if one.startswith("rival")] == ["rival 7 8000"]


@pytest.mark.parametrize(
    ("spec", "histories", "words"),
    [
        (SPEC, {"direct_mcp": failed(Symptom.UPSTREAM_DOWN)}, True),
        (SPEC, {"direct_mcp": failed(Symptom.NOT_MOUNTED)}, True),
        (SPEC, {"direct_mcp": failed(Symptom.TIMEOUT)}, True),
        (SPEC, {"direct_mcp": failed(Symptom.AUTH)}, True),
        (SPEC, {"direct_mcp": failed(Symptom.OVERLOADED)}, True),
        (SPEC, {"direct_mcp": failed(Symptom.UPSTREAM_DOWN, verdict=Verdict.HEALTHY)}, False),
        (SPEC, {"direct_mcp": WELL, "route_mcp": failed(Symptom.UPSTREAM_DOWN)}, False),
        (replace(SPEC, direct=None, runtime="hosted"), {"route_mcp": failed(Symptom.UPSTREAM_DOWN)}, True),
        (INSIDE, {"route_mcp": failed(Symptom.TIMEOUT)}, True),
        (INSIDE, {"route_mcp": failed(Symptom.TIMEOUT, verdict=Verdict.HEALTHY)}, False),
        (replace(INSIDE, route=None), {}, False),
    ],
)
def test_the_last_words_are_looked_up_of_one_that_fails_because_they_alone_may_tell_why(
    spec: MemberSpec, histories: dict[str, CheckHistory], *, words: bool
) -> None:
    found = looked((spec,), seen(**histories), Machine().senses)["fetch"]
    assert found.words == ("last words of fetch" if words else "")


@pytest.mark.parametrize(
    ("spec", "living", "url", "told"),
    [
        (SPEC, None, "http://127.0.0.1:8000/mcp", ""),
        (SPEC, None, "http://fetch:8000/sse", "http://fetch:8000/sse"),
        (SPEC, Target("http://fetch:8000/sse"), "http://fetch:8000/sse", ""),
        (SPEC, Target("http://10.0.0.2:8000/sse"), "http://127.0.0.1:8000/sse", "http://127.0.0.1:8000/sse"),
        (replace(SPEC, direct=None), Target("http://10.0.0.2:8000/sse"), "http://fetch:8000/sse", "http://fetch:8000/sse"),
        (replace(SPEC, direct=None), None, "http://fetch:8000/sse", ""),
    ],
)
def test_where_the_proxy_reaches_a_member_is_told_where_that_is_not_where_it_lives(
    spec: MemberSpec, living: Target | None, url: str, told: str
) -> None:
    front = replace(FRONT, upstreams=(UpstreamSpec("other", "sse", url="http://x/"), UpstreamSpec("web", "sse", url=url)))
    one = actor(spec, RUNNING, incarnation=Incarnation("fetch", 3, "", direct=living))
    (found,) = take_snapshot(Plan((spec,), front), {"fetch": one}, seen(), Senses(), Known(), NOW).members
    assert found.proxy_url == told
    unborn = actor(spec, MemberState(want=Want.UP, phase=Phase.STARTING))
    (found,) = take_snapshot(Plan((spec,), front), {"fetch": unborn}, seen(), Senses(), Known(), NOW).members
    assert found.proxy_url == ("" if spec.direct is None or "127.0.0.1" in url else url)


def test_what_was_seen_in_a_former_life_is_older_than_any_other_however_early_that_was() -> None:
    former: Any = replace(WELL, began_at=None, deep=True, generation=2)
    early = replace(WELL, began_at=Instant(0.5), deep=True, generation=3)
    both = seen(direct_mcp=former, direct_canary=early)
    found, called = observe(both, "fetch", "direct"), observe_call(both, "fetch")
    assert found is not None
    assert called is not None
    assert (found.generation, called.generation) == (3, 3)


@pytest.mark.parametrize(("stage", "idle", "cut_off"), [("connect", True, True), ("connect", False, False), ("open", True, False)])
def test_whether_connections_wait_at_its_port_is_looked_up_where_one_is_neither_taken_nor_refused(
    stage: str, *, idle: bool, cut_off: bool
) -> None:
    history = failed(Symptom.TIMEOUT)
    assert history.latest is not None
    late = replace(history, latest=replace(history.latest, stage=Stage(stage)))

    def idles(pid: int, port: int) -> bool:
        return idle and (pid, port) == (7, 8000)

    senses = replace(Machine().senses, idle=idles)
    assert looked((SPEC,), seen(direct_mcp=late), senses, front=None)["fetch"].cut_off is cut_off


def test_a_server_inside_the_proxy_without_a_log_of_its_own_has_its_words_in_that_of_the_proxy() -> None:
    logs: dict[str, tuple[str, ...]] = {"proxy": ("INFO: serving", "KeyError: 'HOME'")}
    senses = Senses(words=lambda member: logs.get(member, ()))
    histories = {"route_mcp": failed(Symptom.UPSTREAM_DOWN)}
    found = looked((INSIDE, PROXY), seen(**histories), senses)["fetch"]
    assert (found.words, found.proxy_words) == ("", "KeyError: 'HOME'")
    logs["fetch"] = ("bye",)
    found = looked((INSIDE, PROXY), seen(**histories), senses)["fetch"]
    assert (found.words, found.proxy_words, found.lines) == ("bye", "", ("bye",))
    outside = looked((SPEC, PROXY), seen(direct_mcp=failed(Symptom.UPSTREAM_DOWN)), Senses(words=lambda _: ()))["fetch"]
    assert outside.proxy_words == ""


@pytest.mark.parametrize(
    ("symptom", "asked"), [(Symptom.TIMEOUT, True), (Symptom.TOOL_ERROR, True), (Symptom.AUTH, False), (Symptom.DRIFT, False)]
)
def test_descriptors_are_counted_where_that_may_be_the_trouble(symptom: Symptom, asked: bool) -> None:
    senses = Senses(descriptors=lambda pid: f"64 of 64 are open (pid {pid})")
    found = looked((SPEC, TIME), seen(direct_mcp=failed(symptom)), senses)
    assert (found["fetch"].descriptors, found["time"].descriptors) == ("64 of 64 are open (pid 7)" if asked else "", "")
    hosted = replace(SPEC, direct=None, runtime="hosted")
    assert bool(looked((hosted,), seen(route_mcp=failed(symptom)), senses)["fetch"].descriptors) is asked


@pytest.mark.parametrize(
    ("runs", "parents", "ended"), [(False, {"fetch"}, True), (True, {"fetch"}, False), (False, {"time"}, False)]
)
def test_a_child_that_was_seen_and_is_gone_is_told_of_one_that_says_nothing(runs: bool, parents: set[str], ended: bool) -> None:
    history = failed(Symptom.OVERLOADED)
    assert history.latest is not None
    bare = replace(history, latest=replace(history.latest, http_status=503, message="POST /mcp"))
    senses, known = Senses(runs=lambda _pid, _container: runs), Known(parents=parents)
    found = looked((SPEC,), seen(direct_mcp=bare), senses, known)["fetch"]
    assert (found.child_runs, found.child_ended) == (runs, ended)
    worded = replace(bare, latest=replace(history.latest, http_status=503, said="loading the index"))
    found = looked((SPEC,), seen(direct_mcp=worded), senses, known)["fetch"]
    assert (found.child_runs, found.child_ended) == (False, False)


@pytest.mark.parametrize(
    ("through", "nudges", "asked"),
    [
        (failed(Symptom.TIMEOUT), True, ["web"]),
        (failed(Symptom.TIMEOUT), False, []),
        (failed(Symptom.RPC_ERROR), True, []),
        (WELL, True, []),
    ],
    ids=["silent", "its proxy does not tell", "it answers", "well"],
)
def test_who_waits_for_an_answer_is_asked_where_a_member_is_silent_and_the_proxy_tells_that(
    through: CheckHistory, nudges: bool, asked: list[str]
) -> None:
    heard: list[str] = []

    def calls(route: str) -> ClientCalls:
        heard.append(route)
        return ClientCalls(Instant(5.0))

    histories = Histories()
    histories[CheckKey("web", "mcp", "route")] = replace(through, verdict=Verdict.UNHEALTHY)
    hosted = replace(INSIDE, runtime="hosted")
    traits = Traits(nudges=nudges)
    taken = looked((PROXY, hosted), histories, Senses(calls=calls), Known(traits))
    assert heard == asked
    assert taken["fetch"].calls.waiting_since == (5.0 if asked else None)


@pytest.mark.parametrize(
    ("last_exit", "phase", "holder"),
    [
        ("exited with code 1: [Errno 98] address already in use", Phase.BACKOFF, "pid 12 (nginx)"),
        ("exited with code 1: listen EADDRINUSE: 127.0.0.1:8001", Phase.FAILED, "pid 12 (nginx)"),
        ("exited with code 1: no such module", Phase.BACKOFF, ""),
        ("exited with code 1: address already in use", Phase.RUNNING, ""),
    ],
)
def test_who_holds_the_port_of_one_that_could_not_have_it_is_looked_up(last_exit: str, phase: Phase, holder: str) -> None:
    """A start is not held back by what other members listen on; one that ended for it is told by whom."""
    asked: list[tuple[int, str]] = []

    def holds(port: int, member: str) -> str:
        asked.append((port, member))
        return "pid 12 (nginx)"

    one = actor(TIME, replace(RUNNING, phase=phase), last_exit=last_exit)
    taken = take_snapshot(Plan((TIME,), None), {"time": one}, Histories(), Senses(holds=holds), Known(), NOW)
    assert (taken.members[0].foreign_port, asked) == (holder, [(8001, "time")] if holder else [])


@pytest.mark.parametrize("kept", [("traced", "by pid 4 (gdb)"), ("", "")])
def test_whoever_is_kept_from_running_is_no_stopped_process_that_a_signal_lets_run_again(kept: tuple[str, str]) -> None:
    senses = Senses(stopped=lambda pids: pids, still=lambda _: kept)
    ill = looked((SPEC, PROXY), seen(direct_mcp=failed(Symptom.TIMEOUT)), senses)["fetch"]
    assert (ill.hindered, ill.hindrance, ill.stopped_processes) == (*kept, not kept[0])
    well = looked((SPEC, PROXY), seen(direct_mcp=WELL), senses)["fetch"]
    assert (well.hindered, well.stopped_processes) == ("", False)
    unasked = looked((SPEC, PROXY), seen(direct_mcp=WELL), senses, Known(frozen=frozenset({"fetch"})))["fetch"]
    assert (unasked.hindered, unasked.stopped_processes) == (kept[0], not kept[0]), "stopped, and nobody has asked it since"
