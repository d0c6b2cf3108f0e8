"""Every error that mcpwatch raises on purpose is one line and its exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Generator

from mcpwatch.cli import exits
from mcpwatch.model.errors import McpwatchError


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
        raise SystemExit(exits.OK) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - the interpreter would try once more at its end
        print(f"mcpwatch: cannot write: {error.strerror}", file=sys.stderr)  # noqa: T201
        raise SystemExit(exits.INTERNAL) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
