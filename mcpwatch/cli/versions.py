"""Versions of the foreign programs that a fleet uses, asked of each and held against the oldest that does. Changes nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcpwatch.config.load import Loaded
from mcpwatch.foreign.launchers import launched
from mcpwatch.foreign.programs import PROGRAMS, ForeignProgram, program, version_of
from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.runtime import traits_of
from mcpwatch.model.spec import Plan

_ASK = 15.0
_BEHIND = {"npx": "node", "uvx": "uv"}
_PACKAGES = ("supergateway", "mcp-remote")


@dataclass(frozen=True, slots=True)
class Old:
    """A program that is too old: `what` says so, with its place; `proxy`: nothing works without it."""

    program: ForeignProgram
    what: str
    proxy: bool = False


@dataclass(frozen=True, slots=True)
class _Use:
    """Where a program is found, or the version that the fleet's file writes for it."""

    program: ForeignProgram
    where: str = ""
    written: str = ""
    proxy: bool = False


def asked(argv: Sequence[str], *, only_success: bool = False) -> str:
    """What a program prints, or the empty string. `only_success`: nothing of one that exits with a failure."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_ASK, check=False, stdin=subprocess.DEVNULL, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if only_success and done.returncode else done.stdout + done.stderr


def commands(loaded: Loaded | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each member's own command, by name: of stdio servers, bridges and processes."""
    for member in loaded.config.members if loaded else ():
        if member.written.stdio is not None:
            yield member.name, (member.written.stdio.command, *member.written.stdio.args)
        for kind, block in member.blocks:
            values: Any = dict(block)
            if traits_of(kind).own and values.get("command"):
                yield member.name, (str(values["command"]), *(str(word) for word in values.get("args", ())))


def old_programs(loaded: Loaded | None, plan: Plan | None, environ: Mapping[str, str]) -> list[Old]:
    """Every program of the fleet that is too old, each told once. All are asked side by side."""
    uses = list(dict.fromkeys((*_proxy(plan, environ), *_launchers(loaded, environ))))
    with ThreadPoolExecutor(max_workers=8) as pool:
        return [found for found in pool.map(_judged, uses) if found is not None] if uses else []


def warnings(loaded: Loaded, plan: Plan, environ: Mapping[str, str]) -> list[str]:
    """What is told of a fleet before it begins. Raises `ConfigError` for a proxy that is too old: nothing works then."""
    told: list[str] = []
    for old in old_programs(loaded, plan, environ):
        told.append(f"{old.what}; see 'mcpwatch doctor'")
        if old.proxy:
            raise ConfigError(Fault("proxy", told[-1], loaded.document.file))
    return told


def old_for_export(form: str, environ: Mapping[str, str]) -> Iterator[Old]:
    """The program of this machine that would run an export, when it is too old."""
    ways = {"compose": (("docker", "compose"), ("docker-compose",)), "quadlet": (("podman",),)}
    wanted = program("podman" if form == "quadlet" else "compose")
    for words in ways.get(form, ()):
        found = shutil.which(words[0], path=environ.get("PATH"))
        said = asked([found, *words[1:], *wanted.ask]) if found else ""
        if why := wanted.too_old(said):
            yield Old(wanted, why)
        if version_of(said):
            return  # this one would run it, whatever else is there


def _proxy(plan: Plan | None, environ: Mapping[str, str]) -> Iterator[_Use]:
    proxy = plan.proxy if plan else None
    known = next((one for one in PROGRAMS if proxy is not None and one.key == proxy.kind), None)
    if proxy is None or known is None or proxy.contained:
        return
    found = shutil.which(str(getattr(proxy.options, "binary", "mcp-proxy")), path=environ.get("PATH"))
    if found:
        yield _Use(known, found, proxy=True)


def _launchers(loaded: Loaded | None, environ: Mapping[str, str]) -> Iterator[_Use]:
    for _, argv in commands(loaded):
        launch = launched(argv)
        found = shutil.which(argv[0], path=environ.get("PATH"))
        if launch is None:
            name = Path(argv[0]).name
            if found and name in _PACKAGES:
                yield _Use(program(name), found)
            continue
        name, _, version = launch.package.partition("@") if launch.launcher == "npx" else ("", "", "")
        if name in _PACKAGES and version:
            yield _Use(program(name), written=version)
        behind = Path(found).with_name(_BEHIND[launch.launcher]) if found else None
        if found:
            there = str(behind) if behind and behind.exists() else shutil.which(_BEHIND[launch.launcher], path=environ.get("PATH"))
            yield _Use(program(launch.launcher), there or found)


def _judged(use: _Use) -> Old | None:
    one = use.program
    if use.written:
        why = one.too_old(use.written)
        return Old(one, why) if why else None
    why = one.too_old(said := asked([use.where, *one.ask]))
    if not why and one.option and not version_of(said):
        text = asked([use.where, "--help"], only_success=True)  # what fails says nothing of its version
        why = (
            f"{one.name} does not know {one.option}, as before {one.oldest}"
            if text.strip() and one.option.lstrip("-") not in text
            else ""
        )
    return Old(one, f"{use.where}: {why}", use.proxy) if why else None
