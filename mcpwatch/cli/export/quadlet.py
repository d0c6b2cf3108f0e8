"""The fleet as Podman Quadlet units, a directory per service. Pure: services in, texts by path out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mcpwatch.cli.export.parts import USER, build_files, health_command, overview, readme, unit_env
from mcpwatch.cli.export.service import ExportedFleet, ExportedService

ENVIRONMENT = "%h/.config/mcp"
"""Directory of the env files of a user's units."""
PODMAN = "5.2"
_SAFE = re.compile(r"[A-Za-z0-9_./:@=+,-]+")


def files(found: ExportedFleet) -> dict[str, str]:
    """Path to text of every file."""
    made: dict[str, str] = {}
    for network in sorted({network for service in (*found.services, found.proxy) for network in service.networks}):
        made[f"{network}.network"] = f"[Unit]\nDescription=Network of the MCP fleet\n\n[Network]\nNetworkName={network}\n"
    for service in (*found.services, found.proxy):
        where = service.host
        made[f"{where}/{where}.container"] = _container(service)
        made[f"{where}/.env.example"] = unit_env(service)
        made[f"{where}/README.md"] = readme(service, f"Start it with `systemctl --user start {where}`.")
        if not service.image:
            made[f"{where}/{where}.build"] = (
                f"[Unit]\nDescription=Image of {where}\n\n[Build]\nImageTag=localhost/{where}:local\nSetWorkingDirectory=unit\n"
            )
        made |= build_files(service)
        if service.config:
            made[f"{where}/config.json"] = service.config
    steps = [
        f"Needs Podman {PODMAN} or newer, which builds images by `.build` units.",
        "",
        "```sh",
        "mkdir -p ~/.config/containers/systemd ~/.config/mcp && cp -r . ~/.config/containers/systemd/mcp",
        "for d in mcp-*/; do install -m 600 $d/.env.example ~/.config/mcp/${d%/}.env; done   # then fill them in",
        "systemctl --user daemon-reload && systemctl --user start mcp-proxy",
        "```",
    ]
    made["README.md"] = overview(found, "Podman Quadlet", "\n".join(steps))
    return made


def _container(service: ExportedService) -> str:
    image = _qualified(service.image) if service.image else f"{service.host}.build"
    lines = ["[Unit]", f"Description={service.description or service.name}".replace("\n", " ")]
    lines += ["", "[Container]", f"ContainerName={service.host}", f"Image={image}"]
    if service.command:
        lines.append(f"Exec={words(service.command)}")
    lines += [f"Network={network}.network" for network in service.networks]
    if service.published:
        lines.append(f"PublishPort={service.published}:{service.port}")
    if service.config:
        lines.append("Volume=./config.json:/config/config.json:ro,z")
    lines += [f"Volume={volume}" for volume in service.volumes]
    for key, value in service.environment.items():
        if "${" not in value:
            lines.append(f"Environment={quoted(key + '=' + value.replace('$$', '$'))}")
    if service.variables:
        lines.append(f"EnvironmentFile={ENVIRONMENT}/{service.host}.env")
    if not service.image:
        user, _, group = USER.partition(":")
        lines += ["ReadOnly=true", "Tmpfs=/tmp", f"User={user}", f"Group={group}"]
    lines += [
        "DropCapability=all",
        "NoNewPrivileges=true",
        "PidsLimit=256",
        f"PodmanArgs=--memory={service.memory}",
        "LogDriver=journald",
    ]
    command = health_command(service)
    if command:
        lines += [
            f"HealthCmd={words(command)}",
            "HealthInterval=30s",
            "HealthTimeout=10s",
            "HealthRetries=3",
            "HealthStartPeriod=60s",
        ]
    lines += ["", "[Service]", "Restart=always", "RestartSec=5", "TimeoutStartSec=900", "", "[Install]", "WantedBy=default.target"]
    return "\n".join(lines) + "\n"


def _qualified(image: str) -> str:
    """The image with its registry: Podman asks for it."""
    first = image.partition("/")[0]
    if "/" not in image:
        return f"docker.io/library/{image}"
    return image if "." in first or ":" in first or first == "localhost" else f"docker.io/{image}"


def words(parts: Sequence[str]) -> str:
    """A command line as systemd reads it."""
    return " ".join(quoted(word.replace("$$", "$")) for word in parts)


def quoted(text: str) -> str:
    """A word as systemd reads it."""
    text = text.replace("%", "%%")
    return text if _SAFE.fullmatch(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") + '"'
