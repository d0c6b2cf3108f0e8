"""Kinds: how a word in the user's file finds the code behind it. Every room lists its kinds in one explicit tuple.

A kind is a name, the frozen pydantic spec a user writes, and what makes the thing. An unknown name is refused with a suggestion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict


class KindSpec(BaseModel):
    """What a user writes for a kind: frozen, and every unknown key is a fault. Its validator is made when it is first used."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    @classmethod
    def unwritten(cls) -> Self:
        """The spec of a user who writes nothing of it. Needs no validator."""
        return cls.model_construct()

    @classmethod
    def or_default(cls, written: object) -> Self:
        """What was written of it, or the spec of a user who writes nothing of it."""
        return written if isinstance(written, cls) else cls.unwritten()

    def placed(self, place: Callable[[str], str]) -> Self:  # noqa: ARG002
        """The same with its relative paths made absolute by `place`. Kinds that hold paths say which."""
        return self


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One kind: `name` as written by the user, `spec` that validates the rest, `make` that builds it (no side effects)."""

    name: str
    spec: type[KindSpec]
    make: Callable[..., T]
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Kinds:
    """All kinds that `config.plan.build` may meet, by room. Filled by `app` alone."""

    checks: tuple[Kind[Any], ...] = ()
    runtimes: tuple[Kind[Any], ...] = ()
    proxies: tuple[Kind[Any], ...] = ()
    notifiers: tuple[Kind[Any], ...] = ()
    clients: tuple[Kind[Any], ...] = ()
    sections: tuple[tuple[str, type[BaseModel]], ...] = ()
    """Top-level keys of the file that belong to a room (`telemetry`, `web` …) and the spec that room asks for."""


def find(kinds: Iterable[Kind[T]], name: str) -> Kind[T] | None:
    """The kind called `name`, or `None`."""
    return next((kind for kind in kinds if kind.name == name), None)
