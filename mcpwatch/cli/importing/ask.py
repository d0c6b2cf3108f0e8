"""The wizard of `import` on a terminal: which servers, and whether clients' own entries become routes. Asks, changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import typer

from mcpwatch.cli.importing.found import FoundServer, Wish
from mcpwatch.cli.out import say
from mcpwatch.model.errors import UsageError, suggest

TRIES = 5
"""Answers that cannot be understood, after which nothing is done."""


def ask(wish: Wish, found: Sequence[FoundServer], clients_of: Callable[[Sequence[FoundServer]], Sequence[str]]) -> Wish:
    """The wish as answered. What options said already is not asked. Raises `UsageError` when nothing is wanted.

    `clients_of`: the clients in whose files some servers are. Only those of the chosen servers are asked about.
    """
    known = [one.name for one in found if not one.trouble]
    if not wish.only and len(known) > 1:
        wish = replace(wish, only=_which(known))
    clients = clients_of([one for one in found if wish.takes(one)])
    if clients and not wish.replace_clients:
        question = f"Replace the entries of {', '.join(clients)} by the routes? ('mcpwatch clients undo' takes it back)"
        wish = replace(wish, replace_clients=typer.confirm(question, default=False))
    return wish


def _which(known: Sequence[str]) -> tuple[str, ...]:
    """The names that are wanted; none of them stands for all."""
    for _ in range(TRIES):
        answer = str(typer.prompt("Which of them? Names separated by commas, all, or none", default="all")).strip()
        if answer == "none":
            break
        names = tuple(word.strip() for word in answer.split(",") if word.strip())
        if names == ("all",):
            return ()
        unknown = next((name for name in names if name not in known), None)
        if names and unknown is None:
            return names
        say(f"no server '{unknown}' was found that can be brought in{suggest(unknown or '', known)}")
    raise UsageError("nothing was changed")


def agree(question: str) -> None:
    """Raises `UsageError` unless the answer is yes."""
    if not typer.confirm(question, default=False):
        raise UsageError("nothing was changed")
