"""Defaults under what is written: one policy out of two. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from mcpwatch.config.models import CheckConfig, CheckDefaults, RestartConfig
from mcpwatch.model.probe import Canary, Expect
from mcpwatch.model.restart import Backoff, RestartPolicy
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.text import canonical


def effective_restart(defaults: RestartConfig, written: RestartConfig | None) -> RestartConfig:
    """`written` over `defaults`, key by key, also inside `backoff`."""
    if written is None:
        return defaults
    under, over = defaults.model_dump(exclude_unset=True), written.model_dump(exclude_unset=True)
    return RestartConfig.model_validate(_over(under, over))


def _over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**under, **over}
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            merged[key] = _over(cast("dict[str, Any]", under[key]), cast("dict[str, Any]", value))
    return merged


def restart_policy(written: RestartConfig) -> RestartPolicy:
    """The policy as the watchdog reads it."""
    backoff = Backoff(written.backoff.first, written.backoff.max, written.backoff.jitter)
    return RestartPolicy(
        written.condition, written.intensity, written.period, backoff, written.retry, written.fatal_exit_codes, written.max_memory
    )


def check_spec(name: str, written: CheckConfig, options: object, defaults: CheckDefaults) -> CheckSpec:
    """The check as the prober reads it; `options` is what its kind made of the keys of its own."""
    expect = written.expect.model_dump()
    if expect["json_schema"] is not None:
        expect["json_schema"] = canonical(expect["json_schema"])
    return CheckSpec(
        name=name,
        kind=written.kind,
        vantages=written.vantages,
        interval=None if written.cron else (written.interval or defaults.interval),
        cron=written.cron,
        timeout=written.timeout or defaults.timeout,
        failure_threshold=written.failure_threshold or defaults.failure_threshold,
        success_threshold=written.success_threshold or defaults.success_threshold,
        expect=Expect(**expect),
        canary=Canary(written.tool, canonical(written.arguments)) if written.tool else None,
        contract=written.contract or defaults.contract,
        options=options,
    )
