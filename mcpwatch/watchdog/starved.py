"""Whether a member is out of file descriptors: by what the kernel counts, what it answers, or what it wrote. Pure."""

from __future__ import annotations

import re

from mcpwatch.model.probe import Symptom
from mcpwatch.watchdog.snapshot import MUTE_SYMPTOMS, MemberSnapshot, Observation

STARVED_SYMPTOMS = MUTE_SYMPTOMS - {Symptom.UNREACHABLE} | {Symptom.HTTP_STATUS, Symptom.UPSTREAM_DOWN, Symptom.RPC_ERROR}
"""What one shows that has no file descriptor left: it takes no connection, or cannot open what it needs for an answer."""
ASKED_SYMPTOMS = STARVED_SYMPTOMS | {Symptom.TOOL_ERROR}
"""Those at which the kernel is asked, and its own answer believed: a tool may have failed for that alone."""
_WORDS = re.compile(r"too many open files|\bEMFILE\b|\bErrno 24\b", re.IGNORECASE)


def starved(member: MemberSnapshot, seen: Observation) -> str:
    """By what a member that fails shows now that it has none left; empty when nothing says so."""
    answered = f"{seen.message} {seen.result.said}" if seen.result is not None else ""
    if seen.symptom in ASKED_SYMPTOMS:
        if member.descriptors:
            return member.descriptors
        if _WORDS.search(answered):
            return f"it says so itself: {seen.message}"
    return ""


def wrote_so(member: MemberSnapshot, seen: Observation) -> str:
    """The same by its log, whose lines have no time: only where nothing that it says now is something else."""
    wrote = next((line for line in reversed(member.lines) if _WORDS.search(line)), "")
    return f"it wrote: {wrote}" if wrote and seen.symptom in STARVED_SYMPTOMS and not seen.misdirected else ""
