"""What the options of `import`, or the answers of its wizard, say. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wish:
    """What the options say. `only`: names to bring in; `replace_clients`: their own entries become routes."""

    config: Path | None = None
    only: tuple[str, ...] = ()
    replace_clients: bool = False
    test: bool = True
    yes: bool = False
    dry_run: bool = False
    as_json: bool = False
    wait: float = 120.0
