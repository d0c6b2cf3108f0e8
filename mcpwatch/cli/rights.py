"""`mcpwatch rbac`: the least rights that a fleet needs on its clusters, as manifests. Needs neither daemon nor cluster."""

from __future__ import annotations

import os
from pathlib import Path

from mcpwatch.app.kinds import all_kinds
from mcpwatch.app.paths import config_file, state_paths
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.out import say, say_json
from mcpwatch.config import yaml
from mcpwatch.config.load import load_plan
from mcpwatch.model.errors import UsageError
from mcpwatch.runtimes.kubernetes.rights import roles


def show_rights(config: Path | None, account: str, namespace: str, *, as_json: bool) -> int:
    """Print a Role and a RoleBinding for each namespace. Raises `UsageError` where the fleet asks nothing of a cluster."""
    if account.count("/") != 1 or not all(account.split("/")):
        raise UsageError(f"'{account}' is no service account; write NAMESPACE/NAME, e.g. mcpwatch/mcpwatch")
    plan = load_plan(config_file(config), all_kinds(), dict(os.environ), state_paths(ControlSettings.state_dir).root)
    found = roles(plan, account, namespace)
    if not found:
        raise UsageError(f"{plan.source}: no member is in Kubernetes, and there is no leader: section; no rights are needed")
    if as_json:
        say_json(found)
    else:
        say("---\n".join(yaml.dump(one) for one in found).rstrip("\n"))
    return exits.OK
