"""The fleet's file in the chart's ConfigMap is the text that was given, whatever its lines begin with. Without helm itself."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.parts import ROOT

TEMPLATE = ROOT / "deploy" / "helm" / "mcpwatch" / "templates" / "config.yaml"
LINE = st.text(st.sampled_from(" #-:|>{}[]'\"&*!%@\tabé0"), max_size=12)


def rendered(config: str) -> str:
    """As helm renders it: `trimSuffix` takes one end of line, `indent` puts spaces before every line, also an empty one."""
    text = TEMPLATE.read_text(encoding="utf-8").replace("{{ .Release.Namespace }}", "mcpwatch")
    indented = "\n".join("    " + line for line in config.removesuffix("\n").split("\n"))
    text, found = re.subn(r'\{\{ \.Values\.config \| trimSuffix "\\n" \| indent 4 \}\}', lambda _: indented, text)
    assert found == 1
    assert "{{" not in text.replace(indented, "")
    return text


@given(st.lists(LINE, min_size=1, max_size=6).map("\n".join))
@example("  version: 1\nmembers: {}\n")
@example("\n\n   # a comment\nversion: 1\n")
@example("\tx\n")
def test_the_file_in_the_chart_is_the_file_that_was_given(config: str) -> None:
    found = yaml.safe_load(rendered(config))["data"]["mcpwatch.yaml"]
    assert found == config.rstrip("\n")


@pytest.mark.parametrize("word", ["|-", "|"])
def test_without_its_indentation_said_a_block_that_begins_with_a_space_is_broken(word: str) -> None:
    text = rendered("  version: 1\nmembers: {}\n").replace("|2-", word)
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)
