"""Talking to the daemon: HTTP over the unix socket, or to another machine's over `--url`; by the standard library alone."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from mcpwatch.app.paths import StatePaths, state_paths
from mcpwatch.model.errors import ConfigError, Fault, McpwatchError, NoDaemon, UsageError

TIMEOUT = 90.0
"""Seconds for one answer; a probe on demand may take its whole deadline."""


class ControlSettings:
    """What the options before the command said. Set once by the root command."""

    state_dir: Path | None = None
    url: str = ""
    """Address of a watchdog's page, e.g. `http://linuxserver.lan:9465`; empty: the control socket of this machine."""
    token: str = ""

    @classmethod
    def paths(cls) -> StatePaths:
        """Where the watchdog of this machine keeps its state."""
        return state_paths(cls.state_dir)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _request(
    method: str, path: str, body: Any, timeout: float, accept: str = "application/json", by: str = ""
) -> http.client.HTTPResponse:
    """Send one request. Raises `NoDaemon`, or what the daemon answered as the error it is."""
    if ControlSettings.url:
        return _remote(method, path, body, timeout, accept)
    return _local(ControlSettings.paths(), method, path, body, timeout, accept, by)


def _local(
    paths: StatePaths, method: str, path: str, body: Any, timeout: float, accept: str, by: str = ""
) -> http.client.HTTPResponse:
    """The same over the control socket of a state directory."""
    connection = _UnixConnection(paths.control, timeout)
    payload = None if body is None else json.dumps(body)
    try:
        headers = {"Content-Type": "application/json", "Accept": accept} | ({"mcpwatch-by": by} if by else {})
        connection.request(method, path, payload, headers)
        response = connection.getresponse()
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoDaemon(f"no mcpwatch is running on {paths.root}; start one with 'mcpwatch up'") from error
    except PermissionError as error:
        raise NoDaemon(f"{paths.control}: not readable by you: it belongs to the user who runs mcpwatch") from error
    except (OSError, http.client.HTTPException) as error:
        raise McpwatchError(f"{paths.control}: no answer from the watchdog: {error or type(error).__name__}") from error
    if response.status >= 400:
        raise _refusal(response)
    return response


def _remote(
    method: str, path: str, body: Any, timeout: float, accept: str, at: tuple[str, str] | None = None
) -> http.client.HTTPResponse:
    """The same over a URL with a token, `ControlSettings`' own unless `at` says others. Raises `UsageError` for no address."""
    url, token = at or (ControlSettings.url, ControlSettings.token)
    found = _split(url)
    kind = http.client.HTTPSConnection if found.scheme == "https" else http.client.HTTPConnection
    connection = kind(found.hostname or "", found.port, timeout=timeout)
    headers = {"Content-Type": "application/json", "Accept": accept}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request(method, f"{found.path.rstrip('/')}/api/v1{path}", None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
    except ConnectionRefusedError as error:
        raise NoDaemon(f"no mcpwatch answers on {url}; is web.listen set there?") from error
    except (OSError, http.client.HTTPException) as error:
        raise NoDaemon(f"{url}: no answer: {error or type(error).__name__}") from error
    if response.status >= 400:
        raise _refusal(response)
    return response


def _split(url: str) -> SplitResult:
    """The parts of `--url`. Raises `UsageError`."""
    try:
        found = urlsplit(url)
        good = found.scheme in {"http", "https"} and bool(found.hostname) and found.port != 0
    except ValueError:
        good, found = False, urlsplit("")
    if not good or found.username or found.password:
        raise UsageError(f"'{url}' is no address of a watchdog; write --url http://host:9465 and the token as --token")
    return found


def _refusal(response: http.client.HTTPResponse) -> McpwatchError:
    raw = response.read().decode(errors="replace")
    try:
        found = json.loads(raw)
    except ValueError:
        return McpwatchError(f"the watchdog answered {response.status}: {raw[:200]}")
    if found.get("faults"):
        return ConfigError(*(Fault("", str(fault)) for fault in found["faults"]))
    kind = UsageError if response.status == 404 else McpwatchError
    return kind(str(found.get("error", raw[:200])))


def call(method: str, path: str, body: Any = None, timeout: float = TIMEOUT, by: str = "") -> Any:
    """One request to the daemon, its JSON answer. With `by`, what is done is told as a fact of that name.

    Raises `NoDaemon` (exit 4), `UsageError`, `ConfigError`, `McpwatchError`."""
    response = _request(method, path, body, timeout, by=by)
    raw = response.read()
    return json.loads(raw) if raw.strip() else None


def refuse_while_running() -> None:
    """Raise `UsageError` while a watchdog runs: for what needs its state directory to itself."""
    with contextlib.suppress(NoDaemon):
        pid = call("GET", "/status", timeout=5.0)["daemon"]["pid"]
        raise UsageError(f"a watchdog (pid {pid}) runs on {ControlSettings.paths().root}; stop it first with 'mcpwatch down'")


def ask(path: str, *, timeout: float, url: str = "", token: str = "", state_dir: Path | None = None) -> Any:
    """One question to a watchdog that is named here and not by the options before the command. Raises as `call` does.

    Safe in a thread: `ControlSettings` is neither read nor changed.
    """
    accept = "application/json"
    if url:
        response = _remote("GET", path, None, timeout, accept, at=(url, token))
    else:
        response = _local(state_paths(state_dir), "GET", path, None, timeout, accept)
    return json.loads(response.read())


def stream(path: str, **query: str) -> Iterator[dict[str, Any]]:
    """The objects of an NDJSON stream, as they come; ends when the daemon does."""
    response = _request("GET", f"{path}?{urlencode(query)}", None, TIMEOUT, "application/x-ndjson")
    while True:
        try:
            line = response.readline()
        except (OSError, http.client.HTTPException):
            return
        if not line:
            return
        if line.strip():
            yield json.loads(line)
