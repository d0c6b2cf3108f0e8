"""The kinds of checks a user may write, a line each. What a kind is stands in its own file: its spec and the function that runs it.

The keys that every check has (interval, timeout, expect, tool …) belong to `config`.
"""

from __future__ import annotations

from mcpwatch.checks.auth_check import REFUSAL
from mcpwatch.checks.context import CheckKind
from mcpwatch.checks.http_tcp_checks import HTTP, TCP
from mcpwatch.checks.mcp_check import MCP

CHECKS: tuple[CheckKind, ...] = (MCP, REFUSAL, HTTP, TCP)
