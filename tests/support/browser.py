"""A headless Chromium that says what a page complains of and whom it asks: Debian's, or the one that CHROMIUM names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@dataclass
class Tab:
    """A page of Playwright's, the errors of its console and scripts, failed requests, and requests to hosts other than ``home``."""

    page: Any
    home: str
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self._complain(message.type == "error", message.text))
        self.page.on("pageerror", lambda error: self._complain(True, str(error)))
        self.page.on("response", lambda answer: self._complain(answer.status >= 400, f"{answer.status} {answer.url}"))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(self.home)

    def _complain(self, wrong: bool, words: str) -> None:
        self.errors += [words] * wrong

    def _asked(self, url: str) -> None:
        if not url.startswith((self.home, "data:", "blob:")):
            self.strangers.append(url)

    def wait(self, condition: str) -> None:
        """Until a JavaScript expression is true."""
        self.page.wait_for_function(condition, timeout=30_000)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Playwright's browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install chromium, or name one in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
