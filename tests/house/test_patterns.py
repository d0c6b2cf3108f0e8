"""No text makes a pattern of ours slow: each is given texts that are made from itself, until one takes too long or is long enough.

Whatever is repeated in a pattern is repeated in the text, the whole of it is begun again and again, and what would end the match is
left out: that is where a pattern goes back, and takes the square of the length, or two to the power of it.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

import mcpwatch
from mcpwatch.slow import exceeds

pytestmark = pytest.mark.slow
"""Of the whole file: what it reads of all modules takes three seconds."""
sign: Any = importlib.import_module("re._constants")
parser: Any = importlib.import_module("re._parser")
LONG = 1 << 15
"""Characters: the square of it takes a second."""
COMMANDS = 4096
"""The same of what only commands use: each works for the one who calls it, and holds no loop."""
MOST = 0.1
"""Seconds of processor: longer than that nothing may hold the loop."""
FEW = (8, 12, 16, 20, 24, 28, 32, 40, 64)
"""Repetitions at which what is exponential shows, each a step that it can be waited for."""
BOUNDED: dict[str, int] = {
    "mcpwatch.checks.classify:'(?is)<(script|style).*?</\\\\1>|<[^>]*>'": 4000,
    "mcpwatch.clients.adapter._VARIABLE": 4096,  # a path
    "mcpwatch.runtimes.oom._NAMES": 8192,  # a record of the kernel's log
}
"""Patterns that are given short texts only, and how long those are at most."""
METHODS = ("match", "search", "fullmatch", "sub", "findall", "finditer", "split")


def modules() -> Iterator[ModuleType]:
    yield mcpwatch
    for found in pkgutil.walk_packages(mcpwatch.__path__, "mcpwatch."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def patterns() -> dict[str, tuple[re.Pattern[Any], set[str]]]:
    """Every pattern of the tree by the place that makes it, and how it is used there."""
    found: dict[str, tuple[re.Pattern[Any], set[str]]] = {}
    for module in modules():
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        used: dict[str, set[str]] = {}
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            assert isinstance(call.func, ast.Attribute)
            owner, method = call.func.value, call.func.attr
            if isinstance(owner, ast.Name) and owner.id == "re" and method in METHODS and isinstance(call.args[0], ast.Constant):
                place = f"{module.__name__}:{call.args[0].value!r}"
                found[place] = (re.compile(cast("str", call.args[0].value), _flags(call)), {method})
            elif isinstance(owner, ast.Name) and method in METHODS:
                used.setdefault(owner.id, set()).add(method)
        for name, value in vars(module).items():
            for number, pattern in enumerate(_held(value)):
                made = found.setdefault(
                    f"{module.__name__}.{name}" + (f"[{number}]" if value is not pattern else ""), (pattern, set())
                )
                made[1].update(used.get(name, {"search", "fullmatch"} if value is not pattern else ()))
    return found


def _flags(call: ast.Call) -> int:
    """The flags of a call of `re`, those that are written out."""
    words = [ast.unparse(word.value) for word in call.keywords if word.arg == "flags"]
    return sum(int(getattr(re, word.removeprefix("re."))) for text in words for word in text.split(" | "))


def _held(value: Any, depth: int = 0) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, (tuple, list, dict)) and depth < 3:
        for item in cast("Iterable[Any]", value.values() if isinstance(value, dict) else value):
            yield from _held(item, depth + 1)


# ---- texts against a pattern --------------------------------------------------------------------------------------------


def texts(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str, str]]:
    """What to begin with, what to repeat, what to end with."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    tree = parser.parse(source, pattern.flags & ~re.DEBUG)
    wholes = [_example(tree), _example(tree, least=0)]
    again = [whole[:upto] + gap for whole in wholes for upto in (None, -1, len(whole) // 2) for gap in ("", " ")]
    for begin, pump in dict.fromkeys((*_pumps(list(tree), ""), *(("", text) for text in again))):
        if pump:
            for end in dict.fromkeys(("", "\0", "\n\0", *wholes)):
                yield begin, pump, end


def _pumps(items: list[Any], before: str) -> Iterator[tuple[str, str]]:
    """For each repetition an example of what stands before it, and one of what it repeats."""
    for code, given in items:
        match code:
            case sign.MAX_REPEAT | sign.MIN_REPEAT | sign.POSSESSIVE_REPEAT:
                _, high, body = given
                if high > 8:
                    yield before, _example(body)
                    yield before, _example(body, last=True)
                    yield before, "".join(_example([item]) for item in _leaves(body))
                yield from _pumps(list(body), before)
            case sign.SUBPATTERN:
                yield from _pumps(list(given[3]), before)
            case sign.BRANCH:
                for branch in given[1]:
                    yield from _pumps(list(branch), before)
            case sign.ASSERT | sign.ASSERT_NOT:
                yield from _pumps(list(given[1]), before)
            case sign.ATOMIC_GROUP:
                yield from _pumps(list(given), before)
            case _:
                pass
        before += _example([(code, given)])


def _leaves(items: Any) -> Iterator[Any]:
    for item in items:
        if item[0] is sign.BRANCH:
            for branch in item[1][1]:
                yield from _leaves(branch)
        elif item[0] is sign.SUBPATTERN:
            yield from _leaves(item[1][3])
        else:
            yield item


def _example(items: Any, *, last: bool = False, least: int = 1) -> str:
    """A text that the items match, of each choice the first (or the last), with what may be left out or (`least` 0) without."""
    return "".join(_one(code, given, last, least) for code, given in items)


def _one(code: Any, given: Any, last: bool, least: int) -> str:
    match code:
        case sign.LITERAL:
            return chr(given)
        case sign.NOT_LITERAL:
            return "b" if given == ord("a") else "a"
        case sign.ANY:
            return "a"
        case sign.IN:
            return _of_set(given, last=last)
        case sign.MAX_REPEAT | sign.MIN_REPEAT | sign.POSSESSIVE_REPEAT:
            return _example(given[2], last=last, least=least) * max(least, given[0])
        case sign.SUBPATTERN:
            return _example(given[3], last=last, least=least)
        case sign.ATOMIC_GROUP:
            return _example(given, last=last, least=least)
        case sign.BRANCH:
            return _example(given[1][-1 if last else 0], last=last, least=least)
        case _:
            return ""


def _of_set(items: Any, *, last: bool) -> str:
    """A character of a set."""
    for code, given in reversed(items) if last else items:
        if code is sign.LITERAL:
            return chr(given)
        if code is sign.RANGE:
            return chr(given[-1 if last else 0])
        if code is sign.NEGATE:
            break
        if code is sign.CATEGORY:
            return {"CATEGORY_SPACE": " ", "CATEGORY_DIGIT": "1", "CATEGORY_WORD": "a"}.get(str(given), "!")
    banned = {chr(given) for code, given in items if code is sign.LITERAL}
    return next(char for char in "a1 !x-" if char not in banned)


def spent(pattern: re.Pattern[Any], method: str, text: str) -> float:
    """Seconds of processor of one use."""
    given: Any = text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")
    call = getattr(pattern, method)
    began = time.thread_time()
    if method == "sub":
        call("" if isinstance(given, str) else b"", given)
    elif method == "finditer":
        list(call(given))
    else:
        call(given)
    return time.thread_time() - began


PATTERNS = patterns()


@pytest.mark.parametrize("place", PATTERNS)
def test_a_text_made_against_a_pattern_takes_it_no_longer_than_a_turn_of_the_loop(place: str) -> None:
    pattern, methods = PATTERNS[place]
    most = BOUNDED.get(place, COMMANDS if place.startswith("mcpwatch.cli.") else LONG)
    for begin, pump, end in texts(pattern):
        counts = [count for count in FEW if count * len(pump) <= most]
        while counts and counts[-1] * len(pump) < most:
            counts.append(min(4 * counts[-1], most // len(pump) + 1))
        for method in sorted(methods or {"search"}):
            for count in counts:
                text = begin + pump * count + end
                took = spent(pattern, method, text)
                if exceeds(took, MOST) and exceeds(min(spent(pattern, method, text) for _ in range(3)), MOST):
                    pytest.fail(f"{method}: {begin!r} + {pump!r} * {count} + {end!r} takes more than {MOST}s")
