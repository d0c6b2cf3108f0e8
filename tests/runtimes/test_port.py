"""What the kernel tells of ports and of those who listen on them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import CHILD_MARK
from mcpwatch.runtimes import port as port_module
from mcpwatch.runtimes.port import PortWatch, child_of, free
from mcpwatch.runtimes.port_holder import command, command_name, member_of
from mcpwatch.runtimes.process_table import MARK
from tests.runtimes.bench import INSTANCE

BRIDGE = """
import socket, subprocess, sys, time
if sys.argv[1] == "listens":
    server = socket.create_server(("127.0.0.1", 0))
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def bridge(how: str) -> Generator[tuple[int, int]]:
    """An init, below it what may listen, and below that a child: the pids of the first and of the last."""
    words = ["sh", "-c", '"$0" -c "$1" "$2" & wait', sys.executable, BRIDGE, how]
    init = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert init.stdout is not None
        yield init.pid, int(init.stdout.readline())
    finally:
        os.killpg(init.pid, signal.SIGKILL)
        init.wait()
        assert init.stdout is not None
        init.stdout.close()


def test_a_bridge_below_an_init_runs_something_until_its_child_ended_though_nobody_waited_for_it() -> None:
    watch = PortWatch(INSTANCE)
    with bridge("listens") as (init, child):
        assert watch.runs(init)
        assert not watch.runs(init, "0123456789abcdef"), "no container of that name is on this machine"
        assert len(watch.listening(init)) == 1
        os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + 60.0
        while watch.runs(init):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_what_does_not_listen_is_no_bridge() -> None:
    with bridge("listens not") as (init, _):
        assert not PortWatch(INSTANCE).runs(init)


LISTENER = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.socket(family)
if sys.argv[3] == "shared":
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
if family == socket.AF_INET6:
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
server.bind((sys.argv[1], int(sys.argv[2])))
server.listen()
print(server.getsockname()[1], flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def listener(address: str, port: int = 0, how: str = "shared", mark: str = "", *more: str) -> Generator[tuple[int, int]]:
    """A process that listens at an address: its pid and its port. `mark`: the member that it is; `more`: words of its command."""
    words = [sys.executable, "-S", "-c", LISTENER, address, str(port), how, *more]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, **({MARK: mark} if mark else {})})
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize(("ours", "theirs"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("::1", "::1")])
def test_a_second_program_on_the_same_port_is_found_by_looking_at_who_listens(ours: str, theirs: str) -> None:
    with listener(ours) as (pid, port):
        assert PortWatch(INSTANCE).rival(pid, port) == ""
        with listener(theirs, port) as (other, _):
            assert PortWatch(INSTANCE).rival(pid, port).startswith(f"pid {other} (")
            assert PortWatch(INSTANCE).rival(other, port).startswith(f"pid {pid} (")
        assert PortWatch(INSTANCE).rival(pid, port) == ""


def test_one_look_reads_the_sockets_of_a_network_once_and_a_later_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    plainly, now = port_module._listeners, [5.0]  # pyright: ignore[reportPrivateUsage]

    def noting(network: str = "self") -> Iterator[port_module.Listening]:
        read.append(network)
        return plainly(network)

    monkeypatch.setattr(port_module, "_listeners", noting)
    tables = port_module.SocketTables(lambda: now[0])
    with listener("127.0.0.1") as (pid, port):
        assert tables.listens(pid)
        assert port in [one.port for one in tables.listeners()], "the same network, and so the same table"
        assert len(read) == 1
        now[0] += port_module.KEPT
        assert tables.listens(pid)
        assert len(read) == 2


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("ours", "theirs", "how"),
    [
        ("127.0.0.1", "127.0.0.2", "alone"),
        ("127.0.0.1", "0.0.0.0", "shared"),
        ("127.0.0.1", "::", "alone"),
        ("0.0.0.0", "::", "alone"),
        ("::", "0.0.0.0", "alone"),
        ("::1", "::", "shared"),
    ],
)
def test_whoever_listens_on_that_port_of_another_address_takes_nothing_away(ours: str, theirs: str, how: str) -> None:
    with listener(ours, how=how) as (pid, port), listener(theirs, port, how=how):
        assert PortWatch(INSTANCE).rival(pid, port) == ""


def test_who_names_the_address_at_which_a_member_is_asked_takes_its_connections() -> None:
    with listener("0.0.0.0") as (pid, port), listener("127.0.0.1", port) as (other, _):
        assert PortWatch(INSTANCE).rival(pid, port).startswith(f"pid {other} (")


@pytest.mark.parametrize(("address", "place"), [("127.0.0.1", "127.0.0.1:{}"), ("::1", "[::1]:{}"), ("127.0.0.7", "127.0.0.7:{}")])
def test_the_places_where_a_process_listens_are_told_as_people_write_them(address: str, place: str) -> None:
    with listener(address) as (pid, port):
        assert PortWatch(INSTANCE).places(pid) == (place.format(port),)


def test_a_connection_that_nobody_took_is_seen_to_wait() -> None:
    with listener("127.0.0.1") as (pid, port):
        assert PortWatch(INSTANCE).idle(pid, port)
        assert not PortWatch(INSTANCE).idle(pid, port + 1)
        with socket.create_connection(("127.0.0.1", port), timeout=10.0):
            assert not PortWatch(INSTANCE).idle(pid, port)


def test_the_process_of_a_route_inside_a_proxy_is_found_by_its_mark_until_it_ends() -> None:
    words = ["sh", "-c", f"{CHILD_MARK}=a sleep 600 & {CHILD_MARK}=ab sleep 600 & echo up; wait"]
    proxy = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert proxy.stdout is not None
        proxy.stdout.readline()
        deadline = time.monotonic() + 60.0
        while not ((one := child_of(proxy.pid, "a", 0)) and (other := child_of(proxy.pid, "ab", 0))):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert one != other
        assert child_of(proxy.pid, "b", 0) == 0
        os.kill(one, signal.SIGKILL)
        while child_of(proxy.pid, "a", one):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert child_of(proxy.pid, "ab", other) == other
    finally:
        os.killpg(proxy.pid, signal.SIGKILL)
        proxy.wait()
        assert proxy.stdout is not None
        proxy.stdout.close()


@pytest.mark.parametrize(
    ("address", "seen"), [("127.0.0.1", ("127.0.0.1:{}",)), ("::1", ("[::1]:{}",)), ("0.0.0.0", ()), ("::", ())]
)
def test_a_container_that_listens_on_its_loopback_alone_is_found_by_looking_into_it(address: str, seen: tuple[str, ...]) -> None:
    with listener(address) as (pid, port):
        group = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()[0]
        assert PortWatch(INSTANCE).inside(pid, group) == tuple(place.format(port) for place in seen)
        assert PortWatch(INSTANCE).inside(pid, "0123456789abcdef") == (), "no container of that name is on this machine"


def test_who_holds_a_port_is_told_by_its_command_and_by_the_member_that_it_is() -> None:
    watch = PortWatch(INSTANCE)
    with listener("127.0.0.1") as (pid, port):
        told = watch.holds(port, "time")
        assert told.startswith(f"pid {pid} (python"), told
        assert told.endswith("…)"), "a long command is shortened"
    assert watch.holds(port, "time") == ""
    with listener("127.0.0.1", 0, "shared", f"{INSTANCE}/fetch/3") as (pid, port):
        assert watch.holds(port, "time").endswith("), the member 'fetch'")
        assert watch.holds(port, "fetch") == "", "that is its own"
        assert watch.listener(port) == "fetch"
    with listener("127.0.0.1", 0, "shared", "0123456789ab/fetch/3") as (pid, port):
        assert watch.holds(port, "fetch").endswith(")"), "of another fleet"
        assert watch.listener(port) == ""
    assert watch.listener(port) == ""
    with socket.create_server(("127.0.0.1", 0)) as own:
        assert watch.holds(own.getsockname()[1], "time").endswith("), this mcpwatch itself")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("-m", "http.server"), "-m http.server"),
        (("--api-key", "abc123"), "--api-key ***"),
        (("--token=abc123", "-v"), "--token=*** -v"),
        (("DB_PASSWORD=abc123",), "DB_PASSWORD=***"),
        (("http://me:abc123@h/x",), "http://***@h/x"),
        (("a\nb",), "a b"),
        (("-H", "Authorization: Bearer abc123"), "-H Authorization: ***"),
        (("-H", "Authorization:", "Bearer", "abc123", "-v"), "-H Authorization:*** *** *** -v"),
        (("-c", "curl -H 'X-Token: abc123 d' h"), "-c curl -H 'X-Token: ***"),
        (('{"api_key": "abc123"}',), '{"api_key": "***'),
        (("--password", "my abc123", "-v"), "--password *** -v"),
        (("--pass", "-abc123"), "--pass ***"),
        (("postgres://me:abc/123@h/x",), "postgres://***@h/x"),
        (("http://h/mcp?key=abc123",), "http://h/mcp?key=***"),
        (("gho_abcdefghijklmnopqrst123",), "***"),
    ],
)
def test_a_command_is_shown_without_its_secrets(words: tuple[str, ...], shown: str) -> None:
    with subprocess.Popen(["sh", "-c", "read x", *words], stdin=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 60.0
            while not (told := command(process.pid)).startswith("sh -c read x"):
                assert time.monotonic() < deadline
            assert told == f"sh -c read x {shown}"
        finally:
            process.kill()


def test_a_process_that_is_gone_is_nobody() -> None:
    assert (command(2**22 + 1), command_name(2**22 + 1), member_of(2**22 + 1, INSTANCE)) == ("", "", "")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_port_is_free_until_somebody_listens_on_it_at_any_address_and_again_after_that(host: str, shared: bool) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, reuse_port=shared) as server:
        port = server.getsockname()[1]
        assert not free(port)
        with socket.create_connection((("::1" if ":" in host else "127.0.0.1"), port)) as client:
            taken, _ = server.accept()
            server.close()
            with taken:
                assert client.fileno() >= 0
    assert free(port), "what lingers of a closed connection holds nothing"


def _spec(url: str) -> MemberSpec:
    return MemberSpec("m", "server", "process", object(), direct=Target(url))


def test_the_port_of_a_member_is_free_only_where_it_is_one_of_this_machine() -> None:
    watch = PortWatch(INSTANCE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not watch.free(_spec(f"http://127.0.0.1:{port}/mcp"))
    assert watch.free(_spec(f"http://127.0.0.1:{port}/mcp"))
    assert not watch.free(_spec(f"http://elsewhere.example:{port}/mcp"))


@pytest.mark.parametrize(("error", "says"), [(PermissionError(13, "not allowed"), False), (OSError(97, "no such family"), True)])
def test_of_a_port_that_may_not_be_taken_the_kernel_is_asked(error: OSError, says: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> socket.socket:
        raise error

    monkeypatch.setattr(port_module.socket, "socket", refused)
    assert free(80) is says
