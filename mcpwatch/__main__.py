"""`python -m mcpwatch` and the console script: hands over to the command line, importing nothing else."""

from __future__ import annotations

import sys

from mcpwatch.cli import fast


def main() -> None:
    """Run the command line: what is asked most often without its libraries, all else with them."""
    done = fast.answer(sys.argv[1:])
    if done is not None:
        raise SystemExit(done)
    # httpx would import its own command line, and with it rich and pygments: 5 MB of the daemon that nobody uses.
    sys.modules.setdefault("httpx._main", None)  # pyright: ignore[reportArgumentType]
    from mcpwatch.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
