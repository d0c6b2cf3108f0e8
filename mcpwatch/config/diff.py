"""What a reload must do: Plan × Plan to PlanDiff. Pure; does nothing itself."""

from __future__ import annotations

from mcpwatch.model.spec import MemberSpec, Plan, PlanDiff


def diff(old: Plan, new: Plan) -> PlanDiff:
    """Members to add and replace in the new start order, to remove in the old stop order; the rest retuned or left alone."""
    before = {member.name: member for member in old.members}
    after = {member.name: member for member in new.members}
    kept = [name for name in after if name in before]
    replace = tuple(name for name in kept if _replaced(before[name], after[name]))
    tuned = _tuned(old), _tuned(new)
    retune = tuple(name for name in kept if not _replaced(before[name], after[name]) and tuned[0][name] != tuned[1][name])
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


def _tuned(plan: Plan) -> dict[str, list[object]]:
    """What may differ of a member that goes on running: its policy and checks, its routes, and what the proxy serves."""
    found: dict[str, list[object]] = {member.name: [member] for member in plan.members}
    for route in plan.routes:
        found.setdefault(route.member, []).append(route)
    if plan.proxy is not None:
        found.setdefault(plan.proxy.member, []).append(plan.proxy)
    return found
