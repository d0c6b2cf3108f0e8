"""Messages as bytes: what routing reads, and that splicing touches nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.gateway.protocol import json_edit, message

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.just("id"), inner, max_size=3)
)
IDS = st.integers(0, 10**12) | st.text(max_size=8)
LAYOUTS: list[Any] = [{"separators": (",", ":")}, {}, {"indent": 1}, {"ensure_ascii": False}]


@given(
    IDS,
    st.dictionaries(st.text(max_size=6).filter(lambda key: key != "id"), VALUES, max_size=4),
    st.integers(0, 4),
    st.sampled_from(LAYOUTS),
)
def test_a_new_id_changes_the_id_and_nothing_else(
    number: int | str, rest: dict[str, Any], place: int, layout: dict[str, Any]
) -> None:
    items = list(rest.items())
    items.insert(min(place, len(items)), ("id", number))
    data = json.dumps(dict(items), **layout).encode()
    raw = json.dumps(number, ensure_ascii=layout.get("ensure_ascii", True)).encode()
    changed = message.with_id(data, raw, b"\x00")
    before, _, after = changed.partition(b"\x00")
    assert before + raw + after == data
    assert list(json.loads(before + b'"new"' + after).items()) == [(key, "new" if key == "id" else value) for key, value in items]


@pytest.mark.parametrize(
    "data",
    [
        b'{"method":"tools/call","params":{"name":"x","arguments":{"id":7}},"jsonrpc":"2.0","id":7}',
        b'{"jsonrpc":"2.0","id":7,"result":{"id":7,"n":1.50,"big":12345678901234567890123}}',
        b'{"result":{"text":",\\"id\\":7}"},"id":7,"jsonrpc":"2.0"}',
        b'{ "params" : {"id":7} , "id" : 7 , "x" : [ {"id":7} ] }',
    ],
)
def test_the_top_level_id_is_found_wherever_writers_put_it(data: bytes) -> None:
    assert json.loads(message.with_id(data, b"7", b"99")) == json.loads(data) | {"id": 99}
    assert message.with_id(message.with_id(data, b"7", b"99"), b"99", b"7") == data


def test_of_doubled_keys_the_last_one_counts_as_for_every_parser() -> None:
    data = b'{"x":1,"id":1,"y":2,"id":2,"z":[]}'
    envelope = message.peek(data)
    assert isinstance(envelope.id, message.Raw)
    assert bytes(envelope.id) == b"2"
    assert message.with_id(data, b"2", b"9") == b'{"x":1,"id":1,"y":2,"id":9,"z":[]}'


@pytest.mark.parametrize("data", [b"", b"hello", b"[1]", b'{"id":1', b'{"id":1}}', b'"x"', b"{'id':1}", b'{"method":5}'])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(message.Malformed):
        message.peek(data)


def test_parameters_of_an_odd_shape_do_not_make_a_message_malformed() -> None:
    for params in (b"[1]", b'{"_meta":5}', b'"x"', b"null"):
        envelope = message.peek(b'{"jsonrpc":"2.0","id":1,"method":"m","params":' + params + b"}")
        assert envelope.method == "m"


def test_a_result_with_nan_is_read_as_clients_read_it() -> None:
    assert message.peek(b'{"id":3,"result":{"x":NaN}}').id is not message.UNSET


def test_one_line_keeps_what_stands_inside_strings() -> None:
    assert json.loads(message.one_line(b'{\r\n "id": 1,\n "a": "x\\ny"\n}\n')) == {"id": 1, "a": "x\ny"}
    assert b"\n" not in message.one_line(b'{\n"id":1}\r\n')


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_every_value_is_located_where_it_stands(value: dict[str, Any]) -> None:
    data = json.dumps(value, indent=1).encode()
    for key, item in value.items():
        span = json_edit.locate(data, (key,))
        assert span is not None
        assert json.loads(data[span[0] : span[1]]) == item
