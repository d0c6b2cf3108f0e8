"""What is made of a list once and used again while the server sends the same bytes: fingerprints, lint, weight, contract.

Bounded; only ever a shortcut: what is forgotten is made anew. Keyed by the digest of what the server sent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from mcpwatch.checks import expectations, hidden_text, shapes
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.rpc import Message
from mcpwatch.checks.schema import lint_tools, plain_tools
from mcpwatch.model.contract import snapshot, weight
from mcpwatch.model.probe import Target, Tool

K = TypeVar("K")
V = TypeVar("V")

LISTS_MAX = 16_384
"""Lists whose findings are kept."""
CONTRACTS_MAX = 1_024
"""Contract texts that are kept."""
LONG = 100
"""Tools from which on a list is looked through in a thread, so that the loop goes on. So is one that needs the library for schemas:
that alone takes longer to load than a loop should stand."""
OTHERS_MAX = 4_096
"""Targets whose prompts and resources are kept."""
OTHERS_TTL = 600.0
"""Seconds until prompts and resources are listed again."""
FAILED_TTL = 60.0
"""Seconds until they are asked for again when not all of them came: one slow answer is soon forgotten."""


@dataclass(frozen=True, slots=True)
class CachedList:
    """What is known of one list of tools. `safe` names a tool that may be called without arguments as a proof, if there is one."""

    tools: tuple[Tool, ...]
    fingerprint: str
    tokens: int
    lint: tuple[str, ...]
    safe: str | None
    hidden: tuple[str, ...] = ()
    """Lint of what models read and people do not see."""


@dataclass(frozen=True, slots=True)
class Others:
    """The lists beside the tools; `None` where the server offers none. `digest` identifies them."""

    at: float
    digest: bytes
    prompts: list[Message] | None
    resources: list[Message] | None
    templates: list[Message] | None
    failed: ProbeFailure | None = None
    """Why not all of it could be listed."""
    hidden: tuple[str, ...] = ()
    """Lint of what models read in these lists and people do not see."""


class ListCache:
    """Shortcuts for all targets of a prober."""

    def __init__(self) -> None:
        self._lists: OrderedDict[bytes, CachedList] = OrderedDict()
        self._contracts: OrderedDict[bytes, str] = OrderedDict()
        self._others: OrderedDict[str, Others] = OrderedDict()

    async def listed(self, digest: bytes, items: list[Message], *, modern: bool = False) -> CachedList:
        """What is to be known of a list; a long or odd one is looked through in a thread. Raises `ProbeFailure` when it is none.

        `modern` lists are those of 2026-07-28, where the schema of an output is free.
        """
        kept = self._lists.get(digest)
        if kept is None:
            aside = len(items) > LONG or not plain_tools(items)
            kept = await asyncio.to_thread(_listed, items, modern) if aside else _listed(items, modern)
        _keep(self._lists, digest, kept, LISTS_MAX)
        return kept

    def contract(self, digest: bytes, tools: list[Message], others: Others) -> str:
        """The contract text of a target."""
        key = digest + others.digest
        kept = self._contracts.get(key)
        if kept is None:
            kept = snapshot(tools=tools, prompts=others.prompts, resources=others.resources, templates=others.templates)
        _keep(self._contracts, key, kept, CONTRACTS_MAX)
        return kept

    def others(self, target: Target, now: float) -> Others | None:
        """What is known of a target's prompts and resources, unless that is too old."""
        kept = self._others.get(target.url)
        fresh = kept is not None and now - kept.at < (OTHERS_TTL if kept.failed is None else FAILED_TTL)
        return kept if fresh else None

    def keep_others(self, target: Target, others: Others) -> None:
        """Remember a target's prompts and resources."""
        _keep(self._others, target.url, others, OTHERS_MAX)

    def forget(self, target: Target) -> None:
        """List prompts and resources of this target again next time."""
        self._others.pop(target.url, None)


def _listed(items: list[Message], modern: bool) -> CachedList:
    shapes.tools(items, modern=modern)
    tools = expectations.tools_of(items)
    return CachedList(
        tools,
        expectations.fingerprint(tools),
        weight(items),
        lint_tools(items),
        expectations.safe_tool(items),
        hidden_text.lint("tool", items),
    )


def _keep(kept: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > limit:
        kept.popitem(last=False)
