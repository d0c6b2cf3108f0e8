"""`docs/explanation/state-machine.md`: the lifecycle of a member, drawn by asking `decide` what every event does in every phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mcpwatch.model.member import MemberState, Phase, Verdict, Want
from mcpwatch.model.time import Instant
from mcpwatch.watchdog import decide as d

HEAD = """# The lifecycle of a member

<!-- Made of mcpwatch/watchdog/decide.py by `make docs`. Do not edit. -->

What was asked (`want`), where a member is in its life (`phase`) and how healthy it is proven to be (`verdict`) are three separate
things. One pure function, `decide(state, event, rules)`, owns every transition; this page is drawn by asking it.
`tests/watchdog/test_decide.py` walks every reachable state and event and holds these invariants:

- a start is issued only where nothing lives, and every start raises the generation;
- what an older generation says changes nothing;
- every passing phase (`starting`, `stopping`, `backoff`) has a deadline;
- only a running member has a verdict;
- an unwanted member comes to rest;
- `failed` is reachable from a crash loop under every policy that the configuration accepts.

A member that fails comes back at once, then after growing pauses; when the restarts within `restart.period` exceed
`restart.intensity` it is parked in `failed` and gets one more try every `restart.retry`; by an exit code that says that there was
no command to run (126, 127) it is parked so at once. For a member whose carrier restarts
it by itself (a stdio server hosted in the gateway), `backoff` waits for that. Where an engine refuses the stop that a repair
began with, `stopping` leads back to `starting` of the same generation: what lives is looked at again, because what kept the engine
away may be what failed.

## What each event does in each phase

A cell names the next phase and, after a slash, what is done. `·` is nothing.

"""

NOW = Instant(1000.0)
RULES = d.LifecycleRules()


def pages() -> Mapping[str, str]:
    """Path to text."""
    ours, theirs = _table(RULES), _table(replace(RULES, theirs=True))
    text = HEAD + ours + "\n\n## The same for a member that its carrier restarts by himself\n\n" + theirs + "\n"
    return {"docs/explanation/state-machine.md": text}


def _table(rules: d.LifecycleRules) -> str:
    phases = list(Phase)
    lines = ["| event | " + " | ".join(f"`{phase}`" for phase in phases) + " |", "|---|" + "---|" * len(phases)]
    for words, event in _events().items():
        cells = [_cell(phase, event, rules) for phase in phases]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _events() -> dict[str, d.StateEvent]:
    """Every kind of event, as a person would say it."""
    return {
        "someone wants it up": d.WantUp(NOW),
        "someone wants it down": d.WantDown(NOW),
        "someone wants a restart": d.WantRestart(NOW),
        "a repair wants a restart": d.WantRestart(NOW, counts=True),
        "found alive at boot": d.Adopted(NOW, generation=1),
        "a probe succeeds": d.Judged(NOW, generation=1, verdict=Verdict.HEALTHY, proven=True),
        "a probe fails": d.Judged(NOW, generation=1, verdict=Verdict.UNHEALTHY),
        "the start failed": d.StartFailed(NOW, generation=1),
        "it ended, first time": d.GenerationEnded(NOW, generation=1, code=1),
        "what carries it went away": d.Lost(NOW, generation=1),
        "its carrier started it": d.CarrierRestarted(NOW),
        "the stop is done": d.Stopped(NOW, generation=1),
        "time passed unwatched": d.Unwatched(NOW),
        "the deadline passed": d.DeadlinePassed(NOW),
    }


def _state(phase: Phase) -> MemberState:
    """A state that is typical of a phase, its deadline just passed."""
    passing = phase in (Phase.STARTING, Phase.STOPPING, Phase.BACKOFF, Phase.FAILED)
    want = Want.DOWN if phase in (Phase.STOPPED, Phase.STOPPING) else Want.UP
    verdict = Verdict.HEALTHY if phase is Phase.RUNNING else Verdict.UNKNOWN
    return MemberState(want=want, phase=phase, verdict=verdict, generation=1, wake_at=NOW if passing else None)


def _cell(phase: Phase, event: d.StateEvent, rules: d.LifecycleRules) -> str:
    before = _state(phase)
    decision = d.decide(before, event, rules)
    done = [type(action).__name__.lower() for action in decision.actions if not isinstance(action, d.Publish)]
    after = decision.state
    moved = after.phase is not before.phase or done
    verdict = f"`{after.verdict}`" if after.verdict is not before.verdict and after.phase is before.phase else ""
    if not moved and not verdict:
        return "·"
    target = f"`{after.phase}`" if moved else verdict
    return target + (f" / {', '.join(done)}" if done else "")
