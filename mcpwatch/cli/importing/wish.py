"""What the options of `import`, or the answers of its wizard, say. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcpwatch.cli.importing.found import FoundServer


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

    def takes(self, one: FoundServer) -> bool:
        """Whether a server that was found is to be brought in."""
        return not one.trouble and (not self.only or one.name in self.only)
