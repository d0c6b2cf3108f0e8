"""Words of a server by which it says itself that a restart cannot help. Pure. Must not know who saw them, and where."""

from __future__ import annotations

import re

from mcpwatch.model.probe import ProbeResult, Symptom

_REFUSALS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "dependency",
        re.compile(r"no space left on|ENOSPC|disk (?:quota|is full|full)|EDQUOT|read-only file ?system|EROFS", re.IGNORECASE),
        "it answers, but cannot write where it has to",
    ),
    ("licence", re.compile(r"licen[cs]e|subscription|billing|payment required|quota", re.IGNORECASE), "it refuses to work"),
    (
        "overloaded",
        re.compile(
            r"too many (?:requests|sessions|connections|clients)|(?:session|connection)s? limit|max(?:imum)? (?:number of )?"
            r"(?:sessions|connections)|answered 429|rate.?limit|overloaded|retry later|try again later",
            re.IGNORECASE,
        ),
        "it takes no more requests for now",
    ),
    (
        "auth",
        re.compile(
            r"unauthori[sz]ed|forbidden|answered 40[13]|login required|"
            r"(?:invalid|missing|expired) (?:api.?)?(?:key|token|credentials)",
            re.IGNORECASE,
        ),
        "it refuses our credentials",
    ),
    (
        "dependency",
        re.compile(r"ECONNREFUSED|connection refused|could not connect to|database is|no route to host|ENOTFOUND", re.IGNORECASE),
        "it answers, but what it depends on does not",
    ),
    (
        "dependency",
        re.compile(r"permission denied|EACCES|operation not permitted|EPERM", re.IGNORECASE),
        "it answers, but this machine does not let it do what it has to",
    ),
)
"""Words of a server by which it says itself that a restart cannot help: cause, words, text."""


_NAMES = re.compile(
    r"""\b\w++://\S+|\b(?:lookup|dial tcp) \S+|\b(?:member|server|client|route|upstream) ["'][^"'\s]+["']|\bclient=\S+|^<[^>]+>"""
)
"""What only names a server or a host: one that is called `billing` refuses nothing by that."""


def refused(words: str, *names: str) -> tuple[str, str] | None:
    """Cause and text when these words of a server, which `names` it, say that a restart cannot help, else `None`."""
    for name in names:
        words = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "", words)
    said = _NAMES.sub("", words)
    return next(((cause, text) for cause, pattern, text in _REFUSALS if pattern.search(said)), None)


def refusal(result: ProbeResult | None) -> tuple[str, str] | None:
    """Cause and text when a server says itself that a restart cannot help, else `None`."""
    if result is None or result.symptom not in (Symptom.RPC_ERROR, Symptom.TOOL_ERROR, Symptom.HTTP_STATUS, Symptom.UPSTREAM_DOWN):
        return None
    found = refused(f"{result.message} {result.said}")
    if found is None or (result.symptom is Symptom.UPSTREAM_DOWN and found[0] == "dependency"):
        return None  # by a proxy that says so, the upstream is the member itself
    return found[0], f"{found[1]}: {result.message}"
