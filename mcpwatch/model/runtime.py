"""What is special about each runtime: what the rooms ask instead of its name. Data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RuntimeTraits:
    """The traits of one runtime.

    `own`: a process that we start on this machine. `hosted`: started by the proxy. `watched`: run by others, and only watched.
    `engine`: carried by an engine, which can be away and knows where a member answers. `container`: a container of that engine.
    """

    own: bool = False
    hosted: bool = False
    watched: bool = False
    engine: bool = False
    container: bool = False


TRAITS: dict[str, RuntimeTraits] = {
    "process": RuntimeTraits(own=True),
    "docker": RuntimeTraits(engine=True, container=True),
    "swarm": RuntimeTraits(engine=True, container=True),
    "kubernetes": RuntimeTraits(engine=True),
    "hosted": RuntimeTraits(hosted=True),
    "external": RuntimeTraits(watched=True),
}
"""By name. A runtime that is not here has none."""


def traits_of(runtime: str) -> RuntimeTraits:
    """The traits of the runtime called so."""
    return TRAITS.get(runtime, RuntimeTraits())
