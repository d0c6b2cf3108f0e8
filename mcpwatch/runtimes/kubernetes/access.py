"""How an API server is reached, and as whom: the one door to the official client, which reads kubeconfigs, tokens and plugins.

Owns: what is read of files and plugins, and when that is another access than before. Blocking: for threads. Must not know: what is
asked.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import urllib3
from kubernetes import client
from kubernetes import config as _config

from mcpwatch.http_client.keepalive import COUNT, IDLE, INTERVAL
from mcpwatch.model.errors import RuntimeFailed

config: Any = _config  # its functions have no types
_TOKEN_DIRECTORY = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CONNECTIONS = 64
Identity = tuple[str, str, bytes, bytes, bytes]
"""Server, token, authority, certificate and key."""


class Access:
    """One access to one API server, as it was read."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        """Reads it at once; connects when first asked. Raises `RuntimeFailed` when there is none."""
        settings = client.Configuration()
        asked = f"context {context!r}" if context else kubeconfig or "Kubernetes"
        try:
            with _complaints() as said:
                self.namespace = _load(settings, kubeconfig, context)
        except (_config.ConfigException, OSError, ValueError) as error:
            raise RuntimeFailed(f"no access to {asked}: {' '.join(str(error).split())}", permanent=True) from error
        if said and not settings.api_key and not settings.cert_file:
            raise RuntimeFailed(f"no access to {asked}: its plugin gives no credential: {' '.join(' '.join(said).split())}")
        settings.retries = cast("Any", False)
        settings.connection_pool_maxsize = _CONNECTIONS
        settings.socket_options = _socket_options()
        self._settings = settings
        self._client = client.ApiClient(settings)
        self.host = str(settings.host)
        self.files = (_content(settings.ssl_ca_cert), _content(settings.cert_file), _content(settings.key_file))

    @property
    def identity(self) -> Identity:
        """What makes it another access than one that was read before. The files are those of the time when it was read."""
        return (self.host, "".join(self.headers().values()), *self.files)

    @property
    def pool(self) -> urllib3.PoolManager:
        """Its connections."""
        return self._client.rest_client.pool_manager

    def headers(self) -> dict[str, str]:
        """What says who we are; a token whose time is known to be over is renewed here. Raises `RuntimeFailed`."""
        try:
            found = cast("Mapping[str, Mapping[str, str]]", self._settings.auth_settings())
        except (_config.ConfigException, OSError) as error:
            raise RuntimeFailed(f"{self.host}: its token cannot be read: {' '.join(str(error).split())}") from error
        return {setting["key"]: setting["value"] for setting in found.values()}

    def close(self) -> None:
        """Let go of the connections that nobody uses."""
        with suppress(Exception):
            self._client.close()


class _Complaints(logging.Handler):
    """What the client's own log says: a plugin that fails is told nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.said.append(record.getMessage())


@contextmanager
def _complaints() -> Generator[list[str]]:
    heard, root = _Complaints(), logging.getLogger()
    root.addHandler(heard)
    try:
        yield heard.said
    finally:
        root.removeHandler(heard)


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


def _content(file: str | None) -> bytes:
    try:
        return Path(file).read_bytes() if file else b""
    except OSError:
        return b""


def _socket_options() -> list[tuple[int, int, int]]:
    """Those of every connection of mcpwatch (ADR 0087): a watch whose server vanished without a word ends within half a minute."""
    made = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", IDLE), ("TCP_KEEPINTVL", INTERVAL), ("TCP_KEEPCNT", COUNT)):
        if hasattr(socket, name):
            made.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return made
