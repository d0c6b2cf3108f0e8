"""A bounded, steady piece of fuzzing: the kept inputs, and the same mutations of them each time. Longer: `python -m tests.fuzz`."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from mcpwatch.gateway.http import head, request_reader
from mcpwatch.http_client import framing
from mcpwatch.http_client.framing import Framing
from tests.fuzz.keep import worth_keeping
from tests.fuzz.mutation import generate, mutate
from tests.fuzz.readers import by_h11, ours
from tests.fuzz.targets import TARGETS, seeds

SECONDS = int(os.environ.get("MCPWATCH_FUZZ_SECONDS", "3"))
"""How long atheris looks at each target in the slow suite; 3600 is its long mode."""
INPUTS = {"server": 600, "client": 250, "events": 300, "messages": 1500}


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_keeps_the_rules(name: str) -> None:
    for data in seeds(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_some_thousand_mutations_keep_the_rules(name: str) -> None:
    rng, sources = random.Random(20261129), seeds(name)
    for _ in range(INPUTS[name]):
        TARGETS[name](mutate(rng.choice(sources), sources, rng))


def test_what_is_right_is_read_as_h11_reads_it() -> None:
    rng = random.Random(7)
    for _ in range(200):
        data = generate(rng)
        read, other = ours(data), by_h11(data)
        assert (read.error, other.error) == ("", ""), data
        assert [(method, body) for method, _, body in read.requests] == [(method, body) for method, _, body in other.requests]
        TARGETS["server"](data)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        POST + b"Content-Length: 0\r\nContent-Length: 35\r\n\r\n" + SMUGGLED,
        POST + b"Content-Length: 0, 35\r\n\r\n" + SMUGGLED,
        POST + b"Content-Length: +0\r\n\r\n" + SMUGGLED,
        POST + b"Content-Length: 0x23\r\n\r\n" + SMUGGLED,
        POST + b"Content-Length:\r\n\r\n" + SMUGGLED,
        POST + b"Content-Length : 0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0_0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: chunked\r\n\r\n-0\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0 ;\nx\r\n\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + SMUGGLED,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n" + SMUGGLED,
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"POST /\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
        b"POST / HTTP/1.1\nHost: x\n\n" + SMUGGLED,
        b"POST / HTTP/1.1\rHost: x\r\r" + SMUGGLED,
        POST + b"Host: y\r\n\r\n" + SMUGGLED,
        POST + b" Content-Length: 0\r\n\r\n" + SMUGGLED,
        POST + b"A: b\0c\r\n\r\n" + SMUGGLED,
        POST + b"A\0: b\r\n\r\n" + SMUGGLED,
        POST + b"\xc3\xa9: b\r\n\r\n" + SMUGGLED,
        POST + b": b\r\n\r\n" + SMUGGLED,
        POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 35\r\n\r\n" + SMUGGLED,
        b"GET http://x/ HTTP/1.1\r\n\r\n" + SMUGGLED,
    ],
)
def test_published_ways_to_smuggle_a_request_end_the_connection_before_it(data: bytes) -> None:
    read = ours(data)
    assert read.error.startswith("400 ")
    assert not read.requests


def test_framing_is_counted_by_head_and_by_chunk() -> None:
    counted = Framing(100, 10)
    assert counted.fits(110)
    assert not counted.fits(1)
    counted.headed()
    counted.chunk()
    assert counted.fits(framing.FRAMING + framing.CHUNK_FRAMING + 10)
    assert not counted.fits(1)
    counted.begin()
    assert counted.fits(100)


def test_the_reader_knows_no_socket_and_no_protocol_above_it() -> None:
    for module in (head, request_reader, framing):
        assert not {"asyncio", "socket", "msgspec"} & set(vars(module))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this machine")
@pytest.mark.timeout(SECONDS + 90)
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_finds_no_broken_rule(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(SECONDS), "--corpus", str(tmp_path / name)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 80)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert not list(tmp_path.glob("*-fault-*"))


def test_the_program_runs_without_coverage_too() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "events", "--plain", "--seconds", "0.1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "no rule broken (seed 1, no coverage)" in ran.stdout


def test_only_an_input_that_reaches_something_new_is_kept() -> None:
    plain, named = b"data: a\n\n", b"event: x\ndata: a\nretry: 5\n\n"
    assert worth_keeping(TARGETS["events"], [plain], [plain + plain, named]) == [named]
    assert worth_keeping(TARGETS["events"], [plain, named], [named, plain]) == []
