"""The newest clients that need no session find our entry where we write it, spelled as they read it now."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.clients import real

FLEET = """
version: 1
proxy: {{kind: gateway, listen: "127.0.0.1:{port}", auth: {{tokens: ["${{MCP_PROXY_TOKEN}}"]}}}}
members: {{time: {{stdio: {{command: mcp-server-time}}}}}}
web: false
defaults: {{check: {{interval: 1s, timeout: 10s}}}}
clients:
  - {{kind: qwen-code, hold_up: 100ms}}
  - {{kind: copilot-cli, hold_up: 100ms}}
  - {{kind: continue, hold_up: 100ms}}
  - {{kind: cline, hold_up: 100ms, allow_literal: true}}
"""
FILES = (
    ".qwen/settings.json",
    ".copilot/mcp-config.json",
    ".continue/config.yaml",
    ".cline/data/settings/cline_mcp_settings.json",
)
MODEL = """name: mine
version: 0.0.1
models:
  - {name: m, provider: openai, model: m, apiKey: x, apiBase: "http://127.0.0.1:9/v1"}
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.needs("qwen", "copilot", "cn", "cline", "node22")
def test_qwen_copilot_continue_and_cline_find_the_route_and_those_that_can_connect(tmp_path: Path) -> None:
    desk = real.Desk(tmp_path)
    home = tmp_path / "home"
    (home / ".continue").mkdir(parents=True)
    (home / ".continue" / "config.yaml").write_text(MODEL, "utf-8")
    config = tmp_path / "fleet.yaml"
    config.write_text(FLEET.format(port=real.free_port()), "utf-8")
    with real.serving(desk, ["mcpwatch", "up", "-c", str(config), "--plain"]):
        written = set[str]()
        for line in real.follow(desk, "client_file_written"):
            written.add(str(Path(line["path"]).relative_to(home)))
            if written == set(FILES):
                break
        assert real.qwen(desk) == {"time"}
        assert real.copilot(desk) == {"time"}
        assert real.cline(desk) == {"time"}
        assert real.cn(desk) >= {"get_current_time", "convert_time"}


SERVER = """
version: 1
proxy: {{kind: gateway, listen: "127.0.0.1:{port}", auth: {{tokens: ["${{MCP_PROXY_TOKEN}}"]}}}}
members: {{my-time: {{stdio: {{command: mcp-server-time}}}}}}
web: false
defaults: {{check: {{interval: 1s, timeout: 10s}}}}
clients: [{client}]
"""
TOOLS = {"get_current_time", "convert_time"}
KEY = "sk-5d0c1f7a9e3b44c8a2d6f1b07e9c3a55"


def listed_in(desk: real.Desk, client: str, *env: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """A watchdog that has written its one route into this client."""
    (desk.root / "home").mkdir(exist_ok=True)
    config = desk.root / "fleet.yaml"
    config.write_text(SERVER.format(port=real.free_port(), client=client), "utf-8")
    return real.serving(desk, ["env", *env, "mcpwatch", "up", "-c", str(config), "--plain"])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.needs("litellm")
def test_litellm_lists_the_tools_of_our_entry_under_a_name_that_it_takes(tmp_path: Path) -> None:
    desk = real.Desk(tmp_path)
    (tmp_path / "litellm.yaml").write_text("model_list: []  # mine\n", "utf-8")
    with listed_in(desk, "{kind: litellm, path: litellm.yaml, hold_up: 100ms}"):
        next(real.follow(desk, "client_file_written"))
        assert real.litellm(desk, KEY) == {"my_time": TOOLS}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.needs("open-webui")
def test_open_webui_lists_the_tools_of_our_entry(tmp_path: Path) -> None:
    desk = real.Desk(tmp_path)
    with real.open_webui(desk) as (url, key):
        client = f'{{kind: open-webui, url: "{url}", hold_up: 100ms, allow_literal: true}}'
        with listed_in(desk, client, f"OPEN_WEBUI_API_KEY={key}"):
            next(real.follow(desk, "client_file_written"))
            assert real.webui_tools(url, key) == {"my-time": TOOLS}
            (row,) = json.loads(desk.run("mcpwatch", "clients", "list", "--json"))
            assert (row["in_sync"], row["drift"]) == (True, [])
            config = tmp_path / "fleet.yaml"
            config.write_text(config.read_text("utf-8").replace("{my-time: {stdio: {command: mcp-server-time}}}", "{}"), "utf-8")
            next(fact for fact in real.follow(desk, "client_file_written") if fact["removed"])
            assert real.webui_tools(url, key) == {}
