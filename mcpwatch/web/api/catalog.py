"""Every operation of the API as one table: path, role, what it takes and gives. Routes and OpenAPI are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mcpwatch.web.api import bodies
from mcpwatch.web.api.bodies import RequestBody
from mcpwatch.web.sessions import Role

Schema = dict[str, Any]
Handler = Callable[[dict[str, Any]], Awaitable[Any]]
"""A room's own command: takes the JSON body (or query), gives JSON."""

DOCUMENT = Path(__file__).with_name("openapi.json")
"""The OpenAPI document of these operations, as committed and served; `openapi` makes it."""
OBJECT: Schema = {"type": "object"}
OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_NUMBER: Schema = {"type": "number"}
_PID: Schema = _object(pid={"type": "integer"})


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `answer` is the JSON Schema of what it gives; `subject` the key of path or body that facts name."""

    method: Literal["GET", "POST"]
    path: str
    summary: str
    answer: Schema
    role: Role = "read"
    body: type[RequestBody] | None = None
    query: type[RequestBody] | None = None
    subject: str = ""
    media: tuple[str, ...] = ("application/json",)

    @property
    def key(self) -> tuple[str, str]:
        """Method and path: by which handlers are bound."""
        return self.method, self.path

    @property
    def id(self) -> str:
        """A name for programs, e.g. `get_tools_name`."""
        words = [part.strip("{}") for part in self.path.split("/") if part]
        return "_".join([self.method.lower(), *words])


CATALOG: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/status",
        "The whole fleet now: members, routes, diagnoses, the watchdog itself.",
        _object(
            version={"type": "integer"},
            healthy={"type": "boolean"},
            at=_NUMBER,
            daemon=OBJECT,
            members=OBJECTS,
            routes=OBJECTS,
            diagnoses=OBJECTS,
        ),
    ),
    Operation(
        "GET",
        "/summary",
        "The fleet in a few words and counts, of the same size for a fleet of any size.",
        _object(
            state={"enum": ["starting", "healthy", "degraded", "unhealthy", "stopping", "stopped"]},
            headline=_TEXT,
            causes=OBJECTS,
            more={"type": "integer"},
            routes=OBJECT,
            members={"type": "integer"},
            running={"type": "integer"},
            version=_TEXT,
        ),
    ),
    Operation(
        "GET",
        "/fleets",
        "The summaries of the watchdogs under `web.fleets`; one that is not known has `summary` null and the reason in `unknown`.",
        _object(fleets=OBJECTS),
    ),
    Operation("GET", "/health", "Whether the watchdog itself is healthy, and what of it is down.", OBJECT),
    Operation("GET", "/whoami", "Role and name of the caller.", _object(role=_TEXT, by=_TEXT)),
    Operation(
        "GET",
        "/events",
        "What happened: a page of recorded facts, newest first; as `text/event-stream` the facts as they happen, taken up "
        "where `Last-Event-ID` says; as `application/x-ndjson` the recorded ones, oldest first, then with `follow` the live ones.",
        _object(events=OBJECTS, next={"type": ["integer", "null"]}),
        query=bodies.EventsQuery,
        media=("application/json", "text/event-stream", "application/x-ndjson"),
    ),
    Operation("GET", "/why/{name}", "What each vantage said about a member or route, the cause, the repairs tried.", OBJECT),
    Operation(
        "GET",
        "/logs/{name}",
        "The latest lines of a member, secrets masked; as an event stream each new one, after `id`.",
        _object(lines=OBJECTS, id=_TEXT),
        query=bodies.LogsQuery,
        media=("application/json", "text/event-stream"),
    ),
    Operation(
        "GET",
        "/self",
        "The watchdog's own store, logs on disk, log shipping (null: none) and open streams; the rest of it is in `/status`.",
        _object(store=OBJECT, logs=OBJECT, shipping={"type": ["object", "null"]}, viewers=OBJECT),
    ),
    Operation(
        "GET", "/search", "Lines that Loki keeps, newest first, secrets masked.", _object(lines=OBJECTS), query=bodies.SearchQuery
    ),
    Operation(
        "GET",
        "/system",
        "Load, memory and disk of the machine, in bytes; null for what it does not tell.",
        _object(cpus={"type": ["integer", "null"]}, load={"type": "array", "items": _NUMBER}, memory=OBJECT, disk=OBJECT),
    ),
    Operation("GET", "/history", "How each check did, by default over the last 24 hours.", OBJECTS, query=bodies.SinceQuery),
    Operation(
        "GET",
        "/availability",
        "Each route over the last 24 hours, 7 and 30 days, hour by hour for 90 hours, and its latency now.",
        OBJECT,
    ),
    Operation("GET", "/availability/{name}", "One route hour by hour for 90 hours.", _object(hours=OBJECTS)),
    Operation(
        "GET",
        "/objectives",
        "What was promised and what was measured, by default over the last 7 days.",
        OBJECT,
        query=bodies.SinceQuery,
    ),
    Operation("POST", "/probe", "Check a member or route now.", OBJECTS, body=bodies.ProbeBody),
    Operation("POST", "/members/{name}/{verb}", "Start, stop or restart a member.", OBJECT, "operate", subject="name"),
    Operation("POST", "/down", "Stop the watchdog and, unless `leave`, the fleet.", _PID, "operate", body=bodies.DownBody),
    Operation("POST", "/reload", "Load the configuration again and apply what changed.", OBJECT, "operate"),
    Operation("POST", "/upgrade", "Become the code that is installed now; members stay.", _PID, "operate"),
    Operation("GET", "/tools", "What every route lists, and its weight in a model's context.", OBJECT),
    Operation("GET", "/tools/{name}", "What one member or route lists, and how it differs from what was pinned.", OBJECTS),
    Operation("POST", "/pin/{name}", "Accept what a member lists now.", _TEXTS, "operate", subject="name"),
    Operation("GET", "/alerts", "Alerts that are pending or firing, the outbox, the receivers.", OBJECT, query=bodies.AllQuery),
    Operation("POST", "/alerts/test", "Send a test to receivers.", OBJECT, "operate", body=bodies.TestBody, subject="receiver"),
    Operation(
        "POST",
        "/alerts/ack",
        "Acknowledge an alert: no reminders and no escalation, the resolution is still sent.",
        OBJECT,
        "operate",
        body=bodies.AckBody,
        subject="alert",
    ),
    Operation("GET", "/silences", "Silences in force.", OBJECT),
    Operation("POST", "/silences", "Silence members or routes for a while.", OBJECT, "operate", body=bodies.SilenceBody),
    Operation("POST", "/silences/expire", "End a silence.", OBJECT, "operate", body=bodies.IdBody, subject="id"),
    Operation("GET", "/maintenance", "Maintenance started by hand, and configured windows.", OBJECT),
    Operation(
        "POST", "/maintenance", "Announce maintenance of members, or of everything.", OBJECT, "operate", body=bodies.SilenceBody
    ),
    Operation("POST", "/maintenance/stop", "End maintenance.", OBJECT, "operate", body=bodies.IdBody, subject="id"),
    Operation("GET", "/clients", "AI clients: file, in sync or not, last write.", OBJECTS),
    Operation("POST", "/clients/sync", "Bring clients' files up to date.", OBJECTS, "operate", body=bodies.ClientsBody),
    Operation(
        "POST",
        "/clients/undo",
        "Take the last write of a client's file back.",
        OBJECT,
        "operate",
        body=bodies.ClientBody,
        subject="client",
    ),
    Operation(
        "POST",
        "/clients/purge",
        "Find or take out entries written by hand that point at our routes.",
        OBJECTS,
        "operate",
        body=bodies.PurgeBody,
    ),
    Operation(
        "POST", "/clients/print", "What to paste into a client's file.", OBJECT, "read", body=bodies.ClientBody, subject="client"
    ),
    Operation("GET", "/token/rotate", "Whether a rotation of the proxy's token is under way.", OBJECT),
    Operation(
        "POST", "/token/rotate", "Change the proxy's token without a refused request.", OBJECT, "operate", body=bodies.RotateBody
    ),
)
