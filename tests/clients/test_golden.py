"""Every adapter against files as people have them: `before` becomes `after`, twice is once, and removal gives `before` back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.clients.adapter import Adapter, ClientSpec, Wanted
from mcpwatch.clients.catalog import CLIENTS, ClientsSection
from mcpwatch.clients.ledger import Ledger
from mcpwatch.clients.reconcile import ReconcileResult, reconcile
from mcpwatch.clients.route import ClientRoute

HERE = Path(__file__).parent
ROUTES = (
    ClientRoute("time", "http://linuxserver.lan:9090/time/sse", "http://linuxserver.lan:9090/time/mcp", guarded=True),
    ClientRoute("git-hub", "http://linuxserver.lan:9090/git-hub/sse", "http://linuxserver.lan:9090/git-hub/mcp"),
)
TOKEN = "s3cret-tok"
CASES = sorted(path.parent for path in HERE.glob("*/after*"))


def load(case: Path) -> tuple[Adapter, ClientSpec, str | None, Path]:
    spec_file = case / "spec.json"
    written: dict[str, Any] = {
        "kind": case.name.split("+")[0],
        **(json.loads(spec_file.read_text("utf-8")) if spec_file.exists() else {}),
    }
    made = ClientsSection.model_validate([written]).made()[0]
    before = next(case.glob("before*"), None)
    text = before.read_bytes().decode() if before else None
    return made.adapter, made.spec, text, next(case.glob("after*"))


def run(adapter: Adapter, spec: ClientSpec, text: str | None, ledger: Ledger) -> ReconcileResult:
    off = ROUTES[1:] if spec.policy == "disable" else ()
    on = ROUTES[:1] if spec.policy == "disable" else ROUTES
    return reconcile(adapter.syntax, text, adapter.wanted(spec, on, off, TOKEN), ledger)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_before_becomes_after_and_removal_gives_before_back(case: Path) -> None:
    adapter, spec, before, after = load(case)
    done = run(adapter, spec, before, Ledger())
    assert done.text == after.read_bytes().decode()
    again = run(adapter, spec, done.text, done.ledger)
    assert (again.text, again.summary) == (done.text, "no change")
    assert reconcile(adapter.syntax, done.text, Wanted(), done.ledger).text == before


@pytest.mark.parametrize("kind", CLIENTS, ids=lambda kind: kind.name)
def test_every_kind_has_a_golden_case(kind: Any) -> None:
    assert (HERE / kind.name / "before.txt").exists() or any((HERE / kind.name).glob("before*"))


@pytest.mark.parametrize("kind", CLIENTS, ids=lambda kind: kind.name)
def test_no_kind_writes_a_token_unless_it_was_allowed(kind: Any) -> None:
    written = {"kind": kind.name, "url": "http://localhost:3000"} if kind.name == "open-webui" else {"kind": kind.name, "path": "f"}
    client = ClientsSection.model_validate([written]).made()[0]
    wanted = client.adapter.wanted(client.spec, ROUTES, (), TOKEN)
    assert TOKEN not in str(dict(wanted.entries))
    assert len(wanted.routes) + len(wanted.skipped) == len(ROUTES)
    assert TOKEN not in repr(wanted)
