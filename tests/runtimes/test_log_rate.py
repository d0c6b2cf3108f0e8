"""A member that floods a stream of its is told by name with its rate, though no line is lost, until that is over."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from mcpwatch.model.fact import Fact, Troubled
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.runtimes import log_collector
from mcpwatch.runtimes.log_collector import LogCollector
from mcpwatch.runtimes.log_trouble import LOUD, WINDOW, LineRate, counted
from tests.runtimes.bench import until
from tests.runtimes.test_log_collector import texts, write

pytestmark = pytest.mark.anyio


class Clock:
    """It goes on when it is told to."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> WallTime:
        return WallTime(self.at + 1e9)

    def passes(self) -> bool:
        """A span more, each time somebody looks."""
        self.at += WINDOW
        return True


def heard(*spans: tuple[float, float], step: float = 0.5) -> list[tuple[float, bool]]:
    """When a stream became loud and calm that wrote so many lines a second for so many seconds each."""
    rate: LineRate | None = None
    now, turned = 0.0, list[tuple[float, bool]]()
    for lines, seconds in spans:
        until_then = now + seconds
        while now < until_then:
            now += step
            before, rate = rate, counted(rate, round(lines * step), Instant(now))
            if rate.loud != (before is not None and before.loud):
                turned.append((now, rate.loud))
    return turned


@pytest.mark.parametrize("lines", [LOUD, 3 * LOUD, 50 * LOUD])
@pytest.mark.parametrize("seconds", [30.0, 100.0])
@pytest.mark.parametrize("step", [0.1, 0.5, 7.0])
def test_a_flood_is_told_once_soon_after_it_began_and_once_after_its_end(lines: float, seconds: float, step: float) -> None:
    (begun, loud), (ended, still) = heard((0.0, 60.0), (lines * 1.01, seconds), (0.0, 60.0), step=step)
    assert (loud, still) == (True, False)
    assert 60.0 < begun <= 60.0 + 4 * WINDOW + 4 * step
    assert 60.0 + seconds < ended <= 60.0 + seconds + 2 * WINDOW + 3 * step


@pytest.mark.parametrize(
    "spans",
    [
        ((LOUD * 0.9, 300.0),),
        ((0.0, 3600.0), (300_000.0, 0.5), (0.0, 60.0)),
        ((10.0, 60.0), (40_000.0, WINDOW * 0.9), (10.0, 60.0)) * 3,
        ((20.0, 600.0),),
    ],
    ids=["much", "a dump after an hour", "bursts", "talk"],
)
def test_a_burst_and_a_talker_are_no_flood(spans: tuple[tuple[float, float], ...]) -> None:
    assert heard(*spans) == []


def test_a_flood_that_goes_up_and_down_above_half_of_the_bound_is_one() -> None:
    assert len(heard(*((LOUD * 2.0, 20.0), (LOUD * 0.6, 20.0)) * 10)) == 1


@pytest.mark.sample(1)
@pytest.mark.parametrize("stream", ["stderr", "stdout"])
async def test_a_member_that_floods_is_named_with_its_rate_and_every_line_of_it_is_logged(tmp_path: Path, stream: str) -> None:
    facts, clock = list[Fact](), Clock()
    collector = LogCollector(tmp_path, facts.append, clock=clock)
    for second in range(60):
        write(tmp_path, b"talk\n", "calm", stream)
        write(tmp_path, b"flood\n" * (2000 if 10 <= second < 40 else 1), "loud", stream)
        await collector.drain()
        clock.at += 1.0
    collector.close()
    told = [fact for fact in facts if isinstance(fact, Troubled)]
    assert [(fact.member, fact.subject, fact.level, fact.cleared) for fact in told] == [
        ("loud", f"{stream} of loud", "warning", False),
        ("loud", f"{stream} of loud", "info", True),
    ]
    assert told[0].text == f"loud: floods its {stream}: about 2000 lines a second"
    assert len(texts(tmp_path, None, "loud", stream)) == 30 * 2000 + 30


async def test_a_backlog_of_a_time_without_a_watchdog_is_no_flood_of_now(tmp_path: Path) -> None:
    facts, clock = list[Fact](), Clock()
    write(tmp_path, b"old\n" * 100_000)
    collector = LogCollector(tmp_path, facts.append, clock=clock)
    for _ in range(5):
        await collector.drain()
        clock.at += WINDOW
    collector.close()
    assert facts == []


async def test_the_end_of_a_flood_is_told_though_the_member_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_collector, "RETRY", 0.01)
    facts, clock = list[Fact](), Clock()
    collector = LogCollector(tmp_path, facts.append, clock=clock)
    for _ in range(20):
        write(tmp_path, b"flood\n" * 5000, "loud")
        await collector.drain()
        clock.at += 1.0
    assert len(facts) == 1
    task = asyncio.get_running_loop().create_task(collector.run())
    try:
        await until(lambda: clock.passes() and len(facts) == 2)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        collector.close()
    assert isinstance(facts[1], Troubled)
    assert facts[1].cleared
