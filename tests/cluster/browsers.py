"""A real Chromium for tests of the console, and what its pages have said.

The browser is the system's (``apt-get install chromium``), or the one that ``RILLFLOW_CHROMIUM``
names.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT: Final = Path(__file__).parents[2]
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
AXE: Final = ROOT / "serve" / "ui" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS: Final = ("serious", "critical")
PATIENCE_MS: Final = 60_000
EXPECTED: Final = ("400", "401", "403", "404", "503", "net::ERR_")
"""Parts of what a browser says about answers that tests bring about."""


def chromium() -> str | None:
    """Return the path of a Chromium; None where there is none."""
    named = os.environ.get("RILLFLOW_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def running() -> Iterator[Browser]:
    """Run the browser without a window."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


class Visit:
    """A person at a browser: a page, with what went wrong on it."""

    def __init__(self, browser: Browser, base_url: str, **options: Any) -> None:
        options = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"} | options
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.base_url = base_url
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: Any) -> None:
        if message.type == "error" and not any(part in message.text for part in EXPECTED):
            self.wrong.append(message.text)

    def open(self, address: str = "") -> Page:
        """Open a page of the console: ``executions?q=status:failed``."""
        self.page.goto(f"{self.base_url}/console#/{address}")
        self.page.locator("h1, form").first.wait_for(state="attached")
        return self.page

    def follow(self, fragment: str) -> Page:
        """Load the console anew, as a link on another page does: ``key=...``."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.base_url}/console#{fragment}")
        return self.page

    def inaccessible(self) -> list[str]:
        """Return what axe finds serious on the page as it is."""
        # The page's own policy forbids scripts from elsewhere, so axe comes by the protocol.
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {[node['html'][:160] for node in each['nodes']][:3]}"
            for each in found["violations"]
            if each["impact"] in SERIOUS
        ]

    def close(self) -> None:
        """Leave, and check that no page has failed or broken its policy."""
        self.context.close()
        assert not self.wrong
