"""The pages as they leave the server: complete without scripts, escaped whatever servers say, public only where that was said."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mcpwatch.model.fact import MemberExited, RouteChanged
from mcpwatch.model.member import Verdict
from mcpwatch.model.view import Diagnosis, FleetView
from mcpwatch.web.page import views
from mcpwatch.web.page.public import atom, badge
from mcpwatch.web.site import STATIC
from tests.telemetry.fleet import probed
from tests.web.room import OPERATE, Room, room

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><a href=javascript:alert(3)>"
PAGES = ("/", "/route/git", "/alerts", "/clients", "/objectives", "/self", "/fleets", "/login", "/public")
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


async def test_a_route_that_works_says_when_it_failed_last_and_why(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        made.bus.publish(probed("git", vantage="route"))
        made.clock.move(30)
        made.bus.publish(MemberExited(at=made.clock.wall(), text="git: killed", member="git", generation=3, signal=9))
        made.bus.publish(RouteChanged(at=made.clock.wall(), text="", route="git", member="git", old="healthy", new="unhealthy",
                                      reason="killed", symptom="upstream_down"))  # fmt: skip
        made.clock.move(65)
        made.bus.publish(probed("git", vantage="route"))
        await made.web.meter.keep()
        page = (await client.get("/")).text
        assert re.search(r"last failure [\d:]+, for 1m05s: upstream down", page)
        await made.store.flush()
        made.clock.move(5 * 86_400)  # read from the store, days later
        again = Room(tmp_path)
        again.clock.at = made.clock.at
        found = (await again.web.api.handlers["GET", "/availability"]({}))["routes"]
        assert (round(found["git"]["last"]["end"] - found["git"]["last"]["begin"]), found["time"]["last"]) == (65, None)
        again.close()


async def test_an_open_page_that_asks_again_gets_the_rows_alone_and_the_same_as_others(tmp_path: Path) -> None:
    async with room(tmp_path) as made, made.client() as client:
        word = await made.log_in(client, OPERATE)
        assert word in (await client.get("/")).text
        first = (await client.get("/", headers={"X-Part": "main"})).text
        assert word not in first
        made.fleet.shown = down(made.fleet.shown)
        assert (await client.get("/", headers={"X-Part": "main"})).text == first
        made.clock.move(2)
        assert "1 of 2 routes is down" in (await client.get("/", headers={"X-Part": "main"})).text


def test_each_column_that_sorts_is_an_address() -> None:
    asked = views.FleetQuery.of({"q": "a b", "health": "unhealthy", "page": "3", "sort": "latency"})
    assert asked.sorted("health") == "?q=a+b&health=unhealthy"
    assert asked.sorted("name") == "?q=a+b&health=unhealthy&sort=name"
    assert asked.link(2) == "?q=a+b&health=unhealthy&sort=latency&page=2"
