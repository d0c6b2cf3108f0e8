"""Whatever a person's file looks like: only our entries differ, twice is once, and removal restores every byte."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mcpwatch.clients.formats.edit import DROP, edit
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.formats.path import MISSING, EditRefused, Element, Path, Syntax, look
from mcpwatch.clients.formats.toml import Toml
from mcpwatch.clients.formats.yaml import Yaml
from mcpwatch.foreign.shape import same
from tests.clients import documents

MANY = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
NAMES = st.lists(st.sampled_from(["time", "fetch_2", "git.hub", "日本"]), min_size=1, max_size=3, unique=True)


def holds(syntax: Syntax, text: str, entries: dict[Path, Any], order: list[Path]) -> None:
    try:
        before = syntax.parse(text)
    except EditRefused:
        assume(False)
        raise
    assume(all(look(before, path) is MISSING for path in entries))
    try:
        filled = edit(syntax, text, entries)
    except EditRefused as error:
        assume("should be" not in str(error) and "twice" not in str(error) and "several" not in str(error))
        raise
    after = syntax.parse(filled.text)
    assert all(same(look(after, path), value) for path, value in entries.items())
    assert foreign_bytes_survive(text, filled.text)
    assert edit(syntax, filled.text, entries, filled.made).text == filled.text
    current = filled
    for path in order:
        current = edit(syntax, current.text, {path: DROP}, current.made)
    assert current.text == text
    assert edit(syntax, filled.text, dict.fromkeys(order, DROP), filled.made).text == text


def foreign_bytes_survive(before: str, after: str) -> bool:
    """Every character of the old text is in the new one, in order: edits of new entries only insert."""
    rest = iter(after)
    return all(character in rest for character in before)


@MANY
@given(documents.jsonc(), NAMES, documents.ENTRIES, st.randoms(use_true_random=False), st.booleans())
def test_jsonc_edits_touch_only_our_entries(text: str, names: list[str], entry: dict[str, Any], random: Any, deep: bool) -> None:
    container: Path = ("servers",) if deep else ("mcp", "servers")
    entries: dict[Path, Any] = {(*container, name): entry for name in names}
    if deep:
        entries["inputs", Element("id", "token")] = {"id": "token", "type": "promptString"}
    order = list(entries)
    random.shuffle(order)
    holds(Jsonc(), text, entries, order)


@MANY
@given(documents.toml(), NAMES, documents.ENTRIES, st.randoms(use_true_random=False))
def test_toml_edits_touch_only_our_tables(text: str, names: list[str], entry: dict[str, Any], random: Any) -> None:
    entries: dict[Path, Any] = {("mcp_servers", name): entry for name in names}
    order = list(entries)
    random.shuffle(order)
    holds(Toml(), text, entries, order)


@MANY
@given(documents.yaml(), NAMES, documents.ENTRIES, st.randoms(use_true_random=False))
def test_yaml_edits_touch_only_our_entries_of_a_mapping(text: str, names: list[str], entry: dict[str, Any], random: Any) -> None:
    entries: dict[Path, Any] = {("servers", name): entry for name in names}
    order = list(entries)
    random.shuffle(order)
    holds(Yaml(), text, entries, order)


@MANY
@given(documents.yaml(listed=True), NAMES, documents.ENTRIES, st.randoms(use_true_random=False))
def test_yaml_edits_touch_only_our_elements_of_a_list(text: str, names: list[str], entry: dict[str, Any], random: Any) -> None:
    entries: dict[Path, Any] = {("servers", Element("name", name)): {"name": name, **entry} for name in names}
    order = list(entries)
    random.shuffle(order)
    holds(Yaml(), text, entries, order)


@pytest.mark.parametrize("syntax", [Jsonc(), Jsonc(strict=True), Toml(), Yaml()], ids=lambda syntax: syntax.name)
@given(st.text(max_size=60))
def test_an_editor_refuses_or_proves_whatever_text_it_meets(syntax: Syntax, text: str) -> None:
    try:
        done = edit(syntax, text, {("servers", "time"): {"url": "http://h/time/sse"}})
    except EditRefused as refusal:
        said = str(refusal)
    else:
        assert look(syntax.parse(done.text), ("servers", "time")) == {"url": "http://h/time/sse"}
        return
    assert re.fullmatch(r"[^\n]{1,200}", said)
