"""The one door to the API server: requests and streams over an `Access`.

Owns: that the access is read anew when the server takes it no more, the meaning of refusals. Blocking: for threads. Must not know:
members. Objects stay the mappings that the API sends; the client's own classes for them cost more than all that is read of them.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlencode

import urllib3

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.kubernetes.access import Access
from mcpwatch.runtimes.kubernetes.manifests import MANAGER
from mcpwatch.runtimes.kubernetes.raw import Object, parts, word

Query = Mapping[str, str]

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
"""Longest wait for the next bytes of an answer that is no stream."""
PAGE = "500"
"""Objects in one page of a list."""
UNAUTHORIZED = 401


class ClusterAway(RuntimeFailed):
    """The API server does not answer: nothing is known of what it carries."""


class StreamCut(ClusterAway):
    """A stream that went on was cut; whether the server is away, the next request tells."""


class ApiRefused(RuntimeFailed):
    """The API server refused: `status` is HTTP's, `message` its own words."""

    def __init__(self, what: str, status: int, message: str) -> None:
        super().__init__(f"Kubernetes refuses to {what}: {message}", permanent=status in {400, 403, 422})  # a token may be replaced
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event of a watch: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`, and its object."""

    kind: str
    object: Object


class LineStream:
    """The lines of an answer that goes on; `close` ends it from any thread."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._closed = False

    def batches(self) -> Iterator[list[bytes]]:
        """Lines without their ends, as many as came at once. Ends when the server does; raises `StreamCut` when it was cut."""
        rest = b""
        try:
            for chunk in self._response.stream(amt=None, decode_content=True):
                *whole, rest = (rest + chunk).split(b"\n")
                if whole:
                    yield whole
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if not self._closed:
                raise StreamCut(f"the stream was cut: {_words(error)}") from error
            return
        finally:
            with contextlib.suppress(Exception):
                self._response.close()
        if rest and not self._closed:
            yield [rest]

    def changes(self) -> Iterator[WatchEvent]:
        """The events of a watch."""
        for line in (line for batch in self.batches() for line in batch):
            if line.strip():
                try:
                    found = cast("Object", json.loads(line))
                except ValueError as error:
                    raise StreamCut(f"the stream was cut in the middle of a line: {_words(error)}") from error
                yield WatchEvent(str(found.get("type")), cast("Object", found.get("object") or {}))

    def close(self) -> None:
        """End the stream; whoever reads it returns."""
        self._closed = True
        with contextlib.suppress(Exception):
            shutdown = getattr(self._response, "shutdown", None)
            if shutdown is not None:
                shutdown()
            else:
                self._response.close()


class Cluster:
    """One API server as one identity."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        """Reads the access at once; connects when first asked. Raises `RuntimeFailed` when there is none."""
        self._access = Access(kubeconfig, context)
        self._asked = (kubeconfig, context)
        self._renewing = threading.Lock()
        self.namespace = self._access.namespace
        self.where = context or self._access.host
        """What it is called in messages."""

    def get(self, path: str) -> Object | None:
        """One object, or `None` when there is none. Raises `RuntimeFailed`."""
        try:
            return self._json("GET", path, f"read {path}")
        except ApiRefused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, path: str, query: Query | None = None) -> tuple[list[Object], str]:
        """All objects, and the resource version from which to watch. Raises `RuntimeFailed`."""
        items: list[Object] = []
        asked = {"limit": PAGE, **(query or {})}
        while True:
            page = self._json("GET", path, f"list {path}", query=asked)
            items += parts(page, "items")
            rest = word(page, "metadata", "continue")
            if not rest:
                return items, word(page, "metadata", "resourceVersion")
            asked = {**asked, "continue": rest}

    def apply(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        """Server-side apply, never by force: a field that somebody else manages is refused with 409. Raises `RuntimeFailed`."""
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        return self._json("PATCH", path, f"apply {path}", body, query, "application/apply-patch+yaml")

    def patch(self, path: str, body: Object) -> Object:
        """A merge patch. Raises `RuntimeFailed`."""
        return self._json("PATCH", path, f"change {path}", body, {"fieldManager": MANAGER}, "application/merge-patch+json")

    def create(self, path: str, body: Object) -> Object:
        """Make an object in the collection `path`. Raises `RuntimeFailed`."""
        return self._json("POST", path, f"create in {path}", body, {"fieldManager": MANAGER})

    def replace(self, path: str, body: Object) -> Object:
        """Replace an object; its resource version must be the present one. Raises `RuntimeFailed`."""
        return self._json("PUT", path, f"replace {path}", body, {"fieldManager": MANAGER})

    def delete(self, path: str) -> None:
        """Delete an object and what depends on it. A missing one is no error."""
        try:
            self._json("DELETE", path, f"delete {path}", {"propagationPolicy": "Background"})
        except ApiRefused as refused:
            if refused.status != 404:
                raise

    def watch(self, path: str, query: Query, version: str, seconds: float) -> LineStream:
        """What changes from `version` on, with bookmarks; the server ends it after so many seconds. Raises `RuntimeFailed`."""
        how = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
        asked = {**query, **how, "timeoutSeconds": str(round(seconds))}
        return self._stream(path, asked, seconds + ANSWER_SECONDS, f"watch {path}")

    def logs(self, path: str, query: Query) -> LineStream:
        """The lines of a pod's log. Raises `RuntimeFailed`."""
        return self._stream(path, query, None, f"read {path}")

    def close(self) -> None:
        """Let go of all connections."""
        self._access.close()

    def _json(
        self,
        method: str,
        path: str,
        what: str,
        body: Object | None = None,
        query: Query | None = None,
        kind: str = "application/json",
    ) -> Object:
        response = self._send(method, path, query, body, kind, ANSWER_SECONDS)
        raw = b""
        with contextlib.closing(response):
            try:
                raw = response.read(decode_content=True)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise ClusterAway(f"{self.where} does not answer: {_words(error)}") from error
        if response.status >= 400:
            raise ApiRefused(what, response.status, _message(raw, response.status))
        try:
            return cast("Object", json.loads(raw)) if raw.strip() else {}
        except ValueError as error:
            raise ClusterAway(f"{self.where} answers no JSON to {what}") from error

    def _stream(self, path: str, query: Query, read: float | None, what: str) -> LineStream:
        response = self._send("GET", path, query, None, "application/json", read)
        if response.status >= 400:
            with contextlib.closing(response):
                try:
                    body = response.read(decode_content=True)
                except (urllib3.exceptions.HTTPError, OSError) as error:
                    raise ClusterAway(f"{self.where} does not answer: {_words(error)}") from error
                raise ApiRefused(what, response.status, _message(body, response.status))
        return LineStream(response)

    def _send(
        self, method: str, path: str, query: Query | None, body: Object | None, kind: str, read: float | None
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": MANAGER, **({"Content-Type": kind} if body is not None else {})}

        def send(access: Access) -> urllib3.BaseHTTPResponse:
            url = f"{access.host}{path}" + (f"?{urlencode(query)}" if query else "")
            timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=read)
            text, known = None if body is None else json.dumps(body), {**headers, **access.headers()}
            return access.pool.request(method, url, body=text, headers=known, timeout=timeout, preload_content=False, retries=False)

        used = self._access
        try:
            try:
                response = send(used)
            except urllib3.exceptions.SSLError:
                if not self._renewed(used):  # the authority may have been replaced
                    raise
            else:
                if response.status != UNAUTHORIZED or not self._renewed(used):
                    return response
                response.close()
            return send(self._access)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterAway(f"{self.where} does not answer: {_words(error)}") from error

    def _renewed(self, used: Access) -> bool:
        """Read the access anew, because the server did not take `used`; whether it is another one now."""
        with self._renewing:
            if self._access is not used:
                return True  # another thread did
            try:
                fresh = Access(*self._asked)
                if fresh.identity == used.identity:
                    fresh.close()
                    return False
            except RuntimeFailed:
                return False
            self._access = fresh
        used.close()  # streams that go on keep their connections
        return True


def _message(raw: bytes, status: int) -> str:
    try:
        found = json.loads(raw)
        return " ".join(str(found["message"]).split())
    except (ValueError, KeyError, TypeError):
        return raw.decode(errors="replace").strip()[:200] or f"HTTP {status}"


def _words(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__
