"""Faults on purpose: the ways in which a member can be hurt for a drill, and healed again where it does not heal itself.

Owns: signals, freezing, memory and network of a member, by the process ids and the container that the status shows. Must not know:
what the watchdog makes of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from mcpwatch.cli.control import call
from mcpwatch.model.errors import UsageError

Fault = Literal["kill", "hang", "stale", "oom", "partition"]
TOOL_SECONDS = 30.0
HOG = "exec tail /dev/zero"
"""Takes all the memory there is."""

Undo = Callable[[], None]


def inject(fault: Fault, member: dict[str, Any]) -> Undo:
    """Hurt a member now; returns what ends the fault if it still lasts. Raises `UsageError` when that cannot be done to it."""
    name, pid, container = member["name"], member["pid"], member["usage"].get("container")
    if fault == "stale":
        call("POST", f"/members/{name}/restart")
        return _nothing
    if not pid:
        raise UsageError(f"{name} has no process here (runtime {member['runtime']}); drill the member that runs it")
    if fault == "kill":
        _signal((pid,), signal.SIGKILL, name)
        return _nothing
    if fault == "hang":
        pids = family(pid)
        _signal(pids, signal.SIGSTOP, name)
        return lambda: _quietly(pids, signal.SIGCONT)
    if fault == "oom":
        return _oom(name, pid, container)
    return _partition(name, container, member)


def family(pid: int) -> tuple[int, ...]:
    """A process and all its descendants, by the kernel's own table."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, queue = list[int](), [pid]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return tuple(found)


def _oom(name: str, pid: int, container: str | None) -> Undo:
    """Let the kernel's own judge end it: the member becomes the first to go, and something else takes all the memory."""
    if not container:
        raise UsageError(f"{name} is no container: only one with a memory limit can run out of memory alone")
    if _docker("inspect", "-f", "{{.HostConfig.Memory}}", container) == "0":
        raise UsageError(f"{name} has no memory limit: this would be a drill for the whole machine; set docker.memory first")
    for one in family(pid):
        with contextlib.suppress(OSError):
            Path(f"/proc/{one}/oom_score_adj").write_text("1000", encoding="ascii")
    hog = subprocess.Popen(
        ["docker", "exec", container, "sh", "-c", HOG],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return lambda: _end(hog)


def _partition(name: str, container: str | None, member: dict[str, Any]) -> Undo:
    """Nothing reaches it any more: a container leaves its networks, a process's port is cut off by the firewall."""
    if container:
        networks = _docker("inspect", "-f", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}", container).split()
        if not networks or networks[0] in {"host", "none"}:
            raise UsageError(f"{name} has no network of its own to be cut off from")
        for network in networks:
            _docker("network", "disconnect", "--force", network, container)

        def back() -> None:
            for network in networks:
                with contextlib.suppress(UsageError):
                    _docker("network", "connect", network, container)

        return back
    port = _port(member)
    rule = ("INPUT", "-i", "lo", "-p", "tcp", "--dport", str(port), "-j", "DROP")
    if shutil.which("iptables") is None or os.geteuid() != 0:
        raise UsageError(f"cutting off {name} needs root and iptables, because it is a process of this machine")
    _run("iptables", "-I", *rule)
    return lambda: _quiet_run("iptables", "-D", *rule)


def _port(member: dict[str, Any]) -> int:
    url = str(member.get("url") or "")
    port = urlsplit(url).port
    if port is None:
        raise UsageError(f"{member['name']} is not reached by a port of its own, so it cannot be cut off")
    return port


def _signal(pids: tuple[int, ...], number: int, name: str) -> None:
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    except PermissionError:
        raise UsageError(f"{name}: its processes belong to another user; run the drill as that user or root") from None


def _quietly(pids: tuple[int, ...], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        process.kill()
    process.wait()


def _docker(*words: str) -> str:
    if shutil.which("docker") is None:
        raise UsageError("this drill of a container needs the docker command line")
    return _run("docker", *words)


def _run(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, timeout=TOOL_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"{' '.join(words[:2])} failed: {error}") from None
    if done.returncode != 0:
        raise UsageError(f"{' '.join(words[:2])} failed: {done.stderr.decode('utf-8', 'replace').strip()[:200]}")
    return done.stdout.decode("utf-8", "replace").strip()


def _quiet_run(*words: str) -> None:
    with contextlib.suppress(UsageError):
        _run(*words)


def _nothing() -> None:
    """This fault ends by itself."""
