"""The engine's statistics as `Usage`. Pure.

Owns: which of the engine's numbers mean what, on cgroup v1 and v2. Must not know: how they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from mcpwatch.model.view import Usage
from mcpwatch.runtimes.docker.container import nanoseconds

_NANO = 1e9


@dataclass(frozen=True, slots=True)
class EngineSample:
    """One look: `at` in nanoseconds of the engine's clock, `cpu` in seconds since the start, `rss` in bytes."""

    at: int
    cpu: float
    rss: int
    processes: int


def sample(raw: Mapping[str, object]) -> EngineSample:
    """The engine's answer to `stats`, read. What it does not tell is 0."""
    memory = _part(raw, "memory_stats")
    detail = _part(memory, "stats")
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    used = int(memory.get("usage") or 0) - int(cache or 0)
    cpu = int(_part(_part(raw, "cpu_stats"), "cpu_usage").get("total_usage") or 0) / _NANO
    return EngineSample(nanoseconds(str(raw.get("read", ""))), cpu, max(0, used), int(_part(raw, "pids_stats").get("current") or 0))


def usage_between(before: EngineSample | None, now: EngineSample) -> Usage:
    """`now` as usage; the CPU percentage is that since `before`."""
    elapsed = (now.at - before.at) / _NANO if before else 0.0
    cpu = 100 * (now.cpu - before.cpu) / elapsed if before and elapsed > 0 else 0.0
    return Usage(cpu=max(0.0, cpu), cpu_seconds=now.cpu, rss=now.rss, processes=now.processes)


def _part(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value: object = raw.get(key)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
