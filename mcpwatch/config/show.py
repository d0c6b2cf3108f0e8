"""The effective configuration: every default filled in, every secret masked, as YAML of our own format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, SecretStr

from mcpwatch.config import yaml
from mcpwatch.config.load import load
from mcpwatch.config.merge import effective_restart
from mcpwatch.config.parse import Config, WrittenMember
from mcpwatch.config.plan import build
from mcpwatch.foreign.document import with_texts
from mcpwatch.model.errors import ConfigError
from mcpwatch.model.spec import CheckSpec, Plan
from mcpwatch.registry import Kinds

MASK = "********"


def show(path: Path, kinds: Kinds, environ: Mapping[str, str], state_dir: Path) -> str:
    """The effective configuration of a file. Raises `ConfigError` with every fault."""
    loaded = load(path, kinds, environ)
    if loaded.faults:
        raise ConfigError(*loaded.faults)
    plan = build(loaded.config, kinds, state_dir=state_dir, world=loaded.world)
    return yaml.dump(_masked(_plain(_file(loaded.config, plan)), plan.secrets))


def _masked(value: Any, secrets: tuple[str, ...]) -> Any:
    def masked(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, MASK)
        return text

    return with_texts(value, masked)


def _file(config: Config, plan: Plan) -> dict[str, Any]:
    made: dict[str, Any] = {"version": config.file.version}
    if config.proxy is not None and plan.proxy is not None:
        written = {**_plain(config.proxy.written), **_plain(config.proxy.options), **_blocks(config.proxy.blocks)}
        spec = plan.member(plan.proxy.member)
        checks = _checks(spec.checks if spec else ())
        made["proxy"] = {**written, "base_url": plan.proxy.base_url, **_policy(config, config.proxy.written), "checks": checks}
    else:
        made["proxy"] = {"kind": "none"}
    made["members"] = {member.name: _member(member, config, plan) for member in config.members}
    made["defaults"] = _plain(config.file.defaults)
    for room, spec in config.sections:
        keys = set(type(spec).model_fields)
        made[room] = _plain(dict(spec).get(room if keys == {room} else "root")) if keys in ({room}, {"root"}) else _plain(spec)
    return made


def _member(member: WrittenMember, config: Config, plan: Plan) -> dict[str, Any]:
    spec = plan.member(member.name)
    route = next((route for route in plan.routes if route.member == member.name), None)
    written = member.written
    body = {**_plain(written), **_blocks(member.blocks), "route": route.name if route else False}
    body |= _policy(config, written)
    if not written.url:
        body.pop("transport", None)
    body["checks"] = _checks((*(spec.checks if spec else ()), *(route.checks if route else ())))
    return {key: value for key, value in body.items() if value not in ({}, [], "", None) and (key, value) != ("insecure", False)}


def _policy(config: Config, written: Any) -> dict[str, Any]:
    """The policies as they are in force."""
    defaults = config.file.defaults
    return {
        "start_grace": defaults.start_grace if written.start_grace is None else written.start_grace,
        "stop_grace": defaults.stop_grace if written.stop_grace is None else written.stop_grace,
        "restart": effective_restart(defaults.restart, written.restart).model_dump(exclude_none=True),
    }


def _checks(specs: tuple[CheckSpec, ...]) -> dict[str, Any]:
    made: dict[str, dict[str, Any]] = {}
    for spec in specs:
        if spec.name in made:
            made[spec.name]["vantages"] += list(spec.vantages)
            continue
        body: dict[str, Any] = {"kind": spec.kind, "vantages": list(spec.vantages)}
        body |= {"cron": spec.cron} if spec.cron else {"interval": spec.interval}
        body |= {name: getattr(spec, name) for name in ("timeout", "failure_threshold", "success_threshold", "contract")}
        expect = {item.name: getattr(spec.expect, item.name) for item in fields(spec.expect)}
        if expect["json_schema"] is not None:
            expect["json_schema"] = json.loads(spec.expect.json_schema or "{}")
        body |= (
            {"expect": asserted}
            if (asserted := {key: value for key, value in expect.items() if value is not None and value != ()})
            else {}
        )
        body |= {"tool": spec.canary.tool, "arguments": json.loads(spec.canary.arguments)} if spec.canary else {}
        body |= spec.options.model_dump(exclude_defaults=True) if isinstance(spec.options, BaseModel) else {}
        body |= {"safe_call": True} if spec.safe_call and spec.kind == "mcp" else {}
        made[spec.name] = body
    return made


def _blocks(blocks: tuple[tuple[str, BaseModel], ...]) -> dict[str, Any]:
    return {name: _plain(block) for name, block in blocks}


def _plain(value: object) -> Any:
    """A spec as plain values: secrets masked, what says nothing left out."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, BaseModel):
        pairs = {info.alias or name: getattr(value, name) for name, info in type(value).model_fields.items()}
        return {key: _plain(item) for key, item in pairs.items() if _says(item)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _says(value: object) -> bool:
    if isinstance(value, SecretStr):
        return bool(value.get_secret_value())
    return value is not None and value not in ("", (), {}) and not (isinstance(value, BaseModel) and not value.model_fields_set)
