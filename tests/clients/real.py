"""Real AI clients, run offline with a scratch HOME: each function gives the routes its client is connected to."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.patience import Patience
from tests.parts import SERVERS, program

DEADLINE = 50.0
"""Seconds for one run of one client; the slow ones need about three on an idle machine."""
TOKEN = "s3cret-tok-9f2"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Desk:
    """A scratch home and the environment of a clean machine in it: the way out leads nowhere, loopback is open."""

    root: Path

    @property
    def env(self) -> dict[str, str]:
        venv = Path(os.environ.get("VIRTUAL_ENV") or Path(__file__).parents[2] / ".venv") / "bin"
        return {
            "PATH": f"{venv}:{SERVERS}:{os.environ['PATH']}",
            "HOME": str(self.root / "home"),
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            "MCP_PROXY_TOKEN": TOKEN,
            "MCPWATCH_STATE_DIR": str(self.root / "state"),
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "HTTP_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1,localhost",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "MCP_TIMEOUT": "20000",
            "CLAUDE_CODE_MCP_STARTUP_WAIT_MS": "20000",
            "MCP_CONNECTION_NONBLOCKING": "0",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "NO_COLOR": "1",
        }

    def run(self, *argv: str, check: bool = True, without: tuple[str, ...] = ()) -> str:
        """What a program prints, on standard error if on nothing else, in the environment less the variables in `without`."""
        env = {name: value for name, value in self.env.items() if name not in without}
        done = subprocess.run(argv, env=env, cwd=self.root, input="", capture_output=True, text=True, timeout=DEADLINE)
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}: {done.stdout}\n{done.stderr}"
        return done.stdout or done.stderr

    def lines(self, *argv: str, said: str = "") -> Generator[str]:
        """The lines of a program, which is ended when no more are asked for; bounded by `DEADLINE`."""
        process = subprocess.Popen(
            argv, env=self.env, cwd=self.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdin
        assert process.stdout
        alarm = subprocess.Popen(["sh", "-c", f"sleep {DEADLINE}; kill -9 {process.pid}"])
        try:
            process.stdin.write(said)
            process.stdin.flush()
            if not said:
                process.stdin.close()
            yield from process.stdout
        finally:
            alarm.kill()
            alarm.wait()
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def claude(desk: Desk) -> set[str]:
    """By `claude mcp list` and by the init event of `claude -p`, which must agree."""
    listed = set(re.findall(r"^(\S+): .* - ✔ Connected$", desk.run(str(program("claude")), "mcp", "list"), re.MULTILINE))
    argv = (str(program("claude")), "-p", "hi", "--output-format", "stream-json", "--verbose")
    events = (json.loads(line) for line in desk.lines(*argv))
    begun = next(event for event in events if event.get("subtype") == "init")
    events.close()
    servers = {server["name"]: server["status"] for server in begun["mcp_servers"]}
    assert servers == dict.fromkeys(listed, "connected"), f"{servers} by -p, {listed} by mcp list"
    return listed


def gemini(desk: Desk) -> set[str]:
    """It would ask the proxy of the environment for loopback too."""
    text = desk.run(str(program("gemini")), "mcp", "list", without=("HTTP_PROXY", "HTTPS_PROXY"))
    return set(re.findall(r"✓ (\S+): ", text))


def codex(desk: Desk) -> set[str]:
    """By the app server's `mcpServerStatus/list`: a server that is down has no tools."""
    asked: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": {"clientInfo": {"name": "mcpwatch", "version": "0"}}},
        {"method": "initialized"},
        {"id": 2, "method": "mcpServerStatus/list", "params": {}},
    ]
    answers = (
        json.loads(line)
        for line in desk.lines(str(program("codex")), "app-server", said="".join(f"{json.dumps(m)}\n" for m in asked))
    )
    answer = next(answer for answer in answers if answer.get("id") == 2)
    answers.close()
    return {server["name"] for server in answer["result"]["data"] if server["tools"]}


def opencode(desk: Desk) -> set[str]:
    text = re.sub(r"\x1b\[[0-9;]*m", "", desk.run(str(program("opencode")), "mcp", "list"))
    return set(re.findall(r"✓ (\S+)", text))


def node22(desk: Desk, part: str, *argv: str, check: bool = True) -> str:
    """What a program prints that needs a newer node than a machine may have; it would ask the proxy for loopback too."""
    run = (str(program("node22")), str(program(part).resolve()), *argv)
    return desk.run(*run, check=check, without=("HTTP_PROXY", "HTTPS_PROXY"))


def qwen(desk: Desk) -> set[str]:
    """Connected with the token of the environment."""
    return set(re.findall(r"✓\S* (\S+): .* - Connected", node22(desk, "qwen", "mcp", "list")))


def copilot(desk: Desk) -> set[str]:
    """Listed and enabled; it connects only in a session, which needs an account."""
    listed = re.findall(r"^  (\S+) \(sse\)$", node22(desk, "copilot", "mcp", "list"), re.MULTILINE)
    return {name for name in listed if "Status: Enabled" in node22(desk, "copilot", "mcp", "get", name)}


def cline(desk: Desk) -> set[str]:
    """Listed; it connects only in a session, which needs an account."""
    return set(re.findall(r"^  (\S+) \[sse\]$", desk.run(str(program("cline")), "config", "mcp"), re.MULTILINE))


def cn(desk: Desk) -> set[str]:
    """The tools that `cn -p` offers its model, by its log; the model itself cannot be reached."""
    node22(desk, "cn", "-p", "--verbose", "hi", check=False)
    log = (desk.root / "home" / ".continue" / "logs" / "cn.log").read_text("utf-8")
    return set(json.loads(re.findall(r'"toolNames":(\[[^\]]*\])', log)[-1]))


def mcpo(desk: Desk) -> set[str]:
    """By the description of mcpo's own API, which names what is connected."""
    port = free_port()
    argv = [str(program("mcpo")), "--host", "127.0.0.1", "--port", str(port), "--config", str(desk.root / "mcpo.json")]
    with serving(desk, argv) as process:
        text = fetched(f"http://127.0.0.1:{port}/openapi.json", process)
    return set(re.findall(r"\[([\w.-]+)\]\(/", json.loads(text)["info"]["description"]))


def inspector(desk: Desk) -> set[str]:
    """Every server of a file in Claude's format, asked for its tools one by one."""
    file = desk.root / "inspector.json"
    names = set(json.loads(file.read_text("utf-8"))["mcpServers"])
    argv = (str(program("node22")), str(program("inspector").resolve()), "--cli", "--config", str(file), "--method", "tools/list")
    return {name for name in names if json.loads(desk.run(*argv, "--server", name, check=False) or "{}").get("tools")}


def litellm(desk: Desk, key: str) -> dict[str, set[str]]:
    """By server, the tools that LiteLLM's own endpoint of all of them lists; it joins both names with a dash."""
    port = free_port()
    argv = [str(program("litellm")), "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
    quiet = ["env", "LITELLM_LOCAL_MODEL_COST_MAP=True", f"LITELLM_MASTER_KEY={key}", *argv, "--telemetry", "False"]
    found: dict[str, set[str]] = {}
    with serving(desk, quiet) as process:
        fetched(f"http://127.0.0.1:{port}/health/liveliness", process)
        for tool in json.loads(asked(f"http://127.0.0.1:{port}/v1/mcp/tools", key))["tools"]:
            server, _, name = tool["name"].partition("-")
            found.setdefault(server, set()).add(name)
    return found


@contextmanager
def open_webui(desk: Desk) -> Generator[tuple[str, str]]:
    """A real Open WebUI on an empty database: where it answers, and the key of its admin."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    off = ("ENABLE_OLLAMA_API", "ENABLE_OPENAI_API", "ANONYMIZED_TELEMETRY", "ENABLE_VERSION_UPDATE_CHECK")
    on = ("OFFLINE_MODE", "HF_HUB_OFFLINE", "BYPASS_EMBEDDING_AND_RETRIEVAL", "DO_NOT_TRACK")
    env = [*(f"{name}=false" for name in off), *(f"{name}=true" for name in on), f"WEBUI_SECRET_KEY={TOKEN * 4}"]
    argv = ["env", *env, f"DATA_DIR={desk.root / 'webui'}", "RAG_EMBEDDING_ENGINE=openai", str(program("open-webui"))]
    with serving(desk, [*argv, "serve", "--host", "127.0.0.1", "--port", str(port)]) as process:
        fetched(f"{url}/health", process)
        admin = {"name": "a", "email": "a@example.com", "password": TOKEN}
        yield url, json.loads(asked(f"{url}/api/v1/auths/signup", "", admin))["token"]


def webui_tools(url: str, key: str) -> dict[str, set[str]]:
    """By tool server of Open WebUI, the tools that it lists itself when it is told to try the entry that it keeps."""
    kept = json.loads(asked(f"{url}/api/v1/configs/tool_servers", key))["TOOL_SERVER_CONNECTIONS"]
    return {entry["info"]["id"]: _tried(f"{url}/api/v1/configs/tool_servers/verify", key, entry) for entry in kept}


def _tried(url: str, key: str, entry: object) -> set[str]:
    """It gives up by itself on a machine that is slow, and says no more than that it could not."""
    patience = Patience(DEADLINE, tuple)
    while True:
        try:
            return {tool["name"] for tool in json.loads(asked(url, key, entry))["specs"]}
        except urllib.error.HTTPError as error:
            if error.code != 400 or patience.over():
                raise AssertionError(f"{error}: {error.read()}") from error


def asked(url: str, key: str, body: object = None) -> str:
    """The answer to a request with a key."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=DEADLINE) as answer:
        return answer.read().decode()


def follow(desk: Desk, kind: str) -> Generator[dict[str, Any]]:
    """Every fact of a kind, those before included, as it happens; once the watchdog answers."""
    while not (desk.root / "state" / "control.sock").exists():
        os.sched_yield()
    lines = desk.lines("mcpwatch", "events", "-f", "--json")
    try:
        yield from (fact for line in lines if (fact := json.loads(line))["fact"] == kind)
    finally:
        lines.close()


CLIENTS = {"claude": claude, "gemini": gemini, "codex": codex, "opencode": opencode, "mcpo": mcpo, "inspector": inspector}


@contextmanager
def serving(desk: Desk, argv: list[str]) -> Generator[subprocess.Popen[bytes]]:
    with (desk.root / "out.log").open("ab") as log:
        process = subprocess.Popen(argv, env=desk.env, cwd=desk.root, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=DEADLINE)


def fetched(url: str, process: subprocess.Popen[bytes]) -> str:
    """What `url` answers, once it does; the wait ends when the process does, or had its time."""
    patience = Patience(DEADLINE, lambda: [process.pid])
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, "it ended before it answered"
            assert not patience.over(), f"{url} never answered"
            time.sleep(0.1)
