"""The gateway as a program: reload, stop, admin API, tokens, groups, health, and members by URL."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest

from mcpwatch.gateway import dialects
from mcpwatch.gateway.serve import program
from mcpwatch.gateway.settings import Settings
from mcpwatch.gateway.settings_reader import digest
from tests.gateway.program import ACCEPT, LIMIT, TINY, Gateway, alive, call, gateway, gone, http, request, sse, text
from tests.parts import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # real programs, started and killed


@pytest.fixture(scope="module")
def two() -> Iterator[Gateway]:
    """Two members, a group of one, tokens on one of them."""
    servers = {"a": TINY, "b": TINY | {"tools": {"allow": ["echo", "pid"], "rename": {"echo": "say"}}}}
    with gateway({"servers": servers, "groups": {"few": ["b"]}, "limits": {"sessions_per_token": 40}}) as running:
        running.wait({"a": "running", "b": "running"})
        yield running


async def test_all_members_together_have_their_tools_under_names_that_say_whose_they_are(two: Gateway) -> None:
    async with sse(f"{two.url}/sse") as client:
        assert (await client.hello())["result"]["serverInfo"]["name"] == "mcpwatch-gateway"
        names = {tool["name"] for tool in (await client.ask(request(1, "tools/list")))["result"]["tools"]}
        assert {"a__echo", "a__pid", "b__say", "b__pid"} <= names
        assert not {"b__echo", "b__die"} & names
        assert text(await client.ask(call(2, "b__say", word=1))) == {"word": 1}
        assert text(await client.ask(call(3, "a__pid"))) == two.members()["a"]["pid"]
        assert (await client.ask(call(4, "nobody__tool")))["error"]["code"] == -32602
        found = (await client.ask(request(5, "resources/read", {"uri": "tiny://one"})))["result"]["contents"]
        assert found[0]["text"] == "one"


async def test_a_group_has_only_its_members(two: Gateway) -> None:
    async with http(f"{two.url}/few/mcp") as client:
        await client.hello()
        names = {tool["name"] for tool in (await client.post(request(1, "tools/list"))).json()["result"]["tools"]}
        assert names == {"b__say", "b__pid"}


async def test_questions_find_their_way_through_a_group(two: Gateway) -> None:
    async with sse(f"{two.url}/sse") as client:
        await client.hello(sampling={})
        question = await client.ask(call(1, "a__ask", who="me"))
        assert question["params"]["who"] == "me"
        answer = await client.ask({"jsonrpc": "2.0", "id": question["id"], "result": {"said": 1}})
        assert text(answer)["result"] == {"said": 1}


async def test_the_stateless_wire_reaches_a_member_that_only_knows_sessions(two: Gateway) -> None:
    meta: dict[str, Any] = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }

    async def post(method: str, params: dict[str, Any], **headers: str) -> httpx.Response:
        lines = (
            ACCEPT
            | {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
            | {k.replace("_", "-"): v for k, v in headers.items()}
        )
        return await client.post(f"{two.url}/a/mcp", json=request(1, method, {"_meta": meta} | params), headers=lines)

    async with httpx.AsyncClient(timeout=LIMIT) as client:
        discovered = (await post("server/discover", {})).json()["result"]
        assert discovered["supportedVersions"] == ["2026-07-28"]
        assert discovered["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "tiny"
        listed = (await post("tools/list", {})).json()["result"]
        assert listed["resultType"] == "complete"
        assert listed["tools"]
        called = await post("tools/call", {"name": "echo", "arguments": {"x": 1}}, mcp_name="echo")
        assert text(called.json()) == {"x": 1}
        wrong = await post("tools/call", {"name": "echo"}, mcp_name="other")
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, -32020)
        removed = await post("ping", {})
        assert (removed.status_code, removed.json()["error"]["code"]) == (404, -32601)
        bare = await client.post(
            f"{two.url}/a/mcp", json=request(1, "tools/list"), headers=ACCEPT | {"mcp-protocol-version": "2026-07-28"}
        )
        assert (bare.status_code, bare.json()["error"]["code"]) == (400, -32602)


async def test_operators_can_ask_for_health_and_single_answers(two: Gateway) -> None:
    async with httpx.AsyncClient(timeout=LIMIT) as client:
        health = (await client.get(f"{two.url}/b/health")).json()
        assert health.keys() == {"status", "service", "version", "uptime", "tools_count"}
        assert (health["status"], health["service"], health["version"], health["tools_count"]) == ("healthy", "b", "1.2.3", 2)
        assert text((await client.post(f"{two.url}/a/rpc", json=call(1, "echo", x=1))).json()) == {"x": 1}
        assert (await client.get(f"{two.url}/healthz")).json()["status"] == "ok"
        ready = await client.get(f"{two.url}/readyz")
        assert (ready.status_code, ready.json()["status"], ready.json()["unhealthy"]) == (200, "ok", [])
        metrics = (await client.get(f"{two.url}/metrics")).text
        assert 'mcpwatch_gateway_member_up{member="a"} 1' in metrics


async def test_a_hung_member_is_neither_healthy_nor_shaken_hands_with(two: Gateway) -> None:
    pid = two.members()["a"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with anyio.fail_after(LIMIT):
            answered = True
            while answered:  # what it said a tenth of a second ago still counts
                async with sse(f"{two.url}/a/sse") as client:
                    await client.post(request(0, "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}}))
                    with anyio.move_on_after(0.5) as waited:
                        await client.next()
                    answered = not waited.cancelled_caught
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_the_admin_api_stops_starts_and_restarts_and_tells_of_it(two: Gateway) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    snapshot, done = threading.Event(), threading.Event()

    def listen() -> None:
        with (
            httpx.Client(transport=httpx.HTTPTransport(uds=str(two.socket)), timeout=LIMIT) as client,
            client.stream("GET", "http://admin/events") as events,
        ):
            name = ""
            for line in events.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    heard.append((name, json.loads(line[6:])))
                    snapshot.set()
                    if sum(name == "connected" for name, _ in heard) == 2:
                        done.set()
                        return

    thread = threading.Thread(target=listen)
    thread.start()
    assert await anyio.to_thread.run_sync(snapshot.wait, LIMIT)
    assert heard[0][0] == "snapshot"
    assert {member["name"] for member in heard[0][1]["members"]} == {"a", "b"}
    old = two.members()["b"]["pid"]
    assert two.admin("POST", "/members/b/stop").status_code == 200
    await anyio.to_thread.run_sync(gone, old)
    assert two.members()["b"]["phase"] == "held"
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{two.url}/b/sse")).status_code == 503
    two.admin("POST", "/members/b/start")
    await anyio.to_thread.run_sync(two.wait, {"b": "running"})
    os.kill(two.members()["b"]["pid"], signal.SIGKILL)
    assert await anyio.to_thread.run_sync(done.wait, LIMIT)
    thread.join(LIMIT)
    names = [name for name, _ in heard]
    assert names[1:] == ["held", "exited", "started", "connected", "exited", "started", "connected"]
    killed = heard[5][1]
    assert (killed["member"], killed["signal"], killed["code"]) == ("b", 9, None)
    assert two.admin("POST", "/members/nobody/stop").status_code == 404


async def test_reload_touches_only_what_changed_and_a_bad_file_changes_nothing() -> None:
    with gateway({"servers": {"stays": TINY, "changes": TINY, "goes": TINY}}) as running:
        running.wait({"stays": "running", "changes": "running", "goes": "running"})
        before = running.members()
        async with sse(f"{running.url}/stays/sse") as client, sse(f"{running.url}/sse") as everything:
            await client.hello()
            await everything.hello()
            running.write(
                {"servers": {"stays": TINY | {"restart": {"first": 2}}, "changes": TINY | {"env": {"X": "1"}}, "comes": TINY}}
            )
            assert running.admin("POST", "/reload").status_code == 200
            running.wait({"stays": "running", "changes": "running", "comes": "running"})
            after = running.members()
            assert after.keys() == {"stays", "changes", "comes"}
            assert after["stays"]["pid"] == before["stays"]["pid"]
            assert after["changes"]["pid"] != before["changes"]["pid"]
            gone(before["goes"]["pid"])
            assert text(await client.ask(call(1, "pid"))) == before["stays"]["pid"]
            assert (await everything.next())["method"].endswith("/list_changed")
            running.write({"servers": {"bad name": {}, "x": {"command": "a", "url": "b"}, "y": {"command": 5}}})
            refused = running.admin("POST", "/reload")
            assert refused.status_code == 422
            assert len(refused.json()["faults"]) >= 3
            assert text(await client.ask(call(2, "pid"))) == before["stays"]["pid"]


async def test_a_changed_file_is_noticed_without_being_told() -> None:
    with gateway({"servers": {"one": TINY}}) as running:
        running.wait({"one": "running"})
        running.write({"servers": {"one": TINY, "two": TINY}})
        running.wait({"one": "running", "two": "running"})


async def test_what_nobody_foresaw_in_one_file_ends_no_reading_of_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "LOOK_EVERY", 0.01)
    file, good, again = tmp_path / "gateway.json", dialects.parse({"servers": {}}), asyncio.Event()
    file.write_text("first")

    def read() -> Settings:
        if file.read_text() == "bad":
            failed.set()
            raise RuntimeError("unforeseen")
        again.set()
        return good

    failed = asyncio.Event()
    running = program.GatewayProgram(good, read, file, None, None)
    looking = asyncio.get_running_loop().create_task(cast("Any", running)._look(file))
    await anyio.lowlevel.checkpoint()  # it has seen the first file
    with anyio.fail_after(LIMIT):
        file.write_text("bad")
        await failed.wait()
        file.write_text("good again")
        await again.wait()
    assert not looking.done()
    assert "unforeseen" in caplog.text
    looking.cancel()


GATEWAY_THAT_FAILS = """
import sys
from mcpwatch.gateway.serve.app import App
serve = App.serve
def fails(self, settings, members):
    if members:
        raise RuntimeError("unforeseen")
    serve(self, settings, members)
App.serve = fails
from mcpwatch.gateway.__main__ import main
sys.exit(main())
"""


def test_a_gateway_whose_start_fails_for_a_reason_that_was_not_foreseen_says_why_and_ends(tmp_path: Path) -> None:
    file = tmp_path / "gateway.json"
    file.write_text(json.dumps({"listen": "127.0.0.1:0", "servers": {"tiny": TINY}}))
    ended = subprocess.run(
        [sys.executable, "-c", GATEWAY_THAT_FAILS, "--config", str(file)], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1, ended.stderr
    assert "the gateway cannot go on" in ended.stderr
    assert "unforeseen" in ended.stderr


async def test_a_signal_reads_the_file_again_and_touches_what_changed_alone() -> None:
    with gateway({"servers": {"one": TINY}}) as running:
        running.wait({"one": "running"})
        before = running.members()["one"]["pid"]
        async with sse(f"{running.url}/one/sse") as client:
            await client.hello()
            running.write({"servers": {"one": TINY, "two": TINY}})
            running.process.send_signal(signal.SIGHUP)
            running.wait({"one": "running", "two": "running"})
            assert text(await client.ask(call(1, "pid"))) == before


async def test_tokens_are_needed_where_they_are_set_and_sessions_belong_to_one() -> None:
    servers = {"open": TINY, "own": TINY | {"tokens": ["third"]}}
    with gateway({"tokens": ["first"], "token_digests": [digest("second")], "servers": servers}) as running:
        running.wait({"open": "running", "own": "running"})
        first, second, third = ({"authorization": f"Bearer {token}"} for token in ("first", "second", "third"))
        async with httpx.AsyncClient(timeout=LIMIT) as client:
            for headers, path, status in [
                ({}, "/open/mcp", 401), ({"authorization": "Bearer wrong"}, "/open/mcp", 401), (first, "/open/mcp", 200),
                (second, "/open/mcp", 200), (third, "/open/mcp", 401), (first, "/own/mcp", 401), (third, "/own/mcp", 200),
                (first, "/mcp", 401), (third, "/mcp", 401),
            ]:  # fmt: skip
                answer = await client.post(running.url + path, json=request(1, "initialize", {}), headers=ACCEPT | headers)
                assert answer.status_code == status, (path, headers)
            mine = await client.post(f"{running.url}/open/mcp", json=request(1, "initialize", {}), headers=ACCEPT | first)
            stolen = ACCEPT | second | {"mcp-session-id": mine.headers["mcp-session-id"]}
            assert (await client.post(f"{running.url}/open/mcp", json=request(2, "ping"), headers=stolen)).status_code == 404
        running.stop()
        log = (running.file.parent / "log").read_text()
        assert not any(token in log for token in ("first", "second", "third"))


async def test_a_token_holds_only_so_many_sessions(two: Gateway) -> None:
    async with httpx.AsyncClient(timeout=LIMIT) as client:
        seen: set[int] = set()
        held: list[str] = []
        for number in range(42):
            answer = await client.post(f"{two.url}/a/mcp", json=request(number, "initialize", {}), headers=ACCEPT)
            seen.add(answer.status_code)
            held += [answer.headers["mcp-session-id"]] if answer.status_code == 200 else []
        assert seen == {200, 429}
        for session in held:
            await client.delete(f"{two.url}/a/mcp", headers={"mcp-session-id": session})


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["sse", "mcp"])
async def test_a_member_by_url_is_served_on_every_wire_and_found_again_after_its_restart(wire: str) -> None:
    with gateway({"servers": {"tiny": TINY}}) as behind:
        behind.wait({"tiny": "running"})
        with gateway({"servers": {"far": {"url": f"{behind.url}/tiny/{wire}"}}}) as front:
            front.wait({"far": "running"})
            assert front.members()["far"]["kind"] == {"sse": "sse", "mcp": "http"}[wire]
            async with sse(f"{front.url}/far/sse") as client, http(f"{front.url}/far/mcp") as other:
                await client.hello(sampling={})
                await other.hello()
                question = await client.ask(call(1, "ask", who="x"))
                answer = await client.ask({"jsonrpc": "2.0", "id": question["id"], "result": {"said": 1}})
                assert text(answer)["result"] == {"said": 1}
                assert text((await other.post(call(1, "echo", x=1))).json()) == {"x": 1}
                first = behind.members()["tiny"]["pid"]
                os.kill(first, signal.SIGKILL)
                gone(first)  # one that was asleep in its read may still take what comes before it is scheduled to die
                assert text((await other.post(call(2, "pid"))).json()) != first
            async with httpx.AsyncClient(timeout=LIMIT) as client:
                port = behind.url.rpartition(":")[2]
                behind.stop()
                front.wait({"far": "backoff"})
                down = await client.post(f"{front.url}/far/mcp", json=request(1, "initialize", {}), headers=ACCEPT)
                assert (down.status_code, down.json()["error"]["data"]["member"]) == (503, "far")
                with gateway({"servers": {"tiny": TINY}, "listen": f"127.0.0.1:{port}"}) as again:
                    again.wait({"tiny": "running"})
                    front.wait({"far": "running"})
                    assert (await client.post(f"{front.url}/far/rpc", json=call(1, "pid"))).status_code == 200


def test_a_nudge_connects_at_once_what_waits_for_its_next_try_and_leaves_the_rest_alone() -> None:
    with gateway({"servers": {"tiny": TINY}}) as behind:
        behind.wait({"tiny": "running"})
        port = behind.url.rpartition(":")[2]
        late = {"url": f"{behind.url}/tiny/sse", "restart": {"first": 600, "max": 600}}
        with gateway({"servers": {"far": late, "near": TINY}}) as front:
            front.wait({"far": "running", "near": "running"})
            near = front.members()["near"]["generation"]
            behind.stop()
            front.wait({"far": "backoff"})
            with gateway({"servers": {"tiny": TINY}, "listen": f"127.0.0.1:{port}"}) as again:
                again.wait({"tiny": "running"})
                for name in ("far", "near"):
                    assert front.admin("POST", f"/members/{name}/nudge").status_code == 200
                front.wait({"far": "running", "near": "running"})
                assert front.members()["near"]["generation"] == near


@pytest.mark.slow
async def test_a_session_that_a_url_member_forgot_is_made_again_without_the_client_noticing() -> None:
    with gateway({"servers": {"tiny": TINY}}) as behind:
        behind.wait({"tiny": "running"})
        with gateway({"servers": {"far": {"url": f"{behind.url}/tiny/mcp"}}}) as front:
            front.wait({"far": "running"})
            async with http(f"{front.url}/far/mcp") as client:
                await client.hello()
                behind.write({"servers": {"tiny": TINY | {"env": {"X": "1"}}}})
                assert behind.admin("POST", "/reload").status_code == 200
                behind.wait({"tiny": "running"})
                assert text((await client.post(call(1, "echo", x=1))).json()) == {"x": 1}


@pytest.mark.slow
def test_sigterm_ends_everything_even_children_that_do_not_want_to() -> None:
    stubborn = TINY | {"args": [*TINY["args"], "--deaf-to-end"]}
    with gateway({"servers": {"tiny": TINY, "stubborn": stubborn}}) as running:
        running.wait({"tiny": "running", "stubborn": "running"})
        pids = [member["pid"] for member in running.members().values()]
        assert running.stop() == 0
        assert not any(alive(pid) for pid in pids)


def test_a_killed_gateway_leaves_no_child_behind() -> None:
    stubborn = TINY | {"args": [*TINY["args"], "--deaf-to-end"]}
    with gateway({"servers": {"tiny": TINY, "stubborn": stubborn}}) as running:
        running.wait({"tiny": "running", "stubborn": "running"})
        pids = [member["pid"] for member in running.members().values()]
        running.stop(signal.SIGKILL)
        for pid in pids:
            gone(pid)


def test_the_first_death_costs_nothing_and_the_next_one_what_the_file_says() -> None:
    with gateway({"servers": {"tiny": TINY | {"restart": {"first": 600, "max": 600}}}}) as running:
        running.wait({"tiny": "running"})
        first = running.members()["tiny"]["pid"]
        os.kill(first, signal.SIGKILL)
        gone(first)
        with httpx.Client(timeout=LIMIT) as client:
            assert client.post(f"{running.url}/tiny/rpc", json=call(1, "echo", x=1)).status_code == 200
            assert running.members()["tiny"]["generation"] == 2
            os.kill(running.members()["tiny"]["pid"], signal.SIGKILL)
            running.wait({"tiny": "backoff"})
            down = client.post(f"{running.url}/tiny/rpc", json=call(2, "echo", x=1))
            assert (down.status_code, down.json()["error"]["data"]["member"]) == (503, "tiny")
            assert 300 < int(down.headers["retry-after"]) <= 720
            running.admin("POST", "/members/tiny/start")
            running.wait({"tiny": "running"})


def test_a_member_that_dies_at_start_backs_off_and_leaves_the_others_alone() -> None:
    with gateway({"servers": {"tiny": TINY, "dies": TINY | {"args": [*TINY["args"], "--dies-at-start"]}}}) as running:
        running.wait({"tiny": "running", "dies": "backoff"})
        deadline = time.monotonic() + 20
        while (dying := running.members()["dies"])["last_exit"] is None and time.monotonic() < deadline:
            continue  # between two starts nothing has ended yet
        assert dying["last_exit"] == {"code": 7, "signal": None}
        assert "exited with code 7" in dying["error"]


async def test_a_bridge_serves_one_command_at_the_root() -> None:
    command = [TINY["command"], *TINY["args"]]
    code = f"from mcpwatch.gateway.serve.entry import run_bridge; run_bridge({command!r}, listen='127.0.0.1:0')"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, cwd=ROOT)  # noqa: ASYNC220
    try:
        assert process.stderr is not None
        line = await anyio.to_thread.run_sync(process.stderr.readline)
        port = line.decode().partition("listening on 127.0.0.1:")[2].partition(",")[0]
        async with sse(f"http://127.0.0.1:{port}/sse") as client, http(f"http://127.0.0.1:{port}/mcp") as other:
            await client.hello()
            await other.hello()
            assert text(await client.ask(call(1, "echo", x=1))) == {"x": 1}
            assert text((await other.post(call(1, "echo", x=2))).json()) == {"x": 2}
    finally:
        process.terminate()
        assert process.wait(LIMIT) == 0
        assert process.stderr is not None
        process.stderr.close()


def test_a_bad_file_is_explained_and_nothing_is_started(tmp_path: Any) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"version": 1, "servers": {"a b": {"command": "x"}, "c": {}}, "limits": {"bogus": 1}}))
    done = subprocess.run(
        [sys.executable, "-m", "mcpwatch.gateway", "--config", str(file)], capture_output=True, text=True, cwd=ROOT, timeout=LIMIT
    )
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 3
    assert "Traceback" not in done.stderr
