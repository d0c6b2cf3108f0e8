"""What a user writes under `web:` and `objectives:`; every default stands beside its field. Opens nothing."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema, field_validator, model_validator

from mcpwatch.registry import KindSpec
from mcpwatch.units import Listen, Span, Url

DEFAULT_LISTEN = "127.0.0.1:9465"
SHORTEST_TOKEN = 16
"""Characters: a shorter token could be guessed."""


def loopback(host: str) -> bool:
    """Whether `host` (a name or an address, without port) is this machine alone."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class TokenSpec(KindSpec):
    """One bearer token of the page, the API and the MCP server, and what it may do."""

    token: SecretStr = Field(description="The secret itself, at least 16 characters.")
    role: Literal["read", "operate"] = Field("read", description="`read`: see everything. `operate`: also act on the fleet.")
    name: str = Field("", max_length=64, description="Who uses it, written into facts. Default: the role.")

    @field_validator("token")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < SHORTEST_TOKEN:
            raise ValueError(f"is shorter than {SHORTEST_TOKEN} characters; make one with: openssl rand -hex 32")
        return value


class FleetSpec(KindSpec):
    """Another watchdog that the page shows beside this one: by the address of its page. It is only read."""

    url: Url = Field(description="Address of its page, e.g. `https://fleet.lan:9465`.")
    token: SecretStr = Field(SecretStr(""), description="A token of it with the role `read`, where it wants one.")
    ca_file: str | None = Field(None, description="PEM file of the authority to believe for it. Default: the system's.")

    @field_validator("url")
    @classmethod
    def _of_a_page(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.query or parts.fragment:
            raise ValueError("is the plain address of a page, without ? and #; a token goes into token")
        return value.rstrip("/")

    @field_validator("ca_file")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError("must be an absolute path")
        return value


class WebSpec(KindSpec):
    """The status page, the API and the MCP server. `web: false` switches all of them off."""

    model_config = ConfigDict(json_schema_extra={"x-switch": True})

    enabled: bool = Field(True, description="`false` is the same as `web: false`.")
    listen: Listen = Field(DEFAULT_LISTEN, description="Where it serves. Another address than loopback needs a token.")
    tokens: tuple[TokenSpec, ...] = Field((), description="Who may come in, and with which role.")
    hosts: tuple[str, ...] = Field((), description="Names, beside those of `listen`, by which browsers may reach it.")
    public: bool = Field(False, description="Serve `/public`, badges and the Atom feed to everybody, without a token.")
    title: str = Field("mcpwatch", max_length=80, description="Heading of the page.")
    fleets: dict[str, FleetSpec] = Field({}, description="Other watchdogs, by the name that `/fleets` shows.")
    viewers: int = Field(250, ge=1, le=5000, description="Open event streams at once; one more is refused with 503.")

    @model_validator(mode="before")
    @classmethod
    def _switch(cls, written: Any) -> Any:
        """`web: false` and `web: true`."""
        return {"enabled": written} if isinstance(written, bool) else written

    @model_validator(mode="after")
    def _guarded(self) -> WebSpec:
        if self.enabled and not loopback(self.listen.rpartition(":")[0]) and not self.tokens:
            raise ValueError(f"{self.listen} can be reached from other machines; set web.tokens, or listen on 127.0.0.1")
        return self


def _percent(value: object) -> object:
    """`1%`, `1 %` or a bare number of percent."""
    if isinstance(value, str) and value.strip().endswith("%"):
        text = value.strip()[:-1].strip()
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{value!r} is not a percentage; write 99.5 or 1%") from None
    return value


Percent = Annotated[
    float,
    BeforeValidator(_percent),
    Field(ge=0, le=100, allow_inf_nan=False),
    WithJsonSchema({"type": ["number", "string"], "examples": [99.5, "1%"]}),
]


class ObjectiveSpec(KindSpec):
    """What a route promises; what is left out is taken from the fleet's objectives."""

    availability: Percent | None = Field(None, description="Percent of the watched time in which the route works.")
    connect_p95: Span | None = Field(None, description="95 of 100 connections to the route are made within this time.")
    tool_error_rate: Percent | None = Field(None, description="At most this percentage of tool calls fails.")
    clients: int | None = Field(None, ge=1, le=100_000, description="So many clients are served at once.")


class ObjectivesSpec(KindSpec):
    """What the fleet promises. `mcpwatch report` holds it against what was measured."""

    availability: Percent = Field(99.5, description="Percent of the watched time in which a route works.")
    connect_p95: Span = Field(0.5, description="95 of 100 connections to a route are made within this time.")
    tool_error_rate: Percent = Field(1.0, description="At most this percentage of tool calls fails.")
    clients: int = Field(10, ge=1, le=100_000, description="So many clients are served at once.")
    routes: dict[str, ObjectiveSpec] = Field({}, description="Other objectives for single routes, by name.")

    def of(self, route: str) -> ObjectivesSpec:
        """The objectives of one route, everything filled in."""
        own = self.routes.get(route)
        given = {} if own is None else {key: value for key, value in own.model_dump().items() if value is not None}
        return self.model_copy(update={**given, "routes": {}})


WEB = ("web", WebSpec)
OBJECTIVES = ("objectives", ObjectivesSpec)
