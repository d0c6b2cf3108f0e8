"""How an end is learned: a pidfd in the event loop for children and adopted processes alike, and the reaping of orphans.

A child's corpse is kept until its tree is known to be empty: as long as it lies there its number, and so its session's, is nobody
else's. Without pidfd (macOS, old kernels, more members than the limit of open files carries) one look every `POLL` seconds does
the same. Knows pids, not why.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from mcpwatch.runtimes import descriptors
from mcpwatch.runtimes.kernel import Features, exit_status, open_pidfd, split_status
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable, zombie_status

POLL = 0.1
"""Seconds between two looks where there is no pidfd."""
REAP_AFTER = 0.5
"""Seconds that an orphan's corpse is left for whoever else in this process may be waiting for it."""

Died = Callable[[str, int, int | None, int | None], bool]


@dataclass(slots=True)
class _Followed:
    member: str
    pid: int
    ticks: int
    child: bool
    pidfd: int | None = None
    poll: asyncio.Handle | None = None
    dead: bool = False


class ExitWatch:
    """Follows processes until they end; calls `died(member, pid, code, signal)` once each, in the loop."""

    def __init__(self, table: ProcessTable, features: Features, died: Died) -> None:
        self._table = table
        self._features = features
        self._died = died
        self._followed: dict[int, _Followed] = {}
        self._pidfds = 0
        self._reap: asyncio.TimerHandle | None = None
        self._hooked = False

    def open(self) -> None:
        """Begin to reap orphans that the subreaper inherits."""
        loop = asyncio.get_running_loop()
        if self._features.subreaper and threading.current_thread() is threading.main_thread():
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(signal.SIGCHLD, self._reap_soon)
                self._hooked = True

    def follow(self, member: str, pid: int, ticks: int, *, child: bool) -> None:
        """Follow a process until its end, which may already have come."""
        followed = _Followed(member, pid, ticks, child)
        self._followed[pid] = followed
        if self._features.pidfd and self._has_room():
            followed.pidfd = open_pidfd(pid)
        if followed.pidfd is not None and not child and not self._is(followed):
            os.close(followed.pidfd)  # the number was another's by the time the pidfd was opened
            followed.pidfd = None
        loop = asyncio.get_running_loop()
        if followed.pidfd is not None:
            self._pidfds += 1
            loop.add_reader(followed.pidfd, self._ended, followed)
        else:
            followed.poll = loop.call_soon(self._look, followed)

    def childless(self, pid: int) -> bool:
        """Whether a dead child of ours certainly left nobody: its orphans would now be ours. False when that is not to be known."""
        followed = self._followed.get(pid)
        if not self._features.subreaper or followed is None or not followed.child:
            return False
        return self._table.inherited(self._followed) == set()

    def reap(self, pid: int) -> None:
        """Collect a corpse that was kept, and stop following it."""
        followed = self._followed.pop(pid, None)
        if followed is not None:
            self._let_go(followed)
            if followed.child:
                _reap(pid)

    def close(self) -> None:
        """Stop following everything; nothing is ended."""
        if self._hooked:
            with contextlib.suppress(RuntimeError, ValueError):
                asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        if self._reap:
            self._reap.cancel()
        for followed in self._followed.values():
            self._let_go(followed)
            if followed.dead and followed.child:
                _reap(followed.pid)
        self._followed.clear()

    def _look(self, followed: _Followed) -> None:
        followed.poll = None
        if followed.child:
            with contextlib.suppress(ChildProcessError):
                if os.waitid(os.P_PID, followed.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    followed.poll = asyncio.get_running_loop().call_later(POLL, self._look, followed)
                    return
        else:
            if self._is(followed):
                followed.poll = asyncio.get_running_loop().call_later(POLL, self._look, followed)
                return
        self._ended(followed)

    def _is(self, followed: _Followed) -> bool:
        """Whether the process still lives; also when that cannot be known now: no end is told that was not seen."""
        try:
            seen = self._table.look(followed.pid)
        except ProcUnreadable:
            return True
        return seen is not None and seen.alive and seen.ticks == followed.ticks

    def _ended(self, followed: _Followed) -> None:
        if followed.pidfd is not None:
            asyncio.get_running_loop().remove_reader(followed.pidfd)
        followed.dead = True
        code, number = self._status(followed)
        if self._died(followed.member, followed.pid, code, number):
            self.reap(followed.pid)

    def _status(self, followed: _Followed) -> tuple[int | None, int | None]:
        if followed.child:
            try:
                result = os.waitid(os.P_PID, followed.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                result = None
            if result is None:
                return None, None
            return (result.si_status, None) if result.si_code == os.CLD_EXITED else (None, result.si_status)
        with contextlib.suppress(ProcUnreadable):
            if self._features.procfs and (seen := self._table.look(followed.pid)) and seen.ticks == followed.ticks:
                status = zombie_status(followed.pid)
                if status is not None:
                    return split_status(status)
        told = exit_status(followed.pidfd) if followed.pidfd is not None else None
        return told or (None, None)

    def _let_go(self, followed: _Followed) -> None:
        if followed.poll:
            followed.poll.cancel()
        if followed.pidfd is not None:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(followed.pidfd)
            os.close(followed.pidfd)
            followed.pidfd = None
            self._pidfds -= 1

    def _has_room(self) -> bool:
        """Whether one more may cost a descriptor: as many as the limit carries have one; the rest is for logs and commands."""
        most = descriptors.carries(descriptors.limit())
        return not most or self._pidfds < most

    def _reap_soon(self) -> None:
        if self._reap is None:
            self._reap = asyncio.get_running_loop().call_later(REAP_AFTER, self._reap_orphans)

    def _reap_orphans(self) -> None:
        """Collect the corpses of orphans. Children that other code of this process started share our session and are left to it."""
        self._reap = None
        session = os.getsid(0)
        for pid in self._table.orphans(self._followed) or ():
            try:
                proc = self._table.look(pid)
            except ProcUnreadable:
                self._reap_soon()
                return
            if proc and not proc.alive and proc.sid != session:
                _reap(pid)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
