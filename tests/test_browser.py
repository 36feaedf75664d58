"""A walk through the built site in a real browser.  Skipped where there is no Chromium or no playwright."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from test_site import build, copy_of_the_site, put_entries

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
WORDS = ["hello", "<img src=x onerror=alert(1)> and_a_very_long_word_" + "x" * 120]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and does not tell."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass
class Walk:
    """A browser's page with what it complained of and what it asked for."""

    base: str
    site: Path
    browser: Any
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def page(self, *, width: int = 1280, scheme: str = "light") -> Any:
        """Open a fresh page under watch."""
        page = self.browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        page.on("console", lambda m: self.complaints.append(f"{page.url}: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("request", lambda request: self._asked(request.url))
        return page

    def _asked(self, url: str) -> None:
        if not url.startswith((self.base, "data:", self.site.as_uri())):
            self.strangers.append(url)

    def addresses(self) -> list[str]:
        """Return the address of every page of the site."""
        return [self.base + str(page.relative_to(self.site)) for page in sorted(self.site.rglob("*.html"))]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """The site with two entries in its log, served on this machine only, and a browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    folder = copy_of_the_site(tmp_path_factory.mktemp("walk"))
    put_entries(folder, WORDS)
    site = build(folder / "mkdocs.yml", folder / "built")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield Walk(f"http://127.0.0.1:{server.server_port}/", site, browser)
        browser.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_every_page_opens_quietly_and_fits(walk: Walk, width: int, scheme: str) -> None:
    """No page has an error in its console, asks another host for anything, or scrolls sideways."""
    page = walk.page(width=width, scheme=scheme)
    too_wide = []
    for address in walk.addresses():
        page.goto(address)
        page.wait_for_load_state("networkidle")
        if page.evaluate("document.scrollingElement.scrollWidth > innerWidth"):
            too_wide.append(address)

    assert (walk.complaints, walk.strangers, too_wide) == ([], [], [])


def test_the_search_finds_rotation(walk: Walk) -> None:
    """Who types "rotation" is led to the chapter about it."""
    page = walk.page()
    page.goto(walk.base)
    page.fill("input.md-search__input", "rotation")
    page.wait_for_selector(".md-search-result__item a")
    found = page.eval_on_selector_all(".md-search-result__item a", "links => links.map(link => link.href)")

    assert any("study/phase1-2.html" in link for link in found)
    assert walk.complaints == []


def test_the_toggle_swaps_the_figures(walk: Walk) -> None:
    """In the light the light picture is seen, in the dark the dark one, and never both."""
    page = walk.page(scheme="light")
    page.goto(walk.base + "study/phase1-2.html")

    def seen() -> set[str]:
        images = page.eval_on_selector_all(
            "article img", "all => all.filter(image => image.offsetParent !== null).map(image => image.src)"
        )
        return {image.rsplit("#", 1)[-1] for image in images}

    assert seen() == {"only-light"}
    page.click("label[title='Switch to dark']:visible")
    assert seen() == {"only-dark"}
    page.click("label[title='Switch to light']:visible")
    assert seen() == {"only-light"}


def test_a_script_that_came_through_is_still_refused(walk: Walk) -> None:
    """Behind the escaping stands the policy: a script inside an article does not run."""
    post = next((walk.site / "log").glob("2026-*.html"))
    forged = post.with_name("forged.html")
    script = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    forged.write_text(post.read_text("utf-8").replace("</article>", script + "</article>"), "utf-8")
    page = walk.browser.new_page()
    page.goto(f"{walk.base}log/forged.html")
    page.wait_for_load_state("networkidle")
    forged.unlink()

    assert "taken" not in page.title()


def test_formulas_have_a_size(walk: Walk) -> None:
    """Each formula is laid out as mathematics: it takes room, and its fraction has a bar's worth of height."""
    page = walk.page()
    page.goto(walk.base + "study/phase1.html")
    sizes = page.eval_on_selector_all("mfrac", "all => all.map(one => one.getBoundingClientRect().height)")

    assert len(sizes) > 3
    assert min(height for height in sizes if height) > 15


def test_a_copy_on_a_disk_opens_by_double_click(walk: Walk) -> None:
    """Opened as a file the study page has its style, its pictures and its links."""
    page = walk.page()
    page.goto((walk.site / "study" / "phase1.html").as_uri())

    assert page.evaluate("getComputedStyle(document.querySelector('.md-header')).position") == "sticky"
    assert page.eval_on_selector("article img", "image => image.complete && image.naturalWidth > 0")
    page.click("article a[href='phase1-2.html']")
    assert page.url == (walk.site / "study" / "phase1-2.html").as_uri()
