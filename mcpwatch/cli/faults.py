"""Faults on purpose: the ways in which a member can be hurt for a drill, and healed again where it does not heal itself.

Owns: signals, freezing, memory and network of a member, by the processes and the container that the status shows. Must not know:
what the watchdog makes of it. A stdio server inside a foreign proxy is found by the mark that its proxy's configuration gives it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mcpwatch.cli.control import call
from mcpwatch.cli.processes import MemoryGroup, family, listener, memory_group, ports
from mcpwatch.model.errors import UsageError
from mcpwatch.runtimes.port import child_of

Fault = Literal["kill", "hang", "stale", "oom", "partition", "child", "pause", "recover", "slow", "flap"]
HARMLESS: frozenset[Fault] = frozenset({"recover", "slow", "flap"})
"""Faults that end by themselves: whoever restarts anything for one of them does harm."""
TOOL_SECONDS = 30.0
HOG = "exec tail /dev/zero"
"""Takes all the memory there is."""
HOG_LIMIT = 64 * 1024**2
"""Bytes that are all the memory there is, for a process that has no limit of its own."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """So many seconds frozen, so many free, for so long."""

    frozen: float
    free: float
    seconds: float


RHYTHMS = {"slow": Rhythm(0.4, 0.1, 20.0), "flap": Rhythm(4.0, 4.0, 48.0)}
"""`slow`: every exchange takes up to half a second longer. `flap`: every other probe of a check each few seconds fails."""

Undo = Callable[[], None]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FaultTarget:
    """What is hurt: its name, its main process, its container, and whether it lives inside a proxy that is not told."""

    name: str
    pid: int
    container: str | None
    inside: bool = False


def inject(fault: Fault, member: Document, status: Document) -> Undo:
    """Hurt a member now; returns what ends the fault if it still lasts. Raises `UsageError` when that cannot be done to it."""
    found = _child(member, status)
    if fault == "stale" and found is None:
        call("POST", f"/members/{member['name']}/restart")
        return _nothing
    victim = found or FaultTarget(member["name"], member["pid"] or 0, member["usage"].get("container"))
    if not victim.pid:
        raise UsageError(f"{victim.name} has no process here (runtime {member['runtime']}); drill the member that runs it")
    match fault:
        case "hang" | "recover":
            return _freeze(family(victim.pid), victim.name)
        case "slow" | "flap":
            return _rhythm(victim, RHYTHMS[fault])
        case "child":
            return _kill_children(victim)
        case "pause":
            return _pause(victim)
        case "oom":
            return _oom(victim)
        case "partition":
            return _partition(victim)
        case _:  # a server that its proxy does not know to have ended is stale to it
            _signal((victim.pid,), signal.SIGKILL if fault == "kill" else signal.SIGTERM, victim.name)
            return _nothing


def _child(member: Document, status: Document) -> FaultTarget | None:
    """The stdio server inside a foreign proxy, found by its mark; `None` for a member that is told by its own runtime."""
    proxy = next((one for one in status["members"] if one["name"] == status.get("proxy")), None)
    if member["pid"] or proxy is None or proxy is member or not proxy["pid"]:
        return None
    routes = [str(route["name"]) for route in status["routes"] if route["member"] == member["name"]]
    pid = next((found for route in routes if (found := child_of(proxy["pid"], route, 0))), None)
    return FaultTarget(member["name"], pid, proxy["usage"].get("container"), inside=True) if pid else None


def _freeze(pids: tuple[int, ...], name: str) -> Undo:
    """SIGSTOP to these processes; SIGCONT ends that."""
    _signal(pids, signal.SIGSTOP, name)
    return lambda: _quietly(pids, signal.SIGCONT)


def _kill_children(victim: FaultTarget) -> Undo:
    """Only what a bridge runs dies; the bridge itself does not."""
    below = family(listener(victim.pid))[1:]
    if not below:
        raise UsageError(f"{victim.name} runs nothing below it, so it is no bridge; use --fault kill")
    _signal(below, signal.SIGKILL, victim.name)
    return _nothing


def _pause(victim: FaultTarget) -> Undo:
    """A container is paused by its engine; a process is stopped alone, without what it runs."""
    container = victim.container
    if container is None or victim.inside:
        _signal((victim.pid,), signal.SIGSTOP, victim.name)
        return lambda: _quietly((victim.pid,), signal.SIGCONT)
    _docker("pause", container)
    return lambda: _quiet_run("docker", "unpause", container)


def _rhythm(victim: FaultTarget, rhythm: Rhythm) -> Undo:
    """Freeze and release it again and again, until the rhythm or the drill is over."""
    pids = family(victim.pid)
    ends = _freeze(pids, victim.name)
    over = threading.Event()

    def beat() -> None:
        deadline, undo = time.monotonic() + rhythm.seconds, ends
        try:
            while not over.wait(rhythm.frozen):
                undo()
                if time.monotonic() > deadline or over.wait(rhythm.free):
                    return
                undo = _freeze(pids, victim.name)
        except UsageError:
            return
        finally:
            undo()

    thread = threading.Thread(target=beat, name=f"drill {victim.name}", daemon=True)
    thread.start()

    def end() -> None:
        over.set()
        thread.join(TOOL_SECONDS)

    return end


def _oom(victim: FaultTarget) -> Undo:
    """Let the kernel's own judge end it: the member becomes the first to go, and something else takes all the memory."""
    group, words = None, ("docker", "exec", victim.container or "", "sh", "-c", HOG)
    if victim.container is None:
        group = memory_group(victim.pid, HOG_LIMIT)
        if group is None:
            raise UsageError(f"{victim.name} has no memory limit of its own; giving it one needs root and a memory cgroup")
        words = ("sh", "-c", f'echo $$ >"$0/cgroup.procs" && {HOG}', str(group.path))
    elif _docker("inspect", "-f", "{{.HostConfig.Memory}}", victim.container) == "0":
        raise UsageError(f"{victim.name} has no memory limit: this would be a drill for the whole machine; set docker.memory first")
    for one in family(victim.pid):
        if group is not None:
            group.add(one)
        with contextlib.suppress(OSError):
            Path(f"/proc/{one}/oom_score_adj").write_text("1000", encoding="ascii")
    quiet = subprocess.DEVNULL
    hog = subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet)
    return lambda: _end(hog, group)


def _partition(victim: FaultTarget) -> Undo:
    """Nothing reaches it any more: a container leaves its networks, a process's ports are cut off by the firewall."""
    if victim.inside:
        raise UsageError(f"{victim.name} speaks to its proxy through a pipe: there is no network to cut; drill the proxy")
    if victim.container:
        return _disconnect(victim)
    if shutil.which("iptables") is None or os.geteuid() != 0:
        raise UsageError(f"cutting off {victim.name} needs root and iptables, because it is a process of this machine")
    cut = ports(family(victim.pid))
    if not cut:
        raise UsageError(f"{victim.name} listens on no port of its own, so it cannot be cut off")
    rules = [("INPUT", "-i", "lo", "-p", "tcp", "--dport", str(port), "-j", "DROP") for port in cut]
    for rule in rules:
        _run("iptables", "-w", "10", "-I", *rule)

    def back() -> None:
        for rule in rules:
            _quiet_run("iptables", "-w", "10", "-D", *rule)

    return back


def _disconnect(victim: FaultTarget) -> Undo:
    container = victim.container or ""
    networks = _docker("inspect", "-f", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}", container).split()
    if not networks or networks[0] in {"host", "none"}:
        raise UsageError(f"{victim.name} has no network of its own to be cut off from")
    for network in networks:
        _docker("network", "disconnect", "--force", network, container)

    def back() -> None:
        for network in networks:
            _quiet_run("docker", "network", "connect", network, container)

    return back


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


def _end(hog: subprocess.Popen[bytes], group: MemoryGroup | None) -> None:
    with contextlib.suppress(OSError):
        hog.kill()
    hog.wait()
    if group is not None:
        group.remove()


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
