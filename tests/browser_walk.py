"""A walk through the built site in a real browser, under watch."""

import functools
import gzip
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from built_site import build_both, copy_of_the_site, once, put_entries
from conftest import HANG

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
JAPANESE = bool(
    shutil.which("fc-list") and subprocess.run(["fc-list", ":lang=ja"], capture_output=True, check=True).stdout
)
"""Whether this machine has a font for Japanese; without one every character is the same box."""

WORDS = ["hello", "<img src=x onerror=alert(1)> and_a_very_long_word_" + "x" * 120]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and does not tell."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@functools.cache
def compressed(path: Path) -> int:
    """Return how many bytes a file has when it is compressed; nothing has none."""
    return len(gzip.compress(path.read_bytes())) if path.is_file() else 0


@dataclass
class Walk:
    """A browser's page with what it complained of and what it asked for."""

    base: str
    site: Path
    browser: Any
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def page(self, address: str = "", *, width: int = 1280, scheme: str = "light", **options: Any) -> Any:
        """Return a page, opened at an address of the site if one is given."""
        screen = {"width": width, "height": 900}
        page = self.browser.new_context(viewport=screen, color_scheme=scheme, **options).new_page()
        page.set_default_timeout(1000 * HANG)
        page.on("console", lambda m: self.complaints.append(f"{page.url}: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("request", lambda request: self._asked(request.url))
        if address:
            page.goto(self.base + address)
        return page

    def _asked(self, url: str) -> None:
        if not url.startswith((self.base, "data:", self.site.as_uri())):
            self.strangers.append(url)

    def bytes_of(self, url: str) -> int:
        """Return how many bytes a web server that compresses sends for a file of the site."""
        return compressed(self.site / unquote(urlsplit(url).path).lstrip("/"))

    def addresses(self) -> list[str]:
        return [self.base + str(page.relative_to(self.site)) for page in sorted(self.site.rglob("*.html"))]


def walking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Serve the site with two entries in its log on this machine only, open a browser, and close both in the end."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

    def make(folder: Path) -> None:
        copy_of_the_site(folder)
        put_entries(folder, WORDS)
        build_both(folder, folder / "built")

    site = once(tmp_path_factory, "walk", make) / "built"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield Walk(f"http://127.0.0.1:{server.server_port}/", site, browser)
        browser.close()
    server.shutdown()
    server.server_close()


def choose(page: Any, *rows: int) -> None:
    for row in rows:
        page.locator(".log-table tbody input").nth(row).check()
