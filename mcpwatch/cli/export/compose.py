"""The fleet as Docker Compose projects, a directory per service. Pure: services in, texts by path out."""

from __future__ import annotations

from typing import Any

from mcpwatch.cli.export.parts import USER, build_files, example_env, health_command, overview, readme
from mcpwatch.cli.export.service import ExportedFleet, ExportedService
from mcpwatch.config import yaml


def files(found: ExportedFleet) -> dict[str, str]:
    """Path to text of every file."""
    made: dict[str, str] = {}
    networks = sorted({network for service in (*found.services, found.proxy) for network in service.networks})
    for service in (*found.services, found.proxy):
        where = service.host
        made[f"{where}/compose.yaml"] = yaml.dump(_project(service))
        made[f"{where}/.env.example"] = example_env(service)
        made[f"{where}/README.md"] = readme(service, "Start it with `docker compose up -d --build` here.")
        made |= build_files(service)
        if service.config:
            made[f"{where}/config.json"] = service.config
    steps = [
        "```sh",
        *(f"docker network create {network}" for network in networks),
        "for d in mcp-*/; do (cd $d && cp -n .env.example .env && chmod 600 .env); done   # then fill them in",
        "for d in mcp-*/; do (cd $d && docker compose up -d --build); done",
        "```",
    ]
    made["README.md"] = overview(found, "Docker Compose", "\n".join(steps))
    return made


def _project(service: ExportedService) -> dict[str, Any]:
    container: dict[str, Any] = {"container_name": service.host}
    if service.image:
        container["image"] = service.image
    else:
        container |= {"build": {"context": "."}, "image": f"{service.host}:local"}
    if service.command:
        container["command"] = list(service.command)
    container["restart"] = "unless-stopped"
    environment = dict(service.environment)
    if service.config:
        environment |= _token(environment)
        container["ports"] = [f"{service.published}:{service.port}"]
    if environment:
        container["environment"] = environment
    volumes = [*service.volumes, *(["./config.json:/config/config.json:ro"] if service.config else [])]
    if volumes:
        container["volumes"] = volumes
    container |= {"networks": list(service.networks), "mem_limit": service.memory, "pids_limit": 256}
    if not service.image:
        container |= {"read_only": True, "tmpfs": ["/tmp"], "user": USER}  # noqa: S108 - inside the container
    container |= {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    container["logging"] = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
    command = health_command(service)
    if command:
        container["healthcheck"] = {
            "test": ["CMD", *command], "interval": "30s", "timeout": "10s", "retries": 3, "start_period": "60s"
        }  # fmt: skip
    return {
        "name": service.host,
        "services": {service.host: container},
        "networks": {network: {"external": True} for network in service.networks},
    }


def _token(environment: dict[str, str]) -> dict[str, str]:
    """What the health check of a guarded proxy says."""
    token = next((name for name in environment if "TOKEN" in name.upper()), None)
    return {"HEALTHCHECK_TOKEN": f"${{{token}}}"} if token else {}
