"""What the commands about AI clients print. Each function takes the daemon's answer and returns the exit code."""

from __future__ import annotations

from typing import Any

from mcpwatch.cli import exits
from mcpwatch.cli.out import say, say_json
from mcpwatch.cli.table import coloured, paint, table

Answer = dict[str, Any]


def print_sync(answers: list[Answer], *, dry_run: bool, as_json: bool) -> int:
    """One line per client, its diff on request, and what kept a route or a file from being as it should."""
    if as_json:
        say_json(answers)
    else:
        for answer in answers:
            _one_sync(answer, dry_run=dry_run)
    return exits.UNHEALTHY if any(answer.get("error") for answer in answers) else exits.OK


def _one_sync(answer: Answer, *, dry_run: bool) -> None:
    colour = coloured()
    head = f"{answer['title']}  {answer['path']}"
    if answer.get("error"):
        say(f"{head}: {paint('left alone', 'red', on=colour)}: {answer['error']}")
        return
    would = "would be: " if dry_run and answer["changed"] else ""
    say(f"{head}: {would}{answer['summary']}")
    for line in str(answer.get("diff", "")).splitlines():
        say(paint(line, "green" if line.startswith("+") else "red" if line.startswith("-") else "grey", on=colour))
    for drift in answer["drift"]:
        say(f"  {drift['entry']}: {drift['text']}")
    for skipped in answer["skipped"]:
        say(f"  {skipped['route']}: not given: {skipped['reason']}")


def print_table(rows: list[Answer], *, as_json: bool) -> int:
    """The table of clients."""
    if as_json:
        say_json(rows)
        return exits.OK
    if not rows:
        say("no clients in the configuration; find some with 'mcpwatch clients detect'")
        return exits.OK
    colour = coloured()
    head = ("CLIENT", "FILE", "IN SYNC", "ROUTES", "LAST WRITE", "TAKES EFFECT")
    lines = [
        (
            f"{row['client']}",
            row["path"],
            _sync_word(row, colour=colour),
            str(len(row["listed"])),
            row["last_write"] or "never",
            row["reload"],
        )
        for row in rows
    ]
    for line in table(head, lines, colour=colour, right=(3,)):
        say(line)
    for row in rows:
        _remarks(row)
    return exits.OK


def _sync_word(row: Answer, *, colour: bool) -> str:
    synced = {True: "yes", False: "drift", None: "not yet"}[row["in_sync"]]
    word = "not known" if row.get("unknown") else "paused" if row["paused"] else "error" if row["error"] else synced
    return paint(word, {"yes": "green", "error": "red"}.get(word, "yellow"), on=colour)


def _remarks(row: Answer) -> None:
    notes = [row.get("unknown", ""), row["error"], row["note"], f"the last good list stays: {row['kept']}" if row["kept"] else ""]
    notes += [f"{drift['entry']}: {drift['text']}" for drift in row["drift"]]
    notes += [f"{skipped['route']}: not given: {skipped['reason']}" for skipped in row["skipped"]]
    notes += [f"{route}: {why}" for route, why in row["waiting"].items()]
    for note in filter(None, notes):
        say(f"  {row['client']}: {note}")


def print_undo(answer: Answer, *, as_json: bool) -> int:
    """What undo did."""
    if as_json:
        say_json(answer)
    else:
        say(f"{answer['title']}  {answer['path']}: {answer['text']}")
    return exits.OK


def print_detected(*, as_json: bool) -> int:
    """The clients of this machine, as configuration to paste."""
    from mcpwatch.clients.detect import detect
    from mcpwatch.clients.location import Machine
    from mcpwatch.model.json import plain

    found = detect(Machine())
    if as_json:
        say_json(plain(found))
        return exits.OK
    if not found:
        say("no AI client found for this user; name one yourself: clients: [{kind: claude-code}]")
        return exits.OK
    say("# put what you want of this into your mcpwatch.yaml")
    say("clients:")
    for item in found:
        say(f"  {item.yaml}  # {item.title}: {item.path}{'' if item.exists else ' (not there yet)'}")
        if item.note:
            say(f"  #   {item.note}")
    return exits.OK


def print_purge(answers: list[Answer], *, as_json: bool) -> int:
    """The entries offered for removal, or removed."""
    if as_json:
        say_json(answers)
    else:
        for answer in answers:
            if answer.get("error"):
                say(f"{answer['path']}: {answer['error']}")
            else:
                verb = "removed: it " if answer["removed"] else ""
                say(f"{answer['path']}: '{answer['entry']}' {verb}{answer['reason']} ({answer['url']})")
        if not answers:
            say("nothing to purge")
        elif any(not answer.get("error") and not answer["removed"] for answer in answers):
            say("take them out with 'mcpwatch clients purge --apply'")
    return exits.UNHEALTHY if any(answer.get("error") for answer in answers) else exits.OK


def print_snippet(answer: Answer, *, as_json: bool) -> int:
    """What to paste: the snippet alone on standard output, everything about it as comments on standard error."""
    import sys

    if as_json:
        say_json(answer)
        return exits.OK
    about = [f"{answer['title']}: merge this into {answer['path']}; takes effect: {answer['reload']}", answer["note"]]
    about += [f"{skipped['route']}: not given: {skipped['reason']}" for skipped in answer["skipped"]]
    for line in filter(None, about):
        sys.stderr.write(f"# {line}\n")
    say(answer["text"].rstrip("\n"))
    return exits.OK


def print_rotation(answer: Answer, *, as_json: bool) -> int:
    """Where a rotation stands."""
    if as_json:
        say_json(answer)
    else:
        say(answer["text"])
        for step in answer.get("steps", ()):
            say(f"  {step}")
    return exits.OK
