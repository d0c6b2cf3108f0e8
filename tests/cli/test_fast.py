"""The fast commands print what the full program prints, byte for byte, load none of its libraries, and leave all else to it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpwatch.app.paths import state_paths
from mcpwatch.app.state_root import state_root
from mcpwatch.cli import fast, table
from mcpwatch.cli.main import app
from mcpwatch.model.errors import McpwatchError

NOW = 1_000_000.0
NAMES = ("time", "fetch", "git", "größe")
FULL = typer.main.get_command(app)
Run = tuple[int | None, str]


class Terminal(io.StringIO):
    """Standard output that says whether it is a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class FakeDaemon:
    """A control socket that answers every request with `head` and `body`."""

    def __init__(self, path: Path) -> None:
        self.head = b"HTTP/1.1 200 OK"
        self.body = b"{}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            with contextlib.suppress(ConnectionError):
                try:
                    connection, _ = self._listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    length = b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(self.body)
                    connection.sendall(self.head + length + self.body)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(scope="module")
def daemon() -> Iterator[FakeDaemon]:
    home = Path(tempfile.mkdtemp(prefix="mw-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCPWATCH_STATE_DIR", str(home))
        patch.delenv("MCPWATCH_URL", raising=False)
        patch.setattr(time, "time", lambda: NOW)
        found = FakeDaemon(home / "control.sock")
        yield found
        found.close()
    shutil.rmtree(home)


def printed(call: Any, *, terminal: bool) -> Run:
    """What a call prints and returns; an exit is its code."""
    output, before = Terminal(terminal=terminal), sys.stdout
    sys.stdout = output
    try:
        return call(), output.getvalue()
    except SystemExit as end:
        return int(end.code or 0), output.getvalue()
    finally:
        sys.stdout = before


def in_full(arguments: Sequence[str], *, terminal: bool) -> Run:
    return printed(lambda: FULL(list(arguments), prog_name="mcpwatch"), terminal=terminal)


def in_short(arguments: Sequence[str], *, terminal: bool) -> Run:
    return printed(lambda: fast.answer(arguments), terminal=terminal)


some = st.sampled_from
Some = st.SearchStrategy[dict[str, Any]]


def named(one: dict[str, Any]) -> str:
    return str(one["name"])


moments = st.one_of(st.none(), st.floats(0.0, NOW))
words = st.text("ab ✗\x1bm[31é", max_size=12)
members: Some = st.fixed_dictionaries({
    "name": some(NAMES), "kind": some(["server", "bridge", "proxy"]), "runtime": some(["process", "hosted", "docker"]),
    "phase": some(["running", "starting", "stopping", "backoff", "failed", "stopped"]),
    "verdict": some(["healthy", "degraded", "unhealthy", "unknown"]), "want": some(["up", "down"]),
    "generation": st.integers(0, 99), "restarts": st.integers(0, 99), "pid": st.one_of(st.none(), st.integers(1, 99999)),
    "cpu": st.floats(0, 300), "rss": st.one_of(st.none(), st.integers(0, 2**34)), "started_at": moments, "retry_at": moments,
    "usage": st.fixed_dictionaries({"container": st.one_of(st.none(), st.just("0123456789abcdef"))}),
    "last_exit": words, "reason": words,
})  # fmt: skip
routes: Some = st.fixed_dictionaries({
    "name": some(NAMES), "member": some(NAMES), "url": st.just("http://127.0.0.1:9090/time/sse"), "message": words,
    "verdict": some(["healthy", "degraded", "unhealthy", "unknown"]), "tools": st.one_of(st.none(), st.integers(0, 40)),
    "last_success": moments, "symptom": some([None, "refused", "slow"]),
    "latency": st.dictionaries(some(["connect", "open", "initialize", "tools_list"]), st.floats(0, 2), max_size=4),
})  # fmt: skip
diagnoses: Some = st.fixed_dictionaries({
    "subject": some(NAMES), "text": words, "affects": st.lists(some(NAMES), max_size=3), "evidence": st.lists(words, max_size=2),
    "members": st.lists(some(NAMES), max_size=2),
})  # fmt: skip
daemons: Some = st.fixed_dictionaries(
    {"version": st.just("0.1.0"), "pid": st.integers(1, 9999), "started_at": st.floats(0.0, NOW)},
    optional={
        "web": st.just("http://127.0.0.1:9465/"),
        "config_error": words,
        "carries": st.integers(0, 3),
        "down": st.lists(st.fixed_dictionaries({"name": words, "reason": words}), max_size=1),
    },
)
documents: Some = st.fixed_dictionaries({
    "version": st.just(1), "at": st.just(NOW), "healthy": st.booleans(), "daemon": daemons, "proxy": some([None, *NAMES]),
    "members": st.lists(members, max_size=4, unique_by=named),
    "routes": st.lists(routes, max_size=4, unique_by=named), "diagnoses": st.lists(diagnoses, max_size=2),
})  # fmt: skip
QUICK = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@QUICK
@given(document=documents, names=st.lists(some(NAMES), max_size=2), as_json=st.booleans(), terminal=st.booleans(),
       wide=some(["40", "80", "133", "0", "x"]), colour=some(["NO_COLOR", "FORCE_COLOR", "TERM"]))  # fmt: skip
def test_a_status_is_the_same_by_both_ways(
    daemon: FakeDaemon, document: dict[str, Any], names: list[str], as_json: bool, terminal: bool, wide: str, colour: str
) -> None:
    daemon.body = json.dumps(document).encode()
    arguments = ["status", *names, *(["--json"] if as_json else [])]
    known = {one["name"] for one in (*document["members"], *document["routes"])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", wide)
        for name in ("NO_COLOR", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        patch.setenv(colour, "dumb")
        short = in_short(arguments, terminal=terminal)
        if not set(names) <= known:
            assert short == (None, "")  # the full program says that there is no such name, and what it may have been
            return
        assert short == in_full(arguments, terminal=terminal)
    assert short[0] is not None


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 404 Not Found", b"HTTP/1.1 500 Oh", b"HTTP/1.1 200 OK\r\nContent-Length: 1", b"nonsense"]
)
@pytest.mark.parametrize("body", [b'{"error": "no"}', b"[]", b"", b"\xff"])
def test_an_answer_that_is_no_status_is_left_to_the_full_program(daemon: FakeDaemon, head: bytes, body: bytes) -> None:
    daemon.head, daemon.body = head, body
    try:
        assert in_short(["status"], terminal=False) == (None, "")
    finally:
        daemon.head = b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("arguments", [
    [], ["status", "--watch"], ["status", "-w"], ["status", "--pid"], ["status", "--", "time"], ["status", "--jso"],
    ["status", "-h"], ["status", "--help"], ["status", ""], ["--state-dir", "x", "status"], ["statu"], ["up"],
    ["version", "--json"], ["--help", "status"],
])  # fmt: skip
def test_other_arguments_are_left_to_the_full_program(daemon: FakeDaemon, arguments: list[str]) -> None:
    del daemon
    assert in_short(arguments, terminal=False) == (None, "")


@pytest.mark.parametrize("variable", ["MCPWATCH_URL", "_MCPWATCH_COMPLETE"])
def test_another_machine_and_completion_are_left_to_the_full_program(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    daemon.body = json.dumps({"healthy": True, "members": [], "routes": []}).encode()
    monkeypatch.setenv(variable, "x")
    assert in_short(["status", "--json"], terminal=False) == (None, "")


def test_an_interrupted_edit_is_left_to_the_full_program(daemon: FakeDaemon) -> None:
    daemon.body = json.dumps({"healthy": True, "members": [], "routes": []}).encode()
    assert in_short(["status", "--json"], terminal=False)[0] == 0
    journal = state_paths().root / "edits" / "journal.json"
    journal.parent.mkdir()
    journal.touch()
    assert in_short(["status", "--json"], terminal=False) == (None, "")
    shutil.rmtree(journal.parent)


@pytest.mark.parametrize("wide", ["20", "80", "95", "110", "400"])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_help_is_the_same_by_both_ways(monkeypatch: pytest.MonkeyPatch, wide: str, option: str) -> None:
    monkeypatch.setenv("COLUMNS", wide)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/mcpwatch", option])
    short = in_short([option], terminal=False)
    assert short == (in_full([option], terminal=False) if wide in {"80", "110", "400"} else (None, ""))
    monkeypatch.setattr(sys, "argv", ["/x/mcpwatch/__main__.py", option])  # its help names it as it was called
    assert in_short([option], terminal=False) == (None, "")


@pytest.mark.parametrize("option", ["version", "--version"])
def test_the_version_is_the_same_by_both_ways(option: str) -> None:
    short = in_short([option], terminal=False)
    assert short == in_full([option], terminal=False)
    assert short[1].startswith("mcpwatch ")


def loaded(arguments: Sequence[str], state: Path) -> set[str]:
    """What a command had loaded at its end."""
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        f"sys.argv = ['mcpwatch', *{list(arguments)!r}]; from mcpwatch.__main__ import main; main()"
    )
    env = {**os.environ, "MCPWATCH_STATE_DIR": str(state), "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    return {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["--help"], ["version"]])
def test_no_library_of_the_command_line_is_loaded(daemon: FakeDaemon, arguments: list[str]) -> None:
    daemon.body = json.dumps(
        {"version": 1, "at": NOW, "healthy": True, "daemon": {"version": "1", "pid": 7, "started_at": 0.0}}
        | {"members": [], "routes": [], "diagnoses": []}
    ).encode()
    heavy = {"typer", "click", "rich", "pydantic", "http", "pathlib", "dataclasses", "typing", "asyncio", "shutil"}
    assert loaded(arguments, state_paths().root) & heavy == set()


def test_the_state_directory_is_the_same_by_both_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in (("HOME", "/h"), ("XDG_STATE_HOME", "/x"), ("MCPWATCH_STATE_DIR", "near"), ("MCPWATCH_STATE_DIR", "/s")):
        monkeypatch.setenv(variable, value)
        assert Path(state_root(os.environ)) == state_paths().root
    assert state_paths(Path("here")).root == tmp_path / "here"


@pytest.mark.parametrize("wide", ["", "0", "-3", "77", " 90", "x", "１２"])
def test_the_width_is_what_the_library_says(monkeypatch: pytest.MonkeyPatch, wide: str) -> None:
    monkeypatch.setenv("COLUMNS", wide)
    assert table.columns() == shutil.get_terminal_size().columns


def test_a_daemon_that_is_not_there_is_told_by_the_full_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MCPWATCH_STATE_DIR", str(tmp_path))
    assert in_short(["status"], terminal=False) == (None, "")
    with contextlib.suppress(McpwatchError):
        assert in_full(["status"], terminal=False)[0] == 4
