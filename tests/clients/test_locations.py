"""Where each client's file is: per platform, scope and environment; and which clients a machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from mcpwatch.clients.catalog import CLIENTS, ClientsSection, made
from mcpwatch.clients.detect import detect
from mcpwatch.clients.location import Machine
from tests.parts import ROOT

HOME = Path("/home/me")


def where(platform: str = "linux", env: dict[str, str] | None = None, **written: Any) -> tuple[str, ...]:
    client = made(written)
    return tuple(str(path) for path in client.adapter.locate(client.spec, HOME, platform, env or {}))


@pytest.mark.parametrize(
    ("written", "platform", "expected"),
    [
        ({"kind": "claude-code"}, "linux", "/home/me/.claude.json"),
        ({"kind": "claude-code", "scope": "project", "project": "~/src"}, "linux", "/home/me/src/.mcp.json"),
        ({"kind": "claude-code", "scope": "mcp-settings"}, "linux", "/home/me/.config/claude/mcp-settings.json"),
        ({"kind": "claude-desktop"}, "darwin", "/home/me/Library/Application Support/Claude/claude_desktop_config.json"),
        ({"kind": "vscode"}, "linux", "/home/me/.config/Code/User/mcp.json"),
        ({"kind": "vscode"}, "darwin", "/home/me/Library/Application Support/Code/User/mcp.json"),
        ({"kind": "vscode", "scope": "settings"}, "linux", "/home/me/.config/Code/User/settings.json"),
        ({"kind": "codex-cli", "scope": "system"}, "linux", "/etc/codex/config.toml"),
        ({"kind": "goose"}, "win32", "/home/me/AppData/Roaming/Block/goose/config/config.yaml"),
        ({"kind": "zed", "path": "~/z.json"}, "linux", "/home/me/z.json"),
    ],
)
def test_a_file_is_where_its_client_looks(written: dict[str, Any], platform: str, expected: str) -> None:
    assert where(platform, **written)[-1] == expected


def test_the_environment_moves_a_file_as_it_does_for_the_client() -> None:
    assert where(env={"CLAUDE_CONFIG_DIR": "/c"}, kind="claude-code") == ("/c/.config.json", "/c/.claude.json")
    assert where(env={"CODEX_HOME": "/x"}, kind="codex-cli") == ("/x/config.toml",)
    assert where(env={"XDG_CONFIG_HOME": "/xdg"}, kind="opencode")[0] == "/xdg/opencode/opencode.jsonc"


def test_of_several_candidates_the_one_that_is_there_is_meant(tmp_path: Path) -> None:
    machine = Machine(home=tmp_path, platform="linux", env={})
    client = made({"kind": "windsurf"})
    assert machine.locate(client) == tmp_path / ".config/devin/mcp_config.json"
    old = tmp_path / ".codeium/windsurf/mcp_config.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}", "utf-8")
    assert machine.locate(client) == old


def test_detect_offers_lines_that_the_configuration_takes(tmp_path: Path) -> None:
    (tmp_path / ".claude.json").write_text("{}", "utf-8")
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".lmstudio").mkdir()
    found = detect(Machine(home=tmp_path, platform="linux", env={}))
    assert [(item.kind, item.exists) for item in found] == [("claude-code", True), ("codex-cli", False), ("lmstudio", False)]
    assert found[0].yaml == "- {kind: claude-code}"
    assert found[2].yaml == "- {kind: lmstudio, allow_literal: true}"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([{"kind": "vscod"}], "unknown client 'vscod'; did you mean 'vscode'?"),
        ([{"path": "x"}], "needs 'kind'"),
        ([{"kind": "claude-code", "policy": "disable"}], "claude-code has no way to disable an entry; use remove or keep"),
        ([{"kind": "cursor", "scope": "project"}], "scope: project needs 'project: DIRECTORY'"),
        ([{"kind": "gemini-cli", "scope": "extension", "policy": "disable"}], "an extension cannot disable its servers"),
        ([{"kind": "mcpo"}], "path"),
        ([{"kind": "zed", "hold_up": "soon"}], "is not a duration"),
        ([{"kind": "zed", "prefix": "a b"}], "prefix"),
    ],
)
def test_what_cannot_be_is_refused_in_words(written: list[Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ClientsSection.model_validate(written)
    assert said in str(caught.value)


def test_the_example_names_every_kind_and_is_taken() -> None:
    written = yaml.safe_load((ROOT / "examples" / "clients.yaml").read_text("utf-8"))["clients"]
    assert {client.spec.kind for client in ClientsSection.model_validate(written).made()} == {kind.name for kind in CLIENTS}


@pytest.mark.parametrize("kind", CLIENTS, ids=lambda kind: kind.name)
def test_every_kind_says_where_it_is_and_when_a_change_takes_effect(kind: Any) -> None:
    adapter = kind.make(None).adapter
    assert adapter.reload
    assert adapter.remote or adapter.stdio
    assert bool(getattr(kind.spec, "can_disable", False)) == (adapter.disabled is not None)
    assert set(kind.spec.model_fields["scope"].annotation.__args__) == set(adapter.places)
