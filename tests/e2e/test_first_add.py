"""`add` from nothing: an empty home, no file and no watchdog; and each way to carry a server, against real servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.cli.edit.steps import KILL_AT
from tests.e2e.daemon import Daemon, free_port, running
from tests.parts import SERVERS, server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

IMAGE = "mcpwatch-reference-fleet:test"


class Home:
    """An empty home, and commands in it as a person types them. Short: the path of a socket has a limit."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="mw-"))
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MCPWATCH_", "XDG_"))}
        state = {"XDG_STATE_HOME": str(self.path / ".local" / "state"), "NO_COLOR": "1"}
        self.env = env | {"HOME": str(self.path), "PATH": f"{Path(sys.executable).parent}:{SERVERS}:{env['PATH']}"} | state
        self.file = self.path / ".config" / "mcpwatch" / "mcpwatch.yaml"

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        argv = ["mcpwatch", *words]
        return subprocess.run(
            argv, cwd=self.path, env={**self.env, **more}, capture_output=True, text=True, timeout=180, check=False
        )

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def home() -> Generator[Home]:
    made = Home()
    try:
        yield made
    finally:
        made.run("down")
        shutil.rmtree(made.path, ignore_errors=True)


def test_the_first_add_makes_the_file_says_where_and_up_runs_it(home: Home) -> None:
    diff = home.ok("add", "time", "--dry-run", "--", "mcp-server-time")
    assert "+++ " + str(home.file) in diff
    assert not home.file.exists()
    said = home.ok("add", "time", "--", "mcp-server-time")
    assert f"{home.file} (a new file)" in said
    assert "start it with 'mcpwatch up'" in said
    assert home.file.stat().st_mode & 0o777 == 0o600
    home.ok("edit", "time", "description=The clock", "--no-test")
    text = home.file.read_text().replace("listen: 127.0.0.1:9090 ", f"listen: 127.0.0.1:{free_port()} ") + "web: false\n"
    home.file.write_text(text)
    home.ok("up", "--detach", "--wait")
    (home.path / "server.py").write_text((Path(__file__).parent.parent / "servers" / "tiny.py").read_text())
    said = home.ok("add", "mine", "--clients", "cursor", "--", sys.executable, "./server.py")
    assert "through the proxy" in said
    assert str(home.path / "server.py") in home.file.read_text(), "a path that is typed in one directory, read in another"
    assert "mine" in json.loads((home.path / ".cursor" / "mcp.json").read_text())["mcpServers"]
    assert "time" not in json.loads((home.path / ".cursor" / "mcp.json").read_text())["mcpServers"]
    home.ok("rename", "mine", "yours")
    assert set(json.loads((home.path / ".cursor" / "mcp.json").read_text())["mcpServers"]) == {"yours"}
    home.ok("remove", "yours")


@pytest.mark.parametrize("step", ["try", "journal", "edit"])
def test_a_first_add_that_is_killed_leaves_no_file(step: str, home: Home) -> None:
    trial = [] if step == "try" else ["--no-test"]
    killed = home.run("add", "time", *trial, "-e", "API_KEY=s3cret-value", "--", "mcp-server-time", **{KILL_AT: step})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = home.run("list")
    assert done.returncode == 3, "there is no fleet"
    assert ("was interrupted" in done.stderr) == (step != "try")
    assert not home.file.exists()
    assert not home.file.with_name(".env").exists()


def test_two_first_adds_at_once_make_one_file_with_both(home: Home) -> None:
    argv = ["mcpwatch", "add", "--no-test", "--json"]
    both = [
        subprocess.Popen([*argv, name, "--", "mcp-server-time"], cwd=home.path, env=home.env, stdout=subprocess.PIPE)
        for name in ("one", "two")
    ]
    assert [json.loads(process.communicate(timeout=60)[0])["ok"] for process in both] == [True, True]
    assert set(home.ok("list", "--format", "names").split()) == {"one", "two"}


@pytest.mark.needs("mount")
def test_a_full_disk_leaves_the_file_the_env_file_and_the_fleet_as_they_were(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        text = f'version: 1\nproxy: {{listen: "127.0.0.1:{free_port()}"}}\nmembers: {{far: {{url: "http://127.0.0.1:1/sse"}}}}\n'
        (disk / "fleet.yaml").write_text(text)
        (disk / ".env").write_text("A=b\n")
        (disk / "fill").write_bytes(b"x" * 40_000)
        before = sorted(path.name for path in disk.iterdir())
        argv = [
            sys.executable,
            "-m",
            "mcpwatch",
            "--state-dir",
            str(tmp_path / "state"),
            "add",
            "more",
            "-c",
            str(disk / "fleet.yaml"),
        ]
        big = ["--no-test", "-e", "API_KEY=s3cret-value", "-e", f"B={'y' * 60_000}", "--", str(server("mcp-server-time"))]
        done = subprocess.run([*argv, *big], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert (disk / "fleet.yaml").read_text() == text
        assert (disk / ".env").read_text() == "A=b\n"
        assert sorted(path.name for path in disk.iterdir()) == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


TBXARK = """\
{{
  "mcpProxy": {{"baseURL": "http://127.0.0.1:{port}", "addr": ":{port}", "name": "p", "version": "1"}},
  "mcpServers": {{
    "zeit": {{"command": "mcp-server-time", "args": []}},
    "a": {{"command": "mcp-server-time"}}
  }}
}}
"""


def test_a_running_fleet_of_tbxark_is_edited_in_its_own_words(tmp_path: Path) -> None:
    text = TBXARK.format(port=free_port())
    daemon = Daemon(tmp_path, text)
    daemon.config = daemon.config.rename(tmp_path / "config.json")
    try:
        daemon.start()
        daemon.healthy(120.0)
        names = [member["name"] for member in daemon.status()["members"]]
        for step in ("journal", "edit", "reload", "prove"):
            argv = [sys.executable, "-m", "mcpwatch", "add", "vcs", "--no-test", "--", "mcp-server-git"]
            killed = subprocess.run(argv, env={**daemon.env, KILL_AT: step}, capture_output=True, timeout=120, check=False)
            assert killed.returncode == -signal.SIGKILL, (step, killed.stderr)
            assert "was interrupted" in daemon.run("list").stderr
            assert daemon.config.read_text() == text, step
        daemon.wait(lambda shown: [member["name"] for member in shown["members"]] == names, "the fleet is as it was")
        done = daemon.run("add", "vcs", "--json", "--", "mcp-server-git", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["proved"]
        servers = json.loads(daemon.config.read_text())["mcpServers"]
        assert list(servers) == ["zeit", "a", "vcs"]
        assert servers["vcs"] == {"command": "mcp-server-git"}
        assert daemon.run("remove", "vcs", timeout=120).returncode == 0
        assert daemon.config.read_text() == text
    finally:
        daemon.close()


def carried(daemon: Daemon, *words: str) -> dict[str, Any]:
    """An `add` that must succeed: what it said."""
    done = daemon.run("add", "--json", *words, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["proved"]
    return said


def test_a_bridge_and_urls_of_both_transports_with_a_header_are_proved(tmp_path: Path) -> None:
    token = "tok-of-the-far-gateway"
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir()
    near.mkdir()
    address = free_port()
    proxy = f'proxy: {{listen: "127.0.0.1:{address}", auth: {{tokens: [{token}]}}}}'
    guarded = f"version: 1\n{proxy}\nmembers:\n  time: {{stdio: {{command: mcp-server-time}}}}\n"
    empty = f'version: 1\nproxy: {{listen: "127.0.0.1:{free_port()}"}}\nmembers: {{}}\n'
    with running(far, guarded) as other, running(near, empty) as daemon:
        other.healthy(120.0)
        bridge = free_port()
        carried(daemon, "split", "--bridge", f":{bridge}", "--", "mcp-server-time")
        assert daemon.member("split")["runtime"] == "process"
        header = ["-H", f"Authorization: Bearer {token}"]
        done = daemon.run("add", "refused", "-t", "sse", f"http://127.0.0.1:{address}/time/sse", timeout=120)
        assert done.returncode == 1
        assert "it asks for a token, and none is sent" in done.stderr
        carried(daemon, "far", "-t", "sse", *header, f"http://127.0.0.1:{address}/time/sse")
        carried(daemon, "farther", "-t", "http", *header, f"http://127.0.0.1:{address}/time/mcp")
        assert token not in daemon.config.read_text()
        assert token in (near / ".env").read_text()
        assert [row["name"] for row in json.loads(daemon.run("list", "--json").stdout)] == ["split", "far", "farther"]


@pytest.mark.needs("docker", "reference-fleet")
def test_a_container_of_its_own_is_tried_added_and_removed(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, f'version: 1\nproxy: {{listen: "127.0.0.1:{free_port()}"}}\nmembers: {{}}\n') as daemon:
        serve = ["bridge", "--host", "0.0.0.0", "--port", str(port), "--pass-environment", "--", "mcp-server-time"]
        said = carried(daemon, "db", f"http://127.0.0.1:{port}/sse", "--docker", IMAGE, "-e", "API_KEY=s3cret-value", "--", *serve)
        assert said["tools"] == ["convert_time", "get_current_time"]
        assert "API_KEY: ${API_KEY}" in daemon.config.read_text().replace('"', "")
        assert daemon.member("db")["runtime"] == "docker"
        assert daemon.run("remove", "db", timeout=120).returncode == 0
        assert daemon.status()["members"][0]["name"] == "proxy"
