"""Writing what a proxy reads: atomically, with the mode that keeps secrets, a backup of what was, and only when it differs."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mcpwatch.model.errors import McpwatchError
from mcpwatch.ports import RenderedFile


def write_files(files: Iterable[RenderedFile]) -> bool:
    """Write each file whose content differs; returns whether any did. Raises `McpwatchError` naming the file."""
    changed = False
    for file in files:
        try:
            if file.path.exists() and file.path.read_text(encoding="utf-8") == file.text:
                file.path.chmod(file.mode)
                continue
            file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if file.path.exists():
                write_atomically(file.path.with_name(file.path.name + ".bak"), file.path.read_text(encoding="utf-8"), file.mode)
            write_atomically(file.path, file.text, file.mode)
        except OSError as error:
            raise McpwatchError(f"{file.path}: cannot be written: {error.strerror}") from error
        changed = True
    return changed


def write_atomically(path: Path, text: str, mode: int) -> None:
    """Replace `path` by a complete file or leave it as it was: temp file beside it, fsync, rename."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
