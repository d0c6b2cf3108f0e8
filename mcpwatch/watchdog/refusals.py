"""Words of a server by which it says itself that a restart cannot help. Pure. Must not know who saw them, and where."""

from __future__ import annotations

import re
from dataclasses import replace

from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.symptom import CALLS

_DENIED = re.compile(r"permission denied|EACCES|operation not permitted|EPERM", re.IGNORECASE)
_REFUSALS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "dependency",
        re.compile(
            r"no space left on|ENOSPC|disk (?:quota|is full|full)|EDQUOT|read-only file ?system|EROFS|insufficient storage",
            re.IGNORECASE,
        ),
        "it answers, but cannot write where it has to",
    ),
    (
        "licence",
        re.compile(
            r"licen[cs]e|subscription|entitlement|billing|quota"
            r"|payment (?:required|overdue|failed|is (?:due|overdue|required))|credits? (?:balance"
            r"|exhausted|(?:has|have) run out|used up)|(?:out of|insufficient"
            r"|not enough|\bno(?: more| remaining)?) (?:api )?credits?\b"
            r"|insufficient (?:funds|balance)|\btrial (?:period )?(?:has |is )?(?:ended|expired|over)\b"
            r"|upgrade (?:your|to a) (?:\w+ )?(?:plan|account|tier)"
            r"|\b(?:free|your) (?:plan|tier)\b|plan (?:has )?expired|plan does(?: not|n't) (?:include|allow|cover|support)"
            r"|\b(?:paid|pro|premium|plus|enterprise|business|higher) (?:plan|tier|account|edition)\b|\bplan limit"
            r"|account (?:is |has been |was )?(?:suspended|disabled|deactivated|blocked)"
            r"|(?:usage|spending|daily|monthly) limit",
            re.IGNORECASE,
        ),
        "it refuses to work",
    ),
    (
        "overloaded",
        re.compile(
            r"too many (?:\w+ )?(?:requests|sessions|connections|clients|users)|(?:session|connection|client)s? limit"
            r"|max(?:imum)? (?:number of )?(?:(?:concurrent|parallel|simultaneous|open|active) )?"
            r"(?:sessions|connections|clients|users|requests)\b|answered 429|rate.?limit|overloaded|at (?:full )?capacity"
            r"|\bno (?:free|more|available) (?:seats?|slots?|sessions?|connections?)\b|retry (?:later|shortly)"
            r"|try again (?:later|shortly)",
            re.IGNORECASE,
        ),
        "it takes no more requests for now",
    ),
    (
        "auth",
        re.compile(
            r"unauthori[sz]ed|forbidden|answered 40[13]|login required|"
            r"(?:invalid|missing|expired|revoked|incorrect) (?:api.?|access.?|auth.?)?(?:key|token|credentials)"
            r"|(?:api|access|auth).?(?:key|token) (?:\w+ ){0,2}"
            r"(?:expired|invalid|revoked|disabled|rejected|missing|required|not valid)"
            r"|\b(?:token|credentials) (?:has |have |is |are |was )?(?:expired|revoked)|no api.?key|invalid.api.?key"
            r"|unauthenticated|authentication (?:failed|required)|not authori[sz]ed"
            r"|\bnot (?:logged|signed) in\b|\b(?:log|sign) ?in first\b",
            re.IGNORECASE,
        ),
        "it refuses our credentials",
    ),
    (
        "dependency",
        re.compile(
            r"ECONNREFUSED|connection refused|could not connect to|database is|no route to host|ENOTFOUND|failed dependency"
            r"|fetch failed|EHOSTUNREACH|ENETUNREACH|network is unreachable|EAI_AGAIN|getaddrinfo|name resolution"
            r"|name or service not known|all connection attempts failed|cannot connect to host",
            re.IGNORECASE,
        ),
        "it answers, but what it depends on does not",
    ),
    (
        "dependency",
        _DENIED,
        "it answers, but this machine does not let it do what it has to",
    ),
)
"""Words of a server by which it says itself that a restart cannot help: cause, words, text."""


_LATE = r"time(?:d ?|-)?out"
_ANOTHER = re.compile(
    rf"ETIMEDOUT|ECONNRESET|EPIPE|connect(?:ion|ing)?\b.{{0,60}}\b(?:{_LATE}|reset|lost|aborted)|{_LATE} .{{0,20}}\bconnect"
    rf"|{_LATE} (?:\w+ ){{0,3}}(?:to|for|from|at) \S+:\d+|no such host|bad gateway|gateway time-?out|service unavailable"
    r"|(?:could not|cannot|can't|unable to|failed to) (?:connect|reach|resolve)\b"
    r"|\b(?:database|db|upstream|back-?end|redis|postgres\w*|mysql|mongo\w*|broker|queue)\b.{0,40}(?:(?:does|did|do)(?: not|n't)"
    rf" (?:answer|respond)|not (?:reachable|responding|available)|unreachable|unavailable|{_LATE})",
    re.IGNORECASE,
)
"""Words of a tool that does not reach what it needs. A proxy may say the same of the server behind it."""
_DECLINED = re.compile(
    r"\brequires? |\bnot (?:\w+ )?(?:enabled|allowed|permitted|included|entitled|activated|supported)\b"
    r"|\b(?:is|are|been) disabled\b|\bno access\b|\bdenied\b",
    re.IGNORECASE,
)
"""Words by which a call is declined."""

_ARGUMENT = re.compile(r"\brequired?s?\b|\bmissing\b|\binvalid\b|validat|\bargument|\bparameter|\bpropert", re.IGNORECASE)
"""Words of what a call without arguments is told by every server."""

_SESSIONS = re.compile(
    r"\bsession\b(?: \w+){0,2} (?:not found|expired|unknown|invalid|terminated|closed|lost)"
    r"|\b(?:unknown|invalid|expired|no (?:active|such|valid)|could not find) session\b|no session\b",
    re.IGNORECASE,
)
"""Words of one who keeps sessions of its own, and knows this one no more."""

_NAMES = re.compile(
    r"""\b\w++://\S+|\b(?:lookup|dial tcp) \S+|\b(?:member|server|client|route|upstream) ["'][^"'\s]+["']|\bclient=\S+|^<[^>]+>"""
)
"""What only names a server or a host: one that is called `billing` refuses nothing by that."""

_UNDER_IT = re.compile(
    r"\bno module named\b|\bcannot import name\b|\bImportError\b|\bModuleNotFoundError\b|\bERR_MODULE_NOT_FOUND\b"
    r"|\bcannot find module\b|\bundefined symbol\b|\bNoClassDefFoundError\b|\bClassNotFoundException\b"
    r"|\bstale (?:NFS )?file handle\b",
    re.IGNORECASE,
)
"""Words of a program whose files are others than those that it was started from."""

_CALLED = re.compile(r"^calling \S+ failed(?:, and not in the tool)?: ")
"""How we begin what is told of a call that failed."""


def refused(words: str, *names: str) -> tuple[str, str] | None:
    """Cause and text when these words of a server, which `names` it, say that a restart cannot help, else `None`."""
    for name in names:
        words = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "", words)
    said = _NAMES.sub("", words)
    return next(((cause, text) for cause, pattern, text in _REFUSALS if pattern.search(said)), None)


def _its_words(result: ProbeResult) -> str:
    """What the server said, and what is told of it, without the name of the tool in ours: one that is called `fetch` "failed"."""
    return f"{_CALLED.sub('', result.message)} {result.said}"


def refusal(result: ProbeResult | None) -> tuple[str, str] | None:
    """Cause and text when a server says itself that a restart cannot help, else `None`."""
    if result is None or result.symptom not in (Symptom.RPC_ERROR, Symptom.TOOL_ERROR, Symptom.HTTP_STATUS, Symptom.UPSTREAM_DOWN):
        return None
    found = refused(_its_words(result))
    if found is None or (result.symptom is Symptom.UPSTREAM_DOWN and found[0] == "dependency"):
        return None  # by a proxy that says so, the upstream is the member itself
    return found[0], f"{found[1]}: {result.message}"


def fails_behind(result: ProbeResult | None) -> bool:
    """Whether a tool, asked directly, says that what it needs does not answer."""
    return result is not None and _ANOTHER.search(_its_words(result)) is not None


def changed_under(seen: ProbeResult | None) -> bool:
    """Whether a tool failed because the program lacks a part of itself: of one that worked, an upgrade in place took it away."""
    if seen is None or seen.symptom not in (Symptom.TOOL_ERROR, Symptom.RPC_ERROR):
        return False
    return _UNDER_IT.search(_its_words(seen)) is not None


def safe_call_told(result: ProbeResult) -> ProbeResult:
    """The result, degraded where it is good but its safe call was answered by words of something that the server needs and does not
    reach: no tool says that of an argument that is missing."""
    if result.outcome is not Outcome.SUCCESS or not result.said:
        return result
    cause, _ = refused(result.said) or ("", "")
    behind = (cause == "dependency" and not _DENIED.search(result.said)) or _ANOTHER.search(result.said)
    if not behind or _ARGUMENT.search(result.said):
        return result
    words = f"a call of one of its tools was answered by: {result.said}"
    return replace(result, outcome=Outcome.DEGRADED, symptom=Symptom.TOOL_ERROR, stage=Stage.SAFE_CALL, message=words)


def declines(result: ProbeResult | None) -> bool:
    """Whether a canary was answered by an error of JSON-RPC whose words decline the call: the tool works, and does not do that."""
    if result is None or result.stage is not Stage.CANARY or result.symptom is not Symptom.RPC_ERROR:
        return False
    return _DECLINED.search(result.said or result.message) is not None


def forgets(result: ProbeResult | None) -> bool:
    """Whether a call was answered by words of a session: where the lists of the same server are well, its tool keeps sessions."""
    if result is None or result.stage not in CALLS or result.http_status is not None:
        return False
    lost = result.symptom in (Symptom.RPC_ERROR, Symptom.TOOL_ERROR, Symptom.STALE_SESSION, Symptom.SESSION_LOST)
    return lost and _SESSIONS.search(result.said or result.message) is not None
