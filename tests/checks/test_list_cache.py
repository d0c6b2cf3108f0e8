"""What is made of a list once and used again: only ever a shortcut, and bounded."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mcpwatch.checks import list_cache as module
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.list_cache import ListCache, Others
from mcpwatch.model.probe import Target

pytestmark = pytest.mark.anyio

NONE = Others(0.0, b"", None, None, None)


def tools(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"name": f"t{number}", "description": "d", "inputSchema": {"type": "object"}} | more for number in range(count)]


async def test_a_list_is_looked_through_once_while_the_server_sends_the_same_bytes() -> None:
    cache = ListCache()
    first = await cache.listed(b"1", tools(2))
    assert await cache.listed(b"1", []) is first
    other = await cache.listed(b"2", tools(2))
    assert other is not first
    assert (other, len(first.tools), first.lint, first.hidden, first.safe) == (first, 2, (), (), None)
    assert first.tokens > 20


async def test_what_is_no_list_of_tools_is_refused_each_time() -> None:
    cache = ListCache()
    for _ in range(2):
        with pytest.raises(ProbeFailure):
            await cache.listed(b"1", tools(1, description=5))
    loose = tools(1, outputSchema={"type": "string"})
    with pytest.raises(ProbeFailure):
        await cache.listed(b"2", loose)
    assert len((await cache.listed(b"2", loose, modern=True)).tools) == 1


async def test_a_long_list_is_looked_through_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[bool] = []

    def looks(items: list[dict[str, Any]], modern: bool) -> object:
        where.append(threading.current_thread() is threading.main_thread())
        return items

    monkeypatch.setattr(module, "_listed", looks)
    cache = ListCache()
    await cache.listed(b"1", tools(100))
    await asyncio.wait_for(cache.listed(b"2", tools(101)), 10)
    assert where == [True, False]


async def test_the_lists_kept_are_those_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (module.LISTS_MAX, module.CONTRACTS_MAX, module.OTHERS_MAX) == (16_384, 1_024, 4_096)
    monkeypatch.setattr(module, "LISTS_MAX", 2)
    cache = ListCache()
    kept = {key: await cache.listed(key, tools(1)) for key in (b"1", b"2")}
    assert await cache.listed(b"1", tools(1)) is kept[b"1"]
    await cache.listed(b"3", tools(1))
    assert await cache.listed(b"1", tools(1)) is kept[b"1"]
    assert await cache.listed(b"2", tools(1)) is not kept[b"2"]


def test_a_contract_is_that_of_the_tools_and_of_the_other_lists() -> None:
    cache = ListCache()
    text = cache.contract(b"1", tools(1), NONE)
    assert cache.contract(b"1", [], NONE) == text, "the same bytes are the same contract"
    assert cache.contract(b"2", tools(2), NONE) != text
    other = Others(0.0, b"p", [{"name": "greet"}], None, None)
    assert "greet" in cache.contract(b"1", tools(1), other)


def test_the_other_lists_of_a_target_are_kept_for_a_while_or_until_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OTHERS_MAX", 2)
    cache = ListCache()
    targets = [Target(f"http://h/{number}") for number in range(3)]
    for target in targets:
        cache.keep_others(target, NONE)
    assert [cache.others(target, 599.0) is NONE for target in targets] == [False, True, True]
    assert cache.others(targets[1], 600.0) is None
    cache.forget(targets[1])
    cache.forget(targets[0])
    assert cache.others(targets[1], 1.0) is None
