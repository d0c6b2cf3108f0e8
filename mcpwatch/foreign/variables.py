"""`${VAR}`, `${VAR:-default}` and `$$` in values, and `env_file`s. Pure: the environment and file texts come in as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mcpwatch.foreign.document import Path, Value
from mcpwatch.model.errors import suggest

_PLAIN = re.compile(r"\$(?:(?P<twice>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<bad>\{[^}]*\}?))")
_EDITOR = re.compile(
    r"\{(?:env:(?P<env>[A-Za-z_][A-Za-z0-9_]*)|input:(?P<input>[^{}$]+)|(?P<home>userHome)|(?P<place>[A-Za-z]+(?::[^{}$]*)?))\}"
)
_EDITOR_WHOLE = re.compile(r"\$" + _EDITOR.pattern)
_PLACES = frozenset({
    "workspaceFolder", "workspaceFolderBasename", "workspaceRoot", "fileWorkspaceFolder", "file", "fileDirname", "pathSeparator",
    "extensionPath", "execPath",
})  # fmt: skip
_NOT_NAME = re.compile(r"\W+", re.ASCII)
_SHELL = re.compile(_PLAIN.pattern[:-1] + r"|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")
_SECRET = re.compile(
    r"token|secret|passw|passphrase|credential|api_?key|private|authorization|cookie|(^|_)(key|pat|pwd|dsn|auth)($|_)",
    re.IGNORECASE,
)
_ENV_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"')
"""A text in double quotes. It gives nothing back, so that no state is kept for each of its characters."""

MIN_SECRET = 4
"""Characters below which a value is never taken for a secret by the name of its variable: hiding `1` would ruin every log line."""


def secret_name(name: str) -> bool:
    """Whether a variable or header of this name usually holds a secret."""
    return _SECRET.search(name.replace("-", "_")) is not None


@dataclass(slots=True)
class Expansion:
    """What filling in the variables gave: faults by path, secret values met, and which paths held a reference."""

    faults: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])
    secrets: set[str] = field(default_factory=set[str])
    references: dict[Path, str] = field(default_factory=dict[Path, str])


def expand(data: Value, variables: Mapping[str, str], into: Expansion, *, dollar: bool = False, foreign: bool = False) -> Value:
    """`data` with every variable filled in; keys are left alone. `dollar` also takes `$VAR`, as TBXark's proxy does.

    In a `foreign` file `$$` is two dollar signs, and what editors write (`${env:X}`, `${input:x}`, `${userHome}`) is understood.
    """
    pattern = _SHELL if dollar else _PLAIN

    def walk(value: Value, path: Path) -> Value:
        if isinstance(value, dict):
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "$" in value:
            return _fill(ported(value) if foreign else value, pattern, variables, path, into, foreign=foreign)
        return value

    return walk(data, ())


def ported(text: str) -> str:
    """`text` with editors' variables as ours: `${env:X}` is `${X}`, `${input:my-key}` `${MY_KEY}`, `${userHome}` `${HOME}`."""

    def one(match: re.Match[str]) -> str:
        if match["input"]:
            return f"${{{input_variable(match['input'])}}}"
        name = match["env"] or ("HOME" if match["home"] else "")
        return f"${{{name}}}" if name else match[0]

    return _EDITOR_WHOLE.sub(one, text)


def input_variable(name: str) -> str:
    """The variable that stands for what VS Code would ask a person for."""
    made = _NOT_NAME.sub("_", name).upper()
    return f"INPUT_{made}" if made[:1].isdigit() else made


def spelled(text: str, *, dollar: bool) -> str:
    """A text of a foreign file as our own format spells it: references as `${X}`, every other dollar sign doubled."""

    def one(match: re.Match[str]) -> str:
        bare = match["bare"] if dollar else None
        name = match["name"] or bare
        if name is None:
            return "$" + match[0] if match[0] != "$$" else "$$$$"
        return f"${{{name}:-{match['default']}}}" if match["default"] is not None else f"${{{name}}}"

    pattern, text = (_SHELL if dollar else _PLAIN), ported(text)
    pieces: list[str] = []
    at = 0
    for match in pattern.finditer(text):
        pieces += (text[at : match.start()].replace("$", "$$"), one(match))
        at = match.end()
    return "".join((*pieces, text[at:].replace("$", "$$")))


def editor_places(text: str) -> list[str]:
    """The references in a text that only an editor can fill in."""
    return [match[0] for match in _EDITOR_WHOLE.finditer(text) if match["place"] and _of_editor(match["place"])]


def _of_editor(name: str) -> bool:
    return name in _PLACES or ":" in name


def _not_portable(text: str) -> str:
    """Why `text`, a reference that names no variable, cannot be filled in; empty for what is no reference at all."""
    return f"${text} is known to an editor only; write the value itself" if _of_editor(text.strip("{}")) else ""


def _fill(text: str, pattern: re.Pattern[str], variables: Mapping[str, str], path: Path, into: Expansion, *, foreign: bool) -> str:
    def one(match: re.Match[str]) -> str:
        if match["twice"]:
            return "$$" if foreign else "$"
        if match["bad"] and foreign:
            why = _not_portable(match["bad"])
            into.faults += [(path, why)] if why else []
            return match[0]
        if match["bad"]:
            into.faults.append((path, f"${match['bad']} names no variable; write $$ for a plain dollar sign"))
            return ""
        name = match["name"] or match["bare"] if "bare" in pattern.groupindex else match["name"]
        value = variables.get(name)
        if foreign and value is None and (why := _not_portable(f"{{{name}}}")):
            into.faults.append((path, why))
            return ""
        if not value and match["default"] is not None:
            return str(match["default"])
        if value is None:
            near = suggest(name, variables) if len(variables) > 24 or any(_near(name, known) for known in variables) else ""
            into.faults.append(
                (path, f"variable {name} is not set{near}; set it, put it in env_file, or write ${{{name}:-default}}")
            )
            return ""
        if secret_name(name) and len(value) >= MIN_SECRET:
            into.secrets.add(value)
        return value

    if pattern.search(text):
        into.references[path] = text
    return pattern.sub(one, text)


def _near(name: str, known: str) -> bool:
    return name.lower() == known.lower()


def read_env(text: str) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """The variables of a `.env` file, and `(line, what is wrong)` for each line that is none.

    `NAME=value`, optional `export`, `#` comments, single quotes literal, double quotes with backslash escapes.
    """
    values: dict[str, str] = {}
    faults: list[tuple[int, str]] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _ENV_LINE.fullmatch(line)
        if not match:
            faults.append((number, "is not NAME=value"))
            continue
        value = _unquote(match[2])
        if value is None:
            faults.append((number, f"the quote of {match[1]} is never closed"))
            continue
        values[match[1]] = value
    return values, faults


def _unquote(text: str) -> str | None:
    if text.startswith("'"):
        end = text.find("'", 1)
        return text[1:end] if end > 0 else None
    if text.startswith('"'):
        match = _QUOTED.match(text)
        if not match:
            return None
        escapes = {"n": "\n", "t": "\t", "r": "\r"}
        return re.sub(r"\\(.)", lambda found: escapes.get(found[1], found[1]), match[1])
    at = text.find("#")
    while at > 0 and not text[at - 1].isspace():
        at = text.find("#", at + 1)
    return (text[:at] if at > 0 else text).strip()


Read = Callable[[str], str]
"""Text of the file at this path. Raises `OSError` or `UnicodeDecodeError`."""
