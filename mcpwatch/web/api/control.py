"""The fixed operations of the daemon's API, those that need only the fleet and the composition root. JSON in, JSON out."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from mcpwatch.model.errors import StoreError, UsageError
from mcpwatch.model.json import plain, status_json
from mcpwatch.ports import SupervisedFleet
from mcpwatch.web.api.catalog import Handler

PROBES_AT_ONCE = 4
"""Checks on demand that run at the same time; more wait for their turn."""


LARGE = 200
"""Members and routes of a fleet whose status takes more than a few milliseconds to make."""


class Operations(Protocol):
    """What only the composition root can do."""

    async def down(self, *, leave: bool) -> None:
        """Stop the watchdog (and, unless `leave`, all members). Returns at once."""
        ...

    async def reload(self) -> dict[str, Any]:
        """Load the configuration again and apply it. Raises `ConfigError`."""
        ...

    async def remembered(self) -> None:
        """Return when what was commanded so far is on disk. Raises `StoreError` when it cannot be written now."""
        ...

    async def upgrade(self) -> None:
        """Become the code installed now, leaving members running. Returns at once."""
        ...


class FleetCommands:
    """The fixed operations."""

    def __init__(self, fleet: SupervisedFleet, operations: Operations) -> None:
        self._fleet = fleet
        self._operations = operations
        self._probing = asyncio.Semaphore(PROBES_AT_ONCE)

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Method and path to handler."""
        return {
            ("GET", "/status"): self.status,
            ("POST", "/probe"): self.probe,
            ("POST", "/members/{name}/{verb}"): self.command,
            ("POST", "/down"): self.down,
            ("POST", "/reload"): self.reload,
            ("POST", "/upgrade"): self.upgrade,
        }

    async def status(self, body: dict[str, Any]) -> Any:  # noqa: ARG002
        """The status document; that of a large fleet is made in a thread, so that the watchdog goes on meanwhile."""
        view = self._fleet.view()
        if len(view.members) + len(view.routes) > LARGE:
            return await asyncio.to_thread(status_json, view)
        return status_json(view)

    async def command(self, body: dict[str, Any]) -> Any:
        """`start`, `stop` or `restart` a member; answers with the generation and phase right after."""
        name, verb = str(body["name"]), str(body["verb"])
        if verb not in ("start", "stop", "restart"):
            raise UsageError(f"no verb '{verb}'; verbs: start, stop, restart")
        await self._fleet.command(verb, name)
        try:
            await self._operations.remembered()
        except StoreError as error:
            words = f"{name}: '{verb}' is under way, but a restart of the watchdog would forget it, as it cannot be written down"
            raise StoreError(f"{words} ({error})") from error
        return plain(self._fleet.view().member(name))

    async def probe(self, body: dict[str, Any]) -> Any:
        """Run the checks of a member or route now."""
        name = str(body.get("name", ""))
        async with self._probing:
            found = await self._fleet.probe_now(name, body.get("vantage"))
        return [{"name": name, "check": check, "vantage": seen, **plain(result)} for check, seen, result in found]

    async def down(self, body: dict[str, Any]) -> Any:
        """Stop the watchdog."""
        await self._operations.down(leave=bool(body.get("leave", False)))
        return {"pid": self._fleet.view().daemon.pid}

    async def reload(self, body: dict[str, Any]) -> Any:  # noqa: ARG002
        """Load the configuration again."""
        return await self._operations.reload()

    async def upgrade(self, body: dict[str, Any]) -> Any:  # noqa: ARG002
        """Become the code installed now."""
        await self._operations.upgrade()
        return {"pid": self._fleet.view().daemon.pid}
