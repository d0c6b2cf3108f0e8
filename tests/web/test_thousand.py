"""A fleet of a thousand routes in a real browser: searched, filtered, sorted, shared as an address, live on every page of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from mcpwatch.model.fact import RouteChanged
from mcpwatch.model.member import Verdict
from mcpwatch.web.objectives.hour import HOUR, Hour, Outage, to_json
from mcpwatch.web.serve import PageServer, listen_tcp
from tests.parts import FILES
from tests.telemetry.fleet import names
from tests.web.browser import WAIT, Seen, chromium
from tests.web.room import Room

pytestmark = [pytest.mark.slow, pytest.mark.needs("chromium"), pytest.mark.timeout(240)]

ROUTES = 1000
ROWS = "#routes tr[id]"


class Thousand:
    """A served fleet of data, in a thread of its own. `do` runs something in its event loop."""

    def __init__(self, directory: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.home = ""
        asyncio.run_coroutine_threadsafe(self._begin(directory), self._loop).result(60)

    async def _begin(self, directory: Path) -> None:
        self.room = room = Room(directory, *names(ROUTES))
        now = int(room.clock.at // HOUR)
        outage = Outage((now - 5) * HOUR, (now - 5) * HOUR + 250, (now - 5) * HOUR + 9, False, "member_down")
        for number in range(now - 90, now):
            hour = Hour(3350.0, 250.0, outages=[outage]) if number == now - 5 else Hour(3600.0)
            for name in ("member7", "member999"):
                room.store.measure(number, name, (hour.good, hour.bad, 0.0), to_json(hour))
        await room.store.flush()
        listener = listen_tcp("127.0.0.1:0")
        self.home = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._served = PageServer(room.app, listener)
        self._tasks = [asyncio.create_task(self._served.run()), asyncio.create_task(room.web.site.run())]

    def do(self, act: Callable[[], None]) -> None:
        """Run it beside the server."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (act(), done.set()))
        assert done.wait(30)

    def change(self, verdict: Verdict, *changed: str) -> None:
        """These routes have another verdict from now on, and that is told."""

        def now() -> None:
            room = self.room
            room.clock.move(2)
            routes = tuple(replace(one, verdict=verdict) if one.name in changed else one for one in room.fleet.shown.routes)
            room.fleet.shown = replace(room.fleet.shown, routes=routes)
            for name in changed:
                told = RouteChanged(
                    at=room.clock.at, text="", route=name, member=name, old="healthy", new=verdict.value, reason="it was asked"
                )
                room.bus.publish(told)

        self.do(now)

    @contextmanager
    def held(self) -> Generator[None]:
        """The server is there and says nothing for this time: connections are taken by the kernel alone."""
        go = threading.Event()
        self._loop.call_soon_threadsafe(go.wait, 60)
        try:
            yield
        finally:
            go.set()

    def close(self) -> None:
        """End it."""

        async def end() -> None:
            self._served.stop()
            await self._tasks[0]
            self._tasks[1].cancel()
            await self.room.web.site.close()
            self.room.close()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)


@pytest.fixture
def fleet(tmp_path: Path) -> Generator[Thousand]:
    made = Thousand(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_a_thousand_routes_are_searched_filtered_and_sorted_without_a_reload_and_the_address_says_how(fleet: Thousand) -> None:
    fleet.change(Verdict.UNHEALTHY, "member500", "member42")
    with chromium() as browser:
        page = browser.new_page()
        seen = Seen(page, fleet.home)
        page.goto(fleet.home)
        page.evaluate("window.same = true")
        assert page.locator(ROWS).count() == 100
        assert page.locator(ROWS).first.get_attribute("id") == "r-member42", "the worst comes first"
        page.locator("[name=q]").press_sequentially("member99")
        expect(page.locator(ROWS)).to_have_count(11, timeout=WAIT)
        assert page.evaluate("document.activeElement.name") == "q", "typing goes on"
        assert page.locator("[name=q]").input_value() == "member99"
        page.fill("[name=q]", "")
        page.select_option("[name=health]", "unhealthy")
        expect(page.locator(ROWS)).to_have_count(2, timeout=WAIT)
        assert page.url == f"{fleet.home}/?health=unhealthy"
        page.select_option("[name=health]", "")
        page.select_option("[name=sort]", "availability")
        page.wait_for_selector("#routes tr[id]:first-child th:has-text('member7')")
        assert "last failure" in (page.text_content("#r-member7 .last") or "")
        assert "for 4m10s: member down" in (page.text_content("#r-member7 .last") or "")
        assert page.evaluate("window.same") is True, "nothing was loaded again"
        shared = browser.new_page()
        shared.goto(page.url)
        assert shared.locator(ROWS).first.get_attribute("id") == "r-member7"
        assert shared.locator("th[aria-sort]").all_text_contents() == ["30 d"]
        shared.click("thead a:has-text('Route')")
        shared.wait_for_selector("th[aria-sort=ascending]:has-text('Route')")
        shared.click("nav[aria-label='More routes'] a:has-text('10')")
        shared.wait_for_url("**/?sort=name&page=10")
        assert shared.locator(ROWS).count() == 100
        seen.clean()


def test_an_open_page_far_behind_follows_when_hundreds_of_routes_change_at_once(fleet: Thousand) -> None:
    with chromium() as browser:
        page = browser.new_page()
        seen = Seen(page, fleet.home)
        page.goto(f"{fleet.home}/?sort=name&page=10")
        last = str(page.locator(ROWS).last.get_attribute("id"))
        page.wait_for_selector("#sentence:text-is('All 1000 routes work.')")
        fleet.change(Verdict.UNHEALTHY, *names(ROUTES))
        page.wait_for_selector(f"#{last} .unhealthy")
        expect(page.locator("#routes .h.unhealthy")).to_have_count(100, timeout=WAIT)
        assert "1000 of 1000 routes are down" in (page.text_content("#sentence") or "")
        fleet.change(Verdict.HEALTHY, *names(ROUTES))
        expect(page.locator("#routes .h.healthy")).to_have_count(100, timeout=WAIT)
        seen.clean()


def test_a_route_that_fails_comes_to_the_top_of_an_open_page_that_did_not_show_it(fleet: Thousand) -> None:
    with chromium() as browser:
        page = browser.new_page()
        seen = Seen(page, fleet.home)
        page.goto(fleet.home)
        page.wait_for_selector("#sentence:text-is('All 1000 routes work.')")
        hidden = "member999"
        assert page.locator(f"#r-{hidden}").count() == 0
        fleet.change(Verdict.UNHEALTHY, hidden)
        page.wait_for_selector(f"#now:has-text('{hidden}')")
        page.wait_for_selector(f"#routes tr:first-child#r-{hidden}")
        fleet.change(Verdict.HEALTHY, hidden)
        page.wait_for_selector(f"#r-{hidden}", state="detached")
        seen.clean()


@pytest.mark.needs("axe")
def test_a_thousand_routes_are_readable_for_everybody(fleet: Thousand) -> None:
    fleet.change(Verdict.UNHEALTHY, "member500")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 320, "height": 800})
        seen = Seen(page, fleet.home)
        for view in ("/", "/?sort=name&page=10", "/?q=member99"):
            page.goto(fleet.home + view)
            for width in (320, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (view, width)
            page.evaluate(FILES["axe"].read_text(encoding="utf-8"))
            found = page.evaluate("axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].html))")
            assert found == [], view
        seen.clean()


def test_a_connection_that_says_nothing_for_too_long_is_lost_although_it_never_ends(fleet: Thousand) -> None:
    """A laptop that slept, a VPN that is gone: the browser itself waits for ever."""
    with chromium() as browser:
        page = browser.new_page()
        page.clock.install(time="2026-11-29T12:00:00Z")
        page.goto(fleet.home)
        page.wait_for_selector("#sentence")
        with fleet.held():  # the next stream is opened and never answered
            page.clock.run_for(40_000)
            assert page.locator("#stale").is_hidden()
            page.clock.run_for(20_000)
            page.wait_for_selector("#stale:has-text('No connection to mcpwatch since 12:00:')")
        page.clock.run_for(60_000)
        page.wait_for_selector("#stale", state="hidden")
