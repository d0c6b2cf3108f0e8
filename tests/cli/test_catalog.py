"""The catalogue holds what it promises, and a server of it is added with what it needs."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from mcpwatch.cli.edit.catalog import from_catalog, show_catalog, show_entry
from mcpwatch.cli.edit.definition import Definition, as_member
from mcpwatch.config.catalog import Entry, catalog, fill, missing
from mcpwatch.config.models import NAME_PATTERN
from mcpwatch.model.errors import UsageError

FLEET_OF_THE_OWNER = (
    "postgres",
    "timescaledb",
    "fetch",
    "filesystem",
    "github",
    "memory",
    "playwright",
    "n8n",
    "minio",
    "monitoring",
)
pytestmark = pytest.mark.xdist_group("catalogue")
TEXT = resources.files("mcpwatch.config").joinpath("catalog.yaml").read_text(encoding="utf-8")
NAMES = re.findall(r"^  ([^ :]+):$", TEXT, re.MULTILINE)
"""Without reading it as YAML, which takes half a second of each worker."""


def test_there_are_forty_servers_and_those_of_the_fleet_are_there() -> None:
    assert sorted(NAMES) == list(catalog())
    assert len(NAMES) >= 40
    assert set(FLEET_OF_THE_OWNER) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_says_what_it_runs_what_it_needs_and_how_it_is_proved(name: str) -> None:
    entry = catalog()[name]
    assert re.fullmatch(NAME_PATTERN, name)
    assert (entry.canary is None) == bool(entry.no_canary), "a canary, or why there is none"
    assert entry.runtime in ("url", "mcpwatch") or (entry.package and entry.version), "a package and its version"
    assert (entry.version == "latest") == bool(entry.no_pin), "a version that stays, or why there is none"
    assert entry.url if entry.runtime in ("url", "docker") else not entry.url
    assert entry.homepage.startswith("https://")
    assert entry.licence
    assert all(need.hint for need in entry.needs.values())
    filled = fill(entry, {need: f"<{need}>" for need in entry.needs}, read_write=False)
    assert "{" not in " ".join(filled.command)
    if entry.writes == "choice":
        both = fill(entry, dict.fromkeys(entry.needs, "x"), read_write=True)
        one = fill(entry, dict.fromkeys(entry.needs, "x"), read_write=False)
        assert (both.command, both.env, both.tools) != (one.command, one.env, one.tools), "the choice makes a difference"
    assert as_member(from_text(entry, name))


def from_text(entry: Entry, name: str) -> Definition:
    answers = {need: "/" if entry.kind(need) == "directory" else "x" for need in entry.needs}
    return from_catalog(name, answers, read_write=False)


def test_what_a_server_needs_is_demanded_with_where_to_get_it() -> None:
    assert missing(catalog()["postgres"], {}) == ("DATABASE_URI",)
    with pytest.raises(UsageError, match=r"-e DATABASE_URI=…: postgresql://"):
        from_catalog("postgres", {})
    with pytest.raises(UsageError, match="choose --read-only or --read-write"):
        from_catalog("postgres", {"DATABASE_URI": "postgresql://u@h/d"})


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such directory"):
        from_catalog("filesystem", {"directory": str(tmp_path / "none")}, read_write=False)
    member = as_member(from_catalog("filesystem", {"directory": str(tmp_path)}, read_write=False))
    assert member["stdio"]["args"][-1] == str(tmp_path)
    assert "write_file" not in member["tools"]["allow"]
    assert "tools" not in as_member(from_catalog("filesystem", {"directory": str(tmp_path)}, read_write=True))


def test_an_unknown_server_is_answered_with_the_nearest_and_how_to_add_any_other() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'postgres'.*mcpwatch add postgrse -- COMMAND"):
        from_catalog("postgrse", {})
    with pytest.raises(UsageError, match="needs a name before its address: mcpwatch add NAME http://h/sse"):
        from_catalog("http://h/sse", {})


def test_a_word_finds_and_show_tells(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_catalog("database", as_json=False) == 0
    assert "mongodb" in capsys.readouterr().out
    assert show_catalog("nothing-like-it", as_json=False) == 1
    capsys.readouterr()
    assert show_entry("github", as_json=False) == 0
    assert "needs        GITHUB_PERSONAL_ACCESS_TOKEN, secret" in capsys.readouterr().out
