"""What a person reads: what, since when, the cause and its evidence, what was tried, how long it was, what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.alerts.book import AlertSnapshot, AlertState, Notification, Reason, Severity, dump, load
from mcpwatch.alerts.message import HIDDEN, ITEMS_MAX, document, render, scrub, span
from mcpwatch.model.fact import MemberExited, MemberStarted
from mcpwatch.model.time import WallTime
from tests.alerts.receivers import notification
from tests.alerts.world import World


def about(*names: str, reason: Reason = Reason.FIRST, **item: Any) -> Notification:
    state = AlertState.RESOLVED if reason is Reason.RESOLVED else AlertState.FIRING
    told = notification(state)
    items = tuple(replace(told.items[0], id=f"down:{name}", subject=name, member=name, **item) for name in names)
    return replace(told, items=items, reason=reason)


def test_a_beginning_says_everything_there_is_to_know():
    told = about(
        "fetch", symptom="timeout@tools_list", evidence=("direct: ok",), exit="exited with code 1", speaks_for=("route_down:a",)
    )
    message = render(told)
    assert message.title == "[down] fetch: member down"
    assert message.body.splitlines() == [
        "fetch is down since 1970-01-12T13:46:40Z (1 min, critical).",
        "Cause: member down - the member is down",
        "Symptom: timeout@tools_list",
        "Seen: exited with code 1",
        "  direct: ok",
        "Last end: exited with code 1",
        "  stderr: Traceback",
        '  stderr: KeyError: "x"',
        "Also affected: route_down:a",
        "Tried: restart: did not help (2.5 s)",
        "To do: See: mcpwatch check fetch; mcpwatch logs fetch",
    ]


def test_an_end_says_how_long_it_was_and_what_was_tried():
    message = render(about("fetch", reason=Reason.RESOLVED, why="mcp direct: ok", unwatched=30.0))
    assert message.title == "[recovered] fetch after 1 min"
    assert message.body.splitlines() == [
        "fetch recovered after 1 min (1970-01-12T13:46:40Z to 1970-01-12T13:48:10Z).",
        "Now: mcp direct: ok",
        "The cause was: member down",
        "Tried: restart: did not help (2.5 s)",
        "Not watched for 30 s of this time.",
    ]


@pytest.mark.parametrize(
    ("told", "title"),
    [
        (about("a", "b"), "[down] 2: a, b: member down"),
        (about(*"abcdefg"), "[down] 7: a, b, c, d, e …: member down"),
        (about("a", reason=Reason.REPEAT), "[still down after 1 min] a: member down"),
        (about("a", reason=Reason.ESCALATED), "[nobody answered: down for 1 min] a: member down"),
        (about("a", cause="", symptom="refused"), "[down] a: refused"),
        (about("a", cause="", cause_text="", symptom=""), "[down] a"),
        (about("a", "b", reason=Reason.RESOLVED), "[recovered] 2: a, b after 1 min"),
    ],
)
def test_the_title_is_one_line_that_says_it(told: Notification, title: str):
    assert render(told).title == title


@pytest.mark.parametrize(
    ("item", "advice"),
    [
        ({"cause": "stale_session"}, "the proxy must be restarted"),
        ({"cause": "auth"}, "check the token"),
        ({"cause": "config"}, "correct the configuration"),
        ({"cause": "", "symptom": "host_guard"}, "allow it in the server's settings"),
        ({"cause": "", "alert": "gave_up"}, "mcpwatch start fetch"),
        ({"cause": "", "alert": "config_rejected"}, "mcpwatch status"),
    ],
)
def test_what_to_do_fits_the_cause(item: dict[str, Any], advice: str):
    assert advice in render(about("fetch", **item)).body


def test_a_crowd_is_told_in_full_up_to_a_bound_and_counted_beyond():
    body = render(about(*(f"m{number}" for number in range(ITEMS_MAX + 5)))).body
    assert body.count("is down since") == ITEMS_MAX
    assert "… and 5 more" in body


def test_two_ends_of_one_member_are_told_as_the_longer_one():
    told = about("fetch", reason=Reason.RESOLVED)
    later = replace(told.items[0], id="gave_up:fetch", alert="gave_up", since=WallTime(1_000_050.0))
    assert render(replace(told, items=(later, *told.items))).body == render(told).body


def test_a_message_that_may_be_a_repeat_says_so():
    assert "You may have been told this already" in render(replace(about("fetch"), perhaps_again=True)).body


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.4, "59 s"), (61, "1 min"), (3600, "1 h"), (3900, "1 h 5 min"), (100_000, "1 d 3 h")]
)
def test_spans_are_told_roughly(seconds: float, words: str):
    assert span(seconds) == words


def test_secrets_are_hidden_in_every_text_and_nothing_else_changes():
    told = about("fetch", tail=("token s3cr3t!", "fine"), evidence=("s3cr3t!",))
    hidden = scrub(told, ("s3cr3t!", "", "abc"))
    assert hidden.items[0].tail == (f"token {HIDDEN}", "fine")
    assert "s3cr3t!" not in dump(hidden)
    assert scrub(told, ()) is told
    assert scrub(about("x"), ("other-secret",)) == about("x")


def test_the_document_is_the_notification_in_plain_values():
    told = document(about("fetch"))
    assert (told["title"], told["severity"], told["alerts"][0]["since"]) == (
        "[down] fetch: member down",
        "critical",
        "1970-01-12T13:46:40.000Z",
    )
    assert told["alerts"][0]["seconds"] == 60


def test_a_notification_survives_its_json():
    told = about("fetch", speaks_for=("route_down:a",))
    assert load(Notification, dump(told)) == told
    assert isinstance(load(Notification, dump(told)).items[0].severity, Severity)
    assert load(AlertSnapshot, dump(told.items[0])) == told.items[0]


def test_starts_during_the_incident_are_told_as_tried_and_the_same_stderr_once():
    w = World()
    w.happen(*w.running("fetch"))
    tail = ("KeyError", "KeyError", "bye")
    w.happen(MemberExited(at=WallTime(w.now), text="", member="fetch", generation=1, code=1, tail=tail))
    (one,) = w.happen(w.member("fetch", "backoff", "phase"))
    assert one.items[0].tail == ("KeyError", "bye")
    for generation in (2, 3):
        w.now += 1
        w.happen(MemberStarted(at=WallTime(w.now), text="", member="fetch", generation=generation))
    w.now += 1
    (end,) = w.happen(w.member("fetch", "running", "phase", generation=3))
    assert end.items[0].tried == ("started again 2 times",)
