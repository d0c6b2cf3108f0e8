"""Writing what a proxy reads: atomically, with the mode that keeps secrets, a backup of what was, and only when it differs."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from mcpwatch.model.errors import McpwatchError
from mcpwatch.ports import RenderedFile


def write_files(files: Iterable[RenderedFile]) -> bool:
    """Write each file whose content differs; returns whether any did. Raises `McpwatchError` naming the file."""
    changed = False
    for file in files:
        try:
            path = file.path.resolve()  # a link stays a link
            old = path.read_text(encoding="utf-8") if path.exists() else None
            text = file.text if old is None or file.merge == "replace" else merged(old, file.text, str(file.path))
            if old == text:
                path.chmod(file.mode)
                continue
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if old is not None:
                write_atomically(path.with_name(path.name + ".bak"), old, file.mode)
            write_atomically(path, text, file.mode)
        except (OSError, UnicodeDecodeError) as error:
            raise McpwatchError(f"{file.path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
        changed = True
    return changed


def merged(old: str, new: str, where: str) -> str:
    """`new` with every entry of `old` that it says nothing of, at any depth. Both are JSON objects; another file is left alone.

    An entry under `mcpServers` belongs to one side whole: ours replaces theirs of the same name. Raises `McpwatchError`.
    """
    try:
        before: object = json.loads(old) if old.strip() else {}
    except ValueError as error:
        raise McpwatchError(f"{where}: is not JSON, so it is left alone ({error}); repair it, or move it away") from None
    if not isinstance(before, dict):
        raise McpwatchError(f"{where}: is not a JSON object, so it is left alone; repair it, or move it away")
    after = _over(cast("dict[str, object]", before), json.loads(new), whole=False)
    return old if after == before else json.dumps(after, indent=2, ensure_ascii=False) + "\n"


def _over(before: dict[str, object], after: dict[str, object], *, whole: bool) -> dict[str, object]:
    result = dict(before)
    for key, value in after.items():
        there = result.get(key)
        if not whole and isinstance(value, dict) and isinstance(there, dict):
            ours, theirs = cast("dict[str, object]", value), cast("dict[str, object]", there)
            result[key] = _over(theirs, ours, whole=key == "mcpServers")
        else:
            result[key] = value
    return result


def write_atomically(path: Path, text: str, mode: int) -> None:
    """Replace `path` by a complete file or leave it as it was: temp file beside it, fsync, rename."""
    write_bytes_atomically(path, text.encode("utf-8"), mode)


def write_bytes_atomically(path: Path, data: bytes, mode: int) -> None:
    """The same for bytes."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
