"""What libraries load with themselves and mcpwatch never uses is loaded when somebody asks for it after all.

A stand-in has only the names that are asked for at an import; it becomes the module when asked for another. See ADR 0125.
"""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import Any

METADATA = "importlib.metadata"


class StandIn(ModuleType):
    """Stands for a module that is no package until somebody asks for a name that is not `given` here."""

    def __init__(self, name: str, given: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__(name)
        self.__dict__["_given"] = given

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of every module by who imports it, and by who looks through all of them
            raise AttributeError(name)
        given: Mapping[str, Callable[[], Any]] = self.__dict__["_given"]
        if name in given:
            return given[name]()
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(_loaded(self.__name__), name)


def leave_out() -> None:
    """Put the stand-ins. Before anything is imported that would import what they stand for."""
    for name, given in LATER.items():
        if name not in sys.modules:
            sys.modules[name] = StandIn(name, given)


@contextlib.contextmanager
def without_entry_points() -> Generator[None]:
    """What is imported in here finds no plugins: the search reads a file of every package that is installed."""
    if METADATA in sys.modules:
        yield
        return
    standing = StandIn(METADATA, {"entry_points": lambda: _no_entry_points, "version": lambda: _no_version})
    standing.__dict__["PackageNotFoundError"] = LookupError
    sys.modules[METADATA] = standing
    try:
        yield
    finally:
        if sys.modules.get(METADATA) is standing:
            del sys.modules[METADATA]


def _loaded(name: str) -> ModuleType:
    __import__(name)
    return sys.modules[name]


def _unused() -> Callable[[], None]:
    """Stands for what nobody calls."""

    def unused() -> None: ...

    return unused


def _no_entry_points(**_: str) -> tuple[()]:
    return ()


def _no_version(name: str) -> str:
    raise LookupError(name)


LATER: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    # Executors of threads and processes, and with them multiprocessing.
    "apscheduler.executors.pool": {"ThreadPoolExecutor": _unused},
    # httpx's own command line, and with it rich and pygments: 5 MB.
    "httpx._main": {"main": _unused},
    # The search for pydantic's plugins, through every package that is installed.
    "pydantic.plugin._loader": {"get_plugins": lambda: tuple},
    # uvicorn's own command line, and with it click, multiprocessing and its watcher of source files.
    "uvicorn.main": {"Server": lambda: _loaded("uvicorn.server").Server, "main": _unused, "run": _unused},
    # Its restarter of programs, and with it multiprocessing.
    "watchfiles.run": {"arun_process": _unused, "run_process": _unused},
}
"""Modules, each with the names that are asked for when another is imported, and what makes their values."""
