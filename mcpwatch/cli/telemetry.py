"""`dashboards export`, `rules export`, and what `logs --spool` shows. Needs no daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcpwatch.cli import exits
from mcpwatch.cli.options import JsonOption
from mcpwatch.cli.out import say, say_answer

if TYPE_CHECKING:
    from mcpwatch.telemetry.spec import TelemetrySpec

dashboards_app = typer.Typer(no_args_is_help=True, help="Export Grafana dashboards of this fleet.", rich_markup_mode=None)
rules_app = typer.Typer(no_args_is_help=True, help="Export Prometheus rules with your objectives.", rich_markup_mode=None)


@dashboards_app.callback()
@rules_app.callback()
def _group() -> None:
    """Keep the verb: there will be more."""


@dashboards_app.command("export", epilog="Example:  mcpwatch dashboards export /etc/grafana/dashboards")
def export_dashboards(
    directory: Annotated[Path, typer.Argument(help="Output directory; created when absent.")],
    json_: JsonOption = False,
) -> None:
    """Write the Grafana dashboards: fleet, member, mcpwatch itself. Grafana asks for the data sources on import."""
    from importlib.resources import files

    written: list[str] = []
    for source in sorted(files("mcpwatch.telemetry").joinpath("dashboards").iterdir(), key=lambda item: item.name):
        if source.name.endswith(".json"):
            _write(directory / f"mcpwatch-{source.name}", source.read_text(encoding="utf-8"))
            written.append(str(directory / f"mcpwatch-{source.name}"))
    say_answer({"written": written}, written, as_json=json_)
    raise typer.Exit(exits.OK)


@rules_app.command(
    "export", epilog="Examples:  mcpwatch rules export rules.yml    mcpwatch rules export | promtool check rules /dev/stdin"
)
def export_rules(
    file: Annotated[Path | None, typer.Argument(help="Output file; standard output by default.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Configuration file whose objectives the rules use.")
    ] = None,
) -> None:
    """Write recording and alert rules for Prometheus 2.42 and later, with the objectives of your configuration."""
    from mcpwatch.telemetry.rules import groups, render

    text = render(groups(_spec(config)))
    if file is None:
        say(text.rstrip("\n"))
    else:
        _write(file, text)
        say(str(file))
    raise typer.Exit(exits.OK)


def show_spool(*, as_json: bool) -> int:
    """`logs --spool`: how much waits for Loki, since when, and what Loki refused. Needs no daemon."""
    from mcpwatch.cli.control import ControlSettings
    from mcpwatch.telemetry.backlog import spool_status

    state = ControlSettings.paths().root
    status: dict[str, Any] = spool_status(state)
    none = f"nothing was ever shipped from {state}; set telemetry.loki.url to ship logs to Loki"
    say_answer(status, _spooled(status) if status["shipped"] else [none], as_json=as_json)
    return exits.OK


def _spooled(status: dict[str, Any]) -> Iterator[str]:
    for source in status["sources"]:
        if source["bytes"]:
            yield f"{source['member']:<24} {source['stream']:<8} {_size(source['bytes']):>10}  since {source['oldest']}"
    yield f"{_size(status['bytes'])} wait for Loki" + (f", the oldest since {status['oldest']}" if status["oldest"] else "")
    dead = status["dead_letters"]
    if dead["files"]:
        yield f"{dead['files']} dead letters ({_size(dead['bytes'])}) that Loki refused for good; the newest: {dead['newest']}"


def _spec(config: Path | None) -> TelemetrySpec:
    """The `telemetry` section of the configuration; the defaults where there is no configuration at all."""
    import os

    from mcpwatch.app.kinds import all_kinds
    from mcpwatch.app.paths import config_file
    from mcpwatch.cli.control import ControlSettings
    from mcpwatch.config.load import load_plan
    from mcpwatch.telemetry.spec import TelemetrySpec

    plan = load_plan(config_file(config), all_kinds(), dict(os.environ), ControlSettings.paths().root)
    return TelemetrySpec.or_default(plan.section("telemetry"))


def _write(path: Path, text: str) -> None:
    from mcpwatch.app.files import write_atomically
    from mcpwatch.model.errors import UsageError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text, 0o644)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
