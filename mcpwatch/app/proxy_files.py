"""The proxy of a plan and the kind that knows it: what it reads is written from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcpwatch.app.files import write_files
from mcpwatch.app.own_trouble import OwnTrouble
from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.spec import MemberSpec, Plan, ProxySpec
from mcpwatch.ports import ProxyKind
from mcpwatch.proxies import PROXIES
from mcpwatch.registry import find


@dataclass(frozen=True, slots=True)
class PlannedProxy:
    """A proxy as planned, with its kind."""

    spec: ProxySpec
    kind: ProxyKind

    def write(self, directory: Path) -> bool:
        """Write what it reads; returns whether a file changed. Raises `McpwatchError` naming the file."""
        return write_files(self.kind.render(self.spec, directory))


def proxy_of(plan: Plan) -> PlannedProxy | None:
    """The proxy of a plan, if it has one. Raises `McpwatchError` for a kind that this build does not have."""
    if plan.proxy is None:
        return None
    kind = find(PROXIES, plan.proxy.kind)
    if kind is None:
        raise McpwatchError(f"no proxy kind '{plan.proxy.kind}'")
    return PlannedProxy(plan.proxy, kind.make())


def put_right(plan: Plan, member: MemberSpec, directory: Path, trouble: OwnTrouble) -> None:
    """Have what a proxy reads as the plan says before each of its starts, whoever changed it. Told, never raised.

    `member` is the proxy, or a server inside it that is started again because it failed.
    """
    proxy = proxy_of(plan)
    if proxy is None or not (proxy.spec.member == member.name or member.carried.hosted):
        return
    try:
        changed = proxy.write(directory)
    except McpwatchError as error:
        trouble.no_proxy_file(str(error))
        return
    text = f"{proxy.spec.member}: somebody had changed the file that it reads; it is as the configuration says again"
    trouble.proxy_file(text if changed else "")
