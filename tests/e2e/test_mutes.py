"""A real daemon and real receivers: what mutes a message, what never mutes an end, and who is told when nobody takes care."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import socketserver
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon, free_port, running
from tests.e2e.test_alerts import ids, receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SOON = 60.0


class Door:
    """A member that is only watched: a port that is open or shut, and nobody else's in between."""

    def __init__(self) -> None:
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.port = int(self._kept.getsockname()[1])
        self._open: contextlib.ExitStack | None = None

    def open(self) -> None:
        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_port = True
            daemon_threads = True

        server = Server(("127.0.0.1", self.port), socketserver.BaseRequestHandler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self._open = contextlib.ExitStack()
        self._open.callback(server.server_close)
        self._open.callback(server.shutdown)

    def shut(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def close(self) -> None:
        self.shut()
        self._kept.close()


@contextmanager
def doors(count: int) -> Generator[list[Door]]:
    made = [Door() for _ in range(count)]
    for door in made:
        door.open()
    try:
        yield made
    finally:
        for door in made:
            door.close()


def fleet(doors: list[Door], receivers: dict[str, str], route: dict[str, Any] | None = None, **alerts: Any) -> dict[str, Any]:
    checked = {"kind": "tcp", "vantages": ["direct"]}
    return {
        "version": 1,
        "proxy": {"kind": "gateway", "listen": f"127.0.0.1:{free_port()}"},
        "members": {
            name: {"url": f"http://127.0.0.1:{door.port}/sse", "route": False, "checks": {"mcp": checked}}
            for name, door in zip("ab", doors, strict=False)
        },
        "defaults": {"check": {"interval": "1s", "timeout": "30s", "failure_threshold": 1}},
        "alerts": {
            "receivers": {name: {"kind": "webhook", "url": url, "timeout": "30s"} for name, url in receivers.items()},
            "route": {"receiver": "ops", "for": 0, "group_wait": 0, "group_interval": 0, "group_by": ["member"], **(route or {})},
            **alerts,
        },
    }


def next_of(got: queue.Queue[dict[str, Any]]) -> tuple[str, str, set[str]]:
    document = got.get(timeout=SOON)
    return document["state"], document["reason"], ids(document)


def alert(daemon: Daemon, name: str, until: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The alert `down` of a member, once it is as asked."""
    found: dict[str, Any] = {}

    def there(_: object) -> bool:
        listed = json.loads(daemon.run("alerts", "list", "--all", "--json").stdout)["alerts"]
        mine = [one for one in listed if one["id"] == f"down:{name}"]
        found.update(mine[0] if mine else {})
        return bool(mine) and bool(until(mine[0]))

    daemon.wait(there, f"the alert of {name}", SOON)
    return found


def test_a_silence_mutes_a_beginning_and_never_an_end(tmp_path: Path):
    with doors(1) as (a,), receiver() as (url, got), running(tmp_path, fleet([a], {"ops": url})) as daemon:
        daemon.healthy()
        added = daemon.run("silence", "add", "a", "--for", "10m", "--comment", "known")
        assert added.returncode == 0, added.stderr
        name = added.stdout.split(":")[0]
        a.shut()
        muted = alert(daemon, "a", lambda one: one["state"] == "firing")
        assert muted["muted"] == f"silence {name}"
        assert got.empty(), "muted when it began"
        assert daemon.run("silence", "expire", name).returncode == 0
        assert next_of(got) == ("firing", "unmuted", {"down:a"})

        assert daemon.run("silence", "add", "a", "--for", "10m").returncode == 0
        assert daemon.run("maintenance", "start", "--for", "10m").returncode == 0
        assert alert(daemon, "a", lambda one: one["muted"])["told"]
        a.open()
        assert next_of(got) == ("resolved", "resolved", {"down:a"})
        assert got.empty()


def test_a_maintenance_window_by_cron_mutes_until_it_is_taken_out_of_the_file(tmp_path: Path):
    always = {"name": "always", "match": {"member": "a"}, "cron": "* * * * *", "duration": "2m", "timezone": "Europe/Berlin"}
    with doors(2) as (a, b), receiver() as (url, got):
        written = fleet([a, b], {"ops": url}, maintenance=[always])
        with running(tmp_path, written, "--no-watch-config") as daemon:
            daemon.healthy()
            assert "always" in daemon.run("maintenance", "list").stdout
            a.shut()
            assert alert(daemon, "a", lambda one: one["state"] == "firing")["muted"] == "maintenance always"
            b.shut()
            assert next_of(got) == ("firing", "first", {"down:b"}), "what the window does not cover is told"
            assert got.empty()
            daemon.write(fleet([a, b], {"ops": url}))
            assert daemon.run("reload").returncode == 0
            assert next_of(got) == ("firing", "unmuted", {"down:a"})
            a.open()
            b.open()
            ended = [next_of(got), next_of(got)]
            assert {state for state, _, _ in ended} == {"resolved"}
            assert set[str]().union(*(names for _, _, names in ended)) == {"down:a", "down:b"}


def test_who_takes_care_ends_the_escalation_and_everyone_who_was_told_hears_of_the_end(tmp_path: Path):
    with doors(2) as (a, b), receiver() as (url, got), receiver() as (above, boss):
        route = {"repeat": "3s", "escalate": [{"after": "6s", "receiver": "boss"}]}
        with running(tmp_path, fleet([a, b], {"ops": url, "boss": above}, route)) as daemon:
            daemon.healthy()
            a.shut()
            assert next_of(got) == ("firing", "first", {"down:a"})
            assert daemon.run("alerts", "ack", "a", "--by", "me").returncode == 0
            escalated = alert(daemon, "a", lambda one: one["ack"])
            told_above = [one["receiver"] for one in escalated["told"] if one["receiver"] == "boss"]
            b.shut()
            while (heard := next_of(boss))[2] != {"down:b"}:
                assert told_above, f"{heard} although somebody takes care"
            assert heard[:2] == ("firing", "escalated")
            while next_of(got) != ("firing", "repeat", {"down:b"}):
                pass
            a.open()
            b.open()
            assert ended(got, {"down:a", "down:b"})
            assert ended(boss, {"down:b", *(("down:a",) if told_above else ())})


def ended(got: queue.Queue[dict[str, Any]], wanted: set[str]) -> bool:
    """Whether all of these ends are told, each once; what still fires may be said again before."""
    left = set(wanted)
    while left:
        state, _, names = next_of(got)
        if state == "resolved":
            assert names <= left, "an end told twice, or of what was never told"
            left -= names
    return True
