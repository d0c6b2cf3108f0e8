"""What the policy promises whatever happens in whatever order, searched by hypothesis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.alerts.book import Acknowledgement, AlertState, Reason, Silence
from mcpwatch.alerts.policy import acknowledge, silence
from mcpwatch.alerts.routing import AlertPolicy, EscalationStep
from mcpwatch.model.errors import UsageError
from mcpwatch.model.time import WallTime
from tests.alerts.world import World, route

NAMES = ("proxy", "a", "b")
members = st.sampled_from(NAMES)

steps = st.one_of(
    st.tuples(st.just("verdict"), members, st.sampled_from(("healthy", "unhealthy"))),
    st.tuples(st.just("verdict"), st.just("a"), st.sampled_from(("healthy", "unhealthy"))),
    st.tuples(st.just("wait"), st.just(""), st.sampled_from(("5", "45"))),
    st.tuples(st.just("verdict"), members, st.sampled_from(("healthy", "unhealthy", "degraded", "unknown"))),
    st.tuples(st.just("phase"), members, st.sampled_from(("running", "backoff", "failed", "starting", "stopping"))),
    st.tuples(st.just("want"), members, st.sampled_from(("up", "down"))),
    st.tuples(st.just("route"), members, st.sampled_from(("healthy", "unhealthy", "degraded", "unknown"))),
    st.tuples(st.just("diagnosed"), members, st.sampled_from(("named", "cleared"))),
    st.tuples(st.just("silence"), members, st.just("")),
    st.tuples(st.just("ack"), members, st.just("")),
    st.tuples(st.just("wait"), st.just(""), st.sampled_from(("1", "20", "70", "400", "4000"))),
)


def made(for_: float, wait: float, interval: float, repeat: float | None) -> AlertPolicy:
    return AlertPolicy(
        route(for_=for_, group_wait=wait, group_interval=interval, repeat=repeat, escalate=(EscalationStep(300.0, "boss"),))
    )


RULES = st.builds(
    made,
    st.sampled_from((0.0, 30.0)),
    st.sampled_from((0.0, 10.0)),
    st.sampled_from((0.0, 60.0)),
    st.sampled_from((None, 600.0)),
)


def take(w: World, step: tuple[str, str, str]) -> None:
    what, name, value = step
    if what in ("verdict", "phase", "want"):
        w.happen(w.member(name, value, what))
    elif what == "route":
        w.happen(w.route(name, value, "timeout@tools_list"))
    elif what == "diagnosed":
        others = tuple(other for other in NAMES if other != name)
        w.happen(w.diagnosed(name, "cause", *others, members=others, cleared=value == "cleared"))
    elif what == "silence":
        w.book = silence(w.book, Silence(f"s{w.now}", (("name", name),), WallTime(w.now), WallTime(w.now + 200)))
        w.happen()
    elif what == "ack":
        try:
            w.book, _ = acknowledge(w.book, name, Acknowledgement("me", WallTime(w.now)))
        except UsageError:
            return
        w.happen()
    else:
        w.after(float(value), step=max(float(value) / 5, 1))


def heal(w: World) -> None:
    for name in NAMES:
        w.happen(w.diagnosed(name, "cause", cleared=True), w.member(name, "up", "want"), *w.running(name))
    for name in NAMES:
        w.happen(w.route(name, "healthy"))
    w.after(4000, step=100)


def check(w: World) -> None:
    assert len({one.id for one in w.sent}) == len(w.sent), "two identical notifications"
    believed: dict[tuple[str, str], bool] = {}
    last: dict[tuple[str, str], float] = {}
    for one in w.sent:
        assert one.items, "a notification about nothing"
        for item in one.items:
            key = (one.receiver, item.id)
            fires = believed.get(key, False)
            if one.reason in (Reason.RESOLVED, Reason.REPEAT):
                assert fires, f"{one.reason} of what was never told: {key}"
            else:
                assert not fires, f"{key} told twice without an end between"
            if one.reason is Reason.REPEAT:
                assert one.at > last[key], "a reminder at the very moment of the message before"
            believed[key] = one.state is AlertState.FIRING
            last[key] = one.at
    told = {(told.receiver, alert.id) for alert in w.book.alerts.values() for told in alert.believed}
    assert told == {key for key, fires in believed.items() if fires}, "the book and the receivers disagree"
    for alert in w.book.alerts.values():
        assert alert.open or alert.resolved_at is not None
        late = 0.0 if alert.resolved_at is None else w.now - alert.resolved_at
        assert not alert.believed or late <= w.rules.route.group_wait or alert.open, f"the end of {alert.id} is kept back"


@given(RULES, st.lists(steps, max_size=25))
def test_every_beginning_told_gets_its_end_and_nothing_is_told_twice(rules: AlertPolicy, story: list[tuple[str, str, str]]):
    w = World(rules)
    for name in NAMES:
        w.happen(*w.running(name), w.route(name, "healthy"))
    for step in story:
        take(w, step)
        check(w)
    heal(w)
    check(w)
    assert not any(alert.open or alert.believed for alert in w.book.alerts.values()), "something fires in a healthy fleet"


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
def test_somebody_is_told_whoever_blames_whom(fallen: list[str]):
    w = World(AlertPolicy(route()))
    for name in NAMES:
        w.happen(*w.running(name), w.route(name, "healthy"))
        others = tuple(other for other in NAMES if other != name)
        w.happen(w.diagnosed(name, "cause", *others, members=others))
    for name in fallen:
        w.happen(w.down(name), w.route(name, "unhealthy"))
    w.after(600, step=50)
    assert w.sent, "an outage without a word"
