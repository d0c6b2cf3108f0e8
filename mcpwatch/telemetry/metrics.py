"""The one door to prometheus_client: the port that Prometheus scrapes. Loaded only where metrics are served.

Scrapes are served in threads, each within its own deadline. What they show is `fleet_collector`'s.
"""

from __future__ import annotations

import gzip
import hmac
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.fleet_collector import FleetCollector
from mcpwatch.telemetry.spec import MetricsSpec, loopback

CLIENT_TIMEOUT = 10.0
"""Seconds a scraper may take to send its request or to read."""
MAX_SCRAPES = 8
"""Scrapes served at once; more get 503."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class RegistryCollector(Collector):
    """The fleet as prometheus_client's own families, for a program that registers it in its own registry."""

    def __init__(self, fleet: FleetCollector) -> None:
        self._fleet = fleet

    def collect(self) -> Iterable[Metric]:
        """Everything about the fleet, now."""
        return text_string_to_metric_families(self._fleet.text())

    def describe(self) -> Iterable[Metric]:
        """The names that will come, so that a registry can refuse a clash without asking the fleet."""
        return [Metric(family.name, family.help, family.kind) for family in of.FAMILIES]


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
