"""Who holds a port of this machine: told before a member that needs it is started, so that a stranger is not taken for it.

A port that can be taken for a moment is free. Only when it cannot is `/proc/net/tcp*` read, in a thread (a fraction of a
millisecond, fifty where the machine is large), and only when somebody listens are the owners looked for. Elsewhere than on Linux
nobody is ever found, and the member itself fails to bind.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import CHILD_MARK
from mcpwatch.runtimes.port_holder import described, member_of
from mcpwatch.runtimes.stopped import in_cgroup

LISTEN = "0A"
DEPTH = 6
"""Generations of children that are looked through for a listening socket."""
KEPT = 0.25
"""Seconds for which a table of sockets counts, so that one look at a fleet reads it once."""
_LOOPBACK = ("127.", "localhost", "[::1]", "::1")


class PortWatch:
    """Looks for strangers on the ports of members of one instance (12 hex digits)."""

    def __init__(self, instance: str) -> None:
        self._sockets = SocketTables()
        self._instance = instance

    async def held_by(self, spec: MemberSpec) -> str:
        """Who listens where the member is about to: `pid 7 (nginx)`, or the empty string. Our own processes are nobody."""
        port = local_port(spec)
        return "" if port is None or free(port) else await asyncio.to_thread(self._held, port)

    def free(self, spec: MemberSpec) -> bool:
        """Whether nobody listens where the member is about to, in some microseconds; false where that is not this machine."""
        port = local_port(spec)
        return port is not None and free(port)

    def _held(self, port: int) -> str:
        inodes = frozenset(listening(port))
        return self._owner(inodes) if inodes else ""

    def runs(self, pid: int, container: str = "") -> bool:
        """Whether a process lives below the first that listens of this one and those below it."""
        return bool(self.below(pid, container))

    def below(self, pid: int, container: str = "") -> frozenset[int] | None:
        """The processes right below the first that listens of this one and those below it (a container begins with an init).

        What ended and was not waited for does not live. `None` where none is seen to listen, as of a container on another machine.
        """
        if container and not in_cgroup(pid, container):
            return None
        level = [pid]
        for _ in range(DEPTH):
            found = next((one for one in level if self._sockets.listens(one)), None)
            if found is not None:
                return frozenset(child for child in _children(found) if _lives(child))
            level = [child for one in level for child in _children(one)]
        return None

    def listening(self, pid: int) -> tuple[int, ...]:
        """The ports that a process, or one below it, listens on, in order."""
        return listened_on(family(pid), self._sockets.listeners())

    def places(self, pid: int) -> tuple[str, ...]:
        """Where a process, or one below it, listens: `[::1]:9072`, in order."""
        wanted = _inodes(family(pid))
        return tuple(sorted({_place(one.address, one.port) for one in self._sockets.listeners() if one.inode in wanted}))

    def idle(self, pid: int, port: int) -> bool:
        """Whether a process, or one below it, listens on this port, and no connection waits there to be taken."""
        wanted = _inodes(family(pid))
        own = [one for one in self._sockets.listeners() if one.port == port and one.inode in wanted]
        return bool(own) and not any(one.waiting for one in own)

    def inside(self, pid: int, container: str) -> tuple[str, ...]:
        """Where the processes of a container of this machine listen, in order; empty unless all of that is its own loopback."""
        if not in_cgroup(pid, container):
            return ()
        wanted = _inodes(family(pid))
        found = [one for one in self._sockets.listeners(str(pid)) if one.inode in wanted]
        return (
            tuple(sorted({_place(one.address, one.port) for one in found})) if all(one.address.is_loopback for one in found) else ()
        )

    def rival(self, pid: int, port: int) -> str:
        """Who listens where a process, or one below it, listens on this port too, so that each gets some of the connections."""
        there = [one for one in self._sockets.listeners() if one.port == port]
        wanted = _inodes(family(pid)) if len(there) > 1 else set[str]()
        own = {one.address for one in there if one.inode in wanted}
        others = {one.inode for one in there if one.inode not in wanted and any(_takes(one.address, our) for our in own)}
        found = _holder(frozenset(others)) if others else None
        return described(found, self._instance) if found else "another program" if others else ""

    def _owner(self, inodes: frozenset[str]) -> str:
        found = _holder(inodes)
        if found is None:
            return "another program"
        return "" if member_of(found, self._instance) else described(found, self._instance)

    def holds(self, port: int, member: str) -> str:
        """Who listens on a port of this machine, where that is not this member itself; empty when nobody does."""
        inodes = frozenset(listening(port))
        found = _holder(inodes) if inodes else None
        if found is None:
            return "another program" if inodes else ""
        return "" if member_of(found, self._instance) == member else described(found, self._instance)

    def listener(self, port: int) -> str:
        """The member of this instance that listens on a port of this machine; empty when that is none."""
        inodes = frozenset(listening(port))
        found = _holder(inodes) if inodes else None
        return member_of(found, self._instance) if found is not None else ""


def _holder(inodes: frozenset[str]) -> int | None:
    """Who holds one of these sockets, where that can be seen."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return next((pid for pid in pids if _sockets(pid) & inodes), None)


def listened_on(pids: Iterable[int], listeners: Iterable[Listening] | None = None) -> tuple[int, ...]:
    """The ports that these processes listen on, in order. `listeners`: who does, else all of this machine now."""
    wanted = _inodes(pids)
    return tuple(sorted({one.port for one in (_listeners() if listeners is None else listeners) if one.inode in wanted}))


def family(pid: int) -> set[int]:
    """A process and what is below it."""
    pids = level = {pid}
    for _ in range(DEPTH):
        level = {child for one in level for child in _children(one)} - pids
        pids = pids | level
    return pids


def child_of(proxy: int, route: str, known: int) -> int:
    """The process below a foreign proxy that serves a route, by its mark; the one known before while that lives; else 0."""
    wanted = f"{CHILD_MARK}={route}".encode()
    if known and _lives(known):
        return known
    for pid in sorted(family(proxy) - {proxy}):
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and _lives(pid):
                return pid
    return 0


def local_port(spec: MemberSpec) -> int | None:
    """The port on this machine that a member listens on itself, if it has one."""
    if spec.direct is None or not spec.direct.url:
        return None
    parts = urlsplit(spec.direct.url)
    if not (parts.hostname or "").startswith(_LOOPBACK):
        return None
    return parts.port


def _children(pid: int) -> tuple[int, ...]:
    try:
        found = [path.read_text(encoding="ascii").split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return ()
    return tuple(int(child) for one in found for child in one)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def _inodes(pids: Iterable[int]) -> set[str]:
    """The inodes of the sockets that these processes hold."""
    return {inode for pid in pids for inode in _sockets(pid)}


def _sockets(pid: int) -> set[str]:
    """The inodes of the sockets that a process holds."""
    found: set[str] = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                link = str(entry.readlink())
            except OSError:
                continue
            if link.startswith("socket:["):
                found.add(link[8:-1])
    except OSError:
        return found
    return found


class Listening(NamedTuple):
    """One listening TCP socket."""

    address: IPv4Address | IPv6Address
    port: int
    inode: str
    waiting: int = 0
    """Connections that it has not taken yet."""


class SocketTables:
    """Who listens, by network, kept for a moment: on a large machine the kernel takes 5 ms to write one table of one network."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._read: dict[str, tuple[float, tuple[Listening, ...]]] = {}

    def listeners(self, pid: str = "self") -> tuple[Listening, ...]:
        """Every listening TCP socket of the network of a process, as of `KEPT` seconds ago at most."""
        network, now = _network(pid), self._now()
        self._read = {name: kept for name, kept in self._read.items() if now - kept[0] < KEPT}
        if network not in self._read:
            self._read[network] = now, tuple(_listeners(pid))
        return self._read[network][1]

    def listens(self, pid: int) -> bool:
        """Whether a process listens on a TCP port of its own network."""
        wanted = _sockets(pid)
        return bool(wanted) and any(one.inode in wanted for one in self.listeners(str(pid)))


def _network(pid: str) -> str:
    """The name of the network that a process sees; one of its own where that cannot be seen."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")  # noqa: PTH115
    except OSError:
        return pid


def _listeners(network: str = "self") -> Iterator[Listening]:
    """Every listening TCP socket. `network`: of which process's network."""
    for name in (f"/proc/{network}/net/tcp", f"/proc/{network}/net/tcp6"):
        try:
            lines = Path(name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split(None, 10)
            if fields[3] == LISTEN:
                address, _, port = fields[1].rpartition(":")
                yield Listening(_address(address), int(port, 16), fields[9], int(fields[4].rpartition(":")[2], 16))


def _address(text: str) -> IPv4Address | IPv6Address:
    """An address as the kernel writes it: words of four bytes, each in the order of this machine."""
    raw = bytes.fromhex(text)
    words = [raw[at : at + 4] for at in range(0, len(raw), 4)]
    return ip_address(b"".join(words if sys.byteorder == "big" else (word[::-1] for word in words)))


def _place(address: IPv4Address | IPv6Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _takes(theirs: IPv4Address | IPv6Address, ours: IPv4Address | IPv6Address) -> bool:
    """Whether who listens on their address gets connections that are meant for ours: who named an address comes before who did not.

    IPv4 and IPv6 are two worlds, unless one socket serves both, which nobody else can see: then nothing is said.
    """
    return theirs == ours or (ours.is_unspecified and ours.version == theirs.version)


def free(port: int) -> bool:
    """Whether nobody listens on a port, by taking it for some microseconds. False where that is not known."""
    for family, anywhere in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that was closed holds nothing
                if family is socket.AF_INET6:
                    taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                taken.bind((anywhere, port))
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # else there is no such network here
                return False
    return True


def listening(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen on a port."""
    return (one.inode for one in _listeners() if one.port == port)
