"""Commands about a whole fleet: test, clean, doctor. Mounted without a name, beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mcpwatch.cli.options import JsonOption, WholeOption, some
from mcpwatch.cli.since import positive_span

app = typer.Typer(rich_markup_mode=None)

NamesArgument = Annotated[list[str] | None, typer.Argument(help="Names of members or routes.", show_default=False)]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file; by default that of the watchdog.")]


@app.command(
    name="test", epilog="Examples:  mcpwatch test    mcpwatch test time -c fleet.yaml    mcpwatch test --junit smoke.xml --json"
)
def smoke_test(
    names: NamesArgument = None,
    whole: WholeOption = False,
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

    raise typer.Exit(smoke(some(names, whole=whole), config, clients=clients, timeout=timeout, junit=junit, as_json=json_))


@app.command(epilog="Examples:  mcpwatch rbac | kubectl apply -f -    mcpwatch rbac -c fleet.yaml --service-account ops/mcpwatch")
def rbac(
    config: ConfigOption = None,
    account: Annotated[
        str, typer.Option("--service-account", help="The service account that mcpwatch runs as, NAMESPACE/NAME.")
    ] = "mcpwatch/mcpwatch",
    namespace: Annotated[str, typer.Option(help="Namespace of members that name none.")] = "default",
    json_: JsonOption = False,
) -> None:
    """Print the least rights that the fleet needs in Kubernetes: a Role and a RoleBinding for each namespace. Needs no daemon."""
    from mcpwatch.cli.config import show_rights

    raise typer.Exit(show_rights(config, account, namespace, as_json=json_))


@app.command(epilog="Examples:  mcpwatch clean --dry-run    mcpwatch clean --yes")
def clean(
    names: Annotated[list[str] | None, typer.Argument(help="Names of members.", show_default=False)] = None,
    whole: WholeOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")] = False,
    json_: JsonOption = False,
) -> None:
    """Remove what mcpwatch made: its containers, networks and state directory. Never your configuration or clients' files.

    What else is in the state directory stays; backups of the fleet that are kept there go with it.
    With names, only the containers and logs of those members.
    """
    from mcpwatch.cli.clean import clean as run

    raise typer.Exit(run(some(names, whole=whole), yes=yes, dry_run=dry_run, as_json=json_))


@app.command(epilog="Examples:  mcpwatch doctor    mcpwatch doctor --fix    mcpwatch doctor -c fleet.yaml --json")
def doctor(
    config: ConfigOption = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is safe to mend without asking.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Start each uvx and npx server once from an empty cache, where no start is recorded.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Examine file, secrets, programs, ports, engine, machine and clients; say what is wrong, why it matters and what mends it.

    Exits 1 when an error is left. Needs no daemon.
    """
    from mcpwatch.cli.doctor.run import doctor as run

    raise typer.Exit(run(config, fix=fix, as_json=json_, measure=measure))


backup_app = typer.Typer(
    no_args_is_help=True, help="Backups of the whole fleet: create, list, verify, restore.", rich_markup_mode=None
)
app.add_typer(backup_app, name="backup")

PassphraseOption = Annotated[
    Path | None, typer.Option("--passphrase-file", help="File with the passphrase; else MCPWATCH_BACKUP_PASSPHRASE, else asked.")
]
DirOption = Annotated[Path | None, typer.Option("--dir", help="Directory of the backups; by default as configured.")]
ArchiveArgument = Annotated[Path, typer.Argument(help="A backup, as 'mcpwatch backup list' names it.")]


@backup_app.command(name="create", epilog="Examples:  mcpwatch backup create    mcpwatch backup create --secrets --dir /mnt/usb")
def backup_create(
    config: ConfigOption = None,
    directory: DirOption = None,
    secrets: Annotated[bool, typer.Option("--secrets", help="Take in files with secrets, encrypted with a passphrase.")] = False,
    passphrase_file: PassphraseOption = None,
    keep: Annotated[int | None, typer.Option(help="Remove all but the newest so many.", min=1)] = None,
    json_: JsonOption = False,
) -> None:
    """Make a backup: configuration, history, pins, silences, clients' ledger and backups. The fleet runs on."""
    from mcpwatch.cli.backup import create

    raise typer.Exit(create(config, directory, secrets=secrets, file=passphrase_file, keep=keep, as_json=json_))


@backup_app.command(name="list")
def backup_list(config: ConfigOption = None, directory: DirOption = None, json_: JsonOption = False) -> None:
    """List the backups, the newest first."""
    from mcpwatch.cli.backup import list_

    raise typer.Exit(list_(directory, config, as_json=json_))


@backup_app.command(name="verify")
def backup_verify(archive: ArchiveArgument, passphrase_file: PassphraseOption = None, json_: JsonOption = False) -> None:
    """Verify a backup: every file is there and as it was. Exits 1 when it is damaged."""
    from mcpwatch.cli.backup import verify

    raise typer.Exit(verify(archive, passphrase_file, as_json=json_))


@backup_app.command(name="restore", epilog="Example:  mcpwatch backup restore /mnt/usb/mcpwatch-20261129T030000Z.tar.gz")
def backup_restore(
    archive: ArchiveArgument,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Where the configuration goes; by default where it was.")
    ] = None,
    passphrase_file: PassphraseOption = None,
    without_secrets: Annotated[bool, typer.Option("--without-secrets", help="Restore without the encrypted files.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Move aside what is there already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be written.")] = False,
    json_: JsonOption = False,
) -> None:
    """Restore a fleet from a backup, whole or not at all. A damaged one is refused. Clients' files are not touched."""
    from mcpwatch.cli.backup import restore

    done = restore(archive, config, passphrase_file, plain=without_secrets, force=force, dry_run=dry_run, as_json=json_)
    raise typer.Exit(done)


@app.command(epilog="Examples:  mcpwatch export compose out    mcpwatch export kubernetes out-k8s -c fleet.yaml")
def export(
    form: Annotated[Literal["compose", "quadlet", "systemd", "kubernetes"], typer.Argument(metavar="FORMAT", help="What runs it.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to write; a new one, or --force.")],
    config: ConfigOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export; env files that were filled in there stay.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Write the fleet as files that run without mcpwatch: compose, quadlet, systemd or kubernetes. Secrets by reference only.

    The same fleet gives the same bytes.
    """
    from mcpwatch.cli.export.write import export as run

    raise typer.Exit(run(form, directory, config, force=force, as_json=json_))


@app.command(
    name="import",
    epilog="Examples:  mcpwatch import --dry-run    mcpwatch import ~/.cursor/mcp.json --yes",
)
def import_(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files, or directories of files, to look into; by default those of all AI clients.")
    ] = None,
    config: ConfigOption = None,
    only: Annotated[str, typer.Option(help="Only these servers: names, separated by commas.")] = "",
    replace_clients: Annotated[
        bool,
        typer.Option("--replace-clients", help="Replace the clients' own entries by routes (see 'clients undo')."),
    ] = False,
    no_test: Annotated[bool, typer.Option("--no-test", help="Do not try the servers first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show what was found and would change.")] = False,
    timeout: Annotated[
        float, typer.Option(help="How long a trial, and then a proof, may take, e.g. 2m.", parser=positive_span, metavar="DURATION")
    ] = 120.0,
    json_: JsonOption = False,
) -> None:
    """Bring servers into the fleet that AI clients, TBXark, sparfenyuk, compose or another fleet run.

    On a terminal it asks what to bring in, shows what will be written, and asks again; elsewhere options say it.
    The same server of several clients comes once; secrets go to the env file; what cannot be carried over is named and left alone.
    Exits 1 when a server was left out because it failed its trial.
    """
    from mcpwatch.cli.importing.found import Wish
    from mcpwatch.cli.importing.run import bring_in

    names = tuple(word.strip() for word in only.split(",") if word.strip())
    wish = Wish(config, names, replace_clients, not no_test, yes, dry_run, json_, timeout)
    raise typer.Exit(bring_in(files or (), wish))
