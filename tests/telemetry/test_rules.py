from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.conditions import AlertRule
from mcpwatch.telemetry.rules import groups, render
from mcpwatch.telemetry.spec import TelemetrySpec
from tests.parts import ROOT, program

HERE = Path(__file__).parent
SPEC = TelemetrySpec.model_validate(
    {
        "loki": {"url": "http://loki:3100"},
        "objective": {"availability": 0.99, "latency": 5},
        "objectives": {"fetch": {"availability": 0.999, "latency": 2}, "a.b": {"latency": 2}},
    }
)


def written(directory: Path, spec: TelemetrySpec = SPEC) -> Path:
    path = directory / "mcpwatch.rules.yml"
    path.write_text(render(groups(spec)), encoding="utf-8")
    return path


def promtool(*arguments: object) -> None:
    done = subprocess.run([program("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("promtool")
def test_promtool_accepts_the_rules_with_and_without_objectives(tmp_path: Path) -> None:
    promtool("check", "rules", written(tmp_path))
    promtool("check", "rules", written(tmp_path, TelemetrySpec()))


@pytest.mark.needs("promtool")
def test_the_rules_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    written(tmp_path)
    test = tmp_path / "test.yml"
    test.write_text((HERE / "rules_test.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    promtool("test", "rules", test)


def test_rules_ask_only_for_metrics_that_exist() -> None:
    known = {family.name for family in of.FAMILIES}
    known |= {f"{family.name}_bucket" for family in of.FAMILIES if family.kind == "histogram"}
    asked = set(re.findall(r"\bmcpwatch_[a-z0-9_]+", render(groups(SPEC))))
    assert asked <= known
    recorded = set(re.findall(r"\bmcpwatch:[a-z0-9_:]+", render(groups(SPEC))))
    made = {rule.record for group in groups(SPEC) for rule in group.rules if not isinstance(rule, AlertRule)}
    assert recorded == made


def test_without_loki_there_are_no_rules_about_it() -> None:
    assert "loki" not in render(groups(TelemetrySpec()))


def test_every_alert_is_explained_in_the_manual() -> None:
    manual = (ROOT / "docs" / "how-to" / "monitoring.md").read_text(encoding="utf-8")
    for group in groups(SPEC):
        for rule in group.rules:
            if isinstance(rule, AlertRule):
                assert f"#### {rule.alert}\n" in manual
