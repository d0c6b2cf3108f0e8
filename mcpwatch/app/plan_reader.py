"""Reading the configuration. At the start in a process of its own, so that the watchdog never weighs what that takes.

The parsers, the validators and what they leave behind end with that process. It hands over the plan, which is frozen data; with it
come exactly those kinds that the plan speaks of. See ADR 0116.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path

from mcpwatch.clients.rotate import admit
from mcpwatch.model.spec import Plan


def read_plan(config: Path, state_dir: Path) -> Plan:
    """The plan in a file, with what a rotation of tokens adds. Raises `ConfigError`."""
    from mcpwatch.app.kinds import all_kinds
    from mcpwatch.config.load import load_plan

    return admit(load_plan(config, all_kinds(), dict(os.environ), state_dir), state_dir)


def read_apart(config: Path, state_dir: Path) -> Plan:
    """The same, read by a forked process: for a program that has no threads yet. Raises `ConfigError`.

    Whatever that process cannot do, a faulty file included, is done again here: what is told of it is the same.
    """
    if not config.is_file():  # a pipe can be read but once
        return read_plan(config, state_dir)
    source, target = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(source)
        os.close(target)
        return read_plan(config, state_dir)
    if not child:
        _hand_over(config, state_dir, target)
    os.close(target)
    with os.fdopen(source, "rb") as pipe:
        handed = pipe.read()
    with contextlib.suppress(ChildProcessError):  # where children are ignored, the kernel has waited
        os.waitpid(child, 0)
    try:
        plan: Plan = pickle.loads(handed)  # noqa: S301 - from this very program
    except (EOFError, pickle.UnpicklingError):
        return read_plan(config, state_dir)
    return plan


def _hand_over(config: Path, state_dir: Path, target: int) -> None:
    """In the forked process: write the plan, and end at once, as nothing that was inherited may run here."""
    try:
        with os.fdopen(target, "wb") as pipe:
            pipe.write(pickle.dumps(read_plan(config, state_dir), pickle.HIGHEST_PROTOCOL))
        os._exit(0)
    finally:
        os._exit(1)
