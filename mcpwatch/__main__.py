"""`python -m mcpwatch` and the console script: hands over to the command line, importing nothing else."""

from __future__ import annotations

import atexit
import gc
import sys

from mcpwatch.cli import fast


def main() -> None:
    """Run the command line: what is asked most often without its libraries, all else with them."""
    done = fast.answer(sys.argv[1:])
    if done is not None:
        raise SystemExit(done)
    from mcpwatch.left_out import leave_out, leave_out_logging_config, leave_out_tls

    leave_out()
    if fast.begins(sys.argv[1:]):
        leave_out_tls()
        leave_out_logging_config()
        from mcpwatch.cli.begin import begin

        raise SystemExit(begin(_whole))
    atexit.register(gc.freeze)  # a last collection would look through all that was loaded: a fifth of a short command
    _whole()


def _whole() -> None:
    from mcpwatch.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
