"""What the kernel tells of servers behind one that answers from a memory."""

from __future__ import annotations

from mcpwatch.watchdog.behind import Behind
from mcpwatch.watchdog.senses import Senses


class Kernel:
    """Which processes are stopped, and which process serves a route inside the proxy."""

    def __init__(self) -> None:
        self.frozen: set[int] = set()
        self.children: dict[str, int] = {}
        self.asked: list[tuple[int, str, int]] = []
        self.behind = Behind(Senses(stopped=lambda pids: pids & self.frozen, child=self.child))

    def child(self, proxy: int, route: str, known: int) -> int:
        self.asked.append((proxy, route, known))
        return self.children.get(route, 0)

    def look(self) -> set[str]:
        """Who is gone, when `git` is looked for behind the route `g` of the proxy with the pid 7."""
        self.behind.look_inside("git", "g", 7)
        return self.behind.gone


def test_a_member_is_frozen_while_a_process_of_its_is_stopped() -> None:
    kernel = Kernel()
    kernel.frozen = {12}
    kernel.behind.look_at([("git", 11), ("time", 12)])
    assert kernel.behind.frozen == {"time"}
    kernel.frozen = {11}
    kernel.behind.look_at([("git", 11), ("time", 12)])
    assert kernel.behind.frozen == {"git"}


def test_a_server_inside_the_proxy_is_gone_when_its_process_was_seen_and_is_not_any_more() -> None:
    kernel = Kernel()
    assert kernel.look() == set(), "what was never seen cannot be missed"
    kernel.children = {"g": 20}
    assert kernel.look() == set()
    kernel.children = {}
    assert kernel.look() == {"git"}
    assert kernel.look() == {"git"}
    assert kernel.asked == [(7, "g", 0), (7, "g", 0), (7, "g", 20), (7, "g", 20)]
    kernel.children = {"g": 21}
    assert kernel.look() == set(), "the proxy started it again"
    kernel.children = {}
    assert kernel.look() == {"git"}
    assert kernel.asked[-1] == (7, "g", 21)


def test_a_server_that_answers_is_there_and_its_former_process_is_not_missed_again() -> None:
    kernel = Kernel()
    kernel.children = {"g": 20}
    kernel.look()
    kernel.children = {}
    assert kernel.look() == {"git"}
    kernel.behind.answered("git")
    assert kernel.behind.gone == set()
    assert kernel.look() == set()
    kernel.behind.answered("never seen")


def test_a_new_run_of_the_proxy_begins_with_nothing_known() -> None:
    kernel = Kernel()
    kernel.children = {"g": 20}
    kernel.look()
    kernel.children = {}
    assert kernel.look() == {"git"}
    kernel.behind.renew()
    assert kernel.behind.gone == set()
    assert kernel.look() == set()
    assert kernel.asked[-1] == (7, "g", 0)
