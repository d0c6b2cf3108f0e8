"""Trouble of the watchdog itself stays in `status` until it is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcpwatch.app.own_trouble import LASTING, OwnTrouble, Troubles
from mcpwatch.app.proxy_files import proxy_of, put_right
from mcpwatch.bus import Bus
from mcpwatch.cli.status import render
from mcpwatch.model.fact import Level, PlanApplied, Troubled
from mcpwatch.model.spec import MemberSpec, Plan, ProxySpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import ServiceDown


def told(subject: str, at: float = 1.0, *, level: Level = "error", cleared: bool = False, member: str = "") -> Troubled:
    return Troubled(at=WallTime(at), text=f"{subject} at {at:g}", level=level, subject=subject, cleared=cleared, member=member)


@pytest.mark.parametrize("subject", sorted(LASTING))
def test_it_is_held_from_when_it_was_first_told_until_it_is_over(subject: str) -> None:
    bus = Bus()
    troubles = Troubles(bus)
    bus.publish(told(subject))
    bus.publish(told(subject, 2.0))
    assert troubles.now == (ServiceDown(subject, f"{subject} at 2", WallTime(1.0)),)
    bus.publish(told(subject, 3.0, level="info", cleared=True))
    assert troubles.now == ()


def test_what_is_over_already_what_is_a_members_and_what_nobody_ends_is_not_held() -> None:
    bus = Bus()
    troubles = Troubles(bus)
    for fact in (
        told("logs", member="git"),
        told("watchdog"),
        told("runtime docker"),
        told("store", level="warning"),
        told("state directory", level="warning"),
        PlanApplied(at=WallTime(1.0), text="x"),
    ):
        bus.publish(fact)
    assert troubles.now == ()
    bus.publish(told("proxy file", level="warning"))
    assert [one.name for one in troubles.now] == ["proxy file"]


def test_a_state_directory_that_is_put_back_at_last_and_another_configuration_end_theirs() -> None:
    bus = Bus()
    troubles = Troubles(bus)
    own = OwnTrouble(bus.publish, lambda: WallTime(5.0))
    own.state_dir("the lock cannot be put back: no space left on device", bad=True)
    bus.publish(told("otel"))
    bus.publish(told("metrics"))
    assert [one.name for one in troubles.now] == ["state directory", "otel", "metrics"]
    own.state_dir("somebody removed the lock; put back", bad=False)
    bus.publish(PlanApplied(at=WallTime(6.0), text="configuration applied"))
    assert [one.name for one in troubles.now] == ["metrics"]


@pytest.mark.parametrize("subject", ["state directory", "store"])
def test_its_alert_ends_too(subject: str) -> None:
    facts: list[Any] = []
    own = OwnTrouble(facts.append, lambda: WallTime(5.0))
    if subject == "store":
        own.store("it is full")
        own.store(None)
    else:
        own.state_dir("cannot be put back", bad=True)
        own.state_dir("put back", bad=False)
        own.state_dir("put back", bad=False)
    assert [(fact.subject, fact.cleared) for fact in facts[:2]] == [(subject, False), (subject, True)]
    assert [fact.cleared for fact in facts[2:]] == ([] if subject == "store" else [False]), "a moment, which nothing came before"


def test_a_proxy_file_that_could_not_be_written_is_no_trouble_once_it_is_as_planned_whoever_wrote_it(tmp_path: Path) -> None:
    bus = Bus()
    troubles = Troubles(bus)
    own = OwnTrouble(bus.publish, lambda: WallTime(5.0))
    proxy = ProxySpec("tbxark", "proxy", "127.0.0.1:1", "http://127.0.0.1:1")
    plan, member = Plan(proxy=proxy), MemberSpec("proxy", "proxy", "process", None, "")
    (tmp_path / "proxy").write_text("in the way of a directory")
    put_right(plan, member, tmp_path, own)
    assert [one.name for one in troubles.now] == ["proxy file"]
    (tmp_path / "proxy").unlink()
    planned = proxy_of(plan)
    assert planned is not None
    assert planned.write(tmp_path), "as a reload does"
    put_right(plan, member, tmp_path, own)
    assert troubles.now == ()


def test_a_server_inside_the_proxy_that_is_started_again_finds_itself_in_what_the_proxy_reads(tmp_path: Path) -> None:
    own = OwnTrouble(lambda _: None, lambda: WallTime(5.0))
    plan = Plan(proxy=ProxySpec("gateway", "proxy", "127.0.0.1:1", "http://127.0.0.1:1"))
    planned = proxy_of(plan)
    assert planned is not None
    planned.write(tmp_path)
    (file,) = (tmp_path / "proxy").iterdir()
    text = file.read_text(encoding="utf-8")
    for runtime, put_back in (("process", False), ("hosted", True)):
        file.write_text("{}", encoding="utf-8")
        put_right(plan, MemberSpec("git", "server", runtime, None, ""), tmp_path, own)
        assert (file.read_text(encoding="utf-8") == text) is put_back


def test_status_shows_it() -> None:
    trouble = {"name": "logs", "reason": "members' output is not logged: no space left on device", "since": 100.0}
    daemon = {"pid": 7, "version": "1", "started_at": 50.0, "down": [], "troubles": [trouble]}
    shown = render({"at": 200.0, "daemon": daemon, "healthy": True, "members": [], "routes": [], "diagnoses": []}, colour=False)
    (line,) = [line for line in shown if "no space" in line]
    assert line.startswith("the watchdog is in trouble (logs, for ")
