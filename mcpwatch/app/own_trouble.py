"""Trouble of the watchdog itself: its store, its state directory, the file of its proxy, an end that it did not choose.

What it cannot do now is held from when it is told until it is told to be over, so that `status` shows it as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Callable

from mcpwatch.app.hang import was_hung
from mcpwatch.bus import Bus
from mcpwatch.model.fact import Fact, Level, PlanApplied, Troubled
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import ServiceDown
from mcpwatch.ports import Publish

LASTING = frozenset(
    {"backup", "checks", "leader", "logs", "loki", "metrics", "open files", "otel", "proxy file", "state directory", "store", "web"}
)
"""Subjects of the watchdog itself whose end is told."""
MOMENTS = frozenset({("state directory", "warning"), ("store", "warning")})
"""What is told of them and is over already: something was put back, or set aside."""
CONFIGURED = frozenset({"loki", "otel"})
"""Those that may be wrong by configuration: another one begins anew."""


class Troubles:
    """`now` is what is in trouble, the longest first. Hears everything that the bus tells."""

    def __init__(self, bus: Bus) -> None:
        self._held: dict[str, ServiceDown] = {}
        bus.hook(self._notice)

    @property
    def now(self) -> tuple[ServiceDown, ...]:
        """What lasts."""
        return tuple(self._held.values())

    def _notice(self, fact: Fact) -> None:
        if isinstance(fact, PlanApplied):
            for subject in CONFIGURED:
                self._held.pop(subject, None)
        if not isinstance(fact, Troubled) or fact.member or fact.subject not in LASTING:
            return
        if fact.cleared or (fact.subject, fact.level) in MOMENTS:
            self._held.pop(fact.subject, None)
            return
        before = self._held.get(fact.subject)
        self._held[fact.subject] = ServiceDown(fact.subject, fact.text, before.since if before else fact.at)


class OwnTrouble:
    """Tells it as facts."""

    def __init__(self, publish: Publish, wall: Callable[[], WallTime]) -> None:
        self._publish = publish
        self._wall = wall
        self._no_directory = self._no_file = False

    def tell(self, subject: str, text: str, level: Level = "error", *, cleared: bool = False) -> None:
        """Tell that something is in trouble, or with `cleared` well again."""
        self._publish(Troubled(at=self._wall(), text=text, level=level, subject=subject, cleared=cleared))

    def store(self, text: str | None) -> None:
        """What is wrong with the store; `None`: it can be written again."""
        self.tell("store", text or "the store can be written again", "error" if text else "info", cleared=text is None)

    def state_dir(self, text: str, bad: bool) -> None:
        """What happened to the state directory; `bad`: we cannot go on with it."""
        over, self._no_directory = self._no_directory and not bad, bad
        self.tell("state directory", text, "error" if bad else "info" if over else "warning", cleared=over)

    def no_proxy_file(self, why: str) -> None:
        """What the proxy reads cannot be written."""
        self._no_file = True
        self.tell("proxy file", why, "warning")

    def proxy_file(self, restored: str = "") -> None:
        """What the proxy reads is as the configuration says; `restored` tells what somebody had changed, if anything."""
        if restored or self._no_file:
            text = restored or "what the proxy reads is as the configuration says again"
            self.tell("proxy file", text, "warning" if restored else "info", cleared=True)
        self._no_file = False

    def past(self, set_aside: str) -> None:
        """What happened before there was anybody to tell it; `set_aside` says which store was unreadable, if one was."""
        if set_aside:
            self.tell("store", set_aside, "warning")
        if hung := was_hung():
            self.tell("watchdog", hung)
