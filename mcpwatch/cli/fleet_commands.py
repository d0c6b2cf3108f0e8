"""Commands about a whole fleet: test, clean, doctor. Mounted without a name, beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcpwatch.cli.since import positive_span

app = typer.Typer(rich_markup_mode=None)

NamesArgument = Annotated[list[str] | None, typer.Argument(help="Names of members or routes.", show_default=False)]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file; by default that of the watchdog.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command(
    name="test", epilog="Examples:  mcpwatch test    mcpwatch test time -c fleet.yaml    mcpwatch test --junit smoke.xml --json"
)
def smoke_test(
    names: NamesArgument = None,
    config: ConfigOption = None,
    clients: Annotated[int, typer.Option(help="How many clients are on each route at once.", min=1, max=1000)] = 10,
    timeout: Annotated[
        float, typer.Option(help="How long one call may take, e.g. 30s.", parser=positive_span, metavar="DURATION")
    ] = 30.0,
    junit: Annotated[Path | None, typer.Option(help="Write the results as JUnit XML too.")] = None,
    json_: JsonOption = False,
) -> None:
    """Test every route from outside: handshake, tools, canary, refusal without a token, many clients at once. Needs no daemon.

    Exits 1 when anything failed.
    """
    from mcpwatch.cli.smoke import smoke

    raise typer.Exit(smoke(names or (), config, clients=clients, timeout=timeout, junit=junit, as_json=json_))


@app.command(epilog="Examples:  mcpwatch clean --dry-run    mcpwatch clean --yes")
def clean(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")] = False,
    json_: JsonOption = False,
) -> None:
    """Remove what mcpwatch made: its containers, networks and state directory. Never your configuration or clients' files."""
    from mcpwatch.cli.clean import clean as run

    raise typer.Exit(run(yes=yes, dry_run=dry_run, as_json=json_))


@app.command(epilog="Examples:  mcpwatch doctor    mcpwatch doctor --fix    mcpwatch doctor -c fleet.yaml --json")
def doctor(
    config: ConfigOption = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is safe to mend without asking.")] = False,
    json_: JsonOption = False,
) -> None:
    """Examine file, secrets, programs, ports, engine, machine and clients; say what is wrong, why it matters and what mends it.

    Exits 1 when an error is left. Needs no daemon.
    """
    from mcpwatch.cli.doctor.run import doctor as run

    raise typer.Exit(run(config, fix=fix, as_json=json_))
