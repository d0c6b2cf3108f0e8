"""Where and why a probe failed. Apart from the rest of a probe, because the gateway's cold start loads nothing else of it."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """The steps of a probe, in order. A failed probe names the stage it failed in."""

    SPAWN = "spawn"
    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    OPEN = "open"
    ENDPOINT = "endpoint"
    DISCOVER = "discover"
    INITIALIZE = "initialize"
    INITIALIZED = "initialized"
    PING = "ping"
    TOOLS_LIST = "tools_list"
    PROMPTS_LIST = "prompts_list"
    RESOURCES_LIST = "resources_list"
    CANARY = "canary"
    SAFE_CALL = "safe_call"
    REFUSAL = "refusal"
    CLOSE = "close"


GREETING_STAGES = frozenset({Stage.OPEN, Stage.ENDPOINT, Stage.DISCOVER, Stage.INITIALIZE})
"""A probe that fails there was answered, and not greeted."""
DOOR_STAGES = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.OPEN, Stage.ENDPOINT})
"""Stages of a probe through the proxy that the proxy answers by itself."""
NOT_HTTP = "the answer is not HTTP"
"""How a message begins that tells of broken bytes."""
CALLS = frozenset({Stage.SAFE_CALL, Stage.CANARY})
"""Stages that only the member itself can answer: a list is no answer to them."""


class Symptom(StrEnum):
    """Why a probe failed or is degraded: a closed list. Meaning and repair of each: `mcpwatch.checks.symptoms`."""

    REFUSED = "refused"
    UNRESOLVED = "unresolved"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    CERTIFICATE_EXPIRING = "certificate_expiring"
    TIMEOUT = "timeout"
    CUT = "cut"
    DRIPPING = "dripping"
    NOT_MOUNTED = "not_mounted"
    AUTH = "auth"
    UNGUARDED = "unguarded"
    REDIRECT = "redirect"
    HOST_GUARD = "host_guard"
    HTTP_STATUS = "http_status"
    OVERLOADED = "overloaded"
    REJECTED = "rejected"
    UPSTREAM_DOWN = "upstream_down"
    WRONG_TYPE = "wrong_type"
    NO_ENDPOINT = "no_endpoint"
    BAD_ENDPOINT = "bad_endpoint"
    BUFFERED = "buffered"
    NO_REPLY = "no_reply"
    BAD_REPLY = "bad_reply"
    INCOMPATIBLE = "incompatible"
    TOO_LARGE = "too_large"
    RPC_ERROR = "rpc_error"
    SESSION_LOST = "session_lost"
    ERA_MISMATCH = "era_mismatch"
    EMPTY_TOOLS = "empty_tools"
    MISSING_TOOLS = "missing_tools"
    SCHEMA = "schema"
    HIDDEN_TEXT = "hidden_text"
    DRIFT = "drift"
    TOOL_ERROR = "tool_error"
    UNEXPECTED = "unexpected"
    STALE_SESSION = "stale_session"
    WRONG_SERVER = "wrong_server"
    SLOW = "slow"
    EXITED = "exited"
    NOT_FOUND = "not_found"
    POLLUTED = "polluted"
    NOT_INITIALIZED = "not_initialized"
