"""A route that is answered by the very error by which the member fails itself: from the server, and no service. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.watchdog.history import CheckHistory

_WRONGLY_CALLED = re.compile(r"answered with error -3260[12]\b")
"""An error that a healthy server gives too to a call that is wrong on purpose."""


def echoed(result: ProbeResult, direct: Iterable[CheckHistory]) -> ProbeResult:
    """The result of a route; a failure where its call had that same error which the member, asked itself, answers to all.

    A call that has to fail proves by whatever error comes that the server is reached. Not that it works.
    """
    if result.outcome is Outcome.FAILURE or not result.said:
        return result
    said = next((one.said for one in (_refused(history) for history in direct) if one and one.said in result.said), "")
    if not said:
        return result
    message = f"tools/call was answered as the member itself is asked in vain: {said}"
    return replace(result, outcome=Outcome.FAILURE, symptom=Symptom.RPC_ERROR, stage=Stage.SAFE_CALL, message=message)


def _refused(history: CheckHistory) -> ProbeResult | None:
    """The latest result of a check, where the server answered its handshake or list with an error that says something."""
    latest = history.latest
    if latest is None or not history.failing or latest.symptom is not Symptom.RPC_ERROR or not latest.said:
        return None
    return None if _WRONGLY_CALLED.search(latest.message) else latest
