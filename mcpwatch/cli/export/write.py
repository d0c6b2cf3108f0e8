"""`export`: reads the fleet's file, renders one format, writes the directory whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from mcpwatch.cli import exits
from mcpwatch.cli.edit.fleet_file import read_fleet_file
from mcpwatch.cli.edit.run import file_in_use
from mcpwatch.cli.export import compose, kubernetes, quadlet, systemd
from mcpwatch.cli.export.service import Fleet, fleet
from mcpwatch.cli.out import say, say_json
from mcpwatch.model.errors import UsageError

Format = Literal["compose", "quadlet", "systemd", "kubernetes"]
FORMATS: Mapping[Format, Callable[[Fleet], dict[str, str]]] = {
    "compose": compose.files,
    "quadlet": quadlet.files,
    "systemd": systemd.files,
    "kubernetes": kubernetes.files,
}


def export(form: Format, directory: Path, config: Path | None, *, force: bool, as_json: bool) -> int:
    """Write the fleet. Raises `UsageError` rather than mix with other files."""
    path = file_in_use(config)
    found, texts = rendered(form, path)
    if not found.proxy.route:
        why = "".join(f"; {name}: {reason}" for name, reason in found.left)
        raise UsageError(f"{path}: has no server to export{why or '; add one with: mcpwatch add NAME -- COMMAND'}")
    if directory.exists() and any(directory.iterdir()) and not force:
        raise UsageError(f"{directory}: is not empty; choose another directory, or replace it with --force")
    directory.absolute().parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.absolute().parent))
    try:
        for name, text in sorted(texts.items()):
            path = fresh / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755 if name.endswith(".sh") else 0o644)
        fresh.chmod(0o755)
        if directory.exists():
            shutil.rmtree(directory)
        fresh.rename(directory)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if as_json:
        say_json({"directory": str(directory), "files": sorted(texts), "left": [{"member": n, "why": w} for n, w in found.left]})
        return exits.OK
    say(f"wrote {len(texts)} files into {directory}; begin with {directory / 'README.md'}")
    for service in (*found.services, found.proxy):
        for note in service.notes:
            say(f"! {service.name}: {note}")
    for name, why in found.left:
        say(f"! {name}: not taken along: {why}")
    return exits.OK


def rendered(form: Format, path: Path) -> tuple[Fleet, dict[str, str]]:
    """The fleet in a file, and the texts of one format by path. Raises `ConfigError`."""
    file = read_fleet_file(path)
    found = fleet(file.document, {name: file.as_ours(name) for name in file.members})
    return found, FORMATS[form](found)
