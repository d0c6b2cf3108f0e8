from __future__ import annotations

import subprocess

import pytest
import yaml

from mcpwatch.telemetry.families import FAMILIES
from tests.parts import ROOT, program
from tools import docs_telemetry

DEPLOY = ROOT / "deploy" / "observability"


def test_the_page_of_metrics_and_the_shipped_rules_are_those_the_code_makes() -> None:
    pages = docs_telemetry.pages()
    for name, text in pages.items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, "run: make docs"
    assert all(f"`{family.name}`" in pages["docs/reference/metrics.md"] for family in FAMILIES)


@pytest.mark.needs("promtool")
@pytest.mark.needs("amtool")
def test_promtool_accepts_the_deployed_prometheus_and_amtool_the_alertmanager() -> None:
    for command in (
        [program("promtool"), "check", "config", DEPLOY / "prometheus.yml"],
        [program("amtool"), "check-config", DEPLOY / "alertmanager.yml"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_the_compose_file_mounts_is_there() -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    mounted = [volume.split(":")[0] for service in document["services"].values() for volume in service["volumes"]]
    for source in mounted:
        assert source in document["volumes"] or (DEPLOY / source).exists(), source
