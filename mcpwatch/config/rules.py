"""What is wrong between values that are each right: clashes, cycles, what is not found or can never work. The machine is data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, cast

from pydantic import BaseModel

from mcpwatch.config import expose
from mcpwatch.config.merge import effective_restart, restart_policy
from mcpwatch.config.models import CheckConfig, RestartConfig
from mcpwatch.config.parse import Check, Config, WrittenMember
from mcpwatch.config.port_conflicts import port_clashes
from mcpwatch.foreign.document import Path, spell
from mcpwatch.foreign.server import RESERVED, servable
from mcpwatch.foreign.variables import Read
from mcpwatch.model.errors import suggest
from mcpwatch.model.restart import reachable
from mcpwatch.model.runtime import traits_of
from mcpwatch.units import spell_seconds

Problem = tuple[Path, str]
"""Where it is wrong, and what is wrong."""


@dataclass(frozen=True, slots=True)
class World:
    """What the machine looks like, as data: where commands are found, which directories exist, what files say."""

    which: Callable[[str, str | None], str | None]
    """The program found for a command on this PATH (`None`: that of mcpwatch), or `None`."""
    is_directory: Callable[[str], bool]
    read: Read
    base: FilePath = FilePath()
    """Directory of the configuration file: relative paths start here."""

    def place(self, path: str) -> str:
        """`path` made absolute from the directory of the file."""
        return str(self.base / FilePath(path).expanduser())


def problems(config: Config, world: World, runtimes: frozenset[str]) -> list[Problem]:
    """Everything wrong between the values of a config; `runtimes` are those that a key names."""
    found: list[Problem] = []
    for member in config.members:
        found += _carried(member, config, runtimes)
        found += _reached(member)
        found += _commands(member, config, world)
        found += _restarts(member.path, member.written.restart, config)
        for check in member.checks:
            found += _check(check, member, config)
            found += _hidden(check, member, config)
    found += _proxy(config, world)
    found += _names(config)
    found += _dependencies(config)
    found += port_clashes(config)
    found += expose.fault(config)
    return found


def _carried(member: WrittenMember, config: Config, runtimes: frozenset[str]) -> Iterator[Problem]:
    written = member.written
    runs = [key for key in ("stdio", *sorted(runtimes)) if key in member.keys]
    if len(runs) > 1:
        yield member.path, f"has {' and '.join(runs)}; keep the one that runs it"
    if "bridge" in member.keys and "stdio" not in member.keys:
        yield (*member.path, "bridge"), "a bridge carries a stdio server; write stdio, or remove bridge"
    if written.stdio and written.url:
        yield (*member.path, "url"), "a stdio server has no URL of its own; remove it, or run the server by 'process'"
    kind = config.proxy.written.kind if config.proxy else "none" if config.bare else ""
    hosts = config.proxy is not None and config.proxy.traits.runs
    if not runs and "url" not in member.keys and (hosts or config.proxy is None):
        yield member.path, f"nothing to run and nothing to watch; write {', '.join(('stdio', *sorted(runtimes)))}, or url"
    if hosted(member) and kind and not hosts:
        yield (*member.path, "stdio"), f"a proxy of kind '{kind}' cannot host it; add bridge: {{listen: 127.0.0.1:9071}}"


def hosted(member: WrittenMember) -> bool:
    """Whether the proxy itself runs it: a stdio server without a bridge."""
    return member.written.stdio is not None and "bridge" not in member.keys


def _reached(member: WrittenMember) -> Iterator[Problem]:
    written = member.written
    if member.blocks and "url" not in member.keys and written.route != "":
        yield member.path, "needs 'url', where it answers MCP; or 'route: false' when it serves no MCP"
    if hosted(member) and written.route not in {None, "", member.name}:
        yield (*member.path, "route"), "a hosted server is served under its own name; rename the member, or add a bridge"
    if "url" not in member.keys:
        for key in ("upstream_url", "token", "headers", "ca_file", "insecure", "cert_file", "key_file"):
            if getattr(written, key) and not (key == "upstream_url" and written.bridge):
                yield (*member.path, key), "says how to call 'url', which is missing"
    if written.key_file and not written.cert_file:
        yield (*member.path, "key_file"), "is the key of 'cert_file', which is missing"
    if written.auth.tokens and written.route == "":
        yield (*member.path, "auth"), "guards a route, and 'route: false' says there is none"


def _commands(member: WrittenMember, config: Config, world: World) -> Iterator[Problem]:
    if not member.written.enabled:
        return
    stdio = member.written.stdio
    boxed = config.proxy is not None and any(name != "process" for name, _ in config.proxy.blocks)
    if stdio is not None:
        path = (*member.path, "stdio")
        for index, name in enumerate(stdio.env_file):
            try:
                world.read(world.place(name))
            except (OSError, UnicodeDecodeError) as error:
                where = (*path, "env_file") if len(stdio.env_file) == 1 else (*path, "env_file", index)
                yield where, f"cannot read {name}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}"
        if not boxed or member.written.bridge:
            yield from _command(stdio.command, stdio.env.get("PATH"), stdio.cwd, path, world)
    for name, block in member.blocks:
        if traits_of(name).own:
            yield from _process(block, (*member.path, name), world)


def _process(block: BaseModel, path: Path, world: World) -> Iterator[Problem]:
    command: Any = getattr(block, "command", None)
    env = cast("dict[str, str]", getattr(block, "env", None) or {})
    program = command if isinstance(command, str) else str(command[0]) if command else ""
    if program:
        yield from _command(program, env.get("PATH"), getattr(block, "cwd", None), path, world)


def _command(command: str, search: str | None, cwd: str | None, path: Path, world: World) -> Iterator[Problem]:
    program = world.place(command) if command.startswith(("./", "../", "~/")) else command
    if world.which(program, search) is None:
        first = next(iter(command.split()), "")
        if first != command and world.which(first, search):
            yield (*path, "command"), f"'{command}' is not one program; write command: {first} and the rest in args"
        elif "/" in command:
            yield (*path, "command"), f"{command} is not an executable file"
        else:
            yield (*path, "command"), f"'{command}' is not found on PATH; install it, or write its whole path"
    if cwd is not None and not world.is_directory(world.place(cwd)):
        yield (*path, "cwd"), f"{cwd} is not a directory"


def _restarts(path: Path, written: RestartConfig | None, config: Config) -> Iterator[Problem]:
    policy = restart_policy(effective_restart(config.file.defaults.restart, written))
    own = path == ("defaults",) or (
        written is not None and written.model_fields_set & {"condition", "intensity", "period", "backoff"}
    )
    if own and policy.backoff.first > policy.backoff.max:
        first, longest = spell_seconds(policy.backoff.first), spell_seconds(policy.backoff.max)
        yield (*path, "restart", "backoff", "first"), f"{first} is longer than max, {longest}; pauses grow from first to max"
    elif own and policy.condition != "never" and not reachable(policy):
        yield (
            (*path, "restart"),
            (
                f"a crash loop would never be parked: {policy.intensity} restarts with these pauses take longer than "
                f"{spell_seconds(policy.period)}; lower intensity or backoff, or lengthen period"
            ),
        )


def _check(check: Check, member: WrittenMember | None, config: Config) -> Iterator[Problem]:
    written = check.written
    if {"interval", "cron"} <= written.model_fields_set and written.interval is not None and written.cron is not None:
        yield (*check.path, "cron"), "'interval' is written too; keep one of them"
    yield from _asserted(written, check.path)
    if not written.vantages:
        yield (*check.path, "vantages"), "must name direct, route, or both"
    if member is None or set(written.vantages) == {"direct", "route"}:
        return
    if hosted(member) and set(written.vantages) == {"direct"}:
        yield (*check.path, "vantages"), "it is hosted in the proxy and has no direct vantage; add a bridge, or look from route"
    if set(written.vantages) == {"route"} and (member.written.route == "" or config.bare):
        yield (*check.path, "vantages"), "it has no route to look through"


def _hidden(check: Check, member: WrittenMember, config: Config) -> Iterator[Problem]:
    """What a check asks a route for, and the proxy does not show there."""
    written, tools = check.written, member.written.tools
    looks = written.enabled and "route" in written.vantages and member.written.route != ""
    if not looks or config.proxy is None or not config.proxy.traits.runs:
        return
    asked = [(("tool",), written.tool)] if written.tool else []
    asked += [(("expect", "tools", index), name) for index, name in enumerate(written.expect.tools)]
    rest = "" if hosted(member) else ", or write vantages: direct"
    for where, name in asked:
        if tools.shown_as(name) is None:
            yield (*check.path, *where), f"'tools' hides '{name}' from clients and from this check; name a tool that it shows{rest}"


def _asserted(written: CheckConfig, path: Path) -> Iterator[Problem]:
    if written.tool is None:
        for key in ("contains", "regex", "jsonpath", "json_schema"):
            if written.kind == "mcp" and getattr(written.expect, key) is not None:
                yield (*path, "expect", key), "is about the result of a call; name the 'tool' to call"
        if written.arguments:
            yield (*path, "arguments"), "are of a call; name the 'tool' to call"


def _proxy(config: Config, world: World) -> Iterator[Problem]:
    yield from _restarts(("defaults",), config.file.defaults.restart, config)
    proxy = config.proxy
    if proxy is None:
        return
    if len(proxy.blocks) > 1:
        yield ("proxy",), f"has {' and '.join(name for name, _ in proxy.blocks)}; keep the one that runs it"
    if not proxy.traits.runs and proxy.written.base_url is None:
        yield ("proxy",), "an external proxy needs 'base_url', where it serves"
    if proxy.written.depends_on:
        yield ("proxy", "depends_on"), "the proxy always starts after the members; remove it"
    yield from _restarts(("proxy",), proxy.written.restart, config)
    for check in proxy.checks:
        yield from _check(check, None, config)
    for name, block in proxy.blocks:
        if traits_of(name).own:
            yield from _process(block, ("proxy", name), world)


def _names(config: Config) -> Iterator[Problem]:
    routes: dict[str, WrittenMember] = {}
    for member in config.members:
        if config.proxy is not None and member.name == config.proxy.written.name:
            yield member.path, "is the name of the proxy; rename one of them (proxy.name)"
        route = member.name if member.written.route is None else member.written.route
        if route and config.embedded and not servable(route):
            why = f"/{route} is a path of the gateway's own" if route in RESERVED else "the gateway serves no route of that name"
            yield member.path, f"{why}; choose another name or 'route' (up to 63 characters, a letter or digit first)"
        if route and route in routes:
            path = (*member.path, "route") if member.written.route else member.path
            yield path, f"route '{route}' is already that of {spell(routes[route].path)}; routes are unique"
        elif route:
            routes[route] = member
    yield from _groups(config, frozenset(routes))


def _groups(config: Config, routes: frozenset[str]) -> Iterator[Problem]:
    """Groups of a proxy that serves some: each of known routes, under a name of its own."""
    groups = cast("dict[str, tuple[str, ...]]", getattr(config.proxy.options, "groups", {}) if config.proxy else {})
    for name, listed in groups.items():
        path = ("proxy", "groups", name)
        if name in routes or not servable(name):
            yield path, "is the name of a route or a path of the gateway's own; choose another"
        for index, route in enumerate(listed):
            if route not in routes and route not in config.names:
                yield (*path, index), f"no route '{route}'{suggest(route, routes)}"


def _dependencies(config: Config) -> Iterator[Problem]:
    proxy = config.proxy.written.name if config.proxy else None
    needs: dict[str, tuple[str, ...]] = {}
    for member in config.members:
        needs[member.name] = member.written.depends_on
        for index, name in enumerate(member.written.depends_on):
            where = (*member.path, "depends_on", index)
            if name == proxy and name not in config.names:
                yield where, "the proxy always starts after the members"
            elif name not in config.names:
                yield where, f"no member '{name}'{suggest(name, config.names - {member.name})}"
    for cycle in cycles(needs):
        yield ("members", cycle[0], "depends_on"), f"a cycle: {' -> '.join((*cycle, cycle[0]))}; none of them could start first"


def cycles(needs: dict[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Every cycle once, from the member of it that was written first."""
    found: list[tuple[str, ...]] = []
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append(trail[trail.index(name) :])
        elif name not in done and name in needs:
            for other in needs[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in needs:
        visit(name, ())
    return found
