"""A watch that breaks: what was heard stays heard, and a server that is away is told of once."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from mcpwatch.model.incarnation import Exited, Gone
from mcpwatch.runtimes.kubernetes import watching
from tests.runtimes.kubernetes.lab import BOUND, Lab, lab
from tests.runtimes.kubernetes.shapes import terminated, waiting

pytestmark = pytest.mark.anyio

PODS = "/api/v1/namespaces/mcp/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/mcp/deployments"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(watching, "LONGEST_PAUSE", 0.2)


async def _started(one: Lab) -> None:
    """The member `time`, generation 1, whose pod runs."""
    start = asyncio.create_task(one.runtime.start(one.spec(), 1))
    await one.until(lambda: f"{DEPLOYMENTS}/mcp-time" in one.server.objects)
    one.play_pod()
    async with asyncio.timeout(BOUND):
        await start


def _watches(one: Lab) -> list[int]:
    """From which version each watch of the pods went on."""
    found = (re.search(r"/pods\?.*watch=true.*resourceVersion=(\d+)", path) for _, path in one.server.requests)
    return [int(match[1]) for match in found if match is not None]


async def test_a_watch_that_is_cut_goes_on_after_the_last_change_that_was_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SHORT_SECONDS", 0.0)  # as if it had gone on for a while
    async with lab(tmp_path) as one:
        await _started(one)
        lists, seen = one.server.count("GET", "pods?limit"), len(_watches(one))
        heard = int(one.server.objects[f"{PODS}/mcp-time-1"]["metadata"]["resourceVersion"])
        one.server.cut()
        await one.until(lambda: len(_watches(one)) > seen)
        assert _watches(one)[-1] >= heard
        assert one.server.count("GET", "pods?limit") == lists
        one.server.change(f"{PODS}/mcp-time-1", **waiting("CrashLoopBackOff", lastState=terminated()))
        await one.event(Exited)
        assert not any(isinstance(told, Gone) for told in one.told)
        assert sum(isinstance(told, Exited) for told in one.told) == 1


async def test_a_server_that_takes_no_watch_is_away_once_however_often_it_is_asked_and_back_once(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        await _started(one)
        seen = len(_watches(one))
        one.server.refuse["GET", PODS] = (500, "etcdserver: no leader")
        one.server.cut()
        await one.until(lambda: len(_watches(one)) >= seen + 4)
        assert [told.back for told in one.told if isinstance(told, Gone)] == [False]
        del one.server.refuse["GET", PODS]
        await one.event(Gone, lambda found: found.back)
        assert [told.back for told in one.told if isinstance(told, Gone)] == [False, True]
        assert not any(isinstance(told, Exited) for told in one.told)


async def test_a_version_that_the_server_does_not_know_yet_is_answered_by_one_more_list(tmp_path: Path) -> None:
    async with lab(tmp_path) as one:
        await _started(one)
        lists = one.server.count("GET", "pods?limit")
        one.server.fail_watches("Too large resource version: 900, current: 100", 504)
        await one.until(lambda: one.server.count("GET", "pods?limit") == lists + 1)
        one.server.change(f"{PODS}/mcp-time-1", **waiting("CrashLoopBackOff", lastState=terminated()))
        await one.event(Exited)
