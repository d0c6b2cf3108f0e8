"""A Loki that answers as the real 3.4.6 was measured to answer, and can fail on purpose. Not a mock: it speaks HTTP.

Same (labels, time, line) again is stored once; lines over an hour behind their stream's newest, over 256 KiB or over 15 labels
give 400 while the good ones beside them are stored; the V0 shape gives 204 and stores nothing.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, cast
from urllib.parse import parse_qs, urlsplit

Mode = Literal["up", "500", "429", "hang", "lost", "260", "redirect"]

HOUR_NS = 3_600_000_000_000
LONGEST_LINE = 262_144
MOST_LABELS = 15
BURST_BYTES = 6_000_000


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of this one are killed on purpose."""


class FakeLoki:
    """One tenant's Loki. `entries` is what is stored: (labels, ns, line, metadata) in order of arrival.

    `hanging` counts the requests that wait to be let go.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.mode: Mode = "up"
        self._scheme = "https" if tls else "http"
        self.largest_body = 100 << 20
        self.user: tuple[str, str] | None = None
        self.bearer: str | None = None
        self.entries: list[tuple[dict[str, str], int, str, dict[str, str]]] = []
        self.requests: list[dict[str, str]] = []
        self.sizes: list[int] = []
        self.again = 0
        self.hanging = 0
        self.wraps = False
        """Whether refusals come as a 500 of the distributor, as with an ingester behind gRPC; then nothing of the push is kept."""
        self._keys: set[tuple[str, int, str]] = set()
        self._newest: dict[str, int] = {}
        self._changed = threading.Condition(threading.RLock())
        self._released = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                fake.answer(self)

            def do_GET(self) -> None:
                fake.look(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}/loki/api/v1/push"

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()

    def be(self, mode: Mode) -> None:
        """Behave so from the next request on; what hangs is let go."""
        with self._changed:
            self.mode = mode
        self._released.set()
        self._released = threading.Event()

    def lines(self, **labels: str) -> list[str]:
        """Stored lines whose labels include these, in order of arrival."""
        with self._changed:
            return [line for have, _, line, _ in self.entries if labels.items() <= have.items()]

    def wait(self, count: int, timeout: float = 45) -> None:
        """Return when `count` lines are stored."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.entries) >= count, timeout), f"{len(self.entries)} of {count} lines"

    def wait_for(self, true: Callable[[], bool], timeout: float) -> bool:
        """Whether something came true of what is stored, looked at after every push, within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(true, timeout)

    def wait_requests(self, count: int, timeout: float = 45) -> None:
        """Return when `count` requests came."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, timeout), f"{len(self.requests)} requests"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
        with self._changed:
            self.requests.append(dict(handler.headers.items()))
            mode, released = self.mode, self._released
            self.hanging += mode == "hang"
            self._changed.notify_all()
        if mode == "hang":
            released.wait(600)
            with self._changed:
                self.hanging -= 1
            handler.close_connection = True
            return
        status, text, headers = self._judge(handler, body, mode)
        if mode == "lost":
            handler.close_connection = True
            return
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())

    def look(self, handler: BaseHTTPRequestHandler) -> None:
        """`query_range` of selectors by equality and of `|=` filters; else a parse error."""
        asked = {key: values[0] for key, values in parse_qs(urlsplit(handler.path).query).items()}
        query = re.fullmatch(r'\s*\{(.*?)\}\s*((?:\|=\s*"[^"]*"\s*)*)', asked.get("query", ""))
        status, answer = 200, ""
        if not urlsplit(handler.path).path.endswith("/loki/api/v1/query_range") or not self._known(
            handler.headers.get("Authorization", "")
        ):
            status, answer = 401, "no credentials provided"
        elif query is None:
            status, answer = 400, "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"
        else:
            labels = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', query[1]))
            words = re.findall(r'\|=\s*"([^"]*)"', query[2])
            with self._changed:
                found = [
                    {"stream": have, "values": [[str(at), line]]}
                    for have, at, line, _ in sorted(self.entries, key=lambda entry: -entry[1])
                    if labels.items() <= have.items() and all(word in line for word in words) and at >= int(asked["start"])
                ]
            body = {"status": "success", "data": {"resultType": "streams", "result": found[: int(asked["limit"])]}}
            answer = json.dumps(body)
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(answer.encode())))
        handler.end_headers()
        handler.wfile.write(answer.encode())

    def _judge(self, handler: BaseHTTPRequestHandler, body: bytes, mode: Mode) -> tuple[int, str, dict[str, str]]:
        fixed: dict[Mode, tuple[int, str, dict[str, str]]] = {
            "500": (500, "rpc error: code = Unavailable desc = the ring is empty", {}),
            "429": (429, "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec)", {"Retry-After": "0"}),
            "260": (260, "blocked ingestion", {}),
            "redirect": (302, "", {"Location": "http://127.0.0.1:9/"}),
        }
        if mode in fixed:
            return fixed[mode]
        if not self._known(handler.headers.get("Authorization", "")):
            return 401, "no credentials provided", {}
        if handler.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self._changed:
            self.sizes.append(len(body))
        if len(body) > self.largest_body:
            return 413, "http: request body too large", {}
        if len(body) > BURST_BYTES:
            return 429, "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec)", {}
        return self._store(body)

    def _known(self, authorization: str) -> bool:
        if self.user is not None:
            return authorization == "Basic " + base64.b64encode(":".join(self.user).encode()).decode()
        return self.bearer is None or authorization == f"Bearer {self.bearer}"

    def _store(self, body: bytes) -> tuple[int, str, dict[str, str]]:
        try:
            document = cast("dict[str, Any]", json.loads(body))
            streams = [(stream["stream"], stream["values"]) for stream in document["streams"] if "stream" in stream]
        except (ValueError, KeyError, TypeError):
            return 400, "loghttp.PushRequest.Streams: decode slice: expect [ or n", {}
        complaints: list[str] = []
        with self._changed:
            if self.wraps and (late := self._late(streams)):
                return 500, f"rpc error: code = Code(400) desc = {late}", {}
            for labels, values in streams:
                if len(labels) > MOST_LABELS:
                    complaints.append(f"entry for stream '{labels}' has {len(labels)} label names; limit 15")
                    continue
                bad = sum(not self._keep(labels, value, complaints) for value in values)
                if bad:
                    complaints.append(f"user 'fake', total ignored: {bad} out of {len(values)} for stream: {labels}")
            self._changed.notify_all()
        return (400, "\n".join(complaints), {}) if complaints else (204, "", {})

    def _late(self, streams: list[tuple[dict[str, str], list[Any]]]) -> str:
        for labels, values in streams:
            newest = self._newest.get(json.dumps(labels, sort_keys=True), 0)
            for value in values:
                if int(value[0]) < newest - HOUR_NS:
                    return f"entry with timestamp {value[0]} ignored, reason: 'entry too far behind'"
        return ""

    def _keep(self, labels: dict[str, str], value: list[Any], complaints: list[str]) -> bool:
        at, line = int(value[0]), str(value[1])
        stream = json.dumps(labels, sort_keys=True)
        if len(line.encode()) > LONGEST_LINE:
            complaints.append(f"max entry size '262144' bytes exceeded for stream '{labels}'")
            return True  # the real one counts it in no total
        newest = self._newest.get(stream, 0)
        if at < newest - HOUR_NS:
            complaints.append(f"entry with timestamp {at} ignored, reason: 'entry too far behind'")
            return False
        self._newest[stream] = max(newest, at)
        key = (stream, at, line)
        if key in self._keys:
            self.again += 1
        else:
            self._keys.add(key)
            self.entries.append((labels, at, line, value[2] if len(value) > 2 else {}))
        return True


@contextmanager
def fake_loki(tls: ssl.SSLContext | None = None) -> Generator[FakeLoki]:
    """A fake Loki for the time of a `with`."""
    loki = FakeLoki(tls)
    try:
        yield loki
    finally:
        loki.close()
