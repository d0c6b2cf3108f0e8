"""`${VAR}`, `${VAR:-default}` and `$$` in values, and `env_file`s. Pure: the environment and file texts come in as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mcpwatch.config.document import Path, Value
from mcpwatch.model.naming import suggest

_PLAIN = re.compile(r"\$(?:(?P<twice>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<bad>\{[^}]*\}?))")
_SHELL = re.compile(_PLAIN.pattern[:-1] + r"|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")
_SECRET = re.compile(
    r"token|secret|passw|passphrase|credential|api_?key|private|authorization|cookie|(^|_)(key|pat|pwd|dsn|auth)($|_)",
    re.IGNORECASE,
)
_ENV_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)")

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


def expand(data: Value, variables: Mapping[str, str], into: Expansion, *, dollar: bool = False) -> Value:
    """`data` with every variable filled in; keys are left alone. `dollar` also takes `$VAR`, as TBXark's proxy does."""
    pattern = _SHELL if dollar else _PLAIN

    def walk(value: Value, path: Path) -> Value:
        if isinstance(value, dict):
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "$" in value:
            return _fill(value, pattern, variables, path, into)
        return value

    return walk(data, ())


def _fill(text: str, pattern: re.Pattern[str], variables: Mapping[str, str], path: Path, into: Expansion) -> str:
    def one(match: re.Match[str]) -> str:
        if match["twice"]:
            return "$"
        if match["bad"]:
            into.faults.append((path, f"${match['bad']} names no variable; write $$ for a plain dollar sign"))
            return ""
        name = match["name"] or match["bare"] if "bare" in pattern.groupindex else match["name"]
        value = variables.get(name)
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
        match = re.match(r'"((?:[^"\\]|\\.)*)"', text)
        if not match:
            return None
        escapes = {"n": "\n", "t": "\t", "r": "\r"}
        return re.sub(r"\\(.)", lambda found: escapes.get(found[1], found[1]), match[1])
    return re.split(r"\s+#", text, maxsplit=1)[0].strip()


Read = Callable[[str], str]
"""Text of the file at this path. Raises `OSError` or `UnicodeDecodeError`."""
