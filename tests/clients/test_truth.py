"""What the room says is so: one file's trouble stays its own, screens know what they do not know, and stopped is not listed."""

from __future__ import annotations

import json
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mcpwatch.clients import files, locks
from mcpwatch.clients.backups import Backups
from mcpwatch.clients.catalog import ClientsSection
from mcpwatch.clients.rotate import Rotator
from mcpwatch.clients.sync import sync, tidy
from mcpwatch.clients.threads import Threads
from mcpwatch.model.errors import ClientFileError
from mcpwatch.model.fact import ClientFileSkipped, TokenRotation
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.view import MemberView
from tests.clients.adding import job
from tests.clients.fakes import TOKEN
from tests.clients.test_rotation import lets_all_in, rotating
from tests.clients.test_service import room, settled

UP, DOWN, UNKNOWN = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.UNKNOWN
GOOSE = {"kind": "goose", "path": "goose.yaml"}
pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCP_PROXY_TOKEN", raising=False)


# ---- one client's trouble


async def test_a_fault_of_ours_on_one_file_reaches_no_other_client_and_is_told_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = room(tmp_path, {"time": UP}, {"kind": "claude-code"}, GOOSE)
    write = here.service.writer.carry_out

    async def carry_out(client: Any, order: Any) -> Any:
        if client.spec.kind == "goose":
            raise ZeroDivisionError("oops")
        return await write(client, order)

    monkeypatch.setattr(here.service.writer, "carry_out", carry_out)
    await here.after(0)
    await here.after(5)
    await here.after(31)
    assert here.listed() == {"time"}
    told = [fact.text for fact in here.facts if isinstance(fact, ClientFileSkipped)]
    assert told == ["goose: mcpwatch failed on it (ZeroDivisionError: oops); this is a fault of mcpwatch, not of the file"]
    rows = {row["client"]: row for row in await here.api.table({})}
    assert (rows["claude-code"]["error"], rows["goose"]["in_sync"]) == ("", None)
    assert "ZeroDivisionError" in rows["goose"]["error"]


@pytest.mark.parametrize("name", ["goose-odd-keys.yaml", "deep.json", "cursor-comments-one-line.json"])
async def test_odd_files_beside_a_good_one_are_synced_or_told(tmp_path: Path, name: str) -> None:
    text = {
        "goose-odd-keys.yaml": "extensions:\n  time:\n    uri: http://127.0.0.1:9090/time/mcp\n  1: x\n  2026-01-01: y\n",
        "deep.json": '{"deep": ' + "[" * 400 + "]" * 400 + "}",
        "cursor-comments-one-line.json": '{"mcpServers": {"a": {"url": "http://x"} ' + "/*c*/ " * 26 + "}}",
    }[name]
    kind = "goose" if name.endswith("yaml") else "cursor"
    (tmp_path / name).write_text(text, "utf-8")
    here = await settled(tmp_path, {"time": UP, "fetch": UP}, {"kind": kind, "path": name}, {"kind": "claude-code"})
    assert here.listed() == {"time", "fetch"}
    assert "fetch" in (tmp_path / name).read_text("utf-8")
    assert await here.api.purge({"clients": [kind]}) is not None


async def test_work_that_never_ends_is_given_up_and_its_file_left_alone_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, release = Threads(late=0.05), threading.Event()
    with pytest.raises(ClientFileError, match=r"could not be read and edited within 0\.05 s"):
        await threads.run("cursor:/x", lambda: release.wait(30))
    with pytest.raises(ClientFileError, match="still being read since an earlier look"):
        await threads.run("cursor:/x", lambda: True)
    monkeypatch.setattr(threads, "_late", 30.0)  # a busy machine may need longer than 0.05 s even for nothing
    assert await threads.run("goose:/y", lambda: 7) == 7
    release.set()


def test_what_is_late_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text("{}", "utf-8")
    with pytest.raises(ClientFileError, match="took too long to edit; left as it was"):
        sync(replace(job(path, "time"), deadline=0.0), Backups(tmp_path / "b"))
    assert path.read_text("utf-8") == "{}"


async def test_an_unchanged_file_costs_a_look_at_its_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await settled(tmp_path, {"time": UP}, {"kind": "claude-code"})
    path = here.home / ".claude.json"
    os.utime(path, (1e9, 1e9))
    await here.after(31)
    reads = list[Path]()
    read = files.foreign.read

    def counted(path: Path, *args: Any, **more: Any) -> Any:
        reads.append(path)
        return read(path, *args, **more)

    monkeypatch.setattr(files.foreign, "read", counted)
    for _ in range(5):
        await here.after(31)
    assert reads == []
    path.write_text("{}", "utf-8")
    await here.after(31)
    assert len(reads) > 0


# ---- what is listed


def stopped(here: Any, name: str, want: Want = Want.DOWN, phase: Phase = Phase.STOPPED) -> None:
    view = here.fleet.view
    member = MemberView(name, "native", "process", want, phase, UNKNOWN, 1)
    here.fleet.view = lambda: replace(view(), members=(*view().members, member))


@pytest.mark.parametrize("verdict", [UNKNOWN, UP, DOWN])
async def test_a_member_that_was_stopped_leaves_after_the_hold(tmp_path: Path, verdict: Verdict) -> None:
    here = await settled(tmp_path, {"time": UP, "fetch": UP}, {"kind": "claude-code"})
    stopped(here, "fetch")
    here.fleet.verdicts["fetch"] = verdict
    await here.after(1)
    await here.after(58)
    assert here.listed() == {"time", "fetch"}
    await here.after(2)
    assert here.listed() == {"time"}
    assert (await here.api.table({}))[0]["listed"] == ["time"]


async def test_the_last_member_that_was_stopped_leaves_too(tmp_path: Path) -> None:
    here = await settled(tmp_path, {"time": UP}, {"kind": "claude-code"})
    stopped(here, "time")
    await here.after(1)
    await here.after(60)
    assert not (here.home / ".claude.json").exists()


async def test_a_member_that_is_not_served_and_never_answered_leaves(tmp_path: Path) -> None:
    first = await settled(tmp_path, {"time": UP, "fetch": UP}, {"kind": "claude-code"})
    here = room(tmp_path, {"time": UP, "fetch": UNKNOWN}, {"kind": "claude-code"}, store=first.store)
    stopped(here, "fetch", Want.UP, Phase.FAILED)
    await here.after(0)
    await here.after(61)
    assert here.listed() == {"time"}


async def test_routes_shows_what_the_client_was_really_given(tmp_path: Path) -> None:
    path = tmp_path / "home" / ".claude.json"
    path.parent.mkdir()
    path.write_text('{"mcpServers": {"fetch": {"command": "mine"}}}', "utf-8")
    here = await settled(tmp_path, {"time": UP, "fetch": UP}, {"kind": "claude-code"})
    row = (await here.api.table({}))[0]
    assert row["listed"] == ["time"]
    assert row["in_sync"] is False
    path.write_text("{", "utf-8")
    await here.after(31)
    row = (await here.api.table({}))[0]
    assert (row["listed"], bool(row["error"]), row["in_sync"]) == (["time"], True, False)


@pytest.mark.parametrize(
    "second",
    [
        {"kind": "claude-code", "prefix": "x-"},
        {"kind": "claude-code", "routes": ["a*"]},
        {"kind": "cursor", "path": "~/.claude.json"},
    ],
)
def test_two_entries_for_one_file_are_a_fault(second: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"\[1\]: is the same file as \[0\]"):
        ClientsSection.model_validate([{"kind": "claude-code"}, second])


async def test_two_names_of_one_file_are_no_fight(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("file.json")
    (tmp_path / "file.json").write_text("{}", "utf-8")
    one, two = {"kind": "cursor", "path": "file.json"}, {"kind": "cursor", "path": "link.json", "prefix": "x-"}
    here = await settled(tmp_path, {"time": UP}, one, two)
    for _ in range(3):
        await here.after(31)
    assert set(json.loads((tmp_path / "file.json").read_text("utf-8"))["mcpServers"]) == {"time"}
    assert "only that one is kept up to date" in (await here.api.table({}))[1]["error"]


async def test_purge_leaves_what_another_live_fleet_serves(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as alive:
        port = alive.getsockname()[1]
        path = tmp_path / "home" / ".cursor" / "mcp.json"
        path.parent.mkdir(parents=True)
        entries = {"a": {"url": f"http://127.0.0.1:{port}/time/sse"}, "b": {"url": "http://127.0.0.1:9/time/sse"}}
        path.write_text(json.dumps({"mcpServers": entries}), "utf-8")
        here = await settled(tmp_path, {"time": UP}, {"kind": "cursor"})
        found = {item["entry"]: item for item in await here.api.purge({"apply": True})}
    assert (found["a"]["removed"], found["b"]["removed"]) == (False, True)
    assert "another fleet" in found["a"]["reason"]
    assert here.listed(".cursor/mcp.json") == {"time", "a"}


# ---- tokens


async def unused(token: str) -> None:
    """When the old token was last used: not since."""


async def test_a_rotation_waits_for_a_file_that_still_holds_the_old_token_or_ends_naming_it(tmp_path: Path) -> None:
    here, first, _, env = rotating(tmp_path)
    rotator = Rotator(here.service, first.reload, here.clock, tmp_path / "state", ask=lets_all_in, last_use=unused)
    await here.after(0)
    path = here.home / ".cline/data/settings/cline_mcp_settings.json"
    path.chmod(0o400)
    answer = await rotator.rotate({"wait": "2h", "env_file": str(env)})
    assert f"Cline: {path}: is read-only; left alone" in answer["steps"]
    assert answer["text"].endswith(f"still in {path}")
    here.clock.at += 3600
    assert await rotator.finish() == []
    assert "MCP_PROXY_TOKEN_OLD" in env.read_text("utf-8")
    here.clock.at += 3601
    (ended,) = await rotator.finish()
    assert f"still hold it, and their clients are refused: {path}" in ended
    facts = [fact for fact in here.facts if isinstance(fact, TokenRotation)]
    assert [(fact.outcome, fact.level) for fact in facts] == [("started", "info"), ("switched", "info"), ("failed", "warning")]
    assert facts[-1].files == (str(path),)
    path.chmod(0o600)
    await here.after(31)
    assert TOKEN not in path.read_text("utf-8")


async def test_a_rotation_ends_when_nobody_uses_and_no_file_holds_the_old_token(tmp_path: Path) -> None:
    here, first, _, env = rotating(tmp_path)
    rotator = Rotator(here.service, first.reload, here.clock, tmp_path / "state", ask=lets_all_in, last_use=unused)
    await here.after(0)
    path = here.home / ".cline/data/settings/cline_mcp_settings.json"
    path.write_text(path.read_text("utf-8").replace('"url"', '"timeout": 9, "url"'), "utf-8")
    answer = await rotator.rotate({"wait": "2h", "env_file": str(env)})
    assert "Cline: written anew (the next session)" in answer["steps"]
    assert TOKEN not in path.read_text("utf-8")
    assert '"timeout": 9' in path.read_text("utf-8")
    here.clock.at += 700
    (ended,) = await rotator.finish()
    assert ended == "the old token is refused from now on: nobody used the old token any more"
    assert [fact.outcome for fact in here.facts if isinstance(fact, TokenRotation)][-1] == "dropped"
    await here.api.undo({"client": "cline"})
    assert TOKEN not in path.read_text("utf-8")


# ---- errors are told as what they are


def test_our_own_file_with_a_second_name_left_by_a_kill_is_cleaned(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text("{}", "utf-8")
    os.link(path, tmp_path / ".f.json.mcpwatch-1-ab.tmp")
    tidy(job(path, "time"), Backups(tmp_path / "b"))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["f.json"]
    os.link(path, tmp_path / ".f.json.mcpwatch-1-ab.tmp")
    assert sync(job(path, "time"), Backups(tmp_path / "b")).changed
    assert sorted(item.name for item in tmp_path.iterdir() if item.name != "b") == ["f.json"]


@pytest.mark.parametrize("call", ["listxattr", "fsync", "flock"])
def test_a_file_system_without_a_thing_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "f.json"
    path.write_text("{}", "utf-8")
    real = os.fsync

    def unsupported(*args: Any) -> Any:
        if call == "fsync" and not os.path.isdir(f"/proc/self/fd/{args[0]}"):  # noqa: PTH112
            return real(*args)
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl if call == "flock" else os, call, unsupported)
    done = sync(job(path, "time"), Backups(tmp_path / "b"))
    assert (done.changed, done.unsure) == (True, "")
    assert "time" in path.read_text("utf-8")


def test_a_directory_that_cannot_be_made_durable_is_told_though_the_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.json"
    path.write_text("{}", "utf-8")
    real = os.fsync

    def failing(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):  # noqa: PTH112
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", failing)
    done = sync(job(path, "time"), Backups(tmp_path / "b"))
    assert "could not be made durable: Input/output error" in done.unsure
    assert "time" in path.read_text("utf-8")
