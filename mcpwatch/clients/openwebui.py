"""HTTP of this room, in a thread; the one door to httpx here, loaded when it is used. Open WebUI's list of tool servers.

Its admin API takes the whole list at once and knows no version of it, so it is read again just before it is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from mcpwatch.clients.adapters.open_webui import ADAPTER, OpenWebUISpec, as_written
from mcpwatch.clients.backups import Backups
from mcpwatch.clients.formats.path import EditRefused
from mcpwatch.clients.ledger import digest
from mcpwatch.clients.route import Entry
from mcpwatch.clients.sync import Job, Written
from mcpwatch.model.errors import ClientFileError

if TYPE_CHECKING:
    import httpx

LIST = str(ADAPTER.container[0])
PATH = "/api/v1/configs/tool_servers"
TIMEOUT = 10.0
"""Seconds for one request."""


def preview(job: Job, spec: OpenWebUISpec) -> Written:
    """What `sync` would do."""
    with _client(spec) as client:
        return _rendered(job, spec, _read(client, spec))


def sync(job: Job, spec: OpenWebUISpec, backups: Backups) -> Written:
    """Bring the list up to date. Raises `ClientFileError`; then it is as it was."""
    with _client(spec) as client:
        text = _read(client, spec)
        written = _rendered(job, spec, text)
        if not written.changed:
            return written
        backups.save(job.kind, job.path, text.encode(), job.ledger, job.at)
        if _read(client, spec) != text:
            raise ClientFileError(f"{spec.url}: its list is being changed; left alone for now")
        write(client, spec, written.after or "{}")
        return _kept(client, spec, written)


def _kept(client: httpx.Client, spec: OpenWebUISpec, written: Written) -> Written:
    """With the list as Open WebUI spells it; as written where that is not known or not ours alone: undo then takes out ours."""
    try:
        kept = _read(client, spec)
    except ClientFileError:
        return written
    if _foreign(kept) != _foreign(written.after or "{}"):
        return written  # somebody changed it since
    ledger = replace(written.outcome.ledger, file=digest(kept))
    return replace(written, after=kept, outcome=replace(written.outcome, ledger=ledger))


def _foreign(text: str) -> list[Any]:
    """What is not ours, but for what Open WebUI fills in."""
    document: Any = json.loads(text)
    items: Any = cast("Entry", document).get(LIST) if isinstance(document, dict) else None
    listed = cast("list[Any]", items) if isinstance(items, list) else []
    tables = [cast("Entry", item) for item in listed if isinstance(item, dict)]
    return [{key: value for key, value in item.items() if value} for item in tables if not item.get("x_mcpwatch")]


def fetch(spec: OpenWebUISpec) -> str:
    """The list now, as text."""
    with _client(spec) as client:
        return _read(client, spec)


def restore(spec: OpenWebUISpec, data: bytes) -> None:
    """Put an earlier list back."""
    with _client(spec) as client:
        write(client, spec, data.decode())


def write(client: httpx.Client, spec: OpenWebUISpec, text: str) -> None:
    """Replace the whole list."""
    _checked(spec, lambda: client.post(PATH, content=text.encode(), headers={"Content-Type": "application/json"}))


def answers(url: str, token: str) -> int | None:
    """The status that a route answers a caller with this token, or `None`; the body is not read."""
    import httpx

    try:
        with httpx.stream(
            "GET", url, headers={"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}, timeout=TIMEOUT
        ) as reply:
            return reply.status_code
    except httpx.HTTPError:
        return None


def _client(spec: OpenWebUISpec) -> httpx.Client:
    import httpx

    key = os.environ.get(spec.api_key_env)
    if not key:
        raise ClientFileError(f"{spec.url}: no API key; set {spec.api_key_env}")
    return httpx.Client(base_url=spec.url, timeout=TIMEOUT, headers={"Authorization": f"Bearer {key}"})


def _read(client: httpx.Client, spec: OpenWebUISpec) -> str:
    body = _checked(spec, lambda: client.get(PATH)).content
    try:
        document = json.loads(body)
    except ValueError:
        raise ClientFileError(f"{spec.url}: does not answer as Open WebUI; left alone") from None
    elements = cast("Entry", document).get(LIST) if isinstance(document, dict) else None
    if isinstance(elements, list):
        kept = (as_written(cast("Entry", item)) if isinstance(item, dict) else item for item in cast("list[Any]", elements))
        document = {**cast("Entry", document), LIST: list(kept)}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _checked(spec: OpenWebUISpec, send: Callable[[], httpx.Response]) -> httpx.Response:
    import httpx

    try:
        reply = send()
    except httpx.HTTPError as error:
        raise ClientFileError(f"{spec.url}: {type(error).__name__}; left alone") from None
    if reply.status_code in (401, 403):
        raise ClientFileError(f"{spec.url}: refused the key in {spec.api_key_env}; it must be an admin's")
    if reply.status_code != 200:
        raise ClientFileError(f"{spec.url}: answered {reply.status_code}; left alone")
    return reply


def _rendered(job: Job, spec: OpenWebUISpec, text: str) -> Written:
    try:
        outcome = job.render(text)
    except EditRefused as refusal:
        raise ClientFileError(f"{spec.url}: {refusal}; left alone") from None
    return Written(outcome, text, outcome.text, job.path)
