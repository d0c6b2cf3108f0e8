"""Mutants of functions, tried in forks of one process that has collected the tests: the code of what changed is swapped.

That takes a hundredth of the time of a new pytest. Outside of functions, plain constants and the defaults of functions and data
classes are reached; a mutant of anything else ends with `LEFT` and is for a process of its own.
"""

from __future__ import annotations

import gc
import math
import os
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType

import pytest
from hypothesis import Phase, settings

from tools.mutants import Mutant, changed

PLAIN: tuple[type, ...] = (bool, int, float, str, tuple, frozenset)
"""Values that are the same wherever they are."""
OURS = ("mcpwatch", "tests")
LEFT = 77
"""Exit code for a mutant that cannot be tried so."""

PATIENCE, SLACK = 3.0, 3.0
"""Seconds of processor time that a test may take against a mutant, and how many times what it took when it was traced."""
WAIT = 4.0
"""How many times that a test may take by the clock, on a machine that is busy."""

PHASES = (Phase.explicit, Phase.generate)
"""What hypothesis does against a mutant: nobody reads an example, so that none is made small."""

Start = Callable[[Mutant, list[str], float], int]
"""Begins to try a mutant with these tests, so many seconds for each; returns the process."""


class Swapper:
    """A pytest plugin: in place of the loop over the tests, `work` runs with a way to try mutants in forks."""

    def __init__(self, seconds: dict[str, float], work: Callable[[Start], None]) -> None:
        self._seconds = seconds
        self._work = work
        self._tests: dict[str, pytest.Item] = {}
        self._functions: defaultdict[str, list[FunctionType]] = defaultdict(list)
        self._before = cache(_compiled)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All is loaded and collected, and nothing has run."""
        self._tests = {item.nodeid: item for item in session.items}
        gc.unfreeze()  # what is frozen is not among the objects
        for one in gc.get_objects():
            if isinstance(one, FunctionType):
                self._functions[one.__code__.co_filename].append(one)
        gc.freeze()
        self._work(self._start)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """One failure is enough, and need not be told."""
        if call.excinfo is not None and not call.excinfo.errisinstance((pytest.skip.Exception, pytest.xfail.Exception)):
            os._exit(1)

    def _start(self, mutant: Mutant, tests: list[str], limit: float) -> int:
        del limit  # each test has its own
        self._before(mutant.path)
        child = os.fork()
        if child:
            return child
        os.setpgid(0, 0)
        try:
            if mutant.way != "none" and not self._swap(mutant):
                os._exit(LEFT)
            items = [self._tests[test] for test in tests]
            for item, following in zip(items, [*items[1:], None], strict=True):
                took = SLACK * self._seconds.get(item.nodeid, 0.0)
                resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + PATIENCE + took), resource.RLIM_INFINITY))
                busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
                item.add_marker(pytest.mark.timeout(WAIT * (PATIENCE + took * busy)))
                item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        except BaseException:  # noqa: BLE001 - a mutant that breaks even pytest is dead
            os._exit(1)
        os._exit(0)

    def _swap(self, mutant: Mutant) -> bool:
        """Give the functions of a mutant's file their changed code. Whether there were any that could be changed."""
        fresh, before = compile(changed(mutant), str(mutant.path), "exec", dont_inherit=True), self._before(mutant.path)
        codes, known = _named(fresh), _named(before)
        different = {name: code for name, code in codes.items() if code != known.get(name)}
        pairs = [(one, different[name]) for one in self._functions[str(mutant.path)] if (name := _name(one.__code__)) in different]
        if any(code.co_freevars != one.__code__.co_freevars for one, code in pairs):
            return False
        for one, code in pairs:
            one.__code__ = code
        return bool(pairs) or self._swap_values(mutant, fresh, before)

    def _swap_values(self, mutant: Mutant, fresh: CodeType, before: CodeType) -> bool:
        """Give the module of a mutant, its classes and whoever imported from it the changed plain values. Whether there are any."""
        module = next(one for one in tuple(sys.modules.values()) if getattr(one, "__file__", None) == str(mutant.path))
        new, old = ({**vars(module)} for _ in range(2))
        exec(fresh, new)
        exec(before, old)
        found = False
        for name, value in new.items():
            if isinstance(value, PLAIN) and value != old[name]:
                found, original = True, vars(module)[name]
                for other in tuple(sys.modules.values()):
                    if getattr(other, "__name__", "").startswith(OURS) and vars(other).get(name) is original:
                        setattr(other, name, value)
        for name, function in _functions(module.__name__, new).items():
            mine, theirs = _functions(module.__name__, vars(module)).get(name), _functions(module.__name__, old).get(name)
            if mine is None or theirs is None:
                continue
            found |= _swap_defaults(mine, theirs, function)
        return found


def _compiled(path: Path) -> CodeType:
    return compile(path.read_bytes(), str(path), "exec", dont_inherit=True)


def _swap_defaults(mine: FunctionType, before: FunctionType, fresh: FunctionType) -> bool:
    """Give a function the plain defaults that the mutant changed. Whether there are any."""
    values, named = [(one.__defaults__ or (), one.__kwdefaults__ or {}) for one in (mine, before, fresh)], mine.__kwdefaults__
    plain = _mixed(*(positional for positional, _ in values))
    keyed = _mixed(*(tuple(keywords.values()) for _, keywords in values))
    if plain is not None:
        mine.__defaults__ = plain
    if keyed is not None and named is not None:
        mine.__kwdefaults__ = dict(zip(named, keyed, strict=True))
    return plain is not None or keyed is not None


def _mixed(mine: tuple[object, ...], before: tuple[object, ...], fresh: tuple[object, ...]) -> tuple[object, ...] | None:
    """These values with the plain ones that changed; `None` when none did."""
    triples = list(zip(mine, before, fresh, strict=True))
    mixed = tuple(new if isinstance(new, PLAIN) and new != old else own for own, old, new in triples)
    return mixed if mixed != mine else None


def _functions(module: str, names: dict[str, object]) -> dict[str, FunctionType]:
    """The functions of a module and of its classes."""
    found: dict[str, FunctionType] = {}
    for name, value in names.items():
        if isinstance(value, FunctionType) and value.__module__ == module:
            found[name] = value
        elif isinstance(value, type) and value.__module__ == module:
            found |= {f"{name}.{key}": one for key, one in vars(value).items() if isinstance(one, FunctionType)}
    return found


def _name(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _named(whole: CodeType) -> dict[tuple[str, int], CodeType]:
    """The code of each function of a module, but of those that share a name and a line."""
    codes = list(_codes(whole))
    times = Counter(_name(code) for code in codes)
    return {_name(code): code for code in codes if times[_name(code)] == 1}


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Every piece of code within another."""
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes(one)


def swapped(tests: list[Path], options: list[str], seconds: dict[str, float], work: Callable[[Start], None]) -> int:
    """Collect the tests, which take so many seconds each, and run `work` in place of them. 0 when it ended well."""
    settings.register_profile("mutant", max_examples=15, derandomize=True, deadline=None, phases=PHASES)
    return pytest.main(
        [*map(str, tests), *options, "--assert=plain", "--hypothesis-profile=mutant"], plugins=[Swapper(seconds, work)]
    )
