"""A raw document in our own format to a `Config`: every value typed, every kind's block validated by its kind, every fault noted.

What cannot be used is left out and told; what spans several keys is for `rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, TypeAdapter

from mcpwatch.config.models import CheckConfig, FileConfig, MemberConfig, Name, ProxyConfig
from mcpwatch.config.specs import keys_of
from mcpwatch.config.validate import ConfigFindings, validate
from mcpwatch.foreign.document import Path, Value
from mcpwatch.foreign.variables import Read
from mcpwatch.model.errors import suggest
from mcpwatch.model.runtime import TRAITS
from mcpwatch.model.spec import Traits
from mcpwatch.registry import Kind, Kinds, KindSpec, find

_NAME: TypeAdapter[str] = TypeAdapter(Name)

IMPLIED_RUNTIMES = frozenset(name for name, traits in TRAITS.items() if traits.hosted or traits.watched)
"""Runtimes that no key names: they follow from `stdio` without `bridge`, and from `url` alone."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check as written, at `path`; `options` is what its kind made of the keys of its own."""

    name: str
    written: CheckConfig
    options: KindSpec | None
    path: Path


@dataclass(frozen=True, slots=True)
class WrittenMember:
    """One member as written. `blocks` are the runtimes it names, normally none or one; `keys` is all that was written."""

    name: str
    written: MemberConfig
    blocks: tuple[tuple[str, KindSpec], ...] = ()
    checks: tuple[Check, ...] = ()
    keys: frozenset[str] = frozenset()

    @property
    def path(self) -> Path:
        """Where it stands in the document."""
        return ("members", self.name)


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy as written; `options` is what its kind made of the keys of its own."""

    written: ProxyConfig
    options: KindSpec
    blocks: tuple[tuple[str, KindSpec], ...] = ()
    checks: tuple[Check, ...] = ()
    traits: Traits = Traits()


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file, typed. `proxy` is `None` for a fleet without one, and when it is faulty: then `bare` is false.

    `names` are all members written, also the faulty ones.
    """

    file: FileConfig = FileConfig()  # pyright: ignore[reportCallIssue]
    proxy: Proxy | None = None
    members: tuple[WrittenMember, ...] = ()
    sections: tuple[tuple[str, BaseModel], ...] = ()
    names: frozenset[str] = frozenset()
    bare: bool = False
    """Whether the user wants no proxy."""
    source: str = ""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    secret_files: frozenset[str] = frozenset()
    """The files from which secrets were read."""

    @property
    def embedded(self) -> bool:
        """Whether the proxy is our own gateway."""
        return self.proxy is not None and self.proxy.traits.embedded


@dataclass(frozen=True, slots=True)
class Parser:
    """Parses with these kinds; `read` opens the files that `*_file` keys name."""

    kinds: Kinds
    findings: ConfigFindings
    read: Read

    def config(self, raw: Value, source: str = "") -> Config:
        """The whole document."""
        if not isinstance(raw, dict):
            self.findings.add((), "the file is empty" if raw is None else "the file must be a mapping of keys")
            return Config(source=source)
        rooms = dict(self.kinds.sections)
        known = {*keys_of(FileConfig), "proxy", "members", *rooms}
        for key in raw:
            if key not in known and not key.startswith("x-"):
                self.findings.add((key,), f"unknown key{suggest(key, known)}")
        file = validate(FileConfig, _only(raw, keys_of(FileConfig)), (), self.findings, self.read)
        members, names = self.members(raw.get("members"))
        written = raw.get("proxy", {})
        bare = written is None or written is False or (isinstance(written, dict) and written.get("kind") == "none")
        proxy = None if bare else self.proxy(written)
        sections = [
            (name, made)
            for name, spec in rooms.items()
            if name in raw and (made := validate(spec, raw[name], (name,), self.findings, self.read)) is not None
        ]
        return Config(file or FileConfig(), proxy, members, tuple(sections), names, bare, source)  # pyright: ignore[reportCallIssue]

    def members(self, raw: Value) -> tuple[tuple[WrittenMember, ...], frozenset[str]]:
        """All members that can be built, and the names of all that were written."""
        if raw is None:
            return (), frozenset()
        if not isinstance(raw, dict):
            self.findings.add(("members",), "must be a mapping of names to members")
            return (), frozenset()
        made = [member for name, value in raw.items() if (member := self.member(name, value)) is not None]
        return tuple(made), frozenset(raw)

    def member(self, name: str, raw: Value) -> WrittenMember | None:
        """One member, or `None` when too little of it is right."""
        path = ("members", name)
        try:
            _NAME.validate_python(name)
        except ValueError:
            self.findings.add(path, f"{name!r} is no name; use letters, digits, '_', '.' and '-'")
        if not isinstance(raw, dict):
            self.findings.add(path, "must be a mapping that says what it is, e.g. stdio: {command: mcp-server-time}")
            return None
        own = self.unknown(raw, path, {*keys_of(MemberConfig), *runtime_keys(self.kinds), "checks"})
        written = validate(MemberConfig, _only(own, keys_of(MemberConfig)), path, self.findings, self.read)
        blocks, checks = self.blocks(own, path), self.checks(own.get("checks"), (*path, "checks"))
        return WrittenMember(name, written, blocks, checks, frozenset(own)) if written is not None else None

    def proxy(self, raw: Value) -> Proxy | None:
        """The proxy; without the key the embedded gateway. `None` when too little of it is right."""
        path = ("proxy",)
        if not isinstance(raw, dict):
            self.findings.add(path, "must be a mapping, e.g. {kind: gateway, listen: 127.0.0.1:9090}")
            return None
        kind = self.kind(self.kinds.proxies, raw.get("kind", "gateway"), (*path, "kind"), "proxy kind", ("none",))
        if kind is None:
            return None
        own = self.unknown(raw, path, {*keys_of(ProxyConfig), *runtime_keys(self.kinds), *keys_of(kind.spec), "checks"})
        written = validate(ProxyConfig, _only(own, keys_of(ProxyConfig)), path, self.findings, self.read)
        rest = _only(own, set(keys_of(kind.spec)) - ({*keys_of(ProxyConfig)} - {*kind.spec.model_fields}))
        options = validate(kind.spec, rest, path, self.findings, self.read)
        blocks, checks = self.blocks(own, path), self.checks(own.get("checks"), (*path, "checks"))
        return Proxy(written, options, blocks, checks, kind.make().traits) if written is not None and options is not None else None

    def blocks(self, raw: dict[str, Value], path: Path) -> tuple[tuple[str, KindSpec], ...]:
        """The runtime blocks of a member, each validated by its runtime."""
        made: list[tuple[str, KindSpec]] = []
        for kind in self.kinds.runtimes:
            if kind.name in raw and kind.name not in IMPLIED_RUNTIMES:
                spec = validate(kind.spec, raw[kind.name], (*path, kind.name), self.findings, self.read)
                made += [(kind.name, spec)] if spec is not None else []
        return tuple(made)

    def checks(self, raw: Value, path: Path) -> tuple[Check, ...]:
        """Checks, written as a mapping by name or as a list."""
        if raw is None:
            return ()
        if not isinstance(raw, (dict, list)):
            self.findings.add(path, "must be a mapping of names to checks, or a list of checks")
            return ()
        made: list[Check] = []
        for name, value, where in _entries(raw, path):
            check = self.check(name, value, where)
            if check is not None and any(check.name == other.name for other in made):
                self.findings.add(where, f"a second check named '{check.name}'; give it a name of its own")
            elif check is not None:
                made.append(check)
        return tuple(made)

    def check(self, name: str | None, raw: Value, path: Path) -> Check | None:
        """One check; `None` when too little of it is right."""
        if raw is False and name is not None:
            raw = {"enabled": False}
        if not isinstance(raw, dict):
            self.findings.add(path, "must be a mapping, e.g. {interval: 60s}")
            return None
        word = raw.get("kind", name if name is not None and find(self.kinds.checks, name) else "mcp")
        kind = self.kind(self.kinds.checks, word, (*path, "kind"), "check kind")
        if kind is None:
            return None
        own = self.unknown(raw, path, {*keys_of(CheckConfig), *keys_of(kind.spec)})
        written = validate(CheckConfig, {**_only(own, keys_of(CheckConfig)), "kind": kind.name}, path, self.findings, self.read)
        options = validate(kind.spec, _only(own, keys_of(kind.spec)), path, self.findings, self.read)
        if written is None:
            return None
        return Check(name or written.name or kind.name, written, options, path)

    def kind(self, kinds: Iterable[Kind[Any]], word: Value, path: Path, what: str, also: tuple[str, ...] = ()) -> Kind[Any] | None:
        """The kind called `word`, or a fault that names the near one."""
        known = tuple(kinds)
        kind = find(known, word) if isinstance(word, str) else None
        if kind is None:
            names = (*(kind.name for kind in known), *also)
            self.findings.add(path, f"unknown {what} '{word}'{suggest(str(word), names)}")
        return kind

    def unknown(self, raw: dict[str, Value], path: Path, known: set[str]) -> dict[str, Value]:
        """`raw` without the unknown keys, each of which is a fault. `NAME_file` stands for a known NAME."""
        strange = [key for key in raw if key not in known and key.removesuffix("_file") not in known]
        for key in strange:
            self.findings.add((*path, key), f"unknown key{suggest(key, known)}")
        return {key: value for key, value in raw.items() if key not in strange}


def runtime_keys(kinds: Kinds) -> tuple[str, ...]:
    """The runtimes that a key names."""
    return tuple(kind.name for kind in kinds.runtimes if kind.name not in IMPLIED_RUNTIMES)


def _entries(raw: dict[str, Value] | list[Value], path: Path) -> Iterator[tuple[str | None, Value, Path]]:
    if isinstance(raw, dict):
        yield from ((name, value, (*path, name)) for name, value in raw.items())
    else:
        yield from ((None, value, (*path, index)) for index, value in enumerate(raw))


def _only(raw: dict[str, Value], keys: Iterable[str]) -> dict[str, Value]:
    """The part of `raw` that these keys own, with the `_file` twin of each."""
    owned = set(keys)
    return {key: value for key, value in raw.items() if key in owned or key.removesuffix("_file") in owned}
