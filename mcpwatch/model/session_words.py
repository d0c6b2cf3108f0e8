"""The words by which a server speaks of sessions (it does not know one, or serves one alone) and of logins that it waits for. Pure.

Watchdog and gateway read them alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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


LATEST = 12
"""Lines from the end that are read: what it said before those is over."""
_LOGIN = r"(?:authori[sz]\w*|authenticat\w*|oauth|log[ -]?in\b|sign[ -]?in\b|consent|device|verification)"
_WAITS = re.compile(
    rf"\b{_LOGIN}.{{0,80}}\b(?:visit\w*|open|browser|go to|navigat\w+)\b"
    r"|\b(?:authori[sz]e|authenticate|log[ -]?in|sign[ -]?in|consent)\b.{0,80}https?://"
    rf"|\b(?:visit\w*|open|browser|go to|navigat\w+)\b.{{0,80}}\b{_LOGIN}|https?://\S*(?:authorize|oauth|/login|/device)\b"
    rf"|\bwait\w*\b.{{0,40}}\b{_LOGIN}|\bdevice code\b|\benter (?:the|this|your) code\b"
    r"|\b(?:log|sign)[ -]?in (?:is )?(?:first|required|needed)\b|\b(?:please|to) (?:log|sign)[ -]in\b"
    r"|\bauthentication (?:is )?required\b",
    re.IGNORECASE,
)
_DONE = re.compile(
    r"\b(?:log(?:ged)?|sign(?:ed)?)[ -]?(?:in|on) (?:as|success)|\b(?:now|already) (?:logged|signed) in\b|\bauthenticated\b"
    rf"|\b{_LOGIN}.{{0,30}}\b(?:success\w*|complete\w*|granted|done|finished|ok|received|failed|denied|cancel\w*|timed out)\b"
    r"|\b(?:received|got|saved|stored) .{0,30}\b(?:token|code|credentials)\b|\b(?:listening|connected|serving|ready|running)\b",
    re.IGNORECASE,
)
_OVER = re.compile(r"\b(?:success|completed|granted|fail|denied|cancel|timed out)", re.IGNORECASE)
"""Words after which nobody waits for it any more."""


def waits_for_login(lines: Sequence[str]) -> str:
    """The last line that asks a person to log in, when nothing says after it that this is over; else the empty string."""
    for line in reversed(lines[-LATEST:]):
        if _WAITS.search(line):
            return "" if _OVER.search(line) else line.strip()
        if _DONE.search(line) and "callback" not in line.lower():
            return ""
    return ""
