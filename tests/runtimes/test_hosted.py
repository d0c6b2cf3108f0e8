"""The hosted runtime against a gateway's admin socket, and the external one against nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Appeared, Exited, Gone, Incarnation, RuntimeEvent
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import Replacing
from mcpwatch.runtimes import hosted
from mcpwatch.runtimes.admin import Reply
from mcpwatch.runtimes.external import ExternalMemberSpec, ExternalRuntime
from mcpwatch.runtimes.hosted import HostedRuntime, HostedSpec
from tests.runtimes.bench import INSTANCE, WAIT, until
from tests.runtimes.fake_gateway import fake_gateway

pytestmark = pytest.mark.anyio

TIME = MemberSpec("time", "server", "hosted", HostedSpec(), fingerprint="f1")


@pytest.fixture
def state() -> Iterator[Path]:
    """A short path: a unix socket's may hold 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="mw-"))
    yield directory
    shutil.rmtree(directory)


async def take(events: AsyncIterator[RuntimeEvent], count: int) -> list[RuntimeEvent]:
    async with asyncio.timeout(WAIT):
        return [await anext(events) for _ in range(count)]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_start_waits_until_the_child_lives_and_a_stop_until_it_does_not(state: Path, *, chunked: bool) -> None:
    async with fake_gateway(state, chunked=chunked) as gateway:
        gateway.put("time", phase="held", pid=None)
        runtime = HostedRuntime(state, INSTANCE)
        living = await runtime.start(TIME, 4)
        assert (living.generation, living.pid, living.fingerprint) == (4, 77, "f1")
        await runtime.stop(TIME, grace=1)
        assert gateway.members["time"]["phase"] == "held"


async def test_a_restart_ends_what_runs_but_not_what_the_next_gateway_has_begun(state: Path) -> None:
    async with fake_gateway(state) as gateway:
        gateway.put("time")
        runtime = HostedRuntime(state, INSTANCE)
        assert isinstance(runtime, Replacing)
        events = runtime.watch()
        await take(events, 2)
        await runtime.release(TIME)
        assert gateway.members["time"]["phase"] == "held"

        def replaced() -> None:
            gateway.pid += 1
            gateway.put("time", pid=gateway.pid)

        gateway.put("time")
        gateway.on_stop = replaced  # it hears the stop, and is gone; the next one has begun before we look again
        await runtime.release(TIME)
        assert gateway.members["time"]["phase"] == "running"
        gateway.asked.clear()
        await runtime.release(TIME)  # that one was not asked yet
        assert gateway.asked == ["GET /members"]
        assert (await runtime.start(TIME, 2)).pid == 77
    await runtime.release(TIME)


async def test_a_stop_that_a_gateway_does_not_answer_is_done_when_nobody_is_heard_to_run_the_server(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosted, "START_WAIT", 0.2)
    async with fake_gateway(state) as gateway:
        gateway.put("time")
        runtime = HostedRuntime(state, INSTANCE)
        events = runtime.watch()
        await take(events, 2)
        request, failures = runtime._admin.request, iter((True, True))  # pyright: ignore[reportPrivateUsage]

        async def silent(method: str, path: str) -> Reply:
            if next(failures, False):
                raise RuntimeFailed("gateway: no answer")
            return await request(method, path)

        monkeypatch.setattr(runtime._admin, "request", silent)  # pyright: ignore[reportPrivateUsage]
        await runtime.stop(TIME, grace=WAIT)
        assert gateway.members["time"]["phase"] == "held"
        gateway.put("time", pid=78)
        await gateway.say("started", {"member": "time", "pid": 78, "sequence": None})
        await take(events, 1)
        failures = iter(lambda: True, False)  # for ever
        with pytest.raises(RuntimeFailed, match="did not stop it within"):
            await runtime.stop(TIME, grace=0.0)
        await gateway.hang_up()
        await take(events, 1)
        await runtime.stop(TIME, grace=0.0)


async def test_a_start_that_a_gateway_refuses_because_another_takes_its_place_waits_for_that(state: Path) -> None:
    async with fake_gateway(state) as gateway:
        gateway.put("time", phase="held", pid=None)
        gateway.refusing = True
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(HostedRuntime(state, INSTANCE).start(TIME, 1))
            await until(lambda: gateway.asked.count("POST /members/time/start") >= 2)
            gateway.refusing = False
        assert starting.result().pid == 77


async def test_a_gateway_that_does_not_know_a_server_yet_reads_its_file_at_once_and_only_once(state: Path) -> None:
    async with fake_gateway(state) as gateway:
        gateway.coming.append("time")
        runtime = HostedRuntime(state, INSTANCE)
        assert (await runtime.start(TIME, 1)).pid == 77
        assert gateway.asked == ["POST /members/time/start", "POST /reload", "POST /members/time/start", "GET /members"]
        gateway.asked.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await runtime.start(replace(TIME, name="other"), 1)
        assert gateway.asked.count("POST /reload") == 1


async def test_a_nudge_says_which_members_the_gateway_serves_and_raises_when_it_is_away(state: Path) -> None:
    runtime = HostedRuntime(state, INSTANCE)
    with pytest.raises(RuntimeFailed):
        await runtime.nudge(["time"])
    async with fake_gateway(state) as gateway:
        gateway.put("time")
        gateway.put("last")
        assert await runtime.nudge(["time", "last"]) == ("time", "last")
        assert gateway.asked == ["POST /members/time/nudge", "POST /members/last/nudge"]


async def test_a_gateway_that_does_not_know_a_member_reads_its_file_again_once_before_that_is_said(state: Path) -> None:
    runtime = HostedRuntime(state, INSTANCE)
    async with fake_gateway(state) as gateway:
        gateway.put("time")
        gateway.coming.append("git")
        assert await runtime.nudge(["git", "time", "other"]) == ("git", "time")
        asked = [f"POST /members/{name}/nudge" for name in ("git", "time", "other")]
        assert gateway.asked == [*asked, "POST /reload", asked[0], asked[2]]


async def test_an_end_and_a_return_are_told_with_generations_that_follow_each_other(state: Path) -> None:
    async with fake_gateway(state) as gateway:
        gateway.put("time")
        runtime = HostedRuntime(state, INSTANCE)
        await runtime.start(TIME, 4)
        events = runtime.watch()
        assert await take(events, 1) == [Gone("hosted", back=True)]
        await gateway.say("exited", {"member": "time", "pid": 77, "code": 1, "signal": None, "error": "boom"})
        await gateway.say("started", {"member": "time", "pid": 78})
        assert await take(events, 2) == [Exited("time", 4, 1, None, detail="boom"), Appeared("time", 78)]
        runtime.number(Incarnation("time", 5, "f1", 78))
        await gateway.say("exited", {"member": "time", "pid": 78, "code": None, "signal": 9})
        assert await take(events, 1) == [Exited("time", 5, None, 9)]


async def test_a_late_word_of_an_end_is_told_with_the_number_of_the_child_that_ended(state: Path) -> None:
    async with fake_gateway(state) as gateway:
        gateway.put("time")
        gateway.sequence = 3
        runtime = HostedRuntime(state, INSTANCE)
        await runtime.start(TIME, 4)
        events = runtime.watch()
        assert await take(events, 1) == [Gone("hosted", back=True)]
        gateway.sequence = 5
        await runtime.stop(TIME, grace=1)
        gateway.start["pid"] = 78
        await runtime.start(TIME, 5)
        await gateway.say("exited", {"member": "time", "pid": 77, "code": 0, "signal": None, "sequence": 4})
        await gateway.say("exited", {"member": "time", "pid": 78, "code": 3, "signal": None, "sequence": 6})
        assert await take(events, 2) == [Exited("time", 4, 0, None), Exited("time", 5, 3, None)]


async def test_an_end_that_came_before_anything_was_heard_is_told_and_its_successor_is_a_generation_of_its_own(state: Path) -> None:
    async with fake_gateway(state) as gateway:
        gateway.put("time")
        runtime = HostedRuntime(state, INSTANCE)
        await runtime.start(TIME, 4)
        gateway.put("time", pid=78, last_exit={"code": 3, "signal": None}, error="boom")
        events = runtime.watch()
        assert await take(events, 3) == [
            Gone("hosted", back=True),
            Exited("time", 4, 3, None, detail="boom"),
            Appeared("time", 78),
        ]
        runtime.number(Incarnation("time", 5, "f1", 78))
        await gateway.say("exited", {"member": "time", "pid": 78, "code": 3, "signal": None})
        assert await take(events, 1) == [Exited("time", 5, 3, None)]


@pytest.mark.parametrize(
    "seen", [{"error": "exited with code 3"}, {"last_exit": {"code": 3, "signal": None}}], ids=["told", "seen"]
)
async def test_a_start_that_ended_at_once_is_followed_by_a_generation_of_its_own(state: Path, seen: dict[str, Any]) -> None:
    async with fake_gateway(state) as gateway:
        gateway.put("time", phase="held", pid=None)
        gateway.start = {"phase": "backoff", "pid": None, **seen}
        runtime = HostedRuntime(state, INSTANCE)
        events = runtime.watch()
        assert await take(events, 1) == [Gone("hosted", back=True)]
        with pytest.raises(RuntimeFailed, match="exited with code 3"):
            await runtime.start(TIME, 4)
        await gateway.say("started", {"member": "time", "pid": 78})
        assert await take(events, 1) == [Appeared("time", 78)]
        runtime.number(Incarnation("time", 5, "f1", 78))
        await gateway.say("exited", {"member": "time", "pid": 78, "code": 3, "signal": None})
        assert await take(events, 1) == [Exited("time", 5, 3, None)]


async def test_a_gateway_that_goes_and_comes_back_is_told_as_gone_and_back_with_its_new_children(state: Path) -> None:
    runtime = HostedRuntime(state, INSTANCE)
    events = runtime.watch()
    async with fake_gateway(state) as gateway:
        gateway.put("time", pid=5)
        assert await take(events, 2) == [Gone("hosted", back=True), Appeared("time", 5)]
    (gone,) = await take(events, 1)
    assert isinstance(gone, Gone)
    assert not gone.back
    async with fake_gateway(state) as gateway:
        gateway.put("time", pid=6)
        assert await take(events, 2) == [Gone("hosted", back=True), Appeared("time", 6)]


async def test_the_next_watchdog_adopts_what_the_gateway_still_runs_with_its_generation(state: Path) -> None:
    async with fake_gateway(state) as gateway:
        gateway.put("time", phase="held", pid=None)
        await HostedRuntime(state, INSTANCE).start(TIME, 9)
        (same,) = await HostedRuntime(state, INSTANCE).owned([TIME])
        assert (same.generation, same.pid, same.fingerprint) == (9, 77, "f1")
        gateway.put("time", pid=88)
        later = HostedRuntime(state, INSTANCE)
        (younger,) = await later.owned([TIME])  # begun unwatched, perhaps by a newer file: its fingerprint is not known
        assert (younger.generation, younger.pid, younger.fingerprint) == (None, 88, "")
        later.number(Incarnation("time", 10, "f1", 88))
        (known,) = await HostedRuntime(state, INSTANCE).owned([TIME])
        assert (known.generation, known.pid) == (10, 88)


async def test_a_hosted_server_began_when_its_process_did_however_late_that_is_heard(state: Path) -> None:
    """Its first lines were of no run, and one that waits for a login was ended as one that is only slow."""
    own, before = os.getpid(), time.time()
    async with fake_gateway(state) as gateway:
        gateway.put("time", pid=own)
        runtime = HostedRuntime(state, INSTANCE)
        begun = await runtime.start(TIME, 1)
        assert begun.started_at is not None
        assert begun.started_at < before
        (known,) = await HostedRuntime(state, INSTANCE).owned([TIME])
        assert known.started_at is not None
        assert abs(known.started_at - begun.started_at) < 1.0


async def test_without_a_gateway_nothing_is_owned_a_stop_is_done_and_a_start_fails_with_the_reason(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosted, "START_WAIT", 0.1)
    runtime = HostedRuntime(state, INSTANCE)
    assert await runtime.owned([TIME]) == ()
    await runtime.stop(TIME, grace=0.1)
    with pytest.raises(RuntimeFailed, match="not running in the gateway after"):
        await runtime.start(replace(TIME, start_grace=0.1), 1)


async def test_usage_is_that_of_the_child(state: Path) -> None:
    async with fake_gateway(state) as gateway:
        gateway.put("time", pid=os.getpid())
        runtime = HostedRuntime(state, INSTANCE)
        await runtime.owned([TIME])
        usage = runtime.usage("time")
        assert usage is not None
        assert usage.pid == os.getpid()
        assert usage.rss > 0


async def test_usage_is_that_of_the_new_child_when_a_reload_replaced_it_without_a_word_of_the_old_ones_end(state: Path) -> None:
    async with fake_gateway(state) as gateway:
        gateway.put("time", pid=os.getpid())
        runtime = HostedRuntime(state, INSTANCE)
        events = runtime.watch()
        assert await take(events, 2) == [Gone("hosted", back=True), Appeared("time", os.getpid())]
        assert getattr(runtime.usage("time"), "pid", None) == os.getpid()
        await gateway.say("started", {"member": "time", "pid": os.getppid()})
        assert await take(events, 1) == [Appeared("time", os.getppid())]
        assert getattr(runtime.usage("time"), "pid", None) in (None, os.getppid())
        await until(lambda: getattr(runtime.usage("time"), "pid", None) == os.getppid())


async def test_an_external_member_is_taken_to_live_and_never_touched(state: Path) -> None:
    runtime = ExternalRuntime(state, INSTANCE)
    spec = MemberSpec("legacy", "server", "external", ExternalMemberSpec())
    assert await runtime.owned([spec]) == ()
    assert (await runtime.start(spec, 3)).pid is None
    await runtime.stop(spec, grace=0)
    await runtime.close()
    assert [event async for event in runtime.watch()] == []
    assert runtime.usage("legacy") is None
