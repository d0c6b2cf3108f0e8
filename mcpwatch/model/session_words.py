"""The words by which a server says that it does not know, or not any more, the MCP session of a request, or that it
serves one alone. Watchdog and gateway read them alike. Pure."""

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


ONE_SESSION = re.compile(
    r"already (?:initiali[sz]ed|connected|attached|in use|in session)"
    r"|already (?:has|have|an?|one) (?:\w+ )?(?:session|client|connection)"
    r"|\b(?:session|client|connection)(?: \w+){0,2} already (?:\w+ )?(?:active|open|exists|taken|established|running)\b"
    r"|\b(?:only|just|at most) (?:one|a single|1) (?:\w+ )?(?:session|client|connection|user)"
    r"|\b(?:single|another|other|different|second|one)[- ](?:\w+ )?(?:session|client|connection|user|agent)\b"
    r"|\b(?:multiple|concurrent|parallel|simultaneous|more than one) (?:\w+ )?(?:session|client|connection)s?\b"
    r"|\b(?:held|locked|occupied|taken|in use|being used) by\b|\b(?:somebody|someone) else\b"
    r"|\b(?:is|currently) (?:occupied|in use)\b",
    re.IGNORECASE,
)
"""It serves one client at a time."""
KEPT = "the gateway keeps the only session that it has"
"""How the gateway says that it has that session itself, and may not share it."""
