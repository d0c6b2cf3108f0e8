"""The contract watch: what each server lists, held against the pinned contract of its route, and every change kept and told.

The first contract seen is trusted and pinned. What differs later is drift, answered as the check's policy says (`warn` only tells,
`degrade` and `quarantine` change the verdict); tools that vanish from a running incarnation of the same version degrade it even
under `warn`. A list that is empty, and a route that lacks what its member lists, are a failure under every policy but `ignore`:
that is how a lost upstream looks. A new incarnation that lists others from its start on changed on purpose, and so did a route
that lists what its member lists: that is drift. Another name and other tools are another server.
`mcpwatch pin` accepts what is listed now.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Literal

from mcpwatch.clock import Clock
from mcpwatch.model.contract import ContractChange, changes, collisions, severity, tokens
from mcpwatch.model.errors import UsageError, suggest
from mcpwatch.model.fact import Level, ToolsChanged
from mcpwatch.model.probe import Outcome, ProbeResult, ServerInfo, Stage, Symptom
from mcpwatch.model.time import WallTime, iso
from mcpwatch.ports import Publish, Store
from mcpwatch.watchdog.probing import ScheduledCheck

PINS = "pins"
SEEN = "contracts"
TURNS, CALM = 3, 20
"""Changes between two servers from which on they are said to answer in turn, and looks without one after which they do not."""
HISTORY = 20
"""Contracts kept per subject and vantage."""

_NUMBERS = re.compile(r"[\W_]*\b[0-9a-f]*\d[0-9a-f]*\b|[\d\W_]+", re.IGNORECASE)

Policy = Literal["ignore", "warn", "degrade", "quarantine"]


@dataclass(frozen=True, slots=True)
class KeptContract:
    """One contract as kept: its text, the version of the server that listed it, and since when."""

    contract: str
    version: str
    at: WallTime
    server: str = ""


def judge(
    policy: Policy,
    found: tuple[ContractChange, ...],
    result: ProbeResult,
    pinned_version: str,
    *,
    on_purpose: bool,
    elsewhere: frozenset[str] = frozenset(),
) -> ProbeResult:
    """What a result means when its contract differs from the pin. Pure. `on_purpose`: the server itself is another one now.

    `elsewhere`: the tools that the member itself lists. Those that its route lacks were lost in between, whatever the policy says.
    """
    tools = [change for change in found if change.kind == "tool"]
    gone = [change.name for change in tools if change.turn == "removed"]
    same = (result.server.version if result.server else "") == pinned_version
    if gone and same and not result.tools:
        return _failed(result, Symptom.EMPTY_TOOLS, f"no tools listed; {len(gone)} are pinned")
    lost = sorted(elsewhere.intersection(gone))
    if lost and same and not on_purpose:
        return _failed(result, Symptom.MISSING_TOOLS, f"no longer listed: {', '.join(lost[:5])}")
    words = "; ".join(str(change) for change in found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
    if policy == "quarantine" and severity(found) != "compatible":
        return _failed(result, Symptom.DRIFT, words)
    if policy in ("degrade", "quarantine") or (gone and same and not on_purpose):
        return replace(result, outcome=Outcome.DEGRADED, symptom=Symptom.DRIFT, stage=Stage.TOOLS_LIST, message=words)
    return result


def tool_names(contract: str) -> frozenset[str]:
    """The names of the tools of a contract."""
    return frozenset(str(tool["name"]) for tool in json.loads(contract).get("tools", []))


def renamed(before: str, now: str) -> bool:
    """Whether two names that servers gave themselves are of different servers: numbers in a name are versions, hosts, instances."""
    old, new = (_NUMBERS.sub("", name).casefold() for name in (before, now))
    return bool(old) and bool(new) and old != new


def _strangers(pinned: str, listed: str) -> bool:
    """Whether two contracts have so few tools in common that they are of different servers."""
    old, new = tool_names(pinned), tool_names(listed)
    return not old or len(old & new) * 2 < len(old)


def _failed(result: ProbeResult, symptom: Symptom, message: str) -> ProbeResult:
    return replace(result, outcome=Outcome.FAILURE, symptom=symptom, stage=Stage.TOOLS_LIST, message=message)


@dataclass(frozen=True, slots=True)
class _Turn:
    """Who answered last: the pinned server or (`other`, with its tools) another; how often that changed, and looks since."""

    generation: int
    other: bool = False
    tools: tuple[str, ...] = ()
    turns: int = 0
    calm: int = 0


class ServerTurns:
    """Finds two servers that answer in turn at one address: contracts of strangers, to and fro within one generation."""

    def __init__(self) -> None:
        self._last: dict[str, _Turn] = {}

    def look(self, key: str, pin: KeptContract, kept: KeptContract, generation: int) -> str:
        """What is told while two answer in turn; else the empty string."""
        other = kept.contract != pin.contract and _strangers(pin.contract, kept.contract)
        if not other and key not in self._last:
            return ""
        last = self._last.get(key, _Turn(generation))
        if last.generation != generation:
            last = _Turn(generation)
        tools = tuple(sorted(tool_names(kept.contract))) if other else ()
        other = bool(tools)
        turned = other != last.other
        calm = 0 if turned else last.calm + 1
        turns = last.turns + turned if calm < CALM else 0
        self._last[key] = last = _Turn(generation, other, tools if other else last.tools, turns, calm)
        if turns < TURNS:
            return ""
        names = ", ".join(last.tools[:3]) + (", …" if len(last.tools) > 3 else "")
        return f"two servers answer in turn at its address: the pinned one, and one that lists {names}"


class Contracts:
    """All pins and the history behind them."""

    def __init__(self, memory: Store, clock: Clock, publish: Publish) -> None:
        self._memory = memory
        self._clock = clock
        self._publish = publish
        self._listed: dict[str, int] = {}
        """The latest generation that listed the pinned contract, by vantage and subject."""
        self._turns = ServerTurns()
        self._pins = {key: KeptContract(**json.loads(text)) for key, text in memory.recall(PINS).items()}
        self._seen: dict[str, list[KeptContract]] = {
            key: [KeptContract(**one) for one in json.loads(text)] for key, text in memory.recall(SEEN).items()
        }

    def refine(self, watched: ScheduledCheck, result: ProbeResult, generation: int) -> ProbeResult:
        """The result, worse if its contract is not the pinned one and the policy says so. `generation`: of the member it is of."""
        contract = result.contract
        if contract is None or watched.check.contract == "ignore" or result.outcome is Outcome.FAILURE:
            return result
        key = f"{watched.key.vantage}:{watched.key.subject}"
        server = result.server or ServerInfo()
        kept = KeptContract(contract, server.version, self._clock.wall(), server.name)
        pin = self._pins.get(key)
        if pin is not None and (other := self._turns.look(key, pin, kept, generation)):
            return _failed(result, Symptom.WRONG_SERVER, other)
        if pin is None:
            if result.tools:
                self._pin(key, kept)
                self._keep(key, kept)
                self._listed[key] = generation
            return result
        words = f"'{server.name}' answers where '{pin.server}' was"
        other = words if renamed(pin.server, server.name) else ""
        found = changes(pin.contract, contract) if pin.contract != contract else ()
        if not found and not other:
            self._listed[key] = generation
            if self._seen[key][-1].contract != contract:
                self._keep(key, kept)  # it is back at what is pinned
            return result
        if pin.server and server.name and pin.server != server.name and _strangers(pin.contract, contract):
            return _failed(result, Symptom.WRONG_SERVER, words)
        latest = self._seen[key][-1]
        if latest.contract != contract or renamed(latest.server, server.name):
            self._keep(key, kept)
            self._tell(watched, found, other)
        on_purpose = self._on_purpose(watched, contract, generation)
        told = result
        if found:
            own = self._of_member(watched)
            told = judge(watched.check.contract, found, result, pin.version, on_purpose=on_purpose, elsewhere=own)
        if other and told.outcome is Outcome.SUCCESS:
            words += "; when that is meant, accept it with 'mcpwatch pin'"
            return replace(told, outcome=Outcome.DEGRADED, symptom=Symptom.WRONG_SERVER, stage=Stage.TOOLS_LIST, message=words)
        return told

    def _of_member(self, watched: ScheduledCheck) -> frozenset[str]:
        """The tools that the member of a route was last seen to list itself."""
        own = self._seen.get(f"direct:{watched.member}") if watched.key.vantage == "route" else None
        return tool_names(own[-1].contract) if own else frozenset()

    def _on_purpose(self, watched: ScheduledCheck, contract: str, generation: int) -> bool:
        """Whether the server itself lists something else now: a new incarnation that never listed the pinned contract, or a route
        that lists what its member was last seen to list."""
        key = f"{watched.key.vantage}:{watched.key.subject}"
        if watched.key.vantage == "route" and (own := self._seen.get(f"direct:{watched.member}")) is not None:
            return tool_names(own[-1].contract) == tool_names(contract)
        listed = self._listed.get(key)
        return bool(generation) and listed is not None and listed < generation

    def relisted(self, member: str, since: WallTime | None) -> KeptContract | None:
        """What a member listed itself at that time (`None`: before the latest change), and since when it lists something else."""
        kept = self._seen.get(f"direct:{member}", ())
        if len(kept) < 2:
            return None
        then = next((one for one in reversed(kept[:-1]) if since is None or one.at <= since), kept[0])
        same = since is not None and kept[-1].at <= since
        return None if same or then.contract == kept[-1].contract else replace(then, at=kept[-1].at)

    def pin(self, name: str) -> list[str]:
        """Accept what a member or route lists now; returns what that changes. Raises `UsageError` when nothing was listed yet."""
        keys = [key for key in self._seen if key.partition(":")[2] == name]
        if not keys:
            raise UsageError(f"'{name}' has listed nothing yet; check it with 'mcpwatch check {name}'")
        told: list[str] = []
        for key in keys:
            latest = self._seen[key][-1]
            told += [f"{key}: {change}" for change in changes(self._pins[key].contract, latest.contract)]
            self._pin(key, latest)
        return told

    def show(self, name: str) -> list[dict[str, object]]:
        """What a member or route lists from each vantage: tools, weight, the pin, and how it differs. Raises `UsageError`."""
        shown: list[dict[str, object]] = []
        for key, history in sorted(self._seen.items()):
            vantage, _, subject = key.partition(":")
            if subject != name:
                continue
            latest, pin = history[-1], self._pins[key]
            shown.append(
                {
                    "name": subject,
                    "vantage": vantage,
                    "version": latest.version,
                    "since": iso(latest.at),
                    "pinned": iso(pin.at),
                    "tokens": tokens(latest.contract),
                    "contract": json.loads(latest.contract),
                    "changes": [str(change) for change in changes(pin.contract, latest.contract)],
                    "history": [{"at": iso(kept.at), "version": kept.version} for kept in history],
                }
            )
        if not shown:
            raise UsageError(f"'{name}' has listed nothing yet{suggest(name, self.names())}")
        return shown

    def names(self) -> set[str]:
        """Members and routes that have listed something."""
        return {key.partition(":")[2] for key in self._seen}

    def overview(self) -> dict[str, object]:
        """Every route's number of tools and their weight, and the tool names that more than one route lists."""
        latest = {key.partition(":")[2]: kept[-1] for key, kept in self._seen.items() if key.startswith("route:")}
        listed = {name: [str(tool["name"]) for tool in json.loads(kept.contract).get("tools", [])] for name, kept in latest.items()}
        routes = [{"name": name, "tools": len(listed[name]), "tokens": tokens(latest[name].contract)} for name in sorted(latest)]
        return {"routes": routes, "collisions": {name: sorted(owners) for name, owners in collisions(listed).items()}}

    def _pin(self, key: str, kept: KeptContract) -> None:
        self._pins[key] = kept
        self._memory.remember(PINS, key, json.dumps(asdict(kept)))

    def _keep(self, key: str, kept: KeptContract) -> None:
        history = self._seen[key] = [*self._seen.get(key, []), kept][-HISTORY:]
        self._memory.remember(SEEN, key, json.dumps([asdict(one) for one in history]))

    def _tell(self, watched: ScheduledCheck, found: tuple[ContractChange, ...], other: str) -> None:
        worst = "breaking" if other else severity(found)
        words = [other] if other else []
        words += [f"its contract changed ({worst}): {'; '.join(str(change) for change in found[:5])}"] if found else []
        level: Level = "warning" if worst != "compatible" else "info"
        subject = watched.key.subject
        self._publish(
            ToolsChanged(
                at=self._clock.wall(),
                text=f"{subject}: {'; '.join(words)}",
                level=level,
                member=watched.member,
                route=subject if watched.key.vantage == "route" else "",
                severity=worst,
                changes=tuple(str(change) for change in found[:50]),
            )
        )
