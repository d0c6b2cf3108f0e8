"""A cgroup v2 directory per member, where we may write one: an escape-proof net around a tree. Optional everywhere.

Entering costs about 9 ms (a grace period of the kernel), so it happens beside the start, in a thread; what forked before the move
is found by session, descent and mark instead. Knows directories and process numbers, nothing else.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import quote

from mcpwatch.runtimes.kernel import Features


class Cgroups:
    """The directories of one instance, `<our own cgroup>/mcpwatch-<instance>/<member>`."""

    def __init__(self, features: Features, instance: str) -> None:
        self._home = _home(instance) if features.cgroup else None

    @property
    def usable(self) -> bool:
        """Whether members get one at all."""
        return self._home is not None

    def enter(self, member: str, pid: int) -> bool:
        """Move a process into its member's cgroup. Blocks for about 10 ms. `False` when it is gone or may not."""
        if self._home is None:
            return False
        try:
            self._path(member).mkdir(parents=True, exist_ok=True)
            (self._path(member) / "cgroup.procs").write_text(str(pid), encoding="ascii")
        except OSError:
            return False
        return True

    def pids(self, member: str) -> set[int]:
        """Who is in the member's cgroup now."""
        if self._home is None:
            return set()
        try:
            return {int(word) for word in (self._path(member) / "cgroup.procs").read_bytes().split()}
        except (OSError, ValueError):
            return set()

    def empty(self, member: str) -> bool:
        """Whether certainly no process is in it or in a group below it: not so where it cannot be read now."""
        try:
            return self._home is not None and b"populated 0" in (self._path(member) / "cgroup.events").read_bytes()
        except OSError as error:
            return isinstance(error, FileNotFoundError)

    def kill(self, member: str) -> None:
        """SIGKILL everyone in it at once, however fast they fork (Linux >= 5.14; otherwise nothing)."""
        if self._home is not None:
            with contextlib.suppress(OSError):
                (self._path(member) / "cgroup.kill").write_text("1", encoding="ascii")

    def remove(self, member: str) -> None:
        """Drop the empty directory, and the instance's when it was the last."""
        if self._home is not None:
            with contextlib.suppress(OSError):
                self._path(member).rmdir()
            self.close()

    def close(self) -> None:
        """Drop the instance's directory if nothing is in it."""
        if self._home is not None:
            with contextlib.suppress(OSError):
                self._home.rmdir()

    def _path(self, member: str) -> Path:
        assert self._home is not None
        return self._home / quote(member, safe="")


def _home(instance: str) -> Path | None:
    """Where our cgroups may be made: below our own cgroup on the v2 mount, if that is writable and can kill."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    mount = next((line.split()[1] for line in mounts if line.split()[2] == "cgroup2"), None)
    path = next((line[3:] for line in own if line.startswith("0::")), None)
    if mount is None or path is None:
        return None
    # A watchdog that runs inside a cgroup of this instance (in-place upgrade, or started by a member) must not nest.
    base = path.split("/mcpwatch-")[0]
    home = Path(mount) / base.lstrip("/") / f"mcpwatch-{instance}"
    try:
        home.mkdir(exist_ok=True)
        usable = (home / "cgroup.kill").exists()
        if not usable:
            home.rmdir()
    except OSError:
        return None
    return home if usable else None
