"""A restart of the gateway is a restart of what it hosts: whoever asks for both, each hosted server is started once."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.checks.test_stdio import SPEAK
from tests.e2e.daemon import Daemon, free_port, running
from tests.e2e.load import CallFailed, Session

DEAF = SPEAK.replace('    elif "id"', '    elif ask["method"] == "tools/call":\n        continue\n    elif "id"')
"""The same, but a call gets no answer, and a gateway that is told to end waits for one for a while."""
HOSTED = ("one", "two")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def server(directory: Path, name: str) -> dict[str, Any]:
    """A hosted server that writes a line where it starts."""
    note = f"open({str(directory / name)!r} + '.starts', 'a').write('started\\n')\n"
    return {"stdio": {"command": sys.executable, "args": ["-c", note + DEAF]}}


def fleet(directory: Path, port: int) -> dict[str, Any]:
    """Two hosted servers and a bridge."""
    bridge = {**server(directory, "three"), "bridge": {"listen": f"127.0.0.1:{free_port()}"}}
    members = {"one": server(directory, "one"), "two": server(directory, "two"), "three": bridge}
    return {"version": 1, "proxy": {"listen": f"127.0.0.1:{port}"}, "members": members}


def starts(daemon: Daemon, *names: str) -> dict[str, int]:
    """How often each server has started, or each of these."""
    found = {file.stem: file.read_text().count("started") for file in daemon.directory.glob("*.starts")}
    return {name: found[name] for name in names or found}


def test_a_hosted_server_starts_once_when_it_is_restarted_together_with_its_gateway(tmp_path: Path) -> None:
    with running(tmp_path, fleet(tmp_path, free_port())) as daemon:
        daemon.healthy()
        assert starts(daemon, *HOSTED) == {"one": 1, "two": 1}
        done = daemon.run("restart", "--all", "--json", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {member["name"]: member["generation"] for member in json.loads(done.stdout)} == dict.fromkeys(
            ("one", "two", "three", "proxy"), 2
        )
        daemon.healthy()
        assert starts(daemon, *HOSTED) == {"one": 2, "two": 2}
        assert daemon.run("restart", "one", "proxy", timeout=120).returncode == 0
        daemon.healthy()
        assert starts(daemon, *HOSTED) == {"one": 3, "two": 3}


def test_a_hosted_server_that_was_stopped_starts_once_with_all_and_not_at_all_with_its_gateway(tmp_path: Path) -> None:
    with running(tmp_path, fleet(tmp_path, free_port())) as daemon:
        daemon.healthy()
        assert daemon.run("stop", "one", timeout=120).returncode == 0
        assert daemon.run("restart", "proxy", timeout=120).returncode == 0
        daemon.wait(lambda status: runs(status, "two", 2), "the other is back")
        assert starts(daemon, *HOSTED) == {"one": 1, "two": 2}
        assert daemon.run("restart", "--all", timeout=120).returncode == 0
        assert [member["phase"] for member in daemon.healthy()["members"]] == ["running"] * 4
        assert starts(daemon, *HOSTED) == {"one": 2, "two": 3}
        assert daemon.run("stop", "one", timeout=120).returncode == 0
        assert daemon.run("restart", "--all", "--no-wait", timeout=120).returncode == 0
        daemon.wait(lambda status: runs(status, "two", 4) and status["healthy"], "all is back")
        assert starts(daemon, *HOSTED) == {"one": 3, "two": 4}


def test_a_server_that_was_stopped_stays_down_when_its_configuration_or_its_gateways_changes(tmp_path: Path) -> None:
    config = fleet(tmp_path, free_port())
    with running(tmp_path, config, "--no-watch-config") as daemon:
        daemon.healthy()
        assert daemon.run("stop", "one", timeout=120).returncode == 0
        changed(config, "one", "two")
        reloaded(daemon, config)
        daemon.wait(lambda status: starts(daemon, "two") == {"two": 2} and runs(status, "two"), "the changed one runs")
        changed(config, "one", "two", gateway=True)
        reloaded(daemon, config)
        daemon.wait(lambda status: starts(daemon, "two") == {"two": 3} and runs(status, "two"), "it runs behind another port")
        assert starts(daemon, *HOSTED) == {"one": 1, "two": 3}
        assert daemon.member("one")["phase"] == "stopped"
        assert daemon.run("start", "one", timeout=120).returncode == 0
        assert starts(daemon, *HOSTED)["one"] == 2


SLOW = {
    "what the old gateway runs is read": ("mcpwatch.runtimes.hosted:HostedRuntime._look", 0.7),
    "the processes are read": ("mcpwatch.runtimes.process:ProcessRuntime.owned", 1.5),
    "each word to a gateway": ("mcpwatch.runtimes.admin:AdminSocket.request", 0.4),
    "each member's turn": ("mcpwatch.watchdog.planned_fleet:others_first", 1.0),
    "each start": ("mcpwatch.watchdog.actor:MemberActor._start", 1.0),
    "each stop": ("mcpwatch.watchdog.actor:MemberActor._stop", 1.0),
    "the end of the old gateway": ("mcpwatch.runtimes.process:ProcessRuntime.stop", 2.0),
    "the start of the new gateway": ("mcpwatch.runtimes.process:ProcessRuntime.start", 2.0),
}
"""What may take long between reading what runs and starting what is missing: a place, and by how many seconds it is late."""


@pytest.mark.parametrize("how", ["by a reload", "while nobody watched", "while nobody watched, with a call under way"])
def test_each_hosted_server_starts_once_when_gateway_and_servers_change_together(tmp_path: Path, how: str) -> None:
    all_change(tmp_path, watched=how == "by a reload", call=how.endswith("a call under way"))


@pytest.mark.parametrize("slow", SLOW)
def test_each_hosted_server_starts_once_after_a_change_that_nobody_watched_whatever_is_slow(tmp_path: Path, slow: str) -> None:
    all_change(tmp_path, slow=SLOW[slow])


def all_change(directory: Path, slow: tuple[str, float] | None = None, *, watched: bool = False, call: bool = False) -> None:
    """One is changed, one is not, one moves in from a bridge, one is new, and one was down because it could not be started.

    The gateway changes with them: by a reload, or before the next watchdog, of which something may be slow.
    """
    config = fleet(directory, free_port())
    with running(directory, config, "--no-watch-config") as daemon, contextlib.ExitStack() as calls:
        broken_until_changed(daemon, config)
        before = starts(daemon)
        del config["members"]["three"]["bridge"]
        if call:
            calls.enter_context(call_under_way(f"http://{config['proxy']['listen']}/two/mcp"))
        changed(config, "one", gateway=True)
        if watched:
            reloaded(daemon, config)
        else:
            changed_unwatched(daemon, config, slow)
        port = config["proxy"]["listen"]
        status = daemon.wait(lambda seen: seen["healthy"] and all(port in one["url"] for one in seen["routes"]), "all is well")
        assert {one["name"] for one in status["members"]} == {"one", "two", "three", "down", "new", "proxy"}
        after = starts(daemon)
        assert {name: count - before.get(name, 0) for name, count in after.items()} == dict.fromkeys(config["members"], 1)


@pytest.mark.parametrize("slow", [None, "the processes are read", "each word to a gateway", "each start"])
def test_each_hosted_server_that_changed_while_nobody_watched_starts_once_behind_the_gateway_that_stays(
    tmp_path: Path, slow: str | None
) -> None:
    config = fleet(tmp_path, free_port())
    with running(tmp_path, config, "--no-watch-config") as daemon:
        broken_until_changed(daemon, config)
        before, gateway, untouched = starts(daemon), daemon.member("proxy")["pid"], daemon.member("two")["pid"]
        changed(config, "one")
        changed_unwatched(daemon, config, SLOW[slow] if slow else None)
        daemon.wait(lambda seen: seen["healthy"] and runs(seen, "one", 2) and runs(seen, "down"), "all is well")
        more = {name: count - before.get(name, 0) for name, count in starts(daemon).items()}
        assert more == {"one": 1, "two": 0, "three": 0, "down": 1, "new": 1}
        assert (daemon.member("proxy")["pid"], daemon.member("two")["pid"]) == (gateway, untouched)
        ends = [one for one in daemon.events() if one["fact"] == "member_exited" and one["member"] in ("one", "two", "new")]
        assert [one for one in ends if not one["planned"]] == []


def broken_until_changed(daemon: Daemon, config: dict[str, Any]) -> None:
    """A server that cannot be started, beside those that are well; then the configuration says how it can, and has a new one."""
    config["members"]["down"] = {**server(daemon.directory, "down"), "restart": {"condition": "never"}}
    words = config["members"]["down"]["stdio"]["args"]
    right, words[1] = words[1], "raise SystemExit(3)"
    reloaded(daemon, config)
    daemon.wait(lambda status: all(one["verdict"] == "healthy" for one in status["routes"] if one["name"] != "down"), "well")
    daemon.wait(lambda _: daemon.member("down")["phase"] == "failed", "one cannot be started")
    words[1] = right
    config["members"]["new"] = server(daemon.directory, "new")


def changed_unwatched(daemon: Daemon, config: dict[str, Any], slow: tuple[str, float] | None) -> None:
    """The watchdog leaves, and the next one, of which something may be slow, finds another configuration."""
    assert daemon.run("down", "--leave", timeout=120).returncode == 0
    daemon.write(config)
    daemon.wrap = [sys.executable, "-m", "tests.e2e.slowed", slow[0], str(slow[1])] if slow else []
    daemon.start("--no-watch-config")


@contextlib.contextmanager
def call_under_way(url: str) -> Generator[None]:
    """A client waits for an answer that never comes."""
    session = Session(url).open()

    def call() -> None:
        with contextlib.suppress(CallFailed, LookupError):  # what it gets when the gateway gives up waiting
            session.call("t", {})

    calling = threading.Thread(target=call)
    calling.start()
    yield
    session.client.close()
    calling.join(30)


def changed(config: dict[str, Any], *names: str, gateway: bool = False) -> None:
    """Other servers under these names, and another process of the gateway."""
    for name in names:
        config["members"][name]["stdio"]["args"].append("more")
    if gateway:
        config["proxy"]["listen"] = f"127.0.0.1:{free_port()}"


def reloaded(daemon: Daemon, config: dict[str, Any]) -> None:
    daemon.write(config)
    done = daemon.run("reload", timeout=120)
    assert done.returncode == 0, done.stderr


def runs(status: dict[str, Any], name: str, generation: int | None = None) -> bool:
    """Whether it runs, in this generation where one is said."""
    found = next(one for one in status["members"] if one["name"] == name)
    return found["phase"] == "running" and generation in (None, found["generation"])
