"""Config to Plan, pure: every default filled in, every member given what carries it, every route its URL. Reads no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from mcpwatch.config import expose
from mcpwatch.config.models import ToolsConfig
from mcpwatch.config.parse import Config, Proxy, WrittenMember, runtime_keys
from mcpwatch.config.plan_members import MemberBuilder, public_name, seen_from, unmasked
from mcpwatch.config.port_conflicts import local, public
from mcpwatch.config.rules import World, hosted, problems
from mcpwatch.config.specs import named_secrets, unwrapped
from mcpwatch.foreign.document import spell
from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.probe import Target, Transport
from mcpwatch.model.runtime import traits_of
from mcpwatch.model.spec import CheckSpec, MemberSpec, Plan, ProxySpec, RouteSpec, UpstreamSpec
from mcpwatch.model.text import canonical, digest
from mcpwatch.ports import ProxyKind
from mcpwatch.registry import Kinds, KindSpec, find

REFUSAL_INTERVAL = 300.0
"""Seconds between two proofs that a guarded route refuses a caller without a token."""


def build(config: Config, kinds: Kinds, *, state_dir: Path, world: World) -> Plan:
    """The whole desired fleet. Raises `ConfigError` listing every fault between values (without lines: `load` knows those)."""
    found = problems(config, world, frozenset(runtime_keys(kinds)))
    if found:
        raise ConfigError(*(Fault(spell(path), message, config.source or None) for path, message in found))
    return _Builder(expose.exposed(config, state_dir), kinds, state_dir, world).plan()


class _Builder(MemberBuilder):
    """Adds the proxy and its routes."""

    def __init__(self, config: Config, kinds: Kinds, state_dir: Path, world: World) -> None:
        super().__init__(config, kinds, world)
        self.state_dir = state_dir
        self.kind = self.proxy_kind(config.proxy)

    def proxy_kind(self, proxy: Proxy | None) -> ProxyKind | None:
        kind = find(self.kinds.proxies, proxy.written.kind) if proxy else None
        return cast("ProxyKind", kind.make()) if kind else None

    def plan(self) -> Plan:
        proxy = self.proxy()
        by_name = {member.name: member for member in self.config.members}
        order = start_order({member.name: member.written.depends_on for member in self.config.members})
        members = [self.member(by_name[name], proxy) for name in order]
        routes = tuple(self.route(member, proxy) for member in self.config.members if proxy and public_name(member))
        if proxy is not None and self.config.proxy is not None:
            member = self.proxy_member(self.config.proxy, proxy)
            members.append(member)
            if proxy.traits.reloads:
                proxy = replace(proxy, process=digest(member.name, member.fingerprint))
        files = tuple(sorted(self.config.secret_files))
        return Plan(
            tuple(members),
            proxy,
            routes,
            self.config.sections,
            self.config.source,
            self.secrets(),
            files,
        )

    # --- routes and proxy

    def route(self, member: WrittenMember, proxy: ProxySpec) -> RouteSpec:
        name = public_name(member) or member.name
        assert self.kind is not None
        paths = self.kind.routes(proxy, name)
        tokens = unmasked(member.written.auth.tokens) or proxy.tokens
        root = self.root(proxy)
        wire: Transport = "sse" if "sse" in paths else "http"
        urls = {way: public(proxy.base_url, path) for way, path in paths.items()}
        url = root + paths["sse" if wire == "sse" else "http"]
        probe = Target(url, wire, tokens[0] if tokens else None, public_url=urls[wire] if urls[wire] != url else "")
        checks = [_through_route(check, member.written.tools) for check in seen_from(self.checks(member), "route")]
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
            unmasked(written.auth.tokens),
            upstreams,
            proxy.options,
            contained=any(traits_of(name).container for name, _ in proxy.blocks),
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
        name, tokens = public_name(member) or member.name, unmasked(written.auth.tokens)
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
            checks=seen_from(tuple(checks), "direct"),
            **self.policy(written),
        )

    def proxy_carrier(self, proxy: Proxy, spec: ProxySpec, kind: ProxyKind) -> tuple[str, KindSpec]:
        if not spec.traits.runs and not proxy.blocks:
            return "external", self.make("external", {"url": spec.base_url})
        for name, block in proxy.blocks:
            return name, self.placed(_filled(block, kind.container(spec, self.state_dir)) if traits_of(name).container else block)
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


def _through_route(check: CheckSpec, tools: ToolsConfig) -> CheckSpec:
    """The check as a route is asked: with the names that clients see."""
    expect = replace(check.expect, tools=tuple(tools.shown_as(name) or name for name in check.expect.tools))
    canary = check.canary and replace(check.canary, tool=tools.shown_as(check.canary.tool) or check.canary.tool)
    return replace(check, expect=expect, canary=canary)


def _behind_the_cache(check: CheckSpec) -> CheckSpec:
    """Lists prove nothing where the proxy answers them from memory: let the handshake make a safe call too."""
    return check if check.canary is not None else replace(check, safe_call=True)


def _serves(member: WrittenMember) -> bool:
    """Whether the proxy is told of it: a hosted server that is switched off would be started by being named."""
    return public_name(member) is not None and (member.written.enabled or not hosted(member))


def _trust(direct: Target) -> dict[str, Any]:
    """How TLS to a URL is made, in the words of the gateway's file."""
    words = {"ca_file": direct.ca_file, "insecure": direct.insecure, "cert_file": direct.cert_file, "key_file": direct.key_file}
    return {word: value for word, value in words.items() if value}


def start_order(needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """All names, each after what it needs, otherwise as written. `needs` has no cycle; unknown names are passed over."""
    placed: dict[str, None] = {}

    def place(name: str) -> None:
        if name in placed or name not in needs:
            return
        for other in needs[name]:
            place(other)
        placed[name] = None

    for name in needs:
        place(name)
    return tuple(placed)
