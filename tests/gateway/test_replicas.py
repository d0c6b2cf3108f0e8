"""Several gateways serve one file: any of them answers for the sessions of all, and one that dies costs its own sessions only."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import anyio
import httpx
import pytest

from mcpwatch.gateway.dialects import parse
from mcpwatch.gateway.serve.replicas import gone
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.errors import ConfigError
from mcpwatch.model.probe import Symptom
from tests.e2e.daemon import free_port
from tests.gateway.program import HELLO, LIMIT, TINY, Gateway, Http, call, gateway, http, post_call, request, sse, text
from tests.gateway.test_resumption import cut_off, listening, number

pytestmark = pytest.mark.anyio
TOKENS = ["first", "second"]


class Replicas:
    """Running gateways of one file, by name."""

    def __init__(self, stack: ExitStack, *names: str) -> None:
        self.urls = {name: f"http://127.0.0.1:{free_port()}" for name in names}
        settings = {"servers": {"tiny": TINY}, "tokens": TOKENS, "replicas": self.urls}
        self.gateways: dict[str, Gateway] = {}
        for name, url in self.urls.items():
            listen = {"listen": url.removeprefix("http://")}
            self.gateways[name] = stack.enter_context(gateway(settings | listen, "--replica", name))
        for running in self.gateways.values():
            running.wait({"tiny": "running"})

    def route(self, name: str, wire: str = "mcp") -> str:
        return f"{self.urls[name]}/tiny/{wire}"

    def counted(self, name: str, family: str) -> list[str]:
        shown = httpx.get(f"{self.urls[name]}/metrics", headers=bearer(), timeout=LIMIT).text
        return [line for line in shown.splitlines() if line.startswith(f"mcpwatch_gateway_{family}{{")]


@pytest.fixture(scope="module")
def pair() -> Generator[Replicas]:
    with ExitStack() as stack:
        yield Replicas(stack, "gw-0", "gw-1")


def bearer(token: str = TOKENS[0]) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def moved(client: Http, url: str) -> Http:
    """The same session, sent to another replica."""
    elsewhere = Http(client.client, url)
    elsewhere.headers = dict(client.headers)
    return elsewhere


async def test_a_session_is_served_through_every_replica_and_lives_in_one_process(pair: Replicas) -> None:
    async with http(pair.route("gw-0")) as client:
        client.headers |= bearer()
        await client.hello()
        assert client.headers["mcp-session-id"].startswith("gw-0.")
        here = text((await client.post(call(1, "pid"))).json())
        other = moved(client, pair.route("gw-1"))
        assert text((await other.post(call(2, "pid"))).json()) == here
        assert pair.counted("gw-1", "replica_passed_total")
        ended = await other.client.delete(other.url, headers=other.headers)
        assert ended.status_code == 200
        assert (await client.post(call(3, "echo"))).status_code == 404


async def test_a_session_of_another_token_is_not_to_be_had_through_another_replica(pair: Replicas) -> None:
    async with http(pair.route("gw-0")) as client:
        client.headers |= bearer()
        await client.hello()
        thief = moved(client, pair.route("gw-1"))
        thief.headers |= bearer(TOKENS[1])
        assert (await thief.post(call(1, "echo"))).status_code == 404
        thief.headers |= bearer("none")
        assert (await thief.post(call(1, "echo"))).status_code == 401


async def test_a_stream_that_was_cut_is_taken_up_through_another_replica(pair: Replicas) -> None:
    async with http(pair.route("gw-0")) as client:
        client.headers |= bearer()
        name, question = await cut_off(client)
        async with listening(moved(client, pair.route("gw-1")), name) as events:
            await client.post({"jsonrpc": "2.0", "id": question["id"], "result": {"said": 1}})
            _, answer = await events.next()
            assert answer is not None
            assert text(answer)["result"] == {"said": 1}


async def test_the_standing_stream_comes_through_another_replica_as_it_happens(pair: Replicas) -> None:
    async with http(pair.route("gw-0")) as client:
        client.headers |= bearer()
        await client.hello()
        async with listening(moved(client, pair.route("gw-1"))) as events:
            await client.post(call(1, "change", numbers=[1, 2]))
            assert [number(await events.next()) for _ in range(2)] == [1, 2]


async def test_messages_of_the_legacy_wire_reach_their_stream_through_another_replica(pair: Replicas) -> None:
    async with sse(pair.route("gw-0", "sse"), bearer()) as client:
        assert "session_id=gw-0." in client.endpoint
        client.endpoint = client.endpoint.replace(pair.urls["gw-0"], pair.urls["gw-1"])
        await client.hello()
        assert text(await client.ask(call(1, "echo", said="x"))) == {"said": "x"}


async def test_a_call_of_the_stateless_wire_that_waits_for_its_client_goes_on_through_another_replica(pair: Replicas) -> None:
    async with httpx.AsyncClient(timeout=LIMIT, headers=bearer()) as client:
        asking = {"name": "ask", "arguments": {"who": "me"}}
        asked = (await post_call(client, pair.route("gw-0"), asking))["result"]
        assert asked["requestState"].startswith("gw-0.")
        (key,) = asked["inputRequests"]
        back = {"requestState": asked["requestState"], "inputResponses": {key: {"said": 7}}}
        done = await post_call(client, pair.route("gw-1"), asking | back)
        assert text(done)["result"] == {"said": 7}


async def test_a_replica_that_dies_costs_its_own_sessions_only() -> None:
    with ExitStack() as stack:
        three = Replicas(stack, "gw-0", "gw-1", "gw-2")
        async with http(three.route("gw-0")) as kept, http(three.route("gw-1")) as lost:
            for client in (kept, lost):
                client.headers |= bearer()
                await client.hello()
            async with listening(moved(lost, three.route("gw-2"))) as events:
                three.gateways["gw-1"].stop(signal.SIGKILL)
                with pytest.raises(httpx.RemoteProtocolError), anyio.fail_after(LIMIT):
                    await events.rest()
            assert text((await moved(kept, three.route("gw-2")).post(call(1, "echo", n=1))).json()) == {"n": 1}
            again = moved(lost, three.route("gw-2"))
            assert (await again.post(call(2, "echo"))).status_code == 404
            assert three.counted("gw-2", "replica_lost_total") == ['mcpwatch_gateway_replica_lost_total{replica="gw-1"} 1']
            del again.headers["mcp-session-id"]
            await again.hello()
            assert again.headers["mcp-session-id"].startswith("gw-2.")
            assert text((await again.post(call(3, "echo", n=2))).json()) == {"n": 2}


async def test_a_request_is_passed_on_once_at_most(pair: Replicas) -> None:
    headers = bearer() | {"content-type": "application/json", "mcp-session-id": "gw-0.x", "mcpwatch-replica": "gw-0"}
    before = pair.counted("gw-1", "replica_passed_total")
    async with httpx.AsyncClient(timeout=LIMIT) as client:
        answer = await client.post(pair.route("gw-1"), content=json.dumps(call(1, "echo")), headers=headers)
    assert answer.status_code == 404
    assert pair.counted("gw-1", "replica_passed_total") == before


class Known:
    """One gateway that knows others by name: those of which a test says where they are."""

    def __init__(self, alone: Gateway, settings: dict[str, Any]) -> None:
        self.alone, self.settings = alone, settings

    async def ask(self, url: str, name: str = "gw-1") -> httpx.Response:
        """A call in a session of `name`, which is at `url`."""
        self.alone.write(self.settings | {"replicas": {"gw-0": self.alone.url, name: url}})
        assert self.alone.admin("POST", "/reload").status_code == 200
        headers = {"content-type": "application/json", "mcp-session-id": f"{name}.x"}
        async with httpx.AsyncClient(timeout=LIMIT) as client:
            return await client.post(f"{self.alone.url}/tiny/mcp", content=json.dumps(call(7, "echo")), headers=headers)


@pytest.fixture(scope="module")
def known() -> Generator[Known]:
    settings = {"servers": {"tiny": TINY}, "listen": f"127.0.0.1:{free_port()}"}
    with gateway(settings | {"replicas": {"gw-0": "http://a:1"}}, "--replica", "gw-0") as alone:
        yield Known(alone, settings)


async def test_a_session_of_a_replica_that_is_gone_is_begun_anew(known: Known) -> None:
    for url in (f"http://127.0.0.1:{free_port()}", "http://gw-1.invalid:9090"):
        assert (await known.ask(url)).status_code == 404


def test_a_resolver_that_does_not_answer_takes_no_replica_for_gone() -> None:
    for code, is_gone in ((socket.EAI_NONAME, True), (socket.EAI_AGAIN, False)):
        error = HttpFailed("the name does not resolve", Symptom.UNRESOLVED)
        error.__cause__ = socket.gaierror(code, "")
        assert gone(error) is is_gone
    assert not gone(HttpFailed("cut", Symptom.REFUSED, sent=True))


async def test_a_session_of_a_replica_that_cannot_be_reached_is_kept_for_later(known: Known) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        answer = await known.ask(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "replica 'gw-1' cannot be reached" in answer.text


async def test_a_call_on_which_its_replica_died_is_said_to_be_possibly_executed(known: Known) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(die, "127.0.0.1", 0)
    async with server:
        answer = await known.ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert answer.status_code == 502
    assert (answer.json()["id"], answer.json()["error"]["data"]["possiblyExecuted"]) == (7, True)


@pytest.mark.parametrize(
    ("replicas", "fault"),
    [
        ({"GW": "http://a:1"}, "replicas.GW: is no usable name"),
        ({"a.b": "http://a:1"}, "replicas.a.b: is no usable name"),
        ({"gw-0": "a:1"}, "replicas.gw-0: 'a:1' is no URL"),
        (["gw-0"], "replicas: must be an object of strings"),
    ],
)
def test_a_replica_that_cannot_be_one_is_refused(replicas: Any, fault: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse({"version": 1, "servers": {"tiny": TINY}, "replicas": replicas})
    assert fault in str(refusal.value)


def test_a_gateway_that_does_not_know_which_replica_it_is_does_not_start() -> None:
    settings = {"servers": {"tiny": TINY}, "replicas": {"gw-0": "http://a:1"}}
    with pytest.raises(AssertionError, match=r"--replica or MCPWATCH_REPLICA"), gateway(settings):
        pass


def test_a_gateway_that_stands_alone_gives_ids_without_a_name() -> None:
    with gateway({"servers": {"tiny": TINY}}, "--replica", "gw-0") as alone:
        alone.wait({"tiny": "running"})
        message = json.dumps(request(0, "initialize", HELLO))
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        answer = httpx.post(f"{alone.url}/tiny/mcp", content=message, headers=headers, timeout=LIMIT)
        assert "." not in answer.headers["mcp-session-id"]
