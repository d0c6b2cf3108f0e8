"""`list` and `export` of a file with a fault anywhere: told with its line, exit 3; what is right is still listed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.edit.listing import list_members
from mcpwatch.cli.export.write import FORMATS, export
from mcpwatch.model.errors import ConfigError, McpwatchError

GOOD: dict[str, Any] = {
    "version": 1,
    "env_file": "absent.env",
    "proxy": {"listen": "127.0.0.1:9090", "auth": {"tokens": ["${UNSET_TOKEN}"]}},
    "members": {
        "a": {"stdio": {"command": "absent", "args": ["x"], "env": {"K": "${UNSET}"}, "cwd": "absent"}, "start_grace": "1m"},
        "b": {"docker": {"image": "x:1", "networks": ["n"], "environment": {"K": "v"}}, "url": "http://127.0.0.1:1/sse"},
        "c": {"url": "http://127.0.0.1:2/mcp", "enabled": True, "depends_on": ["a"]},
        "d": {"stdio": {"command": "absent"}, "bridge": {"listen": "127.0.0.1:9072"}, "tools": {"allow": ["t"]}},
    },
}
WRONG: tuple[Any, ...] = (7, "text", [1], {"x": 1}, None, [], {})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside a document."""
    found: Any = value
    for key, item in found.items() if isinstance(value, dict) else enumerate(found) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The good fleet with this at the path."""
    made = copy.deepcopy(GOOD)
    inside: Any = made
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    return made


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "fleet.json"


def faults(file: Path, form: Any) -> tuple[str, ...]:
    """What `list` and `export` refuse the file for: the same."""
    listed = told(lambda: list_members(file, "json"))
    exported = told(lambda: export(form, file.parent / "out", file, force=True, as_json=True))
    assert exported == listed or "has no server to export" in exported[0]
    return listed


def told(work: Callable[[], int]) -> tuple[str, ...]:
    """What a command was refused for."""
    try:
        assert work() == 0
    except McpwatchError as error:
        return tuple(str(error).splitlines())
    return ()


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_is_right_on_a_machine_that_has_nothing_of_what_it_names(form: Any, file: Path) -> None:
    file.write_text(json.dumps(GOOD))
    assert faults(file, form) == ()


@pytest.mark.sample(4)
@pytest.mark.parametrize("path", list(places(GOOD)), ids=lambda path: ".".join(map(str, path)))
def test_whatever_stands_in_a_place_it_is_taken_or_told_with_file_and_line(
    path: tuple[Any, ...], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in WRONG:
        file.write_text(json.dumps(changed(path, value), indent=1))
        for fault in faults(file, "compose"):
            assert fault.startswith(f"{file}:"), (value, fault)
        capsys.readouterr()


def test_a_faulty_member_is_listed_as_such_beside_the_right_ones(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(json.dumps(changed(("members", "a", "stdio", "args"), 7)))
    with pytest.raises(ConfigError) as raised:
        list_members(file, "json")
    assert raised.value.exit_code == 3
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["a"]["how"], rows["a"]["runs"]) == ("faulty", "must be a list, not a number")
    assert [row["how"] for row in rows.values()] == ["faulty", "docker", "external", "bridge"]
