"""What every command leaves with. Documented in `docs/reference/cli.md`."""

from __future__ import annotations

OK = 0
UNHEALTHY = 1
USAGE = 2
BAD_CONFIG = 3
NO_DAEMON = 4
INTERNAL = 5
