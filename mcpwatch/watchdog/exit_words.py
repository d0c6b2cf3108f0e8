"""How an incarnation ended, in words; what a bridge writes of what it runs. Pure."""

from __future__ import annotations

import re
import signal

from mcpwatch.model.incarnation import Exited as RuntimeExited
from mcpwatch.model.restart import exit_words
from mcpwatch.model.text import plain

_REFUSED = re.compile(
    r"flag provided but not defined|unrecogni[sz]ed (argument|option)|unknown (flag|option|argument)|no such option|invalid option",
    re.IGNORECASE,
)
_HINT = re.compile(r"(Run|See|Try) ['\"`].*(help|-h)\b|For more (help|information)|note: run with `RUST_BACKTRACE", re.IGNORECASE)
"""Lines that only say where help is: docker's last words."""
_GAVE_UP = re.compile(r" ERROR (?P<name>[^ :]+): exited with code \d+(?: \([\w ]+\))?; giving up$")
"""The last line of our own bridge when what it runs ended; what that said stands above it."""
_PASSED_ON = re.compile(r" INFO [^ :]+: stderr: (?P<text>.*\w.*)")
_TROUBLE = re.compile(r"\b\w*(?:error|exception|fatal|panic)\b", re.IGNORECASE)
_OWN_SIGNALS = frozenset(
    {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP}
)
"""Signals that a program brings upon itself, as a rule: its last words tell of them. Of others it knows nothing."""
_GROUP = re.compile(r"[ |]*\| |\s*\+-[-+].*$")
"""How Python draws a group of exceptions: bars before each line, rules between them."""
_CUT = re.compile(r"^\.\.\. \(max_group_(depth|width) is \d+\)$|^\(\d+ sub-exceptions?\)$")
_LETTER = re.compile(r"[^\W\d_]")
_NODE = re.compile(r"Node\.js v\d+\.\d+\.\d+$")
"""The last line that Node.js writes of each error, below the stack."""
_FRAME = re.compile(
    r"#?\d++: ++0x[\da-f]|#\d++ ++0x[\da-f]|at [^\s(]++ ?\(.*\)$|at \S+:\d++:\d++$"
    r"|[^\s:]+\.go:\d|goroutine \d++ \[|-{3,}+ .{1,60} -{3,}+$|(?:Aborted|Segmentation fault)\b.{0,30}$|exit status \d++$",
    re.IGNORECASE,
)
"""A line of a stack as Node.js, V8, Go, Java and the C library write it, or the words around one: what led to it stands above."""

_PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE|port is already allocated|port is taken|Errno 98", re.IGNORECASE)


def describe_exit(end: RuntimeExited, tail: tuple[str, ...] = ()) -> str:
    """How an incarnation ended, in words: `killed by SIGKILL (out of memory)`, `exited with code 1: <its last line of stderr>`."""
    if end.signal is not None:
        words = f"killed by {_signal_name(end.signal)}"
    elif end.code is not None:
        words = exit_words(end.code)
    else:
        words = "ended" if end.detail else "ended, how cannot be known"
    if end.oom:
        words += " (out of memory)"
    said = "" if end.detail.startswith(("killed by", "exited")) else end.detail
    own = end.signal in _OWN_SIGNALS if end.signal is not None else bool(end.code)
    said = said or (telling(tail) if own else "")
    return f"{words}: {said}" if said else words


def telling(tail: tuple[str, ...]) -> str:
    """The line that tells most: a refused option, below which Go programs print their whole usage; else the last."""
    lines = [line[found.end() :] if (found := _GROUP.match(line)) else line for line in map(plain, tail)]
    lines = [line for line in lines if not _CUT.match(line)]
    told = [line for line in lines if line and not _HINT.match(line)] or lines
    told = _behind_a_bridge(told)
    if told and _dumped(told[-1]):
        plainer = [line for line in told if not _dumped(line)]
        told = [line for line in plainer if (word := _TROUBLE.search(line)) and ": " in line[word.end() :]] or plainer or told
    refused = next((line for line in told if _REFUSED.search(line)), "")
    return f"{refused} (is the program too old for it?)" if refused else told[-1] if told else ""


def _dumped(line: str) -> bool:
    """Whether it is of a dump: a stack, the end of an object ("}"), the version of the interpreter."""
    return not _LETTER.search(line) or _NODE.match(line) is not None or _FRAME.match(line.strip()) is not None


def _behind_a_bridge(told: list[str]) -> list[str]:
    """What the server behind our own bridge said, where the bridge gave it up."""
    if not told or not _GAVE_UP.search(told[-1]):
        return told
    return [found["text"] for line in told if (found := _PASSED_ON.search(line))] or told


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def port_refused(words: str) -> bool:
    """Whether the last words of one are that it could not have its port."""
    return bool(_PORT_TAKEN.search(words))


_SERVED = re.compile(
    r"<(?P<go>[^<>]+)> (?:Connected|Handling requests at)\b|msg=\"?Connected\"?\b.*?\bclient=\"?(?P<slog>[^\s\"]+)"
)
_BEGUN = re.compile(r"<(?P<go>[^<>]+)> Connecting\b|msg=\"?Connecting\"?(?= ).*?\bclient=\"?(?P<slog>[^\s\"]+)")
_FAILED = re.compile(r"Failed to (?:add|initialize|create) client")
_ALL = re.compile(r"All clients initialized")


def unserved(lines: tuple[str, ...]) -> bool:
    """Whether a bridge says that it could not begin what it runs, or that it began that and no more: one that tries at its start
    alone needs another.
    """
    told = [plain(line) for line in lines]
    return any(_FAILED.search(line) for line in told) or bool(_names(_BEGUN, told) - _names(_SERVED, told))


def all_served(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a bridge serves, in order, when it says that this is all it runs and that nothing failed; else none."""
    told = [plain(line) for line in lines]
    if not any(_ALL.search(line) for line in told) or any(_FAILED.search(line) for line in told):
        return ()
    return tuple(sorted(_names(_SERVED, told)))


def _names(pattern: re.Pattern[str], told: list[str]) -> set[str]:
    """The servers of which a pattern tells."""
    return {found["go"] or found["slog"] for line in told if (found := pattern.search(line))}
