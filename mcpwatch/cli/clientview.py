"""What the commands about AI clients print. Each function takes the daemon's answer and returns the exit code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcpwatch.cli import exits
from mcpwatch.cli.out import say, say_answer, say_json
from mcpwatch.cli.table import coloured, paint, table

Answer = dict[str, Any]


def print_sync(answers: list[Answer], *, dry_run: bool, as_json: bool) -> int:
    """One line per client, its diff on request, and what kept a route or a file from being as it should."""
    say_answer(answers, (line for answer in answers for line in _one_sync(answer, dry_run=dry_run)), as_json=as_json)
    return exits.UNHEALTHY if any(answer.get("error") for answer in answers) else exits.OK


def _one_sync(answer: Answer, *, dry_run: bool) -> Iterator[str]:
    colour = coloured()
    head = f"{answer['title']}  {answer['path']}"
    if answer.get("error"):
        yield f"{head}: {paint('left alone', 'red', on=colour)}: {answer['error']}"
        return
    would = "would be: " if dry_run and answer["changed"] else ""
    yield f"{head}: {would}{answer['summary']}"
    for line in str(answer.get("diff", "")).splitlines():
        yield paint(line, "green" if line.startswith("+") else "red" if line.startswith("-") else "grey", on=colour)
    yield from (f"  {note}" for note in _left_alone(answer))


def _left_alone(answer: Answer) -> list[str]:
    notes = [f"{drift['entry']}: {drift['text']}" for drift in answer["drift"]]
    return notes + [f"{skipped['route']}: not given: {skipped['reason']}" for skipped in answer["skipped"]]


def print_table(rows: list[Answer], *, as_json: bool) -> int:
    """The table of clients."""
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
    told = [*table(head, lines, colour=colour, right=(3,)), *(note for row in rows for note in _remarks(row))]
    say_answer(
        rows, told if rows else ["no clients in the configuration; find some with 'mcpwatch clients detect'"], as_json=as_json
    )
    return exits.OK


def _sync_word(row: Answer, *, colour: bool) -> str:
    synced = {True: "yes", False: "drift", None: "not yet"}[row["in_sync"]]
    word = "not known" if row.get("unknown") else "paused" if row["paused"] else "error" if row["error"] else synced
    return paint(word, {"yes": "green", "error": "red"}.get(word, "yellow"), on=colour)


def _remarks(row: Answer) -> list[str]:
    notes = [row.get("unknown", ""), row["error"], row["note"], f"the last good list stays: {row['kept']}" if row["kept"] else ""]
    notes += [*_left_alone(row), *(f"{route}: {why}" for route, why in row["waiting"].items())]
    return [f"  {row['client']}: {note}" for note in notes if note]


def print_undo(answer: Answer, *, as_json: bool) -> int:
    """What undo did."""
    say_answer(answer, [f"{answer['title']}  {answer['path']}: {answer['text']}"], as_json=as_json)
    return exits.OK


def print_detected(*, as_json: bool) -> int:
    """The clients of this machine, as configuration to paste."""
    from mcpwatch.clients.detect import detect
    from mcpwatch.clients.location import Machine
    from mcpwatch.model.json import plain

    found = detect(Machine())
    lines = ["# put what you want of this into your mcpwatch.yaml", "clients:"]
    for item in found:
        lines.append(f"  {item.yaml}  # {item.title}: {item.path}{'' if item.exists else ' (not there yet)'}")
        lines += [f"  #   {item.note}"] if item.note else []
    none = "no AI client found for this user; name one yourself: clients: [{kind: claude-code}]"
    say_answer(plain(found), lines if found else [none], as_json=as_json)
    return exits.OK


def print_purge(answers: list[Answer], *, as_json: bool) -> int:
    """The entries offered for removal, or removed."""
    lines: list[str] = [] if answers else ["nothing to purge"]
    for answer in answers:
        verb = "removed: it " if answer.get("removed") else ""
        lines.append(
            f"{answer['path']}: " + (answer.get("error") or f"'{answer['entry']}' {verb}{answer['reason']} ({answer['url']})")
        )
    if any(not answer.get("error") and not answer["removed"] for answer in answers):
        lines.append("take them out with 'mcpwatch clients purge --apply'")
    say_answer(answers, lines, as_json=as_json)
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
    say_answer(answer, [answer["text"], *(f"  {step}" for step in answer.get("steps", ()))], as_json=as_json)
    return exits.OK
