"""What a reload must do: a pure comparison of two plans."""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.model.spec import Plan, PlanDiff


def diff(old: Plan, new: Plan) -> PlanDiff:
    """The members to add, remove, replace (their process must go) and retune (only how they are watched differs)."""
    before, after = {m.name: m for m in old.members}, {m.name: m for m in new.members}
    both = [name for name in after if name in before]
    replaced = tuple(n for n in both if before[n].fingerprint != after[n].fingerprint or before[n].runtime != after[n].runtime)
    return PlanDiff(
        add=tuple(name for name in after if name not in before),
        remove=tuple(name for name in before if name not in after),
        replace=replaced,
        retune=tuple(n for n in both if n not in replaced and replace(before[n], carrier=None) != replace(after[n], carrier=None)),
    )
