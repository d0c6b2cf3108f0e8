"""How an incarnation ended, in words. Pure."""

from __future__ import annotations

import re
import signal

from mcpwatch.ports import Exited as RuntimeExited

_REFUSED = re.compile(
    r"flag provided but not defined|unrecogni[sz]ed (argument|option)|unknown (flag|option|argument)|no such option|invalid option",
    re.IGNORECASE,
)
_HINT = re.compile(r"(Run|See|Try) ['\"`].*(help|-h)\b|For more (help|information)", re.IGNORECASE)
"""Lines that only say where help is: docker's last words."""


def describe_exit(end: RuntimeExited, tail: tuple[str, ...] = ()) -> str:
    """How an incarnation ended, in words: `killed by SIGKILL (out of memory)`, `exited with code 1: <its last line of stderr>`."""
    if end.signal is not None:
        words = f"killed by {_signal_name(end.signal)}"
    elif end.code is not None:
        words = f"exited with code {end.code}"
    else:
        words = "ended" if end.detail else "ended, how cannot be known"
    if end.oom:
        words += " (out of memory)"
    said = "" if end.detail.startswith(("killed by", "exited")) else end.detail
    said = said or (_telling(tail) if end.code else "")
    return f"{words}: {said}" if said else words


def _telling(tail: tuple[str, ...]) -> str:
    """The line that tells most: a refused option, below which Go programs print their whole usage; else the last."""
    told = [line.strip() for line in tail if line.strip() and not _HINT.match(line.strip())] or [line.strip() for line in tail]
    refused = next((line for line in told if _REFUSED.search(line)), "")
    return f"{refused} (is the program too old for it?)" if refused else told[-1] if told else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
