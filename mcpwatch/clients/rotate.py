"""The rotation of a token, carried out: env file, note (`rotation.json`), proxy, clients, and the wait. Shell.

Needs of the daemon a way to load the configuration again; the configuration in turn asks `admit` for the second token.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace as changed
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread

from mcpwatch.clients import rotation as pure
from mcpwatch.clients.adapter import Client
from mcpwatch.clients.files import read, replace, resolve
from mcpwatch.clients.locks import locked
from mcpwatch.clients.openwebui import answers
from mcpwatch.clients.rotation import Rotation
from mcpwatch.clients.service import ClientsService
from mcpwatch.clients.tokens import digest
from mcpwatch.clock import Clock
from mcpwatch.model.errors import ClientFileError, McpwatchError, UsageError
from mcpwatch.model.fact import TokenRotation
from mcpwatch.model.spec import Plan
from mcpwatch.model.time import WallTime, iso
from mcpwatch.units import seconds

NOTE = "rotation.json"
LOOK = 5.0
"""Seconds between two looks at whether the old token may go."""
ADMITTED = 15.0
"""Seconds the proxy is given to take a new list of tokens, at least."""
PAUSE = 0.1

Reload = Callable[[], Awaitable[Any]]
LastUse = Callable[[str], Awaitable[WallTime | None]]
"""When a token was last used, as the proxy tells; `None` when it was not. Raises `McpwatchError` when it cannot tell."""


def admit(plan: Plan, state_dir: Path) -> Plan:
    """The plan with the proxy accepting, during a rotation, the token to come and the one that goes. Reads two small files."""
    rotation = _noted(state_dir)
    if rotation is None or plan.proxy is None:
        return plan
    try:
        text = _env_text(Path(rotation.env_file))
    except UsageError:  # the configuration names the same file, and says so itself
        return plan
    extra = [token for name in (rotation.following, rotation.former) if (token := pure.value(text, name))]
    tokens = tuple(dict.fromkeys((*plan.proxy.tokens, *extra)))
    known = tuple(dict.fromkeys((*plan.secrets, *extra)))
    return changed(plan, proxy=changed(plan.proxy, tokens=tokens), secrets=known)


class Rotator:
    """Rotates the token of one daemon's proxy."""

    def __init__(
        self,
        service: ClientsService,
        reload: Reload,
        clock: Clock,
        state_dir: Path,
        *,
        last_use: LastUse | None = None,
        ask: Callable[[str, str], int | None] = answers,
    ) -> None:
        self._service = service
        self.reload = reload
        self._clock = clock
        self._state_dir = state_dir
        self._last_use = last_use
        self._ask = ask
        self._lock = anyio.Lock()
        self._begun = anyio.Event()
        """Set when a rotation begins."""
        self._holding: tuple[str, ...] = ()
        """Files that still hold the old token, when last looked."""

    def handlers(self) -> dict[tuple[str, str], Callable[[dict[str, Any]], Awaitable[Any]]]:
        """What `web` mounts."""
        return {("POST", "/token/rotate"): self.rotate, ("GET", "/token/rotate"): self.status}

    async def run(self) -> None:
        """Finish what is under way, whenever it may be finished, until cancelled. Sleeps while nothing is."""
        while True:
            self._begun, under_way = anyio.Event(), True
            with suppress(McpwatchError):
                await self.finish()
                under_way = _noted(self._state_dir) is not None
            if not under_way:
                await self._begun.wait()
            await anyio.sleep(LOOK)

    async def finish(self) -> list[str]:
        """Take what steps may be taken now, in words. Raises `McpwatchError`; then the next look tries again."""
        async with self._lock:
            return await self._go_on()

    async def status(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Whether a rotation runs."""
        rotation = _noted(self._state_dir)
        if rotation is None:
            return {"text": "no rotation under way", "rotation": None}
        text = f"the old {rotation.variable} is still accepted, until {iso(rotation.deadline)} at the latest"
        text += f"; still in {', '.join(self._holding)}" if self._holding else ""
        return {
            "text": text,
            "rotation": {"phase": rotation.phase, "deadline": iso(rotation.deadline), "env_file": rotation.env_file},
        }

    async def rotate(self, body: dict[str, Any]) -> dict[str, Any]:
        """Begin a rotation and go as far as it goes now. Body: `wait`, `env_file`, `variable`."""
        async with self._lock:
            if _noted(self._state_dir) is not None:
                raise UsageError("a rotation is under way already; see 'mcpwatch token status'")
            rotation = self._begin(body)
            await self.write(rotation, {rotation.following: secrets.token_urlsafe(32)})
            _note(self._state_dir, rotation)
            self._begun.set()
            self._tell("started", f"the rotation of {rotation.variable} began; both tokens are accepted from now on")
            steps = [f"{rotation.env_file}: the new token is there beside the old one"]
            steps += await self._go_on()
        return {**await self.status({}), "steps": steps}

    def _begin(self, body: dict[str, Any]) -> Rotation:
        variable, proxy = str(body.get("variable") or "MCP_PROXY_TOKEN"), self._service.plan().proxy
        if proxy is None or not proxy.tokens:
            raise UsageError("the proxy asks for no token; set proxy.auth.tokens first")
        if variable in os.environ:
            raise UsageError(f"{variable} is in the watchdog's own environment, which wins over the env file; start it without")
        given = body.get("env_file") or Path(self._service.plan().source or ".").absolute().parent / ".env"
        path = Path(str(given)).absolute()
        current = pure.value(_env_text(path), variable)
        if current is None or current not in proxy.tokens:
            raise UsageError(f"{path}: {variable} there is not the proxy's token; name the file with --env-file and the variable")
        now = self._clock.wall()
        try:
            wait = seconds(body.get("wait") or 0)
        except ValueError as error:
            raise UsageError(f"--wait: {error}") from None
        return Rotation(variable, str(path), "admitting", now, WallTime(now + wait))

    async def _go_on(self) -> list[str]:
        """Every step that can be taken now, in words."""
        rotation = _noted(self._state_dir)
        if rotation is None:
            return []
        steps: list[str] = []
        if rotation.phase == "admitting":
            rotation, steps = await self._switch(rotation)
        text = _env_text(Path(rotation.env_file))
        old = pure.value(text, rotation.former)
        self._service.going = frozenset({digest(old)} if old else ())
        known, last = await self._last(old)
        now = self._clock.wall()
        reason = pure.may_drop(rotation, now, last, known=known)
        self._holding = await self._files_with(old) if old and (reason or steps) else self._holding
        if reason and (not self._holding or now >= rotation.deadline):
            steps.append(await self._drop(rotation, reason))
        return steps

    async def _drop(self, rotation: Rotation, reason: str) -> str:
        """Refuse the old token from now on, and say which files still hold it."""
        await self.write(rotation, {rotation.former: None})
        (self._state_dir / NOTE).unlink(missing_ok=True)
        self._service.going = frozenset()
        await self.reload()
        files, self._holding = self._holding, ()
        text = f"the old token is refused from now on: {reason}"
        if files:
            text += f"; these files still hold it, and their clients are refused: {', '.join(files)}"
        self._tell("failed" if files else "dropped", text, files)
        return text

    async def _files_with(self, token: str) -> tuple[str, ...]:
        """The clients' files that hold a token, in any spelling. One that cannot be read counts when we wrote tokens into it."""
        found: list[str] = []
        for client in self._service.clients():
            holds = await anyio.to_thread.run_sync(partial(self._service.writer.holds, client, token))
            if holds:
                found.append(str(self._service.writer.path(client)))
        return tuple(found)

    def _tell(self, outcome: Literal["started", "switched", "dropped", "failed"], text: str, files: tuple[str, ...] = ()) -> None:
        level = "warning" if outcome == "failed" else "info"
        self._service.tell(TokenRotation(at=self._clock.wall(), text=text, level=level, outcome=outcome, files=files))

    async def _last(self, token: str | None) -> tuple[bool, WallTime | None]:
        """Whether the last use of a token can be known, and when it was."""
        if self._last_use is None or token is None:
            return False, None
        try:
            return True, await self._last_use(token)
        except McpwatchError:
            return False, None

    async def _switch(self, rotation: Rotation) -> tuple[Rotation, list[str]]:
        """Have the proxy accept both, then make the new one the token, and rewrite the clients that hold it."""
        text = _env_text(Path(rotation.env_file))
        old, new = pure.value(text, rotation.variable), pure.value(text, rotation.following)
        await self.reload()
        await self._admitted(new or old)
        steps = ["the proxy accepts both"]
        if new is not None:
            await self.write(rotation, {rotation.variable: new, rotation.former: old, rotation.following: None})
        rotation = changed(rotation, phase="waiting")
        _note(self._state_dir, rotation)
        await self.reload()
        steps.append(f"{rotation.variable} is the new token; programs that take it from their environment need it anew")
        self._tell("switched", steps[-1])
        self._service.going = frozenset({digest(old)} if old else ())
        return rotation, steps + [step for client in self._service.clients() if (step := await self._rewritten(client, old or ""))]

    async def _rewritten(self, client: Client, old: str) -> str:
        """Bring one client over to the new token; in words what came of it."""
        title, writer = client.adapter.title, self._service.writer
        if writer.ledger(client).paused:
            return f"{title}: left alone since 'undo'; it may hold the old token"
        try:
            done = await self._service.ordered(client, force=False, dry_run=False)
            if old and await anyio.to_thread.run_sync(partial(writer.holds, client, old)):
                left = "; ".join(f"'{drift.entry}' {drift.text}" for drift in done.written.outcome.drift if drift.left)
                return f"{title}: {writer.path(client)} still holds the old token{': ' + left if left else ''}"
        except ClientFileError as error:
            return f"{title}: {error}"
        return f"{title}: written anew ({client.adapter.reload})" if done.written.changed else ""

    async def _admitted(self, token: str | None) -> None:
        """Wait until the proxy lets the new token in. Raises `McpwatchError` when it never does: then the old one still works."""
        url = next((route.probe.url for route in self._service.plan().routes if route.guarded), None)
        if url is None or token is None:
            return
        for _ in range(round(ADMITTED / PAUSE)):
            if await anyio.to_thread.run_sync(partial(self._ask, url, token)) not in (None, 401, 403):
                return
            await anyio.sleep(PAUSE)
        raise McpwatchError("the proxy does not accept the new token; the old one stays in force (is it a kind that reloads?)")

    async def write(self, rotation: Rotation, values: dict[str, str | None]) -> None:
        """Set (or, with `None`, take out) variables of the env file."""
        await anyio.to_thread.run_sync(_write_env, Path(rotation.env_file), values)


def _write_env(path: Path, values: dict[str, str | None]) -> None:
    real = resolve(path)
    with locked(path, real, ""):
        before = read(path, real)
        replace(before, pure.edited(before.text or "", values))


def _env_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


def _noted(state_dir: Path) -> Rotation | None:
    try:
        return pure.loads((state_dir / NOTE).read_text("utf-8"))
    except OSError:
        return None


def _note(state_dir: Path, rotation: Rotation) -> None:
    path = state_dir / NOTE
    replace(read(path, path), pure.dumps(rotation))
