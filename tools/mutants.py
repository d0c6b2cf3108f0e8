"""The mutants of a file: every node of its syntax that may be changed in one small way. Pure but for reading the file.

Left alone are texts (messages have no tests), annotations, decorators, docstrings, assertions, and what only type checkers read.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
SKIPPED_FIELDS = frozenset({"annotation", "returns", "decorator_list", "bases", "keywords_of_class"})


@dataclass(frozen=True)
class Mutant:
    """One change of one file: `place` numbers its node in the tree, `function` is the line at which its function begins."""

    path: Path
    place: int
    way: str
    line: int
    function: int
    text: str


def mutants(path: Path) -> list[Mutant]:
    """Every mutant of a file, in the order of its lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}
    found: list[Mutant] = []
    for node, function in _places(tree, 0):
        for way in _ways(node):
            before = ast.unparse(node).split("\n")[0]
            after = ast.unparse(_change(copy.deepcopy(node), way)).split("\n")[0]
            text = f"{before}  ->  {after}" if way != "drop" else f"{before}  ->  (nothing)"
            line = cast("int", getattr(node, "lineno", 0))
            found.append(Mutant(path, numbers[id(node)], way, line, function, text[:150]))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.place, mutant.way))


def changed(mutant: Mutant) -> ast.Module:
    """The tree of a mutant's file with its change."""
    tree = ast.parse(mutant.path.read_text(encoding="utf-8"))
    node = next(node for number, node in enumerate(ast.walk(tree)) if number == mutant.place)
    new = _change(node, mutant.way)
    if new is not node:
        _replace(tree, node, new)
    return ast.fix_missing_locations(tree)


def _places(node: ast.AST, function: int) -> Iterator[tuple[ast.AST, int]]:
    """The nodes that may be changed, with the line of the function they are in."""
    for name, value in ast.iter_fields(node):
        if name in SKIPPED_FIELDS:
            continue
        for child in cast("list[Any]", value) if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _left_alone(child):
                continue
            inside = function
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                inside = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            yield child, inside
            yield from _places(child, inside)


def _left_alone(node: ast.AST) -> bool:
    if isinstance(node, (ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)):
        return True
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return True  # of `zip`: an assertion
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and all(map(_says, node.body)):
        return True  # of a protocol
    if _says(node):
        return True
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _says(node: ast.AST) -> bool:
    """Whether it is a docstring or an ellipsis."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _ways(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield "compare"
    elif isinstance(node, ast.BoolOp):
        yield "and-or"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "no-not"
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        yield "operator"
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        yield "constant"
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield "negate"
    elif isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Await)):
        yield "drop"
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield "return-none"


def _change(node: ast.AST, way: str) -> ast.AST:
    any_node: Any = node
    if way == "compare":
        any_node.ops[0] = COMPARISONS[type(any_node.ops[0])]()
    elif way == "and-or":
        any_node.op = ast.Or() if isinstance(any_node.op, ast.And) else ast.And()
    elif way == "no-not":
        return cast("ast.AST", any_node.operand)
    elif way == "operator":
        any_node.op = OPERATORS[type(any_node.op)]()
    elif way == "constant":
        any_node.value = not any_node.value if isinstance(any_node.value, bool) else any_node.value + 1
    elif way == "negate":
        any_node.test = ast.UnaryOp(ast.Not(), any_node.test)
    elif way == "drop":
        return ast.Pass()
    elif way == "return-none":
        any_node.value = ast.Constant(None)
    return node


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(child is old for child in cast("list[Any]", value)):
                value[:] = [new if child is old else child for child in cast("list[Any]", value)]
