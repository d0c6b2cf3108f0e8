"""Whether an answer is an HTTP 503 and not one word more. Pure; what follows from that is no matter of it (`unavailable`)."""

from __future__ import annotations

import re

from mcpwatch.model.probe import ProbeResult, Symptom

_NOTHING = frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "is",
        "are",
        "was",
        "service",
        "services",
        "server",
        "temporarily",
        "currently",
        "unavailable",
        "not",
        "available",
        "http",
        "error",
        "errors",
        "status",
        "code",
        "detail",
        "message",
        "title",
        "type",
        "reason",
        "null",
        "none",
        "true",
        "false",
        "about",
        "blank",
        "sorry",
        "nginx",
        "openresty",
        "apache",
        "envoy",
        "haproxy",
        "caddy",
    ]
)
"""Words that only say again what the status says, or who says it."""


def bare(result: ProbeResult | None) -> bool:
    """Whether an answer is a 503 that says neither why nor for how long."""
    if result is None or result.symptom is not Symptom.OVERLOADED or result.http_status != 503 or result.retry_after is not None:
        return False
    return all(word in _NOTHING for word in re.findall(r"[a-z]+", result.said.lower()))
