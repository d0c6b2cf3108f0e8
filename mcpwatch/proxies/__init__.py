"""Every proxy kind, in one tuple: to add one, write its file and its test, and name it here."""

from __future__ import annotations

from typing import Any

from mcpwatch.proxies import external, gateway, sparfenyuk, tbxark
from mcpwatch.registry import Kind

PROXIES: tuple[Kind[Any], ...] = (gateway.KIND, tbxark.KIND, sparfenyuk.KIND, external.KIND)
