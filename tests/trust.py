"""One TLS context for all clients of httpx that name none: each would read 150 certificates anew, 20 ms of processor."""

from __future__ import annotations

import functools
import os
import ssl
from typing import Any

from httpx._transports import default

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def share_contexts() -> None:
    """From now on, in this process, clients with the same trust share a context."""
    private: Any = default
    make = private.create_ssl_context

    @functools.cache
    def shared(*_: str | None) -> ssl.SSLContext:
        return make()

    def create(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is not True or cert is not None or not trust_env:
            return make(verify=verify, cert=cert, trust_env=trust_env)
        return shared(*(os.environ.get(name) for name in VARIABLES))

    private.create_ssl_context = create
