"""`import`: look into files, show what was found, try each server, bring all into the fleet by one edit, and let clients follow.

Nothing of a file is executed but what the user agreed to bring in. Clients' own entries are replaced only when asked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mcpwatch.cli import exits
from mcpwatch.cli.control import call
from mcpwatch.cli.edit.definition import secrets_of, with_references
from mcpwatch.cli.edit.fleet_file import FleetFile, read_fleet_file
from mcpwatch.cli.edit.proof import PROOF_WAIT, route_proved
from mcpwatch.cli.edit.run import Work, carry_out, file_in_use, show_diff
from mcpwatch.cli.edit.secrets import Hidden, hide_all
from mcpwatch.cli.edit.steps import Steps
from mcpwatch.cli.edit.trial import TrialFailed, TrialTimedOut, try_member
from mcpwatch.cli.importing.ask import agree, ask
from mcpwatch.cli.importing.canary import with_canary, without_canary
from mcpwatch.cli.importing.found import FoundServer, Wish, merged, servers_in
from mcpwatch.cli.out import say
from mcpwatch.cli.table import coloured, table
from mcpwatch.clients.detect import detect
from mcpwatch.clients.location import Machine
from mcpwatch.config.load import read_document
from mcpwatch.foreign.document import with_texts
from mcpwatch.foreign.variables import read_env
from mcpwatch.model.errors import ConfigError, UsageError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DOLLAR = ("gemini-cli", "qwen-code")
"""Clients that read `$VAR` in their files as a variable."""
_SUFFIXES = (".json", ".jsonc", ".yaml", ".yml", ".toml")
_FOUND = "?"
"""Stands for the client of a file that was found in a named directory: one that cannot be read there is told, not refused."""


def bring_in(files: Sequence[Path], wish: Wish) -> int:
    """Import. Exit 0 when all that was chosen is proved (or nothing was found), 1 when something was left out for a failure."""
    path = file_in_use(wish.config, begin=True)
    fleet = read_fleet_file(path, begin=True)
    if not fleet.ours:
        raise UsageError(f"{path}: bring servers into an mcpwatch file; make it one with 'mcpwatch init --from {path}'")
    sources = _sources(files)
    found = look(sources, fleet, strict=bool(files))
    steps = Steps("import", wish.as_json)
    if not wish.as_json:
        _print(found, dict(sources))
    asks = not (wish.yes or wish.dry_run or wish.as_json) and sys.stdin.isatty() and sys.stdout.isatty()
    if asks and any(not one.trouble for one in found):
        wish = ask(wish, found, lambda some: _kinds(some, dict(sources)))
    chosen = [with_canary(one) if wish.test else one for one in found if wish.takes(one)]
    missing = [name for name in wish.only if name not in {one.name for one in chosen}]
    if missing:
        raise UsageError(f"--only {missing[0]}: no such server was found that can be brought in")
    if not chosen:
        steps.end(ok=True, found=[_plain(one) for one in found], imported=[])
        return exits.OK
    work = _work(path, chosen, wish)
    if wish.dry_run:
        if wish.as_json:
            steps.end(ok=True, dry_run=True, found=[_plain(one) for one in found])
        else:
            show_diff(work, steps)
        return exits.OK
    if asks:
        show_diff(work, steps)
        agree(f"Try {len(chosen)} server{'s' * (len(chosen) > 1)} and write this into {path}?")
    elif not wish.yes:
        raise UsageError("nothing was changed; say --yes to bring them in without being asked (or --dry-run to look)")
    tried, failed = _tried(chosen, fleet, wish, steps)
    if tried:
        _carry_out(path, tried, dict(sources), wish, steps)
    steps.end(ok=not failed, found=[_plain(one) for one in found], imported=[one.name for one in tried], failed=failed)
    return exits.UNHEALTHY if failed else exits.OK


def _carry_out(path: Path, tried: Sequence[FoundServer], kinds: Mapping[Path, str], wish: Wish, steps: Steps) -> None:
    """Write those that answered, and let the clients follow where a watchdog proved them."""
    since = time.time()
    proved = carry_out(_work(path, tried, wish), steps)
    if proved:
        _replace(tried, kinds, wish, since, steps)
    elif wish.replace_clients:
        steps.tell("clients", "their entries stay until a watchdog runs: replace them by 'mcpwatch sync --force'", "skipped")


def _sources(files: Sequence[Path]) -> list[tuple[Path, str]]:
    """The files to look into, each with the client that it is of: those named, those in a named directory, else all clients'."""
    if not files:
        return [(one.path, one.kind) for one in detect(Machine()) if one.exists]
    made: list[tuple[Path, str]] = []
    for named in files:
        inside = sorted(one for one in named.iterdir() if one.suffix in _SUFFIXES and one.is_file()) if named.is_dir() else []
        made += [(one, _FOUND) for one in inside] if named.is_dir() else [(named, "")]
    return made


def look(sources: Sequence[tuple[Path, str]], fleet: FleetFile, *, strict: bool) -> tuple[FoundServer, ...]:
    """What the files hold, each server once. A file that cannot be read is told, and refused when it was named (`strict`)."""
    found: list[FoundServer] = []
    for source, kind in sources:
        dollar = kind in _DOLLAR or source.parent.name in (".gemini", ".qwen")
        try:
            found += servers_in(read_document(source).data, str(source), dollar=dollar)
        except ConfigError as error:
            if strict and kind != _FOUND:
                raise
            found.append(FoundServer(source.name, {}, (str(source),), source.name, str(error)))
    values = {**_variables(fleet), **os.environ}
    found = [_on_this_machine(one, frozenset(values)) for one in found]
    proxy: Mapping[str, Any] = fleet.document.get("proxy") or {}
    listen = str(proxy.get("listen") or "127.0.0.1:9090")
    own = {listen, listen.replace("127.0.0.1", "localhost"), urlsplit(str(proxy.get("base_url") or "")).netloc} - {""}
    known = {FoundServer(name, _filled(fleet.as_ours(name), values), (), name).key for name in fleet.members}
    return merged(found, fleet.members, known, own)


def _on_this_machine(one: FoundServer, variables: frozenset[str]) -> FoundServer:
    """The same, left alone when its program or one of its variables is not here."""
    if one.trouble:
        return one
    stdio: Mapping[str, Any] = one.member.get("stdio") or {}
    command = str(stdio.get("command") or "")
    if command and "${" not in command and not shutil.which(str(Path(command).expanduser())):
        return replace(one, trouble=f"the program '{command}' is not found on this machine")
    unset = next((name for name in _needed(one.member) if name not in variables), None)
    return replace(one, trouble=f"the variable {unset} is not set; put it into the env file first") if unset else one


def _needed(value: object) -> list[str]:
    """The variables without a default that a member names."""
    return re.findall(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}", json.dumps(value, default=str))


def _variables(fleet: FleetFile) -> dict[str, str]:
    """The variables of the fleet's env files."""
    found: dict[str, str] = {}
    for path in fleet.env_files():
        if path.exists():
            found |= read_env(path.read_text(encoding="utf-8"))[0]
    return found


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    """A member with its variables filled in: a client's entry holds in plain text what an import once moved to the env file."""
    return with_texts(value, lambda text: _REFERENCE.sub(lambda match: values.get(match[1], match[0]).replace("$", "$$"), text))


def _work(path: Path, chosen: Sequence[FoundServer], wish: Wish) -> Work:
    secrets = {one.name: secrets_of(one.member) for one in chosen}

    def hidden(now: FleetFile) -> Hidden:
        return hide_all(now, secrets)

    def change(now: FleetFile) -> FleetFile:
        there = hidden(now)
        members = {one.name: with_references(one.member, there.of(one.name)) for one in chosen}
        made = now
        for name, value in members.items():
            if name in made.members:
                raise UsageError(f"{path}: has a member '{name}' already")
            made = made.with_changes({(*made.box, name): value})
        made = made.with_changes({("env_file",): there.env_file}) if there.env_file else made
        return _with_clients(made, chosen) if wish.replace_clients else made

    def prove(before: dict[str, Any], steps: Steps) -> None:
        well = frozenset(str(route["name"]) for route in before["routes"] if route["verdict"] == "healthy")
        for one in chosen:
            route = route_proved(one.name, well, max(PROOF_WAIT, wish.wait))
            steps.tell("prove", f"{one.name}: {route['url']} through the proxy")

    return Work(f"import {', '.join(one.name for one in chosen)}", path, change, prove, hidden, begin=True)


def _with_clients(fleet: FleetFile, chosen: Sequence[FoundServer]) -> FleetFile:
    """The file with the clients that the servers were found in, so that they are kept from now on."""
    sources = {source for one in chosen for source in one.sources}
    wanted = [one for one in detect(Machine()) if str(one.path) in sources]
    written: list[dict[str, Any]] = list(fleet.document.get("clients") or [])
    kinds = {str(item.get("kind")) for item in written}
    fresh = [one for one in wanted if one.kind not in kinds]
    more = [{"kind": one.kind} if one.scope == "user" else {"kind": one.kind, "scope": one.scope} for one in fresh]
    return fleet.with_changes({("clients",): [*written, *more]}) if more else fleet


def _kinds(found: Sequence[FoundServer], kinds: Mapping[Path, str]) -> list[str]:
    """The clients in whose files these servers are."""
    here = {kinds.get(Path(source), "") for one in found if not one.trouble for source in one.sources}
    return sorted(here - {"", _FOUND})


def _tried(chosen: Sequence[FoundServer], fleet: FleetFile, wish: Wish, steps: Steps) -> tuple[list[FoundServer], list[str]]:
    """Those that answered, and the names of those that did not."""
    if not wish.test:
        return list(chosen), []
    good: list[FoundServer] = []
    failed: list[str] = []
    for one in chosen:
        try:
            kept, told = _trial(one, fleet, wish)
        except TrialFailed as error:
            failed.append(one.name)
            steps.tell("try", f"{one.name}: left out: {error}", "failed")
            continue
        good.append(kept)
        steps.tell("try", f"{one.name}: {told}")
    return good, failed


def _trial(one: FoundServer, fleet: FleetFile, wish: Wish) -> tuple[FoundServer, str]:
    """Try a server; without the proposed canary when it fails with it: a guess must keep no server out. Raises `TrialFailed`."""

    def answer(some: FoundServer) -> str:
        return try_member(one.name, some.member, fleet.path.absolute().parent, fleet.env_files(), {}, wish.wait).text

    try:
        told = answer(one)
        return one, f"{told}; canary {one.proposed} answers" if one.proposed else told
    except TrialFailed as error:
        if not one.proposed or isinstance(error, TrialTimedOut):
            raise
        plain = without_canary(one)
        return plain, f"{answer(plain)}; without the catalogue's canary {one.proposed}, which fails ({str(error).splitlines()[0]})"


def _replace(tried: Sequence[FoundServer], kinds: Mapping[Path, str], wish: Wish, since: float, steps: Steps) -> None:
    """Replace the clients' own entries by the routes, when asked.

    `mcpwatch clients undo KIND` takes that back in one step, with what the watchdog wrote by itself after `since` (seconds, wall).
    """
    clients = _kinds(tried, kinds)
    if not wish.replace_clients or not clients:
        return
    for kind in clients:
        for answer in call("POST", "/clients/sync", {"clients": [kind], "force": True, "one_step_since": since}):
            if answer.get("error"):
                steps.tell("clients", f"{kind}: {answer['error']}", "failed")
            else:
                steps.tell("clients", f"{kind}: {answer['path']}: {answer['summary']}; undo: mcpwatch clients undo {kind}")
    moved = [one for one in tried if one.name != one.original]
    for one in moved:
        steps.tell("clients", f"'{one.original}' is called '{one.name}' here: its own entry stays; remove it by hand", "skipped")


def _print(found: Sequence[FoundServer], kinds: Mapping[Path, str]) -> None:
    rows: list[tuple[str, ...]] = []
    for one in found:
        names = {path: kind for path, kind in kinds.items() if kind and kind != _FOUND}
        where = ", ".join(names.get(Path(source), Path(source).name) for source in one.sources)
        rows.append((one.name, _runs(one), where, one.trouble or "can be brought in"))
    for line in table(("NAME", "RUNS", "FOUND IN", ""), rows, colour=coloured()) if rows else ["no servers found"]:
        say(line)
    for one in found:
        if one.ignored and not one.trouble:
            say(f"- {one.name}: ignored, because it has no counterpart: {', '.join(one.ignored)}")
    say()


def _runs(one: FoundServer) -> str:
    stdio: Mapping[str, Any] = one.member.get("stdio") or {}
    args: Sequence[Any] = stdio.get("args") or ()
    url = with_references(one.member, dict.fromkeys(secrets_of(one.member), "********")).get("url")
    words = [str(stdio.get("command") or url or ""), *(str(word) for word in args)]
    return " ".join(words)[:50]


def _plain(one: FoundServer) -> dict[str, Any]:
    return {
        "name": one.name, "original": one.original, "sources": list(one.sources), "trouble": one.trouble,
        "ignored": list(one.ignored),
    }  # fmt: skip
