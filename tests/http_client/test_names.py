"""Names on a machine whose name server is quick, slow, silent or gone."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading

import pytest

from mcpwatch.http_client import dial as dialling
from mcpwatch.http_client import names as module
from mcpwatch.http_client.client import HttpClient
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.names import AT_ONCE, Lookups
from mcpwatch.model.symptom import Symptom
from tests.checks.until import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(10)]


class NameServer:
    """Answers look-ups when the test says so, the oldest first; `at` is the clock."""

    def __init__(self) -> None:
        self.at = 0.0
        self.asked = self._said = 0
        self._answers: list[queue.Queue[tuple[str, ...] | Exception]] = [queue.Queue() for _ in range(9)]
        self.names = Lookups(self.ask, lambda: self.at)

    def ask(self, host: str) -> tuple[str, ...]:
        assert host == "host"
        mine = self._answers[self.asked]
        self.asked += 1
        answer = mine.get(timeout=10)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def says(self, answer: str | Exception) -> None:
        self._answers[self._said].put(answer if isinstance(answer, Exception) else (answer,))
        self._said += 1

    def looked_up(self) -> asyncio.Task[tuple[str, ...]]:
        return asyncio.get_running_loop().create_task(self.names.addresses("host", 80))

    async def begun(self, count: int) -> None:
        await until(lambda: self.asked == count)


GONE = socket.gaierror(-2, "Name or service not known")


async def reason(task: asyncio.Task[tuple[str, ...]]) -> str:
    with pytest.raises(HttpFailed) as caught:
        await task
    assert caught.value.symptom is Symptom.UNRESOLVED
    assert isinstance(caught.value.__cause__, (OSError, UnicodeError)), "others ask it what the resolver said"
    return caught.value.reason


async def test_who_asks_at_the_same_time_is_told_by_one_look_up_and_a_quick_answer_is_not_kept() -> None:
    server = NameServer()
    tasks = [server.looked_up() for _ in range(5)]
    await server.begun(1)
    server.says("192.0.2.1")
    assert await asyncio.gather(*tasks) == [("192.0.2.1",)] * 5
    server.says("192.0.2.2")
    assert await server.looked_up() == ("192.0.2.2",)


@pytest.mark.parametrize(
    ("error", "why"), [(GONE, "Name or service not known"), (UnicodeError("label too long"), "label too long")]
)
async def test_a_failed_look_up_is_told_to_all_and_never_kept(error: Exception, why: str) -> None:
    server = NameServer()
    tasks = [server.looked_up() for _ in range(2)]
    await server.begun(1)
    server.says(error)
    assert [await reason(task) for task in tasks] == [f"the name host does not resolve: {why}"] * 2
    server.says("192.0.2.1")
    assert await server.looked_up() == ("192.0.2.1",)


async def test_a_late_answer_serves_who_asks_next_for_a_while_unless_nothing_was_reached_there() -> None:
    server = NameServer()
    first = server.looked_up()
    await server.begun(1)
    first.cancel()
    server.at = 6.0
    server.says("192.0.2.1")
    await until(lambda: not server.names.running)
    for server.at in (6.0, 6.0 + module.KEPT - 0.1):
        assert await server.looked_up() == ("192.0.2.1",)
    assert server.asked == 1
    server.names.forget("host", 80)
    server.says("192.0.2.2")
    assert await server.looked_up() == ("192.0.2.2",)


async def test_while_a_newer_answer_is_long_in_coming_the_old_one_does_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = NameServer()
    first = server.looked_up()
    await server.begun(1)
    server.at = 6.0
    server.says("192.0.2.1")
    await first
    monkeypatch.setattr(module, "SLOW", 0.01)
    server.at += module.KEPT
    assert await server.looked_up() == ("192.0.2.1",)
    await server.begun(2)
    server.at = 6.0 + module.OUTDATED
    last = server.looked_up()
    await server.begun(3)
    server.says(GONE)
    server.says("192.0.2.2")
    assert await last == ("192.0.2.2",)


async def test_a_look_up_that_hangs_holds_nobody_who_asks_later_and_its_waiters_have_the_first_good_answer() -> None:
    server = NameServer()
    tasks = [server.looked_up()]
    for count in range(1, AT_ONCE):
        await server.begun(count)
        server.at += module.ANEW
        tasks.append(server.looked_up())
    await server.begun(AT_ONCE)
    server.at += module.ANEW
    tasks.append(server.looked_up())
    await asyncio.sleep(0)
    server.says("192.0.2.1")
    assert await asyncio.gather(*tasks) == [("192.0.2.1",)] * (AT_ONCE + 1)
    assert server.asked == AT_ONCE
    for _ in range(AT_ONCE - 1):
        server.says(GONE)
    await until(lambda: not server.names.running)


async def test_hanging_look_ups_hold_no_thread_that_others_need() -> None:
    release = threading.Event()

    def ask(host: str) -> tuple[str, ...]:
        release.wait(10)
        return (host,)

    names = Lookups(ask)
    tasks = [asyncio.get_running_loop().create_task(names.addresses(f"host{number}", 80)) for number in range(64)]
    try:
        await until(lambda: names.running == 64)
        async with asyncio.timeout(2):
            assert await asyncio.to_thread(lambda: "done") == "done"
    finally:
        release.set()
        await asyncio.gather(*tasks)


async def test_a_machine_without_threads_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    server = NameServer()
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OSError, match="no thread can be started"):
        await server.looked_up()
    assert not server.names.running


async def test_the_machine_is_asked_for_each_address_once_and_for_no_literal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0)), *[(socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))] * 2]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    assert await Lookups().addresses("host", 80) == ("::1", "127.0.0.1")
    assert [await NameServer().names.addresses(literal, 80) for literal in ("::1", "127.0.0.1")] == [("::1",), ("127.0.0.1",)]


def never(host: str) -> tuple[str, ...]:
    threading.Event().wait(0.2)
    return (host,)


async def test_the_gateways_client_says_that_a_name_was_long_in_resolving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.NAMES, "_ask", never)
    monkeypatch.setattr("mcpwatch.http_client.client.CONNECT_LIMIT", 0.05)
    with pytest.raises(HttpFailed) as caught:
        await HttpClient("http://slow.lan/", direct=True).request("GET", "http://slow.lan/", {})
    assert caught.value.symptom is Symptom.UNRESOLVED
    assert caught.value.reason == "the name slow.lan does not resolve within 0.05 s: its name server is slow, or does not answer"
    await until(lambda: not module.NAMES.running)


async def test_an_address_at_which_nothing_is_reached_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []

    def found(_: str) -> tuple[str, ...]:
        return ("192.0.2.1",)

    def forget(host: str, _: int) -> None:
        forgotten.append(host)

    async def refused(*_: object, **__: object) -> object:
        raise HttpFailed("host:80 refuses connections", Symptom.REFUSED)

    monkeypatch.setattr(dialling, "connect", refused)
    monkeypatch.setattr(module.NAMES, "_ask", found)
    monkeypatch.setattr(module.NAMES, "forget", forget)
    with pytest.raises(HttpFailed, match="refuses"):
        await HttpClient("http://host/", direct=True).request("GET", "http://host/", {})
    assert forgotten == ["host"]


async def test_look_ups_of_all_names_are_bounded_and_one_that_is_not_begun_says_nothing_of_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CROWD", 2)
    monkeypatch.setattr(module, "ALL_MAX", 3)
    over, began, clock = threading.Event(), list[str](), [0.0]

    def ask(host: str) -> tuple[str, ...]:
        began.append(host)
        over.wait(10)
        return (host,)

    names, loop = Lookups(ask, lambda: clock[0]), asyncio.get_running_loop()
    tasks = [loop.create_task(names.addresses(host, 80)) for host in ("a", "b")]
    await until(lambda: began == ["a", "b"])
    clock[0] = 10.0
    tasks += [loop.create_task(names.addresses(host, 80)) for host in ("a", "c", "a")]
    await until(lambda: len(began) == 3)
    with pytest.raises(OSError, match="looked up already") as caught:
        await names.addresses("d", 80)
    assert caught.value.errno in dialling.OUT_OF_RESOURCES
    over.set()
    assert await asyncio.gather(*tasks) == [("a",), ("b",), ("a",), ("c",), ("a",)]
    assert await names.addresses("d", 80) == ("d",)
    assert (began, names.running) == (["a", "b", "c", "d"], 0)
