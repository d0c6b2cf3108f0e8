"""A server of one thread under a client's long request: it answers no check meanwhile, and is left to it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.daemon import Daemon, free_port, running
from tests.e2e.load import Load, Session
from tests.e2e.test_main_job import causes, fleet, route

BUSY = Path(__file__).resolve().parents[1] / "servers" / "busy.py"
LONG = 20.0
"""Seconds that the request takes: some checks of two seconds fail meanwhile."""
WAIT = 120.0
QUEUE = 4
COMMAND = {"command": sys.executable, "args": [str(BUSY)]}


def hosted_member() -> dict[str, Any]:
    return {"stdio": COMMAND}


def bridged_member() -> dict[str, Any]:
    return {"stdio": COMMAND, "bridge": {"listen": f"127.0.0.1:{free_port()}"}}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("member", [hosted_member, bridged_member])
def test_a_busy_server_is_told_with_the_request_that_it_is_left_to_and_not_restarted(
    tmp_path: Path, member: Callable[[], dict[str, Any]]
) -> None:
    config = fleet(busy=member(), other=member())
    with running(tmp_path, config) as daemon:
        daemon.healthy(WAIT)
        began = {one["name"]: (one["pid"], one["generation"]) for one in daemon.status()["members"]}
        session = Session(route(config, "busy"), client=httpx.Client(timeout=WAIT, trust_env=False)).open()
        answers: list[dict[str, Any]] = []
        waiting = threading.Thread(target=lambda: answers.append(session.call("work", {"seconds": LONG})))
        waiting.start()
        daemon.wait(lambda _: left_to_its_client(daemon), "it is left to the request", WAIT)
        waiting.join(WAIT)
        assert len(answers) == 1, "the request was answered"
        daemon.healthy(WAIT)
        assert {one["name"]: (one["pid"], one["generation"]) for one in daemon.status()["members"]} == began
        assert ("busy", "member_hung") in causes(daemon)
        assert [fact for fact in daemon.events() if fact["fact"] == "repair_tried"] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_a_server_whose_clients_stand_in_its_queue_all_the_time_is_told_as_busy_and_never_restarted(
    tmp_path: Path, seconds: float
) -> None:
    config = fleet(busy=hosted_member(), other=hosted_member())
    with running(tmp_path, config) as daemon, contextlib.ExitStack() as clients:
        daemon.healthy(WAIT)
        loads = [
            clients.enter_context(Load(route(config, "busy"), "work", {"seconds": seconds}, timeout=WAIT)) for _ in range(QUEUE)
        ]
        daemon.wait(lambda _: "it is busy" in daemon.run("why", "busy").stdout, "it is told as busy", WAIT)
        enough = sum(load.good for load in loads) + 3 * QUEUE
        daemon.wait(lambda _: sum(load.good for load in loads) >= enough, "every client had a few more answers", WAIT)
        assert [fact for fact in daemon.events() if fact["fact"] == "repair_tried"] == []
        assert [load.failures for load in loads] == [[] for _ in loads]


def left_to_its_client(daemon: Daemon) -> bool:
    """Whether `why` says that nothing is done while a client waits."""
    return "left to a client's request" in daemon.run("why", "busy").stdout
