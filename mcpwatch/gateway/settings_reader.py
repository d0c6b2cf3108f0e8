"""One parsed document of the gateway's own file, or of one that is written like TBXark's, as settings.

Owns the keys and their shapes; gathers every fault. Must not know files, dialects, transports or processes.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any, cast

from mcpwatch.foreign.server import servable
from mcpwatch.gateway.digests import sha256
from mcpwatch.gateway.settings import (
    DEFAULT_LISTEN,
    SESSIONS,
    ServerSettings,
    ServingLimits,
    Sessions,
    Settings,
    ToolRules,
    Transport,
)  # fmt: skip
from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.restart import Backoff, RestartPolicy

DIGESTS = "token_digests"
"""The key for tokens of which only the digest is told."""
_POLICY_WORDS = ("condition", "retry", "fatal_exit_codes")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REPLICA = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class SettingsReader:
    """Reads one document and gathers its faults."""

    def __init__(self, file: str | None) -> None:
        self._file = file
        self._native = True
        self._faults: list[Fault] = []

    def settings(self, document: dict[str, Any]) -> Settings:
        """The settings in a parsed document. Raises `ConfigError` with every fault found."""
        native = self._native = "servers" in document or "version" in document
        proxy = self._object(document, "mcpProxy", "mcpProxy")
        options = self._object(proxy, "options", "mcpProxy.options")
        key = "servers" if native else "mcpServers"
        if native and document.get("version", 1) != 1:
            self._fault("version", f"{document['version']!r} is not known; this gateway reads version 1")
        if key not in document:
            self._fault(key, "is missing; name at least one server")
        servers: list[ServerSettings] = []
        for name, body in self._object(document, key, key).items():
            server = self._server(f"{key}.{name}", name, body, options)
            if server is not None:
                servers.append(server)
        listen = document.get("listen") or address(proxy.get("addr")) or DEFAULT_LISTEN
        settings = Settings(
            listen=self._text(listen, "listen") or DEFAULT_LISTEN,
            base_url=self._text(document.get("base_url") or proxy.get("baseURL"), "base_url"),
            digests=self._digests(document.get("tokens"), document, "tokens"),
            allowed_hosts=self._texts(document.get("allowed_hosts"), "allowed_hosts"),
            allowed_origins=self._texts(document.get("allowed_origins"), "allowed_origins"),
            groups=self._groups(document, {server.name for server in servers}),
            limits=ServingLimits(**self._numbers(document, "limits", "limits", ServingLimits)),
            replicas=self._replicas(document.get("replicas")) if native else (),
            servers=tuple(servers),
            process=self._text(document.get("process"), "process") or "",
        )
        if self._faults:
            raise ConfigError(*self._faults)
        return settings

    def _server(self, path: str, name: str, body: object, inherited: dict[str, Any]) -> ServerSettings | None:
        if not servable(name):
            self._fault(path, "is no usable route name; use letters, digits, '.', '_' and '-', and none of the gateway's own paths")
            return None
        if not isinstance(body, dict):
            self._fault(path, "must be an object with 'command' or 'url'")
            return None
        spec = cast("dict[str, Any]", body)
        options = self._object(spec, "options", f"{path}.options")
        if options.get("disabled") or spec.get("disabled") or spec.get("enabled") is False:
            return None
        command, url = self._text(spec.get("command"), f"{path}.command"), self._text(spec.get("url"), f"{path}.url")
        if (command is None) == (url is None):
            self._fault(path, "needs either 'command' or 'url'")
            return None
        tokens = spec.get("tokens") or options.get("authTokens") or (None if DIGESTS in spec else inherited.get("authTokens"))
        sessions = spec.get("sessions", "auto")
        if sessions not in SESSIONS:
            self._fault(f"{path}.sessions", f"{sessions!r} is not one of auto, shared, isolated")
        return ServerSettings(
            name=name,
            command=command,
            args=self._texts(spec.get("args"), f"{path}.args"),
            env=self._pairs(spec.get("env"), f"{path}.env"),
            env_files=self._texts(spec.get("env_files"), f"{path}.env_files"),
            env_own=self._texts(spec.get("env_own"), f"{path}.env_own"),
            cwd=self._text(spec.get("cwd"), f"{path}.cwd"),
            url=url,
            transport=self._transport(spec, path),
            headers=self._pairs(spec.get("headers"), f"{path}.headers"),
            ca_file=self._text(spec.get("ca_file"), f"{path}.ca_file"),
            insecure=self._flag(spec, "insecure", path),
            cert_file=self._text(spec.get("cert_file"), f"{path}.cert_file"),
            key_file=self._text(spec.get("key_file"), f"{path}.key_file"),
            sessions=cast("Sessions", sessions),
            digests=self._digests(tokens, spec, f"{path}.tokens"),
            tools=self._tools(spec, options, path),
            restart=self._restart(spec if self._native else {}, f"{path}.restart"),
            start_grace=self._seconds(spec.get("start_grace", 0.0) if self._native else 0.0, f"{path}.start_grace"),
        )

    def _transport(self, spec: dict[str, Any], path: str) -> Transport:
        written = spec.get("transport") or spec.get("transportType") or spec.get("type") or "auto"
        known: dict[str, Transport] = {
            "auto": "auto", "stdio": "auto", "sse": "sse", "http": "http", "streamable-http": "http", "streamable_http": "http",
            "streamableHttp": "http", "stateless": "stateless",
        }  # fmt: skip
        if not isinstance(written, str) or written not in known:
            self._fault(f"{path}.transport", f"{written!r} is not one of auto, sse, http, stateless")
            return "auto"
        return known[written]

    def _tools(self, spec: dict[str, Any], options: dict[str, Any], path: str) -> ToolRules:
        rules = (
            self._object(spec, "tools", f"{path}.tools") if not isinstance(spec.get("tools"), list) else {"allow": spec["tools"]}
        )
        foreign = self._object(options, "toolFilter", f"{path}.options.toolFilter")
        listed = self._texts(foreign.get("list"), f"{path}.options.toolFilter.list")
        mode = foreign.get("mode", "allow")
        return ToolRules(
            allow=self._texts(rules.get("allow"), f"{path}.tools.allow") or (listed if mode == "allow" else ()),
            block=self._texts(rules.get("block"), f"{path}.tools.block") or (listed if mode == "block" else ()),
            rename=self._pairs(rules.get("rename"), f"{path}.tools.rename"),
        )

    def _groups(self, document: dict[str, Any], names: set[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        found: list[tuple[str, tuple[str, ...]]] = []
        for group, members in self._object(document, "groups", "groups").items():
            listed = self._texts(members, f"groups.{group}")
            if not servable(group) or group in names:
                self._fault(f"groups.{group}", "is no usable route name, or is the name of a server")
            for unknown in sorted(set(listed) - names):
                self._fault(f"groups.{group}", f"names {unknown!r}, which is no server of this file")
            found.append((group, listed))
        return tuple(found)

    def _replicas(self, written: object) -> tuple[tuple[str, str], ...]:
        pairs = self._pairs(written, "replicas")
        for name, url in pairs:
            if not _REPLICA.fullmatch(name):
                self._fault(f"replicas.{name}", "is no usable name; use small letters, digits and '-'")
            if not url.startswith(("http://", "https://")):
                self._fault(f"replicas.{name}", f"{url!r} is no URL; write http://HOST:PORT")
        return pairs

    def _numbers(self, holder: dict[str, Any], key: str, path: str, shape: type[ServingLimits]) -> dict[str, Any]:
        """An object of numbers, each named as a field of `shape`."""
        return self._checked_numbers(self._object(holder, key, path), path, tuple(shape.__dataclass_fields__), ())

    def _restart(self, holder: dict[str, Any], path: str) -> RestartPolicy:
        """The policy of a server; what is left out, as in a file of an older version, has its default."""
        written = self._object(holder, "restart", path)
        plain = RestartPolicy()
        numbers = self._checked_numbers(written, path, ("first", "max", "jitter", "period", "intensity"), _POLICY_WORDS)
        condition = written.get("condition", plain.condition)
        if condition not in {"always", "on-failure", "never"}:
            self._fault(f"{path}.condition", f"{condition!r} is not one of always, on-failure, never")
            condition = plain.condition
        retry = written.get("retry", plain.retry)
        if retry is not None and (not isinstance(retry, (int, float)) or isinstance(retry, bool) or not 0 < retry < math.inf):
            self._fault(f"{path}.retry", "must be a number of seconds above 0, or null")
            retry = plain.retry
        codes: Any = written.get("fatal_exit_codes", plain.fatal_exit_codes)
        if not isinstance(codes, (list, tuple)) or not all(type(code) is int for code in cast("list[object]", codes)):
            self._fault(f"{path}.fatal_exit_codes", "must be a list of whole numbers")
            codes = plain.fatal_exit_codes
        backoff = Backoff(**{key: value for key, value in numbers.items() if key in {"first", "max", "jitter"}})
        return RestartPolicy(
            condition=condition,
            intensity=int(numbers.get("intensity", plain.intensity)),
            period=numbers.get("period", plain.period),
            backoff=backoff,
            retry=retry,
            fatal_exit_codes=tuple(cast("list[int]", codes)),
        )

    def _seconds(self, value: object, path: str) -> float:
        """A number of seconds of at least 0."""
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
            return float(value)
        self._fault(path, "must be a number of seconds of at least 0")
        return 0.0

    def _checked_numbers(
        self, written: dict[str, Any], path: str, known: tuple[str, ...], other: tuple[str, ...]
    ) -> dict[str, Any]:
        """The members of an object that are numbers. `other` are keys that somebody else reads."""
        values: dict[str, Any] = {}
        for name, value in written.items():
            if name in other:
                continue
            if name not in known:
                self._fault(f"{path}.{name}", f"unknown key; known are {', '.join((*known, *other))}")
            elif not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= sys.float_info.max:
                self._fault(f"{path}.{name}", "must be a finite number of at least 0")
            else:
                values[name] = value
        return values

    # --- shapes ---

    def _fault(self, path: str, message: str) -> None:
        self._faults.append(Fault(path, message, self._file))

    def _object(self, holder: dict[str, Any], key: str, path: str) -> dict[str, Any]:
        value = holder.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._fault(path, "must be an object")
            return {}
        return cast("dict[str, Any]", value)

    def _text(self, value: object, path: str) -> str | None:
        if value is None or isinstance(value, str):
            return value
        self._fault(path, "must be a string")
        return None

    def _flag(self, holder: dict[str, Any], key: str, path: str) -> bool:
        value = holder.get(key, False)
        if isinstance(value, bool):
            return value
        self._fault(f"{path}.{key}", "must be true or false")
        return False

    def _texts(self, value: object, path: str) -> tuple[str, ...]:
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(item, str) for item in cast("list[object]", value)):
            return tuple(cast("list[str]", value))
        self._fault(path, "must be a list of strings")
        return ()

    def _digests(self, clear: object, holder: dict[str, Any], path: str) -> tuple[str, ...]:
        """What opens it: digests as they are written, and those of tokens that are written in clear."""
        given = self._texts(holder.get(DIGESTS), f"{path.removesuffix('tokens')}{DIGESTS}")
        if any(not _DIGEST.fullmatch(digest) for digest in given):
            self._fault(f"{path.removesuffix('tokens')}{DIGESTS}", "must be SHA-256 digests: 64 hex digits each")
        return (*given, *(digest(token) for token in self._texts(clear, path)))

    def _pairs(self, value: object, path: str) -> tuple[tuple[str, str], ...]:
        if value is None:
            return ()
        if isinstance(value, dict):
            pairs = cast("dict[str, object]", value)
            if all(isinstance(item, (str, int, float)) for item in pairs.values()):
                return tuple((key, str(item)) for key, item in pairs.items())
        self._fault(path, "must be an object of strings")
        return ()


def digest(token: str) -> str:
    """What is kept of a token."""
    return sha256(token.encode()).hex()


def address(value: object) -> str | None:
    """Where to listen: TBXark writes `:9090`; an empty host means every interface there."""
    return f"0.0.0.0{value}" if isinstance(value, str) and value.startswith(":") else cast("str | None", value)  # noqa: S104
