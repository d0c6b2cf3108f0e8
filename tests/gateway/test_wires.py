"""The legacy and the session wire through a real gateway with a real stdio server behind it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import anyio
import httpx
import pytest

from tests.gateway.program import ACCEPT, TINY, Gateway, Http, call, gateway, gone, http, messages, request, sse, text

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def served() -> Iterator[Gateway]:
    servers = {
        "tiny": TINY | {"restart": {"first": 0}},
        "strict": TINY | {"sessions": "shared"},
        "alone": TINY | {"sessions": "isolated"},
        "ruled": TINY | {"tools": {"block": ["die"], "rename": {"echo": "say"}}},
        "absent": {"command": "no-such-command-anywhere"},
    }
    with gateway({"servers": servers, "limits": {"body": 100_000}}) as running:
        running.wait({"tiny": "running", "strict": "running", "alone": "running", "ruled": "running", "absent": "failed"})
        yield running


@pytest.mark.parametrize("path", ["/tiny/sse", "/tiny/sse/", "/servers/tiny/sse"])
async def test_the_legacy_wire_is_served_with_and_without_slash(served: Gateway, path: str) -> None:
    async with sse(served.url + path) as client:
        hello = await client.hello()
        assert hello["result"]["serverInfo"] == {"name": "tiny", "version": "1.2.3"}
        assert text(await client.ask(call("a", "echo", word="hi"))) == {"word": "hi"}


@pytest.mark.parametrize("path", ["/tiny/mcp", "/tiny/mcp/"])
async def test_streamable_http_is_served_with_and_without_slash(served: Gateway, path: str) -> None:
    async with http(served.url + path) as client:
        assert (await client.hello()).json()["result"]["serverInfo"]["name"] == "tiny"
        answer = await client.post(call(5, "echo", word="hi"))
        assert answer.headers["content-type"] == "application/json"
        assert text(answer.json()) == {"word": "hi"}


async def test_every_byte_of_a_message_but_its_id_arrives(served: Gateway) -> None:
    async with sse(f"{served.url}/tiny/sse") as client:
        await client.hello()
        sent = (
            b'{"jsonrpc":"2.0","x-extra":[1.50,1E3],"id":"\\u00e9",'
            b'"method":"tools/call","params":{"name":"raw", "n":12345678901234567890123}}'
        )
        await client.post(sent)
        answer = await client.next()
        assert answer["id"] == "é"
        came = text(answer).encode()
        number = json.loads(came)["id"]
        assert came == sent.replace(b'"\\u00e9"', str(number).encode()) + b"\n"


async def test_unknown_fields_of_an_answer_keep_their_bytes(served: Gateway) -> None:
    async with sse(f"{served.url}/alone/sse") as client:
        await client.post(request(0, "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}}))
        assert '"x-unknown":1.5' in await client.raw()


async def test_sessions_with_the_same_ids_get_their_own_answers(served: Gateway) -> None:
    async def one(who: str) -> None:
        async with sse(f"{served.url}/tiny/sse") as client:
            await client.hello()
            for number in range(5):
                assert text(await client.ask(call(number, "echo", who=who, number=number))) == {"who": who, "number": number}

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(one, f"client {number}")


async def test_progress_reaches_the_session_that_asked_under_its_own_token(served: Gateway) -> None:
    async with sse(f"{served.url}/tiny/sse") as asking, sse(f"{served.url}/tiny/sse") as other:
        await asking.hello()
        await other.hello()
        await asking.post(request(1, "tools/call", {"name": "progress", "_meta": {"progressToken": "mine"}}))
        came = [await asking.next() for _ in range(3)]
        assert [item["params"]["progressToken"] for item in came[:2]] == ["mine", "mine"]
        assert (await other.ask(request(2, "ping")))["id"] == 2, "the other session must see nothing before its own answer"


async def test_progress_turns_the_answer_of_a_post_into_a_stream(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await client.hello()
        answer = await client.post(request(1, "tools/call", {"name": "progress", "_meta": {"progressToken": 4}}))
        assert [item.get("method", "answer") for item in messages(answer)] == ["notifications/progress"] * 2 + ["answer"]


async def test_a_question_reaches_the_session_that_caused_it(served: Gateway) -> None:
    async def one(who: str) -> None:
        async with sse(f"{served.url}/tiny/sse") as client:
            await client.hello(sampling={})
            for _ in range(3):
                question = await client.ask(call("same id", "ask", who=who))
                assert question["method"] == "sampling/createMessage"
                assert question["params"]["who"] == who
                answer = await client.ask({"jsonrpc": "2.0", "id": question["id"], "result": {"said": who}})
                assert text(answer)["result"] == {"said": who}

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(one, f"client {number}")


async def test_on_a_shared_member_a_question_waits_until_only_one_session_can_have_caused_it(served: Gateway) -> None:
    async with sse(f"{served.url}/strict/sse") as asking, sse(f"{served.url}/strict/sse") as other:
        await asking.hello(sampling={})
        await other.hello(sampling={})
        await other.post(call(1, "sleep", seconds=0.3))
        await asking.post(call(2, "ask", who="asking"))
        assert text(await other.next()) == "slept"
        question = await asking.next()
        assert question["params"]["who"] == "asking"
        assert text(await asking.ask({"jsonrpc": "2.0", "id": question["id"], "result": {"ok": 1}}))["result"] == {"ok": 1}


async def test_a_client_that_cannot_be_asked_is_not_asked(served: Gateway) -> None:
    async with sse(f"{served.url}/strict/sse") as client:
        await client.hello()
        answer = text(await client.ask(call(1, "ask")))
        assert "does not support sampling" in answer["error"]["message"]


async def test_members_see_the_capabilities_of_the_client_they_serve(served: Gateway) -> None:
    async with sse(f"{served.url}/tiny/sse") as client:
        await client.hello(sampling={}, roots={})
        assert text(await client.ask(call(1, "hello")))["clientInfo"] == {"name": "test", "version": "1"}
        assert set(text(await client.ask(call(2, "hello")))["capabilities"]) == {"sampling", "roots"}


async def test_an_isolated_session_has_a_process_of_its_own_that_ends_with_it(served: Gateway) -> None:
    async with sse(f"{served.url}/alone/sse") as one, sse(f"{served.url}/alone/sse") as two:
        await one.hello()
        await two.hello()
        first, second = text(await one.ask(call(1, "pid"))), text(await two.ask(call(1, "pid")))
        assert first != second != served.members()["alone"]["pid"]
    await anyio.to_thread.run_sync(gone, first)
    await anyio.to_thread.run_sync(gone, second)


async def test_log_lines_reach_the_session_whose_call_made_them(served: Gateway) -> None:
    async with sse(f"{served.url}/tiny/sse") as client:
        await client.hello()
        await client.post(call(1, "log"))
        assert (await client.next())["method"] == "notifications/message"
        assert (await client.next())["id"] == 1


async def test_a_down_member_is_said_to_be_down_by_name(served: Gateway) -> None:
    async with httpx.AsyncClient() as client:
        opened = await client.get(f"{served.url}/absent/sse")
        posted = await client.post(f"{served.url}/absent/mcp", json=request(7, "initialize", {}), headers=ACCEPT)
        for answer in (opened, posted):
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["data"]["member"] == "absent"
        assert posted.json()["id"] == 7


async def test_a_killed_member_answers_the_next_call_of_the_same_session(served: Gateway) -> None:
    async with sse(f"{served.url}/tiny/sse") as client:
        await client.hello()
        for _ in range(3):
            before = text(await client.ask(call(1, "pid")))
            os.kill(before, signal.SIGKILL)
            gone(before)  # one that was asleep in its read may still take what comes before it is scheduled to die
            after = text(await client.ask(call(2, "pid")))
            assert after != before


async def test_a_call_in_flight_on_a_dying_member_fails_at_once_and_says_why(served: Gateway) -> None:
    async with sse(f"{served.url}/tiny/sse") as client:
        await client.hello()
        await client.post(call(1, "sleep", seconds=60))
        await client.post(call(2, "die"))
        failed = {answer["id"]: answer["error"] for answer in (await client.next(), await client.next())}
        assert set(failed) == {1, 2}
        assert failed[1]["data"] == {"member": "tiny", "reason": "killed by signal 9", "possiblyExecuted": True}


async def test_a_dead_isolated_member_is_greeted_again_with_the_clients_own_words(served: Gateway) -> None:
    async with sse(f"{served.url}/alone/sse") as client:
        await client.hello(roots={})
        before = text(await client.ask(call(1, "pid")))
        os.kill(before, signal.SIGKILL)
        gone(before)
        assert text(await client.ask(call(2, "hello")))["capabilities"] == {"roots": {}}


async def test_noise_on_stdout_is_counted_and_harms_nothing(served: Gateway) -> None:
    before = served.members()["tiny"]["stdout_pollution"]
    async with sse(f"{served.url}/tiny/sse") as client:
        await client.hello()
        assert text(await client.ask(call(1, "noise"))) == "made noise"
    assert served.members()["tiny"]["stdout_pollution"] == before + 1


async def test_stderr_goes_to_its_file_and_never_blocks_a_member(served: Gateway) -> None:
    async with sse(f"{served.url}/tiny/sse") as client:
        await client.hello()
        assert text(await client.ask(call(1, "stderr"))) == "wrote"
    assert (served.logs / "tiny" / "stderr.raw").stat().st_size >= 200_000


async def test_children_get_a_clean_environment_with_their_mark(served: Gateway) -> None:
    async with sse(f"{served.url}/tiny/sse") as client:
        await client.hello()
        environment = text(await client.ask(call(1, "environment")))
    assert environment["MCPWATCH_HOSTED"] == "tiny"
    assert "PYTEST_CURRENT_TEST" not in environment
    assert "PATH" in environment


async def test_blocked_tools_are_neither_listed_nor_called_and_renamed_ones_answer_to_their_new_name(served: Gateway) -> None:
    async with http(f"{served.url}/ruled/mcp") as client:
        await client.hello()
        names = [tool["name"] for tool in (await client.post(request(1, "tools/list"))).json()["result"]["tools"]]
        assert "say" in names
        assert not {"die", "echo"} & set(names)
        assert text((await client.post(call(2, "say", word=1))).json()) == {"word": 1}
        for hidden in ("die", "echo"):
            assert (await client.post(call(3, hidden))).json()["error"]["code"] == -32602


async def test_a_session_is_over_after_delete(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await client.hello()
        assert (await client.client.delete(client.url, headers=client.headers)).status_code == 200
        assert (await client.post(request(1, "ping"))).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{nonsense", 400, -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 400, -32600),
        (b'{"x":"' + b"y" * 200_000 + b'"}', 413, -32600),
    ],
)
async def test_bad_posts_are_refused_with_the_right_words(served: Gateway, body: bytes, status: int, code: int) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{served.url}/tiny/mcp", content=body, headers=ACCEPT)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example.com"}, 421),
        ({"origin": "http://evil.example.com"}, 403),
        ({"origin": "http://10.9.8.7"}, 403),
        ({}, 200),
    ],
)
async def test_names_that_can_be_rebound_are_kept_out(served: Gateway, headers: dict[str, str], status: int) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{served.url}/tiny/mcp", json=request(1, "initialize", {"protocolVersion": "2025-11-25"}), headers=ACCEPT | headers
        )
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/tiny/sse", 405), ("GET", "/nobody/sse", 404), ("GET", "/tiny", 404)]
)
async def test_wrong_paths_and_methods_are_said_to_be_wrong(served: Gateway, method: str, path: str, status: int) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.request(method, served.url + path)).status_code == status


async def test_a_session_that_is_cut_off_is_forgotten(served: Gateway) -> None:
    async with sse(f"{served.url}/tiny/sse") as client:
        await client.hello()
        attached = served.members()["tiny"]["sessions"]
    while served.members()["tiny"]["sessions"] >= attached:  # noqa: ASYNC110 - what is waited for tells nobody
        await anyio.sleep(0.005)


async def test_several_streams_of_one_session_are_answered_each_on_its_own(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await client.hello()
        found: dict[int, object] = {}

        async def one(client: Http, number: int) -> None:
            found[number] = text(messages(await client.post(call(number, "echo", number=number)))[-1])

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(one, client, number)
        assert found == {number: {"number": number} for number in range(6)}


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_cut_off_and_hurts_nobody(served: Gateway) -> None:
    stuck = await anyio.connect_tcp(served.url.removeprefix("http://").partition(":")[0], int(served.url.rpartition(":")[2]))
    await stuck.send(b"GET /tiny/sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
    came = b""
    while b"session_id=" not in came or not came.endswith(b"\n"):
        came += await stuck.receive()
    endpoint = came.partition(b"data: ")[2].partition(b"\r")[0].decode()
    async with httpx.AsyncClient(timeout=15) as client, sse(f"{served.url}/tiny/sse") as other:
        await other.hello()
        big = json.dumps(call(1, "echo", word="x" * 90_000)).encode()
        status = 202
        with anyio.fail_after(40):
            while status == 202:
                status = (await client.post(served.url + endpoint, content=big, headers=ACCEPT)).status_code
        assert status == 404
        assert text(await other.ask(call(2, "echo", x=1))) == {"x": 1}
        assert "mcpwatch_gateway_slow_readers_total 1" in (await client.get(f"{served.url}/metrics")).text
    await stuck.aclose()
