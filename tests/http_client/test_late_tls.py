"""TLS that is loaded with the first server that needs it does what the loop's own does, in whatever way a server fails it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.http_client import tls_peers
from tests.http_client.tls_peers import Files, Seen, answering, listening
from tests.parts import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
LIMIT = 60.0
CUT = "the connection was closed in the middle of its answer"
BEFORE = "the connection was closed before it answered"
WORDS = dict[str, Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return tls_peers.make(tmp_path_factory.mktemp("tls"))


async def asked(how: str, jobs: list[WORDS]) -> list[list[WORDS]]:
    """What a process that was started for it says of these requests; nothing else was told to its loop."""
    words = [sys.executable, "-m", "tests.http_client.tls_client", how, json.dumps(jobs)]
    process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, errors = await asyncio.wait_for(process.communicate(), LIMIT)
    except TimeoutError:
        process.kill()
        raise
    assert (process.returncode, errors) == (0, b""), errors.decode()
    said = json.loads(out)
    assert said["unforeseen"] == []
    return [[_unraced(one) for one in answers] for answers in said["results"]]


def _unraced(answer: WORDS) -> WORDS:
    """The answer, without the word that the kernel chooses: a peer that closes with bytes unread may end by a reset or not."""
    if answer.get("symptom") != "cut":
        return answer
    return answer | {"failed": answer["failed"].replace("was reset", "was closed")}


def answer(body: str, status: int = 200) -> WORDS:
    return {"status": status, "body": body}


def failed(reason: str, symptom: str = "cut", *, sent: bool = False, connected: bool = False) -> WORDS:
    return {"failed": reason, "symptom": symptom, "sent": sent, "connected": connected}


LOST, UNANSWERED = failed(CUT, sent=True, connected=True), failed(BEFORE, sent=True, connected=True)
PATHS: dict[str, WORDS] = {
    "/whole": answer("hello"),
    "/chunked": answer("hello"),
    "/endless": answer("hello"),
    "/cut": LOST,
    "/cut-hard": LOST,
    "/cut-chunk": LOST,
    "/cut-chunk-hard": LOST,
    "/cut-head": UNANSWERED,
    "/nothing": UNANSWERED,
    "/nothing-hard": UNANSWERED,
}
"""What becomes of an answer, cut or whole: a cut one is never taken for a whole one."""


@pytest.mark.sample(1)
@pytest.mark.parametrize("how", ["late", "early"])
async def test_an_answer_that_is_cut_anywhere_is_told_as_cut(files: Files, how: str) -> None:
    seen = Seen()
    async with listening(answering(seen), tls_peers.context(files)) as base:
        found = await asked(how, [{"url": base + path, "ca": files["ca"], "method": "POST"} for path in PATHS])
    assert dict(zip(PATHS, [one for (one,) in found], strict=True)) == PATHS
    assert seen.requests == list(PATHS), "a POST is sent once"


@pytest.mark.sample(1)
@pytest.mark.parametrize("how", ["late", "early"])
async def test_a_post_that_is_answered_early_gets_that_answer_and_its_connection_is_not_used_again_before_it_is_sent(
    files: Files, how: str
) -> None:
    seen, size = Seen(), 4 * 1024 * 1024
    jobs: list[WORDS] = [
        {"url": "/early", "method": "POST", "body": size},
        {"url": "/early-keep", "method": "POST", "body": size, "times": 2},
    ]
    async with listening(answering(seen), tls_peers.context(files)) as base:
        found = await asked(how, [job | {"url": base + job["url"], "ca": files["ca"]} for job in jobs])
    assert found == [[answer("no!", 413)], [answer("early")] * 2]
    assert seen.requests == ["/early", "/early-keep", "/early-keep"]


@pytest.mark.sample(1)
@pytest.mark.parametrize("how", ["late", "early"])
async def test_large_answers_come_whole_to_quick_and_slow_readers_and_connections_are_kept(files: Files, how: str) -> None:
    seen = Seen()
    jobs: list[WORDS] = [
        {"url": "/whole", "times": 5},
        {"url": "/large", "slowly": True},
        {"url": "/large", "at_once": 8},
        {"url": "/whole", "at_once": 30},
    ]
    async with listening(answering(seen), tls_peers.context(files)) as base:
        found = await asked(how, [job | {"url": base + job["url"], "ca": files["ca"]} for job in jobs])
    ((first, *_), *rest) = found[1:3]
    assert first["body"].startswith(f"{len(tls_peers.LARGE)} bytes")
    assert rest == [[first] * 8]
    assert found[0] + found[3] == [answer("hello")] * 35
    assert seen.connections == 1 + 1 + 8 + 30


HANDSHAKES: dict[str, WORDS] = {
    "stranger's": failed("the certificate of 127.0.0.1 is not accepted: unable to get local issuer certificate", "tls"),
    "misnamed": failed(
        "the certificate of 127.0.0.1 is not accepted: IP address mismatch, certificate is not valid for '127.0.0.1'.", "tls"
    ),
    "closing": failed("127.0.0.1 cut the connection during the TLS handshake (ConnectionResetError)"),
    "plain": failed("the TLS handshake with 127.0.0.1 failed: wrong version number", "tls"),
    "garbled": failed("127.0.0.1 cut the connection during the TLS handshake (ConnectionResetError)"),
    "mute": {"failed": "no answer in time"},
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["late", "early"])
async def test_a_handshake_that_fails_is_told_in_the_same_words(files: Files, how: str) -> None:
    async with AsyncExitStack() as stack:
        bases = [
            await stack.enter_async_context(listening(answering(Seen()), tls_peers.context(files, "unknown"))),
            await stack.enter_async_context(listening(answering(Seen()), tls_peers.context(files, "misnamed"))),
            *[
                await stack.enter_async_context(listening(peer))
                for peer in (tls_peers.closing, tls_peers.plain, tls_peers.garbled, tls_peers.mute)
            ],
        ]
        found = await asked(how, [{"url": f"{base}/whole", "ca": files["ca"], "limit": 2} for base in bases])
    assert dict(zip(HANDSHAKES, [one for (one,) in found], strict=True)) == HANDSHAKES


@pytest.mark.sample(1)
@pytest.mark.parametrize("how", ["late", "early"])
async def test_a_certificate_of_a_client_is_shown_where_a_server_wants_one(files: Files, how: str) -> None:
    told: list[WORDS] = []
    guarded = listening(answering(Seen()), tls_peers.context(files, wants_client=True))
    async with guarded as base, listening(tls_peers.demanding(files)) as alerting:
        job = {"url": f"{base}/whole", "ca": files["ca"]}
        (shown,), *refused = await asked(how, [job | {"cert": files["client"]}, job, job | {"cert": files["stranger"]}])
        job["url"] = f"{alerting}/whole"
        told = [one for (one,) in await asked(how, [job, job | {"cert": files["stranger"]}])]
    assert shown == answer("hello")
    assert refused == [[UNANSWERED]] * 2
    for one, word in zip(told, ("certificate required", "unknown ca"), strict=True):
        assert word in one["failed"].lower().replace("_", " "), one


@pytest.mark.slow
@pytest.mark.parametrize("how", ["late", "early"])
async def test_who_gives_up_in_the_middle_leaves_no_connection_and_the_next_request_is_served(files: Files, how: str) -> None:
    gone = [asyncio.Event(), asyncio.Event()]

    async def hearing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await tls_peers.mute(reader, writer)
        gone[0].set()

    seen = Seen(ended=gone[1])
    async with listening(hearing) as silent, listening(answering(seen), tls_peers.context(files)) as base:
        jobs: list[WORDS] = [
            {"url": f"{silent}/whole", "limit": 0.3},
            {"url": f"{base}/silent", "limit": 0.3},
            {"url": f"{base}/whole"},
        ]
        asking = asyncio.create_task(asked(how, [job | {"ca": files["ca"]} for job in jobs]))
        for one in gone:
            await asyncio.wait_for(one.wait(), LIMIT)
        assert await asking == [[{"failed": "no answer in time"}]] * 2 + [[answer("hello")]]


PROGRAM = """
import sys
{before}
from mcpwatch.http_client import late_tls
with late_tls.postponed():
    import uvloop, mcpwatch.http_client.client, mcpwatch.gateway.serve.program
print(late_tls.lacking(), *sorted({{"ssl", "_ssl", "hashlib", "_hashlib", "hmac"}} & sys.modules.keys()))
"""


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("before", "loaded"), [("", False), ("import asyncio", True), ("import ssl", True)], ids=["alone", "after asyncio", "after ssl"]
)
def test_nothing_of_openssl_is_loaded_unless_it_was_there_before(before: str, loaded: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)], capture_output=True, text=True, cwd=ROOT, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout == "True\n", "_ssl" in done.stdout) == (not loaded, loaded)


def test_what_a_loop_takes_from_the_stand_in_is_never_a_context(tmp_path: Path) -> None:
    code = (
        "from mcpwatch.http_client import late_tls\nwith late_tls.postponed(): import uvloop, asyncio\nimport ssl\n"
        "async def main():\n    loop = asyncio.get_running_loop()\n"
        "    for context in (ssl.create_default_context(), None):\n"
        "        try: await loop.start_tls(None, None, context)\n"
        "        except TypeError: print('refused')\n"
        "uvloop.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (0, "refused\nrefused\n"), done.stderr
