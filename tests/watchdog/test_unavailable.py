"""A bare 503: an overload where anything says so, and a member that does not work where nothing does for long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.bare_answer import bare
from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories, Sight, fold, glance
from mcpwatch.watchdog.snapshot import MemberSnapshot, Observation
from mcpwatch.watchdog.starts import COLD_START
from mcpwatch.watchdog.take_snapshot import observe
from mcpwatch.watchdog.unavailable import PATIENCE
from tests.watchdog.scenes import FETCH, PROVED, PROXY, bad, one

SINCE = 1000.0


def answer(said: str = "", status: int = 503, **more: object) -> ProbeResult:
    result = ProbeResult(Outcome.FAILURE, Symptom.OVERLOADED, Stage.OPEN, "GET /sse", said=said, http_status=status)
    return replace(result, **more)  # pyright: ignore[reportArgumentType]


def refusing(seconds: float, result: ProbeResult | None = None, **changes: object) -> tuple[MemberSnapshot, Instant]:
    """A member that answers so for so long, and the time."""
    now = Instant(SINCE + seconds)
    seen = replace(
        bad(Symptom.OVERLOADED), result=result or answer(), since=Instant(SINCE), began_at=Instant(now - 0.5), at=now, failures=9,
        succeeded=True, bare_since=Instant(SINCE),
    )  # fmt: skip
    one_ = replace(FETCH, direct=seen, through=replace(seen, since=None), start_grace=60.0)
    return replace(one_, **changes), now  # pyright: ignore[reportArgumentType]


def told(seconds: float, result: ProbeResult | None = None, **changes: object) -> Finding:
    member, now = refusing(seconds, result, **changes)
    return one(member, PROXY, at=now)


def test_a_bridge_that_answers_nothing_but_a_bare_503_is_given_its_start_grace_and_is_then_restarted() -> None:
    early = told(59.0)
    assert (early.cause, early.rung, early.until) == ("overloaded", None, Instant(SINCE + 60.0))
    assert early.hold == "it is given 1s more to answer again"
    late = told(61.0)
    assert (late.cause, late.rung) == ("member_failing", "restart")
    assert late.text == "it answers nothing but a bare HTTP 503, for more than 60s, with no word of a load: it does not work"


@pytest.mark.parametrize(
    "result",
    [
        answer(retry_after=5.0),
        answer("Too many open sessions"),
        answer("loading the index"),
        answer("down for maintenance"),
        answer("Please try again later."),
        answer(status=429),
        answer(status=529),
    ],
)
def test_an_overload_that_says_so_is_never_answered_by_a_restart(result: ProbeResult) -> None:
    found = told(100_000.0, result)
    assert (found.cause, found.rung, found.hold) == ("overloaded", None, "")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Service Unavailable",
        "503 Service Temporarily Unavailable nginx/1.27.3",
        "The service is unavailable.",
        '{"detail": "Service Unavailable"}',
        "HTTP/1.1 503",
    ],
)
def test_words_that_only_say_again_what_the_status_says_are_none(said: str) -> None:
    assert bare(answer(said))
    assert not bare(answer(said + " until the database is back"))
    assert not bare(replace(answer(said), symptom=Symptom.UPSTREAM_DOWN))
    assert not bare(None)


def test_a_server_that_shows_no_other_behind_it_is_given_longer() -> None:
    assert told(PATIENCE - 1.0, kind="server").rung is None
    assert told(PATIENCE + 1.0, kind="server").rung == "restart"
    assert told(PATIENCE + 1.0, kind="server", start_grace=400.0).rung is None


def test_one_whose_child_the_kernel_saw_end_is_a_bridge_too_and_is_told_so() -> None:
    found = told(61.0, kind="server", child_ended=True)
    assert (found.cause, found.rung) == ("child_died", "restart")
    assert found.text.endswith("the server that it ran is gone")
    assert told(59.0, kind="server", child_ended=True).rung is None


def test_one_that_never_served_is_waited_for_as_long_as_what_it_runs_lives() -> None:
    member, now = refusing(COLD_START - 1.0, child_runs=True)
    assert member.direct is not None
    unserved = replace(member, direct=replace(member.direct, succeeded=False))
    assert one(unserved, PROXY, at=now).rung is None
    assert one(unserved, PROXY, at=Instant(now + 2.0)).rung == "restart"
    assert one(replace(unserved, child_runs=False), PROXY, at=now).rung == "restart"


def test_one_whose_other_calls_are_answered_is_overloaded_and_nothing_else() -> None:
    answered: Observation = replace(PROVED, at=Instant(SINCE + 1.0))
    assert told(100_000.0, direct_call=answered).rung is None
    assert told(100_000.0, direct_call=replace(PROVED, at=Instant(SINCE - 1.0))).rung == "restart"
    assert told(100_000.0, direct_call=replace(answered, failures=1)).rung == "restart"


def test_nobody_elses_server_is_restarted() -> None:
    found = told(100_000.0, runtime="external")
    assert (found.cause, found.rung, found.hold) == ("overloaded", None, "")


@pytest.mark.parametrize("status", [502, 504])
def test_the_same_of_a_gateway_error_is_a_child_that_died(status: int) -> None:
    found = told(5.0, replace(answer(status=status), symptom=Symptom.UPSTREAM_DOWN))
    assert (found.cause, found.rung) == ("child_died", "restart")


def test_a_bare_answer_counts_from_the_last_that_said_more() -> None:
    """One that had told of its load for long was restarted for a single bare 503 behind that."""
    check, sight, history = CheckSpec("mcp"), Sight(Instant(0.0), Instant(0.0), WallTime(0.0)), CheckHistory()
    came: list[Instant | None] = []
    for at, result in enumerate(
        (answer(), answer(), answer(retry_after=5.0), answer(), answer(), answer(status=429), answer("loading"), answer())
    ):
        history = fold(history, result, check, replace(sight, at=Instant(float(at))))
        came.append(history.bare_since)
    assert came == [0.0, 0.0, None, 3.0, 3.0, None, None, 7.0]
    assert history.since == 0.0
    assert glance(history, answer(), sight).bare_since == 7.0
    assert glance(history, answer(status=429), sight).bare_since is None
    assert fold(history, ProbeResult(Outcome.SUCCESS), check, replace(sight, at=Instant(9.0))).bare_since is None
    histories = Histories()
    histories[CheckKey("fetch", "mcp", "direct")] = history
    seen = observe(histories, "fetch", "direct")
    assert seen is not None
    assert seen.bare_since == 7.0


def test_one_that_had_told_of_its_load_is_not_restarted_for_a_bare_answer_behind_that() -> None:
    member, now = refusing(100_000.0)
    assert member.direct is not None
    loaded = replace(member, direct=replace(member.direct, bare_since=Instant(now - 1.0)))
    assert one(loaded, PROXY, at=now).rung is None


def test_a_native_server_that_was_never_well_in_this_run_is_given_as_long_as_one_that_was() -> None:
    """It may have been adopted, or proven by another vantage, in the middle of its overload."""
    member, now = refusing(PATIENCE - 1.0, kind="server")
    assert member.direct is not None
    unproven = replace(member, direct=replace(member.direct, succeeded=False), start_grace=10.0)
    assert one(unproven, PROXY, at=now).rung is None
    assert one(replace(unproven, kind="bridge"), PROXY, at=now).rung == "restart"
