"""Who owns an entry, and what happens to what a person or a client did to ours."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.clients.adapter import Client, Wanted
from mcpwatch.clients.catalog import CLIENTS, made
from mcpwatch.clients.formats.edit import DROP, edit
from mcpwatch.clients.formats.path import EditRefused, write
from mcpwatch.clients.ledger import Ledger, dumps, loads
from mcpwatch.clients.reconcile import EVERYTHING, Keep, ReconcileResult, reclaim, reconcile
from mcpwatch.clients.route import ClientRoute
from mcpwatch.clients.tokens import Tokens, digest

TOKEN = "s3cret-tok"
TOKENS = Tokens(frozenset({digest("the-one-before")}), frozenset({digest(TOKEN)}), TOKEN)
TIME = ClientRoute("time", "http://h:9090/time/sse", "http://h:9090/time/mcp", guarded=True)
FETCH = ClientRoute("fetch", "http://h:9090/fetch/sse", "http://h:9090/fetch/mcp", guarded=True)
CLAUDE = made({"kind": "claude-code"})
GEMINI = made({"kind": "gemini-cli"})


def put(client: Client, text: str | None, *routes: ClientRoute, ledger: Ledger | None = None, **how: Any) -> ReconcileResult:
    wanted = client.adapter.wanted(client.spec, routes, (), TOKEN)
    return reconcile(client.adapter.syntax, text, wanted, ledger or Ledger(), tokens=TOKENS, **how)


def servers(outcome: ReconcileResult) -> dict[str, Any]:
    return json.loads(outcome.text or "{}")["mcpServers"]


def test_an_entry_of_our_name_that_we_did_not_write_is_left_alone_and_said() -> None:
    text = '{"mcpServers": {"time": {"type": "stdio", "command": "mine"}}}'
    done = put(CLAUDE, text, TIME, FETCH)
    assert servers(done)["time"] == {"type": "stdio", "command": "mine"}
    assert done.added == ("fetch",)
    assert [(drift.entry, drift.trouble, drift.left) for drift in done.drift] == [("time", "foreign", True)]
    assert put(CLAUDE, done.text, ledger=done.ledger).text == text


def test_force_takes_over_an_entry_of_our_name() -> None:
    done = put(CLAUDE, '{"mcpServers": {"time": {"command": "mine"}}}', TIME, force=True)
    assert servers(done)["time"]["url"] == TIME.sse
    assert done.ledger.owns(("mcpServers", "time"))


def test_an_entry_of_ours_that_a_person_edited_stays_and_is_shown_as_drift() -> None:
    first = put(CLAUDE, "{}", TIME)
    edited = (first.text or "").replace("/time/sse", "/time/sse?mine=1")
    again = put(CLAUDE, edited, TIME, ledger=first.ledger)
    assert (again.text, again.drift[0].trouble) == (edited, "edited")
    removed = put(CLAUDE, edited, FETCH, ledger=again.ledger)
    assert "mine=1" in (removed.text or "")
    back = put(CLAUDE, edited, TIME, ledger=again.ledger, overwrite=True)
    assert back.text == first.text


def test_an_entry_of_ours_that_a_person_took_out_stays_out_even_after_the_route_was_away() -> None:
    first = put(CLAUDE, "{}", TIME, FETCH)
    document = json.loads(first.text or "")
    del document["mcpServers"]["time"]
    text = json.dumps(document)
    again = put(CLAUDE, text, TIME, FETCH, ledger=first.ledger)
    assert (again.text, again.drift[0].trouble) == (text, "taken out")
    away = put(CLAUDE, text, FETCH, ledger=again.ledger)
    assert put(CLAUDE, away.text, TIME, FETCH, ledger=away.ledger).text == text
    assert "time" in servers(put(CLAUDE, text, TIME, FETCH, ledger=again.ledger, force=True))


def test_an_entry_of_ours_that_a_person_took_out_and_put_back_as_it_was_is_ours_again() -> None:
    first = put(CLAUDE, "{}", TIME)
    out = put(CLAUDE, '{"mcpServers": {}}', TIME, ledger=first.ledger)
    back = put(CLAUDE, first.text, TIME, ledger=out.ledger)
    assert (back.text, back.drift) == (first.text, ())
    assert '"time"' not in (put(CLAUDE, back.text, ledger=back.ledger).text or "")
    theirs = (first.text or "").replace("/time/sse", "/time/other")
    kept = put(CLAUDE, theirs, TIME, ledger=out.ledger)
    assert (kept.text, kept.drift[0].trouble) == (theirs, "foreign")


TOLD = {"allow_literal": True, "bridge": "mcp-proxy"}
"""What every kind may be told."""
NEEDED: dict[str, dict[str, object]] = {"open-webui": {"url": "http://open-webui"}}
"""What one kind must be told instead of a path."""


def every_client() -> list[Client]:
    """One of each kind, told what it must be told."""
    known = ((kind.name, kind.spec.model_fields) for kind in CLIENTS)
    return [
        made({"kind": kind, **{key: value for key, value in TOLD.items() if key in fields}, **NEEDED.get(kind, {"path": "f"})})
        for kind, fields in known
    ]


@pytest.mark.parametrize("client", every_client(), ids=lambda client: client.spec.kind)
def test_entries_that_a_lost_store_forgot_are_owned_again_and_leave_with_their_routes(client: Client) -> None:
    first = put(client, None, TIME, FETCH)
    assert first.added == ("time", "fetch")
    wanted = client.adapter.wanted(client.spec, (TIME, FETCH), (), TOKEN)
    again = reclaim(client.adapter.syntax, first.text or "", [wanted], Ledger())
    assert all(again.owns(path) for path in wanted.entries)
    assert put(client, first.text, TIME, FETCH, ledger=again).text == first.text
    gone = put(client, first.text, ledger=again)
    assert not any(word in (gone.text or "") for word in ("/time/", "/fetch/"))
    assert gone.drift == ()


@pytest.mark.parametrize("client", every_client(), ids=lambda client: client.spec.kind)
def test_an_entry_that_a_person_changed_while_nobody_knew_it_stays_theirs(client: Client) -> None:
    first = put(client, None, TIME)
    text = (first.text or "").replace("/time/", "/other/")
    wanted = client.adapter.wanted(client.spec, (TIME,), (), TOKEN)
    again = reclaim(client.adapter.syntax, text, [wanted], Ledger())
    assert not any(again.owns(path) for path in wanted.routes)
    done = put(client, text, TIME, ledger=again)
    assert [drift.trouble for drift in done.drift] == ["foreign"]
    assert "/other/" in (put(client, done.text, ledger=done.ledger).text or "")


def test_what_only_supports_entries_is_not_ours_by_itself() -> None:
    vscode = made({"kind": "vscode"})
    wanted = vscode.adapter.wanted(vscode.spec, (TIME,), (), TOKEN)
    text = put(vscode, None, TIME).text or ""
    alone = edit(vscode.adapter.syntax, text, dict.fromkeys(wanted.routes, DROP)).text
    assert "mcp-proxy-token" in alone
    assert reclaim(vscode.adapter.syntax, alone, [wanted], Ledger()) == Ledger()
    assert set(reclaim(vscode.adapter.syntax, text, [wanted], Ledger()).entries) == set(map(write, wanted.entries))


def test_an_identical_entry_is_owned_when_it_is_wanted_whatever_the_ledger_had() -> None:
    first = put(CLAUDE, "{}", TIME)
    old = Ledger({write(("mcpServers", "time")): "another hash"})
    for ledger in (Ledger(), old):
        again = put(CLAUDE, first.text, TIME, ledger=ledger)
        assert (again.text, again.drift) == (first.text, ())
        assert put(CLAUDE, again.text, ledger=again.ledger).removed == ("time",)


def test_a_deleted_file_is_not_a_wish_but_a_loss() -> None:
    first = put(CLAUDE, "{}", TIME)
    assert servers(put(CLAUDE, None, TIME, ledger=first.ledger))["time"]


@pytest.mark.parametrize("token", [TOKEN, "the-one-before"], ids=["the token of now", "a dead token"])
def test_a_token_that_the_client_expanded_is_taken_back_out(token: str) -> None:
    first = put(GEMINI, "{}", TIME)
    leaked = (first.text or "").replace("${MCP_PROXY_TOKEN}", token)
    assert leaked != first.text
    again = put(GEMINI, leaked, TIME, ledger=first.ledger)
    assert (again.text, again.drift[0].trouble, again.drift[0].left) == (first.text, "expanded", False)


def test_a_dead_token_in_an_edited_entry_is_renewed_and_the_rest_of_the_edit_stays() -> None:
    cline = made({"kind": "cline", "allow_literal": True})
    old = cline.adapter.wanted(cline.spec, (TIME,), (), "the-one-before")
    first = reconcile(cline.adapter.syntax, "{}", old, Ledger())
    edited = (first.text or "").replace('"url"', '"timeout": 7,\n      "url"')
    again = put(cline, edited, TIME, ledger=first.ledger)
    entry = servers(again)["time"]
    assert (entry["timeout"], entry["headers"]["Authorization"]) == (7, f"Bearer {TOKEN}")
    assert "but for the dead token" in again.drift[0].text
    assert "the-one-before" not in (again.text or "")
    assert put(cline, again.text, TIME, ledger=again.ledger).text == again.text


def test_a_crash_between_the_write_and_its_note_costs_no_ownership() -> None:
    wanted = CLAUDE.adapter.wanted(CLAUDE.spec, (TIME,), (), TOKEN)
    noted = loads(dumps(Ledger().intending(wanted.entries)))
    written = put(CLAUDE, "{}", TIME)
    assert put(CLAUDE, written.text, ledger=noted).removed == ("time",)
    assert put(CLAUDE, "{}", TIME, ledger=noted).added == ("time",)
    owning = put(CLAUDE, "{}", TIME, FETCH).ledger
    dropping = owning.intending(wanted.entries)
    assert put(CLAUDE, written.text, TIME, FETCH, ledger=dropping).added == ("fetch",)


def test_keep_takes_nothing_out() -> None:
    first = put(CLAUDE, "{}", TIME, FETCH)
    kept = put(CLAUDE, first.text, ledger=first.ledger, keep=EVERYTHING)
    assert (kept.text, kept.ledger.entries) == (first.text, first.ledger.entries)


def test_what_is_named_leaves_although_all_else_is_kept() -> None:
    first = put(CLAUDE, "{}", TIME, FETCH)
    named = frozenset(CLAUDE.adapter.wanted(CLAUDE.spec, (TIME,), (), TOKEN).routes)
    kept = put(CLAUDE, first.text, ledger=first.ledger, keep=Keep(named))
    assert (kept.removed, kept.changed, kept.drift) == (("time",), (), ())


def test_a_file_that_only_we_made_goes_when_nothing_of_it_is_wanted() -> None:
    first = put(CLAUDE, None, TIME)
    assert put(CLAUDE, first.text, ledger=first.ledger).text is None
    foreign = (first.text or "").replace('"mcpServers"', '"user": 1, "mcpServers"')
    assert json.loads(put(CLAUDE, foreign, ledger=first.ledger).text or "") == {"user": 1}


@pytest.mark.parametrize(
    "text", ['{"mcpServers": {}', '{"mcpServers": []}', "[]", '{"a": 1} x', '{// c\n"mcpServers": {}}', '{"a": 1,}']
)
def test_a_broken_file_is_refused_not_emptied(text: str) -> None:
    with pytest.raises(EditRefused):
        put(CLAUDE, text, TIME)


def test_a_ledger_survives_the_store_and_a_spoilt_one_owns_nothing() -> None:
    ledger = replace(put(GEMINI, "{}", TIME).ledger, paused=True)
    assert loads(dumps(ledger)) == ledger
    assert loads("not json") == loads(None) == Ledger()
    assert TOKEN not in dumps(ledger)


def test_names_that_meet_in_one_client_are_not_written_over_each_other() -> None:
    litellm = made({"kind": "litellm", "path": "c.yaml"})
    wanted: Wanted = litellm.adapter.wanted(
        litellm.spec, (ClientRoute("a-b", "http://h/a/sse"), ClientRoute("a_b", "http://h/b/sse")), ()
    )
    assert list(wanted.routes.values()) == ["a-b"]
    assert "already taken by route 'a-b'" in wanted.skipped[0].reason
