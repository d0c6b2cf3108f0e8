"""An exported fleet runs without mcpwatch: accepted by each program it is for, no secret in it, the same bytes each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcpwatch.cli.export.parts import HEALTHCHECK
from mcpwatch.cli.export.service import fleet
from mcpwatch.cli.export.write import FORMATS, export, rendered
from mcpwatch.model.errors import UsageError
from tests.e2e.daemon import free_port
from tests.parts import program, server

SECRET = "literal-secret-1"
FLEET = f"""\
version: 1
proxy: {{listen: "127.0.0.1:9090", auth: {{tokens: ["${{MCP_PROXY_TOKEN}}"]}}}}
members:
  time: {{description: The time, stdio: {{command: uvx, args: [mcp-server-time], env: {{API_KEY: "${{TIME_KEY}}", B: "x y"}}}}}}
  memory: {{stdio: {{command: npx, args: [-y, "@modelcontextprotocol/server-memory"]}}}}
  git: {{stdio: {{command: mcp-server-git, env: {{TOKEN: {SECRET}}}}}, tools: {{allow: [git_log]}}}}
  pg:
    docker:
      image: crystaldba/postgres-mcp:0.3.0
      command: [--transport=sse]
      environment: {{DATABASE_URI: "${{DATABASE_URI}}"}}
      networks: [mcp-net]
    url: http://mcp-pg:8686/sse
  far: {{url: "http://10.0.0.7:8585/sse"}}
  local: {{process: {{command: x}}, url: "http://127.0.0.1:1/sse"}}
  off: {{stdio: {{command: x}}, enabled: false}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


@pytest.mark.sample(1)
@pytest.mark.parametrize("form", FORMATS)
def test_a_format_holds_no_secret_and_is_the_same_each_time(form: Any, file: Path, tmp_path: Path) -> None:
    found, texts = rendered(form, file)
    assert rendered(form, file)[1] == texts
    assert SECRET not in "".join(texts.values())
    assert found.left == (
        ("local", "a process of this machine has no container; give it 'docker:' or 'stdio:'"),
        ("off", "it is switched off"),
    )
    assert export(form, tmp_path / "out", file, force=False, as_json=False) == 0
    assert {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()} == set(texts)
    with pytest.raises(UsageError, match="is not empty"):
        export(form, tmp_path / "out", file, force=False, as_json=False)
    assert export(form, tmp_path / "out", file, force=True, as_json=False) == 0


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("members", "words"),
    [
        ("{}", "has no server to export; add one with: mcpwatch add"),
        ("{a: {stdio: {command: x}, enabled: false}}", "a: it is switched off"),
    ],
)
def test_a_fleet_without_a_server_is_refused_and_writes_nothing(form: Any, members: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(f"version: 1\nproxy: {{listen: 127.0.0.1:9090}}\nmembers: {members}\n")
    with pytest.raises(UsageError, match=words):
        export(form, tmp_path / "out", tmp_path / "fleet.yaml", force=False, as_json=False)
    assert not (tmp_path / "out").exists()


def test_force_replaces_an_export_and_nothing_else_and_keeps_env_files_that_were_filled_in(file: Path, tmp_path: Path) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine"
    export("compose", out, file, force=False, as_json=True)
    (out / "mcp-time" / ".env").write_text("KEY=filled\n")
    (out / "mcp-time" / ".env").chmod(0o600)
    (out / "mcp-gone").mkdir()
    (out / "mcp-gone" / "compose.yaml").write_text("old")
    assert export("compose", out, file, force=True, as_json=True) == 0
    assert (out / "mcp-time" / ".env").read_text() == "KEY=filled\n"
    assert (out / "mcp-time" / ".env").stat().st_mode & 0o777 == 0o600
    assert not (out / "mcp-gone").exists()
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    (tmp_path / "link").symlink_to(out)
    for place, words in (
        (mine, "other files than an export"),
        (file, "is not a directory"),
        (tmp_path / "link", "is not a directory"),
    ):
        with pytest.raises(UsageError, match=words):
            export("compose", place, file, force=True, as_json=True)
    with pytest.raises(UsageError, match="cannot be written"):
        export("compose", Path("/proc/none/out"), file, force=False, as_json=True)
    assert (mine / "thesis.txt").read_text() == "years"
    assert [path.name for path in tmp_path.glob(".*")] == [], "nothing beside it"


def test_manifests_are_written_out_for_people_to_read(file: Path) -> None:
    """No anchors, and the proxy's file as a block of lines."""
    text = rendered("kubernetes", file)[1]["mcp-proxy/mcp-proxy.yaml"]
    assert "&id" not in text
    assert '  config.json: |\n    {\n      "mcpProxy": {\n' in text


def test_a_container_is_locked_down_and_only_the_proxy_has_a_port(file: Path) -> None:
    texts = rendered("compose", file)[1]
    for name in ("time", "memory", "git", "proxy"):
        service = yaml.safe_load(texts[f"mcp-{name}/compose.yaml"])["services"][f"mcp-{name}"]
        assert (service["read_only"], service["user"], service["cap_drop"]) == (True, "10001:10001", ["ALL"])
        assert service["mem_limit"] == "256m"
        assert service["logging"]["options"]["max-size"] == "10m"
        assert service["healthcheck"]["test"][1] == "python3"
        assert ("ports" in service) == (name == "proxy")
    assert yaml.safe_load(texts["mcp-time/compose.yaml"])["networks"] == {"mcp-net": {"external": True}}


def test_a_tool_is_installed_beforehand_with_its_version(file: Path) -> None:
    texts = rendered("compose", file)[1]
    assert "RUN pip install --no-cache-dir --disable-pip-version-check mcp-proxy==0.13.0\n" in texts["mcp-time/Dockerfile"]
    assert (
        "/opt/server/bin/pip install --no-cache-dir --disable-pip-version-check mcp-server-time==" in texts["mcp-time/Dockerfile"]
    )
    assert "npm install --omit=dev --no-audit --no-fund @modelcontextprotocol/server-memory@" in texts["mcp-memory/Dockerfile"]
    command = yaml.safe_load(texts["mcp-memory/compose.yaml"])["services"]["mcp-memory"]["command"]
    assert command[-3:] == ["npx", "--no", "@modelcontextprotocol/server-memory"]


def test_the_proxy_is_told_where_each_member_is(file: Path) -> None:
    config = json.loads(rendered("compose", file)[1]["mcp-proxy/config.json"])
    assert config["mcpProxy"]["options"]["authTokens"] == ["${MCP_PROXY_TOKEN}"]
    assert {name: one["url"] for name, one in config["mcpServers"].items()} == {
        "far": "http://10.0.0.7:8585/sse",
        "git": "http://mcp-git:8080/sse",
        "memory": "http://mcp-memory:8080/sse",
        "pg": "http://mcp-pg:8686/sse",
        "time": "http://mcp-time:8080/sse",
    }
    assert config["mcpServers"]["git"]["options"] == {"toolFilter": {"mode": "allow", "list": ["git_log"]}}


def test_what_is_of_this_machine_alone_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fleet.yaml"
    stdio = {"command": "mcp-server-git", "args": ["--repository", "/srv/a repo", "--db=/var/x.db", "/n\nRUN x", "https://h/p"]}
    members = {
        "git": {"stdio": {**stdio, "env": {"HOME_OF": "/home/me", "API_TOKEN": "/secret-1234567890", "U": "http://x/y"}}},
        "near": {"url": "http://127.0.0.1:7/sse"}, "six": {"url": "http://[::1]:7/mcp"}, "far": {"url": "http://10.0.0.7/sse"},
    }  # fmt: skip
    file.write_text(json.dumps({"version": 1, "members": members}))
    assert export("compose", tmp_path / "out", file, force=False, as_json=False) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("! ")]
    loopback = "is on loopback, which in a container is the container; write where it is reached from there"
    assert said == [
        "! git: it names /home/me, /srv/a repo, /var/x.db of the old machine: see that it is there where it runs now",
        f"! proxy: near: http://127.0.0.1:7/sse {loopback}",
        f"! proxy: six: http://[::1]:7/mcp {loopback}",
    ]
    readme = (tmp_path / "out" / "mcp-proxy" / "README.md").read_text()
    assert "- near: http://127.0.0.1:7/sse is on loopback" in readme


def test_every_kubernetes_object_is_whole(file: Path) -> None:
    texts = rendered("kubernetes", file)[1]
    for name in ("time", "memory", "git", "pg", "proxy"):
        objects = {one["kind"]: one for one in yaml.safe_load_all(texts[f"mcp-{name}/mcp-{name}.yaml"])}
        assert {"Deployment", "Service"} <= set(objects)
        spec = objects["Deployment"]["spec"]
        pod = spec["template"]["spec"]
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert pod["containers"][0]["resources"]["limits"]["memory"] == "256Mi"
    time_ = next(yaml.safe_load_all(texts["mcp-time/mcp-time.yaml"]))["spec"]["template"]["spec"]["containers"][0]
    assert time_["env"][0] == {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "mcp-time", "key": "TIME_KEY"}}}


@pytest.mark.needs("kubernetes-schema")
def test_the_published_schema_of_kubernetes_accepts_each_manifest(file: Path, tmp_path: Path) -> None:
    export("kubernetes", tmp_path / "out", file, force=False, as_json=True)
    manifests = sorted(str(path) for path in (tmp_path / "out").glob("*/*.yaml"))
    assert len(manifests) == 5
    argv = [str(program("kubernetes-schema")), "--strict", "-k", "1.33"]
    done = subprocess.run([*argv, *manifests], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "broken.yaml"
    broken.write_text(Path(manifests[0]).read_text().replace("containerPort:", "containerProt:"))
    assert subprocess.run([*argv, str(broken)], capture_output=True, timeout=60).returncode != 0, "the schema is strict"


@pytest.mark.needs("systemd-analyze")
def test_systemd_verifies_each_unit_and_a_shell_each_install_script(file: Path, tmp_path: Path) -> None:
    export("systemd", tmp_path / "out", file, force=False, as_json=True)
    units = sorted(str(path) for path in (tmp_path / "out").glob("*/*.service"))
    assert len(units) == 4
    done = subprocess.run([program("systemd-analyze"), "verify", *units], capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if "/mcp-" in line or line.startswith("mcp-")]
    assert len(said) == len(units) - 1, "the proxy's unit begins with the Python of this machine"
    assert all("is not executable: No such file" in line for line in said), "nothing but that it is not installed here"
    for script in (tmp_path / "out").glob("*/install.sh"):
        subprocess.run(["sh", "-n", str(script)], check=True, timeout=60)


@pytest.mark.needs("compose")
def test_docker_compose_accepts_each_project(file: Path, tmp_path: Path) -> None:
    export("compose", tmp_path / "out", file, force=False, as_json=True)
    for project in sorted((tmp_path / "out").glob("mcp-*")):
        text = (project / ".env.example").read_text()
        (project / ".env").write_text(text.replace("=\n", "=x\n"))
        done = subprocess.run([program("compose"), "config", "--quiet"], cwd=project, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), project.name


@pytest.mark.needs("quadlet")
def test_podman_reads_each_unit(file: Path, tmp_path: Path) -> None:
    export("quadlet", tmp_path / "out", file, force=False, as_json=True)
    env = {**os.environ, "QUADLET_UNIT_DIRS": str(tmp_path / "out")}
    done = subprocess.run([program("quadlet"), "-dryrun"], env=env, capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "arning" not in said
    assert all(f"---mcp-{name}.service---" in said for name in ("time", "memory", "git", "pg", "proxy"))


@pytest.mark.slow
@pytest.mark.needs("sparfenyuk", "tbxark")
def test_the_exported_bridge_and_proxy_serve_their_tools(tmp_path: Path) -> None:
    document = {"proxy": {"listen": f"127.0.0.1:{free_port()}", "auth": {"tokens": ["${MCP_PROXY_TOKEN}"]}}}
    found = fleet(document, {"time": {"stdio": {"command": str(server("mcp-server-time")), "env": {"LANG": "C"}}}})
    port, bridge = free_port(), found.services[0]
    words = ["127.0.0.1" if word == "0.0.0.0" else str(port) if word == "8080" else word for word in bridge.command]
    (tmp_path / "config.json").write_text(found.proxy.config.replace("http://mcp-time:8080/", f"http://127.0.0.1:{port}/"))
    (tmp_path / "healthcheck.py").write_text(HEALTHCHECK)
    path = f"{server('mcp-server-time').parent}{os.pathsep}{os.environ['PATH']}"  # in its image the server is on PATH
    env = {**os.environ, "PATH": path, "MCP_PROXY_TOKEN": "tok-of-the-export"}
    processes: list[subprocess.Popen[bytes]] = []

    def well(url: str, token: str = "") -> str:
        deadline = time.monotonic() + 40
        while True:
            argv = [sys.executable, str(tmp_path / "healthcheck.py"), url]
            done = subprocess.run(argv, env={**env, "HEALTHCHECK_TOKEN": token}, capture_output=True, text=True, timeout=30)
            if done.returncode == 0 or time.monotonic() > deadline:
                return done.stdout.strip() or done.stderr

    with (tmp_path / "out.txt").open("wb") as output:
        try:
            processes.append(subprocess.Popen([program("sparfenyuk"), *words[1:]], env=env, stdout=output, stderr=output))
            assert well(f"http://127.0.0.1:{port}/sse") == "2 tools"
            argv = [program("tbxark"), "-config", str(tmp_path / "config.json")]
            processes.append(subprocess.Popen(argv, env=env, stdout=output, stderr=output))
            url = f"http://127.0.0.1:{found.proxy.port}{found.proxy.path}"
            assert well(url, "tok-of-the-export") == "2 tools"
            argv = [sys.executable, str(tmp_path / "healthcheck.py"), url]
            assert subprocess.run(argv, env=env, capture_output=True, timeout=30).returncode == 1, "no token, no health"
        finally:
            for process in processes:
                process.terminate()
                process.wait(20)
