"""The limit of open files: raised for the watchdog, given back to its members as it was, and what it carries.

Owns numbers only. What is given up when descriptors run short is decided in `app.shortage`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys
from collections.abc import MutableMapping

DIRECTORY = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
"""Where the kernel shows what this process has open."""
INHERITED = "MCPWATCH_NOFILE"
"""Environment variable with the soft limit that the watchdog was started with: it outlives an upgrade in place."""
OWN = 40
"""Descriptors of a watchdog without members, a few to spare: loop, store, lock, sockets, inotify, libraries."""
LOG_SHARE = 8
"""One of so many descriptors may be held for members' logs."""
PER_STREAM = 3
"""Descriptors of one open stream of a log: raw file, log, cursor."""
UNBOUNDED = 1 << 16
"""A limit from here on is told as none."""


def raise_limit(environment: MutableMapping[str, str] = os.environ) -> int:
    """Raise the soft limit to the hard one, as far as it can be; the limit in force then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    environment.setdefault(INHERITED, str(soft))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def limit() -> int:
    """How many descriptors this process may have open."""
    return bounded(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def bounded(most: int) -> int:
    """A limit as the kernel tells it, with a number for none."""
    return UNBOUNDED if most in (resource.RLIM_INFINITY, -1) else most


def keep_to_ourselves() -> None:
    """Close on exec what whoever started us left open: what we open ourselves is closed on exec anyway."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/dev/fd"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), int(name) < 3)


def give_back(pid: int) -> None:
    """Give a child the soft limit that we were started with: programs that use select(2) break above 1,024."""
    words = os.environ.get(INHERITED, "")
    if words.isdigit():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (int(words), hard))


def used(directory: str = DIRECTORY) -> int | None:
    """How many descriptors are open now: all, where not even one is left to look with. `None` where nothing tells it.

    Linux 6.2 and newer tell it as the size of the directory, which costs one call and no descriptor; older ones have it listed.
    """
    try:
        return (os.stat(directory).st_size if sys.platform == "linux" else 0) or len(os.listdir(directory))  # noqa: PTH116, PTH208
    except OSError as error:
        return limit() if error.errno in (errno.EMFILE, errno.ENFILE) else None


def carries(most: int) -> int:
    """Members that a limit of `most` descriptors carries: each needs one, besides ours and a share for logs. 0: no bound."""
    return 0 if most >= UNBOUNDED else max(1, most - most // LOG_SHARE - OWN)


def open_streams(most: int) -> int:
    """Streams of members' logs whose files may stay open under a limit of `most` descriptors."""
    return max(2, most // LOG_SHARE // PER_STREAM)
