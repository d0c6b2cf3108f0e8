"""Any HTTP endpoint: the notification as JSON, or the user's own JSON with words of it filled in; signed when a key is given."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import Any, Literal

from pydantic import Field, JsonValue, SecretStr, field_validator

from mcpwatch.alerts.book import Notification
from mcpwatch.alerts.http import Poster
from mcpwatch.alerts.message import document
from mcpwatch.alerts.receiver import Notifier, Plain, ReceiverSpec
from mcpwatch.model.errors import suggest
from mcpwatch.registry import Kind

WORDS = ("id", "receiver", "reason", "state", "severity", "at", "group", "title", "body")
"""What `{{ … }}` in a template may name."""
_PLACE = re.compile(r"\{\{\s*+(\w*+)\s*+\}\}")


class WebhookSpec(ReceiverSpec):
    """What a user writes."""

    kind: Literal["webhook"] = "webhook"
    url: SecretStr = Field(description="Where to post; kept secret, since such URLs often hold a token.")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="Headers to add, e.g. `Authorization`.")
    secret: SecretStr | None = Field(None, description="Key of the HMAC-SHA256 signature in `X-Mcpwatch-Signature`.")
    template: JsonValue = Field(
        None, description="JSON to post instead of the document; `{{title}}`, `{{body}}` … in its texts are filled in."
    )
    insecure: bool = Field(False, description="Accept any TLS certificate.")

    @field_validator("template")
    @classmethod
    def _known_words(cls, template: JsonValue) -> JsonValue:
        for word in _PLACE.findall(json.dumps(template)):
            if word not in WORDS:
                raise ValueError(f"'{{{{{word}}}}}' is not known{suggest(word, WORDS)}")
        return template


class Webhook(Plain):
    """One endpoint."""

    def __init__(self, spec: WebhookSpec) -> None:
        self._spec = spec
        self._poster = Poster(spec.timeout, insecure=spec.insecure)

    async def notify(self, notification: Notification) -> None:
        """Post it. The endpoint can tell a second one from the first by `X-Mcpwatch-Id`."""
        told = document(notification)
        body = told if self._spec.template is None else fill(self._spec.template, told)
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "mcpwatch",
            "X-Mcpwatch-Id": notification.id,
            "Idempotency-Key": notification.id,
        }
        if self._spec.secret is not None:
            stamp = str(int(notification.at))
            headers["X-Mcpwatch-Signature"] = f"t={stamp},v1={sign(self._spec.secret.get_secret_value(), stamp, content)}"
        headers |= {name: value.get_secret_value() for name, value in self._spec.headers.items()}
        await self._poster.post(self._spec.url.get_secret_value(), content, headers)

    async def close(self) -> None:
        """Close the connection."""
        await self._poster.close()


def sign(key: str, stamp: str, content: bytes) -> str:
    """Hex HMAC-SHA256 of `stamp` (Unix seconds, as text), a dot and the body as posted."""
    return hmac.new(key.encode(), stamp.encode() + b"." + content, hashlib.sha256).hexdigest()


def fill(template: JsonValue, told: dict[str, Any]) -> JsonValue:
    """The template with every `{{word}}` in its texts replaced; the result is JSON whatever the words hold."""
    if isinstance(template, str):
        return _PLACE.sub(lambda place: str(told.get(place[1], "")), template)
    if isinstance(template, list):
        return [fill(item, told) for item in template]
    if isinstance(template, dict):
        return {key: fill(item, told) for key, item in template.items()}
    return template


WEBHOOK: Kind[Notifier] = Kind("webhook", WebhookSpec, Webhook, "Any HTTP endpoint, as JSON, signed")
