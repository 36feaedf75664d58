"""The drawings in the pages: well formed in both languages, told to those who cannot see them, and never cramped."""

from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

import site_hooks
from browser_walk import CHROMIUM, Walk

hook = site_hooks.hook("drawings")
DOCS = Path(__file__).resolve().parents[1] / "docs"
DRAWINGS = sorted((DOCS / "drawings").glob("*.svg"))
CRAMPED = """() => [...document.querySelectorAll(".drawing svg")].flatMap(drawing => {
  const frame = drawing.getBoundingClientRect();
  const scale = frame.width / drawing.viewBox.baseVal.width;
  const texts = [...drawing.querySelectorAll("text")]
    .map(text => [text.textContent, text.getBoundingClientRect(), text]);
  return texts.flatMap(([said, box, text], at) => {
    const outside = box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
    const small = scale * parseFloat(getComputedStyle(text).fontSize) < 11;
    const covered = texts.slice(at + 1).filter(([, other]) => box.left < other.right - 1 && other.left < box.right - 1
      && box.top < other.bottom - 3 && other.top < box.bottom - 3);
    return [...(outside ? [`${said} is outside`] : []), ...(small ? [`${said} is small`] : []),
      ...covered.map(([other]) => `${said} covers ${other}`)];
  });
})"""


def asked_for(page: Path) -> list[str]:
    return list(hook.PLACE.findall(page.read_text("utf-8")))


@pytest.mark.parametrize("code", ["en", "ja"])
@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_is_well_formed_and_says_what_it_shows(drawing: Path, code: str) -> None:
    figure = fromstring(hook.inlined(drawing.stem, drawing.read_text("utf-8"), code))  # noqa: S314 - ours

    assert figure[0].get("role") == "img"
    assert len(figure[0].get("aria-label", "")) > 40
    assert not {name for one in figure.iter() for name in one.attrib} & {"fill", "stroke", "style"}


def test_every_drawing_stands_in_one_page_in_both_languages() -> None:
    found = []
    for page in sorted((DOCS / "study").glob("*.md")):
        found += asked_for(page)
        assert asked_for(DOCS / "ja" / "study" / page.name) == asked_for(page)

    assert sorted(found) == [drawing.stem for drawing in DRAWINGS]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("folder", ["", "ja/"])
def test_no_text_in_a_drawing_is_small_covered_or_cut(walk: Walk, folder: str) -> None:
    page = walk.page(width=360)
    seen = 0
    for study in sorted((DOCS / "study").glob("*.md")):
        if asked_for(study):
            page.goto(f"{walk.base}{folder}study/{study.stem}.html")
            seen += page.locator(".drawing svg").count()
            assert page.evaluate(CRAMPED) == [], study.stem

    assert seen == len(DRAWINGS) >= 8
