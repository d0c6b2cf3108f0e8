"""The commands of this room as the daemon's API: sync, the table, undo, purge, print. Each takes JSON and gives JSON.

Owns the shape of the answers; they hold no secret. What is decided and written is `service` and `writer`.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread

from mcpwatch.clients import openwebui
from mcpwatch.clients.adapter import Client, Wanted
from mcpwatch.clients.adapters.open_webui import OpenWebUISpec
from mcpwatch.clients.files import read, resolve
from mcpwatch.clients.formats.edit import DROP, edit
from mcpwatch.clients.formats.path import EditRefused, Value
from mcpwatch.clients.ledger import Ledger, digest
from mcpwatch.clients.policy import ListingDecision
from mcpwatch.clients.reconcile import ReconcileResult
from mcpwatch.clients.service import ClientsService
from mcpwatch.clients.stale import Stale, elsewhere, stale
from mcpwatch.clients.sync import Job, sync
from mcpwatch.clients.tokens import masked
from mcpwatch.clients.writer import Done
from mcpwatch.model.errors import ClientFileError, McpwatchError, UsageError, suggest
from mcpwatch.model.time import WallTime, iso

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
MASK = "***"
ALIVE = "; left alone: something answers there, maybe another fleet"


class ClientsApi:
    """Answers for one service."""

    def __init__(self, service: ClientsService) -> None:
        self._service = service

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """What `web` mounts: (method, path) to a handler of the JSON body."""
        return {
            ("GET", "/clients"): self.table,
            ("POST", "/clients/sync"): self.sync,
            ("POST", "/clients/undo"): self.undo,
            ("POST", "/clients/purge"): self.purge,
            ("POST", "/clients/print"): self.print,
        }

    async def table(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Every client: file, in sync, drift, last write, what must be restarted."""
        return [self._row(client) for client in self._picked(body.get("clients"), every=True)]

    async def sync(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Bring clients up to date now. Body: `clients` (names, default all), `dry_run`, `diff`, `force`.

        `one_step_since`: seconds, wall clock; all that was written since is taken back by one `undo`.
        """
        dry_run = bool(body.get("dry_run") or body.get("diff"))
        answers: list[dict[str, Any]] = []
        for client in self._picked(body.get("clients")):
            answer = self._named(client)
            try:
                done = await self._service.ordered(client, force=bool(body.get("force")), dry_run=dry_run)
                if (since := body.get("one_step_since")) is not None and not dry_run:
                    self._service.writer.backups.join(client.spec.kind, self._service.writer.path(client), WallTime(float(since)))
                answer |= self._told(client, done) | ({"diff": self._masked(done.written.diff())} if dry_run else {})
            except ClientFileError as error:
                answer["error"] = str(error)
            answers.append(answer)
        return answers

    async def undo(self, body: dict[str, Any]) -> dict[str, Any]:
        """Take the last write of one client back, and leave its file alone until `sync`. Body: `client`."""
        client = self._one(body.get("client"))
        writer = self._service.writer
        async with self._service.alone(client):
            ledger, path = writer.ledger(client), writer.path(client)
            backup = writer.backups.newest(client.spec.kind, path)
            if backup is None:
                raise UsageError(f"{writer.name(client)}: mcpwatch has not written it, so there is nothing to undo")
            dead = backup.data is not None and self._service.tokens().holds_dead(backup.data.decode("utf-8", "replace"))
            if not dead and await anyio.to_thread.run_sync(self._current, client) == ledger.file:
                await anyio.to_thread.run_sync(self._restore, client, backup.data, ledger)
                writer.backups.drop(client.spec.kind, path, backup)
                writer.note(client, replace(backup.ledger, paused=True))
                how = "restored to what it was before the last write"
            else:
                nothing = Wanted(client.adapter.box(client.spec))
                done = await writer.write(client, nothing, ledger, self._service.order(ListingDecision((), ())))
                writer.note(client, replace(done.written.outcome.ledger, paused=True))
                why = "held a token that opens nothing any more" if dead else "changed by others since"
                how = f"{why}, so only our entries were taken out: {done.written.outcome.summary}"
            await writer.store.flush()
            self._service.forget(client)
        return {**self._named(client), "text": f"{how}; left alone until 'mcpwatch sync'"}

    async def purge(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Find entries written by hand that point at our routes; with `apply`, take those out. Body: `clients`, `apply`."""
        answers: list[dict[str, Any]] = []
        for client in self._picked(body.get("clients")):
            try:
                found = await anyio.to_thread.run_sync(self._purge, client, bool(body.get("apply")))
                answers += [
                    {
                        **self._named(client),
                        "entry": item.name,
                        "url": item.url,
                        "reason": item.reason + (ALIVE if item.alive else ""),
                        "removed": bool(body.get("apply")) and not item.alive,
                    }
                    for item in found
                ]
            except ClientFileError as error:
                answers.append({**self._named(client), "error": str(error)})
        return answers

    async def print(self, body: dict[str, Any]) -> dict[str, Any]:
        """What to paste into a client's file by hand: all routes, healthy or not, and a stand-in for the token. Body: `client`."""
        kind = str(body.get("client", ""))
        found = next(
            (client for client in self._service.clients() if kind in (client.spec.kind, self._service.writer.name(client))), None
        )
        chosen = found or _default(kind)
        spec = chosen.spec.model_copy(update={"allow_literal": True})
        wanted = chosen.adapter.wanted(spec, self._service.routes(), (), "YOUR_TOKEN")
        try:
            text = edit(chosen.adapter.syntax, "", dict(wanted.entries)).text
        except EditRefused as refusal:
            raise McpwatchError(str(refusal)) from None
        place = chosen.adapter.places[spec.scope]
        return {
            "client": chosen.spec.kind,
            "title": chosen.adapter.title,
            "path": str(self._service.writer.path(chosen)),
            "text": text,
            "reload": chosen.adapter.reload,
            "note": place.note,
            "skipped": [{"route": item.route, "reason": item.reason} for item in wanted.skipped],
        }

    # ---- answers

    def _row(self, client: Client) -> dict[str, Any]:
        state, ledger = self._service.state(client), self._service.writer.ledger(client)
        row = self._named(client) | {
            "listed": list(state.done.given if state.done and not state.error else self._service.writer.given(client)),
            "waiting": dict(state.decision.waiting),
            "kept": state.decision.kept,
            "paused": ledger.paused,
            "error": state.error,
            "reload": client.adapter.reload,
            "last_write": None if ledger.written_at is None else iso(ledger.written_at),
            "note": client.adapter.places[client.spec.scope].note,
        }
        told: dict[str, Any] = self._told(client, state.done) if state.done else {"drift": [], "skipped": []}
        return row | told | ({} if state.done else {"in_sync": None})

    def _told(self, client: Client, done: Done) -> dict[str, Any]:
        outcome = done.written.outcome
        return {
            "changed": done.written.changed,
            "summary": outcome.summary,
            "in_sync": not any(drift.left for drift in outcome.drift) and not self._service.state(client).error,
            "drift": [{"entry": drift.entry, "trouble": drift.trouble, "text": drift.text} for drift in outcome.drift],
            "skipped": [{"route": item.route, "reason": item.reason} for item in done.skipped],
        }

    def _named(self, client: Client) -> dict[str, Any]:
        path = client.spec.url if isinstance(client.spec, OpenWebUISpec) else str(self._service.writer.path(client))
        return {"client": client.spec.kind, "title": client.adapter.title, "scope": client.spec.scope, "path": path}

    def _masked(self, text: str) -> str:
        return masked(text, self._service.plan().secrets, MASK)

    # ---- finding clients

    def _picked(self, names: Any, *, every: bool = False) -> Sequence[Client]:
        clients = self._service.clients()
        if not clients and not every:
            raise UsageError("the configuration names no clients; 'mcpwatch clients detect' finds some")
        wanted = [str(name) for name in names or ()]
        for name in wanted:
            self._one_of(name, clients)
        return [client for client in clients if not wanted or any(self._is(client, name) for name in wanted)]

    def _one(self, name: Any) -> Client:
        found = self._one_of(str(name or ""), self._service.clients())
        if len(found) > 1:
            names = ", ".join(self._service.writer.name(client) for client in found)
            raise UsageError(f"'{name}' names several files; say which: {names}")
        return found[0]

    def _one_of(self, name: str, clients: Sequence[Client]) -> list[Client]:
        found = [client for client in clients if self._is(client, name)]
        if not found:
            raise UsageError(f"no client '{name}' in the configuration{suggest(name, {client.spec.kind for client in clients})}")
        return found

    def _is(self, client: Client, name: str) -> bool:
        return name in (client.spec.kind, self._service.writer.name(client), str(self._service.writer.path(client)))

    # ---- shell, in a thread

    def _current(self, client: Client) -> str:
        """The hash of the file now, as the ledger keeps it."""
        path = self._service.writer.path(client)
        if isinstance(client.spec, OpenWebUISpec):
            return digest(openwebui.fetch(client.spec))
        return digest(read(path, resolve(path)).text or "")

    def _restore(self, client: Client, data: bytes | None, ledger: Ledger) -> None:
        path = self._service.writer.path(client)
        if isinstance(client.spec, OpenWebUISpec):
            openwebui.restore(client.spec, data or b"{}")
            return
        text = None if data is None else data.decode("utf-8").removeprefix("\ufeff")
        lock = client.adapter.places[client.spec.scope].lock
        sync(
            Job(client.spec.kind, path, lambda _: ReconcileResult(text, ledger), ledger, lock, backup=False),
            self._service.writer.backups,
        )

    def _purge(self, client: Client, apply: bool) -> tuple[Stale, ...]:
        writer, spec = self._service.writer, client.spec
        if isinstance(spec, OpenWebUISpec):
            return ()
        path, ledger, syntax = writer.path(client), writer.ledger(client), client.adapter.syntax
        found: list[Stale] = []

        def render(text: str | None) -> ReconcileResult:
            routes = self._service.routes()
            offered = stale(syntax.parse(text or ""), client.adapter.box(spec), client.adapter.listed_by, routes, ledger)
            found[:] = [replace(item, alive=elsewhere(item.url, routes) and listening(item.url)) for item in offered]
            gone: dict[Any, Value] = {item.path: DROP for item in found if not item.alive}
            new = edit(syntax, text or "", gone).text if apply and gone and text is not None else text
            return ReconcileResult(new, replace(ledger, file=digest(new or "")))

        lock = client.adapter.places[spec.scope].lock
        at = self._service.order(ListingDecision((), ())).at
        written = sync(Job(spec.kind, path, render, ledger, lock, at=at), writer.backups)
        if written.changed:
            writer.note(client, written.outcome.ledger)
        return tuple(found)


def _default(kind: str) -> Client:
    """A client of this kind with nothing but defaults. Raises `UsageError`."""
    from mcpwatch.clients.catalog import CLIENTS, adapter, made

    known = adapter(kind)
    if known is None:
        raise UsageError(f"no client '{kind}'{suggest(kind, [item.name for item in CLIENTS])}")
    written: dict[str, Any] = {"kind": kind, "path": "config file", "url": "http://open-webui"}
    spec = next(item.spec for item in CLIENTS if item.name == kind)
    fields = {
        name: value for name, value in written.items() if name == "kind" or (name in spec.model_fields and _needed(spec, name))
    }
    return made(fields)


def _needed(spec: Any, name: str) -> bool:
    return bool(spec.model_fields[name].is_required())


WAIT = 1.0
"""Seconds."""


def listening(url: str) -> bool:
    """Whether a connection to the URL's host and port is taken."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), WAIT):
            return True
    except (OSError, ValueError):
        return False
