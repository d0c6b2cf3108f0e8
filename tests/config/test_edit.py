"""Edits of a user's file: what is asked changes, everything else stays as it was."""

from __future__ import annotations

import pytest

from mcpwatch.config import yaml
from mcpwatch.config.edit import add_members, put
from mcpwatch.model.errors import ConfigError

TEXT = """\
# my fleet
proxy:   # in front
    listen: '127.0.0.1:9090'   # loopback only

members:
    # tells the time
    time:
        stdio: {command: mcp-server-time, args: ["--local"]}   # quick
"""


def test_a_value_is_changed_in_place_and_nothing_else() -> None:
    assert put(TEXT, ("proxy", "listen"), "127.0.0.1:9191") == TEXT.replace("9090", "9191")


def test_a_member_is_added_below_the_others_in_the_same_indentation() -> None:
    made = add_members(TEXT, {"far": {"url": "http://h:1/sse"}})
    assert made == TEXT + "    far:\n        url: http://h:1/sse\n"


def test_missing_mappings_on_the_way_are_made() -> None:
    assert put("", ("proxy", "auth", "tokens"), ["${T}"]) == "proxy:\n  auth:\n    tokens:\n      - ${T}\n"


def test_an_unchanged_value_leaves_the_text_as_it_was() -> None:
    data = yaml.read(TEXT, "f").data
    assert isinstance(data, dict)
    assert yaml.read(put(TEXT, ("version",), 1), "f").data == {**data, "version": 1}


def test_a_member_that_is_there_is_not_overwritten() -> None:
    with pytest.raises(ConfigError, match=r"members\.time: is there already"):
        add_members(TEXT, {"time": {"url": "http://h:1/sse"}})


def test_what_is_no_mapping_is_not_turned_into_one() -> None:
    with pytest.raises(ConfigError, match="is not a mapping; nothing was changed"):
        put(TEXT, ("proxy", "listen", "port"), 1)
