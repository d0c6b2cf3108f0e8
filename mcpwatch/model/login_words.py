"""The words by which a program that starts says that a person has to log in, and that it waits for that. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
