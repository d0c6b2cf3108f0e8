"""The stdio wire with a child in memory: both handshakes, what is said of a child that ended, and how it is ended."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable

import pytest

from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.stdio import STRAYS_MAX, StdioWire
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.model.probe import Stage, Symptom, Target
from tests.checks.memory import HELLO, MODERN
from tests.checks.stdio_memory import REFUSED, Child, Json, Machine, methods, new, old, opening, play


def test_an_old_server_is_initialized_after_it_refused_to_discover() -> None:
    machine = Machine(old)
    failure, wire, timeline = opening(machine)
    assert failure is None
    assert methods(machine.children[0]) == ["server/discover", "initialize", "notifications/initialized"]
    assert [message.get("id") for message in machine.children[0].heard] == [1, 2, None]
    assert "_meta" in machine.children[0].heard[0]["params"]
    assert "_meta" not in machine.children[0].heard[1]["params"]
    assert (wire.server.wire, wire.server.protocol, wire.hello) == ("stdio", "2025-11-25", HELLO)
    assert [str(timing.stage) for timing in timeline.timings()] == ["spawn", "discover", "initialize"]
    command, how = machine.spawned[0]
    assert (command, how["start_new_session"], how["env"]["KEY"]) == (("server", "--stdio"), True, "value")
    assert len(how["env"]["MCPWATCH_PROBE"]) == 32


def test_a_modern_server_is_asked_nothing_but_to_discover() -> None:
    machine = Machine(new)

    async def scene(wire: StdioWire, timeline: ProbeTimeline) -> None:
        await wire.open()
        assert (wire.server.protocol, wire.hello) == ("2026-07-28", MODERN)
        assert await wire.call("tools/list", {}) == {}
        assert len(wire.digest) == 16
        assert methods(machine.children[0]) == ["server/discover", "tools/list"]
        assert "_meta" in machine.children[0].heard[1]["params"]

    play(machine, scene)


@pytest.mark.parametrize("versions", [None, ["2027-01-01"], "2026-07-28"])
def test_a_server_whose_discover_does_not_name_our_version_is_initialized(versions: object) -> None:
    def other(child: Child, message: Json) -> Json | None:
        return {"result": {"supportedVersions": versions}} if message.get("method") == "server/discover" else old(child, message)

    failure, wire, _ = opening(Machine(other))
    assert (failure, wire.server.protocol) == (None, "2025-11-25")


def test_a_server_that_is_silent_to_discover_is_initialized_after_a_share_of_the_time() -> None:
    def silent(child: Child, message: Json) -> Json | None:
        return None if message.get("method") == "server/discover" else old(child, message)

    failure, wire, timeline = opening(Machine(silent))
    assert (failure, wire.server.protocol) == (None, "2025-11-25")
    assert timeline.seconds == pytest.approx(0.3 * 9.5, abs=0.01)


def test_a_modern_server_that_was_slow_to_start_refuses_initialize_and_is_asked_again() -> None:
    def slow(child: Child, message: Json) -> Json | None:
        return None if message.get("id") == 1 else new(child, message)

    failure, wire, _ = opening(Machine(slow))
    assert (failure, wire.server.protocol) == (None, "2026-07-28")

    def refuses(child: Child, message: Json) -> Json | None:
        return REFUSED

    failure, _, _ = opening(Machine(refuses))
    assert failure is not None
    assert (failure.symptom, failure.stage, failure.code) == (Symptom.RPC_ERROR, Stage.INITIALIZE, -32601)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory"), "server cannot be run: No such file or directory"),
        (OSError("odd"), "server cannot be run: odd"),
    ],
)
def test_a_command_that_cannot_be_run_is_not_found(error: OSError, words: str) -> None:
    failure, _, _ = opening(Machine(error))
    assert failure is not None
    assert (failure.symptom, failure.message) == (Symptom.NOT_FOUND, words)


def test_no_command_is_not_found_and_no_descriptors_blames_nobody() -> None:
    failure, _, _ = opening(Machine(old), Target())
    assert failure is not None
    assert (failure.symptom, failure.message) == (Symptom.NOT_FOUND, "no command is given")
    with pytest.raises(OSError, match="Too many"):
        opening(Machine(OSError(errno.EMFILE, "Too many open files")))


def test_a_line_that_never_ends_is_not_taken_for_an_old_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpwatch.checks.stdout.LINE_LIMIT", 1000)

    def floods(child: Child, message: Json) -> Json | None:
        child.stdout.feed_data(b"x" * 100_000)
        return None

    machine = Machine(floods)
    failure, _, _ = opening(machine)
    assert failure is not None
    assert (failure.symptom, methods(machine.children[0])) == (Symptom.TOO_LARGE, ["server/discover"])


def test_a_server_that_asks_is_answered_and_what_is_no_message_is_remarked() -> None:
    def asks(child: Child, message: Json) -> Json | None:
        if message.get("method") == "tools/list":
            child.say("Listing...")
            child.say("")
            child.say("Listed.")
            child.say({"jsonrpc": "2.0", "method": "notifications/message"})
            child.say({"jsonrpc": "2.0", "id": "q", "method": "ping"})
        return old(child, message)

    machine = Machine(asks)

    async def scene(wire: StdioWire, timeline: ProbeTimeline) -> None:
        await wire.open()
        assert wire.remarks() == []
        assert await wire.call("tools/list", {}) == {}
        assert machine.children[0].heard[-1] == {"jsonrpc": "2.0", "id": "q", "result": {}}
        (remark,) = wire.remarks()
        assert (remark.symptom, remark.said, remark.stage) == (Symptom.POLLUTED, "Listing...", Stage.TOOLS_LIST)
        assert remark.message == "2 lines of its stdout are no messages, the first: Listing..."

    play(machine, scene)


@pytest.mark.parametrize(("others", "fails"), [(STRAYS_MAX - 1, False), (STRAYS_MAX, True)])
def test_other_lines_are_read_for_a_while(others: int, fails: bool) -> None:
    note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message"}) + "\n"

    def chatty(child: Child, message: Json) -> Json | None:
        if message.get("method") == "tools/list":
            child.stdout.feed_data((note * others).encode())
        return old(child, message)

    async def scene(wire: StdioWire, timeline: ProbeTimeline) -> None:
        await wire.open()
        if not fails:
            assert await wire.call("tools/list", {}) == {}
            return
        with pytest.raises(ProbeFailure, match="10000 other lines came instead of the answer to tools/list") as caught:
            await wire.call("tools/list", {})
        assert caught.value.symptom is Symptom.NO_REPLY

    play(Machine(chatty), scene)


def mute(child: Child, message: Json) -> Json | None:
    return None


def test_a_deadline_that_passed_is_told_by_what_came_instead() -> None:
    found: list[ProbeFailure | None] = []

    def saying(stderr: bytes, stdout: str) -> Callable[[Child, Json], Json | None]:
        def program(child: Child, message: Json) -> Json | None:
            child.stderr.feed_data(stderr)
            if stdout:
                child.say(stdout)
            return None

        return program

    async def scene(wire: StdioWire, timeline: ProbeTimeline) -> None:
        assert wire.silence(Stage.SPAWN) is None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await wire.open()
        found.append(wire.silence(Stage.INITIALIZE))

    for program in (mute, saying(b"busy\n", ""), saying(b"busy\n", "Ok? (y)"), saying(b"", '{"id": 9, "result": {}}')):
        play(Machine(program), scene)
    told = [(str(failure.symptom), failure.message, failure.said) if failure else None for failure in found]
    assert told == [
        None,
        ("timeout", "no answer within the deadline of stage initialize", "busy | busy"),
        ("polluted", "no message came on stdout, but this: Ok? (y)", "Ok? (y)"),
        ("no_reply", "an answer came with id 9, but initialize was asked with id 2", '{"id": 9, "result": {}}'),
    ]
    assert [failure.stage for failure in found if failure] == [Stage.INITIALIZE, Stage.INITIALIZE, None]
