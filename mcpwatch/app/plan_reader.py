"""Reading the configuration. At the start in a process of its own, so that the watchdog never weighs what that takes.

The parsers, the validators and what they leave behind end with that process. It hands over the plan, which is frozen data; with it
come exactly those kinds that the plan speaks of. See ADR 0114.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mcpwatch.clients.rotate import admit
from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.spec import Plan

if TYPE_CHECKING:
    from mcpwatch.config.load import Loaded

T = TypeVar("T")


def read_plan(config: Path, state_dir: Path) -> Plan:
    """The plan in a file, with what a rotation of tokens adds. Raises `ConfigError`."""
    return read_file(config, state_dir)[1]


def read_file(config: Path, state_dir: Path) -> tuple[Loaded, Plan]:
    """The file as it is written and the plan in it, by one reading. Raises `ConfigError` with every fault."""
    try:
        from mcpwatch.app.kinds import all_kinds
        from mcpwatch.config.load import load
        from mcpwatch.config.plan import build
    except ImportError as error:  # at a reload: another version was installed over the one that runs, or it was removed
        words = f"cannot be read by the code that is on disk now ({error}); run 'mcpwatch upgrade'"
        raise ConfigError(Fault("", words, str(config))) from None

    loaded = load(config, all_kinds(), dict(os.environ))
    if loaded.faults:
        raise ConfigError(*loaded.faults)
    return loaded, admit(build(loaded.config, all_kinds(), state_dir=state_dir, world=loaded.world), state_dir)


def apart(config: Path, work: Callable[[], T]) -> T:
    """What `work` makes of this file, made by a forked process where this one has no threads yet.

    Whatever that process cannot do, a faulty file included, is done again here: what is raised is the same.
    """
    if threading.active_count() > 1 or not os.path.isfile(config):  # noqa: PTH113 - raises nothing; a pipe can be read but once
        return work()
    source, target = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(source)
        os.close(target)
        return work()
    if not child:
        os.close(source)  # else who writes would wait for itself to read, should the parent be killed
        _hand_over(work, target)
    os.close(target)
    with os.fdopen(source, "rb") as pipe:
        handed = pipe.read()
    with contextlib.suppress(ChildProcessError):  # where children are ignored, the kernel has waited
        os.waitpid(child, 0)
    try:
        made: T = pickle.loads(handed)  # noqa: S301 - from this very program
    except (EOFError, pickle.UnpicklingError):
        return work()
    return made


def _hand_over(work: Callable[[], object], target: int) -> None:
    """In the forked process: write what is made, and end at once, as nothing that was inherited may run here."""
    try:
        with os.fdopen(target, "wb") as pipe:
            pipe.write(pickle.dumps(work(), pickle.HIGHEST_PROTOCOL))
        os._exit(0)
    finally:
        os._exit(1)
