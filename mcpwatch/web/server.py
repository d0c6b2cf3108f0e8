"""Serving the web address for as long as the daemon lives: bound again after a reload, tried again while the port is taken.

Trouble here is told and never reaches the fleet. A port that is taken at the default address is one line, not an alert: a second
watchdog on one machine is nothing wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from mcpwatch.bus import Bus
from mcpwatch.clock import Clock
from mcpwatch.model.fact import Troubled
from mcpwatch.web.serve import PageServer, listen_tcp
from mcpwatch.web.spec import DEFAULT_LISTEN, WebSpec

REBIND_EVERY = 30.0
"""Seconds until a port that was taken is tried again."""
CONNECTIONS = 1024
"""Connections at once, those of event streams included; one more is answered 503."""


class WebServer:
    """Serves what `build` makes of a spec. `note` writes one line to the log."""

    def __init__(self, spec: WebSpec, build: Callable[[WebSpec], Any], bus: Bus, clock: Clock, note: Callable[[str], None]) -> None:
        self._spec = spec
        self._build = build
        self._bus = bus
        self._clock = clock
        self._note = note
        self._changed = asyncio.Event()
        self.address = ""
        """Where it is served, as host:port; empty while it is not."""
        self.serving = asyncio.Event()

    @property
    def url(self) -> str:
        """Where people find it; empty while it is not served."""
        return f"http://{self.address}/" if self.address else ""

    def retune(self, spec: WebSpec) -> None:
        """Take a new spec."""
        if spec != self._spec:
            self._spec = spec
            self._changed.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            spec = self._spec
            self._changed.clear()
            changed = asyncio.get_running_loop().create_task(self._changed.wait(), name="web: new spec")
            try:
                if spec.enabled:
                    await self._serve(spec, changed)
                await changed
            finally:
                changed.cancel()

    async def _serve(self, spec: WebSpec, changed: asyncio.Task[Any]) -> None:
        """Serve one spec until there is another."""
        told = False
        while not changed.done():
            try:
                listener = listen_tcp(spec.listen)
            except OSError as error:
                told = self._refused(spec, error, told=told)
                await asyncio.wait({changed}, timeout=REBIND_EVERY)
                continue
            if told and spec.listen != DEFAULT_LISTEN:
                self._tell(f"the page is served on {spec.listen}", cleared=True)
            served = PageServer(self._build(spec), listener, limit=CONNECTIONS)
            host, port = listener.getsockname()[:2]
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self._note(f"the status page is at {self.url}")
            running = asyncio.get_running_loop().create_task(served.run(), name="web: serve")
            self.serving.set()
            try:
                await asyncio.wait({running, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.serving.clear()
                self.address = ""
                served.stop()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({running}, timeout=3.0)
                listener.close()

    def _refused(self, spec: WebSpec, error: OSError, *, told: bool) -> bool:
        """The port cannot be had: say so, once."""
        if not told:
            text = f"the status page cannot be served on {spec.listen}: {error.strerror or error}"
            if spec.listen == DEFAULT_LISTEN:
                self._note(f"{text}; set web.listen, or web: false")
            else:
                self._tell(f"{text}; trying again", cleared=False)
        return True

    def _tell(self, text: str, *, cleared: bool) -> None:
        level = "info" if cleared else "error"
        self._bus.publish(Troubled(at=self._clock.wall(), text=text, level=level, subject="web", cleared=cleared))
