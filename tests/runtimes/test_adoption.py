"""What a watchdog finds of one that was killed anywhere, or whose files are gone: each living member is taken over, once."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Started
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes import live_processes
from mcpwatch.runtimes.adoption import rebuilt, recognise
from mcpwatch.runtimes.process_snapshot import Proc, ProcessSnapshot
from mcpwatch.runtimes.record import Record, Records
from mcpwatch.runtimes.spawn import ProcessSpec
from mcpwatch.runtimes.tree import Root, Trees
from tests.parts import ROOT
from tests.runtimes.bench import (
    INSTANCE,
    STUBBORN_TREE,
    TREE,
    WAIT,
    alive,
    kill,
    marked,
    next_exit,
    pids_in,
    process_runtime,
    python,
    running,
    sleeper,
    until,
)

pytestmark = pytest.mark.anyio


def drop(path: Path) -> None:
    shutil.rmtree(path.parent)


def spoil(path: Path) -> None:
    path.write_bytes(b"\0" * 2048)


def renew(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "version": 2, "more": 1}))


def forget(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "generation": 3, "pid": 4, "ticks": 5, "ended": True}))


@pytest.mark.sample
@pytest.mark.parametrize("harm", [drop, spoil, renew, forget], ids=["deleted", "broken", "of a newer version", "out of date"])
async def test_a_member_whose_record_is_of_no_use_is_taken_over_by_its_mark_and_not_restarted(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    before = process_runtime(tmp_path)
    spec = python(str(tmp_path), code=STUBBORN_TREE)
    living = await before.start(spec, 8)
    pids = await pids_in(tmp_path)
    await before.close()
    harm(tmp_path / "run/process/time.json")
    async with running(tmp_path) as after:
        (adopted,) = await after.owned([spec])
        assert (adopted.pid, adopted.generation) == (living.pid, 8)
        assert adopted.started_at
        assert living.started_at
        assert abs(adopted.started_at - living.started_at) < 5.0
        assert Records(tmp_path, "process").load()["time"].pid == living.pid
        await after.stop(spec, grace=0.05)
        assert [name for name in TREE if alive(pids[name])] == []


def test_what_a_dead_main_process_left_is_not_taken_for_it_while_there_is_a_record() -> None:
    left = ProcessSnapshot({9: Proc(9, 1, 9, 500, mark="i/time/8")})
    ended = Record("time", 8, boot="b", pid=7, ticks=400, ended=True)
    died = Record("time", 8, boot="b", pid=7, ticks=400)
    assert recognise(ended, "b", {9: 8}, left, "i/time/") is None
    assert recognise(died, "b", {9: 8}, left, "i/time/") is None
    assert recognise(None, "b", {9: 8}, left, "i/time/") is not None


STARTED = Started(8, 7, "f")
LEFT = Proc(9, 1, 9, 500, mark="i/time/8")
MAIN = Proc(7, 1, 7, 400, mark="i/time/8")
OLD = Record("time", 7, boot="b", pid=3, ticks=100, ended=True)


@pytest.mark.parametrize(
    ("record", "main", "found"),
    [
        (None, MAIN, 7),
        (None, None, None),
        (OLD, MAIN, 7),
        (OLD, None, None),
        (None, replace(MAIN, state="Z"), None),
        (None, replace(MAIN, mark="i/other/8"), None),
        (None, replace(MAIN, mark=""), 9),
        (replace(OLD, boot="before"), None, None),
        (Record("time", 8, boot="b"), None, 9),
        (Record("time", 9, boot="b"), None, None),
    ],
    ids=[
        "no record, and it lives",
        "no record, and it is dead",
        "a late record, and it lives",
        "a late record, and it is dead",
        "it is a zombie",
        "its number is another member's",
        "its number is of one without a mark, which may be it",
        "a record of another boot",
        "an intent of that start",
        "an intent of a later start",
    ],
)
def test_where_the_record_is_lost_or_late_the_store_tells_a_main_process_from_what_it_left(
    record: Record | None, main: Proc | None, found: int | None
) -> None:
    procs = {proc.pid: proc for proc in (LEFT, main) if proc is not None}
    now, marks = ProcessSnapshot(procs), {proc.pid: 8 for proc in procs.values() if proc.mark == LEFT.mark and proc.alive}
    known = rebuilt(record, STARTED, "time", "b", now, "i/time/") or record
    who = recognise(known, "b", marks, now, "i/time/")
    assert (who.main.pid if who else None) == found


@pytest.mark.parametrize("harm", [drop, spoil, renew], ids=["deleted", "broken", "of a newer version"])
async def test_what_a_dead_member_left_behind_is_ended_where_the_record_is_lost_and_the_store_knows_its_start(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    before, spec = process_runtime(tmp_path), python(str(tmp_path), code=STUBBORN_TREE)
    living = await before.start(spec, 8)
    assert living.pid
    pids = await pids_in(tmp_path)
    await before.close()
    harm(tmp_path / "run/process/time.json")
    kill(living.pid)
    await until(lambda: not alive(living.pid or 0), "it is dead")
    async with running(tmp_path) as after:
        after.remind({"time": Started(8, living.pid)})
        assert await after.owned([spec]) == ()
        assert [name for name in TREE if alive(pids[name])] == []


async def test_the_end_of_a_member_of_an_earlier_boot_is_told_though_the_store_knows_its_start(tmp_path: Path) -> None:
    before, spec = process_runtime(tmp_path), sleeper()
    living = await before.start(spec, 8)
    assert living.pid
    await before.stop(spec, grace=0.1)
    last = Records(tmp_path, "process").note(before.latest()[spec.name], boot="earlier", ended=False, planned=False, restarts=3)
    await before.close()
    async with running(tmp_path) as after:
        after.remind({spec.name: Started(8, living.pid)})
        assert await after.owned([spec]) == ()
        exit_ = await next_exit(after.watch())
        assert (exit_.generation, exit_.detail) == (last.generation, "ended while no watchdog was watching")
        assert after.latest()[spec.name].restarts == 3


async def test_a_living_member_whose_record_is_lost_is_adopted_with_the_fingerprint_that_the_store_knows(tmp_path: Path) -> None:
    before, spec = process_runtime(tmp_path), sleeper()
    living = await before.start(spec, 8)
    assert living.pid
    await before.close()
    drop(tmp_path / "run/process/time.json")
    async with running(tmp_path) as after:
        after.remind({spec.name: Started(8, living.pid, "as configured"), "gone": Started(3, living.pid)})
        (adopted,) = await after.owned([spec])
        assert (adopted.pid, adopted.generation, adopted.fingerprint) == (living.pid, 8, "as configured")
        assert adopted.started_at
        record = Records(tmp_path, "process").load()[spec.name]
        assert (record.pid, record.started_at) == (living.pid, adopted.started_at)
        assert set(Records(tmp_path, "process").load()) == {spec.name}


def test_the_eldest_of_the_newest_generation_is_the_main_process_and_a_guest_never_is() -> None:
    procs = [
        Proc(5, 1, 5, 100, mark="i/time/7"),
        Proc(30, 1, 30, 210, mark="i/time/8"),
        Proc(40, 1, 40, 200, mark="i/time/8"),
        Proc(41, 40, 40, 200, mark="i/time/8"),
        Proc(20, 1, 20, 190, mark="i/time/8", hosted="guest"),
    ]
    found = recognise(None, "b", {5: 7, 20: 8, 30: 8, 40: 8, 41: 8}, ProcessSnapshot({proc.pid: proc for proc in procs}), "i/time/")
    assert found is not None
    assert (found.main.pid, found.generation) == (40, 8)


NO_MARK = (
    "import os, sys, time\n"
    "def write(name): open(os.path.join(sys.argv[1], name), 'w').write(str(os.getpid()))\n"
    "if not os.fork():\n    os.setsid(); write('setsid'); time.sleep(600)\n"
    "write('main'); time.sleep(600)"
)


def unmarked(directory: Path) -> MemberSpec:
    """A member that threw its environment away, with a child in a session of its own."""
    argv = ["-i", sys.executable, "-S", "-E", "-c", NO_MARK, str(directory)]
    return MemberSpec("time", "server", "process", ProcessSpec.model_validate({"command": "env", "args": argv}))


async def test_a_child_of_an_adopted_member_that_has_no_mark_and_a_session_of_its_own_is_ended_with_it(tmp_path: Path) -> None:
    spec = unmarked(tmp_path)
    before = process_runtime(tmp_path)
    await before.start(spec, 1)
    pids = await pids_in(tmp_path, ("main", "setsid"))
    await before.close()
    try:
        async with running(tmp_path, "subreaper", "cgroup") as after:
            (adopted,) = await after.owned([spec])
            assert adopted.pid == pids["main"]
            kill(pids["main"])
            await next_exit(after.watch())
            await after.start(sleeper(), 2)
            assert not alive(pids["setsid"])
    finally:
        kill(pids["setsid"])


async def test_a_child_without_a_mark_that_left_the_session_soon_after_the_start_is_ended_with_its_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: asyncio.Queue[asyncio.Event] = asyncio.Queue()
    sleep = asyncio.sleep

    async def until_told(delay: float) -> None:
        if delay == live_processes.REMEMBER_AFTER:
            looks.put_nowait(due := asyncio.Event())
            await due.wait()
        else:
            await sleep(delay)

    monkeypatch.setattr(live_processes, "REMEMBER_AFTER", 612.5)
    monkeypatch.setattr(asyncio, "sleep", until_told)
    pids: dict[str, int] = {}
    try:
        async with running(tmp_path, "cgroup") as runtime:
            await runtime.start(unmarked(tmp_path), 1)
            pids = await pids_in(tmp_path, ("main", "setsid"))
            async with asyncio.timeout(WAIT):
                (await looks.get()).set()  # as time does
                await looks.get()  # it looked, and waits again
            kill(pids["main"])
            await next_exit(runtime.watch())
            await runtime.start(sleeper(), 2)
            assert not alive(pids["setsid"])
    finally:
        for pid in pids.values():
            kill(pid)


async def test_what_cannot_be_killed_costs_no_other_member_its_adoption_and_gets_no_second_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = process_runtime(tmp_path)
    good = await before.start(sleeper("good"), 1)
    await before.start(sleeper("stuck"), 1)
    Records(tmp_path, "process").note(before.latest()["stuck"], pid=1, ticks=1)  # its main process is long dead
    await before.close()
    killing = Trees.kill

    async def kill_some(self: Trees, root: Root) -> None:
        if root.member == "stuck":
            raise RuntimeFailed("stuck: cannot be killed: 7 (state D)")
        await killing(self, root)

    async with running(tmp_path) as after:
        with monkeypatch.context() as patch:
            patch.setattr(Trees, "kill", kill_some)
            (adopted,) = await after.owned([sleeper("good"), sleeper("stuck")])
            assert (adopted.member, adopted.pid) == ("good", good.pid)
            assert "stuck: cannot be killed: 7 (state D)" in caplog.text
            with pytest.raises(RuntimeFailed, match="cannot be killed"):
                await after.start(sleeper("stuck"), 2)
        second = await after.start(sleeper("stuck"), 2)
        await until(lambda: marked() == {good.pid, second.pid})  # what was just started shows its mark when it has its program


DYING = """
import asyncio, os, signal, sys, time
from pathlib import Path
from mcpwatch.runtimes import process, spawn as spawning
from tests.runtimes.bench import marked, process_runtime, sleeper, until

state, instance, first, last, stride = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
spec = sleeper()
CODE = ("runtimes/process.py", "runtimes/record.py", "runtimes/spawn.py", "/subprocess.py")

def killed_at_call(number):
    seen = 0
    def count(frame, event, arg):
        nonlocal seen
        if event in ("c_call", "c_return") and frame.f_code.co_filename.endswith(CODE):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
    async def start():
        runtime = process_runtime(state, "cgroup", instance=instance)
        await runtime.owned([spec])
        sys.setprofile(count)
        await runtime.start(spec, 1)
        sys.setprofile(None)
    asyncio.run(start())

def killed_before_exec():
    def run(argv, out, err, cwd, env):
        if not os.fork():  # as posix_spawn and Popen do, on a disk that takes its time to read the program
            os.setsid()
            os.closerange(3, 100)
            time.sleep(0.3)
            os.execvpe(argv[0], argv, env)
        os.kill(os.getpid(), signal.SIGKILL)
    spawning._run = run
    asyncio.run(process_runtime(state, "cgroup", instance=instance).start(spec, 1))

async def look_after():
    runtime = process_runtime(state, "cgroup", instance=instance)
    adopted = await runtime.owned([spec])
    living = adopted[0] if adopted else await runtime.start(spec, 2)
    await until(lambda: marked(instance) == {living.pid}, f"{marked(instance)} run, {living.pid} should")
    print("adopted" if adopted else "started", living.generation, flush=True)
    await runtime.owned(())
    await runtime.close()
    assert marked(instance) == set()

def forked(work):
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

number = first
if number:
    process.EXEC_WAIT = 0.1
while number <= last:
    status = forked((lambda: killed_at_call(number)) if number else killed_before_exec)
    assert status in (0, 9), status
    assert forked(lambda: asyncio.run(look_after())) == 0, f"killed at call {number}"
    if not status:
        print("through", flush=True)
        break
    number += stride
"""


def killed(state: Path, first: int, last: int, stride: int = 1) -> list[str]:
    """Kill a watchdog at these calls of a start, each time followed by another; what those found, in order."""
    argv = [sys.executable, "-c", DYING, str(state), INSTANCE, str(first), str(last), str(stride)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_watchdog_killed_between_fork_and_exec_leaves_a_member_that_is_adopted(tmp_path: Path) -> None:
    assert killed(tmp_path, 0, 0) == ["adopted 1"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_watchdog_killed_before_or_after_any_call_of_a_start_leaves_one_member_or_none(tmp_path: Path) -> None:
    found = killed(tmp_path, 1, 100_000)
    assert found.pop() == "through"
    first = found.index("adopted 1")
    assert found == ["started 2"] * first + ["adopted 1"] * (len(found) - first)
    assert first > 10
    assert len(found) - first > 10
