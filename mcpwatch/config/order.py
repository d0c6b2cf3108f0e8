"""Who starts before whom. Pure."""

from __future__ import annotations

from collections.abc import Mapping


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
