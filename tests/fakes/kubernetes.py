"""An API server as the documentation of Kubernetes describes it, as far as mcpwatch speaks to one.

Lists and watches with resource versions, bookmarks and `410 Gone`; apply, merge patch, create, replace, delete, with the
precondition of `metadata.resourceVersion`; logs of pods. Nothing acts on what is stored: tests play controllers, kubelets, nodes.
"""

from __future__ import annotations

import copy
import json
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import yaml

Raw = dict[str, Any]


class KubernetesServer:
    """The store behind the server, and what tests do to it."""

    def __init__(self) -> None:
        self.objects: dict[str, Raw] = {}
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str] = []
        """What each request said as its token, in order."""
        self.refuse: dict[tuple[str, str], tuple[int, str]] = {}
        """Method and path to the status and message that it is refused with."""
        self.takes = ""
        """The only token that is taken; empty: any."""
        self.before_write: list[threading.Event] = []
        """A write waits for the first of these, and takes it away."""
        self.waiting = threading.Event()
        """Set when a write waits."""
        self.logs: dict[str, list[str]] = {}
        self.connections: set[socket.socket] = set()
        self.oldest = 0
        """A watch from an earlier version is answered with `410 Gone`."""
        self._version = 100
        self._log: list[tuple[int, str, str, Raw]] = []
        self._changed = threading.Condition()
        self._stopped = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                server.connections.add(self.connection)

            def finish(self) -> None:
                server.connections.discard(self.connection)
                with suppress(OSError):
                    super().finish()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (OSError, ValueError):
                    self.close_connection = True

            def _any(self) -> None:
                server.answer(self)

            do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - the names that the library calls

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def kubeconfig(self, path: Path, *, namespace: str = "mcp", user: Raw | None = None) -> str:
        """A kubeconfig for it, with the contexts `one` and `two`; returns its path."""
        contexts = [
            {"name": name, "context": {"cluster": "c", "user": "u", "namespace": found}}
            for name, found in (("one", namespace), ("two", "other"))
        ]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "one",
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": user or {"token": "secret"}}],
            "contexts": contexts,
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return str(path)

    def put(self, path: str, raw: Raw) -> Raw:
        """Store an object as whoever is in charge of it would."""
        with self._changed:
            return self._store(path, copy.deepcopy(raw))

    def change(self, path: str, **status: Any) -> None:
        """Replace the status of an object."""
        with self._changed:
            self._store(path, {**copy.deepcopy(self.objects[path]), "status": status})

    def remove(self, path: str) -> None:
        """Delete an object."""
        with self._changed:
            self._delete(path)

    def bookmark(self) -> None:
        """Tell every watch how far things are."""
        with self._changed:
            self._version += 1
            self._log.append((self._version, "BOOKMARK", "", {"metadata": {"resourceVersion": str(self._version)}}))
            self._changed.notify_all()

    def expire(self) -> None:
        """Forget what happened: each watch ends with an error, and one from an earlier version is refused."""
        with self._changed:
            self._fail("too old resource version", 410)
            self.oldest = self._version

    def fail_watches(self, message: str, code: int) -> None:
        """End each watch with an error."""
        with self._changed:
            self._fail(message, code)

    def _fail(self, message: str, code: int) -> None:
        self._version += 1
        self._log.append((self._version, "ERROR", "", _status(code, message)))
        self._changed.notify_all()

    def cut(self) -> None:
        """Break every connection; the server goes on."""
        for connection in tuple(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def count(self, method: str, part: str) -> int:
        """How often something was asked whose path and query hold `part`."""
        return sum(1 for asked, path in self.requests if asked == method and part in path)

    def close(self) -> None:
        """End it and every watch."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._http.shutdown()
        self._http.server_close()
        self.cut()

    # -- answers -----------------------------------------------------------------------------------------------------

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        method, path = str(handler.command), parts.path
        size = int(handler.headers.get("Content-Length") or 0)
        body: Raw = json.loads(handler.rfile.read(size)) if size else {}
        with self._changed:
            self.requests.append((method, handler.path))
            self.tokens.append(str(handler.headers.get("Authorization") or ""))
            refused = self.refuse.get((method, path))
            if self.takes and self.tokens[-1] != f"Bearer {self.takes}":
                refused = (401, "Unauthorized")
        if refused is not None:
            _send(handler, refused[0], _status(*refused))
        elif query.get("watch"):
            self._watch(handler, path, query)
        elif path.endswith("/log"):
            self._logs(handler, path.removesuffix("/log"))
        elif method == "GET":
            self._read(handler, path, query)
        else:
            self._wait()
            with self._changed:
                code, found = self._write(method, path, body, query)
            _send(handler, code, found)

    def _wait(self) -> None:
        if self.before_write:
            self.waiting.set()
            self.before_write.pop(0).wait(60)

    def _read(self, handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        with self._changed:
            if path in self.objects:
                _send(handler, 200, self.objects[path])
                return
            items = [raw for where, raw in self.objects.items() if where.rpartition("/")[0] == path and _chosen(raw, query)]
            version = str(self._version)
        if path.rpartition("/")[2] in {
            "pods",
            "deployments",
            "statefulsets",
            "events",
            "leases",
            "services",
            "configmaps",
            "secrets",
        }:
            _send(handler, 200, {"kind": "List", "metadata": {"resourceVersion": version}, "items": items})
        else:
            _send(handler, 404, _status(404, f'"{path.rpartition("/")[2]}" not found'))

    def _write(self, method: str, path: str, body: Raw, query: dict[str, str]) -> tuple[int, Raw]:
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return 409, _status(409, "already exists")
            return 201, self._store(path, body)
        present = self.objects.get(path)
        if method == "DELETE":
            if present is None:
                return 404, _status(404, "not found")
            self._delete(path)
            return 200, _status(200, "deleted")
        metadata: Raw = body.get("metadata") or {}
        wanted = metadata.get("resourceVersion")
        if wanted and (present is None or present["metadata"]["resourceVersion"] != wanted):
            return 409, _status(409, "the object has been modified; please apply your changes to the latest version and try again")
        if present is None and query.get("fieldManager") and method == "PATCH" and "apiVersion" in body:
            return 201, self._store(path, body)
        if present is None:
            return 404, _status(404, "not found")
        return 200, self._store(path, body if method == "PUT" else _merged(copy.deepcopy(present), body))

    def _store(self, path: str, raw: Raw) -> Raw:
        self._version += 1
        meta = raw.setdefault("metadata", {})
        known = path in self.objects
        meta.setdefault("name", path.rpartition("/")[2])
        meta.setdefault("uid", f"uid-{meta['name']}")
        meta["resourceVersion"] = str(self._version)
        self.objects[path] = raw
        self._log.append((self._version, "MODIFIED" if known else "ADDED", path, copy.deepcopy(raw)))
        self._changed.notify_all()
        return raw

    def _delete(self, path: str) -> None:
        raw = self.objects.pop(path)
        self._version += 1
        raw["metadata"]["resourceVersion"] = str(self._version)
        self._log.append((self._version, "DELETED", path, raw))
        self._changed.notify_all()

    def _watch(self, handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        at = int(query["resourceVersion"])
        if at < self.oldest:
            _send(handler, 410, _status(410, "too old resource version"))
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for kind, raw in self._since(at, path, query):
            line = json.dumps({"type": kind, "object": raw}).encode() + b"\n"
            handler.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            handler.wfile.flush()
        handler.wfile.write(b"0\r\n\r\n")

    def _since(self, at: int, path: str, query: dict[str, str]) -> Iterator[tuple[str, Raw]]:
        while True:
            with self._changed:
                while not self._stopped and (not self._log or self._log[-1][0] <= at):
                    self._changed.wait(60)
                if self._stopped:
                    return
                fresh = [one for one in self._log if one[0] > at]
            for version, kind, where, raw in fresh:
                at = version
                if kind in {"BOOKMARK", "ERROR"} or (where.rpartition("/")[0] == path and _chosen(raw, query)):
                    yield kind, raw
                if kind == "ERROR":
                    return

    def _logs(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        with self._changed:
            known, text = path in self.objects, "".join(f"{line}\n" for line in self.logs.get(path, ()))
        if not known:
            _send(handler, 404, _status(404, "pod not found"))
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(text.encode())))
        handler.end_headers()
        handler.wfile.write(text.encode())


@contextmanager
def kubernetes_server() -> Generator[KubernetesServer]:
    """A server that ends with the block."""
    server = KubernetesServer()
    try:
        yield server
    finally:
        server.close()


def _chosen(raw: Raw, query: dict[str, str]) -> bool:
    labels: Raw = raw["metadata"].get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = term.partition("=")
        if labels.get(key) != value:
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        key, _, value = term.partition("=")
        found: Any = raw
        for step in key.split("."):
            found = cast("Raw", found).get(step, "")
        if found != value:
            return False
    return True


def _merged(old: Raw, new: Raw) -> Raw:
    for key in new:
        value: object = new[key]
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            _merged(cast("Raw", old[key]), cast("Raw", value))
        elif value is None:
            old.pop(key, None)
        else:
            old[key] = copy.deepcopy(cast("object", value))
    return old


def _status(code: int, message: str) -> Raw:
    return {"kind": "Status", "code": code, "message": message}


def _send(handler: BaseHTTPRequestHandler, code: int, raw: Raw) -> None:
    data = json.dumps(raw).encode()
    handler.send_response(code)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
