"""Why a request got no answer, in the symptoms that checks tell; the gateway tells its text."""

from __future__ import annotations

from mcpwatch.model.symptom import Symptom

POSSIBLY_EXECUTED = "; the request may have been executed and is not sent again"


class HttpFailed(Exception):
    """The request got no answer; the text says why.

    `connected`: there was a server at the other end. `sent`: some of the request may have been read, so it may have been executed.
    `said`: what came instead of HTTP.
    """

    def __init__(
        self,
        text: str,
        symptom: Symptom = Symptom.UNREACHABLE,
        *,
        connected: bool = False,
        sent: bool = False,
        said: bytes = b"",
    ) -> None:
        self.symptom = symptom
        self.connected = connected
        self.sent = sent
        self.said = said
        self.reason = text
        super().__init__(text + POSSIBLY_EXECUTED if sent else text)

    @property
    def data(self) -> dict[str, object]:
        """What a JSON-RPC error says of it beside its text."""
        data: dict[str, object] = {"reason": self.reason}
        return data | {"possiblyExecuted": True} if self.sent else data
