"""Many fleets, one view: the watchdogs that `contexts.yaml` names, asked side by side. It only reads.

Owns: that file, and what is shown of a watchdog that does not answer: `unknown`, never healthy and never down.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mcpwatch.cli import exits
from mcpwatch.cli.control import ask
from mcpwatch.cli.out import say_answer
from mcpwatch.cli.status import render
from mcpwatch.cli.table import coloured, paint, table, terminal_width
from mcpwatch.config import yaml
from mcpwatch.config.validate import ConfigFindings, validate
from mcpwatch.model.errors import ConfigError, McpwatchError, UsageError
from mcpwatch.web.words import fleet_state

WAIT = 10.0
"""Seconds in which a watchdog must answer."""
MOST_AT_ONCE = 16


class ContextSpec(BaseModel):
    """One watchdog: by the address of its page, or by the state directory on this machine (the default)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(default="", description="Address of its page, e.g. `https://fleet.lan:9465`.")
    token_env: str = Field(default="", description="Environment variable that holds a read token for it.")
    token_file: Path | None = Field(default=None, description="File that holds a read token for it.")
    state_dir: Path | None = Field(default=None, description="Its state directory, on this machine.")

    @model_validator(mode="after")
    def _one_place(self) -> ContextSpec:
        if self.url and self.state_dir:
            raise ValueError("write url or state_dir, not both")
        if (self.token_env or self.token_file) and not self.url:
            raise ValueError("a token goes with url")
        if self.token_env and self.token_file:
            raise ValueError("write token_env or token_file, not both")
        return self


class ContextsFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    contexts: dict[str, ContextSpec]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a watchdog said: its status, or why that is not known."""

    name: str
    status: Mapping[str, Any] | None = None
    unknown: str = ""


def contexts_file() -> Path:
    """Where the contexts are: `MCPWATCH_CONTEXTS`, else beside the user's configuration."""
    if named := os.environ.get("MCPWATCH_CONTEXTS"):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mcpwatch" / "contexts.yaml"


def load_contexts(path: Path) -> dict[str, ContextSpec]:
    """The contexts by name. Raises `UsageError` without a file, `ConfigError` for a bad one."""
    try:
        document = yaml.read(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UsageError(f"no contexts: {path} does not exist; write 'contexts: {{NAME: {{url: http://host:9465}}}}'") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    findings = ConfigFindings()
    made = validate(ContextsFile, document.data, (), findings, _no_secret_file)
    faults = [*document.faults, *(document.fault(where, message) for where, message in findings.faults)]
    if made is None or faults:
        raise ConfigError(*faults)
    return made.contexts


def _no_secret_file(name: str) -> str:
    """No key of this format names a secret's file in place of the secret: `token_file` is a key of its own."""
    raise FileNotFoundError(name)


def ask_all(contexts: Mapping[str, ContextSpec], wait: float = WAIT) -> tuple[Answer, ...]:
    """The answers of all, in the order of the file."""
    with ThreadPoolExecutor(max_workers=min(MOST_AT_ONCE, max(1, len(contexts)))) as pool:
        return tuple(pool.map(_ask, contexts.keys(), contexts.values(), [wait] * len(contexts)))


def show_all(*, as_json: bool) -> int:
    """Print every fleet: a table of all, then each that is not well. Exits 0 when all are known and healthy, else 1."""
    contexts = load_contexts(contexts_file())
    if not contexts:
        raise UsageError(f"{contexts_file()} names no context")
    answers = ask_all(contexts)
    well = all(one.status is not None and one.status.get("healthy") for one in answers)
    shown = [{"name": one.name, "unknown": one.unknown, "status": one.status} for one in answers]
    say_answer({"healthy": well, "contexts": shown}, _lines(answers), as_json=as_json)
    return exits.OK if well else exits.UNHEALTHY


def _lines(answers: Sequence[Answer]) -> Iterator[str]:
    colour, width, now = coloured(), terminal_width(), time.time()
    head = ("CONTEXT", "STATE", "MEMBERS", "ROUTES", "VERSION")
    yield from table(head, [_row(one, colour=colour) for one in answers], colour=colour, width=width)
    for one in answers:
        if one.unknown:
            yield f"\n{one.name}: unknown: {one.unknown}"
        elif one.status is not None and not one.status.get("healthy"):
            yield f"\n{one.name}:"
            yield from render(dict(one.status), colour=colour, now=now, width=width)


def _row(answer: Answer, *, colour: bool) -> tuple[str, ...]:
    status = answer.status
    if status is None:
        return (answer.name, paint("unknown", "grey", on=colour), "-", "-", "-")
    up = sum(1 for member in status["members"] if member["phase"] == "running")
    well = sum(1 for route in status["routes"] if route["verdict"] == "healthy")
    word = fleet_state(dict(status))
    shade = {"healthy": "green", "unhealthy": "red", "starting": "yellow", "degraded": "yellow"}.get(word, "grey")
    members, routes = f"{up}/{len(status['members'])} up", f"{well}/{len(status['routes'])} healthy"
    return (answer.name, paint(word, shade, on=colour), members, routes, str(status["daemon"]["version"]))


def _ask(name: str, spec: ContextSpec, wait: float) -> Answer:
    """The status of one watchdog. Whatever keeps it from being known is said, and harms no other."""
    try:
        place = spec.state_dir.expanduser() if spec.state_dir else None
        found = ask("/status", timeout=wait, url=spec.url, token=_token(spec), state_dir=place)
        answer = Answer(name, status=found)
        _row(answer, colour=False)
        render(dict(found), colour=False, now=time.time(), width=None)  # what cannot be shown is no status
        return answer
    except McpwatchError as error:
        return Answer(name, unknown=str(error))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Answer(name, unknown=f"no answer that can be read: {type(error).__name__}")


def _token(spec: ContextSpec) -> str:
    """Its token. Raises `UsageError` where it cannot be had."""
    if spec.token_env:
        found = os.environ.get(spec.token_env)
        if not found:
            raise UsageError(f"the environment variable {spec.token_env} is not set")
        return found
    if spec.token_file is not None:
        try:
            return spec.token_file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the token file {spec.token_file} cannot be read: {error}") from None
    return ""
