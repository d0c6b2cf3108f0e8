"""The newest clients that need no session find our entry where we write it, spelled as they read it now."""

from __future__ import annotations

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
