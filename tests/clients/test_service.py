"""The room in the daemon: verdicts become files, reasons become facts, and commands do what they say."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpwatch.bus import Bus
from mcpwatch.clients import writer
from mcpwatch.clients.api import ClientsApi
from mcpwatch.clients.formats.path import Syntax
from mcpwatch.clients.location import Machine
from mcpwatch.clients.reconcile import ReconcileResult, reconcile
from mcpwatch.clients.service import ClientsService
from mcpwatch.model.errors import UsageError
from mcpwatch.model.fact import ClientFileSkipped, ClientFileWritten, Fact, RouteChanged
from mcpwatch.model.member import Verdict
from mcpwatch.model.time import WallTime
from tests.clients.fakes import TOKEN, MemoryStore, ShownFleet, SteppedClock

UP, DOWN = Verdict.HEALTHY, Verdict.UNHEALTHY
pytestmark = pytest.mark.anyio


@dataclass
class Room:
    fleet: ShownFleet
    clock: SteppedClock
    store: MemoryStore
    bus: Bus
    service: ClientsService
    api: ClientsApi
    facts: list[Fact]
    home: Path

    async def after(self, seconds: float) -> None:
        self.clock.at += seconds
        await self.service.look()

    def listed(self, path: str = ".claude.json", box: str = "mcpServers") -> set[str]:
        return set(json.loads((self.home / path).read_text("utf-8")).get(box, {}))


def room(tmp_path: Path, routes: dict[str, Verdict], *clients: dict[str, Any], store: MemoryStore | None = None) -> Room:
    fleet, clock, bus, memory = ShownFleet(routes, list(clients)), SteppedClock(), Bus(), store or MemoryStore()
    machine = Machine(home=tmp_path / "home", platform="linux", env={}, base=tmp_path)
    service = ClientsService(fleet, memory, bus, clock, tmp_path / "state", machine=machine)
    facts: list[Fact] = []
    bus.hook(facts.append)
    return Room(fleet, clock, memory, bus, service, ClientsApi(service), facts, tmp_path / "home")


async def settled(tmp_path: Path, routes: dict[str, Verdict], *clients: dict[str, Any]) -> Room:
    made = room(tmp_path, routes, *clients)
    await made.after(0)
    await made.after(5)
    return made


async def test_a_file_is_rendered_once_for_each_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str | None] = []

    def counted(syntax: Syntax, text: str | None, **how: Any) -> ReconcileResult:
        texts.append(text)
        return reconcile(syntax, text, **how)

    monkeypatch.setattr(writer, "reconcile", counted)
    here = room(tmp_path, {"time": UP}, {"kind": "claude-code"})
    await here.after(0)
    texts.clear()
    await here.after(5)
    assert (texts, here.listed()) == ([None], {"time"})


async def test_a_route_enters_after_its_hold_leaves_after_its_hold_and_comes_back(tmp_path: Path) -> None:
    here = room(tmp_path, {"time": UP, "fetch": UP}, {"kind": "claude-code"})
    await here.after(0)
    assert not (here.home / ".claude.json").exists()
    await here.after(5)
    assert here.listed() == {"time", "fetch"}
    here.fleet.verdicts["fetch"] = DOWN
    await here.after(1)
    await here.after(59)
    assert here.listed() == {"time", "fetch"}
    await here.after(1)
    assert here.listed() == {"time"}
    here.fleet.verdicts["fetch"] = UP
    await here.after(1)
    await here.after(5)
    assert here.listed() == {"time", "fetch"}
    written = [fact for fact in here.facts if isinstance(fact, ClientFileWritten)]
    assert [(fact.added, fact.removed) for fact in written] == [(("time", "fetch"), ()), ((), ("fetch",)), (("fetch",), ())]
    assert written[1].reason == "fetch: unhealthy (refused) for 1m"
    assert "restart running sessions" in written[1].text


async def test_routes_whose_holds_end_together_are_written_once(tmp_path: Path) -> None:
    here = room(tmp_path, {"time": UP, "fetch": DOWN, "late": DOWN}, {"kind": "claude-code"})
    await here.after(0)
    here.fleet.verdicts["fetch"] = UP
    await here.after(1)
    here.fleet.verdicts["late"] = UP
    await here.after(3)
    await here.after(1)
    assert not (here.home / ".claude.json").exists()
    await here.after(1)
    await here.after(3)
    written = [fact for fact in here.facts if isinstance(fact, ClientFileWritten)]
    assert [fact.added for fact in written] == [("time", "fetch"), ("late",)]
    assert written[0].reason == "time: healthy for 5s; fetch: healthy for 5s"


async def test_an_all_down_fleet_keeps_the_last_good_file(tmp_path: Path) -> None:
    here = await settled(tmp_path, {"time": UP, "fetch": UP}, {"kind": "claude-code"})
    before = (here.home / ".claude.json").read_bytes()
    here.fleet.verdicts = {"time": DOWN, "fetch": DOWN}
    for _ in range(10):
        await here.after(30)
    assert (here.home / ".claude.json").read_bytes() == before
    assert (await here.api.table({}))[0]["kept"] == "no route is healthy"


@pytest.mark.parametrize("kind", ["claude-code", "cursor"])
async def test_a_stopped_member_leaves_the_file_of_an_all_down_fleet_alone(tmp_path: Path, kind: str) -> None:
    here = await settled(tmp_path, {"time": UP, "fetch": UP, "git": UP}, {"kind": kind})
    path = {"claude-code": ".claude.json", "cursor": ".cursor/mcp.json"}[kind]
    here.fleet.verdicts = {"time": DOWN, "fetch": DOWN, "git": DOWN}
    here.fleet.stopped = {"fetch"}
    for _ in range(10):
        await here.after(30)
    assert here.listed(path) == {"time", "git"}
    assert (await here.api.table({}))[0]["kept"] == "no route is healthy"


async def test_a_new_daemon_knows_what_the_old_one_listed_and_waits_again(tmp_path: Path) -> None:
    first = await settled(tmp_path, {"time": UP, "fetch": UP}, {"kind": "claude-code"})
    second = room(tmp_path, {"time": Verdict.UNKNOWN, "fetch": UP}, {"kind": "claude-code"}, store=first.store)
    for _ in range(10):
        await second.after(30)
    assert second.listed() == {"time", "fetch"}
    assert [fact for fact in second.facts if isinstance(fact, ClientFileWritten)] == []
    second.fleet.without("fetch")
    second.fleet.verdicts["time"] = UP
    await second.after(1)
    await second.after(5)
    assert second.listed() == {"time"}


@pytest.mark.parametrize(
    "spec", [{"kind": "claude-code"}, {"kind": "opencode", "policy": "disable"}], ids=lambda spec: spec["kind"]
)
async def test_a_daemon_whose_store_was_lost_knows_its_entries_and_takes_none_out_for_it(
    tmp_path: Path, spec: dict[str, Any]
) -> None:
    path, box = (".claude.json", "mcpServers") if spec["kind"] == "claude-code" else (".config/opencode/config.json", "mcp")
    first = await settled(tmp_path, {"time": UP, "fetch": UP, "off": UP}, spec)
    first.fleet.verdicts["off"] = DOWN
    await first.after(1)
    await first.after(60)
    before = (first.home / path).read_bytes()
    second = room(tmp_path, {"time": Verdict.UNKNOWN, "fetch": UP, "off": DOWN}, spec)
    await second.after(0)
    row = (await second.api.table({}))[0]
    assert ({*row["listed"]}, row["drift"], row["in_sync"]) == ({"time", "fetch"}, [], True)
    await second.after(70)
    assert (second.home / path).read_bytes() == before
    second.fleet.without("time")
    second.fleet.verdicts["fetch"] = DOWN
    second.fleet.verdicts["off"] = UP
    await second.after(1)
    await second.after(60)
    shown = json.loads((second.home / path).read_text("utf-8"))[box]
    assert {name for name, entry in shown.items() if entry.get("enabled", True)} == {"off"}


async def test_a_daemon_whose_store_was_lost_leaves_alone_what_it_cannot_read(tmp_path: Path) -> None:
    await settled(tmp_path, {"time": UP}, {"kind": "claude-code"})
    second = room(tmp_path, {"time": UP}, {"kind": "claude-code"})
    whole = (second.home / ".claude.json").read_text("utf-8")
    (second.home / ".claude.json").write_text(whole[:-4], "utf-8")
    await second.after(0)
    await second.after(5)
    assert (await second.api.table({}))[0]["error"]
    (second.home / ".claude.json").write_text(whole, "utf-8")
    await second.after(31)
    assert ((await second.api.table({}))[0]["in_sync"], second.listed()) == (True, {"time"})


async def test_policy_disable_switches_a_route_off_and_never_lists_one_that_was_never_up(tmp_path: Path) -> None:
    spec = {"kind": "opencode", "policy": "disable"}
    here = await settled(tmp_path, {"time": UP, "fetch": UP, "never": DOWN}, spec)
    here.fleet.verdicts["fetch"] = DOWN
    await here.after(1)
    await here.after(60)
    shown = json.loads((here.home / ".config/opencode/config.json").read_text("utf-8"))["mcp"]
    assert {name: entry["enabled"] for name, entry in shown.items()} == {"time": True, "fetch": False}


async def test_a_route_that_was_switched_off_is_not_switched_on_by_a_new_daemon(tmp_path: Path) -> None:
    spec = {"kind": "opencode", "policy": "disable"}
    first = await settled(tmp_path, {"time": UP, "fetch": UP}, spec)
    first.fleet.verdicts["fetch"] = DOWN
    await first.after(1)
    await first.after(60)
    path = first.home / ".config/opencode/config.json"
    before = path.read_bytes()
    assert b'"enabled": false' in before
    second = room(tmp_path, {"time": UP, "fetch": DOWN}, spec, store=first.store)
    await second.after(0)
    await second.after(30)
    assert path.read_bytes() == before


async def test_the_file_that_is_written_already_stays_the_clients_file(tmp_path: Path) -> None:
    here = await settled(tmp_path, {"time": UP, "fetch": UP}, {"kind": "opencode"})
    (here.home / ".config/opencode/opencode.jsonc").write_text("{}", "utf-8")
    here.fleet.verdicts["fetch"] = DOWN
    await here.after(1)
    await here.after(60)
    assert here.listed(".config/opencode/config.json", "mcp") == {"time"}
    assert (here.home / ".config/opencode/opencode.jsonc").read_text("utf-8") == "{}"


async def test_mcpo_keeps_its_last_entry_because_it_refuses_an_empty_map(tmp_path: Path) -> None:
    here = await settled(
        tmp_path, {"time": UP, "fetch": UP}, {"kind": "mcpo", "path": "mcpo.json", "routes": ["time"], "allow_literal": True}
    )
    here.fleet.verdicts["time"] = DOWN
    await here.after(1)
    await here.after(100)
    assert set(json.loads((tmp_path / "mcpo.json").read_text("utf-8"))["mcpServers"]) == {"time"}


async def test_a_client_that_may_not_hold_the_token_is_skipped_and_the_table_says_why(tmp_path: Path) -> None:
    here = await settled(tmp_path, {"time": UP}, {"kind": "lmstudio"})
    row = (await here.api.table({}))[0]
    assert "allow_literal: true" in row["skipped"][0]["reason"]
    assert not (here.home / ".lmstudio/mcp.json").exists()


async def test_a_file_that_cannot_be_written_is_told_once_and_tried_again(tmp_path: Path) -> None:
    here = room(tmp_path, {"time": UP}, {"kind": "claude-code"})
    here.home.mkdir()
    (here.home / ".claude.json").write_text('{"broken": ', "utf-8")
    await here.after(0)
    await here.after(5)
    for _ in range(5):
        await here.after(30)
    skipped = [fact for fact in here.facts if isinstance(fact, ClientFileSkipped)]
    assert ["line 1" in fact.reason for fact in skipped] == [True]
    (here.home / ".claude.json").write_text("{}", "utf-8")
    await here.after(31)
    assert here.listed() == {"time"}


async def test_undo_puts_the_file_back_and_keeps_off_until_sync(tmp_path: Path) -> None:
    here = room(tmp_path, {"time": UP}, {"kind": "cursor"})
    path = here.home / ".cursor/mcp.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"mcpServers":  {}  }')
    await here.after(0)
    await here.after(5)
    assert here.listed(".cursor/mcp.json") == {"time"}
    answer = await here.api.undo({"client": "cursor"})
    assert "restored" in answer["text"]
    assert path.read_bytes() == b'{"mcpServers":  {}  }'
    await here.after(100)
    assert (await here.api.table({}))[0]["paused"]
    assert path.read_bytes() == b'{"mcpServers":  {}  }'
    assert (await here.api.sync({}))[0]["changed"]
    assert here.listed(".cursor/mcp.json") == {"time"}


async def test_undo_of_a_file_that_went_on_takes_out_only_what_is_ours(tmp_path: Path) -> None:
    here = await settled(tmp_path, {"time": UP}, {"kind": "claude-code"})
    path = here.home / ".claude.json"
    path.write_text(path.read_text("utf-8").replace('"mcpServers"', '"numStartups": 9,\n  "mcpServers"'), "utf-8")
    answer = await here.api.undo({"client": "claude-code"})
    assert "only our entries" in answer["text"]
    assert json.loads(path.read_text("utf-8")) == {"numStartups": 9}


async def two_writes(tmp_path: Path) -> tuple[Room, Path, bytes]:
    """A client whose file was written by the loop, then for a command; the file, and what it was before both."""
    here = room(tmp_path, {"time": UP, "git": DOWN}, {"kind": "cursor"})
    path, before = here.home / ".cursor/mcp.json", b'\xef\xbb\xbf{"mcpServers":  {}  }'
    path.parent.mkdir(parents=True)
    path.write_bytes(before)
    await here.after(0)
    await here.after(5)
    assert set(json.loads(path.read_text("utf-8-sig"))["mcpServers"]) == {"time"}
    here.fleet.verdicts["git"] = UP
    return here, path, before


async def test_the_writes_of_one_command_are_taken_back_in_one_step(tmp_path: Path) -> None:
    here, path, before = await two_writes(tmp_path)
    await here.after(1)
    assert (await here.api.sync({"force": True, "one_step_since": 0.0}))[0]["changed"]
    assert json.loads(path.read_text("utf-8-sig"))["mcpServers"].keys() == {"time", "git"}
    assert "restored" in (await here.api.undo({"client": "cursor"}))["text"]
    assert path.read_bytes() == before


async def test_one_step_back_does_not_go_over_the_change_of_somebody_else(tmp_path: Path) -> None:
    here, path, _ = await two_writes(tmp_path)
    path.write_text(path.read_text("utf-8").replace('{"mcpServers"', '{"theirs": 1, "mcpServers"'), "utf-8")
    theirs = path.read_bytes()
    await here.after(1)
    await here.api.sync({"force": True, "one_step_since": 0.0})
    await here.api.undo({"client": "cursor"})
    assert path.read_bytes() == theirs


async def test_undo_of_what_was_never_written_is_a_usage_error(tmp_path: Path) -> None:
    here = room(tmp_path, {"time": DOWN}, {"kind": "claude-code"})
    with pytest.raises(UsageError, match="nothing to undo"):
        await here.api.undo({"client": "claude-code"})
    with pytest.raises(UsageError, match="did you mean 'claude-code'"):
        await here.api.undo({"client": "claude-cod"})


async def test_sync_shows_before_it_writes_and_force_does_not_wait(tmp_path: Path) -> None:
    here = room(tmp_path, {"time": UP}, {"kind": "cline", "allow_literal": True})
    await here.after(0)
    shown = (await here.api.sync({"diff": True, "force": True}))[0]
    assert shown["changed"]
    assert "+" in shown["diff"]
    assert TOKEN not in json.dumps(shown)
    path = here.home / ".cline/data/settings/cline_mcp_settings.json"
    assert not path.exists()
    assert (await here.api.sync({"force": True}))[0]["summary"] == "added time"
    assert path.stat().st_mode & 0o777 == 0o600
    assert TOKEN in path.read_text("utf-8")


async def test_entries_written_by_hand_are_found_and_taken_out_only_when_asked(tmp_path: Path) -> None:
    here = room(tmp_path, {"time": UP}, {"kind": "claude-code", "prefix": "mw-"})
    here.home.mkdir()
    theirs = {
        "same": {"type": "sse", "url": "http://linuxserver.lan:9090/time/sse"},
        "old": {"type": "sse", "url": "http://localhost:9072/time/sse"},
        "gone": {"type": "http", "url": "http://127.0.0.1:9090/weather/mcp"},
        "other": {"type": "http", "url": "http://127.0.0.1:3000/app/mcp"},
        "cloud": {"type": "http", "url": "https://mcp.example.com/time/mcp"},
    }
    project: dict[str, Any] = {"/src": {"mcpServers": {"nested": theirs["old"]}, "history": []}}
    (here.home / ".claude.json").write_text(json.dumps({"mcpServers": theirs, "projects": project}, indent=2), "utf-8")
    offered = await here.api.purge({})
    assert {answer["entry"]: answer["reason"] for answer in offered} == {
        "same": "points at route 'time' under the name 'same'",
        "old": "points at an old address of route 'time' (now http://linuxserver.lan:9090/time/sse)",
        "gone": "points at this proxy, which has no route 'weather'",
        "nested": "points at an old address of route 'time' (now http://linuxserver.lan:9090/time/sse)",
    }
    assert here.listed() == set(theirs)
    await here.api.purge({"apply": True})
    assert here.listed() == {"other", "cloud"}
    await here.api.undo({"client": "claude-code"})
    assert here.listed() == set(theirs)


@pytest.mark.parametrize("kind", ["claude-code", "codex-cli", "litellm", "lmstudio", "continue", "open-webui"])
async def test_print_gives_a_snippet_without_a_token_for_any_kind(tmp_path: Path, kind: str) -> None:
    here = room(tmp_path, {"time": DOWN}, {"kind": "claude-code"})
    answer = await here.api.print({"client": kind})
    assert "http://linuxserver.lan:9090/time/" in answer["text"]
    assert TOKEN not in json.dumps(answer)


@asynccontextmanager
async def running(here: Room) -> AsyncGenerator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(here.service.run)
        yield
        group.cancel_scope.cancel()


async def test_the_loop_acts_on_a_fact_and_on_the_end_of_a_hold(tmp_path: Path) -> None:
    here = room(tmp_path, {"time": DOWN}, {"kind": "claude-code", "hold_up": 0})
    written = here.bus.subscribe(ClientFileWritten)
    with anyio.fail_after(10):
        async with running(here):
            await anyio.wait_all_tasks_blocked()
            here.fleet.verdicts["time"] = UP
            here.bus.publish(
                RouteChanged(at=WallTime(0), text="", route="time", member="time", old="unhealthy", new="healthy", reason="")
            )
            async for fact in written:
                assert isinstance(fact, ClientFileWritten)
                break
    assert here.listed() == {"time"}
