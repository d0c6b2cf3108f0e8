"""The pages as they leave the server: complete without scripts, escaped whatever servers say, public only where that was said."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from starlette.types import Message

from mcpwatch.model.fact import MemberChanged, MemberExited, ProbeFinished, RouteChanged
from mcpwatch.model.member import Verdict
from mcpwatch.model.view import Diagnosis, FleetView
from mcpwatch.web.page import views
from mcpwatch.web.page.feeds import atom, badge
from mcpwatch.web.page.live import QUEUE, Live
from mcpwatch.web.server import WebServer
from mcpwatch.web.site import STATIC
from mcpwatch.web.streams import EventStream, Viewers
from tests.checks.until import until
from tests.telemetry.fleet import probed
from tests.web.room import OPERATE, Room, room

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><a href=javascript:alert(3)>"
PAGES = ("/", "/route/git", "/alerts", "/clients", "/objectives", "/self", "/login", "/public")
DOWN = Diagnosis("member_down", "git", f"the member is down {HOSTILE}", ("git: killed",), "restart", ("git",))


class _Scripts(HTMLParser):
    """What a browser could run: scripts and their text, handlers, addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pairs = dict(attrs)
        self._inside = tag == "script"
        if tag == "script" and not (pairs.get("src") or "").startswith("/static/"):
            self.found.append(f"script {pairs}")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.found.append(f"{tag} {name}")
            outside = re.match(r"(javascript|data|https?|//)", (value or "").strip(), re.IGNORECASE)
            if name in ("href", "src", "action", "formaction") and outside:
                self.found.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        if self._inside and data.strip():
            self.found.append(f"inline {data}")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def down(view: FleetView) -> FleetView:
    """The same fleet with git down, for a reason that its server made up."""
    routes = tuple(
        replace(one, verdict=Verdict.UNHEALTHY, symptom="refused", message=HOSTILE, diagnosis=DOWN) if one.name == "git" else one
        for one in view.routes
    )
    members = tuple(replace(one, reason=HOSTILE, last_exit=HOSTILE) for one in view.members)
    return replace(view, routes=routes, members=members, diagnoses=(DOWN,))


async def test_nothing_that_a_server_says_runs_on_any_page(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        made.fleet.shown = down(made.fleet.shown)
        made.contract = {"tools": [{"name": HOSTILE, "description": HOSTILE}], "prompts": [{"name": HOSTILE}]}
        made.bus.publish(MemberExited(at=made.clock.wall(), text=HOSTILE, member="git", generation=1, tail=(HOSTILE,)))
        made.bus.publish(RouteChanged(at=made.clock.wall(), text=HOSTILE, route="git", member="git", old="healthy", new="unhealthy",
                                      reason=HOSTILE, symptom=HOSTILE))  # fmt: skip
        log = tmp_path / "logs" / "git"
        log.mkdir(parents=True)
        await made.log_in(client, OPERATE)
        for path in PAGES:
            answer = await client.get(path)
            assert answer.status_code == 200, path
            seen = _Scripts()
            seen.feed(answer.text)
            assert seen.found == [], path
        assert "&lt;script&gt;" in (await client.get("/route/git")).text


async def test_names_in_the_address_come_back_escaped(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        for path in (f"/?q={HOSTILE}", f"/?health={HOSTILE}&sort={HOSTILE}&page={HOSTILE}"):
            seen = _Scripts()
            seen.feed((await client.get(path)).text)
            assert seen.found == []
        answer = await client.get(f"/route/{HOSTILE.replace('/', '')}", headers={"Accept": "text/html"})
        seen = _Scripts()
        seen.feed(answer.text)
        assert (answer.status_code, seen.found) == (404, [])


async def test_the_fleet_page_says_all_of_it_without_a_script(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        made.fleet.shown = down(made.fleet.shown)
        made.bus.publish(probed("git", vantage="route"))
        made.clock.move(60)
        made.bus.publish(probed("git", vantage="route"))
        page = (await client.get("/")).text
        assert "1 of 2 routes is down: git." in page
        assert "Next: restart the member." in page
        assert 'aria-label="last 90 hours: 1 without trouble, 0 with outages, 89 unknown"' in page
        assert "30 ms" in page
        assert page.index('id="r-git"') < page.index('id="r-time"'), "the worst comes first"


async def test_a_view_is_an_address_that_can_be_shared(tmp_path: Path) -> None:
    names = [f"route-{number:03}" for number in range(230)]
    async with room(tmp_path, *names) as made, made.client() as client:
        first, last = (await client.get("/?sort=name")).text, (await client.get("/?sort=name&page=3")).text
        assert first.count('id="r-') == 100
        assert "page 3 of 3" in last
        assert last.count('id="r-') == 30
        found = (await client.get("/?q=22&health=healthy")).text
        assert found.count('id="r-') == 12, "022, 122, 220 to 229"
        assert '<option value="healthy" selected>' in found
        assert "No route fits" in (await client.get("/?health=unhealthy")).text


async def test_the_public_page_names_health_and_nothing_else(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client(peer="192.168.1.9") as client:
        made.fleet.shown = down(made.fleet.shown)
        made.bus.publish(RouteChanged(at=made.clock.wall(), text="secret reason", route="git", member="git", old="healthy",
                                      new="unhealthy", reason="secret reason"))  # fmt: skip
        page, feed = (await client.get("/public")).text, (await client.get("/public/incidents.atom")).text
        for word in ("secret", "killed", "refused", "member_down", "http://p", "restart", "alert(", "Log in", "/route/"):
            assert word not in page + feed, word
        assert "git went down" in page
        assert [one.tag for one in ET.fromstring(feed)][-1].endswith("entry")
        assert "down" in (await client.get("/badge/git.svg")).text
    async with room(tmp_path, public=False) as made, made.client() as client:
        for path in ("/public", "/public/incidents.atom", "/badge/git.svg"):
            assert (await client.get(path)).status_code == 404


def test_badges_and_feeds_are_well_formed_whatever_the_name() -> None:
    for name in (HOSTILE, "a&b", "x\x00\x1b[0m", ""):
        ET.fromstring(badge(name.replace("\x00", "").replace("\x1b", ""), "unhealthy"))
        ET.fromstring(atom("t", "http://h/", "2026-01-01T00:00:00Z", [{"id": "1", "time": "2026-01-01T00:00:00Z", "text": name}]))


def test_a_bar_of_ninety_hours_is_a_few_runs() -> None:
    found = views.bar([[1.0, 0]] * 80 + [[0.5, 0]] * 2 + [[None, 0]] * 8)
    assert found["paths"] == {"good": "M0 4h80V14H0z", "bad": "M80 0h2V14H80z", "none": "M82 11h8V14H82z"}


async def test_a_form_acknowledges_an_alert_and_goes_back(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        word = await made.log_in(client, OPERATE)
        refused = await client.post("/do", data={"op": "ack", "alert": "nothing", "csrf": word, "back": "/alerts"})
        assert refused.status_code == 409
        assert "nothing" in refused.text
        done = await client.post("/do", data={"op": "silence", "targets": "git", "for": "5m", "csrf": word, "back": "/alerts"})
        assert (done.status_code, done.headers["location"]) == (303, "/alerts")
        page = (await client.get("/alerts")).text
        assert "name=git" in page
        assert "hands" in page
        out = await client.post("/logout", data={"csrf": word})
        assert out.status_code == 303
        assert (await client.get("/api/v1/whoami")).json()["role"] == "read"


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\r\nSet-Cookie: x=1"]
)
async def test_no_form_leads_to_another_site(tmp_path: Path, back: str) -> None:
    async with room(tmp_path) as made, made.client() as client:
        word = await made.log_in(client, OPERATE)
        answer = await client.post("/do", data={"op": "probe", "name": "git", "csrf": word, "back": back})
        assert answer.headers["location"] == "/"


def test_what_is_vendored_is_what_its_package_ships_and_names_its_licence() -> None:
    listed = json.loads((STATIC / "VENDORED.json").read_text(encoding="utf-8"))
    locked = json.loads(Path(".ci/npm-web/package-lock.json").read_text(encoding="utf-8"))["packages"]
    for name, one in listed.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == one["sha256"], name
        assert locked[f"node_modules/{one['package']}"]["version"] == one["version"]
        assert one["licence"] in ("MIT", "0BSD")
    own = {"live.js", "chart.js", "log.js", "style.css", "ok.svg", "bad.svg", "VENDORED.json"}
    assert {path.name for path in STATIC.iterdir()} == own | set(listed)


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
    assert ProbeFinished
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
