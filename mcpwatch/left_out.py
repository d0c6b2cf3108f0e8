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
ANYIO_TLS, ANYIO_NAMES = "anyio.streams.tls", ("TLSConnectable", "TLSStream")
"""What anyio asks of its own TLS when it is imported."""


class StandIn(ModuleType):
    """Stands for a module that is no package until somebody asks for a name that is not `given` here; then it tells `loaded`."""

    def __init__(
        self, name: str, given: Mapping[str, Callable[[], Any]], loaded: Callable[[ModuleType], None] = lambda _: None
    ) -> None:
        super().__init__(name)
        self.__dict__.update(_given=given, _loaded=loaded)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of every module by who imports it, and by who looks through all of them
            raise AttributeError(name)
        given: Mapping[str, Callable[[], Any]] = self.__dict__["_given"]
        standing = sys.modules.get(self.__name__) is self
        if standing and name in given:
            return given[name]()
        if standing:
            del sys.modules[self.__name__]
            self.__dict__["_loaded"](_loaded(self.__name__))
        return getattr(_loaded(self.__name__), name)


def leave_out() -> None:
    """Put the stand-ins. Before anything is imported that would import what they stand for."""
    for name, given in LATER.items():
        if name not in sys.modules:
            sys.modules[name] = StandIn(name, given)


def leave_out_tls() -> None:
    """Put stand-ins for `ssl` and what needs it, and have digests made without OpenSSL. Before asyncio is imported."""
    if {"ssl", "asyncio", "anyio", "hashlib", "_hashlib"}.isdisjoint(sys.modules):
        sys.modules["ssl"] = StandIn("ssl", TLS, _given_tls)
        sys.modules[ANYIO_TLS] = StandIn(ANYIO_TLS, dict.fromkeys(ANYIO_NAMES, _unused))
        modules: dict[str, Any] = sys.modules
        modules["_hashlib"] = None  # `hashlib` has its own of everything but PBKDF2 and scrypt, which nobody asks of a watchdog


def leave_out_logging_config() -> None:
    """Uvicorn's reader of logging from files, which nobody asks for, and with it socketserver and the handlers of logging."""
    _loaded("logging")

    if "logging.config" not in sys.modules:
        standing = sys.modules["logging.config"] = StandIn("logging.config", {})
        vars(sys.modules["logging"])["config"] = standing


def _given_tls(ssl: ModuleType) -> None:
    """The real module is there: who took the stand-in when it was imported has it from now on."""
    if not sys.modules.get("_hashlib"):
        sys.modules.pop("_hashlib", None)
    for name in ("asyncio.base_events", "asyncio.selector_events", "asyncio.sslproto"):
        if name in sys.modules:
            vars(sys.modules[name])["ssl"] = ssl
    if isinstance(sys.modules.get(ANYIO_TLS), StandIn):
        del sys.modules[ANYIO_TLS]
        if (sockets := sys.modules.get("anyio._core._sockets")) is not None:
            vars(sockets).update({name: getattr(_loaded(ANYIO_TLS), name) for name in ANYIO_NAMES})
    if "asyncio.sslproto" in sys.modules:
        vars(sys.modules["asyncio.sslproto"])["SSLAgainErrors"] = (ssl.SSLWantReadError, ssl.SSLSyscallError)


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


class NamedCharacters:
    """Stands for `html.entities.html5`: the names of characters, loaded when the first of them is looked for."""

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> str:
        return self._names[name]

    @property
    def _names(self) -> dict[str, str]:
        standing = sys.modules["html.entities"]
        if isinstance(standing, StandIn):
            _ = standing.entitydefs  # any other name than the given one
        return sys.modules["html.entities"].html5


class NoTls(Exception):
    """Stands for what no object is, and nobody raises, as long as nobody speaks TLS."""


TLS: Mapping[str, Callable[[], Any]] = {
    "SSLSocket": lambda: NoTls,
    "SSLSyscallError": lambda: NoTls,
    "SSLWantReadError": lambda: NoTls,
    "CERT_NONE": lambda: 0,
    "PROTOCOL_TLS_SERVER": lambda: 17,
}
"""What asyncio and uvicorn ask of `ssl` when they are imported, and asyncio of each socket."""
LATER: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    # Executors of threads and processes, and with them multiprocessing.
    "apscheduler.executors.pool": {"ThreadPoolExecutor": _unused},
    # The names of characters in HTML: who shows text only escapes it.
    "html.entities": {"html5": NamedCharacters},
    # httpx's own command line, and with it rich and pygments: 5 MB.
    "httpx._main": {"main": _unused},
    # The search for pydantic's plugins, through every package that is installed.
    "pydantic.plugin._loader": {"get_plugins": lambda: tuple},
    # uvicorn's own command line, and with it click, multiprocessing and its watcher of source files.
    "uvicorn.main": {"Server": lambda: _loaded("uvicorn.server").Server, "main": _unused, "run": _unused},
}
"""Modules, each with the names that are asked for when another is imported, and what makes their values."""
