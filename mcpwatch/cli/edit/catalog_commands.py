"""The command `catalog`: its help and options."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mcpwatch.cli.options import JsonOption


class _WordOrCommand(TyperGroup):
    """`catalog git` searches for a word; `catalog show git` is a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Every word that is no command goes to `find`."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["find", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(help="Well-known servers, ready to be added.", rich_markup_mode=None, cls=_WordOrCommand)


@app.callback(
    invoke_without_command=True, epilog="Examples:  mcpwatch catalog    mcpwatch catalog database    mcpwatch catalog show postgres"
)
def catalog(ctx: typer.Context, json_: JsonOption = False) -> None:
    """List well-known servers; `mcpwatch catalog WORD` those that fit a word, `mcpwatch add NAME` adds one."""
    if ctx.invoked_subcommand is None:
        from mcpwatch.cli.edit.catalog import show_catalog

        raise typer.Exit(show_catalog(None, as_json=json_))


@app.command(hidden=True)
def find(word: str, json_: JsonOption = False) -> None:
    """List the servers that fit a word."""
    from mcpwatch.cli.edit.catalog import show_catalog

    raise typer.Exit(show_catalog(word, as_json=json_))


@app.command(epilog="Example:  mcpwatch catalog show filesystem")
def show(name: Annotated[str, typer.Argument(help="Its name in the catalogue.")], json_: JsonOption = False) -> None:
    """Show one server: what is run, what it needs and where to get that, and how it is added."""
    from mcpwatch.cli.edit.catalog import show_entry

    raise typer.Exit(show_entry(name, as_json=json_))
