"""The process runtime on real processes: starting, ends, whole trees, adoption; with every kernel feature and without."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes import live_processes, process_table
from mcpwatch.runtimes.kernel import Features, detect
from mcpwatch.runtimes.process_table import MARK, ProcessTable
from mcpwatch.runtimes.record import Records
from mcpwatch.runtimes.spawn import ProcessSpec
from tests.runtimes.bench import (
    INSTANCE,
    STUBBORN_TREE,
    TREE,
    WITHOUT,
    alive,
    kill,
    marked,
    next_exit,
    pids_in,
    process_runtime,
    python,
    running,
    sleeper,
    start,
    until,
)

pytestmark = pytest.mark.anyio

EACH_WAY = pytest.mark.parametrize("off", WITHOUT, ids=lambda off: "without " + "+".join(off) if off else "with everything")


@EACH_WAY
async def test_an_end_is_told_once_with_its_exit_code(tmp_path: Path, off: tuple[str, ...]) -> None:
    async with running(tmp_path, *off) as runtime:
        await runtime.start(python(code="raise SystemExit(7)"), 3)
        exit_ = await next_exit(runtime.watch())
        assert (exit_.member, exit_.generation, exit_.code, exit_.signal) == ("time", 3, 7, None)


async def test_a_death_by_signal_names_the_signal(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        living = await runtime.start(sleeper(), 1)
        assert living.pid
        kill(living.pid)
        exit_ = await next_exit(runtime.watch())
        assert (exit_.code, exit_.signal) == (None, signal.SIGKILL)


async def test_a_member_gets_its_mark_its_environment_and_nothing_meant_for_the_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("HOME_OF_TEST", "kept")
    code = (
        "import os; print(*(os.environ.get(n, '-') for n in ('MCPWATCH_MARK','NOTIFY_SOCKET','HOME_OF_TEST','TOKEN')), flush=True)"
    )
    async with running(tmp_path) as runtime:
        await runtime.start(python(code=code, TOKEN="s3cret"), 5)
        await next_exit(runtime.watch())
    assert (tmp_path / "logs/time/stdout.raw").read_text() == f"{INSTANCE}/time/5 - kept s3cret\n"
    assert "s3cret" not in "".join(path.read_text() for path in (tmp_path / "run").rglob("*.json"))


async def test_output_is_appended_to_raw_files_only_the_owner_can_read(tmp_path: Path) -> None:
    spec = python(code="import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True)")
    async with running(tmp_path) as runtime:
        events = runtime.watch()
        for generation in (1, 2):
            await runtime.start(spec, generation)
            await next_exit(events)
    assert (tmp_path / "logs/time/stdout.raw").read_text() == "out\nout\n"
    assert (tmp_path / "logs/time/stderr.raw").read_text() == "err\nerr\n"
    assert (tmp_path / "logs/time/stdout.raw").stat().st_mode & 0o777 == 0o600


@pytest.mark.sample(1)
@EACH_WAY
async def test_a_stop_leaves_nobody_of_a_tree_that_ignores_sigterm_and_runs_away(tmp_path: Path, off: tuple[str, ...]) -> None:
    async with running(tmp_path, *off) as runtime:
        spec = python(str(tmp_path), code=STUBBORN_TREE)
        await runtime.start(spec, 1)
        pids = await pids_in(tmp_path)
        await runtime.stop(spec, grace=0.05)
        assert [name for name in TREE if alive(pids[name])] == []
        assert (await next_exit(runtime.watch())).signal == signal.SIGKILL
        assert marked() == set()


@pytest.mark.sample(1)
@EACH_WAY
async def test_a_sudden_death_takes_its_leftovers_along_before_the_next_start(tmp_path: Path, off: tuple[str, ...]) -> None:
    async with running(tmp_path, *off) as runtime:
        spec = python(str(tmp_path), code=STUBBORN_TREE)
        await runtime.start(spec, 1)
        pids = await pids_in(tmp_path)
        kill(pids["main"])
        await next_exit(runtime.watch())
        second = await runtime.start(sleeper(), 2)
        assert [name for name in TREE if alive(pids[name])] == []
        await until(lambda: marked() == {second.pid})


async def test_a_willing_member_is_stopped_by_its_own_signal_well_within_the_grace(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(4))\n"
        "open(sys.argv[1], 'w').write('1')\ntime.sleep(600)"
    )
    async with running(tmp_path) as runtime:
        spec = python(str(tmp_path / "main"), code=code, stop_signal="SIGINT")
        await runtime.start(spec, 1)
        await pids_in(tmp_path, ("main",))
        async with asyncio.timeout(10):
            await runtime.stop(spec, grace=60)
        assert (await next_exit(runtime.watch())).code == 4


async def test_a_stopped_process_is_woken_to_hear_that_it_should_end(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        spec = sleeper()
        living = await runtime.start(spec, 1)
        assert living.pid
        kill(living.pid, signal.SIGSTOP)
        async with asyncio.timeout(10):
            await runtime.stop(spec, grace=60)
        assert not alive(living.pid)


async def test_stopping_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.stop(sleeper(), grace=1)


@pytest.mark.parametrize(
    ("carrier", "words"),
    [
        ({"command": "no-such-program-here"}, "no such file; check 'command'"),
        ({"command": "sleep", "cwd": "/no/such/dir"}, "/no/such/dir: no such file"),
        ({"command": "/etc"}, "cannot start /etc: Permission denied"),
        ({"command": "sleep", "env_file": ["/no/such/env"]}, "cannot read env_file /no/such/env"),
    ],
)
async def test_what_cannot_be_started_says_why_in_one_line_and_for_good(
    tmp_path: Path, carrier: dict[str, object], words: str
) -> None:
    spec = MemberSpec("time", "server", "process", ProcessSpec.model_validate(carrier))
    async with running(tmp_path) as runtime:
        with pytest.raises(RuntimeFailed, match=words) as caught:
            await runtime.start(spec, 1)
    assert caught.value.permanent
    assert "\n" not in str(caught.value)


@EACH_WAY
async def test_the_next_watchdog_adopts_the_same_process_and_hears_of_its_end(tmp_path: Path, off: tuple[str, ...]) -> None:
    before = process_runtime(tmp_path, *off)
    spec = sleeper()
    living = await before.start(spec, 41)
    await before.close()
    async with running(tmp_path, *off) as after:
        (adopted,) = await after.owned([spec])
        assert (adopted.pid, adopted.generation, adopted.fingerprint) == (living.pid, 41, "f1")
        assert living.pid
        kill(living.pid)
        assert (await next_exit(after.watch())).generation == 41
        assert after.latest()["time"].generation == 41


async def test_an_adopted_process_is_stopped_with_its_whole_tree(tmp_path: Path) -> None:
    before = process_runtime(tmp_path)
    spec = python(str(tmp_path), code=STUBBORN_TREE)
    await before.start(spec, 1)
    pids = await pids_in(tmp_path)
    await before.close()
    async with running(tmp_path) as after:
        await after.owned([spec])
        await after.stop(spec, grace=0.05)
        assert [name for name in TREE if alive(pids[name])] == []


async def test_a_stop_that_a_killed_watchdog_did_not_finish_is_no_stop_any_more(tmp_path: Path) -> None:
    before = process_runtime(tmp_path)
    spec = python(str(tmp_path), code=STUBBORN_TREE)
    await before.start(spec, 1)
    pids = await pids_in(tmp_path)
    Records(tmp_path, "process").note(before.latest()["time"], planned=True)
    await before.close()
    async with running(tmp_path) as after:
        await after.owned([spec])
        kill(pids["main"])
        await next_exit(after.watch())
        second = await after.start(sleeper(), 2)
        await until(lambda: marked() == {second.pid})


async def test_what_is_ours_but_no_longer_wanted_is_ended_at_boot(tmp_path: Path) -> None:
    before = process_runtime(tmp_path)
    await before.start(sleeper("old"), 1)
    kept = await before.start(sleeper("kept"), 1)
    await before.close()
    async with running(tmp_path) as after:
        await after.owned([sleeper("kept")])
        assert marked() == {kept.pid}
        assert set(after.latest()) == {"kept"}


async def test_a_watchdog_killed_between_spawn_and_record_leaves_a_member_that_is_adopted(tmp_path: Path) -> None:
    before = process_runtime(tmp_path)
    spec = sleeper()
    living = await before.start(spec, 8)
    records = Records(tmp_path, "process")
    records.note(before.latest()["time"], pid=None, ticks=0)  # as it stands on disk between intent and record
    await before.close()
    async with running(tmp_path) as after:
        (adopted,) = await after.owned([spec])
        assert (adopted.pid, adopted.generation) == (living.pid, 8)


async def test_a_marked_process_of_another_generation_than_the_record_is_ended(tmp_path: Path) -> None:
    before = process_runtime(tmp_path)
    spec = sleeper()
    living = await before.start(spec, 8)
    Records(tmp_path, "process").note(before.latest()["time"], pid=None, ticks=0, generation=9)
    await before.close()
    async with running(tmp_path) as after:
        assert await after.owned([spec]) == ()
        assert living.pid
        assert not alive(living.pid)


@pytest.mark.sample(1)
@EACH_WAY
async def test_a_reused_process_number_is_never_touched(tmp_path: Path, off: tuple[str, ...]) -> None:
    stranger = start("sleep", "600")
    try:
        before = process_runtime(tmp_path, *off)
        spec = sleeper()
        living = await before.start(spec, 1)
        assert living.pid
        kill(living.pid)
        await next_exit(before.watch())
        last = before.latest()["time"]
        there = ProcessTable(Features()).look(stranger.pid)
        assert there
        Records(tmp_path, "process").note(last, pid=stranger.pid, ticks=there.ticks - 1, ended=False)
        await before.close()
        async with running(tmp_path, *off) as after:
            assert await after.owned([spec]) == ()
            exit_ = await next_exit(after.watch())
            assert exit_.detail == "ended while no watchdog was watching"
            await after.stop(spec, grace=0.1)
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_neighbour_with_another_mark_is_left_alone(tmp_path: Path) -> None:
    stranger = start("sleep", "600", **{MARK: "ffffffffffff/time/1"})
    try:
        async with running(tmp_path) as runtime:
            await runtime.start(sleeper(), 1)
            await runtime.stop(sleeper(), grace=0.1)
            await runtime.owned(())
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_the_exit_status_of_an_adopted_process_that_is_no_child_is_known(tmp_path: Path) -> None:
    """A process of its own starts the member and goes, as a killed watchdog does."""
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom tests.runtimes.bench import process_runtime, python\n"
        "async def main():\n"
        "    code = 'import os,sys,time\\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.005)\\nsys.exit(9)'\n"
        "    spec = python(sys.argv[1], code=code)\n"
        "    await process_runtime(Path(sys.argv[2]), 'subreaper', instance=sys.argv[3]).start(spec, 1)\n"
        "asyncio.run(main())"
    )
    assert start(sys.executable, "-c", code, str(tmp_path / "go"), str(tmp_path), INSTANCE).wait() == 0
    async with running(tmp_path, "subreaper") as runtime:
        (adopted,) = await runtime.owned([sleeper()])
        assert adopted.pid
        (tmp_path / "go").write_text("1")
        exit_ = await next_exit(runtime.watch())
        assert exit_.code == 9


async def test_usage_counts_the_whole_tree(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        living = await runtime.start(python(str(tmp_path), code=STUBBORN_TREE), 1)
        await pids_in(tmp_path)
        usage = runtime.usage("time")
        assert usage is not None
        assert usage.pid == living.pid
        assert usage.processes >= 3
        assert usage.rss > 1_000_000
        assert usage.fds >= 9
        assert runtime.usage("nobody") is None


async def test_corpses_of_orphans_are_collected(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nif not os.fork():\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
        "    open(sys.argv[1], 'w').write(str(os.getpid()))\n    os._exit(0)\ntime.sleep(600)"
    )
    async with running(tmp_path) as runtime:
        await runtime.start(python(str(tmp_path / "orphan"), code=code), 1)
        pids = await pids_in(tmp_path, ("orphan",))
        await until(lambda: not Path(f"/proc/{pids['orphan']}").exists())


DAEMON = """
import os, socket, sys, time
for session in {sessions}:
    if os.fork():
        os._exit({code})
    os.setsid() if session else None
time.sleep({before})
if {listens}:
    server = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)
"""


@pytest.mark.sample
@pytest.mark.parametrize("sessions", [(1,), (1, 0), (0,)], ids=["setsid", "twice", "fork"])
@pytest.mark.parametrize("before", [0.0, 0.3])
async def test_a_server_that_puts_itself_into_the_background_is_told_as_such_and_for_good(
    tmp_path: Path, sessions: tuple[int, ...], before: float
) -> None:
    async with running(tmp_path) as runtime:
        code = DAEMON.format(sessions=sessions, code=0, before=before, listens=True)
        await runtime.start(python(str(tmp_path / "pid"), code=code), 1)
        end = await next_exit(runtime.watch())
        assert (end.code, end.final) == (0, True)
        assert "it put itself into the background" in end.detail
        assert "listens on port" in end.detail
        await runtime.stop(python(code=""), 1.0)
        assert marked() == set(), "nothing of it is left"


@pytest.mark.parametrize(("code", "listens"), [(0, False), (1, True)])
async def test_an_end_that_leaves_a_helper_behind_or_is_a_failure_is_no_step_into_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, listens: bool
) -> None:
    monkeypatch.setattr(live_processes, "BACKGROUND_WAIT", 1.0)
    async with running(tmp_path) as runtime:
        text = DAEMON.format(sessions=(1,), code=code, before=0.0, listens=listens)
        await runtime.start(python(str(tmp_path / "pid"), code=text), 1)
        end = await next_exit(runtime.watch())
        assert (end.code, end.final, end.detail) == (code, False, "")


async def test_an_end_is_told_though_whoever_listened_is_gone_before_it_is_known_who_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fleeting(pids: Iterable[int]) -> tuple[int, ...]:
        return () if isinstance(pids, tuple) else (9000,)

    monkeypatch.setattr(live_processes, "BACKGROUND_WAIT", 0.2)
    monkeypatch.setattr(live_processes, "listened_on", fleeting)
    async with running(tmp_path) as runtime:
        text = DAEMON.format(sessions=(1,), code=0, before=0.0, listens=False)
        await runtime.start(python(str(tmp_path / "pid"), code=text), 1)
        end = await next_exit(runtime.watch())
        assert (end.code, end.final, end.detail) == (0, False, "")


async def test_a_watchdog_that_ends_does_not_wait_for_what_may_step_into_the_background(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        text = DAEMON.format(sessions=(1,), code=0, before=0.0, listens=False)
        living = await runtime.start(python(str(tmp_path / "pid"), code=text), 1)
        await until(lambda: not alive(living.pid or 0))
        async with asyncio.timeout(live_processes.BACKGROUND_WAIT / 3):
            await runtime.close()


@pytest.mark.slow
def test_a_mark_outlasts_a_scan_by_another_thread_at_any_line_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_table, "SETTLED", 0.0)
    code = ProcessTable._scan_proc.__code__  # pyright: ignore[reportPrivateUsage]

    def interrupted(table: ProcessTable, line: int, pid: int) -> None:
        due = [True]

        def between(frame: FrameType, event: str, _: object) -> Any:
            if due and event == "line" and frame.f_lineno == line and frame.f_locals.get("name", str(pid)) == str(pid):
                due.clear()
                table.scan()
            return between

        def called(frame: FrameType, event: str, _: object) -> Any:
            return between if frame.f_code is code and due else None

        before = sys.gettrace()
        sys.settrace(called)
        try:
            table.scan()
        finally:
            sys.settrace(before)

    with subprocess.Popen(["sleep", "600"], env={MARK: "a/b/1"}) as ours:
        try:
            for line in sorted({line for _, _, line in code.co_lines() if line}):
                table = ProcessTable(detect())
                interrupted(table, line, ours.pid)
                assert table.scan().procs[ours.pid].mark == "a/b/1", f"lost at line {line}"
        finally:
            ours.kill()
