"""A POST that waits for its answer: no task waits with it, and whatever comes first decides how it is answered."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.gateway.http.http_exchange import HttpExchange, Rest
from mcpwatch.gateway.serve import waiting_answer
from mcpwatch.gateway.session import session
from mcpwatch.gateway.session.session import Session
from mcpwatch.gateway.settings import ToolRules
from tests.gateway.inside import LIMIT, Inside, inside, served
from tests.gateway.program import Http, call, http, messages, sse
from tests.gateway.raw import Mirror, get, listening

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greeting is proof enough that the member lives, however slow the machine: it answers no ping."""
    monkeypatch.setattr(session, "FRESH", 3600.0)


async def asked(member: Inside, number: int) -> dict[str, Any]:
    """The tool call that the member got for a client's request `number`; its id is the gateway's."""
    async with asyncio.timeout(LIMIT):
        while True:
            for sent in member.wires[0].sent:
                if sent.get("method") == "tools/call" and sent["params"]["arguments"]["n"] == number:
                    return sent
            await asyncio.sleep(0)


def waiting() -> int:
    """How many tasks serve requests now."""
    return sum(task.get_name() == "request" for task in asyncio.all_tasks())


async def post(client: Http, message: dict[str, Any]) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(client.post(message))


async def test_no_task_waits_for_the_answer_to_a_call() -> None:
    async with inside() as member, served(member) as url, http(f"{url}/inside/mcp") as client:
        await client.hello()
        pending = await post(client, call(1, "t", n=1))
        sent = await asked(member, 1)
        assert waiting() == 0
        member.wires[0].say({"id": sent["id"], "result": {"content": []}})
        answer = await pending
        assert (answer.headers["content-type"], answer.json()["id"]) == ("application/json", 1)


async def test_what_comes_before_the_answer_makes_it_a_stream() -> None:
    async with inside() as member, served(member) as url, http(f"{url}/inside/mcp") as client:
        await client.hello()
        asking = call(1, "t", n=1)
        asking["params"]["_meta"] = {"progressToken": "p"}
        pending = await post(client, asking)
        sent = await asked(member, 1)
        token = sent["params"]["_meta"]["progressToken"]
        member.wires[0].say({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        member.wires[0].say({"id": sent["id"], "result": {}})
        told, answer = messages(await pending)
        assert (told["params"]["progressToken"], answer["id"]) == ("p", 1)


async def test_a_call_that_takes_long_is_answered_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_answer, "KEEP_ALIVE", 0.01)
    async with inside() as member, served(member) as url, http(f"{url}/inside/mcp") as client:
        await client.hello()
        pending = await post(client, call(1, "t", n=1))
        sent = await asked(member, 1)
        async with asyncio.timeout(LIMIT):
            while not waiting():  # noqa: ASYNC110  the stream is held by one
                await asyncio.sleep(0.001)
        member.wires[0].say({"id": sent["id"], "result": {}})
        answer = await pending
        assert answer.headers["content-type"] == "text/event-stream"
        assert [message["id"] for message in messages(answer)] == [1]


async def test_the_end_of_a_session_ends_what_waits() -> None:
    async with inside() as member, served(member) as url, http(f"{url}/inside/mcp") as client:
        await client.hello()
        pending = await post(client, call(1, "t", n=1))
        await asked(member, 1)
        await client.client.delete(f"{url}/inside/mcp", headers=client.headers)
        assert messages(await pending) == []


async def test_a_request_that_waits_for_its_member_to_start_is_answered_too() -> None:
    async with inside(starting=True) as member, http("") as client:
        serving = served(member)
        opening = asyncio.get_running_loop().create_task(serving.__aenter__())
        member.gate.set()
        url = await opening
        try:
            client.url = f"{url}/inside/mcp"
            await client.hello()
            member.main.hold()
            member.main.release()
            pending = await post(client, call(1, "t", n=1))
            async with asyncio.timeout(LIMIT):
                while not (found := [sent for sent in member.wires[-1].sent if sent.get("method") == "tools/call"]):  # noqa: ASYNC110
                    await asyncio.sleep(0)
            member.wires[-1].say({"id": found[0]["id"], "result": {}})
            assert (await pending).json() == {"jsonrpc": "2.0", "id": 1, "result": {}}
        finally:
            await serving.__aexit__(None, None, None)


async def test_pipelined_messages_of_a_session_reach_the_member_in_order_and_are_answered_in_order() -> None:
    async with inside() as member, served(member) as url:
        async with http(f"{url}/inside/mcp") as client:
            await client.hello()
            known = client.headers["mcp-session-id"]
        host, _, port = url.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /inside/mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nMcp-Session-Id: {known}\r\n"
        for number in range(20):
            note = {"jsonrpc": "2.0", "method": "notifications/x", "params": {"n": number}}
            for message in (call(number, "t", n=number), note):
                body = json.dumps(message)
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        for number in range(20):
            sent = await asked(member, number)
            member.wires[0].say({"id": sent["id"], "result": {"n": number}})
        async with asyncio.timeout(LIMIT):
            for number in range(20):
                assert b'"id": %d,' % number in await reader.readuntil(b"}}")
                await reader.readuntil(b"HTTP/1.1 202")
        writer.close()
        params = [sent["params"] for sent in member.wires[0].sent if sent.get("method") in {"tools/call", "notifications/x"}]
        assert [each.get("n", each.get("arguments", {}).get("n")) for each in params] == sorted([*range(20)] * 2)


async def test_pipelined_messages_of_the_legacy_wire_keep_their_order_where_some_have_to_wait() -> None:
    async with inside() as member:
        member.settings = replace(member.settings, tools=ToolRules(block=("other",)))  # by which a call is no matter of one step
        async with served(member) as url, sse(f"{url}/inside/sse") as client:
            await client.hello()
            _, _, host, path = client.endpoint.split("/", 3)
            reader, writer = await asyncio.open_connection(*host.split(":"))
            for number in range(10):
                note = {"jsonrpc": "2.0", "method": "notifications/x", "params": {"n": number}}
                for message in (call(number, "t", n=number), note):
                    body = json.dumps(message)
                    head = f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            async with asyncio.timeout(LIMIT):
                for _ in range(20):
                    assert b"HTTP/1.1 202" in await reader.readuntil(b"\r\n\r\n")
            writer.close()
        methods = [sent["method"] for sent in member.wires[0].sent if sent.get("method") in {"tools/call", "notifications/x"}]
        assert methods == ["tools/call", "notifications/x"] * 10


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_session_in_which_a_message_breaks_holds_nothing_of_it(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> bool:
        raise RuntimeError

    def has_to_wait(*_: object) -> bool:
        return False

    async def waits(*_: object) -> None:
        breaks()

    found: list[Session] = []
    begin = Session.__init__

    def begun(self: Session, *given: Any) -> None:
        begin(self, *given)
        found.append(self)

    monkeypatch.setattr(Session, "__init__", begun)
    async with inside() as member, served(member) as url, http(f"{url}/inside/mcp") as client:
        await client.hello()
        with monkeypatch.context() as broken:
            broken.setattr(Session, "try_take", breaks if at_once else has_to_wait)
            broken.setattr(Session, "take", waits)
            assert (await client.post(call(1, "t", n=1))).status_code == 500
        inner: list[Any] = [*found]
        assert [(each.open, each._streams) for each in inner] == [(0, {})]


async def test_work_that_breaks_is_answered_whether_it_breaks_at_once_or_in_its_task() -> None:
    def at_once() -> Rest:
        raise RuntimeError

    async def later() -> None:
        raise RuntimeError

    class Broken(Mirror):
        def admit(self, turn: HttpExchange) -> Any:
            return at_once if turn.path == "/once" else later

    async with listening(Broken()) as (_, connect):
        client = await connect()
        for path in ("/once", "/later", "/once"):
            assert (await client.ask(get(path)))[0] == 500
