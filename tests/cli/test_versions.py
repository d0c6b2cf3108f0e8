"""Every foreign program of a fleet is held against one table: `doctor` names it, `up` refuses an old proxy, `export` warns."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.doctor.run import examine
from mcpwatch.cli.export.write import export
from mcpwatch.cli.up import run_here
from mcpwatch.cli.versions import asked
from mcpwatch.foreign.programs import PROGRAMS, program, version_of
from mcpwatch.model.errors import ConfigError
from tests.parts import program as part

STDIO = {"time": {"stdio": {"command": "python3"}}}


@pytest.fixture(autouse=True)
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    return tmp_path / "fleet.yaml"


def put(directory: Path, name: str, said: str) -> None:
    """A program that says this whatever it is asked."""
    file = directory / "bin" / name
    file.write_text(f"#!/bin/sh\necho '{said}'\n")
    file.chmod(0o755)


def write(file: Path, data: dict[str, Any]) -> None:
    file.write_text(json.dumps({"version": 1, "web": False, **data}))
    file.chmod(0o600)


def old(file: Path) -> list[str]:
    return [finding.what for finding in examine(file) if finding.check == "versions"]


def launched(command: str, *args: str) -> dict[str, Any]:
    return {"members": {"a": {"stdio": {"command": command, "args": list(args)}}}}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v20.20.2", (20, 20, 2)), ("18", (18, 0, 0)), ("uv 0.9.1 (1f2e 2026-01-01)", (0, 9, 1)), ("mcp-proxy 0.13.0", (0, 13, 0)),
        ("Docker Compose version 2.26.1-4", (2, 26, 1)), ("podman version 5.4.2\n", (5, 4, 2)), ("dev", ()), ("", ()),
        ("usage: mcp-proxy [--host 127.0.0.1]", ()), ("error: unknown option 1.2", ()),
    ],
)  # fmt: skip
def test_a_version_is_read_as_programs_tell_it_and_nothing_else_is(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version


def test_every_oldest_version_of_the_table_is_new_enough_and_the_one_before_it_is_not() -> None:
    for one in PROGRAMS:
        major, minor, _ = version_of(one.oldest)
        assert one.too_old(f"{one.key} {one.oldest}.0") == ""
        before = f"{major}.{minor - 1}.9" if minor else f"{major - 1}.9.9"
        assert one.too_old(before) == f"{one.name} {before} is older than {one.oldest}"
        assert one.lacks


@pytest.mark.parametrize(
    ("name", "data", "said", "found"),
    [
        ("mcp-proxy", {"proxy": {"kind": "tbxark"}, "members": STDIO}, "v0.39.1", "mcp-proxy 0.39.1 is older than 0.40"),
        ("mcp-proxy", {"proxy": {"kind": "tbxark"}, "members": STDIO}, "v0.43.2", ""),
        (
            "mcp-proxy",
            {"proxy": {"kind": "tbxark"}, "members": STDIO},
            "-config string",
            "does not know -expand-env",
        ),
        ("mcp-proxy", {"proxy": {"kind": "tbxark"}, "members": STDIO}, "-config string -expand-env", ""),
        ("mcp-proxy", {"proxy": {"kind": "sparfenyuk"}, "members": STDIO}, "mcp-proxy 0.7.0", "0.7.0 is older than 0.8"),
        (
            "mcp-proxy",
            {"proxy": {"kind": "sparfenyuk"}, "members": STDIO},
            "usage: [--port]",
            "does not know --named-server-config",
        ),
        ("mcp-proxy", {"proxy": {"kind": "sparfenyuk"}, "members": STDIO}, "mcp-proxy 0.13.0", ""),
        ("mcp-proxy", {"proxy": {"kind": "sparfenyuk"}, "members": STDIO}, "", ""),
        ("node", launched("npx", "-y", "a@1.0.0"), "v16.20.0", "Node.js 16.20.0 is older than 18"),
        ("uv", launched("uvx", "a==1.0"), "uv 0.3.5", "uv 0.3.5 is older than 0.4"),
        ("supergateway", launched("supergateway", "--stdio", "x"), "2.8.3", "supergateway 2.8.3 is older than 3.0"),
        ("node", launched("npx", "-y", "mcp-remote@0.1.15", "http://x"), "v22.1.0", "mcp-remote 0.1.15 is older than 0.1.16"),
        ("node", launched("npx", "-y", "supergateway@2.0.1"), "v22.1.0", "supergateway 2.0.1 is older than 3.0"),
        ("node", launched("npx", "-y", "mcp-remote@0.15.1", "http://x"), "v22.1.0", ""),
    ],
)
def test_a_program_that_is_too_old_is_named_once_and_one_that_tells_nothing_is_not(
    name: str, data: dict[str, Any], said: str, found: str, fleet: Path, tmp_path: Path
) -> None:
    for launcher in ("npx", "uvx"):
        put(tmp_path, launcher, "")
    put(tmp_path, name, said)
    write(fleet, data)
    named = old(fleet)
    assert len(named) == bool(found)
    assert found in "".join(named)


def test_a_program_that_fails_when_it_is_asked_says_nothing_of_its_version(fleet: Path, tmp_path: Path) -> None:
    put(tmp_path, "mcp-proxy", "Traceback: no such option")
    script = tmp_path / "bin" / "mcp-proxy"
    script.write_text(script.read_text(encoding="utf-8") + "\nexit 2\n", encoding="utf-8")
    write(fleet, {"proxy": {"kind": "tbxark"}, "members": STDIO})
    assert old(fleet) == []


def test_up_refuses_a_fleet_whose_proxy_is_too_old_before_anything_starts(fleet: Path, tmp_path: Path) -> None:
    put(tmp_path, "mcp-proxy", "v0.39.1")
    write(fleet, {"proxy": {"kind": "tbxark"}, "members": STDIO})
    with pytest.raises(ConfigError, match=r"TBXark/mcp-proxy 0\.39\.1 is older than 0\.40; see 'mcpwatch doctor'"):
        run_here(fleet, plain=True, log_format="auto", watch=False)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("form", "name", "said", "told"),
    [
        ("compose", "docker-compose", "1.29.2", "! Docker Compose 1.29.2 is older than 2.0"),
        ("compose", "docker-compose", "2.26.1", ""),
        ("quadlet", "podman", "podman version 4.9.3", "! Podman 4.9.3 is older than 5.2"),
    ],
)
def test_an_export_names_a_program_of_this_machine_that_is_too_old_to_run_it(
    form: Any, name: str, said: str, told: str, fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "docker", "")
    put(tmp_path, name, said)
    write(fleet, {"members": STDIO})
    assert export(form, tmp_path / "out", fleet, force=False, as_json=False) == 0
    out = capsys.readouterr().out
    assert told in out
    assert ("is older than" in out) == bool(told)


@pytest.mark.slow
@pytest.mark.needs("tbxark", "sparfenyuk", "npm", "compose", "quadlet", "mcp-remote", "node")
def test_the_real_programs_of_this_machine_tell_their_versions_and_are_new_enough() -> None:
    supergateway = part("mcp-remote").with_name("supergateway")
    real = {
        "sparfenyuk": part("sparfenyuk"), "npx": part("node"), "compose": part("compose"), "podman": part("quadlet"),
        "mcp-remote": part("mcp-remote"), "supergateway": supergateway,
    }  # fmt: skip
    for key, where in real.items():
        said = asked([str(where), *program(key).ask])
        assert version_of(said), (key, said)
        assert program(key).too_old(said) == "", key
    assert "-expand-env" in asked([str(part("tbxark")), "--help"])


def test_an_old_compose_beside_one_that_does_is_not_named(fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "docker", "2.26.1")
    put(tmp_path, "docker-compose", "1.29.2")
    write(fleet, {"members": STDIO})
    assert export("compose", tmp_path / "out", fleet, force=False, as_json=False) == 0
    assert "is older than" not in capsys.readouterr().out
