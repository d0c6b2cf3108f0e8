"""Who leads: the rule by itself, and several watchdogs with one Lease on a server."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from mcpwatch.model.time import Instant
from mcpwatch.runtimes.kubernetes.api import Cluster
from mcpwatch.runtimes.kubernetes.election import Lease, SeenLease, next_move, observed, read_lease, written
from mcpwatch.runtimes.kubernetes.leader import LeaseFence
from tests.fakes.kubernetes import KubernetesServer, kubernetes_server

LEASES = "/apis/coordination.k8s.io/v1/namespaces/mcp/leases"
BOUND = 60.0


def _seen(holder: str, at: float, *, term: int = 3, duration: float = 15.0) -> SeenLease:
    return SeenLease(Lease(holder, duration, term, "7", "t"), Instant(at))


def test_a_lease_that_nobody_made_is_made_with_the_first_term() -> None:
    assert next_move(None, "a", 15.0, Instant(5.0)).what == "create"


def test_our_own_lease_is_renewed_in_the_same_term() -> None:
    move = next_move(_seen("a", 0.0), "a", 15.0, Instant(99.0))
    assert (move.what, move.term) == ("replace", 3)


def test_anothers_lease_is_left_alone_until_it_was_not_renewed_for_its_duration_by_our_clock() -> None:
    assert next_move(_seen("b", 10.0), "a", 15.0, Instant(24.9)).what == "wait"
    move = next_move(_seen("b", 10.0), "a", 15.0, Instant(25.0))
    assert (move.what, move.term) == ("replace", 4)


def test_a_lease_that_was_given_away_is_taken_at_once() -> None:
    assert next_move(_seen("", 10.0), "a", 15.0, Instant(10.0)).what == "replace"


def test_a_lease_counts_from_when_it_was_first_seen_like_this() -> None:
    first = observed(None, Lease("b", 15.0, 3, "7", "t1"), Instant(1.0))
    assert observed(first, Lease("b", 15.0, 3, "7", "t1"), Instant(9.0)).at == 1.0
    assert observed(first, Lease("b", 15.0, 3, "8", "t2"), Instant(9.0)).at == 9.0


def test_what_is_written_is_read_back() -> None:
    raw = written("fleet", "a", 15.0, 4, "7", 1795964400.5)
    assert read_lease(raw) == Lease("a", 15.0, 4, "7", "2026-11-29T15:00:00.500000Z")


class _Candidate:
    """One watchdog that asks for the lease."""

    def __init__(self, kubeconfig: str, me: str, duration: float) -> None:
        self.led, self.lost = threading.Event(), threading.Event()
        cluster = Cluster(kubeconfig)
        self.fence = LeaseFence(cluster, "mcp", "fleet", me, duration, led=lambda _: self.led.set(), lost=lambda _: self.lost.set())
        self.fence.begin()


@contextmanager
def _candidates(tmp_path: Path, *names: str, duration: float = 30.0) -> Generator[tuple[KubernetesServer, list[_Candidate]]]:
    """Watchdogs that ask one after the other, each when the one before it is known to lead or to wait."""
    with kubernetes_server() as server:
        kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
        made: list[_Candidate] = []
        try:
            for name in names:
                made.append(_Candidate(kubeconfig, name, duration))
                assert made[0].led.wait(BOUND)
            yield server, made
        finally:
            for one in made:
                one.fence.close()


def test_the_first_leads_and_the_other_stands_by(tmp_path: Path) -> None:
    with _candidates(tmp_path, "a", "b") as (_, (first, second)):
        assert first.fence.holds()
        assert not second.fence.holds()
        assert first.fence.term == 1


def test_a_lead_that_is_given_away_is_taken_with_the_next_term(tmp_path: Path) -> None:
    with _candidates(tmp_path, "a", "b", duration=3.0) as (_, (first, second)):
        first.fence.close()
        assert not first.fence.holds()
        assert second.led.wait(BOUND)
        assert second.fence.term == 2


def test_a_leader_whose_lease_another_took_acts_no_more(tmp_path: Path) -> None:
    with _candidates(tmp_path, "a", duration=3.0) as (server, (first,)):
        server.put(f"{LEASES}/fleet", written("fleet", "b", 600.0, 2, "", 0.0))
        assert first.lost.wait(BOUND)
        assert not first.fence.holds()


def test_a_leader_that_cannot_renew_holds_no_longer_than_it_may(tmp_path: Path) -> None:
    with _candidates(tmp_path, "a", duration=1.2) as (server, (first,)):
        server.refuse["GET", f"{LEASES}/fleet"] = (500, "no")
        assert first.lost.wait(BOUND)
        assert not first.fence.holds()
