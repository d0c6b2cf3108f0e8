"""Debian's Chromium by Playwright, and what is watched on every page: its console, and whom it asks."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 30_000
"""Milliseconds that anything on a page may take on a busy machine."""


@contextlib.contextmanager
def chromium() -> Generator[Browser]:
    """A browser for the time of a test."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Seen:
    """What a page did: errors on its console, dialogs, and requests to other origins."""

    def __init__(self, page: Page, origin: str) -> None:
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.dialogs: list[str] = []
        page.set_default_timeout(WAIT)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url, origin))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss())[1])

    def _asked(self, url: str, origin: str) -> None:
        if urlsplit(url).netloc != urlsplit(origin).netloc:
            self.outside.append(url)

    def clean(self) -> None:
        """Nothing of that happened."""
        assert (self.errors, self.outside, self.dialogs) == ([], [], [])
