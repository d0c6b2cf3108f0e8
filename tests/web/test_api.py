"""The API: one table of operations behind two doors, problems as problem documents, and nothing that a request can break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpwatch.model.fact import MemberExited, OperatorActed
from mcpwatch.model.time import WallTime
from mcpwatch.web.api.catalog import CATALOG, DOCUMENT
from mcpwatch.web.api.events import KEPT, Facts
from mcpwatch.web.api.openapi import document
from tests.web.room import OPERATE, READ, Room, room

pytestmark = pytest.mark.anyio


SPEC: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))


def conforms(method: str, path: str, answer: httpx.Response) -> None:
    """The answer is as the document says."""
    schema = SPEC["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), {**schema, "components": SPEC["components"]}, jsonschema.Draft202012Validator)


def killed(number: int, at: float = 1_795_000_000.0) -> MemberExited:
    return MemberExited(at=WallTime(at + number), text=f"git: end {number}", member="git", generation=number, signal=9)


@pytest.mark.slow
def test_the_document_is_openapi_3_1_by_a_validator_of_others() -> None:
    found = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    from openapi_spec_validator import validate

    validate(found)
    assert found == document()
    assert found["openapi"].startswith("3.1")


async def test_every_operation_of_the_table_is_served_and_nothing_else(tmp_path: Path) -> None:
    async with room(tmp_path) as made:
        assert set(made.web.api.handlers) == {operation.key for operation in CATALOG}


async def test_reading_operations_answer_as_the_document_says(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        for operation in CATALOG:
            if operation.method == "GET" and not operation.path.startswith(("/logs", "/search")):
                answer = await client.get("/api/v1" + operation.path.replace("{name}", "git"))
                assert answer.status_code == 200, (operation.path, answer.text)
                conforms("get", operation.path, answer)


async def test_every_field_of_a_status_is_in_the_document(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        status, shapes = (await client.get("/api/v1/status")).json(), SPEC["components"]["schemas"]
        for found, name in ((status, "Status"), (status["members"][0], "MemberView"), (status["routes"][0], "RouteView")):
            assert set(found) == set(shapes[name]["properties"]) == set(shapes[name]["required"]), name


async def test_both_doors_give_the_same_answer(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        inside = httpx.ASGITransport(app=made.control)
        async with httpx.AsyncClient(transport=inside, base_url="http://localhost") as owner:
            for path in ("/status", "/alerts", "/tools/git", "/why/git", "/clients"):
                assert (await owner.get(path)).json() == (await client.get(f"/api/v1{path}")).json()
            assert (await owner.post("/members/git/restart")).status_code == 200
            assert not [fact for fact in made.facts if isinstance(fact, OperatorActed)]
            await owner.post("/members/git/restart", headers={"mcpwatch-by": "agent (MCP)"})
        assert [fact.by for fact in made.facts if isinstance(fact, OperatorActed)] == ["agent (MCP)"]


async def test_who_did_what_is_a_fact_with_the_name_of_the_token(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client(OPERATE) as client:
        made_silence = await client.post("/api/v1/silences", json={"targets": ["git"], "for": "5m", "by": "somebody else"})
        assert made_silence.json()["by"] == "hands"
        await client.post("/api/v1/members/git/restart", headers={"mcpwatch-by": "forged"})
        told = [fact for fact in made.facts if isinstance(fact, OperatorActed)]
        assert [(fact.by, fact.action, fact.member) for fact in told] == [("hands", "silences", ""), ("hands", "restart", "git")]


@pytest.mark.parametrize(("method", "path", "content", "status"), [
    ("GET", "/nowhere", b"", 404), ("DELETE", "/status", b"", 405), ("GET", "/why/nobody", b"", 404),
    ("POST", "/probe", b"{", 400), ("POST", "/probe", b"[]", 400), ("POST", "/probe", b"{}", 400),
    ("POST", "/probe", b'{"nome": 1}', 400),
    ("POST", "/probe", b'{"name": "\\ud800"}', 400), ("POST", "/probe", b"[" * 100_000, 400), ("POST", "/reload", b"{}", 422),
    ("POST", "/members/git/explode", b"", 404), ("POST", "/reload", b'{"x": 1}', 400), ("GET", "/events?limit=many", b"", 400),
    ("GET", "/logs/../state.db", b"", 404), ("POST", "/probe", b"x" * 300_000, 413),
    ("POST", "/token/rotate", b'{"env_file": "/etc/x"}', 403), ("POST", "/clients/sync", b'{"one_step_since": 1e300}', 400),
])  # fmt: skip
async def test_what_is_refused_is_a_problem_document(tmp_path: Path, method: str, path: str, content: bytes, status: int) -> None:
    async with room(tmp_path) as made, made.client(OPERATE) as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.request(method, f"/api/v1{path}", content=content, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["status"] == status
        assert body["detail"] == body["error"]
        assert ("faults" in body) == (status == 422)


async def test_a_body_of_another_type_is_refused(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client(OPERATE) as client:
        answer = await client.post("/api/v1/probe", content=b'{"name": "git"}', headers={"Content-Type": "text/plain"})
        assert answer.status_code == 415


async def test_facts_come_in_pages_that_miss_and_repeat_none(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        for number in range(25):
            made.bus.publish(killed(number))
        seen: list[int] = []
        cursor: int | None = None
        while True:
            query = {"limit": "10", "member": "git"} | ({"cursor": str(cursor)} if cursor is not None else {})
            page = (await client.get("/api/v1/events", params=query)).json()
            seen += [one["generation"] for one in page["events"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == list(range(24, -1, -1))
        assert (await client.get("/api/v1/events", params={"name": "route_changed"})).json()["events"] == []


async def _taken(facts: Facts, last_id: str, count: int) -> list[Mapping[str, Any]]:
    """The first `count` events of a stream."""
    found: list[Mapping[str, Any]] = []
    stream = facts.sse(last_id, None, None)
    async with asyncio.timeout(10):
        async for text in stream:
            lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith(":"))
            if "data" in lines:
                found.append({"id": lines["id"], **json.loads(lines["data"])})
            if len(found) == count:
                break
    return found


async def test_a_stream_is_taken_up_where_it_was_left_in_memory_and_after_a_restart(tmp_path: Path) -> None:
    made = Room(tmp_path)
    facts = Facts(made.bus, made.store)
    for number in range(5):
        made.bus.publish(killed(number))
    start = f"{killed(0).at:.6f}-1-{facts._boot}"  # pyright: ignore[reportPrivateUsage]
    missed = await _taken(facts, start, 4)
    assert [one["generation"] for one in missed] == [1, 2, 3, 4]
    assert [one["generation"] for one in await _taken(facts, missed[1]["id"], 2)] == [3, 4]
    await made.store.flush()
    after = Facts(made.bus, made.store)  # another watchdog: another boot, nothing in memory
    assert [one["generation"] for one in await _taken(after, missed[1]["id"], 2)] == [3, 4]
    for number in range(5, KEPT + 20):
        made.bus.publish(killed(number))
    await made.store.flush()
    rest = await _taken(facts, missed[-1]["id"], KEPT)
    assert [one["generation"] for one in rest][:3] == [5, 6, 7]
    made.close()


async def test_nothing_in_a_fact_begins_another_event(tmp_path: Path) -> None:
    made = Room(tmp_path)
    facts = Facts(made.bus, made.store)
    evil = "x\n\nevent: fact\ndata: {}\r\nid: 9\u2028\u2029\x85"
    stream = facts.sse("", None, None)
    await anext(stream)
    made.bus.publish(MemberExited(at=WallTime(1.0), text=evil, member=evil, generation=1))
    text = await anext(stream)
    assert text.count("\n") == 4
    assert json.loads(text.split("data: ", 1)[1])["text"] == evil
    made.close()


async def test_a_reader_that_is_too_slow_is_left_behind_and_holds_nobody_up(tmp_path: Path) -> None:
    made = Room(tmp_path)
    facts = Facts(made.bus, made.store)
    stream = facts.sse("", None, None)
    await anext(stream)
    for number in range(1000):
        made.bus.publish(killed(number))
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    made.close()


async def test_one_viewer_more_than_may_is_refused(tmp_path: Path) -> None:
    async with room(tmp_path, viewers=1) as made, made.client() as client:
        made.web.site._viewers.open = 1  # pyright: ignore[reportPrivateUsage]
        for path in ("/live", "/api/v1/events"):
            answer = await client.get(path, headers={"Accept": "text/event-stream"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


TEXT = st.text(max_size=30) | st.sampled_from(["git", "time", "../x", "%00", "a" * 400, "1e400", "-1", "null", "0", "nan"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


def _value(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What the document allows there, and half the time something else."""
    return (st.sampled_from(schema["enum"]) | TEXT) if "enum" in schema else (TEXT | st.integers(0, 5000).map(str))


def _body(described: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What the document asks for, half right and half wrong."""
    content = described.get("requestBody", {}).get("content", {})
    names = list(content["application/json"]["schema"]["properties"]) if content else []
    return st.dictionaries(st.sampled_from(names), JSON, max_size=len(names)) | JSON if names else JSON


@st.composite
def requests(draw: st.DrawFn, method: str) -> tuple[str, str, dict[str, str], Any]:
    """A request that the document describes, more or less: its path there, the real one, query and body."""
    path = draw(st.sampled_from([path for path, verbs in SPEC["paths"].items() if method in verbs]))
    described = SPEC["paths"][path][method]
    real, query = path, dict[str, str]()
    for one in described.get("parameters", []):
        value = draw(_value(one["schema"]).filter(lambda text: text not in ("", ".", "..")))
        if one["in"] == "path":
            real = real.replace(f"{{{one['name']}}}", quote(value, safe=""))
        elif draw(st.booleans()):
            query[one["name"]] = value
    extra = draw(st.dictionaries(st.sampled_from(["x", "limit"]), TEXT, max_size=1))
    return path, real, {**extra, **query}, draw(_body(described)) if method == "post" else None


@pytest.mark.slow
@pytest.mark.parametrize("method", ["get", "post"])
def test_no_request_makes_the_api_fail_or_answer_otherwise_than_the_document_says(method: str, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        made = runner.run(_made(tmp_path))

        @settings(
            max_examples=12 * len(SPEC["paths"]),
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(requests(method))
        def fuzz(asked: tuple[str, str, dict[str, str], Any]) -> None:
            runner.run(_ask(made, method, *asked))

        try:
            fuzz()
        finally:
            runner.run(made.web.site.close())
            made.close()


async def _made(directory: Path) -> Room:
    return Room(directory)


async def _ask(made: Room, method: str, path: str, real: str, query: dict[str, str], body: object) -> None:
    async with made.client(OPERATE) as client:
        content = json.dumps(body).encode() if method == "post" else b""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        answer = await client.request(method, f"/api/v1{real}", params=query, content=content, headers=headers)
        assert answer.status_code < 500, (real, query, body, answer.text)
        assert str(answer.status_code) in SPEC["paths"][path][method]["responses"], (real, answer.status_code)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
        else:
            conforms(method, path, answer)


async def test_a_token_that_reads_reads(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client(READ) as client:
        assert (await client.get("/api/v1/whoami")).json() == {"role": "read", "by": "eyes"}
        assert (await client.post("/api/v1/members/git/stop")).status_code == 403
        assert (await client.post("/api/v1/probe", json={"name": "git"})).status_code == 200
