"""CPU time of one scrape of 1,000 members, beside prometheus_client rendering the same series by itself.

Run: `python -m benchmarks.scrape [MEMBERS]`.
Half of the members change between two scrapes (probes every 30 s, scrapes every 15 s).
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from benchmarks.command import parser
from mcpwatch.model.view import FleetView
from mcpwatch.telemetry.fleet_collector import FleetCollector, ScrapeSnapshot
from mcpwatch.telemetry.readings import Readings
from mcpwatch.telemetry.spec import TelemetrySpec
from tests.telemetry import fleet


def half_changed(view: FleetView, at: float, odd: int) -> FleetView:
    members = tuple(fleet.member(m.name, at=at) if m.probes and number % 2 == odd else m for number, m in enumerate(view.members))
    routes = tuple(fleet.route(r.name, at=at) if number % 2 == odd else r for number, r in enumerate(view.routes))
    return FleetView(at=view.at, daemon=view.daemon, proxy=view.proxy, members=members, routes=routes)


class Frozen(Collector):
    def __init__(self, text: str) -> None:
        self._families = list(text_string_to_metric_families(text))

    def collect(self) -> list[Metric]:
        return self._families


def main(count: int) -> None:
    names = fleet.names(count)
    plan, view = fleet.plan(*names), fleet.view(*names)
    seen = [ScrapeSnapshot(plan, view)]
    collector = FleetCollector(TelemetrySpec(), "bench", lambda: seen[0], Readings())
    text = collector.text()
    print(f"{count} members, {text.count(chr(10))} lines, {len(text) / 1e6:.1f} MB")
    spent: list[float] = []
    for scrape in range(10):
        at, odd = fleet.NOW + 15 * (scrape + 1), scrape % 2
        for number, name in enumerate(names):
            if number % 2 == odd:
                collector.offer(fleet.probed(name, at=at))
                collector.offer(fleet.probed(name, vantage="route", at=at))
        view = half_changed(view, at, odd)
        seen[0] = ScrapeSnapshot(plan, view, offered=collector.offered)
        collector.settle(plan, collector.offered)
        began = time.thread_time()
        collector.text()
        spent.append(time.thread_time() - began)
    ours = sorted(spent)[len(spent) // 2]
    began = time.thread_time()
    collector.text()
    still = time.thread_time() - began
    registry = CollectorRegistry()
    registry.register(Frozen(text))
    began = time.thread_time()
    generate_latest(registry)
    peer = time.thread_time() - began
    print(f"ours, half changed  {ours * 1e3:8.1f} ms CPU")
    print(f"ours, none changed  {still * 1e3:8.1f} ms CPU")
    print(f"prometheus_client   {peer * 1e3:8.1f} ms CPU  ({peer / ours:.0f} times)")


if __name__ == "__main__":
    options = parser("scrape", __doc__)
    options.add_argument("members", nargs="?", type=int, default=1000)
    main(options.parse_args().members)
