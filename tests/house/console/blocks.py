"""The console blocks of the documentation: their commands in order, and what is shown to come out of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])

_BLOCK = re.compile(r"^```(console|sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d[\d:.T-]*[a-zA-Z%]*")


@dataclass(frozen=True, slots=True)
class Step:
    """One command as it is written, without the remark behind it, and the lines of output shown under it."""

    command: str
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """One block: `page` from the root of the repository, `number` counted on that page from 1."""

    page: str
    number: int
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """For people: where it is and how it begins."""
        return f"{self.page}[{self.number}] {self.steps[0].command}"


def blocks() -> tuple[Block, ...]:
    """Every block of every page. The examples of `--help` are those of the page of the command line, which is made from them."""
    return tuple(block for page in PAGES for block in of_page(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8")))


def of_page(page: str, text: str) -> Iterator[Block]:
    """The blocks of one page that hold a command."""
    for number, (kind, body) in enumerate(_BLOCK.findall(text), 1):
        steps = tuple(_steps(body, bare=kind != "console"))
        if steps:
            yield Block(page, number, steps)


def _steps(body: str, *, bare: bool) -> Iterator[Step]:
    """The commands of a block: after `$ `, or every line of a `bare` block of shell."""
    command, shown = "", list[str]()
    for line in [*body.splitlines(), "$ "]:
        if line.startswith("$ ") or bare:
            if command:
                yield Step(command, tuple(one for one in shown if one.strip()))
            text = line.removeprefix("$ ")
            command, shown = ("" if text.startswith("#") else re.split(r"\s{2,}#", text)[0].strip()), []
        else:
            shown.append(line)


def shape(line: str) -> str:
    """A line with every number, time and size the same, and single spaces: what does not change from run to run."""
    return " ".join(_NUMBER.sub("#", line).split())


def missing(shown: tuple[str, ...], said: str) -> list[str]:
    """The lines that are shown and of whose shape none was said; `…` stands for lines that are left out."""
    there = {"…", *(shape(line) for line in said.splitlines())}
    return [line for line in shown if shape(line) not in there]
