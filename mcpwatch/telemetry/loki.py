"""The one door to python-logging-loki: its handler, label rules and session, with our own emitter registered in it.

The library's own emitters post once per record in the caller's thread, without timeout, and lose what is refused (its default
even what is accepted); ours appends to the spool and returns, and `Push` sends batches by the library's session. ADR 0044.
"""

from __future__ import annotations

import gzip
import json
import logging
from functools import partial
from pathlib import Path
from typing import Any, cast

import requests
import urllib3
from logging_loki.emitter import LokiEmitterV1
from logging_loki.handlers import LokiHandler
from requests.auth import AuthBase, HTTPBasicAuth

from mcpwatch.model.errors import UsageError
from mcpwatch.telemetry.batch import PushResponse
from mcpwatch.telemetry.logs import FACT_LOGGER, PlainFormat
from mcpwatch.telemetry.redact import Redactor
from mcpwatch.telemetry.spec import LokiSpec
from mcpwatch.telemetry.spool import OwnSpool
from mcpwatch.telemetry.targets import details

CONNECT_TIMEOUT = 5.0
LONGEST_ANSWER = 4096
"""Bytes of an answer that are read: enough for its reason."""
LONGEST_SEARCH = 8 << 20
"""Bytes of an answer to a search."""
LONGEST_WAIT = 3600.0

_OWN_TALK = ("urllib3", "requests", "mcpwatch.telemetry.shipper")
"""Loggers whose records are not shipped: shipping them would make more of them."""


class SpoolEmitter(LokiEmitterV1):
    """Appends a record to the spool; level, logger and the record's own tags and details become metadata."""

    def __init__(self, url: str, tags: dict[str, str] | None = None, auth: Any = None, *, spool: OwnSpool) -> None:
        super().__init__(url, tags, auth)  # pyright: ignore[reportUnknownMemberType]
        self._spool = spool

    def __call__(self, record: logging.LogRecord, line: str) -> None:
        """Keep one record; never touches the network, never raises."""
        known = details(record)
        tags = {self.format_label(key): str(value) for key, value in self.build_tags(record).items()}
        metadata = {key: value for key, value in {**tags, **known}.items() if key != "member"}
        self._spool.append(known.get("member") or "mcpwatch", "records", line, metadata)

    def close(self) -> None:
        """Nothing to close: the library calls this after any error, and the spool must stay."""


class SpoolHandler(LokiHandler):
    """The library's handler, with `spool` registered beside its own emitters and chosen."""

    def __init__(self, spool: OwnSpool, url: str, redact: Redactor) -> None:
        self.emitters = {**LokiHandler.emitters, "spool": cast("Any", partial(SpoolEmitter, spool=spool))}
        super().__init__(url, version="spool")  # pyright: ignore[reportUnknownMemberType]
        self.setFormatter(PlainFormat(redact))
        self.addFilter(_not_about_shipping)


def _not_about_shipping(record: logging.LogRecord) -> bool:
    return record.name != FACT_LOGGER and not record.name.startswith(_OWN_TALK)


class _Bearer(AuthBase):
    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            r.headers["Authorization"] = f"Bearer {self._token}"
        return r


class Push:
    """Sends one batch and says what came back. One thread at a time."""

    def __init__(self, spec: LokiSpec) -> None:
        self._spec = spec
        self._emitter = LokiEmitterV1(spec.url, {}, cast("Any", _auth(spec)))  # pyright: ignore[reportUnknownMemberType]
        self._headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "User-Agent": "mcpwatch"}
        if spec.tenant:
            self._headers["X-Scope-OrgID"] = spec.tenant
        self._how: dict[str, Any] = {
            "timeout": (min(CONNECT_TIMEOUT, spec.timeout), spec.timeout),
            "verify": False if spec.tls.insecure else spec.tls.ca_file or True,
            "cert": (spec.tls.cert_file, spec.tls.key_file) if spec.tls.key_file else spec.tls.cert_file,
            "allow_redirects": False,
            "stream": True,
        }

    def __call__(self, body: bytes) -> PushResponse:
        """Post `body` (JSON); within the deadlines of the spec for connecting and for each read. Never raises."""
        try:
            packed = gzip.compress(body, 1)
            with self._emitter.session.post(self._spec.url, data=packed, headers=self._headers, **self._how) as response:
                text = response.raw.read(LONGEST_ANSWER, decode_content=True).decode("utf-8", "replace")
                return PushResponse(response.status_code, text.strip(), _seconds(response.headers.get("Retry-After")))
        except (requests.RequestException, OSError, ValueError) as error:
            self._emitter.close()
            return PushResponse(0, f"{type(error).__name__}: {_reason(error)}")

    def lines(self, query: str, since: float, limit: int) -> list[tuple[float, dict[str, str], str]]:
        """See `search`."""
        url = self._spec.url.removesuffix("/push") + "/query_range"
        asked = {"query": query, "start": str(int(since * 1e9)), "limit": str(limit), "direction": "backward"}
        headers = {name: value for name, value in self._headers.items() if not name.startswith("Content-")}
        try:
            with self._emitter.session.get(url, params=asked, headers=headers, **self._how) as response:
                text = response.raw.read(LONGEST_SEARCH, decode_content=True).decode("utf-8", "replace")
                if response.status_code != 200:
                    raise UsageError(f"Loki answers {response.status_code}: {text.strip()[:300]}")
            return _lines(json.loads(text))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise UsageError(f"Loki cannot be asked: {_reason(error)}") from None
        except (ValueError, KeyError, TypeError):
            raise UsageError("Loki's answer cannot be read, or is too long; ask for fewer lines") from None

    def close(self) -> None:
        """Close the connections."""
        self._emitter.close()


def search(spec: LokiSpec, query: str, since: float, limit: int) -> list[tuple[float, dict[str, str], str]]:
    """Lines by LogQL, newest first: seconds since the epoch, labels, text. Raises `UsageError` with what Loki says against it."""
    push = Push(spec)
    try:
        return push.lines(query, since, limit)
    finally:
        push.close()


def faults(spec: LokiSpec) -> list[str]:
    """What of the spec cannot work on this machine: files that are not there."""
    files = {"ca_file": spec.tls.ca_file, "cert_file": spec.tls.cert_file, "key_file": spec.tls.key_file}
    return [f"loki.tls.{key}: no file {path}" for key, path in files.items() if path and not Path(path).is_file()]


def _lines(document: Any) -> list[tuple[float, dict[str, str], str]]:
    streams = document["data"]["result"]
    if document["data"]["resultType"] != "streams":
        raise UsageError('the query gives numbers; ask for lines: {member="time"} |= "error"')
    found = [(int(at) / 1e9, dict(stream["stream"]), str(text)) for stream in streams for at, text, *_ in stream["values"]]
    return sorted(found, key=lambda line: line[0], reverse=True)


def _auth(spec: LokiSpec) -> AuthBase:
    if spec.auth.basic:
        return HTTPBasicAuth(spec.auth.basic.username, spec.auth.basic.password.get_secret_value())
    return _Bearer(spec.auth.bearer.get_secret_value() if spec.auth.bearer else None)


def _seconds(retry_after: str | None) -> float | None:
    return min(float(retry_after), LONGEST_WAIT) if retry_after and retry_after.isdigit() else None


def _reason(error: Exception) -> str:
    """One short line, without the URL (it may hold more than it should)."""
    reason: BaseException = error
    while reason.args and isinstance(reason.args[0], BaseException):
        reason = reason.args[0]
    inner = getattr(reason, "reason", None)
    text = str(inner or reason).rpartition(": ")[2] or type(reason).__name__
    return text[:200]
