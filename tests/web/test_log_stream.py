"""A member's log over server-sent events: each line once, from where the reader was, and nothing that a line can break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.journal import STREAMS, stamp
from mcpwatch.web.api.logs import BEHIND, LogStreams
from tests.web.room import READ, room

pytestmark = pytest.mark.anyio

BEGIN = 1_795_000_000.0


class Written:
    """The journal of one member, written by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.logs = LogStreams(root, lambda text: text.replace("hunter2", "***"))
        self._number = 0
        (root / "logs" / "git").mkdir(parents=True)

    def write(self, *texts: str, stream: str = "stderr") -> None:
        with (self.root / "logs" / "git" / f"{stream}.log").open("a", encoding="utf-8") as file:
            for text in texts:
                self._number += 1
                file.write(f"{stamp(BEGIN + self._number)} {text}\n")
        self.logs.wake()

    def follow(self, after: str = "") -> AsyncIterator[str]:
        return self.logs.sse("git", after, STREAMS)


async def lines(stream: AsyncIterator[str], count: int) -> list[dict[str, Any]]:
    """So many lines, each with the id of its event; closes the stream."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        async for text in stream:
            for event in text.split("\n\n"):
                fields = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line)
                if fields.get("event") == "line":
                    found.append({**json.loads(fields["data"]), "id": fields["id"]})
            if len(found) >= count:
                break
    await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    return found


async def test_what_is_written_comes_line_by_line_with_secrets_masked(tmp_path: Path) -> None:
    log = Written(tmp_path)
    log.write("before anybody looked")
    stream = log.follow()
    hello = await anext(stream)
    assert "event: hello" in hello
    log.write("one hunter2", "two\rdata: {}\revent: forged")
    log.write("three", stream="stdout")
    found = await lines(stream, 3)
    assert [(one["text"], one["stream"]) for one in found] == [
        ("one ***", "stderr"), ("two\rdata: {}\revent: forged", "stderr"), ("three", "stdout"),
    ]  # fmt: skip


async def test_a_reader_that_comes_back_misses_and_repeats_no_line(tmp_path: Path) -> None:
    log = Written(tmp_path)
    log.write("a", "b")
    log.write("c", stream="stdout")
    log.write("d")
    shown, id_ = log.logs.latest("git", STREAMS, 2, None)
    assert [one["text"] for one in shown] == ["c", "d"]
    log.write("e", "f")
    first = await lines(log.follow(id_), 2)
    assert [one["text"] for one in first] == ["e", "f"]
    log.write("g", stream="stdout")
    again = await lines(log.follow(first[0]["id"]), 2)
    assert [one["text"] for one in again] == ["f", "g"]
    everything = await lines(log.follow("-"), 7)
    assert [one["text"] for one in everything] == list("abcdefg"), "of a log in which nothing stood yet"


async def test_a_reader_that_was_long_away_is_told_that_lines_are_left_out(tmp_path: Path) -> None:
    log = Written(tmp_path)
    log.write(*(f"line {number}" for number in range(BEHIND + 500)))
    stream = log.follow(f"stderr={BEGIN + 1:.6f}")
    assert "event: gap" in await anext(stream)
    found = await lines(stream, BEHIND)
    assert [found[0]["text"], found[-1]["text"]] == ["line 500", f"line {BEHIND + 499}"]


@pytest.mark.parametrize("after", ["", "nonsense", "stderr=", "stderr=1e999", "stdout=99999999999999999", "x" * 200])
async def test_any_id_is_borne(tmp_path: Path, after: str) -> None:
    log = Written(tmp_path)
    log.write("a")
    stream = log.follow(after)
    assert "event: hello" in await anext(stream)
    await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def test_logs_are_streamed_to_those_who_may_read_and_of_members_that_are_known(tmp_path: Path) -> None:
    async with room(tmp_path, viewers=1) as made, made.client(READ) as client:
        folder = tmp_path / "logs" / "git"
        folder.mkdir(parents=True)
        (folder / "stderr.log").write_text(f"{stamp(BEGIN)} a-very-secret-value\n", encoding="utf-8")
        shown = (await client.get("/api/v1/logs/git")).json()
        assert "a-very-secret-value" not in json.dumps(shown)
        assert shown["id"] == f"stderr={BEGIN:.6f}"
        accept = {"Accept": "text/event-stream"}
        assert (await client.get("/api/v1/logs/nobody", headers=accept)).status_code == 404
        assert (await client.get("/api/v1/logs/..%2fgit", headers=accept)).status_code == 404
        made.web._viewers.open = 1  # pyright: ignore[reportPrivateUsage]
        assert (await client.get("/api/v1/logs/git", headers=accept)).status_code == 503
        made.web._viewers.open = 0  # pyright: ignore[reportPrivateUsage]
    async with room(tmp_path, listen="0.0.0.0:9465") as made, made.client(peer="192.168.1.7") as client:
        assert (await client.get("/api/v1/logs/git", headers=accept)).status_code == 401
