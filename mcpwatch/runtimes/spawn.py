"""How a process is started: environment, files for its output, a session of its own. Blocks for about a millisecond.

Popen without `preexec_fn` and without `user=` stays on vfork, whose cost does not grow with our memory; another user is reached
through `setpriv`, which execs and so keeps the process number.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import Field

from mcpwatch import stdio_container
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.registry import KindSpec
from mcpwatch.runtimes.descriptors import INHERITED, give_back
from mcpwatch.runtimes.lock import clear_way
from mcpwatch.runtimes.log_stamper import end_line
from mcpwatch.runtimes.process_table import MARK
from mcpwatch.units import Text

RAW = ("stdout.raw", "stderr.raw")
_RESTORED = [number for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ") if (number := getattr(signal, name, None)) is not None]
"""Signals that Python ignores and a program expects as they were."""
_SHORT = {
    errno.EAGAIN: "the machine gives out no more processes (pids.max of the control group, or ulimit -u)",
    errno.ENOMEM: "the machine gives out no more memory (memory.max of the control group, or ulimit -v)",
    errno.EMFILE: "no more files may be opened (ulimit -n)",
    errno.ENFILE: "the whole machine has no more files to open (fs.file-max)",
}
"""What a machine ran out of when a program could not be started."""
NOT_INHERITED = (
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "MCPWATCH_HOSTED",
    "MCPWATCH_HUNG",
    INHERITED,
)


StopSignal = Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"]


class ProcessSpec(KindSpec):
    """A command that mcpwatch runs and keeps running."""

    command: str = Field(min_length=1, description="The program, found on PATH or given as a path.")
    args: tuple[Text, ...] = Field((), repr=False, description="Its arguments.")
    env: dict[str, Text] = Field({}, repr=False, description="Environment variables, added to those of mcpwatch itself.")
    env_file: tuple[str, ...] = Field((), description="Files of `NAME=value` lines added to `env`; `env` wins.")
    cwd: str | None = Field(None, description="Working directory. Default: that of mcpwatch.")
    stop_signal: StopSignal = Field("SIGTERM", description="What asks it to stop, before SIGKILL after the grace.")
    user: str | None = Field(None, description="Run it as this user (mcpwatch must be root, and `setpriv` installed).")


def containers(directory: Path, member: str) -> Path:
    """Where the ids of containers behind the member's stdio commands are kept, a directory for each generation."""
    return directory / "run" / "containers" / quote(member, safe="")


def spawn(member: str, spec: ProcessSpec, mark: str, directory: Path) -> int:
    """Start it; the pid. Output is appended to `<directory>/logs/<member>/{stdout,stderr}.raw`. Raises `RuntimeFailed`."""
    cids = containers(directory, member) / mark.rpartition("/")[2]
    argv = _argv(member, spec, cids)
    env = environment(member, spec, mark, os.environ) | {stdio_container.DIRECTORY: str(cids)}
    logs = directory / "logs" / member
    out, err = _outputs(member, logs)
    try:
        pid = _run(argv, out, err, spec.cwd, env)
    except FileNotFoundError as error:
        missing = spec.cwd if spec.cwd and error.filename == spec.cwd else argv[0]
        words = f"{member}: cannot start {argv[0]}: {missing}: no such file; check 'command' and 'cwd'"
        raise RuntimeFailed(words, permanent=True) from error
    except (OSError, ValueError) as error:
        text = (_SHORT.get(error.errno or 0) or error.strerror) if isinstance(error, OSError) else str(error)
        permanent = isinstance(error, (PermissionError, NotADirectoryError, ValueError))
        raise RuntimeFailed(f"{member}: cannot start {argv[0]}: {text}", permanent=permanent) from error
    finally:
        os.close(out)
        os.close(err)
    give_back(pid)
    return pid


def _outputs(member: str, logs: Path) -> tuple[int, int]:
    """Its files for stdout and stderr, opened to append, after the lines that the last incarnation left open were ended."""
    opened: list[int] = []
    try:
        for name in RAW:
            path = logs / name
            try:
                end_line(path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                logs.mkdir(mode=0o700, parents=True, exist_ok=True)
                clear_way(path)
                end_line(path)
            opened.append(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        for fd in opened:
            os.close(fd)
        raise RuntimeFailed(f"{member}: cannot open its log files in {logs}: {error.strerror}") from error
    return opened[0], opened[1]


def _run(argv: Sequence[str], out: int, err: int, cwd: str | None, env: Mapping[str, str]) -> int:
    """Start it in a session of its own; the pid, which is the caller's to collect. Raises what `Popen` raises.

    posix_spawn where it can do it all: it takes half the time of Popen, which has the last word on everything that fails.
    """
    whole = cwd is None and min(out, err) > 2
    program = shutil.which(argv[0], path=env.get("PATH", os.defpath)) if whole else None
    if program is not None:
        actions = (
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out, 1),
            (os.POSIX_SPAWN_DUP2, err, 2),
        )
        with contextlib.suppress(OSError, NotImplementedError):
            return os.posix_spawn(program, list(argv), env, file_actions=actions, setsid=True, setsigdef=_RESTORED)
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, env=env, start_new_session=True)
    child.returncode = 0  # the end is ours to collect, by pidfd: Popen must neither wait nor warn
    return child.pid


def end_lines(directory: Path, member: str) -> None:
    """A last word without an end of line is a line, once its writer is dead."""
    for name in RAW:
        with contextlib.suppress(OSError):
            end_line(directory / "logs" / member / name)


def environment(member: str, spec: ProcessSpec, mark: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """What the process gets: what we have, less what is meant for us alone, plus files, plus `env`, plus the mark."""
    env = {name: value for name, value in inherited.items() if name not in NOT_INHERITED}
    env.setdefault("PYTHONUNBUFFERED", "1")
    for name in spec.env_file:
        env |= _env_file(member, Path(name))
    return env | spec.env | {MARK: mark}


def _env_file(member: str, path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        words = f"{member}: cannot read env_file {path}: {getattr(error, 'strerror', 'not UTF-8')}"
        raise RuntimeFailed(words, permanent=True) from error
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            value = value.strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[name.strip()] = value[1:-1] if quoted else value
    return found


def _argv(member: str, spec: ProcessSpec, cids: Path) -> list[str]:
    words = stdio_container.tracked((spec.command, *spec.args), cids if spec.user is None else None)
    if spec.user is None:
        return list(words)
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        words = f"{member}: 'user' needs mcpwatch to run as root and 'setpriv' (util-linux) to be installed"
        raise RuntimeFailed(words, permanent=True)
    return [setpriv, f"--reuid={spec.user}", "--init-groups", f"--regid={spec.user}", "--", spec.command, *spec.args]
