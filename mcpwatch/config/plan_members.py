"""What the plan says of one member: what carries it, where it answers, what checks it. Pure; knows no proxy kind."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from mcpwatch.config.merge import check_spec, effective_restart, restart_policy
from mcpwatch.config.models import CheckConfig, Common, MemberConfig, StdioConfig
from mcpwatch.config.parse import Check, Config, WrittenMember
from mcpwatch.config.port_conflicts import bridge_url
from mcpwatch.config.rules import World, hosted
from mcpwatch.config.specs import unwrapped
from mcpwatch.foreign.variables import read_env
from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.probe import Target, Vantage
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.spec import CheckSpec, MemberSpec, ProxySpec
from mcpwatch.model.text import digest
from mcpwatch.registry import Kinds, KindSpec, find


def bridge_argv(name: str, listen: str, stdio: StdioConfig, program: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """The program that bridges one stdio server: the gateway with that one server.

    Variables go by name only: their values are in the bridge's own environment, never in its argv.
    """
    sessions = ("--sessions", "isolated") if stdio.sessions == "isolated" else ()
    passed = tuple(part for key in sorted(env) for part in ("--pass-env", key))
    head = (sys.executable, "-m", "mcpwatch.gateway", "--bridge-listen", listen, "--name", name, *sessions, *passed)
    return (*head, "--", program, *stdio.args)


class MemberBuilder:
    """Carries the inputs; every method answers frozen data."""

    def __init__(self, config: Config, kinds: Kinds, world: World) -> None:
        self.config, self.kinds, self.world = config, kinds, world
        self.defaults = config.file.defaults

    def member(self, member: WrittenMember, proxy: ProxySpec | None) -> MemberSpec:
        """Everything that is planned of one member; `proxy` gives it a route."""
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
            route=public_name(member) if proxy is not None else None,
            checks=seen_from(checks, "direct"),
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
        """What is the same for every kind of member: restart policy, graces in seconds, order."""
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

    def hosted_start(self, written: MemberConfig) -> dict[str, Any]:
        """What the gateway itself needs to start a server: restart policy and start grace, where they are not the defaults of
        both, and the files that it reads each time, with the names that these do not set.
        """
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
        if written.stdio is not None and written.stdio.env_file and written.bridge is None:
            made |= {"env_files": [self.world.place(name) for name in written.stdio.env_file], "env_own": sorted(written.stdio.env)}
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
        """A command with its path made absolute, where it is one."""
        return self.world.place(command) if command.startswith(("./", "../", "~/")) else command

    def cwd(self, cwd: str | None) -> str | None:
        """A working directory made absolute."""
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

    def checks(self, member: WrittenMember) -> tuple[CheckSpec, ...]:
        """The checks written, and the default one unless a handshake check is written or switched off."""
        made = [spec for check in member.checks if (spec := self.written_check(check)) is not None]
        handshake = any(check.written.kind == "mcp" and check.written.tool is None for check in member.checks)
        return tuple(made) if handshake else (self.default_check("mcp"), *made)

    def written_check(self, check: Check) -> CheckSpec | None:
        """A check that the user wrote; `None` where it is switched off."""
        if not check.written.enabled:
            return None
        return check_spec(check.name, check.written, self.options(check.written.kind, check.options), self.defaults.check)

    def default_check(self, kind: str, **values: Any) -> CheckSpec:
        """A check of this kind that the user did not write, with these of its keys."""
        written = CheckConfig.model_validate({"kind": kind, **values})
        known = find(self.kinds.checks, kind)
        return check_spec(kind, written, self.options(kind, known.spec() if known else None), self.defaults.check)

    def options(self, kind: str, written: KindSpec | None) -> object:
        """What a check's kind makes of the keys of its own."""
        known = find(self.kinds.checks, kind)
        return known.make(written) if known is not None and written is not None else None


def public_name(member: WrittenMember) -> str | None:
    """The public name of a member, or `None` when it has no route."""
    return (member.name if member.written.route is None else member.written.route) or None


def seen_from(checks: tuple[CheckSpec, ...], vantage: Vantage) -> tuple[CheckSpec, ...]:
    """Those checks that look from this vantage, and from it alone."""
    return tuple(replace(check, vantages=(vantage,)) for check in checks if vantage in check.vantages)


def unmasked(secrets: tuple[SecretStr, ...]) -> tuple[str, ...]:
    """Secrets as they are sent."""
    return tuple(secret.get_secret_value() for secret in secrets)
