"""What a user gets from us: the shown configuration, the starter, the schema, the reference page, the examples."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mcpwatch.app.kinds import all_kinds
from mcpwatch.config import yaml
from mcpwatch.config.load import load_plan
from mcpwatch.config.schema import docstrings, schema
from mcpwatch.config.show import MASK, show
from mcpwatch.config.starter import starter
from mcpwatch.registry import KindSpec
from tests.config.kinds import KINDS
from tests.config.plans import STATE
from tests.config.test_faults import INVALID
from tests.config.test_plan import DESIGN
from tests.parts import ROOT
from tools import docs_config

REAL = all_kinds()
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def shown(text: str, directory: Path, environ: dict[str, str]) -> str:
    file = directory / "fleet.yaml"
    file.write_text(text, encoding="utf-8")
    return show(file, KINDS, environ, STATE)


def test_what_is_shown_has_every_default_and_no_secret(tmp_path: Path, environ: dict[str, str]) -> None:
    text = shown(DESIGN, tmp_path, environ)
    data: Any = yaml.read(text, "shown").data
    assert "s3cret-proxy-token" not in text
    assert "k3y-value" not in text
    assert data["proxy"]["auth"]["tokens"] == [MASK]
    assert data["members"]["fetch"]["stdio"]["env"]["API_KEY"] == MASK
    assert data["members"]["legacy"]["restart"]["backoff"] == {"first": 0.25, "max": 30, "jitter": 0.2}
    assert data["members"]["time"]["checks"]["refusal"]["interval"] == 300
    assert data["members"]["postgres"]["checks"]["canary"]["tool"] == "list_schemas"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_what_is_shown_means_the_same_as_what_was_written(path: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    written = load_plan(path, REAL, environ, STATE)
    again = tmp_path / "again.yaml"
    text = show(path, REAL, environ, STATE)
    for secret in written.secrets:
        text = text.replace(MASK, secret)
    again.write_text(text, encoding="utf-8")
    read = load_plan(again, REAL, environ, STATE)
    assert replace(read, source="", secrets=()) == replace(written, source="", secrets=())


@pytest.mark.parametrize("found", [{"mcp-server-time"}, {"uvx"}, set[str]()])
def test_the_starter_is_right_whatever_the_machine_has(found: set[str], tmp_path: Path) -> None:
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in found:
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    file = tmp_path / "mcpwatch.yaml"
    file.write_text(starter(lambda name: name if name in found else None), encoding="utf-8")
    plan = load_plan(file, all_kinds(), {"PATH": str(directory)}, STATE)
    expected = {"mcp-server-time": 1, "uvx": 3}
    assert len(plan.routes) == sum(expected[name] for name in found)


def test_the_starter_is_mostly_comments_that_are_right_too(tmp_path: Path, environ: dict[str, str]) -> None:
    text = starter(lambda name: name)
    opened = re.sub(r"^((?:  )?)# (?=  |(?:auth|docs|native|legacy|defaults):)", r"\1", text, flags=re.MULTILINE)
    opened = re.sub(r"^    # (?=checks:)", "    ", opened, flags=re.MULTILINE)
    file = tmp_path / "mcpwatch.yaml"
    file.write_text(opened.replace("my-server", "uvx"), encoding="utf-8")
    plan = load_plan(file, KINDS, environ, STATE)
    assert [check.canary.tool for check in plan.routes[0].checks if check.canary] == ["get_current_time"]
    assert [r.name for r in plan.routes] == ["time", "fetch", "git", "docs", "native", "legacy"]
    assert plan.routes[0].guarded


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(schema(REAL))


def document(path: Path) -> Any:
    return yaml.read(path.read_text(encoding="utf-8"), path.name).data


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads_and_satisfies_the_schema(path: Path, environ: dict[str, str]) -> None:
    assert load_plan(path, REAL, environ, STATE).routes
    assert [error.message for error in validator().iter_errors(document(path))] == []  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize("name", ["unknown-keys", "wrong-types", "ten-faults"])
def test_the_schema_refuses_what_the_loader_refuses(name: str) -> None:
    data = document(INVALID / f"{name}.yaml")
    errors = list(validator().iter_errors(data))  # pyright: ignore[reportUnknownMemberType]
    assert errors


def test_the_schema_knows_a_file_beside_every_secret() -> None:
    found = schema(KINDS)
    assert {"token", "token_file"} <= set(found["$defs"]["Member"]["properties"])
    assert "tokens_file" in found["$defs"]["AuthConfig"]["properties"]
    assert "ca_file_file" not in found["$defs"]["Member"]["properties"]


def test_every_key_of_ours_is_described() -> None:
    found = schema(KINDS)
    ours = {name for name in found["$defs"] if name.endswith("Config") or name in {"Member", "Proxy", "Check", "CheckDefaults"}}
    strangers = {"path", "status"}
    missing = [
        f"{name}.{key}"
        for name in sorted(ours)
        for key, value in found["$defs"][name]["properties"].items()
        if not value.get("description") and key not in strangers | {kind.name for kind in KINDS.runtimes}
    ]
    assert missing == []


def test_making_the_schema_changes_nothing_it_is_made_of() -> None:
    first = schema(KINDS)
    kept = copy.deepcopy(first)
    assert schema(KINDS) == kept == first


def test_a_docstring_below_a_field_describes_it() -> None:
    class Spec(KindSpec):
        a: int = 1
        """What
        a is."""
        b: int = 2

    assert docstrings(Spec) == {"a": "What a is."}


def test_the_reference_page_and_the_committed_schema_are_fresh() -> None:
    stale = [
        name
        for name, text in docs_config.pages().items()
        if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run 'make docs'"


def test_the_committed_schema_is_json_an_editor_takes() -> None:
    found = json.loads((ROOT / "docs" / "reference" / "mcpwatch.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(found)
    assert {"version", "proxy", "members", "defaults", "env_file"} <= set(found["properties"])
