"""Whether an error that a living server answers with is all that there is to know of it: then no restart is known to help. Pure.

A server that greets and answers has spoken for itself, in whatever words: "vector store offline", "backend gone fishing". What a
restart can heal shows otherwise: in words of sessions, transports and processes, in an error that says nothing at all, or in lists
that it gave before and refuses now. A canary that is wrong itself is no fault of the server's.
Must not know who saw the words, and where.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.symptom import CALLS
from mcpwatch.watchdog.history import CheckHistory

_LISTS = frozenset({Stage.TOOLS_LIST})
_BESIDE = CALLS | {Stage.PROMPTS_LIST, Stage.RESOURCES_LIST}
"""What is asked of a server that has listed its tools."""

_HEALED = re.compile(
    r"\b(?:sessions?|transports?|deadlock\w*|wedged|stuck|corrupt\w*|EPIPE|EOF|EMFILE|ENOMEM|MemoryError)\b|too many open files"
    r"|\bconnection (?:\w+ )?(?:closed|lost|reset|broken|dead)|\b(?:not|never|already) (?:initiali[sz]ed|closed)\b"
    r"|\bnot connected\b(?! to\b)|\bdisconnected\b|\bbroken (?:pipe|stream|channel|socket)"
    r"|\b(?:pipe|stream|channel|socket|stdin|stdout)\b.{0,20}\b(?:closed|broken|ended)"
    r"|\b(?:process|child|subprocess|worker|thread|event loop|executor|pool)\b.{0,30}"
    r"\b(?:exit|end|die|dead|gone|kill|terminat|crash|clos|shut|stop|hang|hung|exhaust|no longer|not respond)"
    r"|\bout of (?:memory|heap)|cannot allocate|\bheap\b|\bserver is shutting down|\brestart (?:the |this )?(?:mcp )?server"
    r"|\breconnect|\brequest timed? ?out|\binvalid request\b",
    re.IGNORECASE,
)
"""Words of what a new process, session or connection would have anew."""
_EMPTY = frozenset(
    re.findall(
        r"\w+",
        "a an and answered at calling code error errors exception executing execution failed failure generic handling in internal"
        " is list mcp occurred of oops problem processing request response server something sorry the there this to tool tools try"
        " unexpected unhandled unknown unspecified was went while with wrong call",
    )
)
"""Words of an error that says nothing but that it is one."""


def spoken(result: ProbeResult | None, *, succeeded: bool) -> bool:
    """Whether a server that runs said in an error of JSON-RPC what is wrong, and not that it is itself or a way to it.

    `succeeded`: it was well since its start; one that listed its tools then and refuses it now may do so again when it is started.
    """
    if result is None or result.symptom is not Symptom.RPC_ERROR or unasked(result):
        return False
    if result.stage not in (_BESIDE if succeeded else _BESIDE | _LISTS):
        return False
    words = result.said or result.message
    return _HEALED.search(words) is None and bool(set(re.findall(r"[^\W\d_]+", words.lower())) - _EMPTY)


WRONG_CANARY = "its canary is not what it takes: {}"
"""How that is told, with what the server said."""
WRONG_CALL_CODES = frozenset({-32601, -32602})
"""JSON-RPC: the method is not found, its parameters are invalid."""
_NO_SUCH_TOOL = re.compile(
    r"\b(?:unknown|no such) tool\b|\btool [\"']?[\w./-]{1,128}[\"']? (?:is )?(?:not found|unknown)\b", re.IGNORECASE
)
"""What official SDKs say, as a tool's error, of one that they do not have."""
_WRONG_ARGUMENTS = re.compile(
    r"\binput validation error\b|\binvalid arguments for tool\b|\bvalidation errors? for (?:call\[|\w{1,128}Arguments\b)",
    re.IGNORECASE,
)
"""What they say, as a tool's error, of arguments that its schema does not take."""


def untold(result: ProbeResult | None) -> bool:
    """Whether a canary is answered by words that there is no tool of that name."""
    return result is not None and result.stage is Stage.CANARY and bool(_NO_SUCH_TOOL.search(result.message))


def unasked(result: ProbeResult | None) -> bool:
    """Whether a canary asks for what the server does not offer, or in a way that it does not take."""
    if result is None or result.stage is not Stage.CANARY:
        return False
    if result.symptom is not Symptom.TOOL_ERROR:
        return result.rpc_code in WRONG_CALL_CODES
    words = result.message
    return result.rpc_code in WRONG_CALL_CODES or bool(_NO_SUCH_TOOL.search(words) or _WRONG_ARGUMENTS.search(words))


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
