"""`add`, `remove`, `enable`, `disable`, `edit`, `rename`: each as one `Work`, and what it proves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.edit.definition import Definition, anchored, as_member, as_server, secrets_of, with_references
from mcpwatch.cli.edit.fleet_file import REMOVED, Changes, FleetFile, read_fleet_file
from mcpwatch.cli.edit.for_clients import for_clients, renamed, without
from mcpwatch.cli.edit.proof import PROOF_WAIT, clients_follow, member_down, route_gone, route_proved
from mcpwatch.cli.edit.run import Prove, Work, carry_out, file_in_use, show_diff
from mcpwatch.cli.edit.secrets import Hidden, hide
from mcpwatch.cli.edit.steps import Steps
from mcpwatch.cli.edit.trial import TRIAL_WAIT, Trial, try_member
from mcpwatch.config import yaml
from mcpwatch.config.models import NAME_PATTERN
from mcpwatch.model.errors import McpwatchError, UsageError


@dataclass(frozen=True, slots=True)
class How:
    """The options that all of these commands share. `wait`: seconds for the trial, and again for the proof."""

    config: Path | None = None
    test: bool = True
    dry_run: bool = False
    as_json: bool = False
    wait: float = TRIAL_WAIT


def add(name: str, definition: Definition, how: How, clients: Sequence[str] = ()) -> int:
    """Add a member: validate, try, edit, reload, prove, let clients follow. Raises `McpwatchError` with nothing changed."""
    path = file_in_use(how.config, begin=True)
    file = read_fleet_file(path, begin=True)
    _fit(name, file)
    definition = anchored(definition, Path.cwd(), path.absolute().parent)
    member = as_member(definition)
    secrets = secrets_of(member, definition.secrets)

    def hidden(now: FleetFile) -> Hidden:
        return hide(now, name, secrets)

    def change(now: FleetFile) -> FleetFile:
        _fit(name, now)
        hid = hidden(now)
        ours = now.ours
        value = with_references(member, hid.of(name)) if ours else as_server(definition, now.dialect.name)
        changes: Changes = {(*now.box, name): value}
        if hid.env_file:
            changes[("env_file",)] = hid.env_file
        return now.with_changes({**changes, **for_clients(now, name, clients)})

    return _run(Work(f"add {name}", path, change, _proved(name), hidden, begin=True), name, how)


def _fit(name: str, file: FleetFile) -> None:
    if not re.fullmatch(NAME_PATTERN, name) or name in {".", ".."}:
        raise UsageError(f"'{name}' is no name; use letters, digits, '_', '.' and '-'")
    if name in file.members:
        raise UsageError(
            f"{file.path}: has a member '{name}' already; change it with 'mcpwatch edit {name} KEY=VALUE', or take another name"
        )


def remove(name: str, how: How) -> int:
    """Take a member out, and prove that its route is gone and clients dropped it."""
    path = file_in_use(how.config)
    read_fleet_file(path).member(name)

    def change(now: FleetFile) -> FleetFile:
        now.member(name)
        return now.with_changes({(*now.box, name): REMOVED, **without(now, name)})

    def prove(before: dict[str, Any], steps: Steps) -> None:
        route = _route(before, name)
        route_gone(name, route["url"] if route else "", how.wait)
        steps.tell("prove", f"the route is gone: {route['url']}" if route else "it is not of the fleet any more")
        _clients(route["name"] if route else name, steps, listed=False)

    return _run(Work(f"remove {name}", path, change, prove), name, replace(how, test=False))


def enable(name: str, how: How, *, on: bool) -> int:
    """Switch a member on (and prove its route) or off."""
    path = file_in_use(how.config)

    def change(now: FleetFile) -> FleetFile:
        member = now.member(name)
        where: tuple[str, ...] = {
            "mcpwatch": ("enabled",), "sparfenyuk": ("enabled",), "tbxark": ("options", "disabled"), "mcp-servers": ("disabled",)
        }[now.dialect.name]  # fmt: skip
        inverse = where[-1] == "disabled"
        if on and inverse:
            return now.with_changes({(*now.box, name, *where): REMOVED}) if _at(member, where) is not None else now
        if on and now.ours and "enabled" in member:
            return now.with_changes({(*now.box, name, "enabled"): REMOVED})
        return now if on and "enabled" not in member else now.with_changes({(*now.box, name, *where): inverse != on})

    def off(_: dict[str, Any], steps: Steps) -> None:
        member_down(name, how.wait)
        steps.tell("prove", "it is stopped")

    work = Work(f"{'enable' if on else 'disable'} {name}", path, change, _proved(name) if on else off)
    return _run(work, name, how if on else replace(how, test=False))


def _at(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        value = cast("dict[str, Any]", value).get(step) if isinstance(value, dict) else None
    return value


def edit(name: str, settings: Sequence[str], how: How) -> int:
    """Set keys of a member: `stdio.args='[--local-timezone, UTC]'`; `KEY=` takes a key out. Raises `UsageError`."""
    path = file_in_use(how.config)
    made: dict[tuple[str, ...], Any] = {}
    for text in settings:
        key, found, value = text.partition("=")
        if not found or not key or any(not part for part in key.split(".")):
            raise UsageError(f"'{text}': write KEY=VALUE, e.g. start_grace=2m or stdio.args='[--verbose]'; KEY= takes it out")
        made[tuple(key.split("."))] = yaml.read(value, text).data if value.strip() else REMOVED

    def change(now: FleetFile) -> FleetFile:
        now.member(name)
        return now.with_changes({(*now.box, name, *key): value for key, value in made.items()})

    return _run(Work(f"edit {name}", path, change, _proved(name)), name, how)


def rename(old: str, new: str, how: How) -> int:
    """Give a member another name in its place; `depends_on` of others follows. History and pins stay under the old name."""
    path = file_in_use(how.config)

    def change(now: FleetFile) -> FleetFile:
        now.member(old)
        _fit(new, now)
        made = now.renamed(old, new)
        changes: Changes = renamed(made, old, new)
        for other, written in made.members.items():
            needs: Any = cast("dict[str, Any]", written).get("depends_on") if isinstance(written, dict) else None
            if needs == old:
                changes[(*now.box, other, "depends_on")] = new
            elif isinstance(needs, list) and old in needs:
                changes[(*now.box, other, "depends_on")] = [new if need == old else need for need in cast("list[str]", needs)]
        return made.with_changes(changes) if changes else made

    def prove(before: dict[str, Any], steps: Steps) -> None:
        route = _route(before, old)
        _proved(new)(before, steps)
        route_gone(old, route["url"] if route else "", how.wait)
        steps.tell("prove", f"'{old}' is gone; its history and pins stay under that name")

    return _run(Work(f"rename {old} {new}", path, change, prove), new, replace(how, test=False))


def _route(status: Mapping[str, Any], member: str) -> dict[str, Any] | None:
    return next((route for route in status["routes"] if route["member"] == member), None)


def _proved(name: str) -> Prove:
    def prove(before: dict[str, Any], steps: Steps) -> None:
        well = frozenset(
            str(route["name"]) for route in before["routes"] if route["verdict"] == "healthy" and route["member"] != name
        )
        route = route_proved(name, well, PROOF_WAIT)
        tools = "" if route["tools"] is None else f", {route['tools']} tool{'s' * (route['tools'] != 1)}"
        steps.tell("prove", f"{route['url']} through the proxy{tools}" if route["url"] else "it runs; it has no route")
        _clients(route["name"], steps, listed=True)

    return prove


def _clients(route: str, steps: Steps, *, listed: bool) -> None:
    followed, late = clients_follow(route, listed=listed)
    if late:
        what = "list it" if listed else "drop it"
        steps.tell("clients", f"{', '.join(late)}: will {what} when the hold is over; see 'mcpwatch clients list'", "skipped")
    elif followed:
        steps.tell("clients", f"{', '.join(followed)}: {'lists' if listed else 'dropped'} '{route}'")


def _tried(name: str, after: FleetFile, values: Mapping[str, str], how: How, steps: Steps) -> Trial:
    try:
        trial = try_member(name, after.as_ours(name), after.path.absolute().parent, after.env_files(), values, how.wait)
    except McpwatchError:
        steps.tell("try", "it did not answer as it must; nothing was changed", "failed")
        raise
    steps.tell("try", trial.text)
    return trial


def _run(work: Work, name: str, how: How) -> int:
    """Carry out an edit of the member `name`, told step by step."""
    steps = Steps(name, how.as_json)
    if how.dry_run:
        show_diff(work, steps)
        return exits.OK
    trial = None
    try:
        before = read_fleet_file(work.path, begin=work.begin)
        after = work.change(before)
        values = work.hidden(before).values
        after.plan(ControlSettings.paths().root, values)
        if after.text == before.text:
            steps.tell("validate", "nothing to change", "skipped")
            steps.end(ok=True, proved=False)
            return exits.OK
        steps.tell("validate", f"{work.path} would be right" if before.there else f"{work.path} will be made")
        if how.test:
            trial = _tried(name, after, values, how, steps)
        proved = carry_out(work, steps)
    except McpwatchError as error:
        steps.end(ok=False, error=str(error))
        raise
    steps.end(ok=True, proved=proved, tools=list(trial.tools) if trial else None, tokens=trial.tokens if trial else None)
    return exits.OK
