"""The order of a start: servers first, the gateway while they start; and what becomes of them when it cannot serve."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpwatch.gateway.settings import ServerSettings
from mcpwatch.gateway.upstream import spawn
from tests.gateway.program import TINY, alive, gateway, gone
from tests.parts import ROOT

LIMIT = 60.0
CAT = ServerSettings("cat", "cat")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    spawn.discard()


def test_nothing_heavy_is_loaded_before_the_servers_are_started() -> None:
    heavy = {"asyncio", "msgspec", "uvloop", "httptools", "logging", "pydantic", "anyio", "ssl"}
    code = f"import sys, mcpwatch.gateway.serve.entry; print(*sorted({heavy!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_what_serves_holds_nothing_that_it_has_no_use_for() -> None:
    spare = {"logging.handlers", "pickle", "email", "http.client", "urllib.request", "html", "xml", "tempfile", "pydantic", "anyio"}
    spare |= {"ssl", "hashlib", "hmac", "secrets"}  # OpenSSL; the stand-in for `ssl` is gone with the loading
    code = (
        "import sys\nfrom mcpwatch.http_client import late_tls\nwith late_tls.postponed():\n"
        "    from mcpwatch.gateway.serve import program\nprogram._log_to('stderr')\n"
        f"print(*sorted({spare!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_a_gateway_loads_neither_what_probes_are_nor_what_its_libraries_can_do_without() -> None:
    code = (
        "import sys\nfrom mcpwatch.gateway.serve import entry\nwith entry.spared():\n"
        "    from mcpwatch.gateway.serve import program\n"
        "print(*sorted({'mcpwatch.model.probe', 'typing_extensions'} & sys.modules.keys()))\n"
        "import typing_extensions"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_a_process_begun_ahead_is_taken_by_the_first_start_of_its_command_only() -> None:
    spawn.begin((CAT,), None)
    first, second = spawn.take(spawn.command(CAT, None)), spawn.take(spawn.command(CAT, None))
    assert first.pid != second.pid
    for process in (first, second):
        said, _ = process.communicate(b"hello\n", timeout=LIMIT)
        assert said == b"hello\n"


def test_a_process_that_nobody_takes_is_ended() -> None:
    spawn.begin((CAT,), None)
    process = next(iter(spawn._ahead.values()))  # pyright: ignore[reportPrivateUsage]
    spawn.discard()
    assert process.returncode == -signal.SIGKILL
    assert not alive(process.pid)


def test_a_command_that_cannot_be_run_stops_nothing_ahead_and_says_so_when_it_is_taken() -> None:
    absent = ServerSettings("absent", "no-such-program-anywhere")
    spawn.begin((absent, CAT), None)
    with pytest.raises(spawn.SpawnFailed, match="no-such-program-anywhere"):
        spawn.take(spawn.command(absent, None))
    assert spawn.take(spawn.command(CAT, None)).communicate(b"", timeout=LIMIT)[0] == b""


def test_a_child_gets_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_PROXY_TOKEN", "secret")
    monkeypatch.setenv("LC_ALL", "C")
    server = ServerSettings("x", "env", env=(("OWN", "1"), ("LC_ALL", "de_DE")))
    said, _ = spawn.take(spawn.command(server, None)).communicate(timeout=LIMIT)
    lines = {name: value for name, _, value in (line.partition("=") for line in said.decode().splitlines())}
    assert (lines["OWN"], lines["LC_ALL"], lines["MCPWATCH_HOSTED"]) == ("1", "de_DE", "x")
    assert "MCP_PROXY_TOKEN" not in lines
    assert lines["PATH"] == os.environ["PATH"]


def test_a_child_leads_a_group_and_a_session_of_its_own() -> None:
    process = spawn.take(spawn.command(CAT, None))
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    process.communicate(b"", timeout=LIMIT)


@pytest.mark.slow
def test_a_gateway_that_cannot_listen_ends_the_servers_it_began(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file = tmp_path / "gateway.json"
        name = f"m{os.getpid()}-{taken.getsockname()[1]}"
        file.write_text(json.dumps({"version": 1, "listen": f"127.0.0.1:{taken.getsockname()[1]}", "servers": {name: TINY}}))
        command = [sys.executable, "-m", "mcpwatch.gateway", "--config", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
        assert done.returncode == 1
        assert "cannot listen on" in done.stderr
        assert not hosted(name)


@pytest.mark.slow
def test_every_server_runs_once_whatever_was_begun_ahead() -> None:
    names = [f"once{os.getpid()}-{number}" for number in range(3)]
    with gateway({"servers": dict.fromkeys(names, TINY)}) as running:
        running.wait(dict.fromkeys(names, "running"))
        members = running.members()
        assert {name: hosted(name) for name in names} == {name: {members[name]["pid"]} for name in names}
        assert {member["generation"] for member in members.values()} == {1}
        pids = [member["pid"] for member in members.values()]
    for pid in pids:
        gone(pid)


def hosted(name: str) -> set[int]:
    """Processes that carry this member's mark and are no zombies."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"MCPWATCH_HOSTED={name}\0".encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return {pid for pid in found if alive(pid)}


@pytest.mark.parametrize("whole", [True, False], ids=["by its path", "by its name"])
@pytest.mark.parametrize(
    ("made", "told"),
    [("file", "has no execute permission for this user; chmod"), ("link", "is a link to /nowhere"), ("nothing", "was not found")],
)
def test_a_command_that_is_there_and_cannot_be_run_is_not_said_to_be_missing(
    tmp_path: Path, made: str, told: str, *, whole: bool
) -> None:
    place = tmp_path / "server"
    if made == "file":
        place.write_text("#!/bin/sh\n", encoding="utf-8")
        place.chmod(0o644)
    elif made == "link":
        place.symlink_to("/nowhere")
    asked = spawn.Command("time", (str(place) if whole else "server",), env=(("PATH", str(tmp_path)),))
    with pytest.raises(spawn.SpawnFailed, match=told):
        spawn.take(asked)


def test_a_command_that_is_a_directory_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(spawn.SpawnFailed, match="is a directory"):
        spawn.take(spawn.Command("time", (str(tmp_path),)))
