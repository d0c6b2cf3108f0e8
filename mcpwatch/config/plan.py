"""Config to Plan, pure: every default filled in, every member given what carries it, every route its URL. Reads no clock."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from mcpwatch.config import expose
from mcpwatch.config.addresses import bridge_url, local, public
from mcpwatch.config.merge import check_spec, effective_restart, restart_policy
from mcpwatch.config.models import CheckConfig, Common, StdioConfig
from mcpwatch.config.order import start_order
from mcpwatch.config.parse import Check, Config, Proxy, WrittenMember, runtime_keys
from mcpwatch.config.rules import World, hosted, problems
from mcpwatch.config.secrets import named_secrets, unwrapped
from mcpwatch.foreign.document import spell
from mcpwatch.foreign.variables import read_env
from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.policy import RestartPolicy
from mcpwatch.model.probe import Target, Transport, Vantage
from mcpwatch.model.spec import CheckSpec, MemberSpec, Plan, ProxySpec, RouteSpec, UpstreamSpec
from mcpwatch.model.text import canonical, digest
from mcpwatch.ports import ProxyKind
from mcpwatch.registry import Kinds, KindSpec, find

CONTAINERS = frozenset({"docker", "swarm"})
"""Runtimes whose carriers are containers."""

REFUSAL_INTERVAL = 300.0
"""Seconds between two proofs that a guarded route refuses a caller without a token."""


def build(config: Config, kinds: Kinds, *, state_dir: Path, world: World) -> Plan:
    """The whole desired fleet. Raises `ConfigError` listing every fault between values (without lines: `load` knows those)."""
    found = problems(config, world, frozenset(runtime_keys(kinds)))
    if found:
        raise ConfigError(*(Fault(spell(path), message, config.source or None) for path, message in found))
    return _Builder(expose.exposed(config, state_dir), kinds, state_dir, world).plan()


def bridge_argv(name: str, listen: str, stdio: StdioConfig, program: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """The program that bridges one stdio server: the gateway with that one server.

    Variables go by name only: their values are in the bridge's own environment, never in its argv.
    """
    sessions = ("--sessions", "isolated") if stdio.sessions == "isolated" else ()
    passed = tuple(part for key in sorted(env) for part in ("--pass-env", key))
    head = (sys.executable, "-m", "mcpwatch.gateway", "--bridge-listen", listen, "--name", name, *sessions, *passed)
    return (*head, "--", program, *stdio.args)


class _Builder:
    """Carries the four inputs; every method answers frozen data."""

    def __init__(self, config: Config, kinds: Kinds, state_dir: Path, world: World) -> None:
        self.config, self.kinds, self.state_dir, self.world = config, kinds, state_dir, world
        self.defaults = config.file.defaults
        self.kind = self.proxy_kind(config.proxy)

    def proxy_kind(self, proxy: Proxy | None) -> ProxyKind | None:
        kind = find(self.kinds.proxies, proxy.written.kind) if proxy else None
        return cast("ProxyKind", kind.make()) if kind else None

    def plan(self) -> Plan:
        proxy = self.proxy()
        by_name = {member.name: member for member in self.config.members}
        order = start_order({member.name: member.written.depends_on for member in self.config.members})
        members = [self.member(by_name[name], proxy) for name in order]
        routes = tuple(self.route(member, proxy) for member in self.config.members if proxy and _route(member))
        if proxy is not None and self.config.proxy is not None:
            member = self.proxy_member(self.config.proxy, proxy)
            members.append(member)
            if proxy.traits.reloads:
                proxy = replace(proxy, process=digest(member.name, member.fingerprint))
        return Plan(tuple(members), proxy, routes, self.config.sections, self.config.source, self.secrets())

    # --- members

    def member(self, member: WrittenMember, proxy: ProxySpec | None) -> MemberSpec:
        written = member.written
        runtime, carrier = self.carrier(member)
        direct = self.direct(member)
        checks = self.checks(member) if direct is not None else ()
        if not written.url and not written.stdio:
            checks = tuple(spec for check in member.checks if (spec := self.written_check(check)) is not None)
        return MemberSpec(
            name=member.name,
            kind="bridge" if written.bridge else "server",
            runtime=runtime,
            carrier=carrier,
            fingerprint=self.fingerprint(member, runtime, carrier),
            direct=direct,
            route=_route(member) if proxy is not None else None,
            checks=_from(checks, "direct"),
            **self.policy(written),
        )

    def fingerprint(self, member: WrittenMember, runtime: str, carrier: KindSpec) -> str:
        """Changes when, and only when, the running incarnation must be replaced."""
        stdio = member.written.stdio
        inner: object = None
        if stdio is not None and hosted(member):
            env = sorted(self.env(stdio).items())
            inner = (self.program(stdio.command), stdio.args, env, self.cwd(stdio.cwd), stdio.sessions)
        return digest(runtime, unwrapped(carrier), member.written.url or "", inner)

    def policy(self, written: Common) -> dict[str, Any]:
        start = self.defaults.start_grace if written.start_grace is None else written.start_grace
        stop = self.defaults.stop_grace if written.stop_grace is None else written.stop_grace
        return {
            "restart": restart_policy(effective_restart(self.defaults.restart, written.restart)),
            "start_grace": start,
            "stop_grace": stop,
            "depends_on": written.depends_on,
            "want_up": written.enabled,
            "description": written.description,
        }

    def hosted_start(self, written: Common) -> dict[str, Any]:
        """Restart policy and start grace of a server that the gateway itself starts, where they are not the defaults of both."""
        policy, plain = restart_policy(effective_restart(self.defaults.restart, written.restart)), RestartPolicy()
        named: dict[str, tuple[object, object]] = {
            "first": (policy.backoff.first, plain.backoff.first),
            "max": (policy.backoff.max, plain.backoff.max),
            "jitter": (policy.backoff.jitter, plain.backoff.jitter),
            "period": (policy.period, plain.period),
            "condition": (policy.condition, plain.condition),
            "intensity": (policy.intensity, plain.intensity),
            "retry": (policy.retry, plain.retry),
            "fatal_exit_codes": (policy.fatal_exit_codes, plain.fatal_exit_codes),
        }
        differing = {name: own for name, (own, default) in named.items() if own != default}
        made: dict[str, Any] = {"restart": differing} if differing else {}
        grace = self.defaults.start_grace if written.start_grace is None else written.start_grace
        return made | ({"start_grace": grace} if grace != MemberSpec.__dataclass_fields__["start_grace"].default else {})

    def carrier(self, member: WrittenMember) -> tuple[str, KindSpec]:
        """The runtime of a member and the spec it takes."""
        written = member.written
        if written.stdio and written.bridge:
            stdio, env = written.stdio, self.env(written.stdio)
            argv = bridge_argv(member.name, written.bridge.listen, stdio, self.program(stdio.command), env)
            return "process", self.process(argv, env, stdio.cwd)
        if written.stdio:
            runtime = "hosted" if self.config.embedded else "external"
            return runtime, self.make(runtime, {})
        for name, block in member.blocks:
            return name, self.placed(block)
        return "external", self.make("external", {"url": written.url})

    def process(self, argv: tuple[str, ...], env: Mapping[str, str], cwd: str | None) -> KindSpec:
        """A process carrier for a command of ours."""
        return self.make("process", {"command": argv[0], "args": argv[1:], "env": dict(env), "cwd": self.cwd(cwd)})

    def make(self, runtime: str, values: dict[str, Any]) -> KindSpec:
        """The runtime's own spec of those values that it knows."""
        kind = find(self.kinds.runtimes, runtime)
        if kind is None:
            raise ConfigError(Fault("", f"this build has no runtime '{runtime}'", self.config.source or None))
        return kind.spec.model_validate({key: value for key, value in values.items() if key in kind.spec.model_fields})

    def placed(self, block: KindSpec) -> KindSpec:
        """A block with its paths made absolute from the directory of the file."""
        known, update = dict(block), dict[str, Any]()
        if isinstance(known.get("cwd"), str):
            update["cwd"] = self.cwd(known["cwd"])
        if known.get("env_file"):
            update["env_file"] = tuple(self.world.place(name) for name in known["env_file"])
        if isinstance(known.get("command"), str):
            update["command"] = self.program(known["command"])
        return (block.model_copy(update=update) if update else block).placed(self.world.place)

    def program(self, command: str) -> str:
        return self.world.place(command) if command.startswith(("./", "../", "~/")) else command

    def cwd(self, cwd: str | None) -> str | None:
        return None if cwd is None else self.world.place(cwd)

    def env(self, stdio: StdioConfig) -> dict[str, str]:
        """The variables of a stdio server: its files, then its own."""
        made: dict[str, str] = {}
        for name in stdio.env_file:
            made |= read_env(self.world.read(self.world.place(name)))[0]
        return made | stdio.env

    def direct(self, member: WrittenMember) -> Target | None:
        """Where the member itself answers MCP, when something outside its runtime can reach it."""
        written = member.written
        if written.bridge:
            return Target(bridge_url(member.name, written.bridge), written.bridge.transport)
        if not written.url:
            return None
        token = written.token.get_secret_value() or None if written.token else None
        headers = tuple(sorted(written.headers.items()))
        ca_file, cert_file, key_file = (
            self.world.place(name) if name else None for name in (written.ca_file, written.cert_file, written.key_file)
        )
        return Target(
            written.url, written.transport, token, headers,
            ca_file=ca_file, insecure=written.insecure, cert_file=cert_file, key_file=key_file,
        )  # fmt: skip

    # --- checks

    def checks(self, member: WrittenMember) -> tuple[CheckSpec, ...]:
        """The checks written, and the default one unless a handshake check is written or switched off."""
        made = [spec for check in member.checks if (spec := self.written_check(check)) is not None]
        handshake = any(check.written.kind == "mcp" and check.written.tool is None for check in member.checks)
        return tuple(made) if handshake else (self.default_check("mcp"), *made)

    def written_check(self, check: Check) -> CheckSpec | None:
        if not check.written.enabled:
            return None
        return check_spec(check.name, check.written, self.options(check.written.kind, check.options), self.defaults.check)

    def default_check(self, kind: str, **values: Any) -> CheckSpec:
        written = CheckConfig.model_validate({"kind": kind, **values})
        known = find(self.kinds.checks, kind)
        return check_spec(kind, written, self.options(kind, known.spec() if known else None), self.defaults.check)

    def options(self, kind: str, written: KindSpec | None) -> object:
        """What a check's kind makes of the keys of its own."""
        known = find(self.kinds.checks, kind)
        return known.make(written) if known is not None and written is not None else None

    # --- routes and proxy

    def route(self, member: WrittenMember, proxy: ProxySpec) -> RouteSpec:
        name = _route(member) or member.name
        assert self.kind is not None
        paths = self.kind.routes(proxy, name)
        tokens = _plain(member.written.auth.tokens) or proxy.tokens
        root = self.root(proxy)
        wire: Transport = "sse" if "sse" in paths else "http"
        urls = {way: public(proxy.base_url, path) for way, path in paths.items()}
        url = root + paths["sse" if wire == "sse" else "http"]
        probe = Target(url, wire, tokens[0] if tokens else None, public_url=urls[wire] if urls[wire] != url else "")
        checks = list(_from(self.checks(member), "route"))
        if self.kind.traits.lists_from_cache:
            checks = [_behind_the_cache(check) for check in checks]
        guarded = bool(tokens)
        if guarded and find(self.kinds.checks, "refusal") and not any(check.written.kind == "refusal" for check in member.checks):
            checks.append(self.default_check("refusal", vantages=("route",), interval=REFUSAL_INTERVAL))
        return RouteSpec(name, member.name, urls[wire], probe, urls.get("http"), tuple(checks), guarded)

    def root(self, proxy: ProxySpec) -> str:
        """Where this machine reaches the proxy: over the address it listens on, unless its kind knows better."""
        assert self.kind is not None
        return self.kind.root(proxy) or local(proxy.listen)

    def proxy(self) -> ProxySpec | None:
        proxy = self.config.proxy
        if proxy is None:
            return None
        written = proxy.written
        told = self.config.members if proxy.traits.runs else ()
        upstreams = tuple(self.upstream(member) for member in told if _serves(member))
        base_url = (written.base_url or local(written.listen)).rstrip("/")
        return ProxySpec(
            written.kind,
            written.name,
            written.listen,
            base_url,
            _plain(written.auth.tokens),
            upstreams,
            proxy.options,
            contained=any(name in CONTAINERS for name, _ in proxy.blocks),
            traits=proxy.traits,
        )

    def upstream(self, member: WrittenMember) -> UpstreamSpec:
        """How the proxy reaches one member."""
        written = member.written
        stdio = written.stdio
        options: dict[str, Any] = dict(written.proxy_options)
        if written.tools.model_fields_set:
            options["tools"] = written.tools.model_dump(mode="json")
        if stdio is not None and stdio.sessions != "auto":
            options["sessions"] = stdio.sessions
        if stdio is not None and self.config.embedded:
            options |= self.hosted_start(written)
        name, tokens = _route(member) or member.name, _plain(written.auth.tokens)
        if stdio is not None and written.bridge is None:
            env = tuple(sorted(self.env(stdio).items()))
            return UpstreamSpec(
                name,
                "stdio",
                self.program(stdio.command),
                stdio.args,
                env,
                self.cwd(stdio.cwd),
                tokens=tokens,
                options=canonical(options),
            )
        direct = self.direct(member)
        assert direct is not None
        headers = dict(direct.headers)
        if direct.token:
            headers["Authorization"] = f"Bearer {direct.token}"
        if self.config.embedded:
            options |= _trust(direct)
        url, pairs = written.upstream_url or direct.url, tuple(sorted(headers.items()))
        return UpstreamSpec(name, direct.transport, url=url, headers=pairs, tokens=tokens, options=canonical(options))

    def proxy_member(self, proxy: Proxy, spec: ProxySpec) -> MemberSpec:
        kind = self.kind
        assert kind is not None
        written = proxy.written
        runtime, carrier = self.proxy_carrier(proxy, spec, kind)
        health = kind.traits.health
        root = self.root(spec)
        parts: list[object] = [runtime, unwrapped(carrier), spec.kind, spec.listen]
        if not kind.traits.reloads:
            parts += [[str(file.path), file.text] for file in kind.render(spec, self.state_dir)]
        checks = [made for check in proxy.checks if (made := self.written_check(check)) is not None]
        default = "http" if health else "tcp"
        if find(self.kinds.checks, default) and not any(check.written.kind == default for check in proxy.checks):
            checks.insert(0, self.default_check(default, vantages=("direct",)))
        return MemberSpec(
            name=written.name,
            kind="proxy",
            runtime=runtime,
            carrier=carrier,
            fingerprint=digest(*parts),
            direct=Target(root + (health or "/")),
            checks=_from(tuple(checks), "direct"),
            **self.policy(written),
        )

    def proxy_carrier(self, proxy: Proxy, spec: ProxySpec, kind: ProxyKind) -> tuple[str, KindSpec]:
        if not spec.traits.runs and not proxy.blocks:
            return "external", self.make("external", {"url": spec.base_url})
        for name, block in proxy.blocks:
            return name, self.placed(_filled(block, kind.container(spec, self.state_dir)) if name in CONTAINERS else block)
        return "process", self.process(kind.command(spec, self.state_dir), {}, None)

    # --- secrets

    def secrets(self) -> tuple[str, ...]:
        """Every secret of the plan, longest first, so that redaction never leaves the tail of one."""
        found = set(self.config.secrets)
        for member in self.config.members:
            written = member.written
            found |= named_secrets(written.headers) | named_secrets(self.env(written.stdio) if written.stdio else {})
            found |= {secret for _, block in member.blocks for secret in named_secrets(block)}
        if self.config.proxy is not None:
            found |= {secret for _, block in self.config.proxy.blocks for secret in named_secrets(block)} | named_secrets(
                self.config.proxy.options
            )
        return tuple(sorted(found - {""}, key=lambda secret: (-len(secret), secret)))


def _filled(block: KindSpec, wanted: Mapping[str, object]) -> KindSpec:
    """A container block with what its proxy kind needs: mounts beside those written, the rest only where nothing is written."""
    written = {name: getattr(block, name) for name in block.model_fields_set}
    if "container" in written:
        return block
    made = {**wanted, **written}
    if "host" in written.get("networks", ()):
        made.pop("ports", None)
    made["volumes"] = (*written.get("volumes", ()), *cast("list[str]", wanted.get("volumes", [])))
    return type(block).model_validate(made)


def _behind_the_cache(check: CheckSpec) -> CheckSpec:
    """Lists prove nothing where the proxy answers them from memory: let the handshake make a safe call too."""
    return check if check.canary is not None else replace(check, safe_call=True)


def _route(member: WrittenMember) -> str | None:
    """The public name of a member, or `None` when it has no route."""
    return (member.name if member.written.route is None else member.written.route) or None


def _serves(member: WrittenMember) -> bool:
    """Whether the proxy is told of it: a hosted server that is switched off would be started by being named."""
    return _route(member) is not None and (member.written.enabled or not hosted(member))


def _from(checks: tuple[CheckSpec, ...], vantage: Vantage) -> tuple[CheckSpec, ...]:
    """Those checks that look from this vantage, and from it alone."""
    return tuple(replace(check, vantages=(vantage,)) for check in checks if vantage in check.vantages)


def _plain(secrets: tuple[SecretStr, ...]) -> tuple[str, ...]:
    return tuple(secret.get_secret_value() for secret in secrets)


def _trust(direct: Target) -> dict[str, Any]:
    """How TLS to a URL is made, in the words of the gateway's file."""
    words = {"ca_file": direct.ca_file, "insecure": direct.insecure, "cert_file": direct.cert_file, "key_file": direct.key_file}
    return {word: value for word, value in words.items() if value}
