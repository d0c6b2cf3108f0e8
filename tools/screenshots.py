"""`python -m tools.screenshots`: take the pictures of the README and the docs, of the real page in Debian's Chromium.

A real fleet runs: three real servers behind the gateway, one address where nothing listens, one server that ends at once. What
cannot be waited for is filled in: thirty days of hours, with outages, are written into the store before the watchdog begins.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from mcpwatch.app.paths import StatePaths
from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.web.objectives.hour import HOUR, Hour, Outage, to_json
from tests.e2e.daemon import Daemon, free_port, running
from tests.parts import server
from tests.web.browser import chromium

TOKEN = "operate-operate-operate"
IMAGES = Path("docs/images")
VIEWS: dict[str, tuple[str, int, int, Literal["light", "dark"]]] = {
    "status-page.png": ("/", 1200, 800, "light"),
    "alerts-page-dark.png": ("/alerts", 1200, 800, "dark"),
    "route-page.png": ("/route/postgres", 1200, 900, "light"),
    "objectives-page.png": ("/objectives", 1200, 900, "light"),
}
"""File to address, width, height and colours."""
OUTAGES: dict[str, dict[int, tuple[float, str]]] = {
    "time": {71: (190.0, "timeout")},
    "fetch": {12: (1260.0, "member_hung"), 55: (240.0, "upstream_down"), 300: (2100.0, "member_down")},
    "git": {31: (95.0, "member_down")},
    "postgres": {8: (3600.0, "member_hung"), 7: (2400.0, "member_hung")},
    "crawler": {44: (800.0, "member_down")},
}
"""Route to hours ago: seconds down in that hour, and the cause."""


def config() -> dict[str, Any]:
    """The fleet that is shown."""
    crawl = "echo 'FATAL: DATABASE_URL is not set' >&2; exit 3"
    return {
        "proxy": {"listen": f"127.0.0.1:{free_port()}"},
        "members": {name: {"stdio": {"command": str(server(f"mcp-server-{name}"))}} for name in ("time", "fetch", "git")}
        | {
            "postgres": {"url": f"http://127.0.0.1:{free_port()}/sse"},
            "crawler": {"process": {"command": "sh", "args": ["-c", crawl]}, "url": f"http://127.0.0.1:{free_port()}/sse"},
        },
        "defaults": {"check": {"interval": "2s", "failure_threshold": 2}},
        "web": {
            "listen": f"127.0.0.1:{free_port()}",
            "tokens": [{"token": TOKEN, "role": "operate", "name": "anna"}],
            "public": True,
        },
    }


def fill(state: Path) -> None:
    """Thirty days of hours of a fleet that was watched before."""
    paths = StatePaths(state)
    paths.make()
    store, present = SqliteStore(paths.store), int(time.time() // HOUR)
    for route, trouble in OUTAGES.items():
        for ago in range(1, 720):
            seconds, cause = trouble.get(ago, (0.0, ""))
            begin = (present - ago) * HOUR + 600.0
            ended = [Outage(begin, begin + seconds, begin + 11.0, cause=cause)] if seconds else []
            latency = {bucket + len(route): 20 - abs(bucket - 250) // 2 for bucket in range(230, 270, 2)}
            hour = Hour(HOUR - seconds, seconds, 0.0, latency, 240, 1 if seconds else 0, True, 11, ended)
            store.measure(present - ago, route, (hour.good, hour.bad, hour.announced), to_json(hour))
    store.close()


def known(daemon: Daemon) -> bool:
    """Whether every route has its verdict, and figures that are not those of a first start alone."""
    probes = [daemon.route(name)["probes"][0]["successes"] for name in ("time", "fetch", "git")]
    verdicts = {name: daemon.route(name)["verdict"] for name in OUTAGES}
    return (
        list(verdicts.values()) == ["healthy"] * 3 + ["unhealthy"] * 2
        and daemon.member("crawler")["phase"] == "failed"
        and min(probes) > 10
    )


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description="Take the pictures of the status page.")
    parser.add_argument("--into", type=Path, default=IMAGES, help="directory of the pictures")
    into: Path = parser.parse_args().into
    made = config()
    with tempfile.TemporaryDirectory() as place:
        fill(Path(place) / "state")
        with running(Path(place), made) as daemon, chromium() as browser:
            daemon.wait(lambda _: known(daemon), "the fleet is known", 120)
            for file, (path, width, height, scheme) in VIEWS.items():
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.goto(f"http://{made['web']['listen']}{path}")
                page.wait_for_selector("main")
                page.screenshot(path=into / file)


if __name__ == "__main__":
    main()
