"""The catalogue of well-known servers: `catalog.yaml` as frozen data, and a server of it with what it needs filled in.

Knows nothing of the fleet: what an entry becomes in a file is for the caller to write.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from pydantic import Field

from mcpwatch.config import yaml
from mcpwatch.registry import KindSpec

Runtime = Literal["uvx", "npx", "docker", "docker-stdio", "url", "mcpwatch"]


class Need(KindSpec):
    """Something that only the user knows: a variable, a header, or what stands as `{name}` in the arguments."""

    hint: str = Field(description="What it is and where to get it.")
    kind: Literal["variable", "header", "directory", "file", "text"] | None = Field(None, description="Default: by its name.")
    secret: bool = False
    optional: bool = False


class CanaryData(KindSpec):
    """A read-only call that proves the whole way, and what its answer must hold."""

    tool: str
    arguments: dict[str, Any] = Field({})
    expect: dict[str, Any] = Field({})


class Entry(KindSpec):
    """One server of the catalogue."""

    description: str
    runtime: Runtime = Field(description="What runs it: `docker-stdio` is `docker run -i`, `mcpwatch` is this program.")
    package: str = ""
    version: str = ""
    no_pin: str = Field("", description="Why the version is none that stays.")
    python: str = Field("", description="With `uvx`: the interpreter it needs, e.g. `>=3.12`.")
    more: tuple[str, ...] = Field((), description="With `uvx`: packages beside it, e.g. one that must not be too new.")
    args: tuple[str, ...] = ()
    entry: bool = Field(False, description="The first argument is the command inside the package, where that has another name.")
    env: dict[str, str] = Field({})
    url: str = ""
    needs: dict[str, Need] = Field({})
    writes: Literal["never", "always", "choice"]
    read_only_args: tuple[str, ...] = ()
    read_only_env: dict[str, str] = Field({})
    read_only_tools: tuple[str, ...] = Field((), description="With a choice: only these are shown when it may not write.")
    read_write_args: tuple[str, ...] = Field((), description="With a choice: instead of `args` when it may write.")
    read_write_env: dict[str, str] = Field({})
    canary: CanaryData | None = None
    no_canary: str = Field("", description="Why there is none.")
    transports: tuple[str, ...] = ("stdio",)
    homepage: str
    licence: str

    def kind(self, name: str) -> str:
        """What the need `name` is."""
        need = self.needs[name]
        if need.kind is not None:
            return need.kind
        return "variable" if name.isupper() else "text"


@dataclass(frozen=True, slots=True)
class Filled:
    """An entry with its needs answered: what is run, with which variables or headers, and its canary."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    headers: Mapping[str, str]
    tools: tuple[str, ...]
    canary: Mapping[str, Any] | None


@functools.cache
def catalog() -> Mapping[str, Entry]:
    """All entries by name, sorted. The file is part of the package and proved by a test."""
    text = resources.files("mcpwatch.config").joinpath("catalog.yaml").read_text(encoding="utf-8")
    data: Any = yaml.read(text, "catalog.yaml").data
    return {name: Entry.model_validate(entry) for name, entry in sorted(data["servers"].items())}


def missing(entry: Entry, answers: Mapping[str, str]) -> tuple[str, ...]:
    """The names of what must still be answered."""
    return tuple(name for name, need in entry.needs.items() if not need.optional and not answers.get(name))


def fill(entry: Entry, answers: Mapping[str, str], *, read_write: bool) -> Filled:
    """The entry with its needs answered; every one that is not optional must be there."""
    args, env = list(entry.args), dict(entry.env)
    if entry.writes == "choice" and read_write:
        args = list(entry.read_write_args) or args
        env |= entry.read_write_env
    elif entry.writes == "choice":
        args = list(entry.read_only_args) or args
        env |= entry.read_only_env
    words = {name: value for name, value in answers.items() if name in entry.needs}
    env |= {name: words[name] for name in words if entry.kind(name) == "variable"}
    env |= {name: value for name, value in answers.items() if name not in entry.needs}
    headers = {name: words[name] for name in words if entry.kind(name) == "header"}
    canary = entry.canary.model_dump(exclude_defaults=True) if entry.canary else None
    return Filled(
        command=_command(entry, [_put(arg, words) for arg in args], env),
        env=env,
        headers=headers,
        tools=entry.read_only_tools if entry.writes == "choice" and not read_write else (),
        canary=_put(canary, words) if canary else None,
    )


def _command(entry: Entry, args: list[str], env: Mapping[str, str]) -> tuple[str, ...]:
    pinned = f"{entry.package}=={entry.version}"
    if entry.runtime == "uvx":
        python = ("--python", entry.python) if entry.python else ()
        options = (*python, *(word for package in entry.more for word in ("--with", package)))
        return ("uvx", *options, *(("--from",) if entry.entry else ()), pinned, *args)
    if entry.runtime == "npx":
        return ("npx", "-y", f"{entry.package}@{entry.version}", *args)
    if entry.runtime == "docker-stdio":
        named = [word for name in sorted(env) for word in ("-e", name)]
        return ("docker", "run", "-i", "--rm", "--init", *named, f"{entry.package}:{entry.version}", *args)
    if entry.runtime == "mcpwatch":
        return ("mcpwatch", *args)
    return tuple(args)


def _put(value: Any, words: Mapping[str, str]) -> Any:
    """`{name}` replaced in every text of a value."""
    if isinstance(value, str):
        for name, word in words.items():
            value = value.replace("{" + name + "}", word)
        return value
    if isinstance(value, dict):
        return {str(key): _put(item, words) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return [_put(item, words) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
