"""The page in a real browser, over a real daemon: seen, heard, walked by keyboard, live, and deaf to hostile servers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon, free_port, running
from tests.parts import FILES
from tests.web.browser import Seen, chromium

pytestmark = [pytest.mark.slow, pytest.mark.needs("chromium"), pytest.mark.timeout(240)]

TOKEN = "operate-operate-operate"
VIEWS = ("/", "/route/one", "/alerts", "/clients", "/objectives", "/self", "/login", "/public")
WIDTHS = (320, 768, 1600)
TINY = [sys.executable, "-m", "tests.servers.tiny"]


def config(*members: str, **more: Any) -> dict[str, Any]:
    """A fleet of tiny servers with a page."""
    stdio = {"command": TINY[0], "args": TINY[1:], "env": {"PYTHONPATH": str(Path.cwd())}}
    return {
        "proxy": {"listen": f"127.0.0.1:{free_port()}"},
        "members": {name: {"stdio": stdio} for name in members} | more.pop("members", {}),
        "defaults": {"check": {"interval": "2s", "failure_threshold": 1}},
        "web": {
            "listen": f"127.0.0.1:{free_port()}",
            "public": True,
            "tokens": [{"token": TOKEN, "role": "operate", "name": "hands"}],
        },
        **more,
    }


def address(made: dict[str, Any]) -> str:
    return f"http://{made['web']['listen']}"


@pytest.fixture
def fleet(tmp_path: Path) -> Generator[tuple[Daemon, str]]:
    made = config("one", "two", members={"dead": {"url": f"http://127.0.0.1:{free_port()}/sse"}})
    with running(tmp_path, made) as daemon:
        daemon.wait(
            lambda _: daemon.route("one")["verdict"] == "healthy" and daemon.route("dead")["verdict"] == "unhealthy", "it is known"
        )
        yield daemon, address(made)


@pytest.mark.needs("axe")
def test_every_view_is_readable_for_everybody_in_every_width_and_light(fleet: tuple[Daemon, str]) -> None:
    _, home = fleet
    axe = FILES["axe"].read_text(encoding="utf-8")
    with chromium() as browser:
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme, bypass_csp=False)
            page = context.new_page()
            seen = Seen(page, home)
            for view in VIEWS:
                page.goto(home + view)
                for width in WIDTHS:
                    page.set_viewport_size({"width": width, "height": 800})
                    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (view, width, "scrolls sideways")
                page.evaluate(axe)
                tags = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
                found = page.evaluate(
                    "tags => axe.run({runOnly: tags}).then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].html))", tags
                )
                assert found == [], (scheme, view)
            seen.clean()
            context.close()


def test_the_keyboard_alone_logs_in_acknowledges_an_alert_and_restarts_a_member(fleet: tuple[Daemon, str]) -> None:
    daemon, home = fleet
    before = daemon.member("one")["generation"]

    def press_until(words: str) -> None:
        """Tab to what has these words, and press it."""
        for _ in range(120):
            page.keyboard.press("Tab")
            said = page.evaluate(
                "(document.activeElement.getAttribute('aria-label') || document.activeElement.textContent || '').trim()"
            )
            if said.startswith(words):
                page.keyboard.press("Enter")
                return
        raise AssertionError(f"no way to {words}")

    with chromium() as browser:
        page = browser.new_page()
        seen = Seen(page, home)
        page.goto(home + "/login")
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name") == "token":
                break
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=hands (operate)")
        press_until("Alerts")
        page.wait_for_selector("button:has-text('Acknowledge')")
        press_until("Acknowledge")
        page.wait_for_selector("text=by hands")
        press_until("Fleet")
        page.wait_for_selector("#r-one")
        press_until("one")
        page.wait_for_url("**/route/one")  # the table of the fleet has a button "Restarts", which sorts
        page.wait_for_selector("button:has-text('Restart')")
        press_until("Restart")
        daemon.wait(lambda _: daemon.member("one")["generation"] > before, "it was restarted")
        seen.clean()
    assert any(
        fact["fact"] == "operator_acted" and fact["by"] == "hands" and fact["action"] == "restart" for fact in daemon.events()
    )


def test_an_open_page_shows_a_death_a_recovery_and_its_own_staleness(tmp_path: Path) -> None:
    made = config("one", "two")
    with running(tmp_path, made) as daemon, chromium() as browser:
        daemon.healthy()
        page = browser.new_page()
        seen = Seen(page, address(made))
        page.goto(address(made))
        page.wait_for_selector("#sentence:has-text('All 2 routes work.')")
        generation = int(page.text_content("#m-one td:nth-child(6)") or "0")
        os.kill(daemon.member("one")["pid"], signal.SIGKILL)
        page.wait_for_selector(f"#m-one td:nth-child(6):text-is('{generation + 1}')")
        page.wait_for_selector("#sentence:has-text('All 2 routes work.')")
        seen.clean()
        assert daemon.process is not None
        daemon.process.kill()
        daemon.process.wait()
        page.wait_for_selector("#stale:has-text('No connection to mcpwatch since')")
        assert "old" in (page.get_attribute("body", "class") or "")
        daemon.start()
        page.wait_for_selector("#stale", state="hidden")
        page.wait_for_selector("#sentence:has-text('All 2 routes work.')")
        assert "old" not in (page.get_attribute("body", "class") or "")
        assert seen.outside == []


def test_without_javascript_every_view_is_there_and_says_when_it_was_made(fleet: tuple[Daemon, str]) -> None:
    _, home = fleet
    words = {
        "/": "1 of 3 routes is down: dead.",
        "/route/dead": "refuses connections",
        "/route/one": "Listed through the proxy",
        "/alerts": "What happened and what was sent",
        "/clients": "No AI client's file is kept yet",
        "/objectives": "Failed tool calls",
        "/self": "Event loop lag",
        "/public": "Incidents of the last 30 days",
    }
    with chromium() as browser:
        page = browser.new_context(java_script_enabled=False).new_page()
        seen = Seen(page, home)
        for view, text in words.items():
            page.goto(home + view)
            assert text in (page.text_content("body") or ""), view
        page.goto(home + "/?q=ded&health=unhealthy")
        page.fill("[name=q]", "dea")
        page.click("button:has-text('Show')")
        page.wait_for_url("**q=dea&**")
        page.wait_for_selector("#routes tr")
        assert page.locator("#routes tr").count() == 1
        assert "reload it" in (page.text_content("noscript") or "")
        seen.clean()


TALKER = """
import sys, threading, time
def talk():
    number = 0
    while True:
        number += 1
        print(f"line {number} <b>bold</b>", file=sys.stderr, flush=True)
        time.sleep(0.1)
threading.Thread(target=talk, daemon=True).start()
from tests.servers import tiny
tiny.main()
"""


def test_the_log_on_an_open_page_grows_line_by_line_and_goes_on_after_a_restart_of_the_watchdog(tmp_path: Path) -> None:
    stdio = {"command": sys.executable, "args": ["-c", TALKER], "env": {"PYTHONPATH": str(Path.cwd())}}
    made = config(members={"talker": {"stdio": stdio}})
    numbers = "[...document.querySelectorAll('#log span')].map(row => Number(row.textContent.match(/line (\\d+) <b>bold/)?.[1]))"
    with running(tmp_path, made) as daemon, chromium() as browser:
        daemon.healthy()
        page = browser.new_page()
        seen = Seen(page, address(made))
        page.goto(address(made) + "/route/talker")
        page.locator("#log").scroll_into_view_if_needed()
        page.wait_for_selector("#log-state:has-text('Live')")
        last = page.evaluate(numbers)[-1]
        page.wait_for_selector(f"#log span:has-text('line {last + 20} <b>')")
        seen.clean()
        assert daemon.process is not None
        daemon.process.kill()
        daemon.process.wait()
        page.wait_for_selector("#log-state:has-text('No connection')")
        daemon.start()
        page.wait_for_selector("#log-state:has-text('Live')")
        last = page.evaluate(numbers)[-1]
        page.wait_for_selector(f"#log span:has-text('line {last + 20} <b>')")
        found = page.evaluate(numbers)
        assert found == list(range(found[0], found[0] + len(found))), "each line once, in order"
        assert page.locator("#log b").count() == 0
        assert seen.outside == []


HOSTILE = """
import json, sys
evil = "<script>alert('owned')</script><img src=x onerror=alert('owned')>"
print(evil, file=sys.stderr, flush=True)
for line in sys.stdin:
    ask = json.loads(line)
    if "id" not in ask:
        continue
    tool = {"name": "x" + evil, "description": evil, "inputSchema": {"type": "object"}}
    about = {"serverInfo": {"name": evil, "version": evil}, "capabilities": {"tools": {}}}
    results = {"initialize": {"protocolVersion": "2025-06-18", **about}, "tools/list": {"tools": [tool]}}
    result = results.get(ask["method"])
    answer = {"result": result} if result else {"error": {"code": -32000, "message": evil}}
    print(json.dumps({"jsonrpc": "2.0", "id": ask["id"], **answer}), flush=True)
"""


def test_a_hostile_server_runs_nothing_in_the_browser(tmp_path: Path) -> None:
    made = config(members={"evil": {"stdio": {"command": sys.executable, "args": ["-c", HOSTILE]}}})
    with running(tmp_path, made) as daemon, chromium() as browser:
        daemon.wait(lambda _: daemon.route("evil")["probes"], "it was looked at")
        page = browser.new_page()
        seen = Seen(page, address(made))
        for view in ("/", "/route/evil", "/self", "/public"):
            page.goto(address(made) + view)
        page.goto(address(made) + "/route/evil")
        page.wait_for_selector("#log")
        assert page.locator("img").count() == 0
        seen.clean()


HELD_STREAM = """
window.EventSource = class {
  static OPEN = 1; static CLOSED = 2;
  constructor() { this.readyState = 1; this.heard = {}; window.stream = this; }
  addEventListener(name, act) { this.heard[name] = act; }
  close() { this.readyState = 2; }
};
window.tell = (rows, kinds) => {
  const told = {subjects: [], kinds, rows, now: '<p id="now"></p>', bad: 0};
  window.stream.heard.change({data: JSON.stringify(told)});
};
"""


def test_an_answer_older_than_what_the_stream_told_is_asked_for_again(tmp_path: Path) -> None:
    made = config("one")
    with running(tmp_path, made) as daemon, chromium() as browser:
        daemon.healthy()
        page = browser.new_page()
        page.add_init_script(HELD_STREAM)
        page.goto(address(made))
        page.wait_for_selector("#r-one")
        answers: list[str] = []

        def older(route: Any) -> None:
            """While the first answer is on its way, the stream tells what is newer than it."""
            answers.append(route.request.url)
            if len(answers) == 1:
                page.evaluate("tell({'r-one': '<tr id=\"r-one\"><td>new</td></tr>'}, [])")
            told = "old" if len(answers) == 1 else "newest"
            route.fulfill(body=f'<title>t</title><main id="main"><table><tr id="r-one"><td>{told}</td></tr></table></main>')

        page.route(address(made) + "/", older)
        page.evaluate("tell({}, ['route_changed'])")
        page.wait_for_selector("#r-one:has-text('newest')")
        assert len(answers) == 2
