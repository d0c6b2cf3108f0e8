"""Plans from text, for the tests of this room."""

from __future__ import annotations

import textwrap
from pathlib import Path

from mcpwatch.config.load import load_plan
from mcpwatch.model.spec import MemberSpec, Plan, RouteSpec
from tests.config.kinds import KINDS

STATE = Path("/state")


def plan(text: str, directory: Path, environ: dict[str, str], name: str = "fleet.yaml") -> Plan:
    """The plan of a text, through a real file."""
    file = directory / name
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return load_plan(file, KINDS, environ, STATE)


def member(found: Plan, name: str) -> MemberSpec:
    """The member of that name."""
    spec = found.member(name)
    assert spec is not None
    return spec


def route(found: Plan, name: str) -> RouteSpec:
    """The route of that name."""
    return next(route for route in found.routes if route.name == name)
