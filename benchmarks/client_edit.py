"""CPU time of one proved edit of a large client file, beside the parser that the proof itself must run twice.

Run: `python -m benchmarks.client_edit [PROJECTS]`. The file is what `~/.claude.json` becomes on a busy machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from benchmarks.command import parser
from mcpwatch.clients.formats.edit import edit
from mcpwatch.clients.formats.jsonc import Jsonc

ENTRY = {"type": "sse", "url": "http://linuxserver.lan:9090/time/sse"}


def document(projects: int) -> str:
    history = [{"display": 'say "hi" {[' * 8, "n": number} for number in range(30)]
    body: dict[str, object] = {
        "numStartups": 1,
        "projects": {f"/src/{n}": {"history": history, "mcpServers": {}} for n in range(projects)},
    }
    return json.dumps({**body, "mcpServers": {}}, indent=2)


def spent(work: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(5):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return sorted(times)[2]


def main(projects: int) -> None:
    text = document(projects)
    parse = spent(lambda: json.loads(text))
    proved = spent(lambda: edit(Jsonc(strict=True), text, {("mcpServers", "time"): ENTRY}))
    print(f"{len(text) / 1e6:.1f} MB: json.loads {parse:.3f} s, one proved edit {proved:.3f} s, ratio {proved / parse:.1f}")


if __name__ == "__main__":
    options = parser("client_edit", __doc__)
    options.add_argument("projects", nargs="?", type=int, default=1000)
    main(options.parse_args().projects)
