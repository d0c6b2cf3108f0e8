"""What is counted of one member for as long as the gateway runs.

Owns the numbers alone: they outlive the upstreams that count, and the member too when a reload takes it away and brings it back,
because a counter that goes back is read as a restart of the gateway.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mcpwatch.gateway.upstream.answer_record import AnswerRecord


@dataclass(slots=True)
class Counts:
    """Numbers that only grow, of all upstreams of one member together."""

    restarts: int = 0
    """Starts after an upstream's first one."""
    requests: int = 0
    """Requests sent to the member."""
    tool_calls: int = 0
    """Tool calls of clients that were answered, the watchdog's own checks left out."""
    tool_errors: int = 0
    """Those of them that failed."""
    polluted: int = 0
    """Lines on a process's stdout that were no message."""
    dropped: int = 0
    """Lines of a process that were too long."""
    lately: AnswerRecord = field(default_factory=AnswerRecord)
    """What its clients got lately."""
