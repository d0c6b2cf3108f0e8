"""What open pages are told, and what a viewer may cost: one message for all, bounded, taken up again."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import Message

from mcpwatch.model.fact import MemberChanged, MemberExited
from mcpwatch.web.page import live as live_module
from mcpwatch.web.page import views
from mcpwatch.web.page.live import AT_MOST, KEEPALIVE, MOVED_EVERY, QUEUE, Live
from mcpwatch.web.server import WebServer
from mcpwatch.web.site import STATIC
from mcpwatch.web.streams import EventStream, Viewers
from tests.checks.until import until
from tests.telemetry import fleet as data
from tests.telemetry.fleet import probed
from tests.web.room import Room

pytestmark = pytest.mark.anyio


async def _lines(live: Live, last: str = "", count: int = 1) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(10):
        async for text in live.stream(last):
            found.append(text.decode())
            if len(found) == count:
                break
    return found


async def test_a_change_reaches_open_pages_as_one_message_rendered_once(tmp_path: Path) -> None:
    made = Room(tmp_path)
    rendered: list[frozenset[str]] = []

    async def render(names: frozenset[str]) -> tuple[dict[str, str], str, int]:
        rendered.append(names)
        return {"r-git": f"<tr>{len(rendered)}</tr>"}, "git is down", 1

    live = Live(made.bus, render)
    running = asyncio.create_task(live.run())
    pages = [asyncio.create_task(_lines(live, count=3)) for _ in range(5)]
    await until(lambda: len(live._viewers) == 5 and bool(rendered))  # pyright: ignore[reportPrivateUsage]
    for _ in range(20):
        made.bus.publish(MemberExited(at=made.clock.wall(), text="", member="git", generation=1))
        made.bus.publish(probed("git"))
    texts = await asyncio.gather(*pages)
    assert len({text[2] for text in texts}) == 1
    message = json.loads(texts[0][2].split("data: ")[1])
    assert (message["subjects"], message["kinds"], message["bad"]) == (["git"], ["member_exited"], 1)
    assert len(rendered) == 2
    running.cancel()
    made.close()


async def test_what_changes_at_once_comes_in_messages_of_a_bounded_size_and_none_of_it_is_left_out(tmp_path: Path) -> None:
    made = Room(tmp_path)
    rendered: list[frozenset[str]] = []

    async def render(names: frozenset[str]) -> tuple[dict[str, str], str, int]:
        rendered.append(names)
        return {}, "", 0

    live, names = Live(made.bus, render), {f"m{number}" for number in range(2 * AT_MOST + 30)}
    reader = live.stream("")
    await anext(reader)
    for name in names:
        made.bus.publish(MemberExited(at=made.clock.wall(), text="", member=name, generation=1))
    for _ in range(3):
        await live._tell()  # pyright: ignore[reportPrivateUsage]
    assert [len(one) for one in rendered] == [AT_MOST, AT_MOST, 30]
    assert frozenset().union(*rendered) == names
    told = [json.loads((await anext(reader)).decode().split("data: ")[1]) for _ in range(3)]
    assert {name for one in told for name in one["subjects"]} == names
    made.close()


async def test_an_open_page_hears_often_enough_that_its_connection_lives(tmp_path: Path) -> None:
    made = Room(tmp_path)
    live = made.web.site._live  # pyright: ignore[reportPrivateUsage]
    reader = live.stream("")
    await anext(reader)
    begin = asyncio.get_running_loop().time()
    live._keep_alive(begin + KEEPALIVE - 1)  # pyright: ignore[reportPrivateUsage]
    live._keep_alive(begin + KEEPALIVE + 1)  # pyright: ignore[reportPrivateUsage]
    assert await anext(reader) == b"event: beat\ndata: 1\n\n"
    silence = re.search(r"SILENCE = (\d+)", (STATIC / "live.js").read_text(encoding="utf-8"))
    assert silence is not None
    assert int(silence[1]) / 1000 > KEEPALIVE + MOVED_EVERY, "the page waits longer than the server is silent"
    made.close()


def test_figures_of_every_row_move_in_turn_whatever_the_size_of_the_fleet() -> None:
    fleet = data.view(*data.names(250))
    shown = [views.turn(fleet, number) for number in range(3)]
    assert [len(one.routes) for one in shown] == [100, 100, 50]
    assert {one.name for part in shown for one in part.routes} == set(data.names(250))
    assert {one.name for part in shown for one in part.members} == {"proxy", *data.names(250)}
    assert views.turn(fleet, 3) == shown[0]
    assert views.turn(data.view(), 7).routes == ()


async def test_a_page_that_comes_back_gets_what_it_missed_or_starts_over(tmp_path: Path) -> None:
    made = Room(tmp_path)

    async def render(names: frozenset[str]) -> tuple[dict[str, str], str, int]:
        return {}, "", 0

    live = Live(made.bus, render)
    boot = live._boot  # pyright: ignore[reportPrivateUsage]
    for number in range(3):
        live._broadcast({"n": number})  # pyright: ignore[reportPrivateUsage]
    assert ['"n": 1' in text or '"n": 2' in text for text in await _lines(live, f"1-{boot}", 3)] == [False, True, True]
    for last in ("1-deadbeef", "x", f"{'9' * 40}-{boot}"):
        assert "event: reset" in (await _lines(live, last, 2))[1], last
    made.close()


async def test_a_page_that_reads_too_slowly_is_dropped(tmp_path: Path) -> None:
    made = Room(tmp_path)

    async def render(names: frozenset[str]) -> tuple[dict[str, str], str, int]:
        return {}, "", 0

    live = Live(made.bus, render)
    slow = live.stream("")
    await anext(slow)
    for number in range(QUEUE + 1):
        live._broadcast({"n": number})  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StopAsyncIteration):
        await anext(slow)
    made.close()


async def test_facts_cost_nothing_while_nobody_looks(tmp_path: Path) -> None:
    made = Room(tmp_path)
    live = made.web.site._live  # pyright: ignore[reportPrivateUsage]
    made.bus.publish(
        MemberChanged(at=made.clock.wall(), text="", member="git", generation=1, field="phase", old="a", new="b", reason="")
    )
    assert not live._wake.is_set()  # pyright: ignore[reportPrivateUsage]
    made.close()


@pytest.mark.parametrize("watched", [True, False])
async def test_what_changes_between_a_page_and_its_stream_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    monkeypatch.setattr(live_module, "GATHER", 0.0)
    made = Room(tmp_path)
    live = made.web.site._live  # pyright: ignore[reportPrivateUsage]
    running = asyncio.create_task(live.run())
    others = asyncio.create_task(_lines(live, "", 3)) if watched else None  # hello, what an opened page is told at once, the change
    await until(lambda: others is None or live._number == 1)  # pyright: ignore[reportPrivateUsage]
    async with made.client() as client:
        page = re.search(r'data-after="([^"]+)"', (await client.get("/alerts")).text)
    assert page is not None
    assert page[1] == live.mark, "nothing changed since"
    made.bus.publish(MemberExited(at=made.clock.wall(), text="", member="git", generation=1))
    if others is not None:
        await others
    assert ("event: change" if watched else "event: reset") in (await _lines(live, page[1], 2))[1]
    running.cancel()
    made.close()


async def test_a_port_that_is_taken_is_told_once_and_hurts_nobody(tmp_path: Path) -> None:
    made, said = Room(tmp_path), list[str]()
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    spec = made.spec.model_copy(update={"listen": f"127.0.0.1:{port}"})
    server = WebServer(spec, made.web.site.build, made.bus, made.clock, said.append)
    running = asyncio.create_task(server.run())
    await until(lambda: any(getattr(fact, "subject", "") == "web" for fact in made.facts))
    taken.close()
    server.retune(spec.model_copy(update={"listen": "127.0.0.1:0"}))
    async with asyncio.timeout(10):
        await server.serving.wait()
    assert server.url.startswith("http://127.0.0.1:")
    server.retune(spec.model_copy(update={"enabled": False}))
    await until(lambda: not server.url)
    running.cancel()
    made.close()


async def test_a_viewer_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpwatch.web.streams.LOOK_EVERY", 0.01)
    monkeypatch.setattr("mcpwatch.web.streams.SEND_TIMEOUT", 0.02)
    viewers = Viewers(10)

    async def source() -> AsyncIterator[str]:
        yield "data: 1\n\n"

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    stream = EventStream(source(), "text/event-stream", viewers)
    with pytest.raises(ConnectionAbortedError):
        async with asyncio.timeout(20):
            await stream({"type": "http"}, receive, send)
    assert (viewers.open, viewers.dropped, viewers.writing, viewers.slow) == (0, 1, {}, set())
