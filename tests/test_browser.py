"""A walk through the built site in a real browser.  Skipped where there is no Chromium or no playwright."""

from typing import Any

import pytest

from browser_walk import CHROMIUM, JAPANESE, Walk, choose
from llmlab import compare
from llmlab.report.result import TO_ROUNDING
from strategies_report import published

MOST_BYTES, MOST_SHIFT = 300_000, 0.1
SERIOUS = {"serious", "critical"}
SHIFTS = """new PerformanceObserver(list => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifted = (window.shifted || 0) + one.value;
}).observe({ type: "layout-shift", buffered: true })"""
"""Sums up how far what is seen moves by itself while a page loads."""

KINDS = [
    *("index.html", "start/raspberry-pi.html", "study/index.html", "study/tour.html", "study/phase1-2.html"),
    *("play.html", "glossary.html", "claims.html", "log/index.html", "log/chapters.html", "log/verdicts.html"),
    *("log/compare.html", "log/category/phase1-2.html", "log/2026-11-22-phase1-2-b4f5d44c.html"),
    *("reference/cli.html", "reference/measure.html", "contributing.html", "404.html"),
]
"""A page of each kind."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


def watched(walk: Walk, **options: Any) -> tuple[Any, set[str]]:
    """Return a page that sums up how it moves while it loads, and what it will have asked for."""
    page, asked = walk.page(**options), set[str]()
    page.add_init_script(SHIFTS)
    page.on("request", lambda request: asked.add(request.url))
    return page, asked


def faults_of(walk: Walk, page: Any, asked: set[str]) -> list[str]:
    """Return what is wrong with an opened page: what moved, what it weighs with all that it asked for, and its width.

    Its weight is that of the page, the style sheets, the scripts and the pictures, compressed as a web server sends
    them.  The search's worker and index are apart: they are fetched behind the page.
    """
    shifted = page.evaluate("window.shifted || 0")
    sent = sum(walk.bytes_of(url) for url in asked if "/search" not in url)
    asked.clear()
    moves = [f"{page.url} moves by {shifted:.2f}"] if shifted >= MOST_SHIFT else []
    return moves + ([f"{page.url} weighs {sent:,} bytes"] if sent > MOST_BYTES else []) + too_wide(page)


def too_wide(page: Any) -> list[str]:
    return [f"{page.url} is too wide"] if page.evaluate("document.scrollingElement.scrollWidth > innerWidth") else []


@pytest.mark.parametrize("part", range(2))
def test_every_page_opens_quietly_fits_stays_still_and_is_light(walk: Walk, part: int) -> None:
    """No page moves while it loads, weighs much, or scrolls sideways, nor as wide as a telephone, in the dark."""
    page, asked = watched(walk)
    faults = []
    for address in walk.addresses()[part::2]:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(color_scheme="light")
        page.goto(address)
        faults += faults_of(walk, page, asked)
        page.set_viewport_size({"width": 400, "height": 900})
        page.emulate_media(color_scheme="dark")
        faults += too_wide(page)

    assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_kind_of_page_has_a_serious_accessibility_fault(walk: Walk, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed")
    page = walk.page(width=1280 if scheme == "light" else 400, scheme=scheme, bypass_csp=True)
    found = []
    for kind in KINDS:
        page.goto(walk.base + kind)
        if kind == "log/compare.html":
            choose(page, 0, 1)
        page.evaluate(axe.AXE_SCRIPT)
        run = "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
        serious = (one for one in page.evaluate(run) if one["impact"] in SERIOUS or one["id"] == "landmark-unique")
        found += [
            (kind, one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"]) for one in serious
        ]

    assert found == []


REACHABLE = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
  .filter(one => one.tabIndex >= 0 && !one.disabled && one.checkVisibility({ visibilityProperty: true })
    && !one.closest(".md-search__output, [hidden]")
    && !(one.type === "radio" || one.type === "checkbox" && one.matches(".md-toggle")))
  .map((one, at) => { one.dataset.stop = at; return one.outerHTML.slice(0, 120); })"""
FOCUSED = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const seen = [one, one.nextElementSibling].filter(Boolean).some(part => {
    const style = getComputedStyle(part);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  });
  const told = `${one.className} ${one.outerHTML}`.slice(0, 150);
  return [one.dataset.stop ?? null, seen || one.matches(".md-search__input"), told];
}"""


@pytest.mark.parametrize(
    "kind",
    ["study/phase1-2.html", "play.html", "claims.html", "log/compare.html", "log/2026-11-22-phase1-2-b4f5d44c.html"],
)
def test_the_keyboard_reaches_everything_and_is_seen(walk: Walk, kind: str) -> None:
    page = walk.page(kind)
    page.wait_for_load_state("load")
    wanted = dict(enumerate(page.evaluate(REACHABLE)))
    reached, unseen = [], []
    for _ in range(len(wanted) + 50):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUSED)
        if focus is None:
            break
        reached.append(focus[2])
        wanted.pop(int(focus[0]), None) if focus[0] else None
        if not focus[1]:
            unseen.append(focus[2])

    assert "md-skip" in reached[0]
    assert all(any(part in one for one in reached) for part in ("md-option", "md-search__input"))
    assert (list(wanted.values()), unseen) == ([], [])


SMALL = """() => [...document.querySelectorAll("article *")]
  .filter(one => one.checkVisibility({ visibilityProperty: true })
    && [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())
    && parseFloat(getComputedStyle(one).fontSize) < 10.99)
  .map(one => `${getComputedStyle(one).fontSize} ${one.outerHTML.slice(0, 80)}`)"""


@pytest.mark.parametrize("scripts", [True, False])
def test_on_a_telephone_every_kind_of_page_can_be_read(walk: Walk, scripts: bool) -> None:
    """360 pixels wide in the dark, with scripts and without: no word of any is below 11 px."""
    page, asked = watched(walk, width=360, scheme="dark", java_script_enabled=scripts)
    faults = []
    for folder in ("", "ja/"):
        for kind in [*KINDS, "study/phase1.html", "study/baseline.html"]:
            page.goto(walk.base + folder + kind)
            faults += faults_of(walk, page, asked)
            faults += [f"{page.url}: {small}" for small in page.evaluate(SMALL)[:1]]

    assert faults == []


def test_the_site_reads_without_scripts(walk: Walk) -> None:
    """With JavaScript off the comparison is a table with links and no dead control, and of each figure one is seen."""
    page = walk.browser.new_context(java_script_enabled=False).new_page()
    page.goto(walk.base + "log/compare.html")

    assert page.locator(".log-table tbody a:visible").count() == len(list((walk.site / "log").glob("2026-*.html")))
    assert page.locator(".log-comparison :is(select, input, button):visible").count() == 0
    page.goto(walk.base + "log/2026-11-22-phase1-2-b4f5d44c.html")
    assert page.locator("article img:visible").count() == 1, "the entry's one picture, once"
    for summary in page.locator("article details > summary").all():
        summary.click()
    assert page.locator("article img:visible").count() * 2 == page.locator("article img").count() > 0


@pytest.mark.parametrize(
    ("at", "words", "page_of_it"),
    [("index.html", "rotation", "study/phase1-2.html"), ("ja/index.html", "\u57cb\u3081\u8fbc\u307f", "/ja/")],
)
def test_the_search_finds_a_word(walk: Walk, at: str, words: str, page_of_it: str) -> None:
    page = walk.page(at)
    page.fill("input.md-search__input", words)
    page.wait_for_selector(".md-search-result__item a")
    found = page.eval_on_selector_all(".md-search-result__item a", "links => links.map(link => link.href)")

    assert any(page_of_it in link for link in found)


@pytest.mark.parametrize("address", ["study/phase1-2.html", "log/2026-11-22-phase1-2-b4f5d44c.html"])
def test_the_toggle_swaps_the_figures(walk: Walk, address: str) -> None:
    page = walk.page(address, scheme="light")

    seen = "all => all.filter(image => image.offsetParent !== null).map(image => image.src.split('#')[1])"
    for switch, shown in (("", "light"), ("dark", "dark"), ("light", "light")):
        if switch:
            page.click(f"label[title='Switch to {switch}']:visible")
        assert {*page.eval_on_selector_all("article img", seen)} == {f"only-{shown}"}


def test_a_script_that_came_through_is_still_refused(walk: Walk) -> None:
    """Behind the escaping stands the policy: a script inside an article does not run."""
    post = next((walk.site / "log").glob("2026-*.html"))
    script = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    forged = post.read_text("utf-8").replace("</article>", script + "</article>")
    page = walk.browser.new_page()
    page.route("**/forged.html", lambda route: route.fulfill(body=forged, content_type="text/html"))
    page.goto(f"{walk.base}log/forged.html")
    page.wait_for_load_state("networkidle")

    assert "taken" not in page.title()


def test_formulas_have_a_size(walk: Walk) -> None:
    """Each formula is laid out as mathematics: it takes room, and its fraction has a bar's worth of height."""
    page = walk.page("study/phase1.html")
    sizes = page.eval_on_selector_all("mfrac", "all => all.map(one => one.getBoundingClientRect().height)")

    assert len(sizes) > 3
    assert min(height for height in sizes if height) > 15


def test_a_copy_on_a_disk_opens_by_double_click(walk: Walk) -> None:
    page = walk.page()
    page.goto((walk.site / "study" / "phase1.html").as_uri())

    assert page.evaluate("getComputedStyle(document.querySelector('.md-header')).position") == "sticky"
    assert page.eval_on_selector("article img", "image => image.complete && image.naturalWidth > 0")
    page.click("article a[href='phase1-2.html']")
    assert page.url == (walk.site / "study" / "phase1-2.html").as_uri()
    page.hover(".md-select")
    page.click(".md-select__link[hreflang=ja]")
    assert page.url == (walk.site / "ja" / "study" / "phase1-2.html").as_uri()


@pytest.mark.parametrize("address", ["index.html", "ja/index.html"])
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (400, 740)])
def test_the_first_screen_of_the_home_page_has_the_picture_and_the_command(
    walk: Walk, address: str, width: int, height: int
) -> None:
    page = walk.page(address, width=width)
    ends = page.eval_on_selector_all(
        "article p:has(> strong), article img, article pre",
        "all => all.filter(one => one.offsetParent).slice(0, 3).map(one => one.getBoundingClientRect().bottom)",
    )

    assert len(ends) == 3
    assert max(ends) < height


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "404.html"])
def test_the_switcher_leads_to_the_same_page_and_back(walk: Walk, kind: str) -> None:
    page = walk.page(kind)
    for code, address in (("ja", f"ja/{kind}"), ("en", kind)):
        page.hover(".md-select")
        page.click(f".md-select__link[hreflang={code}]")
        page.wait_for_url(walk.base + address)
        assert page.evaluate("document.documentElement.lang") == code


@pytest.mark.skipif(not JAPANESE, reason="no Japanese font on this machine")
def test_a_japanese_transcript_is_aligned(walk: Walk) -> None:
    """In a transcript a Latin letter, a rule and a dot are half as wide as a Japanese character."""
    page = walk.page("ja/start/laptop.html")
    widths = page.evaluate("""() => {
      const code = document.querySelector("article pre > code"), span = document.createElement("span");
      code.append(span);
      return ["\u6f22", "aa", "\u2500\u2500", "\u2502\u2502"].map(text => {
        span.textContent = text.repeat(20);
        return span.getBoundingClientRect().width;
      });
    }""")

    assert max(widths) - min(widths) < 0.02 * max(widths)


def column(page: Any, number: int) -> list[str]:
    return page.eval_on_selector_all(
        ".log-table tbody tr",
        f"rows => rows.filter(row => !row.hidden).map(row => row.cells[{number}].textContent)",
    )


def test_the_comparison_sorts_and_filters(walk: Walk) -> None:
    page = walk.page("log/compare.html")
    for backwards in (False, True):
        page.click("th[data-sort=perplexity] button")
        numbers = [float(text.replace(",", "")) for text in column(page, 6) if text != "–"]
        assert len(numbers) > 2
        assert numbers == sorted(numbers, reverse=backwards)

    page.select_option("#log-experiment", "phase1")
    assert set(column(page, 3)) == {"phase1"}
    page.select_option("#log-setting", "dim")
    page.select_option("#log-value", "2")
    assert len(column(page, 3)) == 1
    assert page.inner_text("#log-count").startswith("1 of ")
    page.select_option("#log-metric", "loss_floor")
    assert column(page, 8) == ["0.3466"]


def test_two_entries_are_compared_as_log_compare_does(walk: Walk) -> None:
    a, b = [one for one in published() if one.result.experiment.startswith("phase1")][1:3]
    page = walk.page(f"log/compare.html#{a.id}+{b.id}")
    wanted = compare.document(a, b)
    cells = "all => all.map(one => [...one.tBodies[0].rows].map(row => [...row.cells].map(c => c.textContent)))"
    settings, metrics = page.eval_on_selector_all(".log-side", cells)

    assert {row[0] for row in settings if row[3]} == set(wanted["settings"])
    assert [row[0] for row in metrics] == list(wanted["metrics"])
    for name, *numbers in metrics:
        told = [0.0 if number == TO_ROUNDING else float(number.replace(",", "")) for number in numbers]
        assert told == pytest.approx(list(wanted["metrics"][name].values()), abs=6e-5, rel=0.05)
    assert f"llmlab log compare {a.id} {b.id}" in page.inner_text("#log-pair")


def test_two_experiments_are_compared_by_what_both_have(walk: Walk) -> None:
    """The page says that they are different experiments, and has no row that only one of them could fill."""
    a, b = (next(one for one in published() if one.result.experiment == name) for name in ("phase1-2", "layers"))
    page = walk.page(f"log/compare.html#{a.id}+{b.id}")
    rows = page.locator(".log-side").first.locator("tbody th").all_inner_texts()

    assert "different experiments, phase1-2 and layers" in page.inner_text("#log-pair")
    assert set(rows) == {"experiment"} | (set(a.result.settings) & set(b.result.settings))


def test_choosing_a_third_entry_lets_go_of_the_first(walk: Walk) -> None:
    """At most two are chosen; the address says which, so that a comparison can be passed on; both can be let go."""
    page = walk.page("log/compare.html", width=400)
    choose(page, 0, 1, 2)
    boxes = page.locator(".log-table tbody input")

    assert [boxes.nth(row).is_checked() for row in range(3)] == [False, True, True]
    assert "has been let go" in page.inner_text("#log-bar")
    assert page.url.count("+") == 1
    assert not page.evaluate("document.scrollingElement.scrollWidth > innerWidth")
    page.click("#log-bar button")
    assert page.evaluate("document.activeElement.id") == "log-pair"
    page.click("#log-pair button")
    assert not page.is_visible("#log-pair")


def test_claims_are_filtered_by_verdict_chapter_and_words(walk: Walk) -> None:
    """The filter leaves the claims that fit, opens the notes they are folded in, counts them, and hides the others."""
    page = walk.page("claims.html?words=stations")
    ids = "all => all.filter(claim => claim.offsetParent !== null).map(claim => claim.querySelector('h3').id)"

    def seen() -> list[str]:
        return page.eval_on_selector_all(".claim", ids)

    assert seen() == ["p12-9"]
    page.fill(".claims-filter input", "")
    everything = page.locator(".claim").count()
    assert page.locator(".claims[open]").count() == 0
    page.select_option(".claims-filter [name=verdict]", "refined")
    page.select_option(".claims-filter [name=chapter]", "phase1-2")

    fitting = page.locator("[data-verdict=refined][data-chapter=phase1-2] h3")

    assert "p12-4" in seen()  # its sums need no log
    assert seen() == fitting.evaluate_all("all => all.map(title => title.id)")
    assert page.inner_text(".claims-filter [role=status]") == f"{len(seen())} of {everything} claims"
    assert page.locator(".claims:visible").count() == page.locator(".claims[open]").count() == 1


def test_claims_can_be_read_without_scripts(walk: Walk) -> None:
    """With JavaScript off every claim and every verdict is there, folded, and no filter that would do nothing."""
    page = walk.browser.new_context(java_script_enabled=False).new_page()
    page.goto(walk.base + "claims.html#p12-4")

    assert page.locator(".claim").count() == page.locator(".claim .verdict").count() > 20
    assert not page.locator(".claims-filter").is_visible()
    if not page.locator("#p12-4").is_visible():  # newer browsers open what an address leads into
        page.click(".claims:has(#p12-4) > summary")
    page.click(".claim:has(#p12-4) summary")
    assert page.locator(".claim:has(#p12-4) dl").is_visible()
