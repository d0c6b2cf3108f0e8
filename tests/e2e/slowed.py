"""`python -m tests.e2e.slowed MODULE:NAME SECONDS python -m mcpwatch …`: a watchdog in which one coroutine function begins late.

For races: what is between two awaits of the program can be made to take as long as a loaded machine makes it take.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class _Slowing(MetaPathFinder, Loader):
    """Imports one module as ever, and then has one of its functions sleep first."""

    def __init__(self, place: str, seconds: float) -> None:
        self._module, _, self._name = place.partition(":")
        self._seconds = seconds
        self._loader: Loader | None = None

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self._module else None
        if spec is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        assert self._loader is not None
        self._loader.exec_module(module)
        *owners, name = self._name.split(".")
        owner: Any = module
        for one in owners:
            owner = getattr(owner, one)
        setattr(owner, name, _late(getattr(owner, name), self._seconds))


def _late(function: Any, seconds: float) -> Any:
    async def late(*args: Any, **more: Any) -> Any:
        await asyncio.sleep(seconds)
        return await function(*args, **more)

    return late


if __name__ == "__main__":
    _, place, seconds, _python, _m, program, *rest = sys.argv
    sys.meta_path.insert(0, _Slowing(place, float(seconds)))
    sys.argv = [program, *rest]
    runpy.run_module(program, run_name="__main__", alter_sys=True)
