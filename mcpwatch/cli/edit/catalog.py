"""`catalog`, and a server of the catalogue made ready for `add`: what it needs is asked for or taken from `-e`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mcpwatch.cli import exits
from mcpwatch.cli.edit.definition import Definition, as_member
from mcpwatch.cli.out import say_answer
from mcpwatch.cli.table import coloured, table, terminal_width
from mcpwatch.config.catalog import Entry, catalog, fill, missing
from mcpwatch.model.errors import UsageError, suggest


def show_catalog(word: str | None, *, as_json: bool) -> int:
    """Print every server, or those in whose name, description or package `word` stands. Exits 1 when there is none."""
    wanted = (word or "").lower()
    found = {
        name: entry
        for name, entry in catalog().items()
        if wanted in name or wanted in entry.description.lower() or wanted in entry.package.lower()
    }
    rows = [(name, entry.runtime, _needs(entry), entry.writes, entry.description) for name, entry in found.items()]
    lines = table(("NAME", "RUNTIME", "NEEDS", "WRITES", "DESCRIPTION"), rows, colour=coloured(), width=terminal_width())
    none = f"no server with '{word}'; 'mcpwatch catalog' lists all, 'mcpwatch add NAME -- COMMAND' takes any other"
    shown = {name: entry.model_dump(mode="json") for name, entry in found.items()}
    say_answer(shown, lines if found else [none], as_json=as_json)
    return exits.OK if found else exits.UNHEALTHY


def _needs(entry: Entry) -> str:
    return ", ".join(name for name, need in entry.needs.items() if not need.optional) or "-"


def find_entry(name: str) -> Entry:
    """The entry called `name`. Raises `UsageError`."""
    found = catalog().get(name)
    if found is None:
        if "://" in name:
            raise UsageError(f"a server needs a name before its address: mcpwatch add NAME {name}")
        near = suggest(name, catalog())
        raise UsageError(
            f"no server '{name}' in the catalogue{near}; give a command after -- or a URL: mcpwatch add {name} -- COMMAND ARGS"
        )
    return found


def show_entry(name: str, *, as_json: bool) -> int:
    """Print one server: what is run, what it needs, its canary, and how it is added."""
    entry = find_entry(name)
    answers = {need: f"<{need}>" for need in entry.needs if not entry.needs[need].optional}
    filled = fill(entry, answers, read_write=False)
    runs = " ".join(filled.command) or entry.url
    if entry.runtime == "docker":
        runs = f"{entry.package}:{entry.version} {' '.join(filled.command)}, at {entry.url}"
    canary = f"{entry.canary.tool} {entry.canary.arguments}" if entry.canary else f"none: {entry.no_canary}"
    rows = [
        ("description", entry.description),
        ("runs", runs),
        *((("version", f"{entry.version}: {entry.no_pin}"),) if entry.no_pin else ()),
        ("transports", ", ".join(entry.transports)),
        ("writes", {"choice": "as you choose: --read-only or --read-write"}.get(entry.writes, entry.writes)),
        ("canary", canary),
        ("homepage", entry.homepage),
        ("licence", entry.licence),
    ]
    for need, asked in entry.needs.items():
        rows.append(("needs", f"{need}{' (optional)' if asked.optional else ''}{', secret' if asked.secret else ''}: {asked.hint}"))
    options = "".join(f" -e {need}=…" for need in answers) + (" --read-only" if entry.writes == "choice" else "")
    rows.append(("add it", f"mcpwatch add {name}{options}"))
    lines = (f"{key:12} {value}" for key, value in rows)
    say_answer({"name": name, **entry.model_dump(mode="json")}, lines, as_json=as_json)
    return exits.OK


def from_catalog(
    name: str, given: Mapping[str, str], *, bridge: str = "", read_write: bool | None = None, description: str = ""
) -> Definition:
    """A server of the catalogue; what it needs and was not given is asked for on a terminal. Raises `UsageError` elsewhere."""
    entry = find_entry(name)
    answers = dict(given)
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    for need in missing(entry, answers):
        if asks:
            answers[need] = _ask(need, entry)
    left = missing(entry, answers)
    if left:
        told = "; ".join(f"-e {need}=…: {entry.needs[need].hint}" for need in left)
        raise UsageError(f"'{name}' needs {', '.join(left)}: give {told}")
    for need, answer in tuple(answers.items()):
        if need in entry.needs and entry.kind(need) == "directory" and not answer.startswith("${"):
            answers[need] = str(Path(answer).expanduser().absolute())
            if not Path(answers[need]).is_dir():
                raise UsageError(f"-e {need}={answer}: there is no such directory ({entry.needs[need].hint})")
    if entry.writes == "choice" and read_write is None:
        if not asks:
            raise UsageError(f"'{name}' can be kept from writing or not: choose --read-only or --read-write")
        import typer

        read_write = typer.confirm("May it write?", default=False)
    return _definition(entry, fill(entry, answers, read_write=bool(read_write)), bridge, description)


def _ask(need: str, entry: Entry) -> str:
    import typer

    asked = entry.needs[need]
    return str(typer.prompt(f"{need} ({asked.hint})", hide_input=asked.secret))


def _definition(entry: Entry, filled: Any, bridge: str, description: str) -> Definition:
    docker = entry.runtime == "docker"
    made = Definition(
        command=filled.command if entry.runtime != "url" else (),
        url=entry.url,
        transport="sse" if docker else "http" if entry.runtime == "url" else "auto",
        env=filled.env,
        headers=filled.headers,
        bridge=bridge,
        image=f"{entry.package}:{entry.version}" if docker else "",
        description=description or entry.description,
        canary=filled.canary,
        secrets=frozenset(name for name, need in entry.needs.items() if need.secret),
    )
    if not filled.tools:
        return made
    return replace(made, member={**as_member(made), "tools": {"allow": list(filled.tools)}})
