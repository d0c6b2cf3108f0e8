"""Which wire a server speaks is found with few questions, and asked once."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from mcpwatch.checks import Prober, era
from mcpwatch.checks.caller import ProbeHttp
from mcpwatch.checks.era import Eras, FoundWire
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.transport import ProbeTransport
from mcpwatch.model.probe import Outcome, Stage, Symptom, Target, Transport
from mcpwatch.model.spec import CheckSpec
from tests.checks.memory import HELLO, JSON, MODERN, SSE, Answer, Asked, Network, error, event, json_of, play, result
from tests.servers.faulty import faulty

pytestmark = pytest.mark.anyio

CHECK = CheckSpec("mcp", timeout=5)


async def test_a_legacy_server_is_asked_to_discover_only_once_until_it_is_forgotten() -> None:
    async with faulty() as server:
        prober, target = Prober(), Target(server.url("/mcp"))
        for _ in range(3):
            result = await prober.probe(CHECK, target, "direct")
            assert result.server is not None
            assert (result.outcome, result.server.wire) == (Outcome.SUCCESS, "http")
        assert len(server.seen("server/discover")) == 1
        prober.forget(target)
        await prober.probe(CHECK, target, "direct")
        assert len(server.seen("server/discover")) == 2


async def test_a_modern_server_is_spoken_to_without_a_session() -> None:
    async with faulty(era="modern") as server:
        result = await Prober().probe(CHECK, Target(server.url("/mcp")), "direct")
        assert result.server is not None
        assert (result.outcome, result.server.wire, result.server.protocol) == (Outcome.SUCCESS, "stateless", "2026-07-28")
        assert not server.seen("initialize")
        for request in server.requests:
            assert request.headers["mcp-method"] == request.body["method"]
            assert request.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


async def test_an_sse_server_under_another_path_is_found_by_its_get() -> None:
    async with faulty() as server:
        result = await Prober().probe(CHECK, Target(server.url("/sse?old")), "direct")
        assert result.server is not None
        assert result.server.wire == "sse"
        assert result.outcome is Outcome.SUCCESS


async def test_a_server_that_hangs_on_discover_is_still_asked_to_initialize() -> None:
    async with faulty("no_reply", "server/discover", era="either") as server:
        result = await Prober().probe(CheckSpec("mcp", timeout=1.5), Target(server.url("/mcp")), "direct")
        assert result.outcome is Outcome.SUCCESS, result


async def test_a_server_that_moved_to_another_wire_is_found_again() -> None:
    async with faulty() as server:
        prober, target = Prober(), Target(server.url("/mcp"))
        await prober.probe(CHECK, target, "direct")
        server.fault, server.where = "era", "initialize"
        lost = await prober.probe(CHECK, target, "direct")
        server.fault, server.era = "", "modern"
        found = await prober.probe(CHECK, target, "direct")
        assert (lost.symptom_text, found.outcome) == ("era_mismatch", Outcome.SUCCESS)
        assert found.server is not None
        assert found.server.wire == "stateless"


async def test_a_session_that_an_old_server_opens_for_a_refused_question_is_deleted() -> None:
    async with faulty("leaky") as server:
        result = await Prober().probe(CHECK, Target(server.url("/mcp")), "direct")
        assert result.outcome is Outcome.SUCCESS, result
        assert [request.headers["mcp-session-id"] for request in server.seen("DELETE")] == ["stray", "s-42"]


def gateway(discover: Answer | None = None, hello: Answer | None = None, stream: Answer | None = None) -> Callable[[Asked], Answer]:
    """A server in memory: what it says to discover, to a POST of initialize, and to a GET; by default it serves nothing."""

    def answer(asked: Asked) -> Answer:
        if asked.rpc == "server/discover":
            return discover or Answer(404)
        if asked.method == "GET":
            return stream or Answer(404)
        return (hello or Answer(404)) if asked.rpc == "initialize" else Answer(202)

    return answer


MCP = Target("http://h/mcp")


def opened(server: Callable[[Asked], Answer], eras: Eras, target: Target = MCP) -> tuple[ProbeFailure | None, FoundWire, Network]:
    """How opening a wire that finds out ended, and what was asked."""
    found: list[tuple[ProbeFailure | None, FoundWire, Network]] = []

    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = FoundWire(caller, eras)
        try:
            await wire.open()
        except ProbeFailure as failure:
            found.append((failure, wire, network))
        else:
            found.append((None, wire, network))

    play(server, scene, target)
    return found[0]


GATED = [
    (401, Symptom.AUTH),
    (421, Symptom.HOST_GUARD),
    (307, Symptom.REDIRECT),
    (429, Symptom.OVERLOADED),
    (502, Symptom.UPSTREAM_DOWN),
    (413, Symptom.TOO_LARGE),
]


@pytest.mark.parametrize(("status", "symptom"), GATED)
def test_what_stands_before_every_wire_is_told_without_trying_another(status: int, symptom: Symptom) -> None:
    failure, _, network = opened(gateway(Answer(status)), Eras())
    assert failure is not None
    assert (failure.symptom, len(network.asked)) == (symptom, 1)


@pytest.mark.parametrize("status", [400, 404, 405, 500])
def test_a_server_that_refuses_discover_and_posts_is_asked_for_a_stream(status: int) -> None:
    stream = Answer(200, SSE, [event("/m", "endpoint")], open=True)
    failure, wire, network = opened(gateway(Answer(status), Answer(status), stream), Eras())
    assert [asked.rpc or asked.method for asked in network.asked[:4]] == ["server/discover", "initialize", "GET", "initialize"]
    assert failure is not None
    assert (failure.symptom, wire.name) == (Symptom.BAD_ENDPOINT if status in (404, 405) else Symptom.HTTP_STATUS, "sse")


def old(asked: Asked) -> Answer:
    """A server that speaks Streamable HTTP of 2025 and nothing else."""
    return json_of(result(asked, **HELLO)) if asked.rpc == "initialize" else gateway()(asked)


def new(asked: Asked) -> Answer:
    """A server that speaks 2026-07-28 and nothing else."""
    if asked.rpc == "server/discover":
        return json_of(result(asked, **MODERN))
    return json_of(error(asked, -32022), 400) if asked.rpc == "initialize" else Answer(404)


def test_the_wire_found_is_remembered_when_it_opened_and_forgotten_when_it_is_served_no_more() -> None:
    eras = Eras()
    assert opened(gateway(), eras)[0] is not None
    assert eras.get(MCP) is None
    failure, wire, network = opened(old, eras)
    assert (failure, wire.name, wire.server.name, wire.hello["serverInfo"]["name"]) == (None, "http", "m", "m")
    assert [asked.rpc for asked in network.asked] == ["server/discover", "initialize", "notifications/initialized"]
    assert (eras.get(MCP), len(wire.digest), wire.remarks(), wire.silence(Stage.TOOLS_LIST)) == ("http", 16, [], None)
    assert [asked.rpc for asked in opened(old, eras)[2].asked] == ["initialize", "notifications/initialized"]
    assert opened(gateway(hello=Answer(401)), eras)[0] is not None
    assert eras.get(MCP) == "http", "what stands before every wire says nothing of the wire"
    assert opened(gateway(), eras)[0] is not None
    assert eras.get(MCP) is None
    assert (opened(new, eras)[1].name, eras.get(MCP)) == ("stateless", "stateless")
    assert [asked.rpc for asked in opened(new, eras)[2].asked] == ["server/discover"]
    eras.forget(MCP)
    assert eras.get(MCP) is None


def test_a_wire_found_is_used_and_ended_as_the_one_it_is() -> None:
    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = FoundWire(caller, Eras())
        await wire.open()
        with pytest.raises(ProbeFailure):
            await wire.call("tools/list", {})
        await wire.close()
        assert [asked.rpc or asked.method for asked in network.asked[-2:]] == ["tools/list", "DELETE"]
        other = Network(old)
        FoundWire(ProbeHttp(MCP, cast("ProbeTransport", other), caller.timeline), Eras()).abort()
        assert other.aborted

    def server(asked: Asked) -> Answer:
        return json_of(result(asked, **HELLO), mcp_session_id="s") if asked.rpc == "initialize" else gateway()(asked)

    play(server, scene, MCP)


def test_a_server_without_any_wire_is_told_by_what_its_post_said_or_the_versions_it_told() -> None:
    failure = opened(gateway(hello=Answer(405)), Eras())[0]
    assert failure is not None
    assert (failure.symptom, failure.stage, failure.message[:9]) == (Symptom.ERA_MISMATCH, Stage.INITIALIZE, "POST /mcp")

    def newer(asked: Asked) -> Answer:
        data = {"supported": ["2027-01-01"]}
        return json_of(error(asked, -32022, data=data), 400) if asked.rpc == "server/discover" else Answer(405)

    failure = opened(newer, Eras())[0]
    assert failure is not None
    assert (failure.stage, failure.versions) == (Stage.DISCOVER, ("2027-01-01",))
    broken = opened(gateway(hello=Answer(405), stream=Answer(502)), Eras())[0]
    assert broken is not None
    assert broken.symptom is Symptom.UPSTREAM_DOWN


def test_a_server_that_initializes_badly_is_not_asked_for_another_wire() -> None:
    def refuses(asked: Asked) -> Answer:
        return json_of(error(asked, -5)) if asked.rpc == "initialize" else gateway()(asked)

    failure, _, network = opened(refuses, Eras())
    assert failure is not None
    assert (failure.symptom, [asked.method for asked in network.asked]) == (Symptom.RPC_ERROR, ["POST", "POST"])

    def half(asked: Asked) -> Answer:
        return old(asked) if asked.rpc == "initialize" else Answer(404)

    failure, _, network = opened(half, Eras())
    assert failure is not None
    assert [asked.rpc for asked in network.asked] == ["server/discover", "initialize", "notifications/initialized"]


def test_a_modern_server_that_began_slowly_is_asked_again_and_a_slow_old_one_is_initialized() -> None:
    slow = Answer(200, JSON, open=True)

    def begins(asked: Asked) -> Answer:
        return slow if asked.rpc == "server/discover" and asked.body["id"] == 1 else new(asked)

    failure, wire, network = opened(begins, Eras())
    assert (failure, wire.name) == (None, "stateless")
    assert [asked.rpc for asked in network.asked] == ["server/discover", "initialize", "server/discover"]
    assert (slow.closed, network.aborted) == (True, True)
    failure, wire, network = opened(lambda asked: slow if asked.rpc == "server/discover" else old(asked), Eras())
    assert (failure, wire.name) == (None, "http")
    failure, wire, network = opened(lambda asked: slow if asked.rpc == "server/discover" else Answer(404), Eras())
    assert failure is not None
    assert (failure.symptom, network.asked[-1].method) == (Symptom.NOT_MOUNTED, "GET")


def test_a_slow_discover_may_take_its_share_of_the_time_left() -> None:
    took: list[float] = []

    async def scene(caller: ProbeHttp, network: Network) -> None:
        await FoundWire(caller, Eras()).open()
        took.append(caller.timeline.seconds)

    hangs = Answer(200, JSON, open=True)
    play(lambda asked: hangs if asked.rpc == "server/discover" else old(asked), scene, MCP, timeout=10)
    assert took == [pytest.approx(0.3 * 9.5)]


def test_a_session_opened_by_a_refused_discover_is_deleted_even_where_that_fails() -> None:
    def leaky(asked: Asked) -> Answer:
        return Answer(400, {"mcp-session-id": "stray"}) if asked.rpc == "server/discover" else old(asked)

    network = opened(leaky, Eras())[2]
    assert [asked.headers.get("mcp-session-id") for asked in network.asked if asked.method == "DELETE"] == ["stray"]
    assert "DELETE" not in [asked.method for asked in opened(old, Eras())[2].asked]


def test_the_wires_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert era.ERAS_MAX == 50_000
    monkeypatch.setattr(era, "ERAS_MAX", 3)
    eras = Eras()
    targets = [Target(f"http://h/{number}") for number in range(4)]
    for target in targets[:3]:
        eras.keep(target, "http")
    assert [eras.get(target) for target in targets] == ["http", "http", "http", None]
    eras.keep(targets[3], "http")
    assert [eras.get(target) for target in targets] == [None, None, None, "http"]


def test_the_wire_of_a_target_is_as_its_spec_says_or_by_its_path_or_found_out() -> None:
    async def scene(caller: ProbeHttp, network: Network) -> None:
        def kind(url: str, transport: Transport = "auto") -> str:
            target = Target(url, transport)
            return era.choose(ProbeHttp(target, cast("ProbeTransport", network), caller.timeline), Eras()).name

        assert [kind("http://h/x", wire) for wire in ("sse", "http", "stateless")] == ["sse", "http", "stateless"]
        assert [kind(f"http://h/{path}") for path in ("sse", "time/sse/", "sse?x=1", "mcp", "lapsse")] == [
            "sse",
            "sse",
            "sse",
            "stateless",
            "stateless",
        ]

    play(gateway(), scene, MCP)
