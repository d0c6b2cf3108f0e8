"""What a reload must do: Plan × Plan to PlanDiff. Pure; does nothing itself."""

from __future__ import annotations

from mcpwatch.model.spec import MemberSpec, Plan, PlanDiff


def diff(old: Plan, new: Plan) -> PlanDiff:
    """Members to add and replace in the new start order, to remove in the old stop order; the rest retuned or left alone."""
    before = {member.name: member for member in old.members}
    after = {member.name: member for member in new.members}
    kept = [name for name in after if name in before]
    replace = tuple(name for name in kept if _replaced(before[name], after[name]))
    retune = tuple(name for name in kept if name not in replace and _changed(name, old, new))
    return PlanDiff(
        add=tuple(name for name in after if name not in before),
        remove=tuple(name for name in reversed(before) if name not in after),
        replace=replace,
        retune=retune,
        sections=sections(old, new),
    )


def sections(old: Plan, new: Plan) -> tuple[str, ...]:
    """The rooms whose own section is new, gone or different."""
    names = dict.fromkeys([*(name for name, _ in new.sections), *(name for name, _ in old.sections)])
    return tuple(name for name in names if old.section(name) != new.section(name))


def _replaced(old: MemberSpec, new: MemberSpec) -> bool:
    return (old.runtime, old.fingerprint) != (new.runtime, new.fingerprint)


def _changed(name: str, old: Plan, new: Plan) -> bool:
    """Whether anything is different of a member that goes on running: policy, checks, route, or what the proxy serves."""
    if old.member(name) != new.member(name) or _routes(name, old) != _routes(name, new):
        return True
    mine = [plan.proxy if plan.proxy is not None and plan.proxy.member == name else None for plan in (old, new)]
    return mine[0] != mine[1]


def _routes(name: str, plan: Plan) -> tuple[object, ...]:
    return tuple(route for route in plan.routes if route.member == name)
