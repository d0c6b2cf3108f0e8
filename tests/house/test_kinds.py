"""What is special about a kind of proxy is a trait that it declares: nothing else asks for its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpwatch.proxies import PROXIES
from tests.parts import ROOT

NAMES = {kind.name for kind in PROXIES}
SPECS = {kind.spec.__name__ for kind in PROXIES} - {"ExternalSpec"}  # a runtime has one of that name too


def faults(tree: ast.AST) -> Iterator[int]:
    """Lines that compare what is called `kind` with the name of a proxy kind, or look whether a spec is that of one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            texts = {one.value for side in sides for one in ast.walk(side) if isinstance(one, ast.Constant)}
            called = {side.attr if isinstance(side, ast.Attribute) else getattr(side, "id", "") for side in sides}
            if texts & NAMES and any(name.endswith("kind") for name in called):
                yield node.lineno
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            yield from (node.lineno for one in ast.walk(node.args[1]) if getattr(one, "id", "") in SPECS)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('proxy.kind == "tbxark"', 1),
        ('proxy.kind not in {"gateway", "external"}', 1),
        ("isinstance(proxy.options, (TbxarkSpec, int))", 1),
        ('member.kind == "proxy"', 0),
        ('runtime == "external"', 0),
    ],
)
def test_a_question_for_the_name_of_a_kind_is_found(text: str, count: int) -> None:
    assert len(list(faults(ast.parse(text)))) == count


def test_no_room_asks_which_kind_of_proxy_it_is() -> None:
    package = ROOT / "mcpwatch"
    others = {path: path.read_text() for path in package.rglob("*.py") if package / "proxies" not in path.parents}
    named = {path: text for path, text in others.items() if any(name in text for name in (*NAMES, *SPECS))}
    found = {str(path.relative_to(Path(ROOT))): list(faults(ast.parse(text))) for path, text in named.items()}
    assert {path: lines for path, lines in found.items() if lines} == {}
