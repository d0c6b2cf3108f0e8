"""What a user writes: every key, its default beside it, and the sentence that documents it. Checks single values only.

What other rooms own (`docker`, `process`, proxy kinds, `telemetry`, `web`, `alerts` …) comes from their kinds, not from this page;
what spans several keys is checked in `rules`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, WithJsonSchema

from mcpwatch.model import cron
from mcpwatch.pattern import fault
from mcpwatch.registry import KindSpec
from mcpwatch.units import Duration, Listen, Size, Span, Text, Url

NAME_PATTERN = r"[A-Za-z0-9_.-]+"


def _name(value: str) -> str:
    if not re.fullmatch(NAME_PATTERN, value) or value in {".", ".."}:
        raise ValueError(f"{value!r} is no name; use letters, digits, '_', '.' and '-'")
    return value


def _regex(value: str) -> str:
    wrong = fault(value)
    if wrong:
        raise ValueError(f"is not a regular expression: {wrong}")
    return value


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _route(value: object) -> object:
    return "" if value is False else None if value is True else value


Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$"})]
Filled = Annotated[str, StringConstraints(min_length=1)]
Texts = Annotated[tuple[Filled, ...], BeforeValidator(_one_or_more), WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
)]  # fmt: skip
Cron = Annotated[str, AfterValidator(cron.checked), WithJsonSchema({"type": "string", "examples": ["*/10 * * * *"]})]
Regex = Annotated[str, AfterValidator(_regex), WithJsonSchema({"type": "string", "format": "regex"})]
Route = Annotated[str | None, BeforeValidator(_route), AfterValidator(lambda v: _name(v) if v else v), WithJsonSchema(
    {"anyOf": [{"type": "string", "pattern": f"^{NAME_PATTERN}$"}, {"type": "boolean"}]}
)]  # fmt: skip
Secret = Annotated[SecretStr, Field(min_length=1)]
FromWhere = Literal["direct", "route"]
Wire = Literal["auto", "sse", "http", "stateless"]


class AuthConfig(KindSpec):
    """Who may call: bearer tokens. Several are valid at once, so that they can be rotated."""

    tokens: tuple[Secret, ...] = Field((), description="Bearer tokens, any of which is accepted. Empty: no token is asked for.")


class ToolsConfig(KindSpec):
    """Which tools of a member the proxy shows, and under which names."""

    allow: tuple[Filled, ...] = Field((), description="Show only these tools.")
    block: tuple[Filled, ...] = Field((), description="Show all tools but these.")
    rename: dict[str, Filled] = Field({}, description="New names, by the tool's own name.")

    def shown_as(self, name: str) -> str | None:
        """The name that clients see of a tool, which a check names by its own name or by this one; `None`: it is hidden."""
        if self._shows(name):
            return self.rename.get(name, name)
        return name if any(new == name and self._shows(own) for own, new in self.rename.items()) else None

    def _shows(self, own: str) -> bool:
        return own not in self.block and (not self.allow or own in self.allow)


class StdioConfig(KindSpec):
    """A stdio server: a command that speaks MCP on stdin and stdout."""

    command: Filled = Field(description="The program, found on PATH or given as a path.")
    args: tuple[Text, ...] = Field((), description="Its arguments.")
    env: dict[str, Text] = Field({}, description="Environment variables it gets, beside a small clean set.")
    env_file: Texts = Field(
        (), description="Files of `NAME=value` lines added to `env`; `env` wins. The embedded gateway reads them at each start."
    )
    cwd: str | None = Field(None, description="Working directory. Default: that of mcpwatch.")
    sessions: Literal["auto", "shared", "isolated"] = Field(
        "auto",
        description="`shared`: one process serves all client sessions; `isolated`: one for each; `auto`: the proxy decides.",
    )


class BridgeConfig(KindSpec):
    """Run the stdio server in a bridge process of its own, instead of inside the proxy."""

    listen: Listen = Field(description="Where the bridge serves it, e.g. `127.0.0.1:9072`.")
    transport: Literal["sse", "http"] = Field("sse", description="How the proxy and the direct checks speak to the bridge.")


class BackoffConfig(KindSpec):
    """The growing pause before a restart. The first restart is made at once."""

    first: Duration = Field(0.25, description="Pause before the second restart; it doubles from there.")
    max: Duration = Field(30.0, description="Longest pause.")
    jitter: float = Field(0.2, ge=0, lt=1, description="Each pause is stretched or shortened by up to this fraction.")


class RestartConfig(KindSpec):
    """When a member that ended comes back."""

    condition: Literal["always", "on-failure", "never"] = Field(
        "always", description="`always`: whatever its exit code; `on-failure`: unless it ended with 0; `never`."
    )
    intensity: int = Field(5, ge=0, le=1000, description="Restarts allowed within `period`; one more parks the member as FAILED.")
    period: Span = Field(120.0, description="The window for `intensity`.")
    backoff: BackoffConfig = Field(BackoffConfig(), description="Pauses between restarts.")  # pyright: ignore[reportCallIssue]
    retry: Duration | None = Field(60.0, description="A FAILED member gets one more try after this long; `null`: only by hand.")
    fatal_exit_codes: tuple[int, ...] = Field(
        (78,),
        description="Exit codes that park the member until it is started by hand: `retry` does not follow them. "
        "126 and 127, by which a shell says that there is no command to run, park it at once, and `retry` follows.",
    )
    max_memory: Size | None = Field(
        None, description="Resident memory of the whole tree above which it is restarted in good order."
    )


class ExpectConfig(KindSpec):
    """What a check asserts beyond a complete handshake. What is left out asserts nothing."""

    min_tools: int | None = Field(None, ge=0, description="At least this many tools are listed.")
    tools: tuple[Filled, ...] = Field((), description="These tools are listed.")
    server_name: str | None = Field(None, description="The server names itself so.")
    server_version: str | None = Field(None, description="The server tells this version.")
    max_latency: Span | None = Field(None, description="A slower probe makes the member degraded.")
    contains: str | None = Field(None, description="The canary's result holds this text.")
    regex: Regex | None = Field(None, description="The canary's result matches this regular expression.")
    jsonpath: str | None = Field(None, description="RFC 9535 query that selects something in the canary's result.")
    json_schema: dict[str, Any] | None = Field(None, description="JSON Schema that the canary's result satisfies.")
    certificate_days: int | None = Field(None, ge=0, description="The TLS certificate is valid for at least this many days.")


class CheckDefaults(KindSpec):
    """What checks use unless they say otherwise."""

    interval: Span = Field(30.0, description="Seconds between two probes.")
    timeout: Span = Field(10.0, description="Absolute deadline of one whole probe.")
    failure_threshold: int = Field(3, ge=1, le=1000, description="Failures in a row that make the verdict unhealthy.")
    success_threshold: int = Field(1, ge=1, le=1000, description="Successes in a row that make it healthy again.")
    contract: Literal["ignore", "warn", "degrade", "quarantine"] = Field(
        "warn",
        description="What a changed tool contract does: nothing, a fact, a degraded verdict, or an unhealthy one until pinned, "
        "with which clients lose the route from their files; the proxy goes on serving it.",
    )


class CheckConfig(KindSpec):
    """One check of a member. Keys beside these belong to the check's kind."""

    name: Name | None = Field(None, description="Its name, when checks are written as a list. Default: its kind.")
    kind: str = Field("mcp", description="What is checked: `mcp` speaks MCP; see the list of check kinds.")
    enabled: bool = Field(True, description="`false` switches it off, also a default check of the same name.")
    vantages: Annotated[tuple[FromWhere, ...], BeforeValidator(_one_or_more)] = Field(
        ("direct", "route"), description="Where it looks from: the member itself, the route through the proxy, or both."
    )
    interval: Span | None = Field(None, description="Seconds between two probes. Default: `defaults.check.interval`.")
    cron: Cron | None = Field(
        None,
        description="Cron fields or a name such as @hourly, local time, instead of `interval`. 0 and 7 are Sunday.",
    )
    timeout: Span | None = Field(None, description="Absolute deadline of one whole probe. Default: `defaults.check.timeout`.")
    failure_threshold: int | None = Field(None, ge=1, le=1000, description="Default: `defaults.check.failure_threshold`.")
    success_threshold: int | None = Field(None, ge=1, le=1000, description="Default: `defaults.check.success_threshold`.")
    expect: ExpectConfig = Field(ExpectConfig(), description="What it asserts.")  # pyright: ignore[reportCallIssue]
    tool: Filled | None = Field(
        None, description="Makes it a canary: the tool that is really called, by the member's own name of it."
    )
    arguments: dict[str, Any] = Field({}, description="Arguments of that call.")
    contract: Literal["ignore", "warn", "degrade", "quarantine"] | None = Field(
        None, description="Default: `defaults.check.contract`."
    )


class Common(KindSpec):
    """What the proxy and every member share."""

    description: str = Field("", description="A few words for people, shown in status and on the page.")
    enabled: bool = Field(True, description="`false`: known, shown, but not started.")
    depends_on: Texts = Field((), description="Members that are started (and ready, or past their grace) before this one.")
    start_grace: Span | None = Field(None, description="Time from start to first proven health. Default: `defaults.start_grace`.")
    stop_grace: Duration | None = Field(None, description="Time from SIGTERM to SIGKILL. Default: `defaults.stop_grace`.")
    restart: RestartConfig | None = Field(None, description="When it comes back; what is left out comes from `defaults.restart`.")


class MemberConfig(Common):
    """One member. Write exactly one of `stdio`, `process`, `docker` … or, to watch what others run, only `url`."""

    stdio: StdioConfig | None = Field(None, description="A stdio server, hosted in the proxy or, with `bridge`, beside it.")
    bridge: BridgeConfig | None = Field(None, description="Give the stdio server a bridge process of its own.")
    url: Url | None = Field(None, description="Where the member itself answers MCP, e.g. `http://127.0.0.1:8686/sse`.")
    upstream_url: Url | None = Field(None, description="The same as the proxy sees it, when that differs (another network).")
    transport: Wire = Field("auto", description="The wire spoken at `url`; `auto` finds out.")
    token: SecretStr | None = Field(None, description="Bearer token for `url`.")
    headers: dict[str, Text] = Field({}, description="HTTP headers sent to `url`.")
    ca_file: str | None = Field(None, description="CA certificates to trust for `url`, a PEM file.")
    insecure: bool = Field(False, description="Do not verify the TLS certificate of `url`.")
    cert_file: str | None = Field(None, description="Client certificate to show to `url`, a PEM file with its chain.")
    key_file: str | None = Field(None, description="Private key of `cert_file`, where it is not in that file.")
    route: Route = Field(None, description="Public name on the proxy; default: the member's name. `false`: no route.")
    auth: AuthConfig = Field(AuthConfig(), description="Tokens of this route alone, instead of the proxy's.")  # pyright: ignore[reportCallIssue]
    tools: ToolsConfig = Field(ToolsConfig(), description="Which of its tools the proxy shows.")  # pyright: ignore[reportCallIssue]
    proxy_options: dict[str, Any] = Field(
        {}, description="Options for this member that only some proxy kinds understand, passed on as written."
    )


class ProxyConfig(Common):
    """The proxy in front. Keys beside these belong to the proxy's kind."""

    kind: str = Field("gateway", description="`gateway` (embedded), another kind, or `none` for a fleet without a proxy.")
    name: Name = Field("proxy", description="Its name in the fleet.")
    listen: Listen = Field("127.0.0.1:9090", description="Where it serves.")
    base_url: Url | None = Field(
        None,
        description="The URL clients reach it by. Default: `http://` and `listen`. A proxy that mcpwatch runs is probed at "
        "`listen`: what stands before it is seen only by a member of its own with a `url` there.",
    )
    auth: AuthConfig = Field(AuthConfig(), description="Tokens that every route asks for.")  # pyright: ignore[reportCallIssue]
    expose_mcpwatch: bool = Field(
        False,
        description="Serve mcpwatch's own MCP server as the route `mcpwatch`, for reading: an agent can ask what is down and why.",
    )


class DefaultsConfig(KindSpec):
    """What members and checks use unless they say otherwise."""

    check: CheckDefaults = Field(CheckDefaults(), description="Defaults of every check.")  # pyright: ignore[reportCallIssue]
    restart: RestartConfig = Field(RestartConfig(), description="Defaults of every member's `restart`.")  # pyright: ignore[reportCallIssue]
    start_grace: Span = Field(60.0, description="Time from start to first proven health (`uvx` and `npx` start cold).")
    stop_grace: Duration = Field(10.0, description="Time from SIGTERM to SIGKILL.")


class FileConfig(KindSpec):
    """The whole file. Keys beside these belong to rooms (`telemetry`, `web`, `alerts`, `clients` …); `x-…` keys are yours."""

    version: Literal[1] = Field(1, description="Version of this format.")
    env_file: Texts = Field((), description="Files of `NAME=value` lines that `${NAME}` may use; the environment wins.")
    defaults: DefaultsConfig = Field(DefaultsConfig(), description="Defaults for members and checks.")  # pyright: ignore[reportCallIssue]
