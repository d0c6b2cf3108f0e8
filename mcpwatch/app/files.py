"""Writing what a proxy reads: atomically, with the mode that keeps secrets, a backup of what was, and only when it differs."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from mcpwatch.foreign.file import Unreadable, read
from mcpwatch.foreign.scan import plain
from mcpwatch.foreign.variables import Expansion, expand
from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.proxy import KeptFile, RenderedFile
from mcpwatch.ports import CHILD_MARK
from mcpwatch.runtimes.lock import clear_way


def write_files(files: Iterable[RenderedFile]) -> bool:
    """Write each file whose content differs; returns whether any did. Raises `McpwatchError` naming the file."""
    changed = False
    for file in files:
        try:
            path = file.path.resolve()  # a link stays a link
            old = path.read_text(encoding="utf-8") if path.is_file() else None
            text = file.text if file.kept is None else _beside(file.kept, file.text)
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


def _beside(kept: KeptFile, text: str) -> str:
    """`text` with what the user's own file says beside it. Raises `McpwatchError` when that cannot be read."""
    try:
        found = read(kept.path)
    except Unreadable as why:
        raise McpwatchError(f"{kept.path}: {why}, so the proxy's file is not written; repair it, or move it away") from None
    return text if found is None else merged(found.text, text, kept, os.environ)


def merged(theirs: str, ours: str, kept: KeptFile, environ: Mapping[str, str]) -> str:
    """`ours` with every entry of `theirs` that it says nothing of, at any depth. Both are JSON objects, theirs with comments.

    An entry under `mcpServers` belongs to one side whole: ours replaces theirs of the same name. Entries that mcpwatch itself once
    wrote into the file bear its mark; they are ours, and out of the plan they are gone. Raises `McpwatchError`.
    """
    where = kept.path
    try:
        before: object = json.loads(plain(theirs)) if theirs.strip() else {}
    except (ValueError, RecursionError) as error:
        raise McpwatchError(f"{where}: is not JSON, so the proxy's file is not written ({error}); repair it, or move it") from None
    if not isinstance(before, dict):
        raise McpwatchError(f"{where}: is not a JSON object, so the proxy's file is not written; repair it, or move it")
    base = cast("dict[str, Any]", before)
    if kept.expand:
        base = cast("dict[str, Any]", expand(base, environ, Expansion(), dollar=True, foreign=True))
    servers: object = base.get("mcpServers")
    if isinstance(servers, dict):
        base["mcpServers"] = {name: server for name, server in cast("dict[str, Any]", servers).items() if not _marked(server)}
    own: dict[str, Any] = json.loads(ours)
    for path in kept.yields:
        _give_way(own, base, path)
    return json.dumps(_over(base, own, whole=False), indent=2, ensure_ascii=False) + "\n"


def _marked(server: object) -> bool:
    """Whether mcpwatch wrote this server."""
    env: object = cast("dict[str, object]", server).get("env") if isinstance(server, dict) else None
    return isinstance(env, dict) and CHILD_MARK in env


def _give_way(ours: dict[str, Any], theirs: dict[str, Any], path: tuple[str, ...]) -> None:
    """Take the key at `path` out of ours where theirs has it."""
    for step in path[:-1]:
        mine, other = ours.get(step), theirs.get(step)
        if not isinstance(mine, dict) or not isinstance(other, dict):
            return
        ours, theirs = cast("dict[str, Any]", mine), cast("dict[str, Any]", other)
    if path[-1] in theirs:
        ours.pop(path[-1], None)


def _over(before: dict[str, Any], after: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    result = dict(before)
    for key, value in after.items():
        there = result.get(key)
        if not whole and isinstance(value, dict) and isinstance(there, dict):
            ours, theirs = cast("dict[str, Any]", value), cast("dict[str, Any]", there)
            result[key] = _over(theirs, ours, whole=key == "mcpServers")
        else:
            result[key] = value
    return result


def write_atomically(path: Path, text: str, mode: int) -> None:
    """Replace `path` by a complete file or leave it as it was: temp file beside it, fsync, rename."""
    write_bytes_atomically(path, text.encode("utf-8"), mode)


def write_bytes_atomically(path: Path, data: bytes, mode: int) -> None:
    """The same for bytes."""
    handle, name = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        clear_way(path)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def sweep(path: Path) -> None:
    """Remove what a writer of `path` that was killed left beside it. Call it where no other writer of it can be at work."""
    for left in path.parent.glob(f"{glob.escape(_prefix(path))}*"):
        with contextlib.suppress(OSError):
            left.unlink()


def _prefix(path: Path) -> str:
    """How the temporary files of `path` begin."""
    return f".{path.name}.mcpwatch-"
