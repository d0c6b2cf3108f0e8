"""A process namespace for mutants: code that is wrong by intention must not see a process of this machine, let alone signal it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

OUTSIDE = "MCPWATCH_MUTANTS_OUTSIDE"
"""Names the process namespace that was left."""
WAITING = '"$@"; exit $?'
"""The first process of the namespace: it waits, and everything that the mutants leave behind ends with it."""


REFUSED = "no mutant runs without a process namespace of its own"


def enter() -> None:
    """Go on in a process namespace of our own: returns there only, or ends with a reason."""
    try:
        here, outside = str(Path("/proc/self/ns/pid").readlink()), os.environ.get(OUTSIDE)
        if outside is None:
            user = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
            cell = ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", WAITING, "sh"]
            os.environ[OUTSIDE] = here
            os.execvp(cell[0], [*cell, *sys.orig_argv])
        if here == outside or str(Path("/proc/self").readlink()) != str(os.getpid()):
            raise SystemExit(f"{REFUSED}: this one is the machine's")
    except OSError as error:
        raise SystemExit(f"{REFUSED} (Linux, unshare of util-linux): {error}") from None
