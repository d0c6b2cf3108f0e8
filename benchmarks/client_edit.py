"""CPU time of one proved edit of a large client file, in each syntax, beside the parser that the proof runs twice.

Run: `python -m benchmarks.client_edit [PROJECTS]`. The JSON file is what `~/.claude.json` becomes on a busy machine, the TOML file
Codex's `config.toml` with a table a project, the YAML file a list of servers with their arguments.
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable

from benchmarks.command import parser
from mcpwatch.clients.formats.edit import edit
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.formats.path import Path, Syntax, Value
from mcpwatch.clients.formats.toml import Toml
from mcpwatch.clients.formats.yaml import Yaml
from mcpwatch.clients.formats.yaml_events import documents

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
    table = '[projects."/src/{0}"]\ntrust_level = "trusted" # yes\nargs = ["a", {0}, true]\nenv = {{ A = "b", C = "{0}" }}\n\n'
    server = '  k{0}:\n    url: http://x/{0}  # c\n    args: [a, {0}, true]\n    env:\n      A: "b"\n'
    toml = "".join(table.format(number) for number in range(9 * projects))
    yaml = "servers:\n" + "".join(server.format(number) for number in range(12 * projects))
    report(Jsonc(strict=True), document(projects), "mcpServers", json.loads)
    report(Jsonc(), document(projects), "mcpServers", json.loads)
    report(Toml(), toml, "mcp_servers", tomllib.loads)
    report(Yaml(), yaml, "servers", documents)


def report(syntax: Syntax, text: str, box: str, read: Callable[[str], object]) -> None:
    """One line: ten entries put into `text` at once, as a first sync does."""
    entries: dict[Path, Value] = {(box, f"time{number}"): ENTRY for number in range(10)}
    parse, proved = spent(lambda: read(text)), spent(lambda: edit(syntax, text, entries))
    size = len(text) / 1e6
    print(f"{syntax.name}: {size:.1f} MB, parser {parse:.3f} s, one proved edit {proved:.3f} s, {proved / size:.2f} s/MB")


if __name__ == "__main__":
    options = parser("client_edit", __doc__)
    options.add_argument("projects", nargs="?", type=int, default=1000)
    main(options.parse_args().projects)
