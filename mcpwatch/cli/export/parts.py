"""Texts that every format uses: a health check that speaks MCP, Dockerfiles, `.env.example`, READMEs. Pure."""

from __future__ import annotations

import shlex

from mcpwatch.cli.export.service import PROXY_MODULE, ExportedFleet, ExportedService

USER = "10001:10001"
PIP = "--no-cache-dir --disable-pip-version-check"
HEADING = "# The fleet, for "
"""How the index of an export begins."""

HEALTHCHECK = '''\
"""Speaks MCP (HTTP+SSE) to a URL and lists its tools; exits 0 when that works. Standard library alone."""
import http.client
import json
import os
import sys
import threading
import urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
headers = {"Accept": "text/event-stream"}
if os.environ.get("HEALTHCHECK_TOKEN"):
    headers["Authorization"] = "Bearer " + os.environ["HEALTHCHECK_TOKEN"]
threading.Timer(8, lambda: os._exit(1)).start()
stream = http.client.HTTPConnection(url.hostname, url.port, timeout=8)
stream.request("GET", url.path, headers=headers)
events = stream.getresponse()
if events.status != 200:
    print("HTTP", events.status)
    os._exit(1)


def data():
    """The next event's data."""
    lines = []
    while True:
        line = events.readline().decode().rstrip("\\r\\n")
        if line.startswith("data:"):
            lines.append(line[5:].strip())
        elif not line and lines:
            return "\\n".join(lines)


endpoint = urllib.parse.urljoin(sys.argv[1], data())
where = urllib.parse.urlsplit(endpoint)


def send(message):
    """One message to the server."""
    post = http.client.HTTPConnection(url.hostname, url.port, timeout=8)
    path = where.path + ("?" + where.query if where.query else "")
    post.request("POST", path, json.dumps(message), {**headers, "Content-Type": "application/json"})
    post.getresponse().read()


def answer(number):
    """The result of a request."""
    while True:
        found = json.loads(data())
        if found.get("id") == number:
            return found["result"]


hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "healthcheck", "version": "1"}}
send({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
answer(1)
send({"jsonrpc": "2.0", "method": "notifications/initialized"})
send({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
tools = answer(2)["tools"]
print(len(tools), "tools")
sys.stdout.flush()
os._exit(0 if tools else 1)
'''


START = '''\
"""Starts the proxy once the bridges of its file answer, or after a minute: it never asks again for one that was not there."""
import json
import os
import socket
import sys
import time
import urllib.parse

with open(sys.argv[sys.argv.index("-config") + 1]) as file:
    servers = json.load(file)["mcpServers"]
deadline = time.monotonic() + 60
for name, server in servers.items():
    url = urllib.parse.urlsplit(server["url"])
    while time.monotonic() < deadline:
        try:
            socket.create_connection((url.hostname, url.port or (443 if url.scheme == "https" else 80)), 2).close()
            break
        except OSError:
            time.sleep(0.5)
    else:
        print(name, "does not answer; its route is missing until the next start", file=sys.stderr, flush=True)
os.execvp(sys.argv[1], sys.argv[1:])
'''


def dockerfile(service: ExportedService) -> str:
    """How a service that has no image is built: its tool pinned and installed beforehand, no network at its start."""
    if service.config:
        return _proxy_dockerfile()
    lines = ["# Built by: docker compose build. Another base: --build-arg BASE=…", "ARG BASE=python:3.13-slim"]
    if service.npm:
        lines += ["ARG NODE=node:22-slim", "FROM ${NODE} AS node", ""]
    lines += ["FROM ${BASE}"]
    if service.npm:
        lines += [
            "COPY --from=node /usr/local/bin/node /usr/local/bin/node",
            "COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules",
            "RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \\",
            " && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx",
        ]
    lines += ["ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp", "WORKDIR /srv"]
    lines += [f"RUN pip install {PIP} {service.bridge}"]
    if service.pip:
        packages = " ".join(shlex.quote(package) for package in service.pip)
        lines += [
            f"RUN python3 -m venv /opt/server && /opt/server/bin/pip install {PIP} {packages}",
            "ENV PATH=$PATH:/opt/server/bin",
        ]
    if service.npm:
        lines += [f"RUN npm install --omit=dev --no-audit --no-fund {' '.join(shlex.quote(one) for one in service.npm)}"]
    lines += [f"# {note}" for note in service.notes]
    lines += ["COPY healthcheck.py /healthcheck.py", f"USER {USER}", f"EXPOSE {service.port}"]
    return "\n".join(lines) + "\n"


def build_files(service: ExportedService) -> dict[str, str]:
    """Path to text of what the image of a service is built from; empty where the image is one of others."""
    if service.image:
        return {}
    made = {f"{service.host}/Dockerfile": dockerfile(service), f"{service.host}/healthcheck.py": HEALTHCHECK}
    return made | ({f"{service.host}/start.py": START} if service.config else {})


def _proxy_dockerfile() -> str:
    return "\n".join([
        "# The proxy (TBXark/mcp-proxy), and Python for its health check.",
        "ARG BASE=python:3.13-slim",
        "ARG GO=golang:1.25",
        "FROM ${GO} AS build",
        f"RUN CGO_ENABLED=0 go install {PROXY_MODULE}",
        "",
        "FROM ${BASE}",
        "COPY --from=build /go/bin/mcp-proxy /usr/local/bin/mcp-proxy",
        "COPY healthcheck.py start.py /",
        f"USER {USER}",
    ]) + "\n"  # fmt: skip


def health_command(service: ExportedService) -> tuple[str, ...]:
    """The command that proves a service from inside; none for an image that is used as it is: it may have no Python."""
    if service.image or (service.config and not service.route):
        return ()
    return ("python3", "/healthcheck.py", f"http://127.0.0.1:{service.port}{service.path}")


def example_env(service: ExportedService) -> str:
    """`.env.example`: the variables to be filled in, without values."""
    lines = [f"# Variables of {service.name}. Copy to .env (chmod 600) and fill in; never commit .env."]
    return "\n".join([*lines, *(f"{name}=" for name in service.variables)]) + "\n"


def unit_env(service: ExportedService) -> str:
    """`.env.example` of a unit, which fills in no references: the names that the server itself reads."""
    lines = [f"# Variables of {service.name}. Copy to {service.host}.env (chmod 600) and fill in; never commit it."]
    lines += [f"{key}=" for key, value in service.environment.items() if "${" in value]
    if service.config and service.variables:
        lines += ["# The token that the health check says:", "HEALTHCHECK_TOKEN="]
    return "\n".join(lines) + "\n"


def readme(service: ExportedService, how: str) -> str:
    """A page beside the files of a service."""
    where = f"Serves MCP at `http://{service.host}:{service.port}{service.path}` on its network; no port is published."
    if service.published:
        where = f"Clients reach it at `http://{service.published}`."
    lines = [f"# {service.host}", "", service.description or "An MCP server.", "", where]
    if service.variables:
        lines += ["", f"Needs: {', '.join(f'`{name}`' for name in service.variables)} (see `.env.example`)."]
    lines += ["", *(f"- {note}" for note in service.notes)] if service.notes else []
    return "\n".join([*lines, "", how, "", "Made by `mcpwatch export`."]) + "\n"


def overview(found: ExportedFleet, title: str, how: str) -> str:
    """The page of the whole export."""
    lines = [f"{HEADING}{title}", "", how, "", "| service | what | serves at |", "|---|---|---|"]
    rows = (*found.services, found.proxy)
    lines += [f"| {service.host} | {service.description or '-'} | {service.port}{service.path} |" for service in rows]
    if found.left:
        lines += ["", "Not taken along:", "", *(f"- {name}: {why}" for name, why in found.left)]
    return "\n".join([*lines, "", "Made by `mcpwatch export`."]) + "\n"
