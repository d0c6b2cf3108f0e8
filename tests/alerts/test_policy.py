"""When someone is told, as sentences. Time is data: nothing here waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from mcpwatch.alerts.book import Acknowledgement, AlertBook, AlertState, Severity, Silence
from mcpwatch.alerts.policy import acknowledge, expire, silence
from mcpwatch.alerts.routing import AlertPolicy, EscalationStep, Flapping
from mcpwatch.alerts.silence import Window
from mcpwatch.model.errors import UsageError
from mcpwatch.model.fact import (
    ConfigRejected,
    MemberExited,
    PlanApplied,
    RepairProved,
    RepairTried,
    ToolsChanged,
    Troubled,
    WatchGap,
)
from mcpwatch.model.time import WallTime
from tests.alerts.world import START, World, route, told


def world(**settings: object) -> World:
    made = World(AlertPolicy(route(**settings)))
    made.happen(*made.running("fetch"), *made.running("time"), *made.running("proxy"))
    assert made.sent == []
    return made


def test_a_condition_shorter_than_for_is_told_to_nobody():
    w = world(for_=60.0)
    w.happen(w.down("fetch"))
    w.after(59)
    w.happen(w.up("fetch"))
    w.after(600, step=10)
    assert w.sent == []


def test_a_condition_longer_than_for_is_told_once_and_its_end_once():
    w = world(for_=60.0)
    w.happen(w.down("fetch"))
    assert w.after(59) == []
    assert told(w.after(1)) == [("ops", "first", ["down:fetch"])]
    assert w.after(600, step=10) == []
    ended = w.happen(w.up("fetch"))
    assert told(ended) == [("ops", "resolved", ["down:fetch"])]
    assert ended[0].state is AlertState.RESOLVED
    assert ended[0].items[0].since == START
    assert ended[0].items[0].resolved_at == START + 660
    assert w.after(3600, step=60) == []
    assert w.book.alerts == {}


def test_an_unknown_verdict_neither_starts_nor_ends_an_alert():
    w = world()
    assert w.happen(w.member("fetch", "unknown")) == []
    w.happen(w.down("fetch"))
    assert w.happen(w.member("fetch", "unknown")) == []
    assert w.book.alerts["down:fetch"].state is AlertState.FIRING


def test_a_member_in_backoff_is_down_until_it_runs_again():
    w = world()
    assert told(w.happen(w.member("fetch", "unknown"), w.member("fetch", "backoff", "phase"))) == [("ops", "first", ["down:fetch"])]
    assert w.happen(w.member("fetch", "starting", "phase", generation=2)) == []
    assert told(w.happen(w.member("fetch", "running", "phase", generation=2))) == [("ops", "resolved", ["down:fetch"])]


def test_what_an_older_generation_says_changes_nothing():
    w = world()
    w.happen(w.member("fetch", "running", "phase", generation=2), w.member("fetch", "healthy", generation=2))
    assert w.happen(w.member("fetch", "unhealthy", generation=1)) == []


def test_a_member_stopped_on_request_is_not_down_and_ends_its_alert():
    w = world()
    w.happen(w.down("fetch"))
    assert told(w.happen(w.member("fetch", "down", "want"))) == [("ops", "resolved", ["down:fetch"])]
    assert w.happen(w.member("fetch", "stopped", "phase")) == []


def test_giving_up_is_told_although_down_was_told_and_both_end_in_one_message():
    w = world()
    w.happen(w.member("fetch", "backoff", "phase"))
    assert told(w.happen(w.member("fetch", "failed", "phase"))) == [("ops", "first", ["gave_up:fetch"])]
    ended = w.happen(w.member("fetch", "running", "phase", generation=2))
    assert told(ended) == [("ops", "resolved", ["down:fetch", "gave_up:fetch"])]


def test_giving_up_speaks_for_down_when_both_begin_together():
    w = world(group_wait=10.0)
    w.happen(w.member("fetch", "failed", "phase"))
    assert told(w.after(10)) == [("ops", "first", ["gave_up:fetch"])]


def test_many_that_fall_within_the_group_wait_are_one_message():
    w = World(AlertPolicy(route(group_wait=15.0, group_interval=60.0)))
    names = [f"m{number}" for number in range(30)]
    for name in names:
        w.happen(*w.running(name))
    for name in names:
        w.after(0.3, w.down(name))
    assert w.sent == []
    (one,) = w.after(15, step=1)
    assert len(one.items) == 30
    for name in names:
        w.happen(w.up(name))
    (end,) = w.after(15, step=1)
    assert len(end.items) == 30
    assert end.state is AlertState.RESOLVED


def test_one_more_in_a_group_already_told_waits_for_the_group_interval():
    w = world(group_wait=5.0, group_interval=60.0)
    w.happen(w.down("fetch"))
    assert len(w.after(5)) == 1
    w.after(1, w.down("time"))
    assert w.after(58, step=1) == []
    assert told(w.after(1)) == [("ops", "first", ["down:time"])]


def test_group_by_member_tells_each_on_its_own():
    w = world(group_by=("member",))
    assert len(w.happen(w.down("fetch"), w.down("time"))) == 2


def test_different_causes_are_different_messages_and_the_same_cause_is_one():
    w = world(group_wait=5.0)
    w.happen(w.diagnosed("fetch", "auth"), w.diagnosed("time", "auth"), w.diagnosed("proxy", "member_hung"))
    w.happen(w.down("fetch"), w.down("time"), w.down("proxy"))
    assert told(w.after(5)) == [("ops", "first", ["down:fetch", "down:time"]), ("ops", "first", ["down:proxy"])]


def test_a_proxy_outage_speaks_for_its_routes():
    w = world(group_wait=5.0)
    w.happen(w.route("fetch", "unhealthy", "refused"), w.route("time", "unhealthy", "refused"))
    w.after(2, w.down("proxy"), w.diagnosed("proxy", "proxy_down", "fetch", "time", members=("fetch",)))
    (one,) = w.after(60, step=1)
    assert [item.id for item in one.items] == ["down:proxy"]
    assert one.items[0].speaks_for == ("route_down:fetch", "route_down:time")
    w.happen(
        w.route("fetch", "healthy"), w.route("time", "healthy"), w.up("proxy"), w.diagnosed("proxy", "proxy_down", cleared=True)
    )
    (end,) = w.after(60, step=1)
    assert [item.id for item in end.items] == ["down:proxy"]


def test_a_member_outage_speaks_for_its_route_without_any_diagnosis():
    w = world(group_wait=5.0)
    w.happen(w.down("fetch"), w.route("fetch", "unhealthy", "no_reply"))
    assert told(w.after(60, step=1)) == [("ops", "first", ["down:fetch"])]


def test_a_route_is_told_when_the_named_subject_has_no_alert_of_its_own():
    """A stale session is repaired at the proxy, which is itself healthy: somebody must speak."""
    w = world()
    w.happen(w.diagnosed("proxy", "stale_session", "fetch"))
    (one,) = w.happen(w.route("fetch", "unhealthy", "stale_session"))
    assert one.items[0].cause == "stale_session"


def test_a_route_still_bad_after_its_proxy_recovered_is_told_after_its_next_check_not_on_its_stale_result():
    w = world()
    w.happen(w.down("proxy"), w.diagnosed("proxy", "proxy_down", "fetch"), w.route("fetch", "unhealthy", "refused"))
    w.after(60, w.up("proxy"), w.diagnosed("proxy", "proxy_down", cleared=True))
    assert told(w.sent) == [("ops", "first", ["down:proxy"]), ("ops", "resolved", ["down:proxy"])]
    assert w.after(20) == []
    w.now += 1
    assert told(w.happen(w.route("fetch", "unhealthy", "not_mounted"))) == [("ops", "unmuted", ["route_down:fetch"])]


def test_a_route_that_is_not_checked_again_is_told_after_a_bounded_wait():
    w = world()
    w.happen(w.down("proxy"), w.diagnosed("proxy", "proxy_down", "fetch"), w.route("fetch", "unhealthy", "refused"))
    w.after(60, w.up("proxy"), w.diagnosed("proxy", "proxy_down", cleared=True))
    assert told(w.after(121)) == [("ops", "unmuted", ["route_down:fetch"])]


def test_two_that_are_blamed_on_each_other_do_not_both_fall_silent():
    w = world(group_wait=1.0)
    w.happen(w.diagnosed("fetch", "x", members=("time",)), w.diagnosed("time", "y", members=("fetch",)))
    w.happen(w.down("fetch"), w.down("time"))
    assert told(w.after(60, step=1)) == [("ops", "first", ["down:fetch"])]


def test_an_inhibitor_that_nobody_would_hear_of_inhibits_nothing():
    quiet = route(receivers=(), routes=(route(id="r0", match=(("kind", "route"),)),))
    w = World(AlertPolicy(quiet))
    w.happen(*w.running("fetch"), w.down("fetch"), w.route("fetch", "unhealthy", "no_reply"))
    assert told(w.sent) == [("ops", "first", ["route_down:fetch"])]


def silenced(name: str = "fetch", seconds: float = 600) -> Silence:
    return Silence("s1", (("name", name),), WallTime(START), WallTime(START + seconds))


def test_a_silence_mutes_the_beginning_and_the_alert_is_told_when_it_ends():
    w = world()
    w.book = silence(w.book, silenced())
    assert w.happen(w.down("fetch")) == []
    assert w.after(599) == []
    assert told(w.after(1)) == [("ops", "unmuted", ["down:fetch"])]


@pytest.mark.parametrize("mute", ["silence", "inhibition", "maintenance", "ack"])
def test_nothing_that_mutes_keeps_back_the_end_of_what_was_told(mute: str):
    w = world()
    w.happen(w.route("fetch", "unhealthy", "timeout"))
    assert len(w.sent) == 1
    if mute == "silence":
        w.book = silence(w.book, silenced())
    if mute == "maintenance":
        w.rules = AlertPolicy(w.rules.route, (Window("night", start=WallTime(START), end=WallTime(START + 9999)),))
    if mute == "inhibition":
        w.happen(w.down("proxy"), w.diagnosed("proxy", "proxy_down", "fetch"))
    if mute == "ack":
        w.book, _ = acknowledge(w.book, "fetch", Acknowledgement("me", WallTime(w.now)))
    w.after(5)
    assert w.book.alerts["route_down:fetch"].muted or mute == "ack"
    assert ("ops", "resolved", ["route_down:fetch"]) in told(w.happen(w.route("fetch", "healthy")))


def test_what_began_and_ended_muted_is_never_told():
    w = world()
    w.book = silence(w.book, silenced())
    w.happen(w.down("fetch"))
    w.after(10, w.up("fetch"))
    w.after(3600, step=60)
    assert w.sent == []


def test_a_window_by_cron_mutes_while_it_is_open():
    w = world()
    # START is 1970-01-12 13:46:40 UTC, a Monday
    w.rules = AlertPolicy(w.rules.route, (Window("weekly", (("member", "f*"),), cron="46 13 * * mon", duration=600),))
    assert w.happen(w.down("fetch")) == []
    assert told(w.happen(w.down("time"))) == [("ops", "first", ["down:time"])]
    assert told(w.after(600, step=20)) == [("ops", "unmuted", ["down:fetch"])]


def test_a_reminder_comes_at_every_repeat_until_acknowledged():
    w = world(repeat=3600.0)
    w.happen(w.down("fetch"))
    repeats = w.after(2 * 3600 + 10, step=60)
    assert [str(one.reason) for one in repeats] == ["repeat", "repeat"]
    assert repeats[-1].items[0].times == 3
    w.book, taken = acknowledge(w.book, "fetch", Acknowledgement("me", WallTime(w.now)))
    assert taken == ("down:fetch",)
    assert w.after(24 * 3600, step=600) == []
    assert told(w.happen(w.up("fetch"))) == [("ops", "resolved", ["down:fetch"])]


def test_escalation_tells_another_after_a_time_unless_acknowledged():
    w = world(escalate=(EscalationStep(1800.0, "boss"),))
    w.happen(w.down("fetch"), w.down("time"))
    w.book, _ = acknowledge(w.book, "down:time", Acknowledgement("me", WallTime(w.now)))
    assert w.after(1799, step=60) == []
    assert told(w.after(1)) == [("boss", "escalated", ["down:fetch"])]
    assert w.after(3600, step=60) == []
    ends = told(w.happen(w.up("fetch")))
    assert ends == [("boss", "resolved", ["down:fetch"]), ("ops", "resolved", ["down:fetch"])]


def test_acknowledging_what_is_not_there_says_so():
    with pytest.raises(UsageError, match="no open alert is called 'nope'"):
        acknowledge(AlertBook(), "nope", Acknowledgement("me", WallTime(0)))


def test_flapping_is_told_once_and_its_end_once_when_it_has_settled():
    w = world()
    w.rules = AlertPolicy(w.rules.route, flapping=Flapping(changes=4, period=600, quiet=300))
    for _ in range(20):
        w.after(10, w.down("fetch"))
        w.after(10, w.up("fetch"))
    reasons = [str(one.reason) for one in w.sent]
    assert reasons == ["first", "resolved", "first", "resolved", "first"]
    assert w.sent[-1].items[0].flapping
    assert w.after(280, step=10) == []
    assert told(w.after(20, step=10)) == [("ops", "resolved", ["down:fetch"])]


def test_a_crash_loop_too_quick_for_the_patience_fires_all_the_same():
    w = world(for_=60.0)
    for _ in range(10):
        w.after(20, w.member("fetch", "backoff", "phase"))
        w.after(5, w.member("fetch", "running", "phase"))
    assert told(w.sent) == [("ops", "first", ["down:fetch"])]


def test_failing_again_before_the_end_was_told_is_the_same_incident():
    w = world(group_wait=15.0)
    w.happen(w.down("fetch"))
    assert len(w.after(15)) == 1
    w.happen(w.up("fetch"))
    w.after(5, w.down("fetch"))
    assert w.after(600, step=10) == []
    assert w.book.alerts["down:fetch"].since == START


def test_the_child_route_takes_its_alerts_and_carry_on_lets_siblings_have_them_too():
    children = (
        route(id="r0", receivers=("db",), match=(("member", "pg|redis"),), carry_on=True),
        route(id="r1", receivers=("pager",), match=(("severity", "critical"),)),
    )
    w = World(AlertPolicy(route(routes=children)))
    w.happen(*w.running("pg"), *w.running("web"))
    assert {one.receiver for one in w.happen(w.down("pg"))} == {"db", "pager"}
    assert {one.receiver for one in w.happen(w.down("web"))} == {"pager"}
    assert {one.receiver for one in w.happen(w.member("web", "degraded"))} >= {"ops"}


def test_an_alert_below_the_severity_of_its_route_is_open_but_told_to_nobody():
    w = world(severity=Severity.CRITICAL)
    assert w.happen(w.member("fetch", "degraded")) == []
    assert w.book.alerts["degraded:fetch"].state is AlertState.FIRING


def test_each_route_keeps_its_own_patience():
    children = (
        route(id="r0", receivers=("fast",), for_=0.0, carry_on=True),
        route(id="r1", receivers=("slow",), for_=300.0),
    )
    w = World(AlertPolicy(route(routes=children)))
    w.happen(*w.running("fetch"))
    assert [one.receiver for one in w.happen(w.down("fetch"))] == ["fast"]
    assert w.after(299, step=10) == []
    assert [one.receiver for one in w.after(1)] == ["slow"]


def test_time_nobody_watched_fulfils_no_patience():
    w = world(for_=60.0)
    w.happen(w.down("fetch"))
    gap = WatchGap(at=WallTime(w.now + 3600), text="asleep", seconds=3600, cause="suspended")
    assert w.after(3600, gap) == []
    assert told(w.after(60)) == [("ops", "first", ["down:fetch"])]


def test_time_nobody_watched_is_told_in_the_end_of_an_alert():
    w = world()
    w.happen(w.down("fetch"))
    w.after(1000, WatchGap(at=WallTime(w.now + 1000), text="asleep", seconds=900, cause="suspended"))
    (end,) = w.happen(w.up("fetch"))
    assert end.items[0].unwatched == 900


def test_changed_tools_fire_and_end_an_hour_after_the_last_change():
    w = world()

    def change(severity: Literal["breaking", "compatible"]) -> ToolsChanged:
        return ToolsChanged(
            at=WallTime(w.now),
            text="tools changed",
            member="fetch",
            severity=severity,
            changes=("removed tool 'x'",),  # pyright: ignore[reportArgumentType]
        )

    assert w.happen(change("compatible")) == [], "a compatible change is only worth a note"
    (one,) = w.happen(change("breaking"))
    assert one.items[0].changes == ("removed tool 'x'",)
    assert w.after(3500, step=100) == []
    assert told(w.after(100)) == [("ops", "resolved", ["tools_changed:fetch"])]


def test_troubles_and_a_refused_configuration_are_told_and_end():
    w = world()
    begin = w.happen(
        Troubled(at=WallTime(w.now), text="the disk is full", subject="disk"),
        ConfigRejected(at=WallTime(w.now), text="members.x: unknown key", level="error"),
    )
    assert told(begin) == [("ops", "first", ["config_rejected:config", "trouble:disk"])]
    end = w.happen(
        Troubled(at=WallTime(w.now), text="the disk has room", subject="disk", cleared=True),
        PlanApplied(at=WallTime(w.now), text="ok"),
    )
    assert told(end) == [("ops", "resolved", ["config_rejected:config", "trouble:disk"])]


def test_a_message_carries_exit_stderr_cause_and_what_was_tried():
    w = world(group_wait=5.0)
    at = WallTime(w.now)
    w.happen(
        MemberExited(at=at, text="gone", member="fetch", generation=1, code=1, tail=("Traceback", "KeyError: 'TOKEN'")),
        w.member("fetch", "backoff", "phase"),
        w.diagnosed("fetch", "member_down"),
        RepairTried(at=at, text="", member="fetch", rung="restart", cause="member_down"),
        RepairProved(at=at, text="", member="fetch", rung="restart", cause="member_down", outcome="failed", seconds=2.5),
    )
    (one,) = w.after(5)
    item = one.items[0]
    assert item.exit == "exited with code 1"
    assert item.tail == ("Traceback", "KeyError: 'TOKEN'")
    assert item.cause == "member_down"
    assert item.tried == ("restart: did not help (2.5 s)",)


def test_evidence_of_an_earlier_incident_is_left_out():
    w = world()
    w.happen(w.exited("fetch", 1, "old"), w.member("fetch", "backoff", "phase"), w.member("fetch", "running", "phase"))
    (one,) = w.after(7200, step=600) + w.happen(w.down("fetch"))
    assert (one.items[0].tail, one.items[0].exit) == ((), "")


def test_a_planned_end_is_no_evidence():
    w = world()
    w.happen(MemberExited(at=WallTime(w.now), text="", member="fetch", generation=1, signal=15, planned=True))
    (one,) = w.happen(w.down("fetch"))
    assert one.items[0].exit == ""


def test_ending_one_silence_leaves_the_others_and_every_maintenance():
    two = (silenced(), Silence("s2", (("name", "time"),), WallTime(START), WallTime(START + 600)))
    work = Silence("m1", (("name", "fetch"),), WallTime(START), WallTime(START + 600), maintenance=True)
    book = AlertBook(silences=(*two, work))
    left, ended = expire(book, "s1", maintenance=False)
    assert ([one.id for one in left.silences], [one.id for one in ended]) == (["s2", "m1"], ["s1"])
    left, ended = expire(book, "", maintenance=False)
    assert ([one.id for one in left.silences], [one.id for one in ended]) == (["m1"], ["s1", "s2"])
    with pytest.raises(UsageError, match="no silence has the id 'm1'"):
        expire(book, "m1", maintenance=False)


def test_an_unknown_silence_cannot_be_ended():
    book = silence(AlertBook(), silenced())
    assert expire(book, "s1", maintenance=False)[0].silences == ()
    with pytest.raises(UsageError, match="no maintenance has the id 's1'"):
        expire(book, "s1", maintenance=True)


def test_a_member_that_fell_by_itself_is_not_hidden_by_a_proxy_outage_that_names_only_its_route():
    w = world(group_wait=5.0)
    w.happen(w.route("fetch", "unhealthy"), w.down("fetch"), w.down("proxy"), w.diagnosed("proxy", "proxy_down", "fetch"))
    told_of = {item.id for one in w.after(5) for item in one.items}
    assert told_of == {"down:fetch", "down:proxy"}


def test_a_member_that_the_proxy_carries_itself_is_spoken_for_by_the_proxy():
    w = world(group_wait=5.0)
    named = w.diagnosed("proxy", "proxy_down", "fetch", members=("fetch",))
    w.happen(w.route("fetch", "unhealthy"), w.down("fetch"), w.down("proxy"), named)
    assert {item.id for one in w.after(5) for item in one.items} == {"down:proxy"}


def test_the_reason_told_is_why_it_fell_not_that_it_starts_again():
    w = world(group_wait=5.0)
    w.happen(w.member("fetch", "backoff", "phase", reason="exited with code 3"))
    w.happen(w.member("fetch", "starting", "phase", generation=2, reason="the pause is over"))
    (one,) = w.after(5)
    assert one.items[0].why == "exited with code 3"


def test_a_member_that_is_just_wanted_up_is_starting_however_long_that_takes():
    w = World(AlertPolicy(route()))
    w.happen(w.member("fetch", "up", "want"), w.member("fetch", "starting", "phase"))
    w.after(3600, w.member("fetch", "running", "phase"), step=60)
    assert (w.sent, w.book.alerts) == ([], {})


def test_a_member_that_ended_and_is_not_restarted_is_down_until_it_is_no_longer_wanted():
    w = world()
    assert told(w.happen(w.member("fetch", "stopped", "phase"))) == [("ops", "first", ["down:fetch"])]
    assert told(w.happen(w.member("fetch", "down", "want"))) == [("ops", "resolved", ["down:fetch"])]
    assert w.happen(w.member("fetch", "up", "want"), w.member("fetch", "starting", "phase", generation=2)) == []


def test_what_a_restart_of_the_proxy_does_to_its_routes_is_no_flapping_of_theirs():
    w = world(for_=60.0)
    w.rules = AlertPolicy(w.rules.route, flapping=Flapping(changes=4, period=600, quiet=300))
    w.book = replace(w.book, proxy="proxy")
    for _ in range(6):
        w.after(20, w.member("proxy", "stopping", "phase"), w.route("time", "unhealthy"))
        w.after(2, w.member("proxy", "running", "phase"), w.route("time", "healthy"))
    assert w.after(600, step=10) == []
    assert w.sent == []
    for _ in range(6):
        w.after(20, w.route("time", "unhealthy"))
        w.after(2, w.route("time", "healthy"))
    assert told(w.sent) == [("ops", "first", ["route_down:time"])], "what fails by itself flaps"


def test_a_route_that_stays_down_after_a_restart_of_the_proxy_is_told_in_time():
    w = world(for_=60.0)
    w.book = replace(w.book, proxy="proxy")
    w.happen(w.member("proxy", "stopping", "phase"), w.route("time", "unhealthy"))
    w.after(2, w.member("proxy", "running", "phase"))
    assert told(w.after(60, step=10)) == [("ops", "first", ["route_down:time"])]
