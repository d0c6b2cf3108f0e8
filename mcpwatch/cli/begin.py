"""The watchdog in this process, which holds neither the command line nor what reads a configuration.

Arguments and configuration are read by a forked process, as by any command, errors included; it hands over the plan and ends. Where
it ends without, it was no `up`, or it said what is wrong, and its exit code is ours. See ADR 0125.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Generator

from mcpwatch.app import hang
from mcpwatch.app.assembly import Options
from mcpwatch.app.daemon import Daemon
from mcpwatch.cli import exits
from mcpwatch.cli.exits import told
from mcpwatch.model.spec import Plan


class Handover:
    """Where a process that reads for another writes what it has read. Set once, after the fork."""

    target: int | None = None


def begin(whole: Callable[[], object]) -> int:
    """Run `up` as the arguments of this process say, until the watchdog is told to stop; returns the exit code.

    `whole` is the full program: what the forked process runs, and this one where it cannot fork.
    """
    if threading.active_count() > 1:  # a fork would lose them
        return _all(whole)
    source, target = os.pipe()
    with told(), _children_waited_for():
        try:
            child = os.fork()
        except OSError:
            os.close(source)
            os.close(target)
            return _all(whole)
        if not child:
            os.close(source)  # else who writes would wait for itself to read, should the parent be killed
            Handover.target = target
            return _all(whole)
        os.close(target)
        try:
            with os.fdopen(source, "rb") as pipe:
                handed = pipe.read()
        finally:  # interrupted as well: the pipe is closed, so that it ends
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:  # it was killed
        return _all(whole)
    if not handed:
        return code
    options, plan = pickle.loads(handed)  # noqa: S301 - from this very program
    with told():
        return run(options, plan)


def hand_over(options: Options, plan: Plan) -> None:
    """Give what was read to the process that waits for it and end, nothing that was inherited may run; return where none waits."""
    if Handover.target is None:
        return
    handed = pickle.dumps((options, plan), pickle.HIGHEST_PROTOCOL)
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(BrokenPipeError), os.fdopen(Handover.target, "wb") as pipe:
        pipe.write(handed)
    os._exit(exits.OK)


def run(options: Options, plan: Plan) -> int:
    """Supervise this plan until told to stop; returns the exit code. Raises `McpwatchError`."""
    daemon = Daemon(options)
    with asyncio.Runner() as runner:
        try:
            return runner.run(_run(daemon, plan))
        except Exception as error:
            if not hang.of_memory(error):
                raise
            hang.out_of_memory(anew=daemon.begun)
            return exits.INTERNAL


async def _run(daemon: Daemon, plan: Plan) -> int:
    if not daemon.options.live:
        return await daemon.run(plan)
    from mcpwatch.cli import live

    try:
        return await daemon.run(plan, live.show)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.write("\x1b[?25h")
            sys.stdout.flush()


def _all(whole: Callable[[], object]) -> int:
    whole()
    return exits.OK


@contextlib.contextmanager
def _children_waited_for() -> Generator[None]:
    """Also where whoever began this process ignores children: the kernel would throw the exit code away."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
