"""The prober itself: bounded, closed cleanly, never a leak, never a secret told."""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import CoroutineType
from typing import Any

import pytest

from mcpwatch.checks import Prober, probe, timeline
from mcpwatch.http_client import names
from mcpwatch.http_client.dial import connect
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.json import plain
from mcpwatch.model.probe import Canary, Expect, Outcome, Symptom, Target
from mcpwatch.model.spec import CheckSpec
from tests.checks.until import until
from tests.parts import ROOT
from tests.servers.faulty import faulty

CHECK = CheckSpec("mcp", timeout=5)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.anyio
async def test_a_dead_port_is_refused_at_once() -> None:
    async with faulty() as server:
        url = server.url()
    result = await probe(url, timeout=5)
    assert (result.symptom_text, str(result.stage)) == ("refused", "connect")
    assert result.seconds < 1


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/", "http://", "http://no such host/", "http://[::1/"])
@pytest.mark.anyio
async def test_what_is_no_url_is_unresolved(url: str) -> None:
    result = await probe(url, timeout=5)
    assert result.symptom_text == "unresolved", result


@pytest.mark.anyio
async def test_a_name_that_does_not_resolve_is_told_in_the_stage_resolve() -> None:
    result = await probe("http://nobody.invalid/sse", timeout=5)
    assert (result.symptom_text, str(result.stage)) == ("unresolved", "resolve")


def unknown(host: str) -> tuple[str, ...]:
    raise socket.gaierror(-2, f"Name or service not known: {host}")


@pytest.mark.anyio
async def test_a_name_that_was_well_is_looked_up_anew_once_it_is_said_not_to_resolve_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def ask(host: str) -> tuple[str, ...]:
        asked.append(host)
        return ("127.0.0.1",) if host == "well.lan" and len(asked) != 3 else unknown(host)

    monkeypatch.setattr(names.NAMES, "_ask", ask)
    async with faulty() as server:
        well = Target(server.url("/mcp").replace("127.0.0.1", "well.lan"), headers=(("Host", "127.0.0.1"),))
        prober = Prober()
        for target in (well, well, Target("http://gone.lan/mcp"), well):
            await prober.probe(CHECK, target, "direct")
        assert asked == ["well.lan", "gone.lan"]
        for target in (Target("http://well.lan:1/mcp"), well):
            await prober.probe(CHECK, target, "direct")
        await prober.close()
    assert asked == ["well.lan", "gone.lan", "well.lan", "well.lan"]


@pytest.mark.anyio
async def test_a_slow_name_server_is_told_as_one_and_its_late_answer_serves_the_next_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    go, asked = threading.Event(), list[str]()

    def ask(host: str) -> tuple[str, ...]:
        asked.append(host)
        return ("127.0.0.1",) if go.wait(10) else unknown(host)

    monkeypatch.setattr(names.NAMES, "_ask", ask)
    monkeypatch.setattr(names, "SLOW", 0.0)
    monkeypatch.setattr(timeline, "CONNECT_MIN", 0.1)
    async with faulty() as server:
        slow = Target(server.url("/mcp").replace("127.0.0.1", "slow.lan"), headers=(("Host", "127.0.0.1"),))
        prober = Prober()
        late = await prober.probe(replace(CHECK, timeout=0.2), slow, "direct")
        go.set()
        await until(lambda: not names.NAMES.running)
        well = await prober.probe(CHECK, slow, "direct")
        await prober.close()
    names.NAMES.forget("slow.lan", 80)
    assert (late.symptom, str(late.stage)) == (Symptom.UNRESOLVED, "resolve")
    assert late.message == "the name slow.lan does not resolve within 0.1 s: its name server is slow, or does not answer"
    assert (well.outcome, asked) == (Outcome.SUCCESS, ["slow.lan"])


@pytest.mark.sample(1)
@pytest.mark.parametrize("wire", ["sse", "http"])
@pytest.mark.anyio
async def test_a_hundred_probes_leave_no_socket_no_stream_and_no_task(wire: str) -> None:
    check = CheckSpec("mcp", timeout=30)  # a hundred at once, on a machine that is busy with other things
    async with faulty() as server:
        prober = Prober(concurrent=50)
        target = Target(server.url("/sse" if wire == "sse" else "/mcp"))
        await prober.probe(check, target, "direct")
        tasks, files = len(asyncio.all_tasks()), open_files()
        results = await asyncio.gather(*(prober.probe(check, target, "direct") for _ in range(100)))
        assert {result.outcome for result in results} == {Outcome.SUCCESS}
        await until(lambda: not server.open_streams and len(asyncio.all_tasks()) <= tasks + 4)
        await prober.close()
        gc.collect()
        assert open_files() <= files + 4


@pytest.mark.parametrize("path", ["/sse", "/mcp"])
@pytest.mark.anyio
async def test_a_probe_leaves_no_generator_for_the_loop_to_end(path: str) -> None:
    """Each would cost a task, a wake-up and two system calls."""
    made: list[object] = []

    def make(loop: asyncio.AbstractEventLoop, coro: Any) -> asyncio.Task[Any]:
        made.append(coro)
        return asyncio.Task(coro, loop=loop)

    async with faulty() as server:
        asyncio.get_running_loop().set_task_factory(make)
        result = await probe(server.url(path), timeout=5)
        assert result.outcome is Outcome.SUCCESS, result
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        asyncio.get_running_loop().set_task_factory(None)
    assert [coro for coro in made if not isinstance(coro, CoroutineType)] == []


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_hung_server_costs_one_deadline_and_leaves_no_socket() -> None:
    async with faulty("silent") as server:
        files = open_files()
        prober = Prober()
        check = CheckSpec("mcp", timeout=2)
        results = await asyncio.gather(*(prober.probe(check, Target(server.url()), "direct") for _ in range(20)))
        assert {result.symptom_text for result in results} == {"timeout@open"}
        assert max(result.seconds for result in results) < 20
        assert prober.running == 0
        assert open_files() <= files + 25


@pytest.mark.anyio
async def test_closing_the_prober_ends_running_probes_as_unknown() -> None:
    async with faulty("silent") as server:
        prober = Prober()
        running = [
            asyncio.create_task(prober.probe(CheckSpec("mcp", timeout=30), Target(server.url()), "direct")) for _ in range(5)
        ]
        await until(lambda: len(server.requests) == 5)
        await prober.close()
        async with asyncio.timeout(2):
            results = await asyncio.gather(*running)
        assert {result.outcome for result in results} == {Outcome.UNKNOWN}
        late = await prober.probe(CHECK, Target(server.url()), "direct")
        assert late.outcome is Outcome.UNKNOWN


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_session_whose_deletion_hangs_costs_no_more_than_the_timeout() -> None:
    async with faulty("delete_hangs") as server:
        result = await probe(server.url("/mcp"), transport="http", timeout=1)
        assert result.outcome is Outcome.SUCCESS
        assert result.seconds < 1
        prober = Prober()
        started = asyncio.get_running_loop().time()
        await prober.probe(CheckSpec("mcp", timeout=30), Target(server.url("/mcp"), "http"), "direct")
        assert asyncio.get_running_loop().time() - started < 10
        task = asyncio.create_task(prober.probe(CHECK, Target(server.url("/mcp"), "http"), "direct"))
        await until(lambda: len(server.seen("DELETE")) == 3)
        await prober.close()
        assert (await task).outcome in (Outcome.SUCCESS, Outcome.UNKNOWN)


@pytest.mark.anyio
async def test_a_timeout_of_any_length_ends_in_a_named_symptom() -> None:
    async with faulty("no_reply", "server/discover") as server:
        prober = Prober()
        for timeout in (0.001, 0.003, 0.01, 0.03, 0.1):
            for path in ("/sse", "/mcp"):
                prober.forget(Target(server.url(path)))
                result = await prober.probe(CheckSpec("mcp", timeout=timeout), Target(server.url(path)), "direct")
                assert result.outcome in (Outcome.SUCCESS, Outcome.FAILURE), result
                assert result.symptom is None or result.stage is not None, result


@pytest.mark.anyio
async def test_a_cancelled_probe_is_cancelled_and_drops_its_stream() -> None:
    async with faulty("no_endpoint") as server:
        prober = Prober()
        task = asyncio.create_task(prober.probe(CheckSpec("mcp", timeout=30), Target(server.url()), "direct"))
        await until(lambda: bool(server.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert prober.running == 0


@pytest.mark.anyio
async def test_no_more_probes_run_against_one_host_than_allowed() -> None:
    async with faulty("silent") as server:
        prober = Prober(per_host=2)
        check = CheckSpec("mcp", timeout=0.15)
        await asyncio.gather(*(prober.probe(check, Target(server.url()), "direct") for _ in range(6)))
        assert prober.most_running == 2


@pytest.mark.anyio
async def test_a_broken_prober_says_unknown_and_never_raises() -> None:
    async with faulty() as server:
        prober = Prober()
        broken = CheckSpec("mcp", timeout=5, canary=Canary("echo", "not json"))
        result = await prober.probe(broken, Target(server.url()), "direct")
        assert result.outcome is Outcome.UNKNOWN
        assert "arguments" in result.message
        strange = await prober.probe(CheckSpec("x", kind="nobody-knows", timeout=5), Target(server.url()), "direct")
        assert strange.outcome is Outcome.UNKNOWN


@pytest.mark.anyio
async def test_a_token_that_the_server_repeats_is_not_told_again() -> None:
    token = "s3cr3t-t0ken-value"
    async with faulty(token=token) as server:
        result = await probe(
            server.url(), token=token, tool="echo", arguments={"text": f"you sent {token}"}, expect=Expect(contains="x-y-z")
        )
        assert result.symptom_text == "unexpected"
        assert "you sent ***" in result.said
        assert token not in str(plain(result))
        assert token not in repr(Target(server.url(), token=token))


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["", "foreign", "redirect", "not_mounted", "prefix", "no_endpoint", "nonsense"])
async def test_a_key_in_the_url_is_never_told(fault: str) -> None:
    async with faulty(fault) as server:
        url = server.url("/sse?key=s3cr3t-in-url").replace("://", "://user:passw0rd@")
        result = await probe(url, timeout=0.3 if fault == "no_endpoint" else 5)
        broken = await probe(url.replace("127.0.0.1", "no such host"))
    for told in (result, broken):
        assert "s3cr3t-in-url" not in str(plain(told)), told
        assert "passw0rd" not in str(plain(told)), told


@pytest.mark.anyio
async def test_the_token_is_sent_and_a_wrong_one_is_an_auth_symptom() -> None:
    async with faulty(token="right") as server:
        good = await probe(server.url(), token="right")
        bad = await probe(server.url(), token="wrong")
    assert (good.outcome, bad.symptom_text) == (Outcome.SUCCESS, "auth")


@pytest.mark.anyio
async def test_the_host_that_clients_use_is_sent_and_may_be_named_by_the_endpoint_event() -> None:
    async with faulty("foreign") as server:
        prober = Prober()
        target = Target(server.url(), "sse", public_url="http://0.0.0.0:3001/sse")
        result = await prober.probe(CHECK, target, "route")
        assert result.outcome is Outcome.SUCCESS, result
        assert {request.headers["host"] for request in server.requests} == {"0.0.0.0:3001"}


def test_importing_the_room_costs_no_http_client() -> None:
    rooms = "mcpwatch.checks, mcpwatch.checks.symptoms, mcpwatch.checks.render"
    code = f"import sys, {rooms}; print(*({{'httpx', 'pydantic'}} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert told.stdout.split() == []


@pytest.mark.anyio
async def test_the_second_address_of_a_host_is_tried_when_the_first_refuses() -> None:
    async with faulty() as server:
        line = await connect("host", server.port, ("127.0.0.9", "127.0.0.1"))
        assert line.reusable
        line.abort()
        with pytest.raises(HttpFailed, match="refuses"):
            await connect("host", server.port, ("127.0.0.8", "127.0.0.9"))


def test_the_examples_of_the_how_to_are_python_and_use_what_exists() -> None:
    text = (ROOT / "docs/how-to/pytest.md").read_text()
    blocks = text.split("```python\n")[1:]
    assert len(blocks) == 3
    gc.collect()  # what other tests left may tell of itself in the middle of a parse, and for that CPython 3.11 parses too
    for block in blocks:
        tree = ast.parse(block.partition("```")[0], mode="exec") if "await asyncio" not in block else None
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names)
