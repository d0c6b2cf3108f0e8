"""An exported fleet is built by the real engine on this machine's base image and serves its tools where there is no network."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from mcpwatch.cli.export.write import export
from tests.e2e.daemon import free_port
from tests.parts import program

TOKEN = "tok-of-the-exported-fleet"
BASE = "mcpwatch-base:bookworm"
TRUST = "NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt"
"""npm in the image trusts what this machine trusts, as pip does by the base image."""
PYTHON_IMAGE = f"FROM {BASE}\nRUN python3 -m venv /opt/venv\nENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin\nENV {TRUST}\n"
GO_IMAGE = f"""FROM {BASE}
COPY mcp-proxy /srv/mcp-proxy
RUN printf '#!/bin/sh\\nmkdir -p /go/bin && cp /srv/mcp-proxy /go/bin/mcp-proxy\\n' >/usr/local/bin/go && chmod +x /usr/local/bin/go
"""
"""Stands where golang stands: its `go install` brings the TBXark that this machine has built."""
NODE_IMAGE = f"FROM {BASE}\nCOPY node /usr/local/bin/node\nCOPY npm /usr/local/lib/node_modules/npm\n"


def run(*words: str, cwd: Path | None = None, timeout: float = 300) -> str:
    """Run a command that must succeed; its output."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


@dataclass
class Engine:
    """What a test makes on the engine, all under one mark, and its end."""

    mark: str
    images: list[str] = field(default_factory=list[str])
    projects: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])

    def build(self, name: str, context: Path, *options: str) -> str:
        """Build a directory; on the host's network, because an engine of CI may reach nothing through a bridge."""
        image = f"{name}:{self.mark}" if "mcp-" not in name else f"{name}:local"
        self.images.append(image)
        run("env", "DOCKER_BUILDKIT=0", "docker", "build", "--network", "host", "-q", "-t", image, *options, str(context))
        return image

    def base(self, name: str, text: str, context: Path) -> str:
        """Build an image that stands for one that cannot be pulled here."""
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(text)
        return self.build(f"mw-{name}", context)

    def up(self, project: Path) -> None:
        """Start an exported project on a network without a way out."""
        override = project / "override.yaml"
        override.write_text(yaml.safe_dump({"networks": {"mcp-net": {"external": True, "name": self.mark}}}))
        files = ("-f", str(project / "compose.yaml"), "-f", str(override))
        words = (str(program("compose")), *files, "--project-directory", str(project))
        self.projects.append(words)
        run(*words, "up", "-d", "--no-build")

    def close(self) -> None:
        """Remove everything."""
        for words in reversed(self.projects):
            subprocess.run([*words, "down", "--timeout", "5"], capture_output=True, timeout=120, check=False)
        subprocess.run(["docker", "network", "rm", self.mark], capture_output=True, timeout=60, check=False)
        stages = self._stages()
        subprocess.run(["docker", "rmi", "-f", *self.images], capture_output=True, timeout=120, check=False)
        subprocess.run(["docker", "rmi", *stages], capture_output=True, timeout=120, check=False) if stages else None

    def _stages(self) -> list[str]:
        """Images without a name that were built on ours: earlier stages of a Dockerfile."""
        ours = {run("docker", "image", "inspect", "-f", "{{.Id}}", image).strip() for image in self.images}
        nameless = run("docker", "images", "-q", "--no-trunc", "--filter", "dangling=true").split()
        return [one for one in nameless if ours & set(run("docker", "history", "-q", "--no-trunc", one).split())]


@pytest.fixture
def engine() -> Generator[Engine]:
    made = Engine(f"mw-{secrets.token_hex(4)}")
    run("docker", "network", "create", "--internal", made.mark)
    try:
        yield made
    finally:
        made.close()


def health(container: str, command: list[str]) -> str:
    """What the exported health check says inside a container, when it is well; waits for a start."""
    deadline = time.monotonic() + 120
    while True:
        done = subprocess.run(["docker", "exec", container, *command], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
        if time.monotonic() > deadline:
            argv = ["docker", "logs", "--tail", "20", container]
            logs = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            raise AssertionError((done.stdout, done.stderr, logs.stdout, logs.stderr))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.needs("docker", "base-image", "compose", "tbxark", "npm", "node22")
def test_the_exported_fleet_is_built_here_and_serves_its_tools_without_a_network(engine: Engine, tmp_path: Path) -> None:
    port, name = free_port(), engine.mark
    time_, memory = f"{name}-time", f"{name}-memory"
    (tmp_path / "fleet.yaml").write_text(f"""\
version: 1
proxy: {{listen: "127.0.0.1:{port}", auth: {{tokens: ["${{MCP_PROXY_TOKEN}}"]}}}}
members:
  {time_}: {{stdio: {{command: uvx, args: [mcp-server-time], env: {{API_KEY: "${{TIME_KEY}}"}}}}}}
  {memory}: {{stdio: {{command: npx, args: [-y, "@modelcontextprotocol/server-memory"]}}}}
""")
    out = tmp_path / "out"
    assert export("compose", out, tmp_path / "fleet.yaml", force=False, as_json=True) == 0
    for kind, file, called in (("go", program("tbxark"), "mcp-proxy"), ("node", program("node22").resolve(), "node")):
        (tmp_path / kind).mkdir()
        shutil.copy(file, tmp_path / kind / called)
    shutil.copytree(Path(shutil.which("npm") or "").resolve().parent.parent, tmp_path / "node" / "npm", symlinks=True)
    go, node = engine.base("go", GO_IMAGE, tmp_path / "go"), engine.base("node", NODE_IMAGE, tmp_path / "node")
    images = {"BASE": engine.base("base", PYTHON_IMAGE, tmp_path / "base"), "GO": go, "NODE": node}
    fleet = (("mcp-proxy", ("BASE", "GO")), (f"mcp-{time_}", ("BASE",)), (f"mcp-{memory}", ("BASE", "NODE")))
    for project, wanted in fleet:
        engine.build(project, out / project, *(word for key in wanted for word in ("--build-arg", f"{key}={images[key]}")))
        (out / project / ".env").write_text(f"TIME_KEY=k\nMCP_PROXY_TOKEN={TOKEN}\n")
    for project, _ in fleet:  # the proxy first: it waits for what it stands in front of
        engine.up(out / project)
    for project, tools in ((f"mcp-{time_}", "2 tools"), (f"mcp-{memory}", "9 tools"), ("mcp-proxy", "9 tools")):
        written = yaml.safe_load((out / project / "compose.yaml").read_text())["services"][project]
        assert health(project, written["healthcheck"]["test"][1:]) == tools, project
    for route, tools in ((time_, "2 tools"), (memory, "9 tools")):
        assert health("mcp-proxy", ["python3", "/healthcheck.py", f"http://127.0.0.1:{port}/{route}/sse"]) == tools
    outside = ["docker", "exec", f"mcp-{time_}", "python3", "-c", "import socket; socket.create_connection(('10.255.255.1', 9), 3)"]
    assert subprocess.run(outside, capture_output=True, timeout=60, check=False).returncode != 0, "there is no way out"
    shape = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.PortBindings}}"
    shown = run("docker", "inspect", "-f", shape, f"mcp-{time_}")
    assert shown.split() == ["10001:10001", "true", "map[]"]
