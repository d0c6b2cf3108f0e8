"""The recorded ratios: computed from one run, compared with what was recorded, and failing only where one doubled."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.ratios import AIMS, RECORDED, ratios, table, worse

REST = {"cpu_ms_per_min": 20.0, "up_s": 2.0, "rss_mb": 25.0}
CLI = {"python -c pass": [10.0, 10.0], "status": [40.0, 30.0], "--help": [20.0, 15.0]}


def supervisors(*names: str) -> dict[str, Any]:
    times = {"mcpwatch": [0.005, 0.006, 0.011], "runit": [0.003, 0.004, 0.005], "supervisord": [1.0]}
    sizes = {"10": REST, "100": REST}
    rest = {"mcpwatch": {"10": {**REST, "rss_mb": 50.0}, "100": {**REST, "up_s": 3.0}}, "supervisord": sizes, "runit": sizes}
    return {"bare_s": {"here": [0.001, 0.002]}, "recovery_s": {n: times[n] for n in names}, "rest": {n: rest[n] for n in names}}


def test_each_ratio_is_of_one_run_less_the_bare_start() -> None:
    found = ratios(supervisors("mcpwatch", "runit", "supervisord"), CLI)
    assert set(found) == set(AIMS)
    assert found["recovery, median: times runit"] == 1.8
    assert found["100 members up: times supervisord"] == 1.5
    assert found["memory, 10 members: times supervisord"] == 2.0
    assert found["status, CPU: times the interpreter"] == 3.0


def test_a_peer_that_is_absent_leaves_its_ratios_out() -> None:
    found = ratios(supervisors("mcpwatch"), CLI)
    assert set(found) == {
        "recovery, worst: times our median",
        "status, CPU: times the interpreter",
        "--help, CPU: times the interpreter",
    }


def test_only_a_ratio_that_doubled_is_worse() -> None:
    name, other = list(AIMS)[:2]
    assert worse({name: 1.9, other: 2.0}, {name: 1.0, other: 1.0}) == [other]
    assert worse({name: 9.0}, {}) == []
    assert f"| {name} | 1.9 | {AIMS[name]:g} | 1 |" in table({name: 1.9}, {name: 1.0})


def test_what_is_recorded_is_what_is_promised() -> None:
    assert set(json.loads(RECORDED.read_text(encoding="utf-8"))) <= set(AIMS)
