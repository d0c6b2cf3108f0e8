"""The pages for people: each asks the API's own handlers and renders a template. Reading only; forms are in `forms`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from mcpwatch import __version__
from mcpwatch.clock import Clock
from mcpwatch.model.errors import UsageError
from mcpwatch.model.json import status_json
from mcpwatch.model.member import Verdict
from mcpwatch.ports import SupervisedFleet
from mcpwatch.web.api.app import Api
from mcpwatch.web.page import details, views
from mcpwatch.web.page.render import loaded, macro, page
from mcpwatch.web.page.report_view import one_page, report_tables, verdict
from mcpwatch.web.page.summary import summary
from mcpwatch.web.sessions import Caller, caller_of
from mcpwatch.web.spec import WebSpec

Document = dict[str, Any]
DAY = 86_400.0
LOG_LINES = 100
PART_FOR = 1.0
"""Seconds for which open pages with the same view are given the same rows."""
MARK = "mcpwatch.mark"
"""Key of a request's scope: the place in the stream of changes when it came."""
LOOKED = 300
"""Recorded facts from which the lines of a page are made."""


class Pages:
    """All pages of one site. `mark` tells the present place in the stream of changes."""

    def __init__(self, api: Api, fleet: SupervisedFleet, clock: Clock, spec: WebSpec, mark: Callable[[], str]) -> None:
        self._api = api
        self._fleet = fleet
        self._clock = clock
        self._spec = spec
        self._mark = mark
        self._turn = 0
        self._rendering = asyncio.Lock()
        self._parts: dict[views.FleetQuery, tuple[float, Response]] = {}

    def routes(self) -> list[BaseRoute]:
        """Path to page."""
        pages = {
            "/": self.fleet,
            "/route/{name}": self.route,
            "/alerts": self.alerts,
            "/clients": self.clients,
            "/objectives": self.objectives,
            "/fleets": self.fleets,
            "/self": self.itself,
        }
        return [Route(path, self._marked(endpoint), methods=["GET"]) for path, endpoint in pages.items()]

    def _marked(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The same, with the place in the stream that was reached before anything of the page was looked at."""

        async def marked(request: Request) -> Response:
            await loaded()
            request.scope[MARK] = self._mark()
            return await endpoint(request)

        return marked

    async def ask(self, method: str, path: str, **body: Any) -> Any:
        """One operation of the API, for reading. Raises `McpwatchError`."""
        return await self._api.handlers[method, path](body)

    def html(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:
        """One page."""
        now = views.moment(self._clock.wall())
        here = request.url.path
        after = request.scope.get(MARK, "")
        shown = {
            "live": "",
            "after": after,
            "here": here,
            "back": here,
            "now": now,
            "version": __version__,
            "title": self._spec.title,
            "fleets": bool(self._spec.fleets),
            **context,
        }
        return HTMLResponse(page(template, caller=caller_of(request.scope), **shown), status_code=status)

    async def rendered(self, names: frozenset[str]) -> tuple[dict[str, str], str, int]:
        """Rows of these members and routes (of those whose turn it is, when empty) as HTML by id; the summary as HTML; how many
        routes are down."""
        view = self._fleet.view()
        self._turn += not names
        light, part = views.light(view), views.part(view, names) if names else views.turn(view, self._turn)
        status = status_json(part)
        routes, members, at = status["routes"], status["members"], status["at"]
        known = await self._known([one["name"] for one in routes])
        rows = {
            f"r-{one['name']}": macro("parts.html", "route", views.route_row(one, known.get(one["name"]), at)) for one in routes
        }
        rows |= {f"m-{one['name']}": macro("parts.html", "member", views.member_row(one, at)) for one in members}
        found = summary(light)
        return rows, macro("parts.html", "now", found), found["bad"]

    async def _known(self, names: list[str]) -> Document:
        """What was measured of these routes."""
        return (await self.ask("GET", "/availability", names=names))["routes"]

    async def fleet(self, request: Request) -> Response:
        """Every route and member at a glance. An open page that asks again (`X-Part`) gets what others with its view got."""
        asked, now = views.FleetQuery.of(request.query_params), self._clock.now()
        if "x-part" not in request.headers:
            return await self._fleet_page(request, asked)
        async with self._rendering:
            self._parts = {key: one for key, one in self._parts.items() if 0 <= now - one[0] < PART_FOR}
            if asked not in self._parts:
                request.scope["mcpwatch.caller"] = Caller("read")  # the same for all: it holds nothing of its reader's
                self._parts[asked] = (now, await self._fleet_page(request, asked))
            return self._parts[asked][1]

    async def _fleet_page(self, request: Request, asked: views.FleetQuery) -> Response:
        view = self._fleet.view()
        light = views.light(view)
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
            summary=summary(light),
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
        whose = member["name"] if member else name
        known = await self._known([route["name"]] if route else [])
        hours = await self.ask("GET", "/availability/{name}", name=route["name"] if route else name)
        events = await self.ask("GET", "/events", member=whose, limit=LOOKED)
        log = await self._log(whose)
        return self.html(
            request,
            "route.html",
            live=" ".join(dict.fromkeys([name, whose])),
            name=name,
            member=member,
            route=route,
            row=views.route_row(route, known.get(route["name"]), at) if route else None,
            mrow=views.member_row(member, at) if member else None,
            causes=details.cause_rows(why["causes"]),
            repairs=details.repair_rows(why["repairs"], at),
            lines=why["lines"],
            stages=details.waterfall(route) if route else [],
            direct=details.probe_rows(member, at),
            through=details.probe_rows(route, at),
            contract=await self._contract(name, member, route),
            used_by=await self._used_by(route["name"] if route else ""),
            hours=hours["hours"],
            events=details.event_rows(events["events"], at),
            log=log["lines"],
            log_id=log["id"],
            log_of=whose,
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
        return [{**side, "listed": details.listed(side["contract"])} for side in seen.values()]

    async def _used_by(self, route: str) -> list[str]:
        clients: list[Document] = await self.ask("GET", "/clients")
        return [f"{one['title']}: {one['path']}" for one in clients if route and route in one.get("listed", ())]

    async def _log(self, member: str) -> Document:
        try:
            return await self.ask("GET", "/logs/{name}", name=member, lines=LOG_LINES)
        except UsageError:
            return {"lines": [], "id": ""}

    async def alerts(self, request: Request) -> Response:
        """Alerts, silences, maintenance, what was sent."""
        now = self._clock.wall()
        found = await self.ask("GET", "/alerts", all="1")
        silences = (await self.ask("GET", "/silences"))["silences"]
        kept = await self.ask("GET", "/maintenance")
        rows = [
            {
                **one,
                "op": op,
                "kind": kind,
                "what": ", ".join(f"{key}={value}" for key, value in one["match"].items()) or "everything",
            }
            for op, kind, group in (("expire", "silence", silences), ("end", "maintenance", kept["maintenance"]))
            for one in group
        ]
        windows = [
            {"name": one.get("name", ""), "active": one["active"], "words": json.dumps(one["match"])} for one in kept["windows"]
        ]
        told: list[Document] = []
        for name in ("alert_changed", "notification_sent", "notification_failed"):
            told += (await self.ask("GET", "/events", name=name, limit=details.EVENTS))["events"]
        changes = await self.ask("GET", "/events", name="route_changed", since=now - 30 * DAY, limit=1000)
        down = {one.name for one in self._fleet.view().routes if one.verdict is Verdict.UNHEALTHY}
        alerts = [details.alert_row(one, now) for one in found["alerts"]]
        return self.html(
            request,
            "alerts.html",
            live="alert_changed route_changed operator_acted notification_sent notification_failed",
            alerts=sorted(alerts, key=lambda one: not one["open"]),
            open=sum(one["open"] for one in alerts),
            unseen=sum(one["open"] and not one["ack"] for one in alerts),
            silences=rows,
            windows=windows,
            incidents=details.incidents(changes["events"], now, down),
            events=details.event_rows(sorted(told, key=lambda one: -float(one["at"])), now),
        )

    async def clients(self, request: Request) -> Response:
        """AI clients' files."""
        rows = [details.client_row(one) for one in await self.ask("GET", "/clients")]
        return self.html(request, "clients.html", live="client_file_written client_file_skipped operator_acted", clients=rows)

    async def objectives(self, request: Request) -> Response:
        """What was promised and what was measured."""
        asked = request.query_params.get("days", "7")
        days = int(asked) if asked in ("1", "7", "30") else 7
        found = await self.ask("GET", "/objectives", since=self._clock.wall() - days * DAY)
        number = views.FleetQuery.of(request.query_params).page
        part, pages = one_page(found, number)
        shown: Document = report_tables(part) | {"verdict": verdict(found)}
        return self.html(request, "objectives.html", days=days, pages=pages, number=min(number, pages), **shown)

    async def fleets(self, request: Request) -> Response:
        """This watchdog and the others of the configuration."""
        own, found = await self.ask("GET", "/summary"), await self.ask("GET", "/fleets")
        return self.html(request, "fleets.html", live="others", rows=details.fleet_rows(own, self._spec.title, found["fleets"]))

    async def itself(self, request: Request) -> Response:
        """The watchdog's own figures."""
        status = status_json(views.only(self._fleet.view(), (), ()))
        own = await self.ask("GET", "/self")
        events = await self.ask("GET", "/events", name="troubled", limit=details.EVENTS)
        daemon = status["daemon"]
        return self.html(
            request,
            "self.html",
            live="troubled plan_applied",
            trouble="; ".join(f"{one['name']}: {one['reason']}" for one in (*daemon["down"], *daemon["troubles"]))
            or daemon["config_error"],
            figures=details.own_figures(daemon, own, status["at"]),
            events=details.event_rows(events["events"], status["at"]),
        )
