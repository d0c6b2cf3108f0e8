"""python -m benchmarks.gateway [--quick] [--rounds N] [--only NAME,NAME]: our gateway beside the peers, here and now.

Every round measures every gateway once, so that a busy machine is busy for all. The table shows medians over the rounds and,
last, the ratio to TBXark's in the same run. Peers: TBXark (Go), sparfenyuk mcp-proxy, FastMCP's proxy, and `direct`: the official
SDK's server without a gateway. `--quick`: one round with a tenth of the calls, to see that everything runs.
"""

from __future__ import annotations

import statistics
from collections import defaultdict

import uvloop

from benchmarks.command import parser
from benchmarks.gateway import measures
from benchmarks.gateway.peers import Peer

ALL = "mcpwatch,tbxark,sparfenyuk,fastmcp,direct"


def show(results: dict[str, dict[str, list[float]]]) -> None:
    names = list(results)
    rows = list(dict.fromkeys(row for found in results.values() for row in found))
    print("| | " + " | ".join(names) + " | mcpwatch : tbxark |")
    print("|---" * (len(names) + 2) + "|")
    for row in rows:
        medians = {name: statistics.median(results[name][row]) for name in names if results[name].get(row)}
        ours, theirs = medians.get("mcpwatch"), medians.get("tbxark")
        ratio = f"{ours / theirs:.2f}" if ours is not None and theirs else ""
        cells = " | ".join(f"{medians[name]:.3g}" if name in medians else "" for name in names)
        print(f"| {row} | {cells} | {ratio} |", flush=True)


async def main() -> None:
    options = parser("gateway", __doc__)
    options.add_argument("--quick", action="store_true", help="one round, a tenth of the calls, 1 and 3 servers")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--scale", type=float, default=1.0, help="share of the full number of calls")
    options.add_argument("--only", default=ALL, help=f"of {ALL}")
    options.add_argument("--servers", default="1,10,25", help="numbers of servers for the cold start; empty for none")
    given = options.parse_args()
    rounds, scale = (1, 0.1) if given.quick else (given.rounds, given.scale)
    counts = [int(word) for word in ("1,3" if given.quick else given.servers).split(",") if word]
    peers = [Peer(name) for name in given.only.split(",")]
    results: dict[str, dict[str, list[float]]] = {peer.name: defaultdict(list) for peer in peers}

    def note(peer: Peer, found: measures.Figures) -> None:
        for row, value in found.items():
            results[peer.name][row].append(value)

    for turn in range(rounds):
        order = peers if turn % 2 == 0 else peers[::-1]
        for wire in ("sse", "mcp"):
            for peer in order:
                note(peer, await measures.calls(peer, wire, scale))
        for count in counts:
            for delay in (0, 0.3):
                for peer in order:
                    if peer.many:
                        note(peer, await measures.start(peer, count, delay))
    if "mcpwatch" in results:
        note(Peer("mcpwatch"), await measures.recovery(2 if given.quick else 5))
    show(results)


if __name__ == "__main__":
    uvloop.run(main())
