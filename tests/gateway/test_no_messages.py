"""A line that would be an answer, were it written as the wire wants it, fails its call at once and is named for what it is."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.pollution import SPREAD_LINES, NoMessages
from mcpwatch.model.wire import NOT_UTF8, SPREAD
from mcpwatch.proxies.gateway import Gateway
from tests.gateway.test_answer_record import Client, Link

LEAVES = st.none() | st.booleans() | st.integers(-999, 999) | st.text(st.characters(codec="latin-1"), max_size=8)
RESULTS = st.dictionaries(st.text("abcé", max_size=4), st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3)), max_size=4)


def failed(lines: list[bytes]) -> list[tuple[bytes, str]]:
    """Which calls fail by these lines, none of which is a message."""
    found: list[tuple[bytes, str]] = []
    told = NoMessages("m", Counts(), lambda raw, why: found.append((raw, why)))
    told._pollution.tell = lambda line: None  # type: ignore[method-assign]  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    for line in lines:
        told.take(line)
    return found


@given(
    RESULTS,
    st.integers(1, 9),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
    st.lists(st.sampled_from([b"log", b"{x", b"}"]), max_size=2),
)
def test_an_answer_over_several_lines_is_found_among_others(
    result: dict[str, Any], number: int, indent: int, first: bool, before: list[bytes]
) -> None:
    body: dict[str, Any] = {"jsonrpc": "2.0"} | ({"id": number, "result": result} if first else {"result": result, "id": number})
    lines = json.dumps(body, indent=indent).encode().split(b"\n")
    assert failed([*before, *lines, b"log"]) == [(b"%d" % number, f"answered with {SPREAD}")]


@given(RESULTS, st.integers(1, 9), st.sampled_from(["latin-1", "utf-16-be"]))
def test_an_answer_in_another_coding_is_found_where_its_id_can_be_read(result: dict[str, Any], number: int, coding: str) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": number, "result": {**result, "é": "é"}}, ensure_ascii=False).encode(coding)
    assert failed([line]) == ([(b"%d" % number, f"answered with {NOT_UTF8}")] if coding == "latin-1" else [])


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"jsonrpc":"2.0","method":"\xff"}'],
        [b'{"id":1,"result":"\xff"}'],
        [b'{"jsonrpc":"2.0","id":"1","result":"\xff"}'],
        [b"{", b' "level": "info"', b"}"],
        [b"{", *[b'"a": 1,'] * (SPREAD_LINES + 1), b'"jsonrpc": "2.0", "id": 1}', b"}"],
        [b"}"],
        [b"["] * 3,
    ],
    ids=["a notification", "no message", "an id that is not ours", "a log", "too long", "an end", "beginnings"],
)
def test_no_call_fails_by_anything_else(lines: list[bytes]) -> None:
    assert failed(lines) == []


def test_the_call_of_an_answer_that_cannot_be_read_fails_and_the_log_line_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    got: list[dict[str, Any]] = []
    client = Client()
    client.deliver = lambda data, share: got.append(json.loads(data))  # type: ignore[method-assign]
    link = Link(client)
    number = link.ask("tools/call")
    with caplog.at_level(logging.WARNING, "mcpwatch.gateway"):
        NoMessages("m", Counts(), link.mux.unreadable).take(b'{"jsonrpc":"2.0","id":%d,"result":"caf\xe9"}' % number)
    assert [one["error"]["message"] for one in got] == ["member 'm' answered with bytes that are not UTF-8"]
    assert link.mux.in_flight == 0
    hints = [Gateway().hint(f" WARNING {record.getMessage()}") for record in caplog.records]
    assert [(hint.meaning, "not UTF-8" in hint.text) for hint in hints if hint] == [("polluted", False), ("polluted", True)]
