"""Kinds for config's tests: shaped like the real ones, so that this room is tested without the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field, SecretStr

from mcpwatch.model.spec import ProxySpec
from mcpwatch.proxies.gateway import KIND as GATEWAY
from mcpwatch.proxies.gateway import Gateway
from mcpwatch.registry import Kind, Kinds, KindSpec
from mcpwatch.units import Duration, Listen


class ProcessSpec(KindSpec):
    command: str = Field(min_length=1)
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field({})
    env_file: tuple[str, ...] = ()
    cwd: str | None = None


class HostedSpec(KindSpec):
    pass


class ExternalSpec(KindSpec):
    pass


class DockerSpec(KindSpec):
    image: str
    command: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    memory: str | None = None
    ports: tuple[str, ...] = ()
    env: dict[str, str] = Field({})
    registry_password: SecretStr | None = None


class NoOptions(KindSpec):
    pass


class HttpSpec(KindSpec):
    path: str = "/"
    status: tuple[int, ...] = (200,)


class ExternalProxySpec(KindSpec):
    pass


class MetricsSpec(KindSpec):
    listen: Listen = "127.0.0.1:9464"


class LokiSpec(KindSpec):
    url: str
    token: SecretStr | None = None
    batch: Duration = 1.0


class TelemetrySpec(KindSpec):
    metrics: MetricsSpec = MetricsSpec()
    loki: LokiSpec | None = None


class WebSpec(KindSpec):
    listen: Listen = "127.0.0.1:9465"


class External(Gateway):
    """A proxy that others run: the gateway's routes, nothing rendered."""

    name = "external"
    traits = replace(Gateway.traits, runs=False, embedded=False)

    def root(self, proxy: ProxySpec) -> str:
        """As clients do."""
        return proxy.base_url


def _kind(name: str, spec: type[KindSpec]) -> Kind[Any]:
    return Kind(name, spec, lambda *_: None)


def _check(name: str, spec: type[KindSpec]) -> Kind[Any]:
    return Kind(name, spec, _options)


def _options(spec: KindSpec) -> tuple[tuple[str, str], ...]:
    return tuple((key, str(value)) for key, value in spec.model_dump(exclude_defaults=True).items())


KINDS = Kinds(
    checks=(_check("mcp", NoOptions), _check("refusal", NoOptions), _check("http", HttpSpec), _check("tcp", NoOptions)),
    runtimes=(
        _kind("process", ProcessSpec),
        _kind("hosted", HostedSpec),
        _kind("external", ExternalSpec),
        _kind("docker", DockerSpec),
    ),
    proxies=(GATEWAY, Kind("external", ExternalProxySpec, External)),
    sections=(("telemetry", TelemetrySpec), ("web", WebSpec)),
)
