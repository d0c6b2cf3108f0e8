"""Words of sessions: whether they speak of a session of MCP that is lost, or of sessions that a tool keeps for itself. Pure."""

from __future__ import annotations

import re

from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.model.probe import Vantage
from mcpwatch.model.session_words import ALONE, INVALID_PARAMS, WORDS

SESSION = re.compile(WORDS, re.IGNORECASE)
_TRANSPORT = re.compile(r"^(?:mcp error -?\d+: )?transport error\b", re.IGNORECASE)
_TRANSPORT_STATUS = re.compile(r"\(40[04]\)|\bstatus(?: code)?:? 40[04]\b|mcp-session", re.IGNORECASE)


def lost_session(failure: ProbeFailure, vantage: Vantage, *, listed: bool = False) -> bool:
    """Whether words of a session in a JSON-RPC error are of an MCP session: of our own by the status, of a proxy's by its words.

    `listed`: this very session listed what is behind it a moment ago, from no memory, so that the proxy's own session lives.
    """
    if failure.status is not None:
        return True
    if failure.code == INVALID_PARAMS:
        return False  # an argument of the call
    if _TRANSPORT.search(failure.said) or _TRANSPORT_STATUS.search(failure.said):
        return True
    return vantage == "route" and not listed and ALONE.fullmatch(failure.said) is not None


def passed_on(said: str, vantage: Vantage, *, listed: bool = False) -> bool:
    """Whether words of a session in the result of a call are those by which a proxy passes on that it lost its own.

    `listed`: as above, or it is a proxy that tells of troubles of its own by errors, never by results.
    """
    alone = vantage == "route" and not listed and ALONE.fullmatch(said.strip()) is not None
    return _TRANSPORT.search(said) is not None or alone
