"""A process namespace for mutants: code that is wrong by intention must not see a process of this machine, let alone signal it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

OUTSIDE = "MCPWATCH_MUTANTS_OUTSIDE"
"""Names the process namespace that was left."""
WAITING = '"$@"; exit $?'
"""The first process of the namespace: it waits, and everything that the mutants leave behind ends with it."""
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a run by hand. `unshare` and the first process of a namespace hear none of these."""
REFUSED = "no mutant runs without a process namespace of its own"


def enter() -> None:
    """Go on in a process namespace of our own: returns there only; here it ends with what was done there, or with a reason."""
    try:
        here, outside = str(Path("/proc/self/ns/pid").readlink()), os.environ.get(OUTSIDE)
        if outside is None:
            user = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
            cell = ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", WAITING, "sh"]
            os.environ[OUTSIDE] = here
            raise SystemExit(_waited(subprocess.Popen([*cell, *sys.orig_argv])))
        if here == outside or str(Path("/proc/self").readlink()) != str(os.getpid()):
            raise SystemExit(f"{REFUSED}: this one is the machine's")
    except OSError as error:
        raise SystemExit(f"{REFUSED} (Linux, unshare of util-linux): {error}") from None


def _waited(cell: subprocess.Popen[bytes]) -> int:
    """The exit code of the namespace; whatever ends us ends all of it, without a word of its own."""
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        ended.append(number)
        cell.kill()  # the kernel then kills the first process of the namespace, and with it everyone there

    for number in ENDS:
        signal.signal(number, end)
    code = cell.wait()
    return 128 + ended[0] if ended else code
