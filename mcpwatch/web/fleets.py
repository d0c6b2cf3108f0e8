"""Other watchdogs beside this one: asked for their summary when somebody looks, one not understood is `unknown` with the reason.

It only reads, follows no redirect, and believes nothing: what another watchdog says is bounded and held against a shape. A token
goes to its own address alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mcpwatch import __version__
from mcpwatch.clock import Clock
from mcpwatch.http_client.client import HttpClient, Response
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.trust import Trust
from mcpwatch.model.probe import Symptom
from mcpwatch.model.view import FleetView
from mcpwatch.web.page.summary import summary
from mcpwatch.web.page.views import counts, light
from mcpwatch.web.spec import FleetSpec
from mcpwatch.web.words import fleet_state

WAIT = 8.0
"""Seconds in which a watchdog must have answered whole."""
KEPT = 5.0
"""Seconds for which an answer is given again."""
AT_ONCE = 16
LARGEST = 64 * 1024
"""Bytes of an answer."""

_Text = Annotated[str, Field(max_length=4000)]
_Count = Annotated[int, Field(ge=0, le=10_000_000)]


class _Cause(BaseModel):
    model_config = ConfigDict(strict=True, defer_build=True)
    subject: _Text
    text: _Text
    next: _Text


class Summary(BaseModel):
    """What `GET /summary` gives: a fleet of any size in a few words and counts. Keys that are not known here are left out."""

    model_config = ConfigDict(strict=True, defer_build=True)
    state: Annotated[str, Field(pattern="^(starting|healthy|degraded|unhealthy|stopping|stopped)$")]
    headline: _Text
    causes: Annotated[list[_Cause], Field(max_length=10)]
    more: _Count
    routes: Annotated[dict[Annotated[str, Field(pattern="^(healthy|degraded|unhealthy|unknown)$")], _Count], Field(max_length=4)]
    members: _Count
    running: _Count
    version: Annotated[str, Field(max_length=64)]


def summary_of(view: FleetView) -> dict[str, Any]:
    """The summary of this fleet."""
    status = light(view)
    told = summary(status)
    rows = {
        "healthy": view.healthy,
        "members": status["members"],
        "routes": [{"member": one.member, "verdict": one.verdict.value} for one in view.routes],
        "diagnoses": view.diagnoses,
    }
    return {
        "state": fleet_state(rows),
        "headline": told["headline"],
        "causes": told["causes"],
        "more": told["more"],
        "routes": counts(status),
        "members": len(view.members),
        "running": sum(one["phase"] == "running" for one in status["members"]),
        "version": __version__,
    }


class Fleets:
    """This fleet and those of the configuration."""

    def __init__(self, view: Callable[[], FleetView], specs: Callable[[], Mapping[str, FleetSpec]], clock: Clock) -> None:
        self._view = view
        self._specs = specs
        self._clock = clock
        self._asking = asyncio.Lock()
        self._kept: tuple[float, Mapping[str, FleetSpec], list[dict[str, Any]]] | None = None

    async def summary(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """This fleet alone."""
        return summary_of(self._view())

    async def fleets(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Every other fleet, in the order of the configuration. Callers at the same time share one round of questions."""
        async with self._asking:
            specs, now = self._specs(), self._clock.now()
            if self._kept is None or self._kept[1] != specs or not 0 <= now - self._kept[0] < KEPT:
                turns = asyncio.Semaphore(AT_ONCE)
                found = await asyncio.gather(*(self._one(name, spec, turns) for name, spec in specs.items()))
                self._kept = (self._clock.now(), specs, found)
            return {"fleets": self._kept[2]}

    async def _one(self, name: str, spec: FleetSpec, turns: asyncio.Semaphore) -> dict[str, Any]:
        """What is known of one. Whatever keeps it from being known is said, and harms no other."""
        known: dict[str, Any] | None = None
        reason = ""
        async with turns:
            try:
                async with asyncio.timeout(WAIT):
                    known = Summary.model_validate_json(await self._asked(spec)).model_dump()
            except TimeoutError:
                reason = f"no answer within {WAIT:g} s"
            except ValidationError:
                reason = "what answers there is no mcpwatch that can be read"
            except _NotKnown as error:
                reason = str(error)
        return {"name": name, "url": spec.url, "summary": known, "unknown": reason}

    async def _asked(self, spec: FleetSpec) -> bytes:
        """The body of its summary. Raises `_NotKnown`."""
        token = spec.token.get_secret_value()
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        client = HttpClient(spec.url, trust=Trust(ca_file=spec.ca_file))
        try:
            return await _body(await client.request("GET", f"{spec.url}/api/v1/summary", headers))
        except HttpFailed as error:
            raise _NotKnown(f"cannot be reached: {error.reason}"[:300]) from error
        finally:
            client.close()


class _NotKnown(Exception):
    """The text says why."""


async def _body(answer: Response) -> bytes:
    """The whole body of a good answer. Raises `_NotKnown` and `HttpFailed`."""
    try:
        if answer.status in (401, 403):
            raise _NotKnown(f"it answered {answer.status}: set a token of it under web.fleets")
        if answer.status == 404:
            raise _NotKnown("it answered 404: no mcpwatch, or one that is too old to tell a summary")
        if answer.status != 200:
            raise _NotKnown(f"it answered {answer.status}")
        if answer.oddity:
            raise _NotKnown(answer.oddity)
        return await answer.read(LARGEST)
    except HttpFailed as error:
        if error.symptom is Symptom.TOO_LARGE:
            raise _NotKnown(f"its answer is longer than {LARGEST} bytes") from error
        raise
    finally:
        answer.close()
