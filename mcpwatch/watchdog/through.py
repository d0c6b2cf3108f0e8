"""A member is well and its route is not: what the proxy in between does wrong. Pure.

Owns: everything that only comparing the two vantages, the start times and the proxy's own log can tell. Must not know: repairs.
"""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Symptom
from mcpwatch.model.view import Diagnosis
from mcpwatch.watchdog.scene import CONFIG_SYMPTOMS, HUNG_SYMPTOMS, STALE_SYMPTOMS, Actor, Scene, Seen, evidence

MOUNT_GRACE = 30.0
"""Seconds after its start in which a proxy may still be mounting its routes, when its log says nothing either way."""

RECONNECT_GRACE = 45.0
"""Seconds after a member's start in which a proxy that reconnects by itself is left to do so."""

SETTLE_LIMIT = 30.0
"""Longest time that a restart of the proxy waits for members that are just coming up."""


def judge_route(scene: Scene, actor: Actor) -> Diagnosis | None:
    """The member is well, but not through the proxy: one cause, its subject the proxy."""
    seen, proxy = actor.through, scene.front
    if seen is None or proxy is None or actor.phase is not Phase.RUNNING or proxy.phase is not Phase.RUNNING:
        return None
    found = _visible(scene, actor, proxy, seen) if seen.bad else _hidden(scene, actor, proxy, seen)
    if found is None or found.rung != "restart_proxy":
        return found
    if proxy.runtime == "external":
        return replace(found, rung=None)
    if not _confirmed(actor, seen):
        return None  # the next look at the member itself, which is under way, tells whose fault it is
    coming = _coming(scene)
    return replace(found, hold=f"waiting for {', '.join(coming)}, so that one restart serves all") if coming else found


def together(found: list[Diagnosis]) -> list[Diagnosis]:
    """One diagnosis for one cause of one subject: what spoils three routes is told, and repaired, once."""
    merged: dict[tuple[str, str], Diagnosis] = {}
    for diagnosis in found:
        key = (diagnosis.cause, diagnosis.subject)
        first = merged.get(key)
        if first is None or diagnosis.cause not in _SHARED:
            merged[key if first is None else (diagnosis.cause, f"{diagnosis.subject} {len(merged)}")] = diagnosis
            continue
        text = first.text if diagnosis.text in first.text else f"{first.text}; {diagnosis.text}"
        merged[key] = replace(
            first,
            text=text,
            evidence=(*first.evidence, *diagnosis.evidence),
            affects=(*first.affects, *diagnosis.affects),
            members=(*first.members, *diagnosis.members),
            hold=first.hold or diagnosis.hold,
        )
    return list(merged.values())


_SHARED = frozenset({"stale_session", "not_mounted", "wrong_base_url", "route_failing", "child_died"})


def _visible(scene: Scene, actor: Actor, proxy: Actor, seen: Seen) -> Diagnosis | None:
    """A failing probe through the proxy, named."""
    route = actor.route or actor.name
    routes, why, symptom = (route,), _why(scene, actor), seen.symptom
    if symptom is Symptom.NOT_MOUNTED:
        return _not_mounted(scene, actor, proxy, why)
    if symptom is Symptom.BAD_ENDPOINT:
        text = "the proxy announces a base URL that clients cannot use"
        return Diagnosis("wrong_base_url", proxy.name, text, why, None, routes)
    if symptom in (Symptom.AUTH, Symptom.UNGUARDED):
        return Diagnosis("auth", proxy.name, f"the proxy's tokens are wrong for '{route}' ({symptom})", why, None, routes)
    if symptom in CONFIG_SYMPTOMS:
        return Diagnosis("config", proxy.name, f"the proxy's configuration spoils '{route}' ({symptom})", why, None, routes)
    if symptom is Symptom.MISSING_TOOLS:
        text = f"the proxy shows fewer tools of '{route}' than it should"
        return Diagnosis("empty_tools", proxy.name, text, why, "restart_proxy", routes)
    if actor.direct is None and actor.runtime != "hosted" and symptom in STALE_SYMPTOMS:
        text = f"the server '{actor.name}' inside the proxy is gone, and this proxy never starts it again"
        return Diagnosis("child_died", proxy.name, text, why, "restart_proxy", routes)
    if actor.direct is None and actor.runtime != "hosted" and symptom in HUNG_SYMPTOMS:
        text = f"the server '{actor.name}' inside the proxy does not answer, and only the proxy can start it again"
        return Diagnosis("member_hung", proxy.name, text, why, "restart_proxy", routes)
    if symptom in STALE_SYMPTOMS or scene.holds_sessions:
        return _stale(scene, actor, proxy, why)
    text = f"'{actor.name}' answers direct, not through the proxy ({symptom})"
    return Diagnosis("route_failing", proxy.name, text, why, "restart_proxy", routes)


def _hidden(scene: Scene, actor: Actor, proxy: Actor, seen: Seen) -> Diagnosis | None:
    """The route looks fine, from the proxy's memory: the start times tell that nobody is behind it."""
    believable = not (scene.holds_sessions and scene.lists_from_cache) or scene.reconnects or seen.proved
    if believable or actor.direct is None or seen.verdict is not Verdict.HEALTHY or actor.direct.verdict is not Verdict.HEALTHY:
        return None
    if not newer(actor, proxy):
        return None
    why = (*_why(scene, actor), "the route still answers: from the proxy's memory, which proves nothing")
    return _stale(scene, actor, proxy, why)


def _stale(scene: Scene, actor: Actor, proxy: Actor, why: tuple[str, ...]) -> Diagnosis | None:
    later = newer(actor, proxy)
    if later:
        why = (*why, "the member started after the proxy")
    text = f"the proxy holds a stale session to '{actor.name}'"
    found = Diagnosis("stale_session", proxy.name, text, why, "restart_proxy", (actor.route or actor.name,))
    waiting = RECONNECT_GRACE - (scene.at - actor.started_at) if actor.started_at is not None else 0.0
    honest = actor.through is not None and actor.through.symptom is Symptom.UPSTREAM_DOWN
    if not scene.holds_sessions and honest:
        text = f"the proxy has not reached '{actor.name}' again"
        found = Diagnosis("route_failing", proxy.name, text, why, "restart_proxy", (actor.route or actor.name,))
    if scene.reconnects and later and waiting > 0:
        return replace(found, hold=f"this proxy reconnects by itself; it is given {waiting:.0f}s more")
    return found


def _not_mounted(scene: Scene, actor: Actor, proxy: Actor, why: tuple[str, ...]) -> Diagnosis | None:
    route = actor.route or actor.name
    said = next((said for said in scene.proxy_said if said.route == route), None)
    age = scene.at - proxy.started_at if proxy.started_at is not None else MOUNT_GRACE
    text = f"the proxy has no route '{route}'"
    if said is not None and said.meaning == "failed":
        text = f"the proxy could not reach '{actor.name}' when it started, and never tries again"
    elif age < MOUNT_GRACE and not scene.mounts_late:
        return None  # it is still connecting; its log will say so, or time will
    elif said is None and not scene.mounts_late:
        text += f": it never said that it connected to '{actor.name}'"
    return Diagnosis("not_mounted", proxy.name, text, why, "restart_proxy", (route,))


def _confirmed(actor: Actor, seen: Seen) -> bool:
    """Whether the member itself was found well after its route was first found bad: else it may just have died."""
    if actor.direct is None or seen.since is None or not seen.bad:
        return True
    return actor.direct.at is not None and actor.direct.at >= seen.since and not actor.direct.failures


def newer(actor: Actor, proxy: Actor) -> bool:
    """Whether the member started after the proxy, which may then hold a session to its former life."""
    return actor.started_at is not None and proxy.started_at is not None and actor.started_at > proxy.started_at


def _coming(scene: Scene) -> tuple[str, ...]:
    """Members behind the proxy that are just coming up: restarting it now would leave them out."""
    return tuple(
        actor.name
        for actor in scene.actors
        if actor.name != scene.proxy
        and actor.route
        and actor.want is Want.UP
        and actor.runtime not in {"hosted", "external"}
        and (
            (actor.phase is Phase.STARTING and actor.started_at is not None and scene.at - actor.started_at < SETTLE_LIMIT)
            or (actor.phase is Phase.BACKOFF and actor.failures <= 1)
        )
    )


def _why(scene: Scene, actor: Actor) -> tuple[str, ...]:
    route = actor.route or actor.name
    return (*evidence(actor), *(f"proxy log: {said.text}" for said in scene.proxy_said if said.route == route))
