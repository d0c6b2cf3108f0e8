"""No text makes a parser or an editor take more than its length: eight times the text costs about eight times the CPU time.

Each text is built to hurt: what a pattern could read in many ways, what is never closed, what is nested or shared. Quadratic cost
would show as 64 times, and the texts that once took exponential time would never end.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from mcpwatch.clients.formats import toml_scan
from mcpwatch.clients.formats.edit import edit
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.formats.path import EditRefused, Element, Path, Syntax
from mcpwatch.clients.formats.toml import Toml
from mcpwatch.clients.formats.yaml import Yaml

OURS = {"type": "sse", "url": "http://h/a/sse"}
TIMES = 8
MOST = 24.0
"""Halfway, by logarithm, between linear (8) and quadratic (64)."""


def shared(count: int, value: str) -> str:
    """A chain of anchors, each of which uses the one before twice: without sharing, two to the power of `count` values."""
    return "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {value.format(i - 1)}\n" for i in range(1, count))


JSON: dict[str, Callable[[int], str]] = {
    "comments on one line": lambda n: '{"servers": {"a": {"url": "x"} ' + "/*c*/ " * n + "}}",
    "line comments": lambda n: '{"servers": {\n' + "// c\n" * n + "}}",
    "a comment never closed, again and again": lambda n: '{"servers": ' + "/*/" * n,
    "a string never closed": lambda n: '{"servers": "' + '\\"' * n,
    "backslashes": lambda n: '{"servers": {}, "a": "' + "\\\\" * n + '"}',
    "quotes between slashes": lambda n: '{"servers": {}, "a": [' + '"/", ' * n + "0]}",
    "commas": lambda n: '{"servers": ' + "," * n + "}",
    "trailing commas behind comments": lambda n: '{"servers": {}, "a": [' + "[1, /*c*/ ], " * n + "]}",
    "blanks": lambda n: '{"servers": {' + " \n" * n + "} }" + " " * n,
    "many members": lambda n: '{"servers": {' + ", ".join(f'"k{i}": {{"url": "x"}}' for i in range(n)) + "}}",
    "many members outside": lambda n: "{" + ", ".join(f'"k{i}": [1, {{}}]' for i in range(n)) + ', "servers": {}}',
    "brackets never closed": lambda n: '{"servers": ' + "[" * n,
    "slashes": lambda n: '{"servers": ' + "/" * n,
}
TOML: dict[str, Callable[[int], str]] = {
    "tables": lambda n: "".join(f'[a.k{i}]\nurl = "x"\nargs = ["a", {i}]\n' for i in range(n)),
    "assignments": lambda n: "".join(f"k{i} = {{ a = 1 }} # c\n" for i in range(n)),
    "quoted keys with escapes": lambda n: "".join(f'"k\\t{i}" = 1\n' for i in range(n)),
    "blank lines": lambda n: "\n" * n + "[a]\n" + "# c\n" * n,
    "an array over lines": lambda n: "a = [\n" + "  1, # one\n" * n + "]\n",
    "a string of quotes": lambda n: "a = '''" + "''\n" * n + "'''\n",
    "escaped quotes": lambda n: 'a = """' + '\\"""\\' * n + '\\"""',
    "escaped quotes that are closed": lambda n: 'a = """' + '\\"""b' * n + '"""\n',
    "backslashes before the end": lambda n: 'a = """' + "\\\\" * n + '"""\n',
    "a string never closed": lambda n: 'a = "' + '\\"' * n,
    "one inline table": lambda n: "mcp_servers = { " + ", ".join(f"k{i} = {{ a = 1 }}" for i in range(n)) + " }\n",
    "one dotted key": lambda n: "a" + ".a" * n + " = 1\n",
    "below a dotted header": lambda n: "[a" + ".a" * n + "]\n" + "".join(f"k{i} = 1\n" for i in range(n)),
    "arrays of tables": lambda n: "[[a]]\nb = 1\n" * n,
    "brackets": lambda n: "a = " + "[" * n + "]" * n,
}
YAML: dict[str, Callable[[int], str]] = {
    "mappings": lambda n: "servers:\n" + "".join(f"  k{i}:\n    url: http://x/{i}\n    args: [a, {i}]\n" for i in range(n)),
    "mappings outside": lambda n: "".join(f"k{i}:\n  url: x\n" for i in range(n)),
    "a list": lambda n: "servers:\n  a: {}\nl:\n" + "".join(f"  - name: k{i}\n" for i in range(n)),
    "a flow list": lambda n: "servers: {}\nl: [" + "a, " * n + "b]\n",
    "comments": lambda n: "# c\n" * n + "servers: {}\n" + "  # c\n" * n,
    "blank lines at the end of a block scalar": lambda n: "a: |\n  b\n" + "\n" * n,
    "block scalars": lambda n: "".join(f"k{i}: |+\n  b # c\n\n\n" for i in range(n)),
    "aliases": lambda n: "a: &a {b: 1}\nl:\n" + "- *a\n" * n,
    "merges of merges": lambda n: (
        "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, n))
    ),
    "aliases of aliases": lambda n: "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, n)),
    "flow brackets": lambda n: "a: " + "[" * n,
    "indentation": lambda n: "".join(" " * (i % 60) + f"a{i}:\n" for i in range(n)),
    "indentation without end": lambda n: "".join(" " * min(i, 300) + "a:\n" for i in range(min(n, 2000))),
    "question marks": lambda n: "? " * n,
    "a quoted string never closed": lambda n: 'a: "' + '\\"' * n,
    "numbers": lambda n: "servers: {}\na: " + "1_" * n + "\nb: " + "1" * n + "\nc: " + "1:" * n + "x\n",
}
TEXTS: dict[str, tuple[Syntax, Path, Callable[[int], str]]] = {
    **{f"jsonc: {name}": (Jsonc(), ("servers", "time"), text) for name, text in JSON.items()},
    **{f"toml: {name}": (Toml(), ("mcp_servers", "time"), text) for name, text in TOML.items()},
    **{f"yaml: {name}": (Yaml(), ("servers", "time"), text) for name, text in YAML.items()},
}
ENOUGH = 0.003
"""CPU seconds that the shorter text takes at least, unless it is large already: below, the clock shows nothing."""
LARGE = 20_000


def cost(syntax: Syntax, path: Path, text: str) -> float:
    """CPU seconds of this thread for one edit."""
    started = time.thread_time()
    with suppress(EditRefused):
        edit(syntax, text, {path: OURS})
    return time.thread_time() - started


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", TEXTS)
def test_eight_times_the_text_takes_about_eight_times_the_time(name: str) -> None:
    syntax, path, text = TEXTS[name]
    size = 20
    while cost(syntax, path, text(size)) < ENOUGH and size < LARGE:
        size *= 2
    short, long = text(size), text(size * TIMES)
    longer = len(long) / len(short)  # not the same where each line is deeper than the one before
    factor = 0.0
    for _ in range(8):
        factor = cost(syntax, path, long) / max(ENOUGH / 3, cost(syntax, path, short))
        if factor < MOST * longer / TIMES:
            return
    pytest.fail(f"{factor:.0f} times the CPU time for {longer:.0f} times the text")


@pytest.mark.parametrize("levels", [50, 100_000])
@pytest.mark.parametrize("syntax", [Jsonc(), Jsonc(strict=True), Toml(), Yaml()], ids=["jsonc", "json", "toml", "yaml"])
def test_deep_text_is_edited_or_refused_in_one_line(syntax: Syntax, levels: int) -> None:
    deep = "[" * levels + "]" * levels
    text = {"toml": f"deep = {deep}\n", "yaml": f"deep: {deep}\n"}.get(syntax.name, f'{{"deep": {deep}}}')
    path: Path = ("servers", "time")
    said = ""
    try:
        assert edit(syntax, text, {path: OURS}).text != text
    except EditRefused as refusal:
        said = str(refusal)
    assert bool(said) == (levels > 50)
    assert re.fullmatch(r"[^\n]*nested[^\n]*|", said)


def test_a_list_of_ten_thousand_elements_is_searched_once() -> None:
    text = '{"inputs": [' + ", ".join(f'{{"id": "i{n}"}}' for n in range(10_000)) + "]}"
    path: Path = ("inputs", Element("id", "token"))
    assert '"id": "token"' in edit(Jsonc(), text, {path: {"id": "token"}}).text


def test_statements_on_one_line_are_read_alike_by_the_pattern_and_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    luck = random.Random(5)
    signs = (
        *"a= \"'\\#\n[]{}.1\té",
        "\r\n",
        '"""',
        "'''",
        "a = 1\n",
        'b = "x" # c\n',
        "[t]\n",
        '["a b".c]\n',
        '= ["x", 1]\n',
        "{ a = 1 }",
    )
    texts = ["".join(luck.choices(signs, k=luck.randint(1, 14))) for _ in range(5000)]

    def read(text: str) -> object:
        try:
            return toml_scan.statements(text)
        except EditRefused as refusal:
            return str(refusal)

    by_pattern = [read(text) for text in texts]
    for name in ("_SIMPLE", "_HEADER"):
        monkeypatch.setattr(toml_scan, name, re.compile("(?!)"))
    assert [read(text) for text in texts] == by_pattern
