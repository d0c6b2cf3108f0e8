"""Containers behind stdio commands: `docker run -i --rm IMAGE` as a member, whose container must not outlive it.

A docker client that is killed leaves its container running. So each such command is given a file for the container's id
(`--cidfile`), in a directory of the incarnation that runs it; whoever sees that incarnation end removes what they name. Used by the
process runtime and by the gateway, in whose environment `DIRECTORY` names the directory. Must not know members or the SDK.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

DIRECTORY = "MCPWATCH_CONTAINERS"
"""Environment variable with the directory for these files, given to every member's process by the watchdog."""
PROGRAMS = ("docker", "podman", "nerdctl")
REMOVE_SECONDS = 20.0
"""Longest wait for one removal."""


def tracked(argv: Sequence[str], directory: str | Path | None) -> tuple[str, ...]:
    """The command with a file for its container's id, if it runs a container in the foreground and does not have one yet."""
    words = tuple(argv)
    at = _run(words)
    if at is None or not directory or any(word.split("=")[0] == "--cidfile" for word in words):
        return words
    import uuid  # a cold start of the gateway does not load it for servers that are no containers

    path = Path(directory) / f"{Path(words[0]).name}-{uuid.uuid4().hex}"
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (*words[: at + 1], "--cidfile", str(path), *words[at + 1 :])
    return words


def runs(argv: Sequence[str]) -> bool:
    """Whether a command runs a container in the foreground."""
    return _run(tuple(argv)) is not None


def file_of(argv: Sequence[str]) -> Path | None:
    """The file that `tracked` gave a command, or `None`."""
    words = tuple(argv)
    at = _run(words)
    return Path(words[at + 2]) if at is not None and words[at + 1 : at + 2] == ("--cidfile",) else None


def left(directory: Path) -> list[Path]:
    """The files of containers that may still be there."""
    try:
        return sorted(path for path in directory.iterdir() if path.name.split("-")[0] in PROGRAMS)
    except OSError:
        return []


def remove(path: Path) -> str:
    """Remove the container that a file names, and the file. Why it cannot be removed, or the empty string. Blocking."""
    program = path.name.split("-")[0]
    try:
        container = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
    problem = _removed(program, container) if container.isalnum() else ""
    if not problem:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    return problem


def clear(directory: Path) -> list[str]:
    """Remove every container that the files of a directory name; what could not be, one line each. Blocking."""
    problems = [problem for path in left(directory) if (problem := remove(path))]
    with contextlib.suppress(OSError):
        directory.rmdir()
    return problems


def _run(words: tuple[str, ...]) -> int | None:
    """Where `run` stands in a command that runs a container, if it is one and not in the background."""
    if not words or Path(words[0]).name not in PROGRAMS:
        return None
    for at, word in enumerate(words[1:], 1):
        if word == "run":
            return at
        if word != "container" and not word.startswith("-"):
            return None
    return None


def _removed(program: str, container: str) -> str:
    try:
        done = subprocess.run(
            [program, "rm", "-f", container],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=REMOVE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"container {container[:12]} may be left: {program} cannot be asked ({error})"
    said = done.stderr.strip().splitlines()
    low = done.stderr.lower()
    gone = done.returncode == 0 or "no such container" in low or "already in progress" in low
    why = said[-1] if said else f"{program} ended with {done.returncode}"
    return "" if gone else f"container {container[:12]} may be left: {why}"
