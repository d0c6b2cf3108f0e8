"""Lint of what a server lists: text that models read and people do not see, references that lead nowhere."""

from __future__ import annotations

import pytest

from mcpwatch.checks.hidden_text import hidden, lint, strings
from mcpwatch.checks.schema import lost_reference
from mcpwatch.model.probe import Outcome, Symptom
from tests.checks.answers import Json, ask, hello, tool
from tests.servers.scripted import GOOD, Scripted


@pytest.mark.anyio
async def test_a_reference_that_leads_nowhere_is_lint() -> None:
    broken = tool(inputSchema={"type": "object", "properties": {"a": {"$ref": "#/$defs/gone"}}, "$defs": {"here": {}}})
    result = await ask(Scripted(GOOD | {"tools/list": broken}), "http")
    assert (result.outcome, result.symptom) == (Outcome.DEGRADED, Symptom.SCHEMA), result
    assert "#/$defs/gone" in result.message


SCHEMAS: list[tuple[Json, str]] = [
    ({"$ref": "#/$defs/a", "$defs": {"a": {}}}, ""),
    ({"$ref": "#"}, ""),
    ({"$ref": "#/allOf/1", "allOf": [{}, {}]}, ""),
    ({"$ref": "#/allOf/2", "allOf": [{}, {}]}, "#/allOf/2"),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {}}}, ""),
    ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {}}}, ""),
    ({"$ref": "#there", "$defs": {"x": {"$anchor": "there"}}}, ""),
    ({"$ref": "#nowhere", "$defs": {"x": {"$anchor": "there"}}}, "#nowhere"),
    ({"$ref": "https://example.com/s.json"}, "https://example.com/s.json"),
    ({"default": {"$ref": "#/nowhere"}}, ""),
]


@pytest.mark.parametrize(("schema", "lost"), SCHEMAS)
def test_each_way_to_refer_is_followed(schema: Json, lost: str) -> None:
    assert lost_reference(schema) == lost


HIDDEN = {
    "\x1b[31mred": "ANSI",
    "a\x00b": "NUL",
    "a\u200bb": "zero-width",
    "a\u202eb": "direction",
    "a" + "".join(chr(0xE0000 + ord(letter)) for letter in "obey"): "obey",
    "a\u2066b": "direction",
    "a\ufe0fb\x7f": "control",
}


@pytest.mark.parametrize("text", HIDDEN)
@pytest.mark.anyio
async def test_text_that_models_read_and_people_do_not_see_is_a_lint_of_its_own(text: str) -> None:
    schema = {"type": "object", "properties": {"path": {"type": "string", "description": text}}}
    result = await ask(Scripted(GOOD | {"tools/list": tool(description=text, inputSchema=schema)}), "http")
    assert (result.outcome, result.symptom) == (Outcome.DEGRADED, Symptom.HIDDEN_TEXT), result
    assert len(result.lint) == 2
    assert all(HIDDEN[text] in line for line in result.lint)
    assert "its inputSchema.properties.path.description holds" in "".join(result.lint)
    assert "its description holds" in "".join(result.lint)


@pytest.mark.anyio
async def test_prompts_resources_and_instructions_are_read_for_hidden_text_too() -> None:
    says = GOOD | {
        "initialize": hello(
            lambda body: body["result"].update(instructions="do\u200b", capabilities={"tools": {}, "prompts": {}, "resources": {}})
        ),
        "prompts/list": '{"jsonrpc":"2.0","id":{id},"result":{"prompts":[{"name":"p","description":"a\\u202eb"}]}}',
        "resources/list": '{"jsonrpc":"2.0","id":{id},"result":{"resources":[{"uri":"x:y","name":"a\\u0000"}]}}',
        "resources/templates/list": (
            '{"jsonrpc":"2.0","id":{id},"result":{"resourceTemplates":[{"uriTemplate":"x:{y}","name":"\\u001b"}]}}'
        ),
    }
    result = await ask(Scripted(says), "http")
    assert result.symptom is Symptom.HIDDEN_TEXT, result
    assert [line.split()[0] for line in result.lint] == ["the", "prompt", "resource", "resource"]


LAWFUL = ("plain", "tab\tand\nline", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "👩\u200d💻 ❤️ café")


@pytest.mark.parametrize("text", LAWFUL)
def test_what_people_write_in_their_scripts_and_emoji_hides_nothing(text: str) -> None:
    assert hidden(text) == ""


def test_lint_of_hidden_text_is_bounded() -> None:
    hides = {"name": "t", "description": "\x00"}
    assert len(lint("tool", [hides] * 20)) == 20
    assert lint("tool", [hides] * 1000)[19:] == (lint("tool", [hides])[0], "and more of the kind")


def tags(text: str) -> str:
    return "".join(chr(0xE0000 + ord(letter)) for letter in text)


def test_the_tags_of_a_flag_are_lawful_and_a_sentence_behind_one_is_not() -> None:
    assert hidden("\U0001f3f4" + tags("gbeng\x7f")) == ""
    assert "ignore" in hidden(tags("ignore"))
    assert hidden("\U0001f3f4" + tags("ignore all of it")) != ""
    assert hidden("x" + tags(" ")) != ""
    assert hidden(tags("a b")).endswith(": 'a b'")


def test_a_flag_has_seven_tags_at_most_and_stands_right_before_them() -> None:
    flag = "\U0001f3f4"
    assert hidden(flag + tags("abcdef\x7f")) == ""
    assert hidden(flag + tags("abcdefgh")).endswith(": 'h'")
    assert "ab" in hidden(flag + "x" + tags("ab"))
    assert hidden(flag + tags("ab") + flag + tags("cd")) == ""


def test_a_joiner_between_plain_letters_hides_something() -> None:
    assert hidden("pass\u200dword").startswith("zero-width characters: U+200D")
    assert [hidden(text) != "" for text in ("\u200d", "é\u200d", "\u200dé", "é\u200da", "a\u200dé", "é\u200dé")] == [True] * 5 + [
        False
    ]
    assert hidden("a\u200b\u200bb").endswith("and 1 more")


def test_every_string_is_looked_at_with_its_place_down_to_a_depth() -> None:
    found = list(strings({"a": ["x", {"b": "y"}], "n": 1}))
    assert found == [("a (the key)", "a"), ("a[0]", "x"), ("a[1].b (the key)", "b"), ("a[1].b", "y"), ("n (the key)", "n")]
    deep: list[object] = ["seen"]
    for _ in range(39):
        deep = [deep]
    assert [text for _, text in strings(deep)] == ["seen"]
    assert list(strings([deep])) == []
    nest: object = "seen"
    for _ in range(40):
        nest = {"k": nest}
    assert list(strings(nest))[-1][1] == "seen"
    assert "seen" not in [text for _, text in strings({"k": nest})]
