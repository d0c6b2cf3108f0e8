"""The Helm chart by the real helm: the same watchdogs that kustomize makes, refused in words without a fleet or its rights."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.parts import ROOT, program

pytestmark = [pytest.mark.slow, pytest.mark.needs("helm")]

CHART = ROOT / "deploy" / "helm" / "mcpwatch"
KUSTOMIZE = ROOT / "deploy" / "kubernetes"
NEWER = ("--kube-version", "1.34.0")
"""A helm built from its modules takes itself for one of Kubernetes 1.20 where it asks no cluster."""
FLEET = ("--set-file", f"config={KUSTOMIZE / 'mcpwatch.yaml'}", "--set-file", f"rights={KUSTOMIZE / 'rights.yaml'}")


def helm(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program("helm")), *words], capture_output=True, text=True, timeout=60, check=False, env={"HOME": str(home), "PATH": ""}
    )


def objects(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    """By kind and name, without what only one of the two writes: the namespace, and a checksum that begins a rollout."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in yaml.safe_load_all(text):
        if one is None:
            continue
        one["metadata"].pop("namespace", None)
        if one["kind"] == "Deployment":
            one["spec"]["template"]["metadata"].pop("annotations", None)
            for container in one["spec"]["template"]["spec"]["containers"]:
                container.pop("imagePullPolicy", None)
        found[one["kind"], one["metadata"]["name"]] = one
    return found


def test_the_chart_makes_what_kustomize_makes(tmp_path: Path) -> None:
    kustomization = yaml.safe_load((KUSTOMIZE / "kustomization.yaml").read_text(encoding="utf-8"))
    files = [name for name in kustomization["resources"] if name != "namespace.yaml"]
    expected = objects("\n---\n".join((KUSTOMIZE / name).read_text(encoding="utf-8") for name in files))
    expected["Deployment", "mcpwatch"]["spec"]["template"]["spec"]["containers"][0]["image"] = (
        f"mcpwatch:{kustomization['images'][0]['newTag']}"
    )
    done = helm(tmp_path, "template", "mcpwatch", str(CHART), *NEWER, "--namespace", "mcpwatch", *FLEET)
    assert done.returncode == 0, done.stderr
    made = objects(done.stdout)
    config = made.pop(("ConfigMap", "mcpwatch"))
    assert config["data"]["mcpwatch.yaml"].strip() == (KUSTOMIZE / "mcpwatch.yaml").read_text(encoding="utf-8").strip()
    assert made == expected


def test_the_chart_passes_helms_own_lint(tmp_path: Path) -> None:
    done = helm(tmp_path, "lint", "--strict", str(CHART), *NEWER, *FLEET)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "config"),
        (FLEET[:2], "rights"),
        ((*FLEET, "--set", "replica=3"), "replica"),
        ((*FLEET, "--set", "replicas=0"), "replicas"),
        ((*FLEET, "--set", "ports.mcp=70000"), "mcp"),
    ],
    ids=["no fleet", "no rights", "a misspelt value", "no watchdog", "no port"],
)
def test_what_is_wrong_is_refused_and_named_before_anything_is_sent(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    done = helm(tmp_path, "template", "mcpwatch", str(CHART), *NEWER, *words)
    assert done.returncode != 0
    assert told in done.stderr


def test_a_changed_fleet_begins_new_watchdogs_and_an_equal_one_does_not(tmp_path: Path) -> None:
    def checksum(config: Path) -> str:
        done = helm(tmp_path, "template", "mcpwatch", str(CHART), *NEWER, "--set-file", f"config={config}", *FLEET[2:])
        every = [one for one in yaml.safe_load_all(done.stdout) if one and one["kind"] == "Deployment"]
        return str(every[0]["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    other = tmp_path / "other.yaml"
    other.write_text((KUSTOMIZE / "mcpwatch.yaml").read_text(encoding="utf-8") + "# more\n", encoding="utf-8")
    assert checksum(KUSTOMIZE / "mcpwatch.yaml") == checksum(KUSTOMIZE / "mcpwatch.yaml") != checksum(other)
