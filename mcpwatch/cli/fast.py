"""`status`, `version`, `--help` without the command line's libraries: for the shapes of arguments that are understood here whole.

`answer` prints exactly what the full program prints, or does nothing and returns `None`: then the full program does it all, and has
the last word on every error. Imports typer, rich and pydantic never, and nothing else that it can do without: it is asked a hundred
times a day, by people and by scripts. See ADR 0100.
"""

from __future__ import annotations

import os
import sys

from mcpwatch.app.state_root import state_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

WAIT = 2.0
"""Seconds for each step of an answer here; a watchdog that is slower is asked again by the full program, which waits longer."""
WIDTHS = (80, 110)
"""Columns for which the help is kept ready in `help/`; the last is the widest that it is ever set to."""
MOST = 64 << 20
"""Bytes of an answer that are read here."""
_NOT_HERE = ("MCPWATCH_URL", "_MCPWATCH_COMPLETE")
"""Variables with which the full program does something else."""

UP_FLAGS = ("--plain", "--watch-config", "--no-watch-config")
UP_VALUES = ("-c", "--config", "--log-format")
"""Options of `up`, without and with a value, with which it runs the watchdog in this process."""


def answer(arguments: Sequence[str]) -> int | None:
    """Print the answer and return the exit code, or do nothing and return `None`."""
    if any(os.environ.get(name) for name in _NOT_HERE):
        return None
    try:
        if list(arguments) in (["--help"], ["-h"]):
            return _help()
        if list(arguments) in (["version"], ["--version"]) and not os.path.exists(f"{state_root(os.environ)}/edits/journal.json"):
            from mcpwatch import __version__

            return _say(f"mcpwatch {__version__}\n", 0)
        if arguments[:1] == ["status"] and all(word == "--json" or word[:1] not in ("-", "") for word in arguments[1:]):
            names = [word for word in arguments[1:] if word != "--json"]
            return _status(names, as_json="--json" in arguments)
    except (OSError, ValueError, LookupError, TypeError):
        return None  # a daemon that is not there, an answer that is none, a terminal that cannot show it: the full program says so
    return None


def begins(arguments: Sequence[str]) -> bool:
    """Whether these arguments begin a watchdog in this process, in one of the shapes that are understood here."""
    words = list(arguments)
    while words and words[0] == "--state-dir":
        del words[:2]
    if words[:1] != ["up"] or os.environ.get("_MCPWATCH_COMPLETE"):
        return False
    del words[0]
    while words:
        if words[0] in UP_VALUES:
            del words[:2]
        elif words[0] in UP_FLAGS:
            del words[0]
        else:
            return False
    return True


def _help() -> int | None:
    """The help of the whole program, kept ready for the usual widths; its first line names the program as it was called."""
    from mcpwatch.cli.table import columns

    wide = min(columns(), WIDTHS[-1])
    if wide not in WIDTHS or os.path.basename(sys.argv[0]) != "mcpwatch":
        return None
    with open(os.path.join(os.path.dirname(__file__), "help", f"{wide}.txt"), encoding="utf-8") as file:
        return _say(file.read(), 0)


def _status(names: Sequence[str], *, as_json: bool) -> int | None:
    """The status document of the daemon on this machine, printed."""
    root = state_root(os.environ)
    if os.path.exists(f"{root}/edits/journal.json"):
        return None  # an edit was interrupted, and the full program undoes it first
    document = _ask(f"{root}/control.sock")
    if document is None:
        return None
    from mcpwatch.cli.status import named, only, render

    if not set(names) <= named(document):
        return None
    document = only(document, names)
    if as_json:
        from mcpwatch.cli.out import as_text

        return _say(as_text(document) + "\n", 0 if document["healthy"] else 1)
    import time

    from mcpwatch.cli.table import coloured, terminal_width

    lines = render(document, colour=coloured(), now=time.time(), width=terminal_width())
    return _say("".join(f"{line}\n" for line in lines), 0 if document["healthy"] else 1)


def _say(text: str, code: int) -> int:
    """Print all of it, and return `code`; where it cannot be written, say so and return another."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except UnicodeEncodeError:
        raise  # nothing was written; the full program shows it in another way
    except OSError as error:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - the interpreter would try once more at its end
        if isinstance(error, BrokenPipeError):
            return 0
        sys.stderr.write(f"mcpwatch: cannot write: {error.strerror}\n")
        return 5
    return code


def _ask(path: str) -> dict[str, Any] | None:
    """`GET /status` over the control socket; `None` for anything but a whole answer with 200. Raises `OSError`, `ValueError`."""
    import json
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(WAIT)
        connection.connect(path)
        connection.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\r\n")
        parts: list[bytes] = []
        while (part := connection.recv(1 << 18)) and sum(map(len, parts)) < MOST:
            parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    first, *fields = head.lower().split(b"\r\n")
    length = next((field[15:].strip() for field in fields if field.startswith(b"content-length:")), b"")
    if first.split(b" ")[1:2] != [b"200"] or length != str(len(body)).encode():
        return None
    found: Any = json.loads(body)
    return found if type(found) is dict else None  # pyright: ignore[reportUnknownVariableType]
