"""Three Docker engines on one machine, each in a network namespace of its own, joined to one swarm of three managers.

Each has a /run of its own, so that what a container mounts as /run/docker.sock is the socket of its own node.
`Swarm.up` needs root. Everything it makes has a name of its own and is gone after `down`: processes, namespaces, bridge, mounts.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

from tests.runtimes.docker_lab import IMAGE

BOUND = 120.0
_START = """
mount --make-rprivate /
mkdir -p {home}/cgroup
mount --rbind /sys/fs/cgroup {home}/cgroup
mount -t sysfs sysfs /sys
mount --rbind {home}/cgroup /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
exec dockerd --data-root {home}/data --exec-root {run} --pidfile {home}/pid \
 -H unix://{home}/docker.sock -H unix:///run/docker.sock --bip 172.30.{number}.1/24 --log-level warn
"""


def command(*words: str, check: bool = True, bound: float = 60.0) -> str:
    """Run a command; its standard output."""
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=bound)
    assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stderr.strip()}"
    return done.stdout.strip()


def until(what: str, holds: Callable[[], object]) -> None:
    """Wait until something holds, which no file and no socket tells."""
    deadline = time.monotonic() + BOUND
    while not holds():
        assert time.monotonic() < deadline, f"never seen: {what}"
        time.sleep(0.1)


class Node:
    """One engine: `address` is where the others reach it."""

    def __init__(self, home: Path, name: str, number: int) -> None:
        self.home = home / str(number)
        self.number = number
        self.namespace = f"{name}n{number}"
        self.link = f"{name}v{number}"
        self.address = f"10.77.0.{number}"
        self.socket = f"unix://{self.home}/docker.sock"
        self.daemon: subprocess.Popen[bytes] | None = None

    def docker(self, *words: str, check: bool = True) -> str:
        """Ask this engine."""
        return command("docker", "-H", self.socket, *words, check=check)

    def start(self) -> None:
        """Run the engine, unless it runs, and wait until it answers."""
        if self.daemon is not None and self.daemon.poll() is None:
            return
        self.home.mkdir(parents=True, exist_ok=True)
        script = _START.format(home=self.home, run=self.home / "run", number=self.number)
        inside = ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--mount", "sh", "-ec", script]
        with (self.home / "log").open("ab") as log:
            self.daemon = subprocess.Popen(inside, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        until(f"engine {self.number} answers", lambda: self.docker("version", "-f", "{{.Server.Version}}", check=False) != "")

    def rest(self) -> None:
        """End the engine as it wants to be ended."""
        assert self.daemon is not None
        self.daemon.terminate()
        self.daemon.wait(60)

    def kill(self) -> None:
        """End everything of this node at once, as a machine that loses its power."""
        pids = command("ip", "netns", "pids", self.namespace, check=False).split()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for pid in (*self._shims(), *self._contained()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.daemon is not None:
            self.daemon.wait(30)

    def cut(self) -> None:
        """Take its cable out."""
        command("ip", "link", "set", self.link, "down")

    def join(self) -> None:
        """Put its cable back."""
        command("ip", "link", "set", self.link, "up")

    def _contained(self) -> list[int]:
        """Processes in the containers of this node, which outlive their engine."""
        ours = [entry.name.encode() for entry in (self.home / "data" / "containers").glob("*")]
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    groups = (entry / "cgroup").read_bytes()
                    if any(one in groups for one in ours):
                        found.append(int(entry.name))
        return found

    def _shims(self) -> list[int]:
        """Processes of this node that are in no namespace of its own."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    if str(self.home).encode() in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found


class Swarm:
    """Three nodes, all managers; the first is the one that mcpwatch speaks to."""

    def __init__(self) -> None:
        self.name = f"mw{secrets.token_hex(2)}"
        self.home = Path(tempfile.mkdtemp(prefix="mw-swarm-"))
        self.nodes = tuple(Node(self.home, self.name, number) for number in (1, 2, 3))
        self._rule = ("FORWARD", "-i", f"{self.name}b", "-o", f"{self.name}b", "-j", "ACCEPT")

    def up(self, *images: str) -> None:
        """Bring everything up, with the base image and `images` on each node."""
        bridge = f"{self.name}b"
        command("mount", "-t", "tmpfs", "-o", "size=4g,mode=755", "tmpfs", str(self.home))
        command("ip", "link", "add", bridge, "type", "bridge")
        command("ip", "addr", "add", "10.77.0.254/24", "dev", bridge)
        command("ip", "link", "set", bridge, "up")
        command("iptables", "-I", *self._rule)
        for node in self.nodes:
            command("ip", "netns", "add", node.namespace)
            command("ip", "link", "add", node.link, "type", "veth", "peer", "name", "eth0", "netns", node.namespace)
            command("ip", "link", "set", node.link, "master", bridge, "up")
            command("ip", "-n", node.namespace, "addr", "add", f"{node.address}/24", "dev", "eth0")
            command("ip", "-n", node.namespace, "link", "set", "eth0", "up")
            command("ip", "-n", node.namespace, "link", "set", "lo", "up")
            command("ip", "-n", node.namespace, "route", "add", "default", "via", "10.77.0.254")
        self._load(*images)
        for node in self.nodes:
            node.start()
        first, *others = self.nodes
        first.docker("swarm", "init", "--advertise-addr", first.address)
        token = first.docker("swarm", "join-token", "-q", "manager")
        for node in others:
            node.docker("swarm", "join", "--token", token, f"{first.address}:2377")
        until("three nodes are ready", lambda: first.docker("node", "ls", "--format", "{{.Status}}").split() == ["Ready"] * 3)

    def _load(self, *images: str) -> None:
        """Give every node these images: loaded once and copied, which takes a third of the time."""
        first, *others = self.nodes
        tar = self.home / "image.tar"
        command("docker", "save", "-o", str(tar), IMAGE, *images, bound=BOUND)
        first.start()
        command("docker", "-H", first.socket, "load", "-i", str(tar), bound=2 * BOUND)
        tar.unlink()
        first.rest()
        for node in others:
            node.home.mkdir()
            command("cp", "-a", str(first.home / "data"), str(node.home / "data"), bound=BOUND)

    def down(self) -> None:
        """End and remove everything."""
        for node in self.nodes:
            node.kill()
            command("ip", "netns", "del", node.namespace, check=False)
        command("ip", "link", "del", f"{self.name}b", check=False)
        command("iptables", "-D", *self._rule, check=False)
        for line in reversed(Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()):
            if str(self.home) in line:
                command("umount", "-l", line.split()[1], check=False)
        shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def three_nodes(*images: str) -> Generator[Swarm]:
    """A swarm for a while; its nodes have these images too."""
    swarm = Swarm()
    try:
        swarm.up(*images)
        yield swarm
    finally:
        swarm.down()
