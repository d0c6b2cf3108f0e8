"""The words by which a server says that it does not know, or not any more, the MCP session of a request. Pure."""

from __future__ import annotations

import re

WORDS = (
    r"(?:could not find session|session (?:not found|terminated|expired|id (?:is )?(?:invalid|unknown|not found))"
    r"|(?:invalid|unknown|no valid|unrecognized|expired) (?:mcp-)?session|no active session|re-?initialize)"
)
ALONE = re.compile(
    rf"\A(?:mcp error -?\d+: |error: |bad request: |unauthorized: )*+{WORDS}(?:[ -]id)?(?: provided)?\W*", re.IGNORECASE
)
"""All that is said of a lost session; a tool that has sessions of its own says more of them."""
INVALID_PARAMS = -32602
"""JSON-RPC: the parameters are invalid, so that an argument of the call names the session."""
