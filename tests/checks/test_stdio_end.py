"""How a stdio server ends, by itself or by us, and what is told of it; with a child in memory."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from mcpwatch.checks import stdio
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.stdio import StdioWire
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.model.probe import Symptom
from tests.checks.stdio_memory import Child, Json, Machine, methods, old, opening, play


def dies(child: Child, message: Json) -> Json | None:
    child.end(3)
    return None


def test_a_server_that_dies_of_discover_gets_a_second_life_without_it() -> None:
    machine = Machine(dies, old)
    machine.slow = 1.0
    failure, wire, timeline = opening(machine)
    assert (failure, wire.server.protocol) == (None, "2025-11-25")
    assert methods(machine.children[1]) == ["initialize", "notifications/initialized"]
    assert machine.children[1].heard[0]["params"].keys() == {"protocolVersion", "capabilities", "clientInfo"}
    taken = {str(timing.stage): timing.seconds for timing in timeline.timings()}
    assert (list(taken), taken["spawn"]) == (["spawn", "discover", "initialize"], 2.0)
    killed = [("group", 4242, 9), ("process", 7, 9), ("process", 8, 9)]
    assert machine.signals == killed * 2, "nothing is left of the first life, and nothing of the second after the probe"


def dying(code: int, stderr: bytes = b"", stdout: str = "") -> Callable[[Child, Json], Json | None]:
    def program(child: Child, message: Json) -> Json | None:
        child.stderr.feed_data(stderr)
        if stdout:
            child.say(stdout)
        child.end(code)
        return None

    return program


@pytest.mark.parametrize(
    ("program", "words", "said"),
    [
        (dying(3), "the server exited with code 3 before it answered initialize", ""),
        (dying(-9), "the server was killed by SIGKILL before it answered initialize", ""),
        (dying(0, b"a\nb\nc\n\nno token"), "the server exited with code 0 before it answered initialize", "b | c | no token"),
        (dying(1, b"a\nb\nc\nd\n"), "the server exited with code 1 before it answered initialize", "b | c | d"),
        (
            dying(1, b"", "Error: no key"),
            "the server exited with code 1 (its stdout said: Error: no key) before it answered initialize",
            "Error: no key",
        ),
        (
            dying(1, b"trace\n", "Error: no key"),
            "the server exited with code 1 (its stdout said: Error: no key) before it answered initialize",
            "trace | trace",
        ),
    ],
)
def test_a_server_that_ended_is_told_with_how_it_ended_and_what_it_said(program: Any, words: str, said: str) -> None:
    failure, _, _ = opening(Machine(program))
    assert failure is not None
    assert (failure.symptom, failure.message, failure.said) == (Symptom.EXITED, words, said)


def test_a_server_that_takes_a_moment_to_end_is_told_with_its_code_and_its_last_words() -> None:
    def ends_slowly(child: Child, message: Json) -> Json | None:
        child.stdout.feed_eof()

        def end() -> None:
            child.returncode = 3
            child.ended.set()

        def last_words() -> None:
            child.stderr.feed_data(b"no token\n")
            child.stderr.feed_eof()

        asyncio.get_running_loop().call_later(0.1, end)
        asyncio.get_running_loop().call_later(0.15, last_words)
        return None

    failure, _, _ = opening(Machine(ends_slowly))
    assert failure is not None
    assert failure.message == "the server exited with code 3 before it answered initialize"
    assert failure.said.endswith("no token")


def test_a_server_that_closed_its_stdout_but_lives_is_told_as_such() -> None:
    def closes(child: Child, message: Json) -> Json | None:
        if not child.stdout.at_eof():
            child.stdout.feed_eof()
        return None

    failure, _, timeline = opening(Machine(closes))
    assert failure is not None
    assert failure.message == "the server closed its stdout before it answered initialize"
    assert timeline.seconds == pytest.approx(0.4, abs=0.01), "each life gets a moment to end"


@pytest.mark.parametrize(
    ("stdin", "dies_of", "signals", "seconds"),
    [
        (True, set[int](), [9], 0),
        (False, {signal.SIGTERM}, [15, 9], 0.2),
        (False, {signal.SIGKILL}, [15, 9], 0.4),
        (False, set[int](), [15, 9], 0.4),
    ],
)
def test_a_server_is_ended_by_its_stdin_then_asked_then_killed_with_all_it_started(
    stdin: bool, dies_of: set[int], signals: list[int], seconds: float
) -> None:
    machine = Machine(old)
    machine.dies_of = dies_of

    async def scene(wire: StdioWire, timeline: ProbeTimeline) -> None:
        await wire.open()
        child = machine.children[0]
        child.ends_with_stdin = stdin
        assert wire.child is cast("Any", child)
        began = timeline.now
        await wire.close()
        assert timeline.now - began == pytest.approx(seconds)
        assert (child.stdin.closed, wire.child) == (True, None)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, "nobody reads its stderr any more"
        assert [number for kind, _, number in machine.signals if kind == "group"] == signals
        assert [(pid, number) for kind, pid, number in machine.signals if kind == "process"] == [(7, 9), (8, 9)]
        await wire.close()
        with pytest.raises(ProbeFailure, match="the server is not running"):
            await wire.call("tools/list", {})

    play(machine, scene)


def test_the_kernel_is_waited_for_within_bounds() -> None:
    async def scene(wire: StdioWire, timeline: ProbeTimeline) -> None:
        await wire.reap(None)
        await wire.open()
        began = timeline.now
        await wire.reap(wire.child)
        assert timeline.now - began == pytest.approx(2)

    play(Machine(old), scene)


def test_stderr_is_kept_in_its_last_lines_however_it_comes() -> None:
    async def scene(wire: StdioWire, timeline: ProbeTimeline) -> None:
        await wire.open()
        child, kept = machine.children[0], wire._stderr  # pyright: ignore[reportPrivateUsage]
        for number in range(30):
            child.stderr.feed_data(f"line {number}\n\n".encode())
            await asyncio.sleep(0)
        child.stderr.feed_data(b"x" * 10_000 + b"\nhal")
        await asyncio.sleep(0)
        assert (len(kept), kept[0], kept[-2], kept[-1]) == (20, "line 11", "line 29", "x" * 199 + "…")
        child.stderr.feed_data(b"ves\n")
        await asyncio.sleep(0)
        assert kept[-1] == "halves"
        child.stderr.feed_data(b"".join(b"m%d\n" % number for number in range(50)) + b"unended")
        child.stderr.feed_eof()
        await asyncio.sleep(0)
        assert (kept[0], kept[-1]) == ("m31", "unended")

    machine = Machine(old)
    play(machine, scene)


def test_only_a_process_that_bears_the_whole_mark_is_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, theirs = "a" * 32, "b" * 32
    environments = {
        "11": f"PATH=/bin\0MCPWATCH_PROBE={ours}\0HOME=/",
        "12": f"MCPWATCH_PROBE={ours}\0",
        "13": f"MCPWATCH_PROBE={theirs}\0",
        "14": f"MCPWATCH_PROBE={ours}b\0",
        "15": f"NOTE=MCPWATCH_PROBE={ours}\0",
        "16": "",
        "self": f"MCPWATCH_PROBE={ours}\0",
    }
    for pid, text in environments.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "environ").write_text(text)

    def proc(_: str) -> Path:
        return tmp_path

    monkeypatch.setattr(stdio, "Path", proc)
    assert sorted(stdio.marked(ours)) == [11, 12]
    assert stdio.marked("c" * 32) == []
