"""A plan and a change of plan in words, a line each. Pure. Names what changed, never a value: values may be secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from pydantic import BaseModel

from mcpwatch.model.spec import MemberSpec, Plan, PlanDiff

_SHOWN = {"carrier": "", "want_up": "enabled", "direct": "url"}
"""How a field of a spec is called where the user wrote it; the carrier's own fields stand for it."""


def summary(plan: Plan) -> str:
    """`quickstart.yaml: 3 members behind gateway on 127.0.0.1:9090, 3 routes, 4 checks`."""
    members = [member for member in plan.members if member.kind != "proxy"]
    checks = sum(len(member.checks) for member in plan.members) + sum(len(route.checks) for route in plan.routes)
    where = f" behind {plan.proxy.kind} on {plan.proxy.listen}" if plan.proxy else ", no proxy"
    if plan.proxy and not plan.proxy.traits.runs:
        where = f" behind an external proxy at {plan.proxy.base_url}"
    counted = f"{_count(len(members), 'member')}{where}, {_count(len(plan.routes), 'route')}, {_count(checks, 'check')}"
    return f"{plan.source}: {counted}" if plan.source else counted


def changes(old: Plan, new: Plan, found: PlanDiff) -> tuple[str, ...]:
    """Each difference in a line: `fetch: replaced (args, env)`, `time: retuned (checks)`, `git: added`."""
    lines = [f"{name}: removed" for name in found.remove]
    lines += [f"{name}: added" for name in found.add]
    for word, names in (("replaced", found.replace), ("retuned", found.retune)):
        for name in names:
            what = ", ".join(dict.fromkeys(_differences(name, old, new)))
            lines.append(f"{name}: {word} ({what})" if what else f"{name}: {word}")
    lines += [f"{room}: section changed" for room in found.sections]
    return tuple(lines)


def _differences(name: str, old: Plan, new: Plan) -> Iterator[str]:
    before, after = old.member(name), new.member(name)
    if before is not None and after is not None:
        yield from _fields(before, after)
    if [route for route in old.routes if route.member == name] != [route for route in new.routes if route.member == name]:
        yield "route"
    for plan, other in ((old, new), (new, old)):
        for upstream in plan.proxy.upstreams if plan.proxy else ():
            twin = next((item for item in other.proxy.upstreams if item.name == upstream.name), None) if other.proxy else None
            if plan.proxy is not None and plan.proxy.member == name and upstream != twin:
                yield f"upstream {upstream.name}"
            elif upstream.name == name and twin is not None:
                yield from _parts(upstream, twin)
    if old.proxy is not None and new.proxy is not None and new.proxy.member == name:
        yield from (part for part in _parts(old.proxy, new.proxy) if part != "upstreams")


def _fields(before: MemberSpec, after: MemberSpec) -> Iterator[str]:
    for part in _parts(before, after):
        if part == "carrier":
            yield from _parts(before.carrier, after.carrier)
        elif part != "fingerprint":
            yield _SHOWN.get(part, part)


def _parts(one: object, other: object) -> Iterator[str]:
    """The names of the fields in which two values of one type differ."""
    if type(one) is not type(other):
        yield "kind"
        return
    left, right = _as_mapping(one), _as_mapping(other)
    yield from (name for name in left if left[name] != right.get(name))


def _as_mapping(value: object) -> Mapping[str, Any]:
    if isinstance(value, BaseModel):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    return cast("Mapping[str, Any]", {})


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
