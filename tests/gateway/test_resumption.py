"""A cut stream of a session goes on where it ended: what was missed comes, and only that."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from tests.gateway.program import LIMIT, TINY, Gateway, Http, call, gateway, http, request, text

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def served() -> Iterator[Gateway]:
    with gateway({"servers": {"tiny": TINY}}) as running:
        running.wait({"tiny": "running"})
        yield running


class Events:
    """An open event stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, dict[str, Any] | None]:
        """Id and message of the next event; `None` where it only tells its id."""
        with anyio.fail_after(LIMIT):
            name = ""
            async for line in self._lines:
                if line.startswith("id: "):
                    name = line[4:]
                elif line.startswith("data: "):
                    return name, json.loads(line[6:]) if line[6:] else None
        raise AssertionError("the stream ended")

    async def rest(self) -> list[str]:
        """Lines until the stream ends."""
        with anyio.fail_after(LIMIT):
            return [line async for line in self._lines]


@asynccontextmanager
async def listening(client: Http, last: str | None = None, version: str | None = None) -> AsyncGenerator[Events]:
    headers = client.headers | {"accept": "text/event-stream"}
    headers |= {"last-event-id": last} if last is not None else {}
    headers |= {"mcp-protocol-version": version} if version is not None else {}
    async with httpx.AsyncClient(timeout=LIMIT) as fresh, fresh.stream("GET", client.url, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Events(response)


@asynccontextmanager
async def posting(client: Http, message: dict[str, Any]) -> AsyncGenerator[Events]:
    async with (
        httpx.AsyncClient(timeout=LIMIT) as fresh,
        fresh.stream("POST", client.url, content=json.dumps(message).encode(), headers=client.headers) as response,
    ):
        assert response.headers["content-type"] == "text/event-stream"
        yield Events(response)


async def cut_off(client: Http) -> tuple[str, dict[str, Any]]:
    """A call whose stream was cut behind the question it asked: the id of that event, and the question."""
    await client.hello(sampling={})
    async with posting(client, call(1, "ask", who="me")) as events:
        name, question = await events.next()
    assert question is not None
    return name, question


def number(event: tuple[str, dict[str, Any] | None]) -> int:
    assert event[1] is not None
    return event[1]["params"]["_meta"]["x"]


async def test_the_standing_stream_replays_what_was_missed_and_only_that(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await client.hello()
        async with listening(client) as events:
            await client.post(call(1, "change", numbers=[1, 2]))
            first, second = await events.next(), await events.next()
            assert [number(first), number(second)] == [1, 2]
        await client.post(call(2, "change", numbers=[3, 4]))
        async with listening(client, second[0]) as events:
            assert [number(await events.next()), number(await events.next())] == [3, 4]
            await client.post(call(3, "change", numbers=[5]))
            assert number(await events.next()) == 5
        async with listening(client, first[0]) as events:
            assert [number(await events.next()) for _ in range(4)] == [2, 3, 4, 5]


async def test_a_new_client_of_the_standing_stream_knows_an_event_id_before_anything_happens(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await client.hello()
        async with listening(client, version="2025-11-25") as events:
            name, nothing = await events.next()
            assert nothing is None
        await client.post(call(1, "change", numbers=[1]))
        async with listening(client, name, version="2025-11-25") as events:
            assert number(await events.next()) == 1


async def test_a_cut_answer_is_taken_up_by_its_own_stream_alone(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        name, question = await cut_off(client)
        await client.post(call(2, "change", numbers=[1]))
        async with listening(client, name) as events:
            await client.post({"jsonrpc": "2.0", "id": question["id"], "result": {"said": 1}})
            _, answer = await events.next()
            assert answer is not None
            assert answer["id"] == 1
            assert text(answer)["result"] == {"said": 1}
            assert [line for line in await events.rest() if line.startswith("data")] == []


async def test_an_answer_that_came_while_nobody_listened_is_replayed(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        name, question = await cut_off(client)
        await client.post({"jsonrpc": "2.0", "id": question["id"], "result": {"said": 1}})
        assert (await client.post(request(2, "ping"))).status_code == 200
        for _ in range(2):
            async with listening(client, name) as events:
                assert ((await events.next())[1] or {})["id"] == 1


@pytest.mark.parametrize("last", ["nonsense", "99-99", "1-99999"])
async def test_an_event_that_is_not_kept_is_said_to_be_gone(served: Gateway, last: str) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await client.hello()
        answer = await client.client.get(client.url, headers=client.headers | {"last-event-id": last})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == -32600


async def test_a_deleted_session_ends_all_its_streams(served: Gateway) -> None:
    async with http(f"{served.url}/tiny/mcp") as client:
        await client.hello(sampling={})
        async with listening(client) as one, listening(client) as two, posting(client, call(1, "ask")) as three:
            await three.next()
            await client.client.delete(client.url, headers=client.headers)
            for events in (one, two, three):
                await events.rest()
