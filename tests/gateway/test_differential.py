"""A generated stream of messages is answered through the gateway, on each wire, byte for byte as by the server itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.gateway import channels, real
from tests.gateway.channels import META, Channel
from tests.gateway.generated import ANY_OBJECT, KEYS, VALUES, Raw, spelled
from tests.gateway.program import TINY, gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEEDS = (1, 20261121)
"""Each is one stream, the same for ever. A seed that finds something is added and stays."""
LENGTH = 25
"""Messages of one stream."""
Sample = tuple[str, dict[str, Any]]


def stream(number: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Check every message of the stream with this number."""
    keep = settings(
        max_examples=LENGTH,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    seed(number)(keep(given(strategy)(check)))()


# --- what a member is sent, and what it sends: any bytes at all ---


@contextmanager
def tiny_on_each_wire() -> Generator[dict[str, Channel]]:
    with ExitStack() as stack:
        running = stack.enter_context(gateway({"servers": {"it": TINY}}))
        running.wait({"it": "running"})
        url = f"{running.url}/it"
        yield {
            "sse": stack.enter_context(channels.sse(url)),
            "mcp": stack.enter_context(channels.http(url)),
            "stateless": stack.enter_context(channels.http(url, stateless=True)),
        }


IDS = st.sampled_from([b"7", b"1.0", b"12345678901234567890123", b'"x"', b'"\\u00e9"', '"é"'.encode(), b'"\\"}{"', b'""', b"-3"])


@st.composite
def odd_requests(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """The id of a `tools/call`, the text before it and the text behind it, with all sorts of other things in it."""
    meta = {**META, "x": Raw(draw(VALUES)), "y": Raw(draw(VALUES))}
    params = {"_meta": meta, "name": "raw", "arguments": Raw(draw(ANY_OBJECT)), "x-more": Raw(draw(VALUES))}
    order = draw(st.permutations(["jsonrpc", "method", "params", "x-extra"]))
    parts = {"jsonrpc": b'"2.0"', "method": b'"tools/call"', "params": draw(spelled(params)), "x-extra": draw(VALUES)}
    pairs = [b'"%b":%b' % (key.encode(), parts[key]) for key in order]
    place = draw(st.integers(0, len(pairs)))
    before = b"{" + b"".join(pair + b"," for pair in pairs[:place]) + b'"id":'
    return draw(IDS), before, b"".join(b"," + pair for pair in pairs[place:]) + b"}"


@pytest.mark.parametrize("number", SEEDS)
def test_a_member_gets_every_byte_that_a_client_wrote_but_the_id(number: int) -> None:
    with tiny_on_each_wire() as wires:

        def check(sent: tuple[bytes, bytes, bytes]) -> None:
            raw_id, before, after = sent
            for wire, channel in wires.items():
                answer = json.loads(channel.ask(before + raw_id + after)[-1])
                assert answer["id"] == json.loads(raw_id)
                came = json.loads(answer["result"]["content"][0]["text"]).strip().encode()
                wanted = before + json.dumps(json.loads(came)["id"]).encode() + after
                if wire == "stateless":
                    assert read(came) == without_envelope(read(wanted))
                else:
                    assert came == wanted, wire

        stream(number, odd_requests(), check)


def read(raw: bytes) -> Any:
    """A message with what usual parsers throw away: doubled keys, their order, how numbers are spelled."""
    return json.loads(raw, object_pairs_hook=list, parse_int=_spelled, parse_float=_spelled)


def _spelled(text: str) -> tuple[str, str]:
    return "number", text


def without_envelope(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """A request of the stateless wire as a member of the older ones is to see it."""

    def cleaned(params: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [(name, [pair for pair in item if pair[0] not in META] if name == "_meta" else item) for name, item in params]

    return [(key, cleaned(value) if key == "params" else value) for key, value in pairs]


@st.composite
def odd_answers(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A result with all sorts of things in it, and what stands behind the id."""
    result = draw(st.lists(st.tuples(KEYS, VALUES), max_size=4))
    pairs = b",".join(b'"x%b":%b' % (key.encode(), value) for key, value in result)
    extra = draw(VALUES)
    return b'{"jsonrpc":"2.0","x-first":%b,"id":' % extra, b',"result":{%b},"x-last":%b}' % (pairs, draw(VALUES))


@pytest.mark.parametrize("number", SEEDS)
def test_a_client_gets_every_byte_that_a_member_wrote_but_the_id(number: int) -> None:
    with tiny_on_each_wire() as wires:

        def check(made: tuple[bytes, bytes]) -> None:
            before, after = made
            params = {"name": "answer_as", "arguments": {"before": before.decode(), "after": after.decode()}, "_meta": META}
            sent = json.dumps({"jsonrpc": "2.0", "id": "mine", "method": "tools/call", "params": params}).encode()
            for wire, channel in wires.items():
                came = channel.ask(sent)[-1]
                assert (completed_less(came) if wire == "stateless" else came) == before + b'"mine"' + after, wire

        stream(number, odd_answers(), check)


def completed_less(raw: bytes) -> bytes:
    """An answer without the fields that the stateless wire wants in every result and an older member does not write."""
    return re.sub(rb'"result":\{"resultType":"complete"(,"ttlMs":0,"cacheScope":"private")?,?', b'"result":{', raw, count=1)


# --- real servers ---

ZONES = ["Europe/Berlin", "UTC", "Nowhere/Else", "", 5]
JUNK = st.dictionaries(
    st.sampled_from(["path", "message", "a", "timezone", "grüß"]), st.none() | st.booleans() | st.integers() | st.text(max_size=8)
)


def calls(samples: list[Sample]) -> st.SearchStrategy[dict[str, Any]]:
    """Calls of known tools with good arguments, with none, with odd ones; and of a tool that is not there."""
    good = st.sampled_from(samples)
    odd = st.tuples(st.sampled_from([name for name, _ in samples] + ["no-such-tool", "Üxül"]), JUNK)
    return (good | good | odd).map(lambda it: {"method": "tools/call", "params": {"name": it[0], "arguments": it[1]}})


COMMON: list[dict[str, Any]] = [
    {"method": "tools/list"}, {"method": "tools/list", "params": {}}, {"method": "prompts/list"}, {"method": "resources/list"},
    {"method": "resources/templates/list"}, {"method": "no/such"}, {"method": "tools/call", "params": {"name": "no-such-tool"}},
    {"method": "resources/read", "params": {"uri": "no:such"}}, {"method": "prompts/get", "params": {"name": "no-such-prompt"}},
]  # fmt: skip
OLD: list[dict[str, Any]] = [
    {"method": "ping"},
    {"method": "notifications/unheard/of"},
    {"method": "notifications/cancelled", "params": {"requestId": 99}},
]
"""What the stateless wire has no word for."""


COMPLETABLE = {"type": "ref/prompt", "name": "completable-prompt"}


def recorded(name: str, where: str) -> tuple[list[Sample], list[dict[str, Any]]]:
    """Good calls of a server's tools, and requests that only it has."""
    match name:
        case "time":
            times = [("get_current_time", {"timezone": zone}) for zone in ZONES]
            convert = {"source_timezone": "UTC", "time": "12:30", "target_timezone": "Asia/Tokyo"}
            return [*times, ("convert_time", convert)], []
        case "git":
            at = {"repo_path": where}
            names = ["git_status", "git_log", "git_diff_unstaged", "git_diff_staged", "git_branch"]
            more: list[Sample] = [
                ("git_show", at | {"revision": "HEAD"}),
                ("git_add", at | {"files": ["nothing"]}),
                ("git_log", at | {"max_count": 1}),
            ]
            return [*((tool, at) for tool in names), *more], []
        case "filesystem":
            tools = ["read_text_file", "list_directory", "read_media_file", "directory_tree", "read_file"]
            paths = [where, f"{where}/file.txt", f"{where}/nothing", "/etc/passwd"]
            found: list[Sample] = [(tool, {"path": path}) for tool in tools for path in paths]
            writes: list[Sample] = [("write_file", {"path": f"{where}/out.txt", "content": "grüß Gott \u2028 \U0001f600"})]
            return found + writes, []
        case _:
            echoes: list[Sample] = [
                ("echo", {"message": text}) for text in ("", "grüß Gott \u2028 \U0001f600", "\\u0041\n\r\t\x00")
            ]
            sums: list[Sample] = [("get-sum", {"a": a, "b": b}) for a in (1, 1.0, 1e300, 2**60) for b in (-0.0, 0.1)]
            rest: list[Sample] = [
                ("get-tiny-image", {}),
                ("get-annotated-message", {"messageType": "error", "includeImage": True}),
                ("get-structured-content", {"location": "Chicago"}),
                ("get-resource-links", {"count": 2}),
            ]
            argument = {"name": "department", "value": ""}
            long = {"name": "trigger-long-running-operation", "arguments": {"duration": 0.02, "steps": 2}}
            meta = {"progressToken": Raw(b'"mine"'), "x": 1.0}
            own: list[dict[str, Any]] = [
                {"method": "completion/complete", "params": {"ref": COMPLETABLE, "argument": argument}},
                {"method": "prompts/get", "params": {"name": "simple-prompt"}},
                {"method": "prompts/get", "params": {"name": "args-prompt", "arguments": {"city": "Köln"}}},
                {"method": "tools/call", "params": long | {"_meta": meta}},
            ]
            return echoes + sums + rest, own


@st.composite
def messages(draw: st.DrawFn, samples: list[Sample], own: list[dict[str, Any]]) -> tuple[bytes, bytes]:
    """One message as it is on the older wires, and in the envelope of the stateless one (empty where that has no such thing)."""
    chosen = draw(calls(samples) | st.sampled_from([*COMMON, *OLD, *own]))
    number = Raw(json.dumps(draw(st.integers(1, 2**31) | st.sampled_from(["a", "ü", "1"])), ensure_ascii=False).encode())
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": number, **chosen}
    if body["method"].startswith("notifications/"):
        del body["id"]
    params = body.get("params", {})
    enveloped = body | {"params": params | {"_meta": params.get("_meta", {}) | META}}
    modern = draw(spelled(enveloped)) if chosen not in OLD else b""
    return draw(spelled(body)), modern


TIMES = re.compile(rb"\d\d?:\d\d:\d\d(\.\d+)?( [AP]M)?")


def masked(raw: list[bytes]) -> list[bytes]:
    """Messages without what differs from one second to the next."""
    return [TIMES.sub(b"TIME", item) for item in raw]


@pytest.mark.parametrize("number", SEEDS)
@pytest.mark.parametrize("name", real.NAMES)
def test_a_generated_stream_gets_the_answers_of_the_server_itself_on_every_wire(name: str, number: int, tmp_path: Path) -> None:
    real.furnish(tmp_path)
    spec, (samples, own) = real.spec(name, tmp_path), recorded(name, str(tmp_path))
    with ExitStack() as stack:
        running = stack.enter_context(gateway({"servers": {"it": spec}}))
        running.wait({"it": "running"})
        url = f"{running.url}/it"
        direct = stack.enter_context(channels.stdio(spec))[0]
        modern, discovered = stack.enter_context(channels.stdio(spec, channels.DISCOVER))
        native = b'"supportedVersions"' in discovered
        wires: dict[str, Channel] = {
            "sse": stack.enter_context(channels.sse(url)), "mcp": stack.enter_context(channels.http(url)),
        }  # fmt: skip
        stateless = stack.enter_context(channels.http(url, stateless=True))

        def check(made: tuple[bytes, bytes]) -> None:
            old, new = made
            if "id" not in json.loads(old):
                for channel in (direct, *wires.values()):
                    channel.tell(old)
                return
            expected = masked(direct.ask(old))
            for wire, channel in wires.items():
                assert masked(channel.ask(old)) == expected, wire
            if new and native:
                assert masked(stateless.ask(new)) == masked(modern.ask(new))
            elif new:
                assert [completed_less(raw) for raw in masked(stateless.ask(new))] == expected

        stream(number, messages(samples, own), check)
