"""Commands that fetch a package and run it: `uvx`, `uv tool run`, `npx`. Pure: words in, what they mean out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_UVX_VALUES = frozenset({
    "--from", "--with", "-w", "--with-editable", "--with-requirements", "--python", "-p", "--index", "--default-index",
    "--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--constraints", "-c", "--overrides", "--env-file",
    "--cache-dir", "--directory", "--project", "--config-file", "--refresh-package", "--reinstall-package", "--upgrade-package",
    "-P", "--exclude-newer", "--color", "--prerelease", "--resolution", "--link-mode", "--python-platform",
    "--allow-insecure-host", "--index-strategy",
})  # fmt: skip
_NPX_VALUES = frozenset({"--package", "-p", "--registry", "--cache", "--prefix", "--userconfig", "--workspace", "-w"})
_AFTER_NAME = re.compile(r"(?<=.)@[^@/]+$")
_VERSIONED = re.compile(r"==[\w.]|(?<=.)@v?\d[\w.+-]*$")


@dataclass(frozen=True, slots=True)
class PackageLaunch:
    """A package that a launcher fetches: `package` as written, with its version; `command` is what is run of it, with `args`.

    `more`: packages installed beside it (`--with`). `python`: the interpreter asked for.
    """

    launcher: Literal["uvx", "npx"]
    package: str
    command: str
    args: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    python: str = ""

    @property
    def pinned(self) -> bool:
        """Whether the package has a version, or is no package of a registry."""
        return bool(_VERSIONED.search(self.package)) or "://" in self.package or self.package.startswith((".", "/"))


def launched(words: Sequence[str]) -> PackageLaunch | None:
    """What a command line fetches and runs, or `None` when it is no launcher (or names no package)."""
    program, rest = words[0].rpartition("/")[2] if words else "", list(words[1:])
    if program == "uv" and rest[:2] == ["tool", "run"]:
        program, rest = "uvx", rest[2:]
    if program == "uvx":
        options, left = _options(rest, _UVX_VALUES)
        source = _last(options, "--from")
        if not (left or source):
            return None
        command = re.split(r"[=@<>\[~! ]", left[0])[0] if left else source
        more = tuple(value for name, value in options if name in ("--with", "-w"))
        return PackageLaunch("uvx", source or left[0], command, tuple(left[1:]), more, _last(options, "--python", "-p"))
    if program in ("npx", "pnpx"):
        options, left = _options(rest, _NPX_VALUES)
        source = _last(options, "--package", "-p")
        if not (left or source):
            return None
        command = _AFTER_NAME.sub("", left[0]) if left else _AFTER_NAME.sub("", source)
        return PackageLaunch("npx", source or left[0], command, tuple(left[1:]))
    return None


def _options(words: Sequence[str], with_value: frozenset[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The options before the first word that is none, and the rest."""
    options: list[tuple[str, str]] = []
    index = 0
    while index < len(words) and words[index].startswith("-") and words[index] != "--":
        name, equals, value = words[index].partition("=")
        if not equals and name in with_value and index + 1 < len(words):
            index, value = index + 1, words[index + 1]
        options.append((name, value))
        index += 1
    return options, list(words[index + (words[index : index + 1] == ["--"]) :])


def _last(options: Sequence[tuple[str, str]], *names: str) -> str:
    return next((value for name, value in reversed(options) if name in names), "")
