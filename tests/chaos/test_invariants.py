"""The harness finds what it is there to find: each invariant is broken on a real fleet, and its check must say so."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mcpwatch import journal
from tests.chaos.client_files import KINDS as FILES
from tests.chaos.whole import KINDS, Whole
from tests.e2e.daemon import WAIT

NAMED = {"SIGKILL", "SIGSTOP", "state files", "disk", "descriptors", "clock", "reloads", "commands", "upgrades", "hostile files"}
"""What befalls a fleet in a walk, at least."""
Broken = Callable[[Whole, Path], contextlib.AbstractContextManager[None]]


@pytest.fixture(scope="module")
def fleet() -> Generator[Whole]:
    chaos = Whole(random.Random(1), clock=False)
    try:
        chaos.start_watchdog()
        chaos.settle()
        yield chaos
    finally:
        chaos.teardown()


@contextlib.contextmanager
def bearing(chaos: Whole, member: str, name: str) -> Generator[None]:
    """A process that bears the mark of a member, under another name if so asked."""
    words = chaos.look().processes.procs[next(iter(chaos.look().trees[member]))].mark.split("/")
    env = {"MCPWATCH_MARK": "/".join([words[0], name, *words[2:]])}
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], env=env)
    try:
        until(lambda: process.pid in chaos.look().trees.get(name, ()))
        yield
    finally:
        process.kill()
        process.wait()


def until(so: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def orphan(chaos: Whole, _: Path) -> contextlib.AbstractContextManager[None]:
    return bearing(chaos, "ant", "gone")


@contextlib.contextmanager
def stopped_one_lives(chaos: Whole, _: Path) -> Generator[None]:
    chaos.stopped.add("hen")
    yield
    chaos.stopped.discard("hen")


def second(chaos: Whole, _: Path) -> contextlib.AbstractContextManager[None]:
    return bearing(chaos, "ant", "ant")


def second_gateway(chaos: Whole, _: Path) -> contextlib.AbstractContextManager[None]:
    return bearing(chaos, "proxy", "proxy")


def screen(**change: Any) -> Broken:
    """The status says something else of a member or route, or of the fleet."""

    @contextlib.contextmanager
    def shown(chaos: Whole, _: Path) -> Generator[None]:
        status = chaos.daemon.status()
        for where, told in change.items():
            rows = {"member": status["members"][0], "hosted": status["members"][2], "route": status["routes"][0], "fleet": status}
            rows[where] |= told
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chaos.daemon, "status", lambda: status)
            yield

    return shown


@contextlib.contextmanager
def clients_screen(chaos: Whole, _: Path) -> Generator[None]:
    rows = chaos.ask("GET", "/clients")
    rows[0]["listed"] = ["hen"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chaos, "ask", mock.Mock(return_value=rows))
        yield


def file(name: str, spoil: Callable[[str], str]) -> Broken:
    """Other text in a client's file."""

    @contextlib.contextmanager
    def spoilt(chaos: Whole, _: Path) -> Generator[None]:
        assert chaos.files
        path = chaos.files.directory / name
        before = path.read_text("utf-8")
        assert spoil(before) != before
        path.write_text(spoil(before), "utf-8")
        try:
            yield
        finally:
            path.write_text(before, "utf-8")

    return spoilt


@contextlib.contextmanager
def leftover(chaos: Whole, _: Path) -> Generator[None]:
    assert chaos.files
    path = chaos.files.directory / ".client.json.mcpwatch-1-0.tmp"
    path.touch()
    yield
    path.unlink()


def logged(change: Callable[[list[bytes]], list[bytes]]) -> Broken:
    """Other lines in a copy of the log of a hosted server."""

    @contextlib.contextmanager
    def changed(chaos: Whole, scratch: Path) -> Generator[None]:
        for _ in range(3):
            assert chaos.answers("hen")
        until(lambda: not chaos.lines(chaos.look()))
        shutil.copytree(journal.directory(chaos.daemon.state, "hen").parent, scratch / "logs")
        (path,) = journal.files(journal.directory(scratch, "hen"), chaos.stream("hen"))
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(change(lines)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chaos.daemon, "state", scratch)
            yield

    return changed


@contextlib.contextmanager
def restarted(chaos: Whole, _: Path) -> Generator[None]:
    old = chaos.pids["ant"]
    os.kill(old, signal.SIGKILL)
    chaos.daemon.wait(lambda _: chaos.daemon.member("ant")["pid"] not in (None, old), "ant is started again")
    yield
    chaos.pids.pop("ant")
    chaos.settle()


VIOLATIONS: list[tuple[str, str, Broken]] = [
    ("orphans", "of a member that is not in the file", orphan),
    ("orphans", "of a member that is stopped", stopped_one_lives),
    ("duplicates", "of a member", second),
    ("duplicates", "of the gateway", second_gateway),
    ("screens", "another pid", screen(member={"pid": 1})),
    ("screens", "another phase", screen(member={"phase": "backoff"})),
    ("screens", "a pid that does not answer", screen(hosted={"pid": os.getpid()})),
    ("screens", "a member that is not there", screen(member={"name": "gnu"})),
    ("screens", "a route that is not well", screen(route={"verdict": "unhealthy"})),
    ("screens", "an age that it has not", screen(route={"last_success": 0.0})),
    ("screens", "a fleet that is not well", screen(fleet={"healthy": False})),
    ("screens", "a client that lists something else", clients_screen),
    *(("files", f"half of {name}", file(name, lambda text: text[: len(text) // 2])) for name in FILES),
    ("files", "a value of the user's", file("client.json", lambda text: text.replace("dark", "light"))),
    ("files", "a comment of the user's", file("client.toml", lambda text: text.replace("# c", ""))),
    ("files", "a server of the user's", file("client.yaml", lambda text: text.replace("name: own", "name: other"))),
    ("files", "a key twice", file("client.json", lambda text: text.replace("{\n", '{\n  "theme": "dark",\n', 1))),
    ("files", "another line", file("client.toml", lambda text: f"more = 1\n{text}")),
    ("files", "a leftover", leftover),
    ("lines", "one twice", logged(lambda lines: [*lines[:-2], lines[-2], *lines[-2:]])),
    ("lines", "one missing", logged(lambda lines: [*lines[:-2], lines[-1]])),
    ("lines", "the last missing", logged(lambda lines: lines[:-1])),
    ("restarts", "of a healthy member", restarted),
]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("invariant", "broken"), [pytest.param(name, how, id=f"{name}: {what}") for name, what, how in VIOLATIONS])
def test_a_violation_of_each_invariant_is_found(fleet: Whole, tmp_path: Path, invariant: str, broken: Broken) -> None:
    until(lambda: not fleet.wrong())
    with broken(fleet, tmp_path):
        try:
            said = fleet.invariants[invariant](fleet.look())
        except AssertionError as error:
            said = str(error)
    assert said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_call_that_a_client_lost_is_found(fleet: Whole) -> None:
    until(lambda: not fleet.wrong())

    def gateway_dies() -> None:
        with fleet.no_call_lost() as called:
            assert called
            fleet.kill_proxy()

    with pytest.raises(AssertionError, match="a client lost calls"):
        gateway_dies()
    fleet.settle()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_invariant_is_broken_once_and_every_fault_has_its_kind(fleet: Whole) -> None:
    assert {name for name, _, _ in VIOLATIONS} == set(fleet.invariants)
    actions = {action.__name__ for action in (*fleet.always, *fleet.with_watchdog, *fleet.without)}
    assert actions <= set(KINDS)
    those = {"set_clock", "set_clock_and_kill", "set_clock_unwatched", "disk_full"}
    assert set(KINDS) - actions <= those, "those that not every machine can do"
    assert set(KINDS.values()) >= NAMED
