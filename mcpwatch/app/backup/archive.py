"""The backup's file: a tar.gz of a manifest, plain files, and one age-encrypted tar of the files that hold secrets.

The one door to pyrage. Nothing of an archive is believed before all of it is verified: every file's size and SHA-256 stand in the
manifest, names are checked, and what does not fit is refused whole. See ADR 0082.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

from mcpwatch.model.errors import McpwatchError

FORMAT = 1
MAX_BYTES = 4 * 1024**3
"""Largest archive, and largest sum of its files, that is read."""

Base = Literal["config", "state", "absolute"]


class BackupError(McpwatchError):
    """An archive cannot be made, read or restored; nothing was changed."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Item:
    """One file: its `path` below the directory of the configuration, below the state directory, or absolute."""

    base: Base
    path: str
    mode: int
    secret: bool
    size: int = 0
    sha256: str = ""

    @property
    def name(self) -> str:
        """Its name inside the archive."""
        return f"{self.base}/{self.path.lstrip('/')}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says of itself. `config` is the configuration's own path when it was made, `made_at` RFC 3339."""

    made_at: str
    mcpwatch: str
    config: str
    state_dir: str
    items: tuple[Item, ...]
    left_out: tuple[str, ...] = ()
    """Files that hold secrets and are not in it, because no passphrase was given."""
    secrets_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that was verified. `files` are those that could be opened: without the passphrase the plain ones."""

    manifest: Manifest
    files: Mapping[Item, bytes] = field(repr=False)
    locked: bool = False
    """Whether it holds secrets that were not opened."""


def pack(manifest: Manifest, files: Iterable[tuple[Item, bytes]], passphrase: str | None) -> bytes:
    """The bytes of an archive. Items are measured here. Raises `BackupError` for a secret item without a passphrase."""
    plain: list[tuple[Item, bytes]] = []
    secret: list[tuple[Item, bytes]] = []
    for item, data in files:
        measured = Item(item.base, item.path, item.mode, item.secret, len(data), hashlib.sha256(data).hexdigest())
        (secret if item.secret else plain).append((measured, data))
    if secret and passphrase is None:
        raise BackupError(f"{secret[0][0].name}: holds secrets; give a passphrase")
    locked: bytes = _age().passphrase.encrypt(_tar(secret), passphrase) if secret and passphrase else b""
    whole = Manifest(
        manifest.made_at,
        manifest.mcpwatch,
        manifest.config,
        manifest.state_dir,
        tuple(item for item, _ in (*plain, *secret)),
        manifest.left_out,
        hashlib.sha256(locked).hexdigest() if locked else "",
    )
    head = json.dumps({"format": FORMAT, **asdict(whole)}, indent=1, ensure_ascii=False).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "manifest.json", head)
        for item, data in plain:
            _add(tar, item.name, data)
        if locked:
            _add(tar, "secrets.age", locked)
    return gzip.compress(out.getvalue(), mtime=0)


def _tar(files: Iterable[tuple[Item, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item, data in files:
            _add(tar, item.name, data)
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


def unpack(path: Path, passphrase: str | None = None) -> Archive:
    """The archive in a file, verified as far as it can be opened. Raises `BackupError` for anything that does not fit."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BackupError(f"{path}: larger than {MAX_BYTES} bytes; refused")
        members = _members(path.read_bytes(), str(path))
        manifest = _manifest(members.pop("manifest.json"))
        locked = members.pop("secrets.age", b"")
    except OSError as error:
        raise BackupError(f"{path}: cannot be read: {error.strerror or error}; nothing was changed") from None
    except (EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path}: damaged, or no backup of mcpwatch ({error}); refused whole, nothing was changed") from None
    if bool(locked) != bool(manifest.secrets_sha256) or (locked and hashlib.sha256(locked).hexdigest() != manifest.secrets_sha256):
        raise BackupError(f"{path}: damaged: secrets.age is not what the manifest says; refused whole, nothing was changed")
    files = {item: members.get(item.name) for item in manifest.items if not item.secret}
    if locked and passphrase is not None:
        inner = _opened(locked, passphrase, str(path))
        files |= {item: inner.get(item.name) for item in manifest.items if item.secret}
    return Archive(manifest, _checked(files, str(path)), bool(locked) and passphrase is None)


def _members(data: bytes, name: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    total = 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as tar:
        for info in tar:
            total += info.size
            file = tar.extractfile(info) if info.isfile() else None
            if file is None or total > MAX_BYTES or info.name in found:
                raise BackupError(f"{name}: damaged: '{info.name}' does not belong there; refused whole, nothing was changed")
            found[info.name] = file.read()
    return found


def _manifest(data: bytes) -> Manifest:
    raw: Any = json.loads(data)
    if raw.pop("format") != FORMAT:
        raise BackupError("the archive is of a newer mcpwatch; use that one")
    items = tuple(Item(**item) for item in cast("list[dict[str, Any]]", raw.pop("items")))
    for item in items:
        parts = PurePosixPath(item.path).parts
        if (
            item.base not in ("config", "state", "absolute")
            or ".." in parts
            or (item.base != "absolute" and item.path.startswith("/"))
        ):
            raise BackupError(f"the archive names '{item.path}', which is outside of where it belongs; refused whole")
    rest: dict[str, Any] = {**raw, "items": items, "left_out": tuple(raw["left_out"])}
    return Manifest(**rest)


def _age() -> Any:
    """The library, loaded when a secret is locked up or opened: most daemons never do. Its stubs do not name its submodules."""
    import pyrage

    return pyrage


def _opened(locked: bytes, passphrase: str, name: str) -> dict[str, bytes]:
    age = _age()
    try:
        inner: bytes = age.passphrase.decrypt(locked, passphrase)
    except age.DecryptError:
        raise BackupError(f"{name}: the passphrase does not fit; nothing was changed") from None
    return _members(inner, name)


def _checked(files: Mapping[Item, bytes | None], name: str) -> dict[Item, bytes]:
    made: dict[Item, bytes] = {}
    for item, data in files.items():
        if data is None or len(data) != item.size or hashlib.sha256(data).hexdigest() != item.sha256:
            raise BackupError(f"{name}: damaged: {item.name} is not what the manifest says; refused whole, nothing was changed")
        made[item] = data
    return made
