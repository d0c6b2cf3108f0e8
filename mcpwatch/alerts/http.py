"""The one door to httpx in this room: POST a body, and say whether trying again can help. Shows no URL beyond its host."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mcpwatch.model.errors import NotifyFailed

if TYPE_CHECKING:  # loaded with the first receiver that needs it: five megabytes
    import httpx

RETRY_AFTER_MAX = 3600.0
"""Seconds a receiver may ask us to wait; more is taken as this."""
SAID_MAX = 200
AGAIN = frozenset({408, 409, 425, 429})
"""Client errors that a later try may get past."""

logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs whole URLs, and those of receivers hold tokens


class Poster:
    """Posts to one receiver over a kept connection. Redirects are not followed: a body with secrets goes where it was sent."""

    def __init__(self, timeout: float, *, insecure: bool = False) -> None:
        import httpx

        self._httpx = httpx
        self._timeout = timeout
        self._insecure = insecure
        self._client: httpx.AsyncClient | None = None

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> None:
        """Post `content`; a 2xx answer is success. Raises `NotifyFailed`."""
        where, httpx = host(url), self._httpx
        try:
            answer = await (await self._opened()).post(url, content=content, headers=dict(headers))
        except httpx.TimeoutException as error:
            raise NotifyFailed(f"{where}: no answer within {self._timeout:g} s", retryable=True) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
            raise NotifyFailed("the URL of this receiver cannot be used; write http(s)://host/path", retryable=False) from error
        except (httpx.HTTPError, OSError) as error:
            raise NotifyFailed(f"{where}: {type(error).__name__}, nothing was delivered", retryable=True) from error
        if answer.is_success:
            return
        retryable = answer.status_code >= 500 or answer.status_code in AGAIN
        said = " ".join(answer.text[:SAID_MAX].split())
        raise NotifyFailed(
            f"{where} answered {answer.status_code}" + (f": {said}" if said else ""),
            retryable=retryable,
            retry_after=_retry_after(answer.headers.get("retry-after", "")) if retryable else None,
        )

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _opened(self) -> httpx.AsyncClient:
        """The client; made in a thread, because reading all authorities holds a loop too long."""
        if self._client is None:
            made = await asyncio.to_thread(self._made)
            self._client, spare = self._client or made, self._client
            if spare is not None:
                await made.aclose()
        return self._client

    def _made(self) -> httpx.AsyncClient:
        return self._httpx.AsyncClient(timeout=self._timeout, verify=not self._insecure, follow_redirects=False)


def host(url: str) -> str:
    """`host:port` of a URL: all of it that may be shown."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or 'receiver'}:{parts.port}" if parts.port else parts.hostname or "receiver"
    except ValueError:
        return "receiver"


def _retry_after(text: str) -> float | None:
    """Seconds of a Retry-After header, a number or a date; `None` when there is none that can be read."""
    if text.strip().isdigit():
        return min(float(text), RETRY_AFTER_MAX)
    from email.utils import parsedate_to_datetime

    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time()), RETRY_AFTER_MAX)
    except (TypeError, ValueError):
        return None
