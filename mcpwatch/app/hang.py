"""A hung watchdog starts itself anew: an alarm sees that the loop does not turn, writes all stacks and execs the same command.

For a daemon that no service manager watches (systemd does the same from outside, by `WatchdogSec`). Members notice nothing: the new
program has the same process number and adopts them. It must not know what the loop does. See ADR 0023.

And what systemd is told: READY, WATCHDOG, STOPPING, a status line; nothing where it did not start us.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
from collections.abc import Callable, Generator, Mapping
from typing import cast

from mcpwatch.app.upgrade import exec_anew

HANG_AFTER = 60.0
"""Seconds without a turn of the loop after which it counts as hung. `MCPWATCH_HANG_AFTER` changes it, 0 switches it off."""
LOOKS = 6
"""Alarms in that time. They are counted instead of seconds, because a frozen or suspended process gets one alarm when it wakes."""
STDERR = 2
HUNG = "MCPWATCH_HUNG"
"""Tells the new program why it was started: after so many seconds, or `MEMORY`."""
MEMORY = "memory"


def of_memory(error: BaseException | None) -> bool:
    """Whether memory was refused: in an exception, in one of its group, or in the one that was being handled when it came."""
    while error is not None:
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions if isinstance(error, BaseExceptionGroup) else ()
        if isinstance(error, MemoryError) or any(of_memory(one) for one in inner):
            return True
        error = error.__context__
    return False


def out_of_memory(*, anew: bool) -> None:
    """Say that the loop was refused memory: nothing here can be relied on, not even an orderly end. Start anew, if told."""
    then = b"starting anew, members stay" if anew else b"members stay, 'mcpwatch up' takes them over"
    with contextlib.suppress(OSError):
        os.write(STDERR, b"mcpwatch: the watchdog was refused memory; %s\n" % then)
    if anew:
        _disarm()
        os.environ[HUNG] = MEMORY
        exec_anew()


class HangWatch:
    """Armed on the main thread; `beat` is called by the loop, every two seconds."""

    def __init__(self, anew: Callable[[], None], environment: Mapping[str, str] = os.environ) -> None:
        """`anew` replaces this program, and does not return. A service manager that watches us makes this idle."""
        self._anew = anew
        self._after = 0.0 if "WATCHDOG_USEC" in environment else hang_after(environment)
        self._beats = self._seen = self._missed = 0

    def beat(self) -> None:
        """The loop turned."""
        self._beats += 1

    @contextlib.contextmanager
    def armed(self) -> Generator[None]:
        """Look for as long as this lasts, unless somebody else uses the alarm of this process."""
        taken = signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL or signal.getitimer(signal.ITIMER_REAL)[0] > 0
        if not self._after or taken:
            yield
            return
        signal.signal(signal.SIGALRM, self.look)
        signal.setitimer(signal.ITIMER_REAL, self._after / LOOKS, self._after / LOOKS)
        try:
            yield
        finally:
            _disarm()

    def look(self, *_: object) -> None:
        """One alarm: count those since the last beat, and act on the one too many."""
        if self._beats != self._seen:
            self._seen, self._missed = self._beats, 0
            return
        self._missed += 1
        if self._missed < LOOKS:
            return
        _disarm()
        try:
            with contextlib.suppress(Exception):  # nowhere to write to is no reason to stay hung
                _tell(f"mcpwatch: the event loop did not turn for {self._after:g}s; starting anew, members stay. Where it was:\n")
        finally:
            os.environ[HUNG] = f"{self._after:g}"
            self._anew()


def _tell(words: str) -> None:
    """Write words and all stacks to standard error, what of them fits: its reader may be stuck, and `sys.stderr` may be in use."""
    blocking = os.get_blocking(STDERR)
    os.set_blocking(STDERR, False)
    try:
        os.write(STDERR, words.encode())
        faulthandler.dump_traceback(STDERR, all_threads=True)
    finally:
        os.set_blocking(STDERR, blocking)  # the next program has it too


def hang_after(environment: Mapping[str, str]) -> float:
    """Seconds after which a loop that does not turn is hung; 0 for never."""
    try:
        return max(0.0, float(environment.get("MCPWATCH_HANG_AFTER", HANG_AFTER)))
    except ValueError:
        return HANG_AFTER


def was_hung() -> str:
    """What to tell when this program was started by the alarm of its predecessor, else nothing. Tells it once."""
    seconds = os.environ.pop(HUNG, "")
    if seconds == MEMORY:
        return "the watchdog was refused memory and started itself anew; its members stayed"
    return f"the watchdog hung for {seconds}s and started itself anew; where it hung is in its output" if seconds else ""


def _disarm() -> None:
    """An alarm outlives an exec, and would end the new program before it can answer."""
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send e.g. `READY=1` or `STATUS=three members` to the service manager. Never blocks for long, never raises."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(1.0)
        channel.sendto(message.encode(), b"\0" + address[1:].encode() if address[0] == "@" else address.encode())
        return True
    return False


def heartbeat(environment: Mapping[str, str] = os.environ) -> float | None:
    """Seconds between two `WATCHDOG=1`, half of what systemd allows; `None` when it does not watch this process."""
    text, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdigit() or int(text) == 0 or (pid.isdigit() and int(pid) != os.getpid()):
        return None
    return int(text) / 2_000_000
