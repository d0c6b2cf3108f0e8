"""The one door to the API server: the official client, used for its access (kubeconfig, contexts, tokens, TLS) only.

Owns: connections, credentials that are renewed, the meaning of refusals. Blocking: for threads. Must not know: members. Objects
stay the mappings that the API sends; the client's own classes for them cost more than all that mcpwatch reads of them.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import urllib3
from kubernetes import client
from kubernetes import config as _config

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.kubernetes.manifests import MANAGER
from mcpwatch.runtimes.kubernetes.raw import Object, parts, word

Query = Mapping[str, str]

config: Any = _config  # its functions have no types
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
"""Longest wait for the next bytes of an answer that is no stream."""
PAGE = "500"
"""Objects in one page of a list."""
_TOKEN_DIRECTORY = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CONNECTIONS = 64


class ClusterAway(RuntimeFailed):
    """The API server does not answer: nothing is known of what it carries."""


class ApiRefused(RuntimeFailed):
    """The API server refused: `status` is HTTP's, `message` its own words."""

    def __init__(self, what: str, status: int, message: str) -> None:
        super().__init__(f"Kubernetes refuses to {what}: {message}", permanent=status in {400, 401, 403, 422})
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
        """Lines without their ends, as many as came at once. Ends when the server does; raises `ClusterAway` when it was cut."""
        rest = b""
        try:
            for chunk in self._response.stream(amt=None, decode_content=True):
                *whole, rest = (rest + chunk).split(b"\n")
                if whole:
                    yield whole
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if not self._closed:
                raise ClusterAway(f"the stream was cut: {_words(error)}") from error
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
                    raise ClusterAway(f"the stream was cut in the middle of a line: {_words(error)}") from error
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
        settings = client.Configuration()
        try:
            self.namespace = _load(settings, kubeconfig, context)
        except (_config.ConfigException, OSError, ValueError) as error:
            asked = f"context {context!r}" if context else kubeconfig or "Kubernetes"
            raise RuntimeFailed(f"no access to {asked}: {' '.join(str(error).split())}", permanent=True) from error
        settings.retries = cast("Any", False)
        settings.connection_pool_maxsize = _CONNECTIONS
        self._settings = settings
        self._client = client.ApiClient(settings)
        self.where = context or str(settings.host)
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
        self._client.close()

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
        url = f"{self._settings.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "User-Agent": MANAGER}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            for setting in cast("Mapping[str, Mapping[str, str]]", self._settings.auth_settings()).values():
                headers[setting["key"]] = setting["value"]  # a token that ran out is renewed here
            timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=read)
            text = None if body is None else json.dumps(body)
            pool = self._client.rest_client.pool_manager
            return pool.request(method, url, body=text, headers=headers, timeout=timeout, preload_content=False, retries=False)
        except (urllib3.exceptions.HTTPError, OSError, _config.ConfigException) as error:
            raise ClusterAway(f"{self.where} does not answer: {_words(error)}") from error


def contexts(kubeconfig: str | None = None) -> tuple[str, ...]:
    """The names of all contexts of a kubeconfig. Raises `RuntimeFailed`."""
    try:
        found, _ = config.list_kube_config_contexts(config_file=kubeconfig)
    except (_config.ConfigException, OSError) as error:
        raise RuntimeFailed(f"no kubeconfig: {error}", permanent=True) from error
    return tuple(str(one["name"]) for one in cast("list[Mapping[str, Any]]", found or []))


def _load(settings: client.Configuration, kubeconfig: str | None, context: str | None) -> str:
    """Fill in how to reach the cluster; returns the namespace that is meant where none is written."""
    if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(client_configuration=settings)
        try:
            return (_TOKEN_DIRECTORY / "namespace").read_text(encoding="utf-8").strip() or "default"
        except OSError:
            return "default"
    config.load_kube_config(config_file=kubeconfig, context=context, client_configuration=settings, persist_config=False)
    every, current = config.list_kube_config_contexts(config_file=kubeconfig)
    known = {str(one["name"]): cast("Mapping[str, Any]", one["context"]) for one in cast("list[Mapping[str, Any]]", every)}
    chosen = known.get(context or str(cast("Mapping[str, Any]", current)["name"]), {})
    return str(chosen.get("namespace") or "default")


def _message(raw: bytes, status: int) -> str:
    try:
        found = json.loads(raw)
        return " ".join(str(found["message"]).split())
    except (ValueError, KeyError, TypeError):
        return raw.decode(errors="replace").strip()[:200] or f"HTTP {status}"


def _words(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__
