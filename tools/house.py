"""Print the size and order of the tree: `python -m tools.house [--json]`.

Lines and files of `mcpwatch/`, files and functions over the bounds of the house style, import cycles, unused code
(vulture), and class names that name two things. Run it before and after a change of structure; nothing here fails a build.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mcpwatch"
FILE_LINES = 300
FUNCTION_LINES = 40
SMALL_FILE = 40


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one tree. Sizes in lines; names as `path` or `path:function`."""

    files: int
    lines: int
    long_files: dict[str, int]
    long_functions: dict[str, int]
    small_files: int
    cycles: tuple[str, ...]
    twice: dict[str, tuple[str, ...]]
    unused: tuple[str, ...]


def figures(package: Path) -> Figures:
    """Measure a package. Reads files and runs vulture; raises `SyntaxError` for a file that is no Python."""
    sizes, functions = measure(package)
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(str(path.relative_to(package.parent)))
    return Figures(
        files=len(sizes),
        lines=sum(sizes.values()),
        long_files=over(sizes, FILE_LINES),
        long_functions=over(functions, FUNCTION_LINES),
        small_files=sum(1 for name, lines in sizes.items() if lines < SMALL_FILE and not name.endswith("__.py")),
        cycles=_cycles(package),
        twice={name: tuple(places) for name, places in sorted(classes.items()) if len(places) > 1},
        unused=_unused(),
    )


def measure(package: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Lines of each file, and of the longest function of each name in it, from `def` to its last line."""
    sizes: dict[str, int] = {}
    functions: dict[str, int] = {}
    for path in sorted(package.rglob("*.py")):
        name = str(path.relative_to(package.parent))
        text = path.read_text(encoding="utf-8")
        sizes[name] = text.count("\n")
        for function, lines in _functions(ast.parse(text)):
            functions[f"{name}:{function}"] = max(lines, functions.get(f"{name}:{function}", 0))
    return sizes, functions


def _functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1
        if not isinstance(node, ast.expr):  # no expression holds a function with a name
            todo.extend(ast.iter_child_nodes(node))


def over(sizes: dict[str, int], bound: int) -> dict[str, int]:
    """Those over a bound, the largest first."""
    return dict(sorted(((name, lines) for name, lines in sizes.items() if lines > bound), key=lambda pair: -pair[1]))


def _cycles(package: Path) -> tuple[str, ...]:
    """Modules that import each other, types included; each cycle once, as `a b c`. Imports inside functions do not count."""
    modules = {str(path.relative_to(package.parent).with_suffix("")).replace("/", "."): path for path in package.rglob("*.py")}
    edges = {name: _imports(path, modules) for name, path in modules.items()}
    return tuple(" ".join(sorted(group)) for group in _strong_components(edges) if len(group) > 1)


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nested = [node for node in tree.body if isinstance(node, ast.If)]
    for node in [*tree.body, *(inner for block in nested for inner in block.body)]:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {name for alias in node.names if (name := f"{node.module}.{alias.name}") in modules} or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules.keys()


def _strong_components(edges: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components, by two depth-first walks (Kosaraju)."""
    order: list[str] = []
    back: defaultdict[str, set[str]] = defaultdict(set)
    seen: set[str] = set()
    for start, imported in edges.items():
        stack = [(start, iter(sorted(imported)))] if start not in seen else []
        seen.add(start)
        while stack:
            name, rest = stack[-1]
            for other in rest:
                back[other].add(name)
                if other not in seen:
                    seen.add(other)
                    stack.append((other, iter(sorted(edges[other]))))
                    break
            else:
                order.append(stack.pop()[0])
    groups: list[set[str]] = []
    taken: set[str] = set()
    for start in reversed(order):
        if start in taken:
            continue
        group, todo = set[str](), [start]
        while todo:
            name = todo.pop()
            if name not in taken:
                taken.add(name)
                group.add(name)
                todo.extend(back[name])
        groups.append(group)
    return groups


def _unused() -> tuple[str, ...]:
    """What vulture calls unused."""
    command = [sys.executable, "-m", "vulture", "mcpwatch", "tests", "benchmarks", "tools", "--min-confidence", "80"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return tuple(line for line in done.stdout.splitlines() if line.startswith("mcpwatch/"))


def main() -> int:
    """Print the figures as text, or as one JSON object."""
    parser = argparse.ArgumentParser(description="Print the size and order of the tree.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    found = figures(PACKAGE)
    if parser.parse_args().json:
        print(json.dumps(asdict(found), indent=1))
        return 0
    print(f"{found.files} files, {found.lines} lines, {found.small_files} files under {SMALL_FILE} lines")
    for title, table in (("files", found.long_files), ("functions", found.long_functions)):
        print(f"{title} over the bound: {len(table)}")
        for name, lines in table.items():
            print(f"  {lines:4} {name}")
    for title, rows in (("import cycles", found.cycles), ("unused", found.unused)):
        print(f"{title}: {len(rows)}")
        for row in rows:
            print(f"  {row}")
    print(f"class names that name two things: {len(found.twice)}")
    for name, places in found.twice.items():
        print(f"  {name}: {', '.join(places)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
