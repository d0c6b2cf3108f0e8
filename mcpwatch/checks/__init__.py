"""Checks: the prober, its kinds, and `probe` for anyone's test.

    from mcpwatch.checks import probe
    result = await probe("http://127.0.0.1:9090/time/sse")

What is named here is imported when it is used: a command that only shows a symptom pays for no HTTP client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcpwatch.checks.kinds import CHECKS as CHECKS
    from mcpwatch.checks.library import probe as probe
    from mcpwatch.checks.prober import Prober as Prober

__all__ = ["CHECKS", "Prober", "probe"]

_HOMES = {"CHECKS": "mcpwatch.checks.kinds", "Prober": "mcpwatch.checks.prober", "probe": "mcpwatch.checks.library"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
