"""Who a process is, in words for a person: its number, its command without secrets, and the member of the fleet that it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mcpwatch.model.text import masked
from mcpwatch.runtimes.process_table import MARK

COMMAND_MAX = 80
"""Characters of a command that are shown."""
READ_MAX = 4096
"""Bytes of it that are looked through."""
_NAMED = r"(?:token|secret|pass(?:w(?:or)?d|phrase)?(?![a-z])|pwd|key|credentials?|authorization|auth|cookie|signature)[\w-]{0,40}"
_SECRET = re.compile(rf"((?:{_NAMED}[\"']?\s?[=:]|\b(?:bearer|basic)\s|{_NAMED}\s)\s?[\"']?).*", re.IGNORECASE | re.DOTALL)
"""What is called so in a word of a command line, and all that follows there: a value may have spaces of its own."""
_OPTION = re.compile(rf"-.*{_NAMED}|.*{_NAMED}[=:]|bearer|basic", re.IGNORECASE | re.DOTALL)
"""A word whose secret is the next one."""
_USER = re.compile(r"://\S{0,200}@")


def described(pid: int, instance: str) -> str:
    """`pid 7 (python3 -m http.server)`, and which member of this instance that is."""
    told, member = f"pid {pid} ({command(pid)})", member_of(pid, instance)
    if pid == os.getpid():
        return f"{told}, this mcpwatch itself"
    return f"{told}, the member '{member}'" if member else told


def member_of(pid: int, instance: str) -> str:
    """The member of this instance that a process is, or is of; empty when it is none, or nothing can be seen of it."""
    wanted = f"{MARK}={instance}/".encode()
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    found = next((one.removeprefix(wanted) for one in variables if one.startswith(wanted)), b"")
    return found.split(b"/")[0].decode(errors="replace")


def command(pid: int) -> str:
    """The command line of a process, shortened and without secrets; what it calls itself where it shows none."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()[:READ_MAX].decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return ""
    if not words[0]:
        return command_name(pid)
    line = " ".join((words[0].rpartition("/")[2] or words[0], *_masked(words[1:])))
    line = "".join(one if one.isprintable() else " " for one in line)
    return line if len(line) <= COMMAND_MAX else f"{line[: COMMAND_MAX - 1]}…"


def _masked(words: Iterable[str]) -> Iterator[str]:
    """The words of a command line without what looks like a secret; rather too much is taken out than too little."""
    follows = False
    for word in words:
        told = masked(_USER.sub("://***@", _SECRET.sub(r"\1***", word)))
        secret, follows = follows, _OPTION.fullmatch(word) is not None
        yield "***" if secret else told


def command_name(pid: int) -> str:
    """What a process calls itself; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
