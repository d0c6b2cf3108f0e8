"""One upstream kept alive: opened, greeted, watched, opened again; and the sessions that use it.

Owns phase, generation, backoff and the MCP handshake with the member.
Must not know HTTP clients of the gateway or configuration files.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from typing import Any

from mcpwatch.gateway.protocol import batch, json_edit, message
from mcpwatch.gateway.upstream import greeting
from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.availability import SOON, Availability
from mcpwatch.gateway.upstream.child import Exit
from mcpwatch.gateway.upstream.lifecycle import LifecycleEvent, UpstreamPhase
from mcpwatch.gateway.upstream.link import Ends, Link, LinkFailed, before
from mcpwatch.gateway.upstream.mux import Mux
from mcpwatch.gateway.upstream.own_requests import DISCOVER, GatewayPeer, Handshake, PendingReply
from mcpwatch.gateway.upstream.patience import never, patient
from mcpwatch.gateway.upstream.pollution import NoMessages
from mcpwatch.gateway.upstream.restart_record import RestartRecord
from mcpwatch.gateway.upstream.sign_of_life import SignOfLife
from mcpwatch.gateway.upstream.upstream_subscriptions import UpstreamSubscription
from mcpwatch.model.restart import Next, RestartPolicy

NUDGE_AGE, NUDGE_APART = 0.5, 10.0
"""A nudge ends an attempt to connect that is older than this (seconds), and the next such end comes no sooner than that."""


log = logging.getLogger("mcpwatch.gateway")


class Upstream(Availability):
    """One link that is kept open. `greet` makes the handshake; `tell` hears what happens."""

    def __init__(
        self,
        name: str,
        make_link: Callable[[Ends], Link],
        hello: Handshake,
        tell: Callable[[LifecycleEvent], None] = lambda _: None,
        *,
        start_limit: float = 60,
        call_limit: float = 3600,
        restart: RestartPolicy | None = None,
        counts: Counts | None = None,
    ) -> None:
        super().__init__(name)
        self._make_link, self._hello, self._tell, self.start_limit = make_link, hello, tell, start_limit
        self.counts, self.waits = counts or Counts(), never
        self.mux = Mux(name, self._send, call_limit, self.counts)
        self._gateway = GatewayPeer()
        self.life = SignOfLife(self, self.mux, self._gateway, self._drop)
        self.listening = UpstreamSubscription(name, self.mux, self._gateway)
        self.record = RestartRecord(restart or RestartPolicy())
        self._no_messages = NoMessages(name, self.counts, self.mux.unreadable)
        self.server, self.protocol = b"{}", message.HANDSHAKE[-1]
        self._agreed: dict[str, bytes] = {}
        self.started_at: float | None = None
        self.last_exit: Exit | None = None
        self._link: Link | None = None
        self._lost: asyncio.Future[str] | None = None
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._abandoned_at = -math.inf
        self._ready_at: float | None = None
        self._permanent = self._hosted = self._planned = False

    @property
    def pid(self) -> int | None:
        """The pid of the hosted process, if there is one now."""
        return self._link.pid if self._link is not None else None

    @property
    def wire(self) -> str | None:
        """The wire in use, if open."""
        return self._link.wire if self._link is not None else None

    @property
    def modern(self) -> bool:
        """Whether this upstream is on the stateless wire."""
        return self._hello.method == "server/discover" or self.wire == "stateless"

    def agreed(self, version: object) -> tuple[bytes, str]:
        """The member's own answer to `initialize` with the version that it and a client of `version` know, and that version."""
        known = message.HANDSHAKE
        if version == self.protocol or version not in known or self.protocol not in known:
            return self.server, self.protocol
        asked = str(version)
        if known.index(asked) > known.index(self.protocol):
            return self.server, self.protocol
        if asked not in self._agreed:
            self._agreed[asked] = json_edit.with_value(self.server, ("protocolVersion",), b'"%b"' % asked.encode())
        return self._agreed[asked], asked

    # --- life ---

    async def run(self) -> None:
        """Keep it open until cancelled; then close it."""
        try:
            while True:
                await self._wanted.wait()
                self.error = await self._live()
                if not self._wanted.is_set():
                    self.mux.give_up("is stopped")
                elif not self._planned:
                    await self._rest(self._judge(), self.error)
        finally:
            self.mux.lost("is being stopped")
            self.mux.give_up("is being stopped")
            if self._link is not None:
                await asyncio.shield(self._link.close())

    def hold(self) -> None:
        """Close it and keep it closed until `release`."""
        self._wanted.clear()
        self._nudge.set()  # a pause ends now: what is released then is opened at once
        self._enter(UpstreamPhase.HELD)
        self._tell(LifecycleEvent("held", self.name, self.pid, self.generation))
        self._drop("is stopped")

    def release(self) -> None:
        """Open it again, at once, earlier failures forgotten."""
        self.record.forget()
        self._wanted.set()
        self._nudge.set()
        if self._lost is not None and self._lost.done():
            self._planned = True  # it is being closed: that end is no longer judged
        if self.phase is not UpstreamPhase.RUNNING:
            self._enter(UpstreamPhase.STARTING)

    def nudge(self) -> None:
        """Connect at once: somebody has just seen that the member answers.

        A pause ends, an attempt of some age to reach a URL begins anew, an open connection to a URL must give a sign of life soon.
        A member that an operator stopped stays stopped; a process that is starting or running is left alone.
        """
        now = time.monotonic()
        if self._hosted:
            return
        if self.phase in {UpstreamPhase.BACKOFF, UpstreamPhase.FAILED}:
            self.record.forget()
            self._nudge.set()
        elif self.phase is UpstreamPhase.RUNNING:
            self.life.look()
        elif self.phase is UpstreamPhase.STARTING and self._since + NUDGE_AGE < now > self._abandoned_at + NUDGE_APART:
            self._abandoned_at = now
            self._planned = True
            self._drop("was connecting for too long when it was seen to answer")

    def restart(self) -> None:
        """Close it and open it again, at once; that is no failure of its own."""
        self._planned = True
        self._drop("is being restarted")
        self.release()

    async def ask(self, method: str, params: dict[str, Any] | None, limit: float) -> bytes:
        """A request of the gateway's own; the whole answer. Raises `TimeoutError`, `UpstreamUnavailable`."""
        await self.ready()
        answer = PendingReply()
        self.mux.own(method, params, answer, self._gateway, limit)
        async with asyncio.timeout(limit):
            return await answer.future

    # --- one incarnation ---

    async def _live(self) -> str:
        """Open, greet, and stay until it is lost. Returns why it ended."""
        self.generation += 1
        self.counts.restarts += self.generation > 1
        self._planned, self._ready_at = False, None
        generation = self.generation
        loop = asyncio.get_running_loop()
        lost = self._lost = loop.create_future()

        link = self._link = self._make_link(self._ends(generation))
        self._hosted = link.wire == "stdio"
        self.last_exit, self.started_at = None, time.time()
        self._permanent = self.refused = False
        self._enter(UpstreamPhase.STARTING)
        watch = loop.create_task(self.life.watch(), name=f"watch of {self.name}")
        try:
            async with patient(self.start_limit, self.waits):
                await before(lost, link.open())
                self._tell(LifecycleEvent("started", self.name, link.pid, generation))
                await self._greet(link, lost)
            self.error = None
            self._ready_at = time.monotonic()
            self._enter(UpstreamPhase.RUNNING)
            self._tell(LifecycleEvent("connected", self.name, link.pid, generation))
            reason = await lost
        except LinkFailed as error:
            self.error = reason = str(error)
            self._permanent, self.refused = error.permanent, isinstance(error, greeting.GreetingRefused)
        except TimeoutError:
            reason = f"did not answer initialize within {self.start_limit:g} s"
        finally:
            watch.cancel()
            if self.phase is not UpstreamPhase.HELD:
                self._enter(UpstreamPhase.STARTING if self._ready_at is not None else UpstreamPhase.BACKOFF)
        self._nudge.clear()
        self.mux.lost(reason)
        await self._close(link, generation, reason)
        return reason

    async def _close(self, link: Link, generation: int, reason: str) -> None:
        """End one incarnation, and tell of it."""
        pid = link.pid
        if pid is not None:
            self.counts.lately.forget()
        await link.close()
        self._link = None
        exit_ = self.last_exit
        name = "exited" if link.wire == "stdio" else "lost"
        code, number = (exit_.code, exit_.signal) if exit_ else (None, None)
        self._tell(LifecycleEvent(name, self.name, pid, generation, code, number, reason))

    def _ends(self, generation: int) -> Ends:
        """Where the link of one incarnation puts what comes."""

        def on_lost(reason: str, exit_: Exit | None, read: int | None) -> None:
            if generation == self.generation:
                self.last_exit = exit_
                self._drop(reason, read)

        return Ends(
            self.mux.receive, on_lost, self._no_messages.take, self._on_dropped,
            lambda: self.protocol == batch.VERSION, self.mux.suspended,
        )  # fmt: skip

    def _judge(self) -> Next:
        """What follows this end."""
        now, unit = time.monotonic(), random.random()  # noqa: S311
        if not self._hosted:
            return self.record.end_of_connection(now, self._ready_at, unit)
        code = self.last_exit.code if self.last_exit is not None else None
        return self.record.end_of_process(now, self._ready_at, code, unit, permanent=self._permanent)

    async def _rest(self, following: Next, reason: str) -> None:
        """Wait for the next start, if there is one."""
        pause = following.pause
        if following.step != "again" or (pause or 0.0) >= SOON:
            self.mux.give_up(reason)
        match following.step:
            case "again" if not pause:
                log.warning("%s: %s; starting again", self.name, reason)
            case "again":
                log.warning("%s: %s; next start in %.2f s", self.name, reason, pause)
                often = not self._hosted and self.record.often
                await self._pause(UpstreamPhase.FAILED if often else UpstreamPhase.BACKOFF, pause)
            case "parked":
                when = "when it is started by hand" if pause is None else f"once, in {pause:g} s"
                log.error("%s: %s; by its restart policy it is started again only %s", self.name, reason, when)
                self._tell(LifecycleEvent("parked", self.name, None, self.generation, error=reason))
                if await self._pause(UpstreamPhase.FAILED, pause):
                    self.record.one_try(time.monotonic())
            case "finished":
                log.info("%s: %s; by its restart policy it stays down until it is started", self.name, reason)
                await self._pause(UpstreamPhase.ENDED, None)

    async def _greet(self, link: Link, lost: asyncio.Future[str]) -> None:
        hello = self._hello if link.wire != "stateless" else DISCOVER
        greeted = await greeting.greet(self.mux, self._gateway, hello, link.wire, lost)
        if link.wire != "stateless":
            self._hello = greeted.hello
        self.server, self.protocol = greeted.server, greeted.protocol
        self._agreed.clear()
        if greeted.hello.method == "initialize" and (hello.announce or self.generation > 1):
            self._send(message.notification("notifications/initialized"), None)
        for again in self.mux.restore():
            self._send(again, None)
        self.mux.resend()
        if self.modern:
            self.listening.opened(self.server)

    def _send(self, data: bytes, number: int | None) -> int:
        return self._link.send(data, number) if self._link is not None else 0

    def _drop(self, reason: str, read: int | None = None) -> None:
        lost = self._lost
        if lost is not None and not lost.done():
            if self.phase is UpstreamPhase.RUNNING:
                self._enter(UpstreamPhase.STARTING)
            self.mux.lost(reason, read)
            lost.set_result(reason)

    def _on_dropped(self, head: bytes, tail: bytes) -> None:
        self.counts.dropped += 1
        self.mux.too_long(head, tail)
