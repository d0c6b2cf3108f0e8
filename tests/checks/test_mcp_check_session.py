"""What the `mcp` check asks of a session, and what it makes of the answers: a session in memory, in virtual time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any, cast

import pytest

from mcpwatch.checks import mcp_check as module
from mcpwatch.checks.classify import refine
from mcpwatch.checks.context import Probe
from mcpwatch.checks.era import Eras
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.list_cache import ListCache
from mcpwatch.checks.mcp_check import McpCheck, pages, run_mcp
from mcpwatch.checks.rpc import Message, digest
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.transport import ProbeTransport
from mcpwatch.checks.wire import Wire
from mcpwatch.model.probe import Canary, Expect, ServerInfo, Stage, Symptom, Target, Vantage
from mcpwatch.model.spec import CheckSpec
from tests.virtual import VirtualClock, VirtualLoop, run

SAFE = {"name": "read", "annotations": {"readOnlyHint": True}, "inputSchema": {"type": "object", "required": ["path"]}}
PLAIN = {"name": "echo", "description": "d", "inputSchema": {"type": "object"}}
SERVER = ServerInfo("m", "1", "2025-11-25", "http", ("tools",))
Says = Message | ProbeFailure | float
"""A result, a failure, or seconds after which nothing came."""


class Session:
    """A session whose every method has its answers; the last is given again and again."""

    def __init__(self, server: ServerInfo = SERVER, **says: Says | list[Says]) -> None:
        self.name = "http"
        self.digest = b""
        self.server = server
        self.hello: Message = {}
        self.asked: list[tuple[str, Message]] = []
        self.opened = False
        self._says: dict[str, list[Says]] = {"tools/list": [{"tools": [PLAIN]}]}
        for name, some in says.items():
            self._says[name.replace("__", "/")] = list(some) if isinstance(some, list) else [some]

    async def open(self) -> None:
        self.opened = True

    async def call(self, method: str, params: Message) -> Message:
        self.asked.append((method, params))
        says = self._says.get(method, [{}])
        said = says.pop(0) if len(says) > 1 else says[0]
        if isinstance(said, ProbeFailure):
            raise ProbeFailure(said.symptom, said.message, said=said.said, code=said.code)
        if isinstance(said, (int, float)):
            await asyncio.sleep(said)
            raise AssertionError("nobody waits that long")
        self.digest = digest(json.dumps(said))
        return said

    def remarks(self) -> list[ProbeFailure]:
        return [ProbeFailure(Symptom.POLLUTED, "a line")]

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]


CHECK = CheckSpec("mcp", timeout=10)


def checked(
    session: Session,
    check: CheckSpec = CHECK,
    *,
    vantage: Vantage = "direct",
    url: str = "http://h/mcp",
    cache: ListCache | None = None,
    **options: Any,
) -> tuple[Probe, ProbeFailure | None, float]:
    """Run the check against a session: the probe with its findings, how it failed, and how long it took."""
    found: list[tuple[Probe, ProbeFailure | None, float]] = []

    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        timeline = ProbeTimeline(check.timeout)
        transport = cast("ProbeTransport", None)
        probe = Probe(check, Target(url), vantage, timeline, transport, Eras(), cache or ListCache())
        failure: ProbeFailure | None = None
        async with timeline.scope:
            try:
                await run_mcp(probe, McpCheck(**options))
            except ProbeFailure as caught:
                failure = caught
        found.append((probe, failure, loop.time()))

    def wire(probe: Probe) -> Wire:
        return cast("Wire", session)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_wire", wire)
        run(within)
    return found[0]


def test_a_check_lists_the_tools_and_keeps_what_it_found() -> None:
    session = Session()
    probe, failure, _ = checked(session)
    assert failure is None
    assert session.methods == ["tools/list"]
    assert (probe.wire, probe.found.server) == (session, SERVER)
    assert [tool.name for tool in probe.found.tools or ()] == ["echo"]
    assert (probe.found.lint, probe.found.lists_from_cache, probe.found.safe) == ((), "", None)
    assert [remark.message for remark in probe.found.degraded] == ["a line"]
    assert json.loads(probe.found.contract or "")["tools"][0]["name"] == "echo"
    assert session.opened
    assert [timing.stage for timing in probe.timeline.timings()] == [Stage.TOOLS_LIST]
    assert probe.timeline.stage is None, "what follows the list is not the server's time"


def test_another_server_than_the_expected_one_is_asked_for_nothing() -> None:
    session = Session()
    probe, failure, _ = checked(session, replace(CHECK, expect=Expect(server_name="other")))
    assert failure is not None
    assert (failure.symptom, session.asked, probe.found.server) == (Symptom.WRONG_SERVER, [], SERVER)


BARE = replace(SERVER, capabilities=())


@pytest.mark.parametrize(
    ("server", "check", "asked"),
    [
        (BARE, CHECK, []),
        (BARE, replace(CHECK, expect=Expect(min_tools=0)), []),
        (BARE, replace(CHECK, expect=Expect(min_tools=1)), ["tools/list"]),
        (BARE, replace(CHECK, expect=Expect(tools=("echo",))), ["tools/list"]),
        (BARE, replace(CHECK, canary=Canary("echo")), ["tools/list", "tools/call"]),
        (SERVER, CHECK, ["tools/list"]),
    ],
)
def test_tools_are_listed_where_the_server_offers_them_or_the_check_wants_some(
    server: ServerInfo, check: CheckSpec, asked: list[str]
) -> None:
    session = Session(server)
    probe, failure, _ = checked(session, check)
    assert (failure, session.methods) == (None, asked)
    assert [tool.name for tool in probe.found.tools or ()] == (["echo"] if asked else [])
    assert probe.found.tools is not None


def test_an_unexpected_list_fails_with_its_findings_kept() -> None:
    probe, failure, _ = checked(Session(), replace(CHECK, expect=Expect(tools=("gone",))))
    assert failure is not None
    assert (failure.symptom, probe.found.fingerprint is None, probe.found.tokens) == (Symptom.MISSING_TOOLS, False, 16)


def test_lint_of_tools_degrades_with_the_first_line_and_how_many_more_there_are() -> None:
    hidden = {"name": "h", "description": "a\u200b", "inputSchema": {"type": "object"}}
    broken = {"name": "b", "description": "d", "inputSchema": {"type": "object", "minProperties": -1}}
    other = broken | {"name": "c"}
    probe, _, _ = checked(Session(tools__list={"tools": [hidden, broken, other]}))
    schema, text, line = probe.found.degraded
    assert (schema.symptom, schema.stage, schema.message[:8], schema.message[-13:]) == (
        Symptom.SCHEMA,
        Stage.TOOLS_LIST,
        "tool 'b'",
        " (and 1 more)",
    )
    assert (text.symptom, text.message) == (
        Symptom.HIDDEN_TEXT,
        "tool 'h': its description holds zero-width characters: U+200B",
    )
    assert line.symptom is Symptom.POLLUTED
    assert len(probe.found.lint) == 3


@pytest.mark.parametrize(
    ("url", "vantage", "check", "options", "called"),
    [
        ("http://h/mcp", "direct", CHECK, {}, False),
        ("http://h/mcp", "direct", CHECK, {"safe_call": True}, True),
        ("http://h/mcp", "direct", replace(CHECK, safe_call=True), {}, True),
        ("http://h/mcp", "direct", replace(CHECK, safe_call=True), {"safe_call": False}, False),
        ("http://h/m/mcp", "direct", CHECK, {}, True),
        ("http://h/m/mcp", "direct", CHECK, {"safe_call": False}, False),
        ("http://h/m/mcp", "route", CHECK, {}, False),
        ("http://h/m/mcp", "direct", replace(CHECK, canary=Canary("echo")), {}, False),
    ],
)
def test_a_safe_call_is_made_where_it_was_asked_for_or_the_server_shows_that_it_lists_from_a_cache(
    url: str, vantage: Vantage, check: CheckSpec, options: dict[str, Any], called: bool
) -> None:
    session = Session(tools__list={"tools": [PLAIN, SAFE]})
    probe, failure, _ = checked(session, check, vantage=vantage, url=url, **options)
    assert failure is None
    assert (("tools/call", {"name": "read", "arguments": {}}) in session.asked) is called
    assert bool(probe.found.lists_from_cache) is (url == "http://h/m/mcp")


SAID: list[tuple[Says, Symptom | None]] = [
    ({"content": []}, None),
    ({"isError": True, "content": [{"type": "text", "text": "path is required"}]}, None),
    ({"isError": True, "content": [{"type": "text", "text": "not connected"}]}, Symptom.UPSTREAM_DOWN),
    (ProbeFailure(Symptom.RPC_ERROR, "x", said="path is required", code=-32602), None),
    (ProbeFailure(Symptom.RPC_ERROR, "x", said="transport closed", code=-32603), Symptom.UPSTREAM_DOWN),
    (ProbeFailure(Symptom.CUT, "x"), Symptom.CUT),
]


def test_a_safe_call_proves_the_way_by_the_tools_own_complaint() -> None:
    for said, symptom in SAID:
        probe, failure, _ = checked(Session(tools__list={"tools": [SAFE]}, tools__call=said), safe_call=True)
        assert (failure.symptom if failure else None) is symptom, said
        assert probe.timeline.stage is Stage.SAFE_CALL
    session = Session()
    assert checked(session, safe_call=True)[1] is None
    assert session.methods == ["tools/list"], "no tool is safe to call"


def test_a_canary_is_called_with_its_arguments_and_judged() -> None:
    said = {"content": [{"type": "text", "text": "hi"}]}
    session = Session(tools__call=said)
    check = replace(CHECK, canary=Canary("echo", '{"text": "hi"}'), expect=Expect(contains="hi"))
    probe, failure, _ = checked(session, check)
    assert failure is None
    assert session.asked[-1] == ("tools/call", {"name": "echo", "arguments": {"text": "hi"}})
    assert probe.timeline.stage is Stage.CANARY
    failure = checked(Session(tools__call=said), replace(check, expect=Expect(contains="ho")))[1]
    assert failure is not None
    assert failure.symptom is Symptom.UNEXPECTED


@pytest.mark.parametrize(("arguments", "error"), [("{", ValueError), ("[1]", TypeError)])
def test_arguments_of_a_canary_that_are_no_object_break_the_check_and_blame_nobody(arguments: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="the canary's arguments are"):
        checked(Session(), replace(CHECK, canary=Canary("echo", arguments)))


@pytest.mark.parametrize(
    ("server", "hold", "seconds"), [(SERVER, 0, 0), (SERVER, 3, 3), (replace(SERVER, protocol="2026-07-28"), 3, 0)]
)
def test_a_session_is_held_idle_and_pinged_where_there_is_one(server: ServerInfo, hold: float, seconds: float) -> None:
    session = Session(server)
    probe, failure, took = checked(session, hold=hold)
    assert (failure, took) == (None, seconds)
    assert ("ping" in session.methods) is bool(seconds)
    assert probe.timeline.stage is (Stage.PING if seconds else None)


def test_a_session_is_held_for_an_hour_at_most_and_a_modern_list_is_judged_as_one() -> None:
    assert McpCheck(safe_call=None, hold=3600).hold == 3600
    for hold in (-1, 3601):
        with pytest.raises(ValueError, match="hold"):
            McpCheck(safe_call=None, hold=hold)
    loose = PLAIN | {"outputSchema": {"type": "string"}}
    for protocol, symptom in (("2026-07-28", None), ("2025-11-25", Symptom.SCHEMA)):
        failure = checked(Session(replace(SERVER, protocol=protocol), tools__list={"tools": [loose]}))[1]
        assert (failure.symptom if failure else None) is symptom


ALL = replace(SERVER, capabilities=("prompts", "resources", "tools"))
LISTS: dict[str, Says | list[Says]] = {
    "prompts__list": {"prompts": [{"name": "greet"}]},
    "resources__list": {"resources": [{"name": "r", "uri": "x:r"}]},
    "resources__templates__list": {"resourceTemplates": [{"name": "t", "uriTemplate": "x:{t}"}]},
}
OTHERS = ["prompts/list", "resources/list", "resources/templates/list"]


def test_prompts_and_resources_are_listed_after_all_else_and_once_in_a_while() -> None:
    cache = ListCache()
    session = Session(ALL, **LISTS)
    contracts = [json.loads(checked(session, cache=cache)[0].found.contract or "") for _ in range(2)]
    assert session.methods == ["tools/list", *OTHERS, "tools/list"]
    probe, _, _ = checked(Session(ALL, **LISTS))
    assert [str(timing.stage) for timing in probe.timeline.timings()] == ["tools_list", "prompts_list", "resources_list"]
    assert contracts[0] == contracts[1]
    assert [contracts[0][key][0]["name"] for key in ("prompts", "resources", "templates")] == ["greet", "r", "t"]
    ignored = Session(ALL, **LISTS)
    probe, _, _ = checked(ignored, replace(CHECK, contract="ignore"))
    assert (ignored.methods, probe.found.contract) == (["tools/list"], None)


@pytest.mark.parametrize(
    ("said", "asked", "symptom", "kept"),
    [
        (ProbeFailure(Symptom.RPC_ERROR, "x"), OTHERS, None, ["prompts", "templates", "tools"]),
        (ProbeFailure(Symptom.BAD_REPLY, "x"), OTHERS, None, ["prompts", "templates", "tools"]),
        (ProbeFailure(Symptom.CUT, "x"), OTHERS[:2], Symptom.CUT, ["prompts", "tools"]),
        (60.0, OTHERS[:2], Symptom.TIMEOUT, ["prompts", "tools"]),
    ],
)
def test_a_list_beside_the_tools_that_fails_never_fails_the_check(
    said: Says, asked: list[str], symptom: Symptom | None, kept: list[str]
) -> None:
    session = Session(ALL, **(LISTS | {"resources__list": said}))
    probe, failure, took = checked(session)
    assert (failure, session.methods[1:], sorted(json.loads(probe.found.contract or ""))) == (None, asked, kept)
    degraded = [remark for remark in probe.found.degraded if remark.symptom is not Symptom.POLLUTED]
    assert [(remark.symptom, remark.stage) for remark in degraded] == ([(symptom, Stage.RESOURCES_LIST)] if symptom else [])
    assert took == (pytest.approx(9.5 / 2) if symptom is Symptom.TIMEOUT else 0)


def test_hidden_text_beside_the_tools_is_lint_too() -> None:
    session = Session(ALL, **(LISTS | {"prompts__list": {"prompts": [{"name": "p", "title": "a\u200b"}]}}))
    session.hello = {"name": "m", "instructions": "b\u200b"}
    probe, _, _ = checked(session)
    assert probe.found.lint == (
        "the server 'm': its instructions holds zero-width characters: U+200B",
        "prompt 'p': its title holds zero-width characters: U+200B",
    )
    told = probe.found.degraded[0]
    assert (told.symptom, told.stage, told.message[-13:]) == (Symptom.HIDDEN_TEXT, Stage.PROMPTS_LIST, " (and 1 more)")


def listed(*said: Says) -> tuple[Session, list[Message] | ProbeFailure]:
    """The pages of a list as they come."""
    session = Session(tools__list=list(said))
    found: list[list[Message] | ProbeFailure] = []

    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        try:
            items, digests = await pages(cast("Wire", session), "tools/list", "tools")
            assert digests == b"".join(digest(json.dumps(page)) for page in said)
            found.append(items)
        except ProbeFailure as failure:
            found.append(failure)

    run(within)
    return session, found[0]


def page(*names: str, cursor: object = None) -> Message:
    return {"tools": [{"name": name} for name in names]} | ({} if cursor is None else {"nextCursor": cursor})


def test_every_page_of_a_list_is_asked_for_with_the_cursor_of_the_one_before() -> None:
    session, items = listed(page("a", cursor="1"), page("b", "c", cursor="2"), page(cursor="3"), page("d", cursor=""))
    assert items == [{"name": name} for name in "abcd"]
    assert [params for _, params in session.asked] == [{}, {"cursor": "1"}, {"cursor": "2"}, {"cursor": "3"}]
    assert listed({"tools": None})[1] == []


NO_LISTS: list[tuple[list[Says], str]] = [
    ([{}], "the result of tools/list has no list of tools"),
    ([{"tools": "x"}], "the result of tools/list has no list of tools"),
    ([{"tools": [{}, "x"]}], "the result of tools/list has no list of tools"),
    ([page("a", cursor=5)], "the cursor that tools/list gives is no text: 5"),
    ([page("a", cursor="x" * 99)] * 2, f"tools/list goes in circles: cursor '{'x' * 59}…' came twice"),
    ([page(cursor="1"), page(cursor="2"), page(cursor="1")], "tools/list goes in circles: cursor '1' came twice"),
]


@pytest.mark.parametrize(("said", "words"), NO_LISTS)
def test_a_list_that_is_none_or_goes_in_circles_is_a_bad_reply(said: list[Says], words: str) -> None:
    found = listed(*said)[1]
    assert isinstance(found, ProbeFailure)
    assert (found.symptom, found.message) == (Symptom.BAD_REPLY, words)


def test_a_list_is_followed_within_bounds() -> None:
    def many(count: int) -> list[Says]:
        return [*(page(cursor=str(number)) for number in range(count)), page()]

    assert (module.PAGES_MAX, module.ITEMS_MAX) == (200, 100_000)
    assert listed(*many(200))[1] == []
    over = listed(*many(201))[1]
    assert isinstance(over, ProbeFailure)
    assert (over.symptom, over.message) == (Symptom.TOO_LARGE, "tools/list has more than 200 pages or 100000 items")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ITEMS_MAX", 2)
        assert isinstance(listed(page("a", "b", cursor="1"), page())[1], list)
        assert isinstance(listed(page("a", "b", "c", cursor="1"), page())[1], ProbeFailure)


def test_a_command_is_spoken_to_over_stdio_and_a_url_over_http() -> None:
    made: list[str] = []

    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        for target in (Target(command=("server",)), Target("http://h/sse"), Target("http://h/mcp", "http")):
            probe = Probe(CHECK, target, "direct", ProbeTimeline(1), cast("ProbeTransport", None), Eras(), ListCache())
            made.append(module._wire(probe).name)  # pyright: ignore[reportPrivateUsage]

    run(within)
    assert made == ["stdio", "sse", "http"]


FORGETS: Says = {"isError": True, "content": [{"type": "text", "text": "Session not found"}]}
FORGETS_BY_ERROR: Says = ProbeFailure(Symptom.RPC_ERROR, "x", said="Session not found", code=-32603)


@pytest.mark.parametrize(
    ("url", "said", "safe_call", "symptom"),
    [
        ("http://h/x/mcp", FORGETS, None, Symptom.TOOL_ERROR),
        ("http://h/x/mcp", FORGETS_BY_ERROR, None, Symptom.RPC_ERROR),
        ("http://h/m/mcp", FORGETS, None, Symptom.TOOL_ERROR),
        ("http://h/m/mcp", FORGETS_BY_ERROR, None, Symptom.STALE_SESSION),
        ("http://h/x/mcp", FORGETS, True, Symptom.STALE_SESSION),
        ("http://h/x/mcp", FORGETS_BY_ERROR, True, Symptom.STALE_SESSION),
    ],
    ids=["listed", "listed, error", "TBXark passes results on", "TBXark's errors are its own", "memory", "memory, error"],
)
def test_a_tool_that_says_that_a_session_of_its_own_is_gone_is_no_proxy_that_lost_one(
    url: str, said: Says, safe_call: bool | None, symptom: Symptom
) -> None:
    check = replace(CHECK, canary=Canary("echo"))
    session = Session(tools__list={"tools": [PLAIN]}, tools__call=said)
    probe, failure, _ = checked(session, check, vantage="route", url=url, safe_call=safe_call)
    assert failure is not None
    assert refine(failure, "route", listed=probe.listed).symptom is symptom
    nothing = Session(tools__list={"tools": []}, tools__call=said)
    probe, failure, _ = checked(nothing, replace(check, expect=Expect(min_tools=0)), vantage="route", url="http://h/x/mcp")
    assert failure is not None
    assert refine(failure, "route", listed=probe.listed).symptom is Symptom.STALE_SESSION, "an empty list proves nothing"


def test_what_a_safe_call_was_told_is_kept() -> None:
    for said in (FORGETS, FORGETS_BY_ERROR):
        probe, failure, _ = checked(Session(tools__list={"tools": [SAFE]}, tools__call=said), safe_call=True)
        assert (failure, probe.found.said) == (None, "Session not found")
    assert checked(Session(tools__list={"tools": [SAFE]}), safe_call=True)[0].found.said == ""
