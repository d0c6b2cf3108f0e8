"""Keeping the lease of a fleet: in a thread, so that a busy event loop does not lose it and a paused process cannot hold it.

Owns: renewals, and the moment from which this watchdog acts no more. Must not know: what leading means.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.time import Instant
from mcpwatch.runtimes.kubernetes.api import ApiRefused, Cluster
from mcpwatch.runtimes.kubernetes.election import (
    HOLD_SHARE,
    RENEW_SHARE,
    SeenLease,
    next_move,
    observed,
    read_lease,
    released,
    written,
)
from mcpwatch.runtimes.kubernetes.raw import collection, path_of

Tell = Callable[[str], None]


class LeaseFence:
    """Leads while it holds the lease. Implements `ports.Fence`."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, me: str, duration: float, *, lost: Tell, led: Tell) -> None:
        """`led` and `lost` are called in the thread, with a sentence. Nothing is asked before `begin`."""
        self._cluster = cluster
        self._path = path_of("Lease", namespace, name)
        self._collection = collection("Lease", namespace)
        self._name, self._me, self._duration = name, me, duration
        self._lost, self._led = lost, led
        self._until = Instant(0.0)
        self._term = 0
        self._leads = False
        self._version = ""
        self._seen: SeenLease | None = None
        self._told = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    @property
    def term(self) -> int:
        """The term of our lead; 0 before the first."""
        return self._term

    @property
    def holder(self) -> str:
        """Who holds it, as last seen."""
        return self._seen.lease.holder if self._seen is not None else ""

    def holds(self) -> bool:
        """Whether we lead now: a renewal succeeded, and was asked for recently enough. A lead that was lost once never returns."""
        return self._leads and now() < self._until

    def begin(self) -> None:
        """Ask for the lease, and keep it."""
        self._thread.start()

    def close(self) -> None:
        """Give the lease away if it is ours, and ask no more. Returns when that is done, or cannot be."""
        held = self.holds()
        self._leads = False
        self._closed.set()
        self._thread.join(timeout=self._duration)
        if held:
            try:
                self._cluster.replace(self._path, released(self._name, self._term, self._version, time.time()))
            except RuntimeFailed:
                return  # then the others wait until it has run out

    def _run(self) -> None:
        while not self._closed.is_set():
            pause = self._duration * RENEW_SHARE
            try:
                pause = self._look()
            except Exception as error:  # noqa: BLE001 - whatever goes wrong, a lead that is not renewed must end in time
                if not self._leads and str(error) != self._told:
                    self._told = str(error)
                    self._lost(f"the lease {self._path} cannot be had: {error}")
            if self._leads and now() >= self._until:
                self._leads = False
                self._lost("the lease could not be renewed in time; another watchdog may lead this fleet")
                return
            self._closed.wait(pause)

    def _look(self) -> float:
        """One look at the lease, and what follows; returns the pause before the next. Raises `RuntimeFailed`."""
        raw, at = self._cluster.get(self._path), now()
        self._seen = observed(self._seen, read_lease(raw), at) if raw is not None else None
        move = next_move(self._seen, self._me, self._duration, at)
        if self._leads and (move.what != "replace" or move.term != self._term):
            self._until = at  # somebody else took it
            return 0.0
        if move.what == "wait":
            return move.wait
        version = self._seen.lease.version if self._seen is not None else ""
        body = written(self._name, self._me, self._duration, move.term, version, time.time())
        try:
            sent = now()
            found = (
                self._cluster.create(self._collection, body) if move.what == "create" else self._cluster.replace(self._path, body)
            )
        except ApiRefused as refused:
            if refused.status == 409:
                return self._duration * RENEW_SHARE / 4  # somebody else was faster
            raise
        self._held(found, move.term, sent)
        return self._duration * RENEW_SHARE

    def _held(self, raw: dict[str, object], term: int, sent: Instant) -> None:
        lease = read_lease(raw)
        self._seen, self._version = SeenLease(lease, sent), lease.version
        self._until = Instant(sent + self._duration * HOLD_SHARE)
        if not self._leads and not self._closed.is_set():
            self._leads, self._term = True, term
            self._led(f"this watchdog ({self._me}) leads, term {term}")


def now() -> Instant:
    """Seconds on a clock that goes on while the machine sleeps."""
    return Instant(time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic())
