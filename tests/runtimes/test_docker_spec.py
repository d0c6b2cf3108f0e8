"""What may be written under `docker:`, what the engine is asked for, and what its words mean: all without an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from mcpwatch.model.incarnation import Hindered
from mcpwatch.model.probe import Target
from mcpwatch.runtimes.docker.container import Container, nanoseconds, read_container, sample, usage_between
from mcpwatch.runtimes.docker.events import by_memory
from mcpwatch.runtimes.docker.followed import FollowedContainer
from mcpwatch.runtimes.docker.launch import reach
from mcpwatch.runtimes.docker.logs import LogFile, split, stamp
from mcpwatch.runtimes.docker.options import Labels, create_options, read_labels
from mcpwatch.runtimes.docker.refusal import away, line, refused
from mcpwatch.runtimes.docker.runtime import DockerRuntime
from mcpwatch.runtimes.docker.spec import DockerSpec, container_name, published
from mcpwatch.runtimes.record import Record, Records

LABELS = Labels("abc", "pg", 3, "f")


def test_an_image_without_a_name_is_refused_as_that() -> None:
    with pytest.raises(ValidationError, match="image is empty; write its name"):
        DockerSpec.model_validate({"image": ""})


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ({}, "exactly one of image, build, container"),
        ({"image": "a", "build": "."}, "found image and build"),
        ({"container": "pg", "memory": "1g"}, "container is not ours, so memory cannot be set here"),
        ({"image": "a", "networks": ["host", "mcp-net"]}, "network 'host' stands alone"),
        ({"image": "a", "networks": "host", "ports": [8080]}, "ports cannot be published from network 'host'"),
        ({"image": "a", "ports": ["8080:http"]}, "'8080:http' is not a port"),
        ({"image": "a", "volumes": ["data:relative"]}, "'data:relative' is not a volume"),
        ({"image": "a", "environment": ["ONLY_A_NAME"]}, "'ONLY_A_NAME' is not NAME=value"),
        ({"image": "a", "host": "tcp://x:1", "context": "y"}, "write host or context, not both"),
        ({"image": "a", "name": "bad name"}, "no container name"),
        ({"image": "a", "imagee": "b"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_meant_is_refused(written: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        DockerSpec.model_validate(written)
    assert fault in str(refusal.value)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("8080", ("127.0.0.1", None, "8080/tcp")),
        ("9072:8080", ("127.0.0.1", 9072, "8080/tcp")),
        ("0.0.0.0:9072:8080/udp", ("0.0.0.0", 9072, "8080/udp")),
        ("[::1]:9072:8080", ("::1", 9072, "8080/tcp")),
        ("127.0.0.1::8080", ("127.0.0.1", None, "8080/tcp")),
    ],
)
def test_ports_are_read_as_compose_writes_them_but_stay_on_loopback(written: str, read: object) -> None:
    assert published(written) == read


def test_environment_never_shows_in_a_repr() -> None:
    spec = DockerSpec.model_validate({"image": "a", "environment": {"TOKEN": "s3cret"}})
    options = create_options(spec, image="a", name="n", labels=LABELS, environment=spec.environment)
    assert "s3cret" not in repr(spec)
    assert "s3cret" not in repr(options)


def test_one_network_is_joined_at_birth_and_the_others_after() -> None:
    spec = DockerSpec.model_validate({"image": "a", "networks": ["x", "y", "bridge"]})
    options = create_options(spec, image="a", name="n", labels=LABELS, environment={})
    assert (options.arguments["network"], options.more_networks) == ("x", ("y", "bridge"))
    host = DockerSpec.model_validate({"image": "a", "networks": "host"})
    assert create_options(host, image="a", name="n", labels=LABELS, environment={}).arguments["network"] == "host"


def test_paths_are_binds_and_names_are_volumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    spec = DockerSpec.model_validate({"image": "a", "volumes": ["./data:/data:ro", "cache:/cache"]})
    mounts = create_options(spec, image="a", name="n", labels=LABELS, environment={}).arguments["mounts"]
    assert [(m["Type"], m["Source"], m["ReadOnly"]) for m in mounts] == [
        ("bind", str(tmp_path / "data"), True),
        ("volume", "cache", False),
    ]


def test_labels_survive_the_way_to_the_engine_and_back() -> None:
    assert read_labels(LABELS.written()) == LABELS
    assert read_labels({"com.docker.compose.project": "x"}) is None


def test_a_container_is_called_after_its_member_unless_named() -> None:
    assert container_name("pg", DockerSpec.model_validate({"image": "a"})) == "mcp-pg"
    assert container_name("pg", DockerSpec.model_validate({"image": "a", "name": "db"})) == "db"
    assert container_name("pg", DockerSpec.model_validate({"container": "their-db"})) == "their-db"


@pytest.mark.parametrize(
    ("words", "status", "meaning", "permanent"),
    [
        ("Bind for 127.0.0.1:80 failed: port is already allocated", 500, "published port is taken", False),
        ('Conflict. The container name "/x" is already in use', 409, "the name is taken", True),
        ("network mcp-net not found", 404, "name the network under docker.networks", False),
        ("Forbidden", 403, "allow that call in the socket proxy", True),
        ("invalid mount config: bind source path does not exist: /x", 400, "make that path", True),
        ('exec: "npx": executable file not found in $PATH', 400, "the image has no such program", True),
        ("something new", 500, "cannot do it: something new", False),
    ],
)
def test_a_refusal_says_what_to_do_and_whether_trying_again_helps(words: str, status: int, meaning: str, permanent: bool) -> None:
    error = refused("the engine", "do it", words, status)
    assert meaning in str(error)
    assert error.permanent is permanent


def test_silence_of_an_engine_says_why() -> None:
    assert "group 'docker'" in away("E", OSError("('Connection aborted.', PermissionError(13, 'Permission denied'))"))
    refused_inside = away("E", OSError("PermissionError(13, 'Permission denied')"), group=998)
    assert "run this container with --group-add 998 (in Compose: group_add)" in refused_inside
    assert "no such socket" in away("E", OSError("FileNotFoundError(2, 'No such file or directory')"))
    refused = away("E", OSError("('Connection aborted.', ConnectionRefusedError(111, 'Connection refused'))"))
    assert refused == "E does not answer: nothing listens on its socket any more; start it, or set DOCKER_HOST"
    assert "read-only mount" in away("E", OSError("Read-only file system"))
    assert away("E", OSError("x" * 500)).endswith("...")
    assert line("two\n lines") == "two lines"


def test_the_engines_time_is_kept_to_the_nanosecond() -> None:
    assert nanoseconds("1970-01-01T00:00:01.000000001Z") == 1_000_000_001
    assert nanoseconds("1970-01-01T00:00:01Z") == 1_000_000_000
    assert nanoseconds("0001-01-01T00:00:00Z") == 0
    assert nanoseconds("never") == 0


def container(**changes: Any) -> Container:
    return replace(Container("c0ffee", "mcp-pg", "i", running=True, labels=None), **changes)


def test_a_direct_url_that_means_the_container_is_reached_where_it_answers() -> None:
    target = Target("http://mcp-pg:8686/sse", token="t")
    by_address = reach(target, container(addresses=("172.20.0.3",)))
    assert by_address == Target(
        "http://172.20.0.3:8686/sse", token="t", headers=(("Host", "mcp-pg:8686"),), public_url="http://mcp-pg:8686/sse"
    )
    by_port = reach(target, container(addresses=("172.20.0.3",), ports=(("8686/tcp", "0.0.0.0", 49153),)))
    assert by_port is not None
    assert by_port.url == "http://127.0.0.1:49153/sse"
    by_task = reach(Target("http://tasks.mcp-pg:8686/sse"), container(addresses=("172.20.0.3",)))
    assert by_task is not None
    assert by_task.url == "http://172.20.0.3:8686/sse"
    capital = replace(container(addresses=("172.20.0.3",)), name="mcp-PG")
    for host in ("mcp-PG", "pg", "PG", "MCP-pg"):
        found = reach(Target(f"http://{host}:8686/sse"), capital)
        assert found is not None, host
        assert found.url == "http://172.20.0.3:8686/sse"
    assert reach(Target("http://127.0.0.1:8686/sse"), container(addresses=("172.20.0.3",))) is None
    assert reach(target, container()) is None


def test_an_inspected_container_is_read_and_a_running_one_has_no_exit_code() -> None:
    raw = {
        "Id": "c0ffee",
        "Name": "/pg",
        "State": {"Running": True, "Pid": 7, "ExitCode": 0, "StartedAt": "1970-01-01T00:00:01Z"},
        "Config": {"Image": "i", "Labels": {"com.docker.compose.project": "home"}},
        "NetworkSettings": {
            "Ports": {"80/tcp": None, "81/tcp": [{"HostIp": "", "HostPort": "5"}]},
            "Networks": {"n": {"IPAddress": "1.2.3.4"}},
        },
    }
    read = read_container(raw)
    assert (read.pid, read.exit_code, read.foreign, read.addresses) == (7, None, "compose project home", ("1.2.3.4",))
    assert read.ports == (("81/tcp", "0.0.0.0", 5),)


SECOND = 1_795_234_200  # 2026-11-21T04:10:00Z


def test_a_line_of_the_engine_is_split_into_its_time_and_text() -> None:
    assert split(b"2026-11-21T04:10:00.123456789Z hello\r") == (SECOND * 10**9 + 123456789, b"hello")
    assert split(b"no stamp") == (0, b"no stamp")
    assert stamp(SECOND * 10**6 + 5) == b"2026-11-21T04:10:00.000005Z"


def entries(*texts: str, at: int = SECOND * 10**9) -> list[tuple[int, bytes]]:
    return [(at, text.encode()) for text in texts]


def texts(directory: Path) -> list[str]:
    files = [*sorted(directory.glob("stdout.2*.log")), directory / "stdout.log"]
    return [line.split(" ", 1)[1] for file in files if file.exists() for line in file.read_text("utf-8").splitlines()]


def test_stamps_rise_even_when_the_engines_do_not_and_a_second_pass_writes_nothing_twice(tmp_path: Path) -> None:
    log = LogFile(tmp_path, "stdout")
    assert log.resume() == 0
    log.add(entries("a", "b", "c"))
    again = LogFile(tmp_path, "stdout")
    assert again.resume() == SECOND
    again.add(entries("a", "b", "c", "d") + entries("e", at=SECOND * 10**9 + 500))
    stamps = [line[:27] for line in (tmp_path / "stdout.log").read_text("utf-8").splitlines()]
    assert texts(tmp_path) == ["a", "b", "c", "d", "e"]
    assert stamps == sorted(set(stamps))


def test_lines_written_just_before_a_death_are_not_written_again(tmp_path: Path) -> None:
    log = LogFile(tmp_path, "stdout")
    log.resume()
    log.add(entries("a"))
    before = (tmp_path / "stdout.engine").read_bytes()
    log.add(entries("b", "c", at=SECOND * 10**9 + 7000))
    (tmp_path / "stdout.engine").write_bytes(before)  # killed after the append, before the cursor
    again = LogFile(tmp_path, "stdout")
    again.resume()
    again.add(entries("a") + entries("b", "c", "d", at=SECOND * 10**9 + 7000))
    assert texts(tmp_path) == ["a", "b", "c", "d"]


def test_a_big_log_is_rotated_to_a_name_that_never_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpwatch.runtimes.docker.logs.ROTATE_BYTES", 40)
    for second in range(8):
        log = LogFile(tmp_path, "stdout")
        log.resume()
        log.add(entries("line of text", at=(SECOND + second) * 10**9))
    names = sorted(path.name for path in tmp_path.glob("stdout.2*.log"))
    assert len(names) == 5
    assert names[-1] == "stdout.20261121041006000000.log"


def test_a_very_long_line_is_cut_into_parts(tmp_path: Path) -> None:
    log = LogFile(tmp_path, "stdout")
    log.resume()
    log.add(entries("x" * 100_000))
    first, second = texts(tmp_path)
    assert first.endswith("x [continues]")
    assert len(second) == 100_000 - 64 * 1024


def test_usage_is_measured_between_two_samples() -> None:
    raw: dict[str, object] = {
        "read": "1970-01-01T00:00:10Z",
        "cpu_stats": {"cpu_usage": {"total_usage": 3_000_000_000}},
        "memory_stats": {"usage": 500, "stats": {"inactive_file": 100}},
        "pids_stats": {"current": 4},
    }
    now = sample(raw)
    before = sample(raw | {"read": "1970-01-01T00:00:08Z", "cpu_stats": {"cpu_usage": {"total_usage": 2_000_000_000}}})
    usage = usage_between(before, now)
    assert (usage.cpu, usage.cpu_seconds, usage.rss, usage.processes) == (50.0, 3.0, 400, 4)
    assert usage_between(None, sample({})).cpu == 0.0


def test_the_generation_of_a_restarted_container_is_remembered(tmp_path: Path) -> None:
    records = Records(tmp_path, "docker")
    assert not records.any()
    records.write(Record("a/b", 5, container="c0ffee"))
    (tmp_path / "run/docker/broken.json").write_text("{", encoding="utf-8")
    assert records.load() == {"a/b": Record("a/b", 5, container="c0ffee")}
    records.drop("a/b")
    assert records.load() == {}


@pytest.mark.parametrize(
    ("code", "flag", "ago", "told"),
    [
        (137, True, None, True),
        (None, True, None, True),
        (143, True, None, False),
        (0, True, None, False),
        (137, False, None, False),
        (137, True, 1_000_000_000, True),
        (1, True, 1_000_000_000, True),
        (137, True, 1_260_000_000_000, False),
        (143, True, 1_260_000_000_000, False),
    ],
)
def test_a_container_ended_for_its_memory_when_the_kernel_killed_it_just_now(
    code: int | None, flag: bool, ago: int | None, told: bool
) -> None:
    assert by_memory(code, flag, ago) is told


def test_the_records_of_an_earlier_version_are_taken_in_once_and_never_over_newer_ones(tmp_path: Path) -> None:
    old = tmp_path / "docker"
    old.mkdir()
    for name, text in {
        "pg": '{"member": "pg", "container": "c0ffee", "generation": 7}',
        "a%2Fb": '{"member": "a/b", "container": "01d", "generation": 3}',
        "broken": "{",
        "strange": '[{"member": 1}]',
    }.items():
        (old / f"{name}.json").write_text(text, encoding="utf-8")
    records = Records(tmp_path, "docker")
    records.write(Record("a/b", 5, container="beef"))
    taken = {"pg": Record("pg", 7, container="c0ffee"), "a/b": Record("a/b", 5, container="beef")}
    assert (records.any(), records.load(), old.exists()) == (True, taken, False)
    records.drop("pg")
    assert Records(tmp_path, "docker").load() == {"a/b": taken["a/b"]}


def test_old_records_that_cannot_be_kept_now_stay_where_they_are(tmp_path: Path) -> None:
    old = tmp_path / "swarm"
    old.mkdir()
    (old / "pg.json").write_text('{"member": "pg", "container": "c0ffee", "generation": 7}', encoding="utf-8")
    (tmp_path / "run").write_text("in the way", encoding="utf-8")
    records = Records(tmp_path, "swarm")
    assert records.load() == {}
    (tmp_path / "run").unlink()
    assert records.load() == {"pg": Record("pg", 7, container="c0ffee")}
    assert not old.exists()


@pytest.mark.parametrize("made_on", ["net", "0123abcd", "bridge"], ids=["its name", "its id", "a mode of another engine"])
def test_a_container_of_others_that_comes_back_to_its_network_is_back_however_that_was_written(
    made_on: str, tmp_path: Path
) -> None:
    runtime = DockerRuntime(tmp_path, "0123456789ab")
    off = Container("c0ffee", "pg", "i", running=True, labels=None, made_on=made_on)
    live = FollowedContainer("pg", 1, cast("Any", None), off.id, foreign=True, networks=runtime._at_home("pg", off))  # pyright: ignore[reportPrivateUsage]
    assert live.networks == (made_on,)
    told: list[str] = []
    for now in (off, replace(off, networks=("net",)), off):
        runtime._rewired(live, now)  # pyright: ignore[reportPrivateUsage]
        event = runtime._events.get_nowait()  # pyright: ignore[reportPrivateUsage]
        assert isinstance(event, Hindered)
        told.append(event.text.partition(" any more")[0].rpartition(" ")[2])
    assert told == [made_on, "", "net"]


@pytest.mark.parametrize(
    ("mode", "made_on"),
    [
        ("net", "net"),
        ("default", "bridge"),
        ("bridge", "bridge"),
        ("bridge:ip=10.88.0.9", "bridge"),
        ("", ""),
        ("none", ""),
        ("host", ""),
        ("container:c0ffee", ""),
        ("slirp4netns", ""),
        ("slirp4netns:mtu=1500", ""),
        ("pasta", ""),
        ("pasta:-T,8080", ""),
        ("ns:/run/user/1000/netns/x", ""),
    ],
)
def test_a_mode_without_a_network_names_none_that_a_container_could_leave(mode: str, made_on: str) -> None:
    """A rootless container of podman is on no network that its engine tells: it was said to have left one."""
    assert read_container({"Id": "c0ffee", "HostConfig": {"NetworkMode": mode}}).made_on == made_on
