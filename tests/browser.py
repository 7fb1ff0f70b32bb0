"""A real Chromium for tests of pages: what a page asked the network for, and what it said.

Fixtures: `chromium`, one process for each test module, and `browser`, a fresh profile for each
test. Tests are skipped, with the reason, where Chromium or Playwright is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.report_picture import ARGUMENTS, installed_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

_PATIENCE_MS = 60_000  # the machine may be busy


@dataclass
class Visit:
    """A browser profile, and what its pages did.

    Attributes:
        context: Playwright's, for what is not here.
        requests: every URL but those that live in the page itself.
        errors: what pages wrote to the console as errors, and what they threw.
    """

    context: BrowserContext
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, address: str | Path, **options: Any) -> Page:
        """A page at a URL or a file, loaded; `options` are those of `Page.goto`."""
        page = self.context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("request", lambda request: self._asked(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self._said(message.type, message.text))
        page.goto(address.as_uri() if isinstance(address, Path) else address, **options)
        return page

    def _asked(self, url: str) -> None:
        if not url.startswith(("data:", "blob:", "about:")):
            self.requests.append(url)

    def _said(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One Chromium without a window; of a module, since Playwright's loop is the thread's own."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; it is in the extra dev"
    )
    program = installed_chromium()
    if program is None:
        pytest.skip("no Chromium and no Chrome is installed; on Debian: apt install chromium")
    with playwright.sync_playwright() as running:
        process = running.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield process
        process.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Visit]:
    """A fresh profile: nothing of another test's pages."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield Visit(context)
    context.close()


def accessibility_problems(page: Page) -> list[str]:
    """What axe-core finds serious or critical in a page: `rule: sentence (element)`."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe-core is not installed; axe-playwright-python is in the extra dev",
    )
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {rule['help']} ({node['html'][:160]})"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
