"""What is chosen, sorted and filtered on the site's pages, in a real browser.  Skipped where there is none."""

from typing import Any

import pytest

from browser_walk import CHROMIUM, Walk, choose
from built_site import ROOT
from llmlab import compare
from llmlab.report.logbook import Logbook
from llmlab.report.record import Record
from llmlab.report.result import TO_ROUNDING

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


def column(page: Any, number: int) -> list[str]:
    """Return what the seen rows of the comparison have in a column."""
    return page.eval_on_selector_all(
        ".log-table tbody tr",
        f"rows => rows.filter(row => !row.hidden).map(row => row.cells[{number}].textContent)",
    )


def test_the_comparison_sorts_and_filters(walk: Walk) -> None:
    """A heading sorts by its column, one way and the other; a filter leaves the entries that fit, and counts them."""
    page = walk.page()
    page.goto(walk.base + "log/compare.html")
    page.click("th[data-sort=perplexity] button")
    numbers = [float(text.replace(",", "")) for text in column(page, 6) if text != "–"]
    page.click("th[data-sort=perplexity] button")
    back = [float(text.replace(",", "")) for text in column(page, 6) if text != "–"]

    assert len(numbers) > 2
    assert numbers == sorted(numbers)
    assert back == sorted(numbers, reverse=True)

    page.select_option("#log-experiment", "phase1")
    assert set(column(page, 3)) == {"phase1"}
    page.select_option("#log-setting", "dim")
    page.select_option("#log-value", "2")
    assert len(column(page, 3)) == 1
    assert page.inner_text("#log-count").startswith("1 of ")
    page.select_option("#log-metric", "loss_floor")
    assert column(page, 8) == ["0.3466"]
    assert walk.complaints == []


def test_two_entries_are_compared_as_log_compare_does(walk: Walk) -> None:
    """The page marks the settings, and shows the metrics and differences, that ``llmlab log compare`` finds."""
    entries = {
        record.id: record
        for _, record in Logbook.at(ROOT).read()
        if isinstance(record, Record) and record.result.experiment.startswith("phase1")
    }
    a, b = list(entries.values())[1:3]
    page = walk.page()
    page.goto(f"{walk.base}log/compare.html#{a.id}+{b.id}")
    wanted = compare.document(a, b)
    cells = "all => all.map(one => [...one.tBodies[0].rows].map(row => [...row.cells].map(c => c.textContent)))"
    settings, metrics = page.eval_on_selector_all(".log-side", cells)

    assert {row[0] for row in settings if row[3]} == set(wanted["settings"])
    assert [row[0] for row in metrics] == list(wanted["metrics"])
    for name, *numbers in metrics:
        told = [0.0 if number == TO_ROUNDING else float(number.replace(",", "")) for number in numbers]
        assert told == pytest.approx(list(wanted["metrics"][name].values()), abs=6e-5, rel=0.05)
    assert f"llmlab log compare {a.id} {b.id}" in page.inner_text("#log-pair")
    assert walk.complaints == []


def test_two_experiments_are_compared_by_what_both_have(walk: Walk) -> None:
    """The page says that they are different experiments, and has no row that only one of them could fill."""
    entries = [record for _, record in Logbook.at(ROOT).read() if isinstance(record, Record)]
    a, b = (next(one for one in entries if one.result.experiment == name) for name in ("phase1-2", "layers"))
    page = walk.page()
    page.goto(f"{walk.base}log/compare.html#{a.id}+{b.id}")
    rows = page.locator(".log-side").first.locator("tbody th").all_inner_texts()

    assert "different experiments, phase1-2 and layers" in page.inner_text("#log-pair")
    assert set(rows) == {"experiment"} | (set(a.result.settings) & set(b.result.settings))
    assert walk.complaints == []


def test_choosing_a_third_entry_lets_go_of_the_first(walk: Walk) -> None:
    """At most two are chosen; the address says which, so that a comparison can be passed on; both can be let go."""
    page = walk.page(width=400)
    page.goto(walk.base + "log/compare.html")
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
    page = walk.page()
    page.goto(walk.base + "claims.html?words=stations")
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
    assert walk.complaints == []


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
