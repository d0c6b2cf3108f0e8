"""Tables and colours for a terminal, by hand: the table library costs more to import than the whole status command."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CODES = {"green": "32", "yellow": "33", "red": "31", "grey": "90", "bold": "1", "cyan": "36"}


def coloured(stream: object = None) -> bool:
    """Whether to use colour: a terminal, no `NO_COLOR`, or `FORCE_COLOR`."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    target = stream or sys.stdout
    return bool(getattr(target, "isatty", lambda: False)()) and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, *, on: bool) -> str:
    """`text` in a colour, when colours are on."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if on and text else text


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    colour: bool,
    right: Sequence[int] = (),
    spare: Sequence[int] = (),
    width: int | None = None,
) -> list[str]:
    """Lines of a table, columns as wide as they must be, two blanks between; `right` are the columns set to the right.

    `spare` are the columns that are left out, first to last, while the table is wider than `width`; a line still too long is cut.
    """
    cells = [tuple(head), *(tuple(row) for row in rows)]
    widths = {column: max(visible(row[column]) for row in cells) for column in range(len(head))}
    for column in spare:
        if width is None or sum(widths.values()) + 2 * (len(widths) - 1) <= width:
            break
        del widths[column]
    lines: list[str] = []
    for index, row in enumerate(cells):
        parts = [_pad(row[column], wide, to_right=column in right) for column, wide in widths.items()]
        line = "  ".join(parts).rstrip()
        line = line if width is None else fit(line, width)
        lines.append(paint(line, "grey", on=colour) if index == 0 else line)
    return lines


def terminal_width() -> int | None:
    """Columns of the terminal that is written to; `None` where it is none, so that nothing is cut in a pipe."""
    return columns() if sys.stdout.isatty() else None


def columns() -> int:
    """What `shutil.get_terminal_size` answers, by hand: `COLUMNS`, else the terminal's own, else 80."""
    try:
        wide = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        wide = 0
    if wide > 0:
        return wide
    try:
        own = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1)
    except (OSError, ValueError):
        return 80
    return own.columns or 80


def visible(cell: str) -> int:
    """How many characters of it are seen: colours are not."""
    if "\x1b" not in cell:
        return len(cell)
    first, *parts = cell.split("\x1b[")
    seen = len(first)
    for part in parts:
        rest = part.lstrip("0123456789;")
        seen += len(rest) - 1 if rest.startswith("m") else len(part) + 2
    return seen


def _pad(cell: str, width: int, *, to_right: bool) -> str:
    blanks = " " * (width - visible(cell))
    return blanks + cell if to_right else cell + blanks


def fit(line: str, width: int) -> str:
    """`line` cut to `width` visible characters, colours kept whole."""
    if visible(line) <= width:
        return line
    import re  # not before it is needed: most lines fit

    kept, seen = "", 0
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b[") and visible(part) == 0:
            kept += part
            continue
        room = max(0, width - 1 - seen)
        kept += part[:room]
        seen += len(part[:room])
    return kept + "…" + ("\x1b[0m" if "\x1b" in line else "")


def size(number: float | None) -> str:
    """Bytes for people: `812K`, `44M`, `1.2G`; `-` for none."""
    if not number:
        return "-"
    for unit, factor in (("G", 2**30), ("M", 2**20), ("K", 2**10)):
        if number >= factor:
            value = number / factor
            return f"{value:.1f}{unit}" if value < 10 else f"{value:.0f}{unit}"
    return f"{number:.0f}B"


def milliseconds(seconds: float) -> str:
    """A latency for people: `0.4`, `12`, `1530` (milliseconds, without the unit)."""
    value = seconds * 1000
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
