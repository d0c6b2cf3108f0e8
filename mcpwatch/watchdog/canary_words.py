"""When a canary itself is wrong: it calls what the server does not have, or in a way that it does not take. Pure."""

from __future__ import annotations

import re

from mcpwatch.model.probe import ProbeResult, Stage, Symptom

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
