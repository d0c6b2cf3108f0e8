"""`config validate|show|schema`, `init` and `rbac`: what needs no daemon, only the file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from mcpwatch.app.files import write_atomically
from mcpwatch.app.kinds import all_kinds
from mcpwatch.app.paths import config_file
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.out import say, say_answer, say_json
from mcpwatch.config import yaml
from mcpwatch.config.load import load_plan
from mcpwatch.model.errors import ConfigError, UsageError
from mcpwatch.model.json import plain
from mcpwatch.runtimes.kubernetes.rights import roles


def validate(config: Path | None, *, as_json: bool) -> int:
    """Load it as `up` would, start nothing. Raises `ConfigError` with every fault (as JSON, prints them and answers 3)."""
    from mcpwatch.config.explain import summary
    from mcpwatch.config.load import load_plan

    try:
        plan = load_plan(config_file(config), all_kinds(), dict(os.environ), ControlSettings.paths().root)
    except ConfigError as error:
        if not as_json:
            raise
        say_json({"valid": False, "faults": plain(error.faults)})
        return exits.BAD_CONFIG
    say_answer({"valid": True, "faults": [], "summary": summary(plan)}, [summary(plan)], as_json=as_json)
    return exits.OK


def show(config: Path | None) -> int:
    """Print it with every default filled in and every secret masked."""
    from mcpwatch.config.show import show as shown

    say(shown(config_file(config), all_kinds(), dict(os.environ), ControlSettings.paths().root).rstrip("\n"))
    return exits.OK


def print_schema() -> int:
    """Print the JSON Schema."""
    from mcpwatch.config.schema import schema

    say(json.dumps(schema(all_kinds()), indent=2, ensure_ascii=False))
    return exits.OK


def write_starter(path: Path, source: Path | None, *, force: bool) -> int:
    """Write a starter file, or an imported one (0600: it may hold secrets). Raises `UsageError` rather than overwrite."""
    from mcpwatch.config.importers import import_foreign
    from mcpwatch.config.starter import starter

    text = import_foreign(source) if source is not None else starter(shutil.which)
    if str(path) == "-":
        say(text.rstrip("\n"))
        return exits.OK
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; write another file, or overwrite it with --force")
    try:
        write_atomically(path, text, 0o600 if source is not None else 0o644)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    say(f"wrote {path}; next: mcpwatch config validate -c {path}, then mcpwatch up -c {path}")
    return exits.OK


def show_rights(config: Path | None, account: str, namespace: str, *, as_json: bool) -> int:
    """Print a Role and a RoleBinding for each namespace. Raises `UsageError` where the fleet asks nothing of a cluster."""
    if account.count("/") != 1 or not all(account.split("/")):
        raise UsageError(f"'{account}' is no service account; write NAMESPACE/NAME, e.g. mcpwatch/mcpwatch")
    plan = load_plan(config_file(config), all_kinds(), dict(os.environ), ControlSettings.paths().root)
    found = roles(plan, account, namespace)
    if not found:
        raise UsageError(f"{plan.source}: no member is in Kubernetes, and there is no leader: section; no rights are needed")
    say_answer(found, ["---\n".join(yaml.dump(one) for one in found).rstrip("\n")], as_json=as_json)
    return exits.OK
