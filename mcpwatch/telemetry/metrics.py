"""The one door to prometheus_client: the collector over the fleet, and the port that Prometheus scrapes.

Facts arrive from the event loop by a bounded queue; counting and rendering happen in the threads of the server, so that a scrape
never delays a probe. Only reading the view is done in the loop. Knows no other room.
"""

from __future__ import annotations

import asyncio
import gzip
import hmac
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from mcpwatch.model.fact import Fact
from mcpwatch.model.spec import Plan
from mcpwatch.model.view import FleetView
from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.metrics_recorder import MetricsRecorder
from mcpwatch.telemetry.readings import AlertsNow, Readings
from mcpwatch.telemetry.spec import MetricsSpec, TelemetrySpec, loopback

QUEUE_SIZE = 65_536
"""Facts waiting to be counted; more are dropped and counted as such."""
SETTLE_AT = 1_000
"""Waiting facts at which they are counted without a scrape."""
VIEW_TIMEOUT = 2.0
"""Seconds a scrape waits for the event loop to give a view; then it serves the last one."""
CLIENT_TIMEOUT = 10.0
"""Seconds a scraper may take to send its request or to read."""
MAX_SCRAPES = 8
"""Scrapes served at once; more get 503."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Reader = Callable[[MetricsRecorder], None]
"""Puts values counted elsewhere (the shipper's) into a recorder; thread-safe on its own side."""


@dataclass(frozen=True, slots=True)
class ScrapeSnapshot:
    """What the event loop hands over for one scrape."""

    plan: Plan
    view: FleetView
    offered: int = 0
    """`FleetCollector.offered` at that moment: later facts may be about a later plan."""
    alerts: AlertsNow = AlertsNow()


class FleetCollector(Collector):
    """The fleet as a prometheus_client collector: facts in by `offer`, everything out by `text` or `collect`."""

    def __init__(
        self,
        spec: TelemetrySpec,
        version: str,
        look: Callable[[], ScrapeSnapshot],
        readings: Readings,
        readers: Iterable[Reader] = (),
    ) -> None:
        self._spec = spec
        self._recorder = MetricsRecorder(version, readings.receivers, readings.clients)
        self._look = look
        self._readers = tuple(readers)
        self._facts: deque[Fact] = deque()
        self.many = asyncio.Event()
        """Set, in the event loop, when `SETTLE_AT` facts wait; `settle` clears the reason."""
        self._plan: Plan | None = None
        self._lock = threading.Lock()
        self._counted = 0
        self.offered = 0
        self.dropped = 0

    def offer(self, fact: Fact) -> None:
        """Take a fact, in the event loop's thread; never blocks."""
        if len(self._facts) >= QUEUE_SIZE:
            self.dropped += 1
            return
        self._facts.append(fact)
        self.offered += 1
        if len(self._facts) >= SETTLE_AT:
            self.many.set()

    def retune(self, spec: TelemetrySpec) -> None:
        """Use the objectives of `spec` from the next scrape on."""
        self._spec = spec
        self._plan = None

    def settle(self, plan: Plan, offered: int) -> None:
        """Count what waits, so that the queue stays short without scrapes; both as they were at one moment in the loop."""
        with self._lock:
            self._drain(plan, offered)

    def text(self) -> str:
        """Everything about the fleet, now, in text format 0.0.4."""
        seen = self._look()
        with self._lock:
            began = time.thread_time()
            self._drain(seen.plan, seen.offered)
            self._recorder.show(seen.view, seen.alerts)
            self._recorder.put(of.FACTS_DROPPED, (), seen.view.daemon.dropped_facts + self.dropped)
            for read in self._readers:
                read(self._recorder)
            text = self._recorder.text()
            self._recorder.put(of.SCRAPE, (), time.thread_time() - began)
        return text

    def collect(self) -> Iterable[Metric]:
        """The same as prometheus_client's own families, for a program that registers this collector in its own registry."""
        return text_string_to_metric_families(self.text())

    def describe(self) -> Iterable[Metric]:
        """The names that will come, so that a registry can refuse a clash without asking the fleet."""
        return [Metric(family.name, family.help, family.kind) for family in of.FAMILIES]

    def _drain(self, plan: Plan, offered: int) -> None:
        if plan is not self._plan and offered >= self._counted:
            self._plan = plan
            self._recorder.adopt(plan, self._spec)
        while self._counted < offered:
            self._recorder.count(self._facts.popleft())
            self._counted += 1


class LoopReader:
    """Reads plan and view inside the event loop for a thread that waits, bounded; a stuck loop gives the last ones."""

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], ScrapeSnapshot]) -> None:
        self._loop = loop
        self._look = look
        self._last: ScrapeSnapshot | None = None

    def __call__(self) -> ScrapeSnapshot:
        """What is seen now, or what was seen last. Raises `TimeoutError` when the loop has never answered."""
        answer: Future[ScrapeSnapshot] = Future()

        def read() -> None:
            try:
                answer.set_result(self._look())
            except Exception as error:  # noqa: BLE001 - whatever it is, the waiting thread must hear of it
                answer.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(read)
            self._last = answer.result(VIEW_TIMEOUT)
        except (TimeoutError, RuntimeError):
            if self._last is None:
                raise TimeoutError from None
        return self._last


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def server_bind(self) -> None:
        """Bind without asking the resolver for a name, as the base class would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that went away is no news."""


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_TIMEOUT

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Scrapes are not logged."""

    def address_string(self) -> str:
        """Never ask the resolver."""
        return str(self.client_address[0])


class MetricsServer:
    """Serves `/metrics` on its own port, in threads of its own. Raises `OSError` when the port cannot be bound."""

    def __init__(self, spec: MetricsSpec, collector: FleetCollector) -> None:
        host, _, port = spec.listen.rpartition(":")
        self._collector = collector
        self._token = spec.token.get_secret_value() if spec.token else None
        self._compress = not loopback(spec.listen)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._slots = threading.BoundedSemaphore(MAX_SCRAPES)
        self._server = make_server(host.strip("[]"), int(port), self._app, _ServerV6 if ":" in host else _Server, _Handler)
        self._server.timeout = 0
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port bound."""
        return self._server.server_port

    def close(self, timeout: float = 2.0) -> None:
        """Stop listening; scrapes under way end by their own deadline."""
        self._end.close()
        self._thread.join(timeout)
        self._server.server_close()

    def _serve(self) -> None:
        """Take scrapes until `close`. The library's own loop would wake up for nothing, several times a second."""
        with selectors.DefaultSelector() as selector, self._ended:
            selector.register(self._server, selectors.EVENT_READ)
            selector.register(self._ended, selectors.EVENT_READ)
            while all(key.fileobj is self._server for key, _ in selector.select()):
                self._server.handle_request()

    def render(self) -> bytes:
        """The whole page: the fleet, then this process."""
        return self._collector.text().encode() + generate_latest(self._registry)

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        def answer(status: str, body: bytes, *headers: tuple[str, str]) -> list[bytes]:
            start_response(status, [*headers, ("Content-Length", str(len(body)))])
            return [body]

        plain = ("Content-Type", "text/plain; charset=utf-8")
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return answer("405 Method Not Allowed", b"", ("Allow", "GET, HEAD"))
        if environ.get("PATH_INFO") not in {"/metrics", "/metrics/"}:
            return answer("404 Not Found", b"metrics are at /metrics\n", plain)
        if not self._allowed(environ.get("HTTP_AUTHORIZATION", "")):
            return answer("401 Unauthorized", b"", ("WWW-Authenticate", "Bearer"))
        if not self._slots.acquire(blocking=False):
            return answer("503 Service Unavailable", b"", ("Retry-After", "5"))
        try:
            body = self.render()
        except TimeoutError:
            return answer("503 Service Unavailable", b"the watchdog does not answer\n", plain, ("Retry-After", "5"))
        finally:
            self._slots.release()
        headers = [("Content-Type", CONTENT_TYPE), ("Vary", "Accept-Encoding")]
        if self._compress and "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            body = gzip.compress(body, 1)
            headers.append(("Content-Encoding", "gzip"))
        return answer("200 OK", b"" if environ["REQUEST_METHOD"] == "HEAD" else body, *headers)

    def _allowed(self, authorization: str) -> bool:
        if self._token is None:
            return True
        return hmac.compare_digest(authorization.encode("latin-1", "replace"), b"Bearer " + self._token.encode())
