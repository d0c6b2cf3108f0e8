"""How long a repair is being proved whose checks do not come back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.fact import RepairProved
from mcpwatch.model.probe import Symptom
from mcpwatch.watchdog.finding import Finding
from tests.watchdog.mend_bench import HUNG, Bench, failing, staged


@pytest.mark.parametrize("age", [0.0, 1000.0])
def test_a_proof_that_stands_still_during_a_start_ends_when_the_time_of_that_start_is_over(age: float) -> None:
    looks: list[Finding] = []

    async def play(bench: Bench) -> None:
        async def once(finding: Finding) -> None:
            looks.append(finding)
            if len(looks) > 1:
                await asyncio.Event().wait()

        def cold(one: Bench) -> None:
            one.change("fetch", direct=replace(failing(Symptom.NOT_MOUNTED), succeeded=False), child_runs=True)
            one.change("fetch", started_at=one.clock.now())

        await asyncio.sleep(age)
        bench.prove = once  # type: ignore[method-assign]
        bench.on_carry = cold
        bench.change("fetch", direct=HUNG)
        bench.mender.consider()
        await asyncio.sleep(629.0)
        assert bench.of(RepairProved) == []
        await asyncio.sleep(2.0)
        (told,) = bench.of(RepairProved)
        assert (told.outcome, told.seconds) == ("failed", pytest.approx(630.0))

    staged(play)
