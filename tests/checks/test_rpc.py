"""JSON-RPC as a checker reads it: which message is the answer, what came instead, and what an error says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcpwatch.checks import rpc
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.model.probe import Stage, Symptom

Json = dict[str, Any]
EMPTY: Json = {}
RESULT: Json = {"jsonrpc": "2.0", "id": 1, "result": {}}
ERROR: Json = {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}}


def test_what_is_sent_is_compact_ascii_with_parameters_only_where_there_are_some() -> None:
    assert rpc.request(1, "ping") == b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    assert rpc.request("a", "é", {}) == b'{"jsonrpc":"2.0","id":"a","method":"\\u00e9","params":{}}'
    assert rpc.notification("n") == b'{"jsonrpc":"2.0","method":"n"}'
    assert rpc.notification("n", {"x": 1}) == b'{"jsonrpc":"2.0","method":"n","params":{"x":1}}'


def test_one_message_or_a_batch_is_read() -> None:
    assert rpc.parse(b'{"a": 1}') == [{"a": 1}]
    assert rpc.parse('[{"a": 1}, {"b": 2}]') == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff\xfe{", "the answer is not UTF-8"),
        (b"\xff" + b"x" * 9999, "the answer is not UTF-8"),
        ("oops", "the answer is not JSON"),
        ('{"a": NaN}', "the answer is not JSON"),
        ("[" * 100_000, "the answer is JSON nested too deeply"),
        ("5", "the answer is JSON but no JSON-RPC message"),
        ('[{"a": 1}, 5]', "the answer is JSON but no JSON-RPC message"),
    ],
)
def test_what_is_no_message_is_a_bad_reply_shown_in_a_bounded_line(text: str | bytes, words: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        rpc.parse(text)
    shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
    assert (caught.value.symptom, caught.value.message) == (Symptom.BAD_REPLY, words)
    assert caught.value.said == (shown if len(shown) <= 200 else shown[:199] + "…")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("frame", ["{}", "[{}]", " [{}]", '[{{"jsonrpc":"2.0","method":"note"}},{}]'])
@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize(("method", "stage"), [("initialize", Stage.INITIALIZE), ("tools/call", Stage.CANARY)])
def test_a_form_that_official_clients_refuse_is_read_and_noted(
    mark: str, frame: str, kind: type, method: str, stage: Stage
) -> None:
    oddities = rpc.Oddities()
    awaited = rpc.Awaited(1, method, oddities)
    text = mark + frame.format(json.dumps(RESULT))
    for _ in range(2):
        assert any(map(awaited.is_in, awaited.messages(text if kind is str else text.encode())))
    odd = [f"the answer to {method} begins with a byte order mark, which official clients refuse"] if mark else []
    if "[" in frame:
        odd.append(f"the answer to {method} is a JSON array where one object was asked for, which official clients refuse")
    told = oddities.remarks()
    assert [(one.symptom, one.stage) for one in told] == [(Symptom.INCOMPATIBLE, stage)] * bool(odd)
    assert [one.message for one in told] == [odd[0] + " (and 1 more)" * (len(odd) - 1) for _ in odd[:1]]


def test_an_array_that_answers_something_else_is_no_form_of_the_answer() -> None:
    oddities = rpc.Oddities()
    assert rpc.Awaited(1, "ping", oddities).messages('[{"jsonrpc":"2.0","method":"note"}]')
    assert oddities.remarks() == []
    assert rpc.Awaited(1, "ping").messages("\ufeff[]") == []


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-32"])
def test_another_unicode_than_utf_8_is_a_bad_reply(coding: str) -> None:
    with pytest.raises(ProbeFailure, match="the answer is not"):
        rpc.Awaited(1, "ping").messages(json.dumps(RESULT).encode(coding))


def test_the_digest_of_a_text_is_that_of_its_bytes() -> None:
    assert rpc.digest("é") == rpc.digest("é".encode()) != rpc.digest("e")
    assert len(rpc.digest("\ud800")) == 16, "half a surrogate breaks nothing"


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (RESULT, True),
        (ERROR, True),
        (RESULT | {"id": "1"}, True),
        (RESULT | {"id": True}, False),
        (RESULT | {"id": 2}, False),
        (RESULT | {"id": None}, False),
        (RESULT | {"method": "ping"}, False),
        ({"jsonrpc": "2.0", "id": 1}, False),
        (ERROR | {"id": None}, True),
        (ERROR | {"id": None, "error": "text"}, False),
        (ERROR | {"id": None, "method": "ping"}, False),
        (ERROR | {"id": 7}, False),
    ],
)
def test_the_answer_is_what_both_official_clients_take_for_it(message: Json, found: bool) -> None:
    awaited = rpc.Awaited(1, "tools/list")
    assert awaited.is_in(message) is found
    assert awaited.strays == (0 if found else 1)


@pytest.mark.parametrize(
    ("version", "told"),
    [(EMPTY, "it has none"), ({"jsonrpc": "1.0"}, 'it has "1.0"'), ({"jsonrpc": "x" * 99}, "x" * 38 + "…")],
)
def test_an_answer_without_json_rpc_2_is_refused_and_a_stray_without_it_is_not(version: Json, told: str) -> None:
    with pytest.raises(ProbeFailure, match="the answer to ping must have jsonrpc") as caught:
        rpc.Awaited(1, "ping").is_in({"id": 1, "result": EMPTY} | version)
    assert caught.value.symptom is Symptom.BAD_REPLY
    assert caught.value.message.endswith(told)
    assert not rpc.Awaited(2, "ping").is_in({"id": 1, "result": EMPTY} | version)


def test_nothing_came_instead_when_nothing_came_or_only_what_servers_send_beside_answers() -> None:
    awaited = rpc.Awaited(1, "ping")
    assert (awaited.strays, awaited.instead, awaited.missing()) == (0, "", None)
    beside: list[Json] = [
        {"jsonrpc": "2.0", "method": "notifications/message"},
        {"id": 9, "method": "ping", "result": {}},
        {"id": 9},
    ]
    for message in beside:
        awaited.is_in(message)
    assert (awaited.strays, awaited.instead) == (3, "")


@pytest.mark.parametrize("outcome", [{"result": EMPTY}, {"error": EMPTY}])
def test_an_answer_with_a_foreign_id_is_told_with_both(outcome: Json) -> None:
    awaited = rpc.Awaited(3, "ping")
    awaited.is_in({"jsonrpc": "2.0", "id": "x" * 99} | outcome)
    missing = awaited.missing()
    assert missing is not None
    assert missing.symptom is Symptom.NO_REPLY
    assert missing.message == f'an answer came with id "{"x" * 38}…, but ping was asked with id 3'


def test_events_that_clients_do_not_hear_are_counted_and_told() -> None:
    awaited = rpc.Awaited(1, "ping")
    assert awaited.hears("")
    assert awaited.hears("message")
    assert awaited.instead == ""
    assert not awaited.hears("result")
    assert awaited.instead == "ping was answered in 1 event of type 'result', which clients do not hear"
    assert not awaited.hears("result")
    assert awaited.instead == "ping was answered in 2 events of type 'result', which clients do not hear"


def test_of_many_types_of_events_the_first_is_told_with_its_own_count() -> None:
    awaited = rpc.Awaited(1, "ping")
    for number in range(100):
        awaited.hears(f"{number}{'x' * 99}")
    for _ in range(4):
        awaited.hears("0" + "x" * 99)
    assert awaited.instead == f"ping was answered in 5 events of type '0{'x' * 38}…', which clients do not hear"


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ({"id": 0, "method": "ping"}, True),
        ({"method": "notifications/message"}, False),
        ({"id": None, "method": "ping"}, False),
        ({"id": 1, "result": {}}, False),
    ],
)
def test_a_request_of_the_server_is_a_method_with_an_id(message: Json, asked: bool) -> None:
    assert rpc.asks(message) is asked


def test_a_server_that_asks_us_is_answered_under_its_id() -> None:
    assert json.loads(rpc.reply({"id": 5, "method": "ping"})) == {"jsonrpc": "2.0", "id": 5, "result": {}}
    assert json.loads(rpc.reply({"id": "r", "method": "roots/list"})) == {"jsonrpc": "2.0", "id": "r", "result": {"roots": []}}
    refused = json.loads(rpc.reply({"id": 6, "method": "sampling/createMessage"}))
    assert (refused["jsonrpc"], refused["id"], refused["error"]["code"]) == ("2.0", 6, -32601)


def test_the_outcome_is_the_result_the_error_or_a_bad_reply() -> None:
    assert rpc.outcome({"result": {"a": 1}}, "m") == {"a": 1}
    with pytest.raises(ProbeFailure) as caught:
        rpc.outcome({"error": {"code": -5, "message": "no"}, "result": {}}, "m")
    assert (caught.value.symptom, caught.value.code) == (Symptom.RPC_ERROR, -5)
    for result in ([1], "text", None):
        with pytest.raises(ProbeFailure, match="the result of m is no object") as caught:
            rpc.outcome({"result": result}, "m")
        assert (caught.value.symptom, caught.value.said) == (Symptom.BAD_REPLY, json.dumps(result))


OLD = {"supported": ["2025-06-18", "2024-11-05"]}
BOTH = "2024-11-05 2025-06-18"


@pytest.mark.parametrize(
    ("error", "shown", "said", "code"),
    [
        ({"code": -5, "message": "no"}, "-5: no", "no", -5),
        ({"code": 0, "message": ""}, "0, with an empty message", "", 0),
        ({"code": "x", "message": "no"}, "None: no", "no", None),
        ({"code": True, "message": "no"}, "None: no", "no", None),
        ({"code": -5, "message": 7}, '-5: {"code": -5, "message": 7}', '{"code": -5, "message": 7}', -5),
        ("text", 'None: "text"', '"text"', None),
        ({"code": -5, "message": "y" * 999}, f"-5: {'y' * 299}…", "y" * 299 + "…", -5),
        ({"code": -5, "message": "no", "data": OLD}, "-5: no (it supports 2025-06-18, 2024-11-05)", "no", -5),
        (
            {"code": -5, "message": "2025-06-18", "data": OLD},
            "-5: 2025-06-18 (it supports 2025-06-18, 2024-11-05)",
            "2025-06-18",
            -5,
        ),
        ({"code": -5, "message": BOTH, "data": OLD}, f"-5: {BOTH}", BOTH, -5),
    ],
)
def test_an_error_is_told_with_its_code_its_words_and_the_versions_not_yet_in_them(
    error: object, shown: str, said: str, code: int | None
) -> None:
    failure = rpc.error_failure(error, "m", 400)
    assert (failure.message, failure.said) == (f"m was answered with error {shown}", said)
    assert (failure.symptom, failure.code, failure.status) == (Symptom.RPC_ERROR, code, 400)


@pytest.mark.parametrize(
    ("data", "versions"),
    [
        (None, ()),
        ("text", ()),
        ({}, ()),
        ({"supported": "2025-06-18"}, ()),
        ({"supported": ["a", 5, None, "b"]}, ("a", "b")),
        ({"supported": [str(number) for number in range(20)]}, tuple(str(number) for number in range(8))),
        ({"supported": ["v" * 99]}, ("v" * 39 + "…",)),
    ],
)
def test_the_versions_an_error_tells_are_texts_few_and_short(data: object, versions: tuple[str, ...]) -> None:
    assert rpc.told_versions({"data": data}) == versions


@pytest.mark.parametrize(
    ("message", "told"),
    [({"id": 7, "result": {}}, "with id 7"), ({"id": None, "result": {}}, "with id null"), ({"result": {}}, "without an id")],
)
def test_an_answer_that_names_another_request_or_none_is_told_with_what_it_said(message: rpc.Message, told: str) -> None:
    awaited = rpc.Awaited(3, "ping")
    assert not awaited.is_in({"jsonrpc": "2.0", **message})
    missing = awaited.missing()
    assert missing is not None
    assert missing.message == f"an answer came {told}, but ping was asked with id 3"
    assert missing.said.endswith('"result": {}}')
    silent = rpc.Awaited(3, "ping")
    assert not silent.is_in({"jsonrpc": "2.0", "method": "notifications/message"})
    assert silent.missing() is None
    assert silent.unanswered("nothing").said == "", "whoever only chats says nothing of it"
    assert silent.unanswered("nothing", b"{}").said == "{}"
