"""The pages for people: each asks the API's own handlers and renders a template. Reading only; forms are in `forms`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from mcpwatch import __version__
from mcpwatch.clock import Clock
from mcpwatch.model.errors import UsageError
from mcpwatch.model.json import status_json
from mcpwatch.model.span import ago
from mcpwatch.ports import Fleet
from mcpwatch.web.api.app import Api
from mcpwatch.web.caller import caller_of
from mcpwatch.web.objectives.report import span
from mcpwatch.web.page import views
from mcpwatch.web.page.render import macro, page
from mcpwatch.web.spec import WebSpec

Document = dict[str, Any]
DAY = 86_400.0
LOG_LINES = 100
EVENTS = 30


class Pages:
    """All pages of one site. `address` tells where the page is served."""

    def __init__(self, api: Api, fleet: Fleet, clock: Clock, spec: WebSpec) -> None:
        self._api = api
        self._fleet = fleet
        self._clock = clock
        self._spec = spec

    def routes(self) -> list[BaseRoute]:
        """Path to page."""
        pages = {
            "/": self.fleet,
            "/route/{name}": self.route,
            "/alerts": self.alerts,
            "/clients": self.clients,
            "/objectives": self.objectives,
            "/self": self.itself,
        }
        return [Route(path, endpoint, methods=["GET"]) for path, endpoint in pages.items()]

    async def ask(self, method: str, path: str, **body: Any) -> Any:
        """One operation of the API, for reading. Raises `McpwatchError`."""
        return await self._api.handlers[method, path](body)

    def html(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:
        """One page."""
        now = views.moment(self._clock.wall())
        here = request.url.path
        shown = {"live": "", "here": here, "back": here, "now": now, "version": __version__, "title": self._spec.title, **context}
        return HTMLResponse(page(template, caller=caller_of(request.scope), **shown), status_code=status)

    async def rendered(self, names: frozenset[str]) -> tuple[dict[str, str], str, int]:
        """Rows of these members and routes (of all, when empty) as HTML by id; the sentence; how many routes are down."""
        view = self._fleet.view()
        light, part = views.light(view), views.part(view, names)
        status = status_json(part)
        routes, members, at = status["routes"], status["members"], status["at"]
        known = await self._known([one["name"] for one in routes])
        rows = {
            f"r-{one['name']}": macro("parts.html", "route", views.route_row(one, known.get(one["name"]), at)) for one in routes
        }
        rows |= {f"m-{one['name']}": macro("parts.html", "member", views.member_row(one, at)) for one in members}
        return rows, views.sentence(light), views.counts(light)["unhealthy"]

    async def _known(self, names: list[str]) -> Document:
        """What was measured of these routes."""
        return (await self.ask("GET", "/availability", names=names))["routes"]

    async def fleet(self, request: Request) -> Response:
        """Every route and member at a glance."""
        view = self._fleet.view()
        light, asked = views.light(view), views.Asked.of(request.query_params)
        found = views.counts(light)
        if asked.sort in ("availability", "latency"):
            every = await self._known([one["name"] for one in light["routes"]])
            light["routes"] = [
                one | {"a30": every[one["name"]]["30d"], "p95s": every[one["name"]]["p95"]} for one in light["routes"]
            ]
        picked, total, pages = views.chosen(light["routes"], asked)
        worst = sorted(light["members"], key=views.member_rank)[: views.PER_PAGE]
        names = [one["name"] for one in picked]
        status = status_json(views.only(view, names, [one["name"] for one in worst]))
        at, known, routes = status["at"], await self._known(names), {one["name"]: one for one in status["routes"]}
        rows = [views.route_row(routes[name], known.get(name), at) for name in names]
        members = sorted(status["members"], key=views.member_rank)
        return self.html(
            request,
            "fleet.html",
            live="rows",
            sentence=views.sentence(light),
            bad=found["unhealthy"],
            counts=found,
            asked=asked,
            sorts=views.SORTS,
            rows=rows,
            total=total,
            pages=pages,
            members=[views.member_row(one, at) for one in members],
            members_total=len(view.members),
        )

    async def route(self, request: Request) -> Response:
        """One route and its member: reasoning, probes, contract, logs, events."""
        name = str(request.path_params["name"])
        why = await self.ask("GET", "/why/{name}", name=name)
        at, member, route = self._clock.wall(), why["member"], why["route"]
        known = await self._known([route["name"]] if route else [])
        hours = await self.ask("GET", "/availability/{name}", name=route["name"] if route else name)
        events = await self.ask("GET", "/events", member=member["name"] if member else name, limit=EVENTS)
        return self.html(
            request,
            "route.html",
            live=" ".join(dict.fromkeys([name, member["name"] if member else name])),
            name=name,
            member=member,
            route=route,
            row=views.route_row(route, known.get(route["name"]), at) if route else None,
            lines=why["lines"],
            stages=views.waterfall(route) if route else [],
            direct=views.probe_rows(member, at),
            through=views.probe_rows(route, at),
            contract=await self._contract(name, member, route),
            used_by=await self._used_by(route["name"] if route else ""),
            hours=hours["hours"],
            events=views.event_rows(events["events"]),
            log=await self._log(member["name"] if member else name),
        )

    async def _contract(self, name: str, member: Document | None, route: Document | None) -> list[Document]:
        """What both vantages list, shortened for a page."""
        names = dict.fromkeys([name, member["name"] if member else name, route["name"] if route else name])
        sides: list[Document] = []
        for one in names:
            try:
                sides += await self.ask("GET", "/tools/{name}", name=one)
            except UsageError:
                continue
        seen = {(side["name"], side["vantage"]): side for side in sides}
        return [{**side, "listed": views.listed(side["contract"])} for side in seen.values()]

    async def _used_by(self, route: str) -> list[str]:
        clients: list[Document] = await self.ask("GET", "/clients")
        return [f"{one['title']}: {one['path']}" for one in clients if route and route in one.get("listed", ())]

    async def _log(self, member: str) -> list[Document]:
        try:
            found = await self.ask("GET", "/logs/{name}", name=member, lines=LOG_LINES)
        except UsageError:
            return []
        return found["lines"]

    async def alerts(self, request: Request) -> Response:
        """Alerts, silences, maintenance, what was sent."""
        now = self._clock.wall()
        found = await self.ask("GET", "/alerts", all="1")
        silences = (await self.ask("GET", "/silences"))["silences"]
        kept = await self.ask("GET", "/maintenance")
        rows = [
            {**one, "op": op, "what": ", ".join(f"{key}={value}" for key, value in one["match"].items()) or "everything"}
            for op, group in (("expire", silences), ("end", kept["maintenance"]))
            for one in group
        ]
        windows = [
            {"name": one.get("name", ""), "active": one["active"], "words": json.dumps(one["match"])} for one in kept["windows"]
        ]
        events = await self.ask("GET", "/events", name="alert_changed", limit=EVENTS)
        return self.html(
            request,
            "alerts.html",
            live="alert_changed operator_acted notification_sent",
            alerts=[views.alert_row(one, now) for one in found["alerts"]],
            silences=rows,
            windows=windows,
            events=views.event_rows(events["events"]),
        )

    async def clients(self, request: Request) -> Response:
        """AI clients' files."""
        found = await self.ask("GET", "/clients")
        rows = [
            {
                **one,
                "sync": {True: "yes", False: "no", None: "not looked yet"}[one.get("in_sync")],
                "drift": "; ".join(item["text"] for item in one.get("drift", ())) or one.get("error") or "none",
            }
            for one in found
        ]
        return self.html(request, "clients.html", live="client_file_written client_file_skipped operator_acted", clients=rows)

    async def objectives(self, request: Request) -> Response:
        """What was promised and what was measured."""
        days = request.query_params.get("days", "7")
        span_ = float(days) if days in ("1", "7", "30") else 7.0
        found = await self.ask("GET", "/objectives", since=self._clock.wall() - span_ * DAY)
        return self.html(request, "objectives.html", **report_tables(found))

    async def itself(self, request: Request) -> Response:
        """The watchdog's own figures."""
        status = status_json(views.only(self._fleet.view(), (), ()))
        daemon = status["daemon"]
        figures = [
            ("Version", daemon["version"]),
            ("Process", f"pid {daemon['pid']}, up {ago(status['at'] - daemon['started_at'])}"),
            ("Configuration", daemon["config"] + (f": rejected: {daemon['config_error']}" if daemon["config_error"] else "")),
            ("State directory", daemon["state_dir"]),
            ("Memory", views.size(daemon["rss"])),
            ("Open files", daemon["fds"]),
            ("CPU", f"{daemon['cpu_seconds']:.1f} s since the start"),
            ("Event loop lag", f"{views.milliseconds(daemon['loop_lag'])} (worst of the last minute)"),
            ("Schedule lag", f"{views.milliseconds(daemon['schedule_lag'])} (worst of the last minute)"),
            ("Facts that a listener was too slow for", daemon["dropped_facts"]),
            ("Does not work now", "; ".join(f"{one['name']}: {one['reason']}" for one in daemon["down"]) or "nothing"),
        ]
        events = await self.ask("GET", "/events", name="troubled", limit=EVENTS)
        return self.html(
            request, "self.html", live="troubled plan_applied", figures=figures, events=views.event_rows(events["events"])
        )


def report_tables(found: Mapping[str, Any]) -> Document:
    """The context of the report's tables, from the report as JSON."""
    objectives = [{"route": route["route"], **views.objective_row(one)} for route in found["routes"] for one in route["objectives"]]
    outages = [
        {
            "route": one["route"],
            "outages": one["outages"],
            "down": span(one["down"]),
            "announced": span(one["announced"]),
            "unknown": span(one["unknown"]),
            "worst": _worst(one["worst"]),
            "detect": f"{span(one['detect_median'])}, {span(one['detect_p95'])}",
            "repair": f"{span(one['repair_median'])}, {span(one['repair_p95'])}",
        }
        for one in found["routes"]
    ]
    since, until = views.moment(found["since"]), views.moment(found["until"])
    return {"since": since, "until": until, "objectives": objectives, "outages": outages, "met": found["met"]}


def _worst(one: Document | None) -> str:
    if one is None:
        return "none"
    cause = f", {one['cause']}" if one["cause"] else ""
    return f"{views.moment(one['begin'])}, {span(one['end'] - one['begin'])}{cause}"


def report_html(found: Mapping[str, Any]) -> str:
    """The report as a file that stands alone."""
    return page("report.html", **report_tables(found))
