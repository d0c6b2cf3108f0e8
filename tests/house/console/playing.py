"""Plays a block on a stage, and says what was not as the page says."""

from __future__ import annotations

import time

from tests.house.console.blocks import ROOT, Block, Step, missing
from tests.house.console.settings import FOREVER, NOT_RUN, TELLS, Setting, runnable, setting_of
from tests.house.console.stage import Done, Stage

PATIENCE = 30.0
"""Seconds in which output that is shown must come: a person looks again, too."""


def play(stage: Stage, block: Block) -> None:
    """Run every command of a block; raises `AssertionError` for the first that is not as it is written."""
    setting = setting_of(block)
    for number, step in enumerate(one for one in block.steps if one.command not in NOT_RUN):
        if number == 0 or setting.apart:
            stage.prepare(setting.fleet)
            for command in setting.before:
                done = stage.run(command)
                assert done.code == 0, (command, done.said[-3000:])
        if first := setting.first.get(step.command):
            assert stage.run(first).code == 0, first
        done = _looked_again(stage, step, setting)
        assert "Traceback" not in done.said, (step.command, done.said[-3000:])
        assert done.code == 0 or (done.code == 1 and step.command in TELLS), (step.command, done.code, done.said[-3000:])
        assert missing(step.shown, done.said) == [], (step.command, done.said[-3000:])


def _looked_again(stage: Stage, step: Step, setting: Setting) -> Done:
    """Run a command; where output is shown, again until that came."""
    command, where = runnable(step.command, setting), ROOT if step.command.startswith("make ") else None
    done = stage.run(command, until=FOREVER.get(step.command, ""), where=where)
    deadline = time.monotonic() + PATIENCE
    while step.shown and missing(step.shown, done.said) and time.monotonic() < deadline:
        done = stage.run(command)
    return done
