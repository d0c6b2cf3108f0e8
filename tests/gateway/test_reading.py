"""What is refused of a message at the door, because another reader may read it differently or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from mcpwatch.gateway.protocol import message, reading

CALL = b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"echo","arguments":{"id":7},"_meta":{"progressToken":3}}}'


@pytest.mark.parametrize(
    "data",
    [
        b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{},"id":4}',
        b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{},"id":5}',
        b'{"id": 44, "id": 4, "method": "x"}',
        b'{"id":4,"method":"x","\\u0069d":5}',
        b'{"id":4,"method":"x","ID":5}',
        b'{"method":"x","Id":5}',
        '{"id":4,"method":"x","param\u017f":{}}'.encode(),
        b'{"id":4,"method":"x","Method":"y"}',
        b'{"id":4,"method":"x","extra":1,"Extra":2}',
        b'{"id":4,"method":"tools/call","params":{"name":"a","name":"b"}}',
        b'{"id":4,"method":"tools/call","params":{"name":"a","Name":"b"}}',
        b'{"id":4,"method":"x","params":{"_meta":{"progressToken":1, "progressToken":2}}}',
        b'{"id":4,"method":"completion/complete","params":{"ref":{"name":"a","name":"b"}}}',
        b'{"method":"notifications/cancelled","params":{"requestId":1,"requestid":2}}',
        b'{"id":4,"method":"x","result":{}}',
        b'{"id":null,"method":"x"}',
        b'{"id":{"a":1},"method":"x"}',
        b'{"id":4,"method":"x","a":"\\ud800","id":5}',
    ],
)
def test_what_readers_may_read_differently_is_an_invalid_request_of_a_client_and_no_message_of_a_member(data: bytes) -> None:
    for read in (reading.of_client, reading.of_member):
        with pytest.raises(message.InvalidMessage) as caught:
            read(data)
        assert caught.value.code == message.INVALID_REQUEST


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + CALL,
        CALL.decode().encode("utf-16"),
        CALL.decode().encode("utf-16-le"),
        CALL.decode().encode("utf-32"),
        CALL.replace(b"echo", b"\xff"),
        CALL.replace(b"echo", b"\xed\xa0\x80"),
        CALL.replace(b"7", b"9" * (reading.DIGITS + 1)),
        CALL.replace(b"7", b"-" + b"9" * 20_000),
        CALL.replace(b"7", b"[" * 100_000 + b"]" * 100_000),
        CALL.replace(b"7", b'{"a":' * 501 + b"1" + b"}" * 501),
        CALL.replace(b"7", b"NaN"),
        CALL + b"}",
        b"[]",
        b"3",
        b"",
        b'{"id":4,"method":3}',
    ],
)
def test_what_is_no_utf_8_json_that_every_reader_takes_is_a_parse_error(data: bytes) -> None:
    with pytest.raises(message.Malformed) as caught:
        reading.of_client(data)
    assert caught.value.code == message.PARSE_ERROR


@pytest.mark.parametrize(
    "data",
    [
        CALL,
        json.dumps(json.loads(CALL)).encode(),
        json.dumps(json.loads(CALL), indent=1).encode(),
        CALL.replace(b"7", b'{"a":1,"a":2}'),
        CALL.replace(b"7", b'"' + b"9" * 50_000 + b'"'),
        CALL.replace(b"7", b"9" * reading.DIGITS),
        CALL.replace(b"7", b"1." + b"0" * 5000),
        CALL.replace(b"7", b"[" * 490 + b"]" * 490),
        CALL.replace(b"7", b"[" + b"[]," * 2000 + b"[]]"),
        CALL.replace(b"7", '"zwölf \U0001f600"'.encode()),
        CALL.replace(b"7", b'"\\ud800"'),
        CALL + b" \r\n",
    ],
)
def test_what_every_reader_takes_is_taken(data: bytes) -> None:
    for read in (reading.of_client, reading.of_member):
        envelope = read(data)
        assert isinstance(envelope.id, Raw)
        assert (bytes(envelope.id), envelope.method) == (b"4", "tools/call")


def test_a_member_may_print_nan_and_may_answer_without_an_id() -> None:
    assert message.raw_id(reading.of_member(b'{"id":4,"result":{"a":NaN}}')) == b"4"
    assert message.raw_id(reading.of_member(b'{"id":null,"error":{}}')) == b"null"


def test_a_large_text_is_read_in_time_that_grows_with_it_alone() -> None:
    """Runs of digits just short of the bound are the worst case; what takes minutes when it is quadratic must end."""
    run = b'"' + b"9" * (reading.DIGITS - 1) + b'",'
    data = b'{"id":4,"method":"x","params":{"a":[' + run * 1900 + b"0]}}"
    assert reading.of_client(data).method == "x"


KEYS = st.sampled_from(
    ["jsonrpc", "id", "method", "params", "result", "error", "_meta", "name", "Name", "ref", "progressToken", "x", "ID"]
)
LEAVES: st.SearchStrategy[object] = st.sampled_from(
    ["2.0", "tools/call", "a, b: c", 0, 7, -1.5, None, True, [], {}, [1, {"id": 2}], "\u00fc", '"', "\\"]
)


def spelled(pairs: list[tuple[str, object]], comma: str, colon: str) -> str:
    """An object with these members, a key as often as it comes."""
    members: list[str] = []
    for key, value in pairs:
        inner = cast("list[object]", value) if isinstance(value, list) else []
        if inner and isinstance(inner[0], tuple):
            shown = spelled(cast("list[tuple[str, object]]", inner), comma, colon)
        else:
            shown = json.dumps(value)
        members.append(f"{json.dumps(key)}{colon}{shown}")
    return "{" + comma.join(members) + "}"


def _objects(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """No lambda: hypothesis parses the source of one to name it, and deep in a stack CPython 3.11 ends that with `SystemError`."""
    return st.lists(st.tuples(KEYS, inner), min_size=1, max_size=4)


OBJECTS: st.SearchStrategy[object] = st.recursive(LEAVES, _objects, max_leaves=8)


def outcome(read: Callable[[], message.Envelope]) -> tuple[object, ...]:
    try:
        found = read()
    except message.Malformed as refused:
        return (type(refused),)
    return message.raw_id(found), found.method, found.params


@given(st.lists(st.tuples(KEYS, OBJECTS), max_size=6), st.sampled_from([(",", ":"), (", ", ": "), (", ", ":"), (" ,", ": ")]))
@example([("jsonrpc", "2.0"), ("id", 1), ("method", "x"), ("params", [("a", 1), ("_meta", [("progressToken", 1)])])], (", ", ": "))
@example([("id", 1), ("id", 1), ("method", "x")], (", ", ": "))
def test_a_message_is_read_alike_in_the_short_way_and_in_the_long_one(
    pairs: list[tuple[str, object]], glue: tuple[str, str]
) -> None:
    data = spelled(pairs, *glue).encode()
    assert outcome(lambda: reading.of_client(data)) == outcome(lambda: reading._read(data, finite=True))  # pyright: ignore[reportPrivateUsage]
    doubled = len({key for key, _ in pairs}) != len(pairs)
    if doubled:
        assert outcome(lambda: reading.of_client(data))[0] in {message.InvalidMessage, message.Malformed}


def test_what_python_spells_is_read_in_the_short_way() -> None:
    hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"capabilities": {}, "clientInfo": {"name": "a, b"}}}
    for data in (json.dumps(hello), json.dumps(hello, separators=(",", ":"))):
        assert reading._brief(data.encode()) is not None  # pyright: ignore[reportPrivateUsage]
