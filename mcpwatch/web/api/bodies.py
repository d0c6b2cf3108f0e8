"""What requests of the API may carry: one model for each body and each query, which also make the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(max_length=200)]
Words = Annotated[str, StringConstraints(max_length=1000)]
Names = Annotated[list[Name], Field(max_length=1000)]
Length = Annotated[float, Field(ge=0, le=1e9)]


class RequestBody(BaseModel):
    """The root: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, defer_build=True)


class ProbeBody(RequestBody):
    """Which member or route to check now."""

    name: Name = Field(description="Name of a member or route.")
    vantage: Literal["direct", "route"] | None = Field(None, description="Only from there; default: from both.")


class DownBody(RequestBody):
    """How the watchdog stops."""

    leave: bool = Field(False, description="Leave the members running.")


class TestBody(RequestBody):
    """Which receiver to test."""

    receiver: Name = Field("", description="Name of a receiver; default: all.")


class AckBody(RequestBody):
    """Which alert is acknowledged."""

    alert: Name = Field(description="Id or name of the alert.")
    comment: Words = Field("", description="Why, for the others.")
    by: Name = Field("", description="Who; over the web it is always the name of the token.")


class SilenceBody(RequestBody):
    """What is silenced, and how long."""

    targets: Names = Field([], description="Names of members or routes, or label=pattern.")
    for_: Length | Name | None = Field(None, alias="for", description="How long: seconds, or 30m, 2h. Default: an hour.")
    comment: Words = Field("", description="Why.")
    by: Name = Field("", description="Who; over the web it is always the name of the token.")


class IdBody(RequestBody):
    """Which one ends."""

    id: Name = Field("", description="Its id.")


class ClientsBody(RequestBody):
    """Which clients are synced, and how."""

    clients: Names = Field([], description="Clients by kind or by file; default: all.")
    dry_run: bool = Field(False, description="Say what would change; write nothing.")
    diff: bool = Field(False, description="Show it line by line; write nothing.")
    force: bool = Field(False, description="Do not wait for holds; put back and take over entries of our names.")
    one_step_since: float | None = Field(
        None,
        ge=0,
        le=1e11,
        description="Seconds since 1970: one undo takes back all that was written to a client's file since then.",
    )


class ClientBody(RequestBody):
    """One client."""

    client: Name = Field(description="By kind or by file.")


class PurgeBody(RequestBody):
    """Which clients are looked through for entries written by hand."""

    clients: Names = Field([], description="Clients by kind or by file; default: all.")
    apply: bool = Field(False, description="Take the entries out.")


class RotateBody(RequestBody):
    """How the token of the proxy is changed."""

    wait: Name = Field("24h", description="How long callers may go on with the old token.")
    env_file: Words | None = Field(None, description="File that holds the token.")
    variable: Name = Field("MCP_PROXY_TOKEN", description="Name of the variable in it.")


class AllQuery(RequestBody):
    """Which alerts are listed."""

    all: Literal["", "0", "1", "true", "false"] = Field("", description="1: also those that have ended lately.")


class EventsQuery(RequestBody):
    """Which facts are listed. Pages go from the newest to the oldest; `cursor` is what the page before gave as `next`."""

    since: float | None = Field(None, ge=0, le=1e11, description="Only facts from then on, seconds since the Unix epoch.")
    limit: int = Field(100, ge=0, le=100_000, description="At most so many; a page has at most 1000.")
    member: Name | None = Field(None, description="Only facts about this member or route.")
    name: Name | None = Field(None, description="Only facts of this kind, e.g. member_exited.")
    cursor: int | None = Field(None, ge=0, le=2**62, description="Where the next page begins.")
    follow: Literal["", "0", "1", "true", "false"] = Field("", description="NDJSON only: go on with what happens.")


class LogsQuery(RequestBody):
    """Which lines of a member are listed, oldest first."""

    lines: int = Field(100, ge=0, le=1000, description="How many of the latest.")
    stream: Literal["stdout", "stderr"] | None = Field(None, description="Only this one; default: both.")
    since: float | None = Field(None, ge=0, le=1e11, description="Only lines from then on, seconds since the Unix epoch.")
    after: Name = Field("", description="Event stream only: go on after this `id`; `Last-Event-ID` wins.")


class SearchQuery(RequestBody):
    """What is looked for in Loki."""

    query: str = Field(min_length=1, max_length=2000, description='LogQL, e.g. `{member="time"} |= "error"`.')
    since: float | None = Field(None, ge=0, le=1e11, description="Seconds since the Unix epoch. Default: an hour ago.")
    limit: int = Field(100, ge=1, le=1000, description="How many lines at most.")


class SinceQuery(RequestBody):
    """From when on."""

    since: float | None = Field(None, ge=0, le=1e11, description="Seconds since the Unix epoch. Default: see the operation.")
    name: Name | None = Field(None, description="Only this member or route.")
