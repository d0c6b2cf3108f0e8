"""A watchdog whose event loop hangs, with nobody to watch it: it starts itself anew, and its members do not notice."""

from __future__ import annotations

import contextlib
import http.server
import signal
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.app.hang import LOOKS, HangWatch, hang_after
from tests.e2e.daemon import Daemon
from tests.e2e.load import Load
from tests.e2e.test_main_job import NOW, fleet, hosted, route
from tests.e2e.test_supervision import lives

WAIT = 120.0


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [({}, 60.0), ({"MCPWATCH_HANG_AFTER": "5"}, 5.0), ({"MCPWATCH_HANG_AFTER": "0"}, 0.0), ({"MCPWATCH_HANG_AFTER": "soon"}, 60.0)],
)
def test_how_long_a_hang_is_comes_from_the_environment_and_a_word_changes_nothing(
    environment: dict[str, str], seconds: float
) -> None:
    assert hang_after(environment) == seconds


def test_alarms_are_counted_from_the_last_turn_of_the_loop_and_act_once(capfd: pytest.CaptureFixture[str]) -> None:
    acted: list[int] = []
    watch = HangWatch(lambda: acted.append(1), {})
    for _ in range(3):
        watch.beat()
        for _ in range(LOOKS):
            watch.look()
        assert acted == []
    watch.look()
    assert acted == [1]
    said = capfd.readouterr().err
    assert "the event loop did not turn for 60s" in said
    assert "test_alarms_are_counted" in said


def test_nothing_is_armed_where_systemd_watches_or_the_alarm_is_taken() -> None:
    for environment in ({"WATCHDOG_USEC": "30000000"}, {"MCPWATCH_HANG_AFTER": "0"}):
        before = signal.getsignal(signal.SIGALRM)
        with HangWatch(lambda: None, environment).armed():
            assert signal.getsignal(signal.SIGALRM) is before


class Page(http.server.BaseHTTPRequestHandler):
    """A page that some regular expressions take for ever to read."""

    def do_GET(self) -> None:
        body = b"a" * 60 + b"!"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@contextlib.contextmanager
def page() -> Generator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(WAIT)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_watchdog_hung_in_a_regular_expression_says_where_starts_itself_anew_and_adopts(tmp_path: Path) -> None:
    good = fleet(time=hosted())
    good["defaults"]["check"]["timeout"] = "15s"
    with page() as port:
        trap: dict[str, Any] = {"kind": "http", "interval": "1s", "expect": {"regex": "^(a+)+$"}}
        trapped = {"url": f"http://127.0.0.1:{port}/mcp", "route": False, "checks": {"trap": trap}}
        bad = {**good, "members": {**good["members"], "trapped": trapped}}
        daemon = Daemon(tmp_path, good)
        daemon.env |= {"MCPWATCH_HANG_AFTER": "6"}
        try:
            daemon.start()
            daemon.healthy(WAIT)
            before, pid = lives(daemon), daemon.status()["daemon"]["pid"]
            with Load(route(good, "time"), *NOW) as load:
                daemon.write(bad)
                until_said(daemon, load, "the event loop did not turn for 6s")
                daemon.write(good)
                daemon.wait(lambda s: s["healthy"] and lives(daemon) == before, "it is back, with the same members", WAIT)
                load.progress()
            assert daemon.status()["daemon"]["pid"] == pid
            assert load.failures == []
            assert "judge" in daemon.said() or "plain.py" in daemon.said(), "the stack tells where it hung"
            told = [str(f["text"]) for f in daemon.events() if f["fact"] == "troubled" and f["subject"] == "watchdog"]
            assert any(text.startswith("the watchdog hung for 6s") for text in told), told
        finally:
            daemon.close()


def until_said(daemon: Daemon, load: Load, words: str) -> None:
    """Wait for words in the output of a daemon that answers nobody, while its members serve on."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if words in daemon.said():
            return
        load.progress(5)
    raise AssertionError(f"never said: {words}\n{daemon.said()[-2000:]}")
