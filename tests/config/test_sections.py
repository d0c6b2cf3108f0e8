"""Every room's real sections and kinds through the real door: faults land on the right item, secrets are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpwatch.alerts.spec import SECTION as ALERTS
from mcpwatch.clients.catalog import ClientsSection
from mcpwatch.config import yaml
from mcpwatch.config.load import load_plan
from mcpwatch.config.schema import schema
from mcpwatch.config.show import show
from mcpwatch.model.errors import ConfigError
from mcpwatch.proxies import PROXIES
from mcpwatch.registry import Kinds
from mcpwatch.runtimes import RUNTIMES
from mcpwatch.telemetry.spec import SECTION as TELEMETRY
from tests.config.kinds import KINDS
from tests.config.plans import STATE

REAL = Kinds(
    checks=KINDS.checks,
    runtimes=RUNTIMES,
    proxies=PROXIES,
    sections=(ALERTS, TELEMETRY, ("clients", ClientsSection)),
)

TEXT = """\
members: {a: {url: http://h:1/sse}}
clients:
  - {kind: claude-code, scope: user}
  - {kind: vscode, path: ./.vscode/mcp.json}
alerts:
  receivers: {ops: {kind: apprise, url: "${NTFY_URL}"}}
  route: {receiver: ops, for: 1m, repeat: 4h}
telemetry: {metrics: {listen: 127.0.0.1:9464}, loki: {url: http://loki:3100/loki/api/v1/push, auth: {bearer_file: bearer}}}
"""


def written(directory: Path, text: str) -> Path:
    (directory / "bearer").write_text("bearer-secret\n")
    file = directory / "fleet.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def told(directory: Path, text: str, environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_plan(written(directory, text), REAL, environ, STATE)
    return [str(fault).replace(f"{directory}/", "") for fault in caught.value.faults]


@pytest.fixture
def known(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "NTFY_URL": "ntfy://user:apprise-secret@ntfy.sh/ops"}


def test_the_sections_of_the_design_load_as_their_rooms_want_them(tmp_path: Path, known: dict[str, str]) -> None:
    plan = load_plan(written(tmp_path, TEXT), REAL, known, STATE)
    clients = plan.section("clients")
    assert isinstance(clients, ClientsSection)
    assert len(clients.made()) == 2
    assert {name for name, _ in plan.sections} == {"clients", "alerts", "telemetry"}
    assert {"bearer-secret", known["NTFY_URL"]} <= set(plan.secrets)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("scope: user", "scoop: user"), "fleet.yaml:3: clients[0].scoop: unknown key; did you mean 'scope'?"),
        (("kind: vscode", "kind: vscod"), "fleet.yaml:4: clients[1]: unknown client 'vscod'; did you mean 'vscode'?"),
        (("kind: apprise, url", "kind: apprise, ulr"), "fleet.yaml:6: alerts.receivers.ops.ulr: unknown key; did you mean 'url'?"),
        (("repeat", "repeet"), "fleet.yaml:7: alerts.route.repeet: unknown key; did you mean 'repeat'?"),
        (("metrics: {listen", "metrics: {lissten"), "fleet.yaml:8: telemetry.metrics.lissten: unknown key; did you mean 'listen'?"),
        (("file: bearer", "file: x"), "fleet.yaml:8: telemetry.loki.auth.bearer_file: cannot read x: No such file or directory"),
        ((":9464", ":9090"), "fleet.yaml:8: telemetry.metrics.listen: port 9090 is taken by proxy.listen; choose another"),
    ],
)  # fmt: skip
def test_a_fault_in_a_section_is_told_where_it_stands(
    change: tuple[str, str], fault: str, tmp_path: Path, known: dict[str, str]
) -> None:
    assert fault in told(tmp_path, TEXT.replace(*change), known)


def test_shown_sections_are_written_as_they_were_and_masked(tmp_path: Path, known: dict[str, str]) -> None:
    text = show(written(tmp_path, TEXT), REAL, known, STATE)
    data = yaml.read(text, "shown").data
    assert isinstance(data, dict)
    assert isinstance(data["clients"], list)
    assert "bearer-secret" not in text
    assert "apprise-secret" not in text


def test_the_schema_of_clients_is_a_list() -> None:
    found = schema(REAL)
    clients = found["properties"]["clients"]
    if "$ref" in clients:
        clients = found["$defs"][clients["$ref"].rpartition("/")[2]]
    assert clients["type"] == "array"
