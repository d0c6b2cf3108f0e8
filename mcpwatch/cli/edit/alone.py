"""Trying a stdio server by itself, as the gateway would run it: no watchdog.

A server that answers has shown what a trial is to show. Of one that does not, the whole trial names the cause.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mcpwatch import stdio_container
from mcpwatch.checks import Prober
from mcpwatch.gateway.upstream import spawn
from mcpwatch.model.probe import Outcome, ProbeResult, Target
from mcpwatch.model.spec import CheckSpec, Plan

OF_STARTS = {"restart", "start_grace"}
"""Options of a server that say only how often and how long it is started."""
ANSWERED = (Outcome.SUCCESS, Outcome.DEGRADED)


def results_alone(name: str, plan: Plan, base: Path, wait: float) -> list[ProbeResult] | None:
    """What each check of a member saw, the last one perhaps a failure; `None` where the gateway or an engine has a part in it."""
    upstream = next((one for one in plan.proxy.upstreams if one.name == name), None) if plan.proxy else None
    checks = next((route.checks for route in plan.routes if route.member == name), ())
    if upstream is None or upstream.transport != "stdio" or any(check.kind != "mcp" for check in checks):
        return None
    argv = (upstream.command, *upstream.args)
    beneath = spawn.environment(spawn.Command(name, argv))
    program = shutil.which(upstream.command, path=dict(upstream.env).get("PATH", beneath.get("PATH")))
    if program is None or stdio_container.runs(argv) or json.loads(upstream.options).keys() - OF_STARTS:
        return None
    target = Target(
        transport="stdio",
        command=(*spawn.lifeline(), program, *upstream.args),
        env=upstream.env,
        beneath=tuple(beneath.items()),
        cwd=upstream.cwd or str(base),
    )
    return asyncio.run(_probed(target, checks, wait)) if checks else None


async def _probed(target: Target, checks: Sequence[CheckSpec], wait: float) -> list[ProbeResult]:
    results, until, prober = list[ProbeResult](), time.monotonic() + wait, Prober()
    try:
        for check in checks:
            timed = replace(check, timeout=max(1.0, until - time.monotonic()))
            results.append(await prober.probe(timed, target, "direct"))
            if results[-1].outcome not in ANSWERED:
                break
    finally:
        await prober.close()
    return results
