"""The external runtime: members that others run. Watched by checks, never started, never stopped. Owns nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

from mcpwatch.model.incarnation import Incarnation, RuntimeEvent
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.view import Usage
from mcpwatch.registry import KindSpec


class ExternalMemberSpec(KindSpec):
    """Nothing to say: the member's `url` is all there is."""


class ExternalRuntime:
    """Carries nothing; says of everything that it lives."""

    name = "external"
    supervision: Literal["ours", "theirs"] = "ours"

    def __init__(self, directory: Path, instance: str) -> None:
        """The same arguments as every runtime; none is needed."""
        del directory, instance
        self._closed = asyncio.Event()

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """Nothing is ours."""
        del specs
        return ()

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """It is taken to live; checks tell whether it does."""
        return Incarnation(spec.name, generation, spec.fingerprint)

    def number(self, living: Incarnation) -> None:
        """Nothing appears by itself."""

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """It is not ours to stop."""

    async def resume(self, spec: MemberSpec) -> None:
        """It is not ours to wake."""

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        """Nothing is ever seen; ends when closed."""
        nothing: tuple[RuntimeEvent, ...] = ()
        await self._closed.wait()
        for event in nothing:
            yield event

    def usage(self, member: str) -> Usage | None:
        """Not to be seen from here."""
        del member
        return None

    async def close(self) -> None:
        """Nothing to let go of."""
        self._closed.set()
