"""What everybody may see where the owner says so: names, health, history and incidents of routes,
also as badges (SVG) and a feed (Atom), and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from mcpwatch.clock import Clock
from mcpwatch.model.json import status_json
from mcpwatch.model.time import WallTime, iso
from mcpwatch.ports import SupervisedFleet
from mcpwatch.web.page import details, views
from mcpwatch.web.page.pages import Pages
from mcpwatch.web.page.render import loaded, page
from mcpwatch.web.problems import RequestRefused
from mcpwatch.web.spec import WebSpec

COLOURS = {"healthy": "#1a7f37", "degraded": "#9a6700", "unhealthy": "#b3261e", "unknown": "#57606a"}
WORDS = {"healthy": "up", "degraded": "degraded", "unhealthy": "down", "unknown": "unknown"}
LETTER = 7
"""Width of a letter in a badge."""


def badge(name: str, verdict: str) -> str:
    """A badge: the name of a route and its health, in words and colour."""
    word = WORDS.get(verdict, "unknown")
    left, right = LETTER * len(name) + 12, LETTER * len(word) + 12
    label, colour = escape(f"{name}: {word}"), COLOURS.get(verdict, COLOURS["unknown"])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{label}">'
        f'<rect width="{left}" height="20" fill="#444"/><rect x="{left}" width="{right}" height="20" fill="{colour}"/>'
        f'<g fill="#fff" font-family="DejaVu Sans,Verdana,sans-serif" font-size="11">'
        f'<text x="6" y="14" textLength="{left - 12}">{escape(name)}</text>'
        f'<text x="{left + 6}" y="14" textLength="{right - 12}">{escape(word)}</text></g></svg>'
    )


def atom(title: str, base: str, updated: str, incidents: Iterable[dict[str, Any]]) -> str:
    """The incidents as an Atom feed (RFC 4287)."""
    entries = "".join(
        f"<entry><id>{escape(base)}public#{escape(str(one['id']))}</id><title>{escape(_printable(one['text']))}</title>"
        f'<updated>{escape(one["time"])}</updated><link href="{escape(base)}public"/></entry>'
        for one in incidents
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom"><id>{escape(base)}public</id>'
        f"<title>{escape(title)}</title><updated>{escape(updated)}</updated><author><name>mcpwatch</name></author>"
        f'<link rel="self" href="{escape(base)}public/incidents.atom"/>{entries}</feed>\n'
    )


def _printable(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(letter for letter in text if letter.isprintable())


DAY = 86_400.0
INCIDENTS = 100


class Public:
    """The public pages of one site."""

    def __init__(self, pages: Pages, fleet: SupervisedFleet, clock: Clock, spec: WebSpec) -> None:
        self._pages = pages
        self._fleet = fleet
        self._clock = clock
        self._spec = spec

    def routes(self) -> list[BaseRoute]:
        """Path to page; none where the owner has not said so."""
        if not self._spec.public:
            return []
        return [
            Route("/public", self.page, methods=["GET"]),
            Route("/public/incidents.atom", self.feed, methods=["GET"]),
            Route("/badge/{name}.svg", self.badge, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """The public page: its rows hold only what everybody may see."""
        await loaded()
        view = self._fleet.view()
        light, asked = views.light(view), views.FleetQuery.of({"page": request.query_params.get("page", "1")})
        picked, total, pages = views.chosen(light["routes"], asked)
        names, found = [one["name"] for one in picked], views.counts(light)
        status = status_json(views.only(view, names, ()))
        known = (await self._pages.ask("GET", "/availability", names=names))["routes"]
        routes = {one["name"]: one for one in status["routes"]}
        rows = [views.route_row(_bare(routes[name]), known.get(name), status["at"]) for name in names]
        bad = found["unhealthy"]
        sentence = f"{bad} of {total} routes do not work." if bad else f"All {total} routes work."
        if not bad and found["healthy"] < total:
            sentence = "No route is known to be down."
        context = {
            "sentence": sentence,
            "bad": bad,
            "rows": rows,
            "incidents": details.event_rows([{**one, "fact": ""} for one in await self._incidents()], status["at"], INCIDENTS),
            "pages": pages,
            "number": asked.page,
        }
        return HTMLResponse(page("public.html", title=self._spec.title, now=views.moment(status["at"]), **context))

    async def feed(self, request: Request) -> Response:
        """Incidents as Atom."""
        incidents = await self._incidents()
        updated = incidents[0]["time"] if incidents else iso(WallTime(self._fleet.view().daemon.started_at))
        text = atom(self._spec.title, str(request.base_url), updated, incidents)
        return Response(text, media_type="application/atom+xml")

    async def badge(self, request: Request) -> Response:
        """The badge of a route."""
        route = self._fleet.view().route(str(request.path_params["name"]))
        if route is None:
            raise RequestRefused(404, "no such route")
        headers = {"Cache-Control": "no-cache", "Cross-Origin-Resource-Policy": "cross-origin"}
        return Response(badge(route.name, str(route.verdict)), media_type="image/svg+xml", headers=headers)

    async def _incidents(self) -> list[dict[str, Any]]:
        """Routes that went down and came back, without the reasons."""
        known = {route.name for route in self._fleet.view().routes}
        found = await self._pages.ask("GET", "/events", name="route_changed", since=self._clock.wall() - 30 * DAY, limit=1000)
        words = {"unhealthy": "went down", "healthy": "works again"}
        told = [one for one in found["events"] if one.get("route") in known and one.get("new") in words]
        return [
            {"id": f"{one['route']}-{one['time']}", "time": one["time"], "text": f"{one['route']} {words[one['new']]}"}
            for one in told
            if one["new"] == "unhealthy" or one.get("old") == "unhealthy"
        ][:INCIDENTS]


def _bare(route: dict[str, Any]) -> dict[str, Any]:
    """A route without anything but its name and health."""
    hidden = {"member": "", "diagnosis": None, "symptom": "", "message": "", "tools": None, "tokens": None, "url": ""}
    return {**route, **hidden}
