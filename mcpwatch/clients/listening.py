"""Whether something listens where a URL points. Shell, in a thread; nothing is sent."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

WAIT = 1.0
"""Seconds."""


def listening(url: str) -> bool:
    """Whether a connection to the URL's host and port is taken."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), WAIT):
            return True
    except (OSError, ValueError):
        return False
