"""Where things are: the state directory and the names in it, the configuration file. Cheap to import: the command line needs it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from mcpwatch.app.state_root import state_root
from mcpwatch.model.errors import ConfigError, Fault, McpwatchError


@dataclass(frozen=True, slots=True)
class StatePaths:
    """The state directory of one fleet."""

    root: Path

    @property
    def control(self) -> Path:
        """The control socket, 0600."""
        return self.root / "control.sock"

    @property
    def lock(self) -> Path:
        """The lock that makes a watchdog the one owner."""
        return self.root / "lock"

    @property
    def store(self) -> Path:
        """The SQLite store."""
        return self.root / "state.db"

    @property
    def logs(self) -> Path:
        """The members' logs, a folder each."""
        return self.root / "logs"

    @property
    def proxy(self) -> Path:
        """What was rendered for the proxy."""
        return self.root / "proxy"

    @property
    def backups(self) -> Path:
        """Where backups are kept unless told otherwise."""
        return self.root / "backups" / "fleet"

    @property
    def status(self) -> Path:
        """The last known status document."""
        return self.root / "status.json"

    @property
    def instance(self) -> str:
        """Twelve hex digits that name this state directory in environment marks and container labels."""
        return hashlib.sha256(os.fsencode(self.root.resolve())).hexdigest()[:12]

    def make(self) -> None:
        """Make the directories, readable by the owner only. Raises `McpwatchError`."""
        try:
            for directory in (self.root, self.logs, self.proxy):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise McpwatchError(
                f"{error.filename}: the state directory cannot be made: {error.strerror}; choose another with --state-dir"
            ) from error


def state_paths(given: Path | None = None) -> StatePaths:
    """The state directory: as given, else as `state_root` says."""
    return StatePaths(given.absolute() if given is not None else Path(state_root(os.environ)))


def config_file(given: Path | None, *, begin: bool = False) -> Path:
    """The configuration file: as given, else the first that exists of the usual places.

    Where none exists: with `begin` the user's own place, else raises `ConfigError`.
    """
    if given is not None:
        return given
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = (Path("mcpwatch.yaml"), Path("mcpwatch.yml"), home / "mcpwatch" / "mcpwatch.yaml", Path("/etc/mcpwatch/mcpwatch.yaml"))
    for place in places:
        if place.exists():
            return place
    if begin:
        return places[2]
    looked = ", ".join(str(place) for place in places)
    made = "make one with 'mcpwatch init' or 'mcpwatch add'"
    raise ConfigError(Fault("", f"no configuration file found (looked for {looked}); {made}"))
