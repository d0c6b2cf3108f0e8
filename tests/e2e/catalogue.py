"""Every server of the catalogue that PyPI and npm have: fetched once into the part `catalogue`, started by tests without a network.

`python -m tests.e2e.catalogue DIR` fills the part (`.ci/parts catalogue`, only when it is named: it fetches about two gigabytes).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from mcpwatch.cli.edit.catalog import from_catalog
from mcpwatch.cli.edit.definition import Definition
from mcpwatch.config.catalog import Entry, catalog

FETCHED = [name for name, entry in catalog().items() if entry.runtime in ("uvx", "npx")]
PROVED = frozenset({
    "arxiv", "basic-memory", "calculator", "chroma", "everything", "filesystem", "git", "markitdown", "memory", "n8n",
    "sequential-thinking", "serena", "sql", "sqlite", "time",
})  # fmt: skip
"""Servers whose canary needs nothing but this machine."""
NEED_MORE = {
    "mysql": "connects to its database before it answers",
    "qdrant": "fetches an embedding model before it answers",
    "slack": "logs in to Slack before it answers",
    "stripe": "asks Stripe for its tools",
    "supabase": "asks Supabase for its tools",
}
"""Servers that do not answer without what only their user has."""
GREETS = frozenset({"chroma"})
"""Servers that print a greeting where only messages belong: degraded, not down."""
FETCH = 400.0
"""Seconds that one server may take to be fetched."""
ANSWERS = {
    "DATABASE_URI": "postgresql://u:p@127.0.0.1:1/d",
    "MDB_MCP_CONNECTION_STRING": "mongodb://127.0.0.1:1/x",
    "url": "redis://127.0.0.1:1/0",
    "NEO4J_URI": "bolt://127.0.0.1:1",
    "MYSQL_PORT": "1",
}


def definition(name: str, directory: Path) -> Definition:
    """The server with placeholders for what it needs; directories and files are in `directory`."""
    entry = catalog()[name]
    answers = {need: _answer(entry, need, name, directory) for need, asked in entry.needs.items() if not asked.optional}
    return from_catalog(name, answers, read_write=False if entry.writes == "choice" else None)


def _answer(entry: Entry, need: str, name: str, directory: Path) -> str:
    if entry.kind(need) == "directory":
        return str(directory)
    if entry.kind(need) == "file":
        return str(directory / f"{name}.db")
    if need == "DB_URL":
        return f"sqlite:///{directory}/{name}.db"
    known = ANSWERS.get(need)
    return known or ("http://127.0.0.1:1" if "URL" in need else "127.0.0.1" if "HOST" in need else "placeholder-value")


def environment(part: Path, *, offline: bool) -> dict[str, str]:
    """Variables by which `uvx` and `npx` keep to the part's caches, and find every Python of this machine."""
    pythons = sorted(str(path) for path in Path.home().glob(".pyenv/versions/3.1[2-9]*/bin"))
    made = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), *pythons, os.environ["PATH"]]),
        "UV_CACHE_DIR": str(part / "uv"),
        "UV_PYTHON_DOWNLOADS": "never",
        "npm_config_cache": str(part / "npm"),
        "npm_config_ignore_scripts": "true",
        "npm_config_update_notifier": "false",
    }
    return {**made, "UV_OFFLINE": "1", "npm_config_offline": "true"} if offline else made


def absent(part: Path) -> dict[str, str]:
    """Servers that could not be fetched, each with the last line that its launcher said."""
    return json.loads((part / "absent.json").read_text())


def fetch(name: str, part: Path) -> str:
    """Fetch one server into the caches. Why that is not possible, or the empty string."""
    entry = catalog()[name]
    package = f"{entry.package}{'==' if entry.runtime == 'uvx' else '@'}{entry.version}"
    if entry.runtime == "uvx":
        python = ["--python", entry.python] if entry.python else []
        argv = ["uvx", *python, *(word for more in entry.more for word in ("--with", more)), "--from", package, "python", "-V"]
    else:
        argv = ["npx", "-y", "-p", package, "-c", "true"]
    try:
        done = subprocess.run(
            argv, env=environment(part, offline=False), capture_output=True, text=True, timeout=FETCH, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it was not fetched in {FETCH:g} s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it failed"])[-1]


def main() -> None:
    """Fetch all."""
    part = Path(sys.argv[1])
    part.mkdir(parents=True, exist_ok=True)
    missing = {name: why for name in FETCHED if (why := fetch(name, part))}
    (part / "absent.json").write_text(json.dumps(missing, indent=1))
    print(f"catalogue: {len(FETCHED) - len(missing)} of {len(FETCHED)} fetched", *missing.items(), sep="\n  ", file=sys.stderr)


if __name__ == "__main__":
    main()
