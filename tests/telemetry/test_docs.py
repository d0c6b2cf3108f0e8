from __future__ import annotations

import json
import subprocess
from pathlib import Path

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


@pytest.mark.needs("compose")
def test_a_real_compose_reads_the_file_and_finds_the_four_of_them_on_loopback() -> None:
    command = [program("compose"), "-f", DEPLOY / "compose.yaml", "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert sorted(services) == ["alertmanager", "grafana", "loki", "prometheus"]
    for name, service in services.items():
        assert ":latest" not in service["image"], name
        assert service["image"].count(":") == 1, name
        assert "ports" not in service, name
    loki = yaml.safe_load((DEPLOY / "loki.yaml").read_text(encoding="utf-8"))
    assert loki["server"]["http_listen_address"] == "127.0.0.1"
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    for name in ("prometheus", "alertmanager"):
        assert any(word.startswith("--web.listen-address=127.0.0.1:") for word in services[name]["command"]), name


@pytest.mark.slow
@pytest.mark.needs("prometheus")
def test_a_real_prometheus_starts_with_the_deployed_file_and_loads_its_rules(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "rules.yml"):
        text = (DEPLOY / name).read_text(encoding="utf-8").replace("/etc/prometheus/", f"{tmp_path}/")
        (tmp_path / name).write_text(text, encoding="utf-8")
    argv = [
        str(program("prometheus")),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: list[str] = []
    try:
        for line in process.stderr:  # ends with the program, or with what it says when it has everything
            said.append(line)
            if "Server is ready" in line:
                break
    finally:
        process.kill()
        process.wait(30)
        process.stderr.close()
    assert "Server is ready" in said[-1], "".join(said[-10:])
    assert any("Completed loading of configuration file" in line for line in said)


def test_every_file_the_compose_file_mounts_is_there() -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    mounted = [volume.split(":")[0] for service in document["services"].values() for volume in service["volumes"]]
    for source in mounted:
        assert source in document["volumes"] or (DEPLOY / source).exists(), source
