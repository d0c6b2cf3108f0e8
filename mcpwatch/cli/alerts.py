"""`mcpwatch alerts`, `silence`, `maintenance`: asks the daemon and prints. Knows nothing of how alerts are decided."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mcpwatch.cli import exits
from mcpwatch.cli.control import call
from mcpwatch.cli.options import JsonOption
from mcpwatch.cli.out import say_answer

alerts_app = typer.Typer(no_args_is_help=True, help="List alerts, test receivers, acknowledge an alert.", rich_markup_mode=None)
silence_app = typer.Typer(no_args_is_help=True, help="Add, list and expire silences.", rich_markup_mode=None)
maintenance_app = typer.Typer(no_args_is_help=True, help="Start, stop and list maintenance.", rich_markup_mode=None)

ForOption = Annotated[str, typer.Option("--for", help="Duration: 30m, 2h, 3d.")]
CommentOption = Annotated[str, typer.Option("--comment", help="Reason, shown in lists.")]
ByOption = Annotated[str, typer.Option("--by", help="Author; your user name by default.")]
TargetsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Names of members or routes (* and ? allowed), or label=pattern, e.g. severity=warning."),
]


def _who(by: str) -> str:
    import getpass

    try:
        return by or getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@alerts_app.command("list", epilog="Examples:  mcpwatch alerts list    mcpwatch alerts list --json | jq '.alerts[].id'")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Include alerts resolved recently.")] = False,
    json_: JsonOption = False,
) -> None:
    """List pending and firing alerts with their start and the receivers notified. Exits 1 when an alert fires."""
    found = call("GET", "/alerts?all=1" if everything else "/alerts")
    say_answer(found, ([found["unknown"]] if found.get("unknown") else []) + _alert_lines(found), as_json=json_)
    firing = any(alert["state"] == "firing" for alert in found["alerts"])
    raise typer.Exit(exits.UNHEALTHY if firing else exits.OK)


@alerts_app.command("test", epilog="Examples:  mcpwatch alerts test    mcpwatch alerts test ops")
def send_test(
    receiver: Annotated[str | None, typer.Argument(help="Receiver name; all receivers by default.")] = None,
    json_: JsonOption = False,
) -> None:
    """Send a test notification now, bypassing grouping and silences. Exits 1 when a receiver refuses it."""
    found = call("POST", "/alerts/test", {"receiver": receiver or ""})
    lines = [f"{one['receiver']}: {'delivered' if one['ok'] else one['error']}" for one in found["results"]]
    say_answer(found, lines, as_json=json_)
    raise typer.Exit(exits.OK if all(one["ok"] for one in found["results"]) else exits.UNHEALTHY)


@alerts_app.command(epilog="Examples:  mcpwatch alerts ack fetch    mcpwatch alerts ack down:fetch --comment 'rolling back'")
def ack(
    alert: Annotated[str, typer.Argument(help="Alert id, or name of a member or route.")],
    comment: CommentOption = "",
    by: ByOption = "",
    json_: JsonOption = False,
) -> None:
    """Acknowledge an alert: stop its reminders and its escalation. The resolution is still sent."""
    found = call("POST", "/alerts/ack", {"alert": alert, "comment": comment, "by": _who(by)})
    say_answer(found, [f"acknowledged: {', '.join(found['acknowledged'])}"], as_json=json_)


@silence_app.command("add", epilog="Examples:  mcpwatch silence add fetch --for 2h    mcpwatch silence add severity=warning 'pg*'")
def add_silence(
    targets: TargetsArgument = None,
    for_: ForOption = "1h",
    comment: CommentOption = "",
    by: ByOption = "",
    json_: JsonOption = False,
) -> None:
    """Add a silence for alerts that match all labels. Checks continue; the resolution of notified alerts is still sent."""
    found = call("POST", "/silences", {"targets": targets or [], "for": for_, "comment": comment, "by": _who(by)})
    say_answer(found, [f"{found['id']}: {_match(found)} is silent until {found['until']}"], as_json=json_)


@silence_app.command("list")
def list_silences(json_: JsonOption = False) -> None:
    """List active silences."""
    found = call("GET", "/silences")
    say_answer(found, _silence_lines(found["silences"]) or ["nothing is silenced"], as_json=json_)


@silence_app.command(epilog="Example:  mcpwatch silence expire s1a2b3c")
def expire(id_: Annotated[str, typer.Argument(metavar="ID", help="Id of a silence.")], json_: JsonOption = False) -> None:
    """Expire a silence now; alerts that still fire are sent."""
    found = call("POST", "/silences/expire", {"id": id_})
    say_answer(found, [f"ended: {', '.join(found['ended'])}"], as_json=json_)


@maintenance_app.command(epilog="Examples:  mcpwatch maintenance start --for 30m    mcpwatch maintenance start 'pg*' --for 2h")
def start(
    targets: TargetsArgument = None,
    for_: ForOption = "1h",
    comment: CommentOption = "",
    by: ByOption = "",
    json_: JsonOption = False,
) -> None:
    """Start maintenance of members or of the whole fleet. Its alerts are suppressed until it ends."""
    found = call("POST", "/maintenance", {"targets": targets or [], "for": for_, "comment": comment, "by": _who(by)})
    say_answer(found, [f"{found['id']}: maintenance of {_match(found)} until {found['until']}"], as_json=json_)


@maintenance_app.command(epilog="Examples:  mcpwatch maintenance stop    mcpwatch maintenance stop m1a2b3c")
def stop(
    id_: Annotated[str | None, typer.Argument(metavar="ID", help="Maintenance id; all started by command by default.")] = None,
    json_: JsonOption = False,
) -> None:
    """Stop maintenance now."""
    found = call("POST", "/maintenance/stop", {"id": id_ or ""})
    say_answer(found, [f"ended: {', '.join(found['ended']) or 'none was running'}"], as_json=json_)


@maintenance_app.command("list")
def list_maintenance(json_: JsonOption = False) -> None:
    """List maintenance in progress and the configured windows."""
    found = call("GET", "/maintenance")
    lines = [*_silence_lines(found["maintenance"]), *map(_window_line, found["windows"])]
    say_answer(found, lines or ["no maintenance"], as_json=json_)


def _match(one: dict[str, Any]) -> str:
    words = [pattern if label == "name" else f"{label}={pattern}" for label, pattern in one["match"].items()]
    return " ".join(words) or "everything"


def _silence_lines(found: list[dict[str, Any]]) -> list[str]:
    from mcpwatch.cli.table import coloured, table

    rows = [(one["id"], _match(one), one["until"][:19] + "Z", one["by"], one["comment"]) for one in found]
    return table(("ID", "MATCH", "UNTIL", "BY", "COMMENT"), rows, colour=coloured()) if rows else []


def _window_line(one: dict[str, Any]) -> str:
    once = f"{one.get('start', '')} to {one.get('end', '')}"
    when = f"cron {one['cron']} ({one.get('timezone', 'UTC')})" if one.get("cron") else once
    return f"{one['name']}: {_match(one)}, {when}{', open now' if one['active'] else ''}"


def _alert_lines(found: dict[str, Any]) -> list[str]:
    from mcpwatch.cli.table import coloured, paint, table
    from mcpwatch.web.words import ago

    colour = coloured()
    shades = {"firing": "red", "pending": "yellow", "resolved": "green"}
    rows = [
        (
            one["id"],
            paint(one["state"], shades[one["state"]], on=colour),
            one["severity"],
            ago(one["seconds"]),
            told_words(one),
            one["why"] if one["state"] != "resolved" else one["ended"],
        )
        for one in found["alerts"]
    ]
    lines = table(("ALERT", "STATE", "SEVERITY", "FOR", "TOLD", "WHY"), rows, colour=colour) if rows else ["nothing is wrong"]
    for one in found["outbox"]:
        error = f": {one['error']}" if one["error"] else ""
        lines.append(f"waiting for {one['receiver']} ({one['reason']}, {one['attempts']} attempts){error}")
    if not found["receivers"]:
        lines.append("nobody is told: no receivers are configured under alerts.receivers")
    return lines


def told_words(one: dict[str, Any]) -> str:
    """Who has been told of an alert, and in brackets who has not, and what else keeps it quiet."""
    meant = [each for each in one["told"] if each["state"] == "firing" or one["state"] == "resolved"]
    told = [each["receiver"] for each in meant if each["arrived"]]
    notes = [one["muted"]] if one["muted"] else []
    notes += [
        f"{each['receiver']} " + (f"was not told: {each['failed']}" if each["failed"] else "not yet")
        for each in meant
        if not each["arrived"]
    ]
    if one["ack"]:
        notes.append(f"acknowledged by {one['ack']['by']}")
    if one["flapping"]:
        notes.append("flapping")
    return (", ".join(told) or "-") + (f" ({'; '.join(notes)})" if notes else "")
