"""python -m tests.http_client.tls_client late|early JOBS: requests over TLS, with the loop's own TLS or one that comes later.

JOBS is a JSON list of `{url, ca, cert, body, method, limit, times, slowly}`; prints a JSON list of what became of each.
"""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import nullcontext
from typing import Any

from mcpwatch.http_client import late_tls

with late_tls.postponed() if sys.argv[1] == "late" else nullcontext():
    import asyncio

    import uvloop

    from mcpwatch.http_client.client import HttpClient, Response
    from mcpwatch.http_client.failure import HttpFailed
    from mcpwatch.http_client.trust import Trust


async def read(answer: Response, *, slowly: bool) -> bytes:
    if not slowly:
        return await answer.read()
    parts: list[bytes] = []
    while (part := await answer.part()) is not None:
        parts.append(part)
        await asyncio.sleep(0.001)
    return b"".join(parts)


async def ask(client: HttpClient, job: dict[str, Any]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(job.get("limit", 20)):
            answer = await client.request(job.get("method", "GET"), job["url"], {}, b"x" * job.get("body", 0))
            body = await read(answer, slowly=job.get("slowly", False))
    except HttpFailed as failed:
        return {"failed": failed.reason, "symptom": failed.symptom.value, "sent": failed.sent, "connected": failed.connected}
    except TimeoutError:
        return {"failed": "no answer in time"}
    shown = body.decode() if len(body) < 100 else f"{len(body)} bytes {hashlib.sha256(body).hexdigest()[:16]}"
    return {"status": answer.status, "body": shown}


async def run(job: dict[str, Any]) -> list[dict[str, Any]]:
    client = HttpClient(job["url"], trust=Trust(ca_file=job.get("ca"), cert_file=job.get("cert")))
    try:
        if "at_once" in job:
            return list(await asyncio.gather(*(ask(client, job) for _ in range(job["at_once"]))))
        return [await ask(client, job) for _ in range(job.get("times", 1))]
    finally:
        client.close()


async def main() -> None:
    assert late_tls.lacking() is (sys.argv[1] == "late")
    assert ("ssl" in sys.modules) is (sys.argv[1] == "early")
    unforeseen: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unforeseen.append(str(context.get("message"))))
    results = [await run(job) for job in json.loads(sys.argv[2])]
    print(json.dumps({"results": results, "unforeseen": unforeseen}))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
