"""`python -m mcpwatch` and the console script: hands over to the command line, importing nothing else."""

from __future__ import annotations

import sys
from typing import Any, cast


def main() -> None:
    """Run the command line."""
    # httpx would import its own command line, and with it rich and pygments: 5 MB of the daemon that nobody uses.
    cast("dict[str, Any]", sys.modules).setdefault("httpx._main", None)
    from mcpwatch.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
