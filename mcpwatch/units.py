"""Values as a person writes them — `1m30s`, `256m`, `127.0.0.1:9090`, URLs — and the pydantic types every room uses for them."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_PART = re.compile(r"(?<!\d)(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([bkmgt]?)(?:i?b)?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def seconds(value: object) -> float:
    """Seconds of `30s`, `1m30s`, `250ms`, `1.5h`, `2d`, or a bare number. Raises `ValueError`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        text = value.strip().lower()
        if _NUMBER.fullmatch(text):
            return float(text)
        if _DURATION.fullmatch(text):
            return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    raise ValueError(f"{value!r} is not a duration; write 30s, 1m30s, 250ms or a number of seconds")


def size(value: object) -> int:
    """Bytes of `256m`, `1.5g`, `64k`, `1048576` (powers of 1024). Raises `ValueError`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip().lower())):
        return int(float(match[1]) * _BYTES[match[2]])
    raise ValueError(f"{value!r} is not a size; write 256m, 1g or a number of bytes")


def spell_seconds(value: float) -> str:
    """The shortest spelling of a duration, for showing: `90` is `1m30s`, `0.25` is `250ms`."""
    if value <= 0:
        return "0s"
    rest, parts = round(value * 1000), list[str]()
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or f"{value}s"


def spell_size(value: int) -> str:
    """The shortest exact spelling of a size: `268435456` is `256m`."""
    for unit in ("t", "g", "m", "k"):
        if value and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]}{unit}"
    return str(value)


def listen(value: object) -> str:
    """`host:port` of `127.0.0.1:9090`, `[::1]:9090`, `:9090` (all interfaces) or `9090` (loopback). Raises `ValueError`."""
    text = str(value).strip()
    host, colon, port = ("127.0.0.1", ":", text) if text.isdecimal() else text.rpartition(":")
    if isinstance(value, bool) or not colon or not port.isdecimal() or int(port) > 65535 or not _host(host):
        raise ValueError(f"{value!r} is not an address to listen on; write 127.0.0.1:9090")
    return f"{host or '0.0.0.0'}:{int(port)}"  # noqa: S104  # what the user wrote: `:9090` is every interface


def _host(host: str) -> bool:
    if host.startswith("["):
        return host.endswith("]") and ":" in host
    return re.fullmatch(r"[A-Za-z0-9_.-]*", host) is not None


def url(value: str) -> str:
    """An absolute http or https URL without credentials in it. Raises `ValueError`."""
    try:
        parts = urlsplit(value.strip())
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good, parts = False, urlsplit("")
    if not good or any(letter.isspace() for letter in value.strip()):
        raise ValueError("is not a URL; write http://host:port/path")
    if parts.username or parts.password:
        raise ValueError("has credentials in the URL, where every log shows them; put them in headers or token")
    return value.strip()


def number_as_text(value: object) -> object:
    """A number, such as a port, as the text that was written; whatever else as it is."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def matching(pattern: str | re.Pattern[str], words: str) -> AfterValidator:
    """What a text must match as a whole, else: `'text' {words}`."""
    whole = re.compile(pattern)

    def checked(value: str) -> str:
        if not whole.fullmatch(value):
            raise ValueError(f"{value!r} {words}")
        return value

    return AfterValidator(checked)


Text = Annotated[str, BeforeValidator(number_as_text), WithJsonSchema({"type": ["string", "number"]})]
"""Text; a YAML number (a port, say) is taken as it was written."""

_DURATION_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^({_DURATION.pattern}|{_NUMBER.pattern})$"}],
    "examples": ["30s", "1m30s"],
}
_SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?([bkmgtBKMGT]?)([iI]?[bB])?$"}],
    "examples": ["256m", "1g"],
}

Duration = Annotated[float, BeforeValidator(seconds), Field(ge=0, allow_inf_nan=False), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds, zero or more."""

Span = Annotated[float, BeforeValidator(seconds), Field(gt=0, allow_inf_nan=False), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds, more than zero."""

Size = Annotated[int, BeforeValidator(size), Field(gt=0), WithJsonSchema(_SIZE_SCHEMA)]
"""Bytes, more than zero."""

Listen = Annotated[
    str,
    BeforeValidator(listen),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["127.0.0.1:9090", "[::1]:9090", ":9090"]}),
]
"""An address to listen on, as `host:port`."""

Url = Annotated[str, AfterValidator(url), WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://"})]
"""An absolute http or https URL."""
