"""Templates to HTML: the one door to Jinja2, loaded with the first page. Everything is escaped; nothing is marked safe."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

TEMPLATES = Path(__file__).with_name("templates")


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["path"] = lambda text: quote(str(text), safe="")
    return made


async def loaded() -> None:
    """Return when Jinja2 and all templates are loaded: once, in a thread, because they hold a loop for a tenth of a second."""
    if not _environment.cache_info().currsize:
        await asyncio.to_thread(_load)


def _load() -> None:
    for name in _environment().list_templates():
        _environment().get_template(name)


def page(template: str, /, **context: Any) -> str:
    """One template as text."""
    text: str = _environment().get_template(template).render(**context)
    return text


def macro(name: str, part: str, *values: Any) -> str:
    """One macro of a template as text."""
    made: Any = getattr(_module(name), part)
    return str(made(*values))


@cache
def _module(name: str) -> Any:
    return _environment().get_template(name).module
