"""The fleet as systemd services without containers, a directory per service. Pure: services in, texts by path out."""

from __future__ import annotations

import shlex

from mcpwatch.cli.export.parts import HEALTHCHECK, START, overview, readme, unit_env
from mcpwatch.cli.export.quadlet import quoted, words
from mcpwatch.cli.export.service import PROXY_MODULE, ExportedFleet, ExportedService

FIRST_PORT = 18080
"""Ports of the bridges on loopback, counted from here in the order of their names."""


PROXY_INSTALL = f"""\
#!/bin/sh
set -eu
cd "$(dirname "$0")"
GOBIN=/usr/local/bin go install {PROXY_MODULE}
install -D -m 600 .env.example /etc/mcp/mcp-proxy.env
install -D -m 644 config.json /etc/mcp/config.json
install -D -m 644 start.py /etc/mcp/start.py
install -m 644 mcp-proxy.service /etc/systemd/system/
systemctl daemon-reload
"""


def files(found: ExportedFleet) -> dict[str, str]:
    """Path to text of every file. Native containers are left out: they need an engine."""
    made: dict[str, str] = {}
    own = [service for service in found.services if not service.image]
    ports = {service.host: FIRST_PORT + index for index, service in enumerate(own)}
    left = (
        *found.left,
        *((service.name, "it is a container; use 'export quadlet'") for service in found.services if service.image),
    )
    for service in own:
        where = service.host
        made[f"{where}/{where}.service"] = _unit(service, ports[where])
        made[f"{where}/.env.example"] = unit_env(service)
        made[f"{where}/install.sh"] = _install(service)
        made[f"{where}/healthcheck.py"] = HEALTHCHECK
        made[f"{where}/README.md"] = readme(
            service, f"Install it with `sudo sh install.sh`, start it with `systemctl start {where}`."
        )
    config = found.proxy.config
    for service in own:
        config = config.replace(f"http://{service.host}:{service.port}/", f"http://127.0.0.1:{ports[service.host]}/")
    made["mcp-proxy/config.json"] = config
    made["mcp-proxy/.env.example"] = unit_env(found.proxy)
    made["mcp-proxy/mcp-proxy.service"] = _proxy_unit(found.proxy, own)
    made["mcp-proxy/install.sh"] = PROXY_INSTALL
    made["mcp-proxy/start.py"] = START
    steps = [
        "```sh",
        "for d in mcp-*/; do sudo sh $d/install.sh; done   # then fill in /etc/mcp/*.env",
        "sudo systemctl start mcp-proxy",
        "```",
    ]
    made["README.md"] = overview(ExportedFleet(tuple(own), found.proxy, left), "systemd", "\n".join(steps))
    return made


def _unit(service: ExportedService, port: int) -> str:
    changed = {str(service.port): str(port), "0.0.0.0": "127.0.0.1"}  # noqa: S104
    command = [changed.get(word, word) for word in service.command]
    home = f"/opt/mcp/{service.host}"
    lines = [
        "[Unit]",
        f"Description={service.description or service.name}".replace("\n", " "),
        "Wants=network-online.target",
        "After=network-online.target",
        "",
    ]
    lines += [
        "[Service]",
        f"ExecStart={home}/bin/{words(command)}",
        f"WorkingDirectory={home}",
        f"Environment=PATH={home}/bin:{home}/server/bin:/usr/local/bin:/usr/bin:/bin",
    ]
    for key, value in service.environment.items():
        if "${" not in value:
            lines.append(f"Environment={quoted(key + '=' + value.replace('$$', '$'))}")
    lines += [f"EnvironmentFile=-/etc/mcp/{service.host}.env", *_bounds(service)]
    return "\n".join([*lines, "", "[Install]", "WantedBy=multi-user.target"]) + "\n"


def _proxy_unit(proxy: ExportedService, own: list[ExportedService]) -> str:
    after = " ".join(f"{service.host}.service" for service in own)
    lines = ["[Unit]", f"Description={proxy.description}", f"After=network-online.target {after}".rstrip()]
    lines += [f"Wants=network-online.target {after}".rstrip()]
    lines += [
        "",
        "[Service]",
        "ExecStart=/usr/bin/python3 /etc/mcp/start.py /usr/local/bin/mcp-proxy -config /etc/mcp/config.json",
        "EnvironmentFile=-/etc/mcp/mcp-proxy.env",
    ]
    return "\n".join([*lines, *_bounds(proxy), "", "[Install]", "WantedBy=multi-user.target"]) + "\n"


def _bounds(service: ExportedService) -> list[str]:
    return [
        "DynamicUser=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        f"MemoryMax={service.memory.upper()}", "TasksMax=256", "Restart=always", "RestartSec=5",
    ]  # fmt: skip


def _install(service: ExportedService) -> str:
    home, unit = f"/opt/mcp/{service.host}", f"{service.host}.service"
    lines = ["#!/bin/sh", "set -eu", 'cd "$(dirname "$0")"', f"python3 -m venv {home}"]
    lines += [f"{home}/bin/pip install --disable-pip-version-check {service.bridge}"]
    if service.pip:
        lines += [f"python3 -m venv {home}/server"]
        lines += [f"{home}/server/bin/pip install --disable-pip-version-check {' '.join(map(shlex.quote, service.pip))}"]
    if service.npm:
        lines += [f"npm install --prefix {home} --omit=dev --no-audit --no-fund {' '.join(map(shlex.quote, service.npm))}"]
    lines += [f"# {note}" for note in service.notes]
    lines += [f"install -D -m 600 .env.example /etc/mcp/{service.host}.env"]
    lines += [f"install -m 644 {unit} /etc/systemd/system/"]
    return "\n".join([*lines, "systemctl daemon-reload"]) + "\n"
