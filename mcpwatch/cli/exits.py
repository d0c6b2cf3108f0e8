"""What every command leaves with, and how an error becomes one line and its exit code. Documented in `docs/reference/cli.md`."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Generator

from mcpwatch.model.errors import McpwatchError

OK = 0
UNHEALTHY = 1
USAGE = 2
BAD_CONFIG = 3
NO_DAEMON = 4
INTERNAL = 5


@contextlib.contextmanager
def told() -> Generator[None]:
    """Tell what is raised in here, and raise `SystemExit` for it."""
    try:
        yield
    except McpwatchError as error:
        print(f"mcpwatch: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)  # noqa: T201
        if "up" in sys.argv[1:2] and sys.stderr.isatty():
            print("mcpwatch: 'mcpwatch doctor' says what mends it", file=sys.stderr)  # noqa: T201
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(OK) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - the interpreter would try once more at its end
        print(f"mcpwatch: cannot write: {error.strerror}", file=sys.stderr)  # noqa: T201
        raise SystemExit(INTERNAL) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
