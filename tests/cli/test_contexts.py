"""Many fleets, one view: each watchdog's answer beside the others', and one that does not answer named as unknown."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.cli import exits
from mcpwatch.cli.contexts import ContextSpec, ask_all, load_contexts, show_all
from mcpwatch.model.errors import ConfigError, UsageError

WELL: dict[str, Any] = {
    "at": 0.0, "healthy": True, "proxy": None, "diagnoses": [], "daemon": {"version": "0.1.0", "pid": 1, "started_at": 0.0},
    "members": [], "routes": [],
}  # fmt: skip


@contextmanager
def _watchdog(status: dict[str, Any], token: str = "") -> Generator[str]:
    """Something that answers as a watchdog's page does; its address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            pass

        def do_GET(self) -> None:
            allowed = not token or self.headers.get("Authorization") == f"Bearer {token}"
            body = json.dumps(status if allowed else {"error": "a token is needed"}).encode()
            self.send_response(200 if allowed and self.path == "/api/v1/status" else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _nobody() -> str:
    """An address of this machine where nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}"


def _write(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("MCPWATCH_CONTEXTS", str(path))


def test_each_watchdog_is_asked_with_its_own_token_and_one_that_is_away_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("the-lab-token\n", encoding="utf-8")
    with _watchdog(WELL) as home, _watchdog({**WELL, "healthy": True}, "the-lab-token") as lab:
        lines = (
            f"home: {{url: '{home}'}}",
            f"lab: {{url: '{lab}', token_file: '{tmp_path}/token'}}",
            f"away: {{url: '{_nobody()}'}}",
        )
        text = "contexts:\n" + "".join(f"  {line}\n" for line in lines)
        _write(tmp_path / "contexts.yaml", text, monkeypatch)
        assert show_all(as_json=True) == exits.UNHEALTHY
        found = json.loads(capsys.readouterr().out)
        assert [(one["name"], one["status"] is not None, bool(one["unknown"])) for one in found["contexts"]] == [
            ("home", True, False), ("lab", True, False), ("away", False, True),
        ]  # fmt: skip
        assert show_all(as_json=False) == exits.UNHEALTHY
        out = capsys.readouterr().out
        assert "away: unknown: no mcpwatch answers on" in out
        assert "healthy" in out


def test_all_known_and_healthy_is_the_only_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with _watchdog(WELL) as home:
        _write(tmp_path / "contexts.yaml", f"contexts: {{home: {{url: '{home}'}}}}", monkeypatch)
        assert show_all(as_json=False) == exits.OK
    assert "home" in capsys.readouterr().out


def test_a_wrong_token_and_a_foreign_answer_are_unknown_and_harm_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG", "x")
    with (
        _watchdog(WELL, "right") as guarded,
        _watchdog({"healthy": True, "members": [], "routes": []}) as foreign,
        _watchdog(WELL) as home,
    ):
        contexts = {
            "guarded": ContextSpec(url=guarded, token_env="WRONG"),
            "foreign": ContextSpec(url=foreign),
            "unset": ContextSpec(url=home, token_env="NOT_SET_ANYWHERE"),
            "home": ContextSpec(url=home),
        }
        found = ask_all(contexts)
    assert [one.status is not None for one in found] == [False, False, False, True]
    assert found[0].unknown == "a token is needed"
    assert "NOT_SET_ANYWHERE is not set" in found[2].unknown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("contexts: {a: {url: 'http://x', state_dir: /y}}", "write url or state_dir, not both"),
        ("contexts: {a: {token_env: T}}", "a token goes with url"),
        ("contexts: {a: {uri: x}}", ":1: contexts.a.uri: unknown key; did you mean 'url'?"),
        ("contexts: {a: {state_dir: [x]}}", "contexts.a.state_dir: must be a path, not a list"),
        ("contexts: {a: 5}", "contexts.a: must be a mapping, not a number"),
        ("contexts:", "contexts: must be a mapping, not empty"),
        ("contexts:\n  a: {url: x}\n  a: {url: y}\n", ":3: contexts.a: duplicate key, first written on line 2"),
        ("hello: 1", "contexts: is missing"),
        ("", "must be a mapping, not empty"),
    ],
)
def test_a_faulty_file_is_one_line_that_names_the_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "contexts.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as failed:
        load_contexts(path)
    assert words in str(failed.value)
    assert not re.search(r"input|valid|permitted|Field", str(failed.value)), "no word of the library"


def test_without_a_file_the_message_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="write 'contexts:"):
        load_contexts(tmp_path / "none.yaml")
