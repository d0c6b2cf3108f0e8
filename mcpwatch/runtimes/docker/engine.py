"""One Docker engine: every call that mcpwatch makes of it, each bounded, each failure named. Blocking; called from threads only.

This is the door to the `docker` SDK. Owns: how an engine is found and reached, what its refusals mean in plain words.
Must not know: members' lives, generations, the event loop.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

import docker
from docker.context import ContextAPI
from docker.errors import APIError, BuildError, DockerException, NotFound
from docker.types.daemon import CancellableStream
from docker.utils import kwargs_from_env
from urllib3.exceptions import HTTPError

from mcpwatch.foreign.programs import program
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.docker.container import Container, nanoseconds, read_container
from mcpwatch.runtimes.docker.options import LABEL_INSTANCE, CreateOptions
from mcpwatch.runtimes.docker.refusal import EngineAway, away, line, refused, socket_group
from mcpwatch.runtimes.docker.spec import BuildSpec
from mcpwatch.runtimes.docker.ssh import Dialled

Tell = Callable[[str], None]
"""Takes one line about what is being done, from any thread."""
CALL_SECONDS = 30
"""Longest answer to an ordinary call."""
PULL_SECONDS = 600
"""Longest pull or build."""
OLDEST = program("docker")
BROKEN = (OSError, HTTPException, HTTPError)
"""What a connection that breaks raises; requests' own errors are OSErrors."""


class Engine:
    """A connection to the engine that `host` or `context` names, else `DOCKER_HOST`, else the current context."""

    def __init__(self, host: str | None = None, context: str | None = None) -> None:
        self.where = host or (f"context {context}" if context else os.environ.get("DOCKER_HOST") or "the Docker engine")
        self._host = host
        self._context = context
        self._client: docker.DockerClient | None = None
        self._dialled: Dialled | None = None
        self._networking = threading.Lock()

    # -- finding it ---------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Reach the engine, anew if it was lost. Raises `EngineAway`, or `RuntimeFailed` when it is too old."""
        if self._client is not None:
            self.close()
        with self._named("reach it"):
            client = self._open()
        self._client = client

    def _open(self) -> docker.DockerClient:
        """A client that speaks the engine's own version. Raises `RuntimeFailed` when that is too old."""
        asking = self._client_of(OLDEST.oldest)
        version = str(asking.api.version(api_version=False).get("ApiVersion", "0.0"))
        if OLDEST.too_old(version):
            raise RuntimeFailed(f"{self.where} speaks API {version}; mcpwatch needs {OLDEST.oldest} or newer", permanent=True)
        asking.close()
        return self._client_of(version)

    def _client_of(self, version: str) -> docker.DockerClient:
        where, tls = self._place()
        if where and where.startswith("ssh://"):
            self._dialled = self._dialled or Dialled(where)
            where = self._dialled.url
        client = docker.DockerClient(base_url=where, version=version, tls=tls, timeout=CALL_SECONDS)
        client.api.trust_env = False  # else REQUESTS_CA_BUNDLE, once set, replaces the engine's own authority
        return client

    def _place(self) -> tuple[str | None, Any]:
        """URL and TLS settings of the engine that is meant. Raises `RuntimeFailed` for a context that does not exist."""
        if self._host:
            return self._host, False
        if self._context is None and os.environ.get("DOCKER_HOST"):
            found = kwargs_from_env()
            return found.get("base_url"), found.get("tls", False)
        name = self._context or os.environ.get("DOCKER_CONTEXT")
        context: Any = ContextAPI.get_context(name)  # pyright: ignore[reportUnknownMemberType]
        if context is None:
            raise RuntimeFailed(f"Docker has no context {name!r}; see: docker context ls", permanent=True)
        return context.Host or None, context.TLSConfig or False

    def close(self) -> None:
        """Drop the connections. Harms no container."""
        client, self._client = self._client, None
        dialled, self._dialled = self._dialled, None
        if client is not None:
            with contextlib.suppress(*BROKEN, DockerException):
                client.close()
        if dialled is not None:
            dialled.close()

    # -- containers ---------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Container | None:
        """The container of that name or id, or `None`."""
        with self._named(f"look at container {name}"):
            try:
                return read_container(self._api.inspect_container(name))
            except NotFound:
                return None

    def runs(self, container: str) -> bool:
        """Whether a container of that name or id exists and runs."""
        found = self.find(container)
        return found is not None and found.running

    def mine(self, instance: str) -> list[Container]:
        """Every container of this instance of mcpwatch, running or not."""
        with self._named("list containers"):
            found = self._api.containers(all=True, filters={"label": f"{LABEL_INSTANCE}={instance}"})
        containers = (self.find(str(item["Id"])) for item in found)
        return [container for container in containers if container is not None]

    def create(self, options: CreateOptions) -> str:
        """Create a container, join its networks, and return its id. Nothing is left behind when that fails."""
        name = str(options.arguments.get("name"))
        with self._named(f"create container {name}"):
            container = self._docker.containers.create(**options.arguments)
        try:
            for network in options.more_networks:
                with self._named(f"join network {network}"):
                    self._api.connect_container_to_network(container.id, network)
        except RuntimeFailed:
            self.remove(str(container.id))
            raise
        return str(container.id)

    def start(self, container: str) -> None:
        """Start a created or ended container."""
        with self._named(f"start container {container[:12]}"):
            self._api.start(container)

    def restart(self, container: str, grace: float) -> None:
        """Stop and start a container."""
        with self._named(f"restart container {container[:12]}"):
            self._api.restart(container, timeout=max(1, round(grace)))

    def stop(self, container: str, grace: float) -> None:
        """SIGTERM, `grace` seconds, SIGKILL; everything in the container is gone then. A missing one is no error."""
        with self._named(f"stop container {container[:12]}"), contextlib.suppress(NotFound):
            self._api.stop(container, timeout=max(0, round(grace)))

    def unpause(self, container: str) -> None:
        """Let a paused container run again. One that is not paused is no error."""
        with self._named(f"unpause container {container[:12]}"), contextlib.suppress(NotFound):
            if self._api.inspect_container(container)["State"].get("Paused"):
                self._api.unpause(container)

    def join(self, container: str, network: str) -> None:
        """Have a container on a network that it left. Being on it already is no error."""
        with self._named(f"join network {network}"):
            if network not in (((found := self.find(container)) and found.networks) or ()):
                self._api.connect_container_to_network(container, network)

    def remove(self, container: str) -> None:
        """Remove a container, killing it if need be. A missing one is no error."""
        with self._named(f"remove container {container[:12]}"), contextlib.suppress(NotFound):
            self._api.remove_container(container, force=True)

    def stats(self, container: str) -> Mapping[str, Any]:
        """One sample of its use of resources, without waiting for a second one."""
        with self._named(f"measure container {container[:12]}"):
            return cast("Mapping[str, Any]", self._api.stats(container, stream=False, one_shot=True))

    # -- images and networks ------------------------------------------------------------------------------------------

    def ensure_image(self, image: str, pull: str, tell: Tell) -> None:
        """Have `image` on the engine, pulling it as `pull` says. Raises `RuntimeFailed` naming what is missing."""
        with self._named(f"look for image {image}"):
            try:
                self._api.inspect_image(image)
                if pull != "always":
                    return
            except NotFound:
                if pull == "never":
                    raise RuntimeFailed(
                        f"image {image} is not on {self.where} and pull is 'never'; load it, or set pull: missing", permanent=True
                    ) from None
        tell(f"pulling {image}")
        try:
            with self._patient() as api:
                for step in api.pull(image, tag=None if ":" in image.rsplit("/", 1)[-1] else "latest", stream=True, decode=True):
                    if "error" in step:
                        raise RuntimeFailed(str(step["error"]))
        except (RuntimeFailed, DockerException, *BROKEN) as error:
            gone = any(word in str(error) for word in ("not found", "manifest unknown", "denied", "invalid reference"))
            text = f"image {image} is not on {self.where} and cannot be pulled: {line(error)}"
            raise RuntimeFailed(f"{text}; check the name, or load it with docker load", permanent=gone) from None

    def build(self, build: BuildSpec, tag: str, tell: Tell) -> None:
        """Build an image and call it `tag`; each step is told. Raises `RuntimeFailed` with the last line of the build."""
        context = Path(build.context).expanduser().absolute()
        if not (context / build.dockerfile).is_file():
            raise RuntimeFailed(f"cannot build {tag}: {context / build.dockerfile} does not exist", permanent=True)
        try:
            with self._patient() as api:
                how = {"target": build.target, "buildargs": dict(build.args), "network_mode": build.network}
                for step in api.build(str(context), tag, dockerfile=build.dockerfile, rm=True, forcerm=True, decode=True, **how):
                    if "error" in step:
                        raise RuntimeFailed(f"cannot build {tag} from {context}: {line(step['error'])}", permanent=True)
                    if str(step.get("stream", "")).startswith("Step "):
                        tell(f"building {tag}: {line(step['stream'])}")
        except (BuildError, DockerException, *BROKEN) as error:
            raise RuntimeFailed(f"cannot build {tag} from {context}: {line(error)}") from None

    def ensure_network(self, name: str, instance: str, driver: str = "bridge") -> None:
        """Have a network called `name`; a missing one is made with this driver. One at a time, or the engine would make two."""
        with self._networking, self._named(f"look for network {name}"):
            if any(network.get("Name") == name for network in self._api.networks(names=[name])):
                return
            more = {"attachable": True} if driver == "overlay" else {}
            self._api.create_network(name, driver=driver, check_duplicate=True, labels={LABEL_INSTANCE: instance}, **more)

    def networks(self, instance: str) -> list[str]:
        """Names of the networks that this instance of mcpwatch made."""
        with self._named("list networks"):
            return [str(network["Name"]) for network in self._api.networks(filters={"label": f"{LABEL_INSTANCE}={instance}"})]

    def remove_network(self, name: str) -> None:
        """Remove a network that no container uses. A missing one is no error."""
        with self._named(f"remove network {name}"), contextlib.suppress(NotFound):
            self._api.remove_network(name)

    # -- streams ------------------------------------------------------------------------------------------------------

    def now(self) -> str:
        """The engine's own clock, as `events` wants it."""
        with self._named("ask its time"):
            ticks = nanoseconds(str(self._api.info().get("SystemTime", "")))
        return f"{ticks // 1_000_000_000}.{ticks % 1_000_000_000:09d}"

    def events(self, since: str) -> CancellableStream[dict[str, Any]]:
        """Events of containers from `since` (`seconds.nanoseconds`) on, for ever. Ends when the connection drops."""
        filters = {"type": ["container", "network"], "event": ["start", "die", "oom", "pause", "unpause", "connect", "disconnect"]}
        with self._named("listen to it"):
            return self._api.events(since=since, filters=filters, decode=True)

    def logs(self, container: str, stream: str, since: float | None) -> CancellableStream[bytes]:
        """Stamped output of one stream from `since` (seconds since the epoch) on, until the container ends."""
        with self._named(f"read the log of container {container[:12]}"):
            wanted = {"stdout": stream == "stdout", "stderr": stream == "stderr"}
            found = self._api.logs(container, **wanted, stream=True, follow=True, timestamps=True, since=since)
            return cast("CancellableStream[bytes]", found)

    @contextlib.contextmanager
    def calling(self, doing: str) -> Generator[Any]:
        """The engine's API for calls that only one runtime makes; what fails is named like everything else."""
        with self._named(doing):
            yield self._api

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _docker(self) -> docker.DockerClient:
        if self._client is None:
            raise EngineAway(f"{self.where} is not connected")
        return self._client

    @property
    def _api(self) -> Any:  # the SDK's types do not know everything the SDK takes
        return self._docker.api

    @contextlib.contextmanager
    def _patient(self) -> Generator[Any]:
        """The engine's API with the patience that pulls and builds need, on a connection of its own."""
        client = self._open()
        client.api.timeout = PULL_SECONDS
        try:
            yield client.api
        finally:
            client.close()

    @contextlib.contextmanager
    def _named(self, doing: str) -> Generator[None]:
        """Every failure inside, as a `RuntimeFailed` that says what it means and what to do."""
        try:
            yield
        except RuntimeFailed:
            raise
        except APIError as error:
            raise refused(self.where, doing, error.explanation or str(error), error.status_code or 0) from None
        except (DockerException, *BROKEN) as error:
            words = self._dialled.words if self._dialled else ""
            text = f"{self.where} does not answer: {words}" if words else away(self.where, error, socket_group())
            raise EngineAway(text) from None
