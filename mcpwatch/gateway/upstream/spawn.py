"""How the process of a stdio server is begun: its clean environment, its group, its tie to our own life.

Owns the words before the command and the processes begun ahead of everything else. Imports little, because what stands here
runs before the gateway itself is loaded. Must not know pipes, JSON-RPC or event loops.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from mcpwatch import stdio_container
from mcpwatch.gateway.settings import ServerSettings

_KEPT = {
    "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "DOCKER_HOST", "MCPWATCH_MARK",
}  # fmt: skip
_KEPT_PREFIXES = ("LC_", "XDG_", "UV_", "NPM_CONFIG_", "npm_config_", "PIP_")


class Command(NamedTuple):
    """What to run. `env` is added to a clean environment; `stderr` is a file to append to, or `None` for the log.

    `env_files` are read now and stand for what `env` has beside the names of `env_own`.
    """

    name: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str | None = None
    stderr: Path | None = None
    env_files: tuple[str, ...] = ()
    env_own: tuple[str, ...] = ()


class SpawnFailed(Exception):
    """The command cannot be run at all; the text says why and what to do."""


class SpawnedProcess(subprocess.Popen[bytes]):
    """A process and the mark that it, and whatever it starts, carries in the environment: `MCPWATCH_BEGUN`."""

    mark = ""


_ahead: dict[Command, SpawnedProcess] = {}
"""Processes that nobody has taken yet. Each is taken once, by the first start of its command."""


def command(server: ServerSettings, logs: Path | None) -> Command:
    """What a member with a command runs. `logs` is the directory for its stderr, if it goes to a file."""
    assert server.command is not None
    stderr = logs / server.name / "stderr.raw" if logs is not None else None
    return Command(server.name, (server.command, *server.args), server.env, server.cwd, stderr, server.env_files, server.env_own)


def begin(servers: tuple[ServerSettings, ...], logs: Path | None) -> None:
    """Run the stdio servers now, so that they start while the gateway loads. What cannot be run says so when it is taken."""
    for server in servers:
        if server.command is not None:
            asked = command(server, logs)
            with suppress(SpawnFailed):
                _ahead[asked] = _spawn(asked)


def take(asked: Command) -> SpawnedProcess:
    """A process of this command that nobody else has. Raises `SpawnFailed`."""
    return _ahead.pop(asked, None) or _spawn(asked)


def discard() -> None:
    """End what was begun and never taken."""
    while _ahead:
        _, process = _ahead.popitem()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()


def container_file(process: subprocess.Popen[bytes]) -> Path | None:
    """Where a child that is a docker client writes the id of its container, if it is one."""
    words = tuple(str(word) for word in process.args) if isinstance(process.args, (list, tuple)) else ()
    return stdio_container.file_of(words[len(lifeline()) :])


def environment(asked: Command) -> dict[str, str]:
    """A clean environment: what programs need to find themselves, then what the configuration says, then our mark."""
    kept = {key: value for key, value in os.environ.items() if key in _KEPT or key.startswith(_KEPT_PREFIXES)}
    return kept | _written(asked) | {"MCPWATCH_HOSTED": asked.name}


def _written(asked: Command) -> dict[str, str]:
    """What the configuration says, by its files as they are now; where one cannot be read, by what all of them held before."""
    if not asked.env_files:
        return dict(asked.env)
    from mcpwatch.foreign.variables import read_env  # only who has such files waits for it

    try:
        texts = [Path(name).read_text(encoding="utf-8") for name in asked.env_files]
    except (OSError, UnicodeDecodeError):
        return dict(asked.env)
    found = {name: value for text in texts for name, value in read_env(text)[0].items()}
    return found | {name: value for name, value in asked.env if name in asked.env_own}


def _spawn(asked: Command) -> SpawnedProcess:
    mark = os.urandom(8).hex()
    env = environment(asked) | {"MCPWATCH_BEGUN": mark}
    program = shutil.which(asked.argv[0], path=env.get("PATH"))
    if program is None:
        raise SpawnFailed(f"command {asked.argv[0]!r} {_missing(asked.argv[0], env.get('PATH'), asked.cwd)}")
    stderr: IO[bytes] | int = subprocess.PIPE
    words = stdio_container.tracked(asked.argv, os.environ.get(stdio_container.DIRECTORY))
    try:
        if asked.stderr is not None:
            asked.stderr.parent.mkdir(parents=True, exist_ok=True)
            stderr = asked.stderr.open("ab", buffering=0)
        process = SpawnedProcess(
            [*lifeline(), program, *words[1:]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=env, cwd=asked.cwd, start_new_session=True,
        )  # fmt: skip
        process.mark = mark
        return process
    except OSError as error:
        raise SpawnFailed(f"cannot be run: {error.strerror} ({error.filename or program})") from None
    finally:
        if not isinstance(stderr, int):
            stderr.close()


def _missing(command: str, search: str | None, cwd: str | None) -> str:
    """Why a command cannot be run, in words: what bears its name and is no program is told, rather than that nothing does."""
    places = [Path(cwd or "", command)] if "/" in command else [Path(one or ".", command) for one in _folders(search)]
    for place in places:
        if place.is_dir() and "/" in command:
            return "is a directory; write the path of the program in it"
        if place.is_file():
            return f"may not be executed: {place} has no execute permission for this user; chmod +x it"
        if place.is_symlink():
            return f"leads nowhere: {place} is a link to {os.readlink(place)}, which is not there"  # noqa: PTH115
    return "was not found; install it or write its full path"


def _folders(search: str | None) -> list[str]:
    return (os.defpath if search is None else search).split(os.pathsep)


@functools.cache
def lifeline() -> tuple[str, ...]:
    """Words before the command that let the kernel end the child with us (Linux with util-linux).

    Safe here only because children are spawned by the main thread, which lives as long as the process: the signal is
    sent when the spawning *thread* ends. Elsewhere a child sees its stdin end.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()
