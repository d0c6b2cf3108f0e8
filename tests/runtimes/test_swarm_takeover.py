"""The watchdog as a task of a swarm of three managers: its node dies, is cut off or drained, its service is updated.

The swarm starts it elsewhere, it takes the members as they are, and the task before acts on nothing.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.runtimes.swarm_lab import Node, Swarm, three_nodes, until
from tests.runtimes.swarm_stack import OWN_IMAGE, TOKEN, Deployed, Watchdog, identity, states

pytestmark = [
    pytest.mark.needs("swarm-nodes"),
    pytest.mark.needs("own-image"),
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(580),
    pytest.mark.xdist_group("swarm"),
]


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Generator[Swarm]:
    with three_nodes(OWN_IMAGE) as three:
        word = tmp_path_factory.mktemp("secret") / "token"
        word.write_text(TOKEN, encoding="utf-8")
        three.nodes[0].docker("secret", "create", "mcp_proxy_token", str(word))
        yield three


def deployed(swarm: Swarm, directory: Path, name: str, node: Node) -> tuple[Deployed, Watchdog]:
    """A stack whose members are proved, with its watchdog on `node`."""
    stack = Deployed(swarm, directory, name)
    stack.deploy(node)
    (watchdog,) = stack.watchdogs()
    assert watchdog[0] is node
    stack.until("every task of the members runs", lambda: stack.running() == [1, 2])
    stack.until("all members are proved", lambda: stack.proved(watchdog))
    led = node.docker("node", "inspect", "-f", "{{.ManagerStatus.Leader}}", "self")
    print(f"\nmcpwatch: {name}: the watchdog's node leads the managers: {led}")
    return stack, watchdog


def taken_over(stack: Deployed, before: Watchdog, began: float) -> Watchdog:
    """The next watchdog, once it has proved every member and route; prints when what was seen, from `began` on."""
    stack.until("another watchdog runs", lambda: [one for one in stack.watchdogs() if one != before])
    (after,) = [one for one in stack.watchdogs() if one != before]
    started = time.monotonic() - began
    stack.until("every route serves", lambda: all(stack.serves(after[0], one) for one in stack.members))
    served = time.monotonic() - began
    stack.until("all members are proved again", lambda: stack.proved(after))
    proved = time.monotonic() - began
    print(f"mcpwatch: the next watchdog runs {started:.1f} s, every route serves {served:.1f} s, is proved {proved:.1f} s after")
    return after


def test_the_node_of_the_watchdog_dies_and_the_next_one_has_the_members_as_they_are(swarm: Swarm, tmp_path: Path) -> None:
    lost = swarm.nodes[0]
    stack, watchdog = deployed(swarm, tmp_path, "dies", lost)
    try:
        before = stack.standing()
        began = time.monotonic()
        lost.cut()
        lost.kill()
        stack.lost = frozenset({lost})
        stack.until("its managers call the node down", lambda: "Down" in states(stack.manager))
        print(f"mcpwatch: the managers call the node down {time.monotonic() - began:.1f} s after")
        after = taken_over(stack, watchdog, began)
        assert stack.standing() == before
        assert [one["generation"] for one in stack.status(after)["members"] if one["name"] in stack.members] == [1, 1]
        lost.join()
        lost.start()
        stack.lost = frozenset()
        until("the node is back", lambda: states(swarm.nodes[1]) == ["Ready"] * 3)
        until("the swarm has ended the old task", lambda: stack.containers(stack.service, lost) == [])
        assert stack.watchdogs() == [after]
        assert stack.proved(after)
        assert stack.standing() == before
    finally:
        stack.remove()


def test_the_node_of_the_watchdog_is_cut_off_and_its_task_acts_on_nothing_also_when_it_is_back(
    swarm: Swarm, tmp_path: Path
) -> None:
    cut = swarm.nodes[1]
    stack, watchdog = deployed(swarm, tmp_path, "cut", cut)
    try:
        before = stack.standing()
        began = time.monotonic()
        cut.cut()
        stack.lost = frozenset({cut})
        after = taken_over(stack, watchdog, began)
        assert stack.standing() == before
        assert stack.containers(stack.service, cut) == [watchdog]  # it goes on, and knows nothing
        until("the old one says so", lambda: "engine_gone" in [one["cause"] for one in stack.status(watchdog)["diagnoses"]])
        cut.join()
        stack.lost = frozenset()
        until("the node is back", lambda: states(swarm.nodes[0]) == ["Ready"] * 3)
        until("the swarm has ended the old task", lambda: stack.containers(stack.service, cut) == [])
        assert stack.watchdogs() == [after]
        assert stack.standing() == before
        stack.until("all members are proved", lambda: stack.proved(after))
    finally:
        stack.remove()


def test_an_update_of_the_watchdogs_service_and_a_drain_of_its_node_leave_the_members_running(swarm: Swarm, tmp_path: Path) -> None:
    home = swarm.nodes[2]
    stack, watchdog = deployed(swarm, tmp_path, "moved", home)
    try:
        before = stack.standing()
        stack.only(home)
        began = time.monotonic()
        home.docker("service", "update", "--detach", "--force", "--no-resolve-image", stack.service)
        second = taken_over(stack, watchdog, began)
        assert second[0] is home
        assert stack.standing() == before
        stack.only(*swarm.nodes)
        began = time.monotonic()
        home.docker("node", "update", "--availability", "drain", identity(home))
        third = taken_over(stack, second, began)
        assert third[0] is not home
        assert stack.standing() == before
        until("one watchdog is left", lambda: stack.watchdogs() == [third])
    finally:
        stack.remove()
