"""Exercises: each computed answer passes, each wrong one gets its hint, in both languages; the pages have them all."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import site_hooks
from conftest import Done
from llmlab.claims.evaluate import value
from llmlab.cli import app
from llmlab.cli.chapter import CHAPTERS
from llmlab.errors import SettingError
from llmlab.exercises import Exercise, read
from llmlab.report.folding import is_wide
from llmlab.report.messages import CODES

DOCS = Path(__file__).resolve().parents[1] / "docs"
ALL = [pytest.param(one, id=one.number) for one in read().values()]
pytestmark = pytest.mark.usefixtures("computed_once")


@pytest.fixture(scope="module")
def computed_once() -> Iterator[None]:
    """Let what is asked for be computed once: it is the same at every check."""
    answer, found = Exercise.answer, dict[str, float]()

    def once(self: Exercise) -> float:
        if self.number not in found:
            found[self.number] = answer(self)
        return found[self.number]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exercise, "answer", once)
        yield


def packed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def check(*words: str) -> tuple[int, str]:
    """Return how a check ends, and what it says with its lines joined."""
    done = CliRunner().invoke(app, ["exercise", *words])
    return done.exit_code, packed(done.stdout or done.stderr)


def test_every_chapter_has_exercises() -> None:
    """Three at least, numbered by the chapter and without a gap."""
    for place, chapter in enumerate(CHAPTERS, 1):
        numbers = [one.number for one in read().values() if one.chapter == chapter]
        assert numbers == [f"{place}.{at}" for at in range(1, len(numbers) + 1)]
        assert len(numbers) >= 3


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("one", ALL)
def test_the_computed_answer_is_explained_and_a_wrong_one_gets_its_hint(one: Exercise, code: str) -> None:
    expected = one.answer()
    shown = format(expected, one.show).replace(" ", "")
    for text in (repr(expected), format(expected, one.show)):
        ends, told = check(one.number, text, "--lang", code)
        assert (ends, packed(one.why[code]) in told, shown in told) == (0, True, True)
    wrong = [(float(str(value(each["is"], {"answer": expected, **one.given}))), each) for each in one.wrong]
    for number, hint in [*wrong, (123_456.7, one.hint)]:
        ends, told = check(one.number, "--lang", code, "--", repr(number))
        assert (ends, packed(hint[code]) in told) == (1, True)
        assert len(shown) < 3 or shown not in told.replace(repr(number), "")
    assert {is_wide(said[code]) for said in (one.why, one.hint, *one.wrong)} == {code == "ja"}


@pytest.mark.parametrize(
    ("number", "texts"),
    [
        ("1.1", ("0.4159", " .4159", "4.159e-1", "０．４１５９", "0.4156", "0.42")),
        ("2.1", ("0.2773", "0.28")),
        ("2.2", ("13.4%", "13.4 %", "0.134", "13.4", "67/500", "１３．４％", "13%")),
        ("4.1", ("2.1e-6", "2e-6", "1.7e-6", "0.000002")),
        ("4.2", ("4,315,368", "4315368", "4.315368e6")),
        ("6.2", ("0", "0.0")),
    ],
)
def test_an_answer_may_be_written_in_many_ways(number: str, texts: tuple[str, ...]) -> None:
    """A share in per cent, thousands with commas, a fraction, full-width digits."""
    one = read()[number]
    assert [text for text in texts if not one.judged(one.number_of(text), one.answer())[0]] == []


@pytest.mark.parametrize(
    "text", ["", "x", "nan", "inf", "1,2", "0,134", "0.4.1", "1/0", "41%", "1e", "--", "٣", "0x1", "."]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    """One line, exit code 2; a percent sign where no share is asked for, too."""
    with pytest.raises(SettingError, match=r"exercise 1\.1"):
        read()["1.1"].number_of(text)


@pytest.mark.parametrize(
    ("number", "text", "which"),
    [
        ("2.3", "50", 0),
        ("4.1", "0.11", 0),
        ("4.1", "1e-6", None),  # two millionths are about two, not one
        ("4.1", "3e-6", None),
        ("4.2", "4,312,296", 1),
        ("4.2", "4,315,000", None),
        ("4.3", "-0.05", 2),
        ("5.1", "- 0.84", 2),
    ],
)
def test_a_confusion_is_seen_as_a_reader_writes_it(number: str, text: str, which: int | None) -> None:
    """Per cent, two digits, a minus without more ado, or in two words; another count is not taken for one of these."""
    one = read()[number]
    ends, told = check(number, *text.split(" "))
    assert ends == 1
    assert packed((one.hint if which is None else one.wrong[which])["en"]) in told


def test_a_number_beyond_all_bounds_is_only_wrong() -> None:
    assert [check("1.1", text)[0] for text in ("1e999", "9" * 500, "1/" + "9" * 500, "1e999/" + "9" * 500)] == [1] * 4


def test_it_lists_and_asks_at_once_and_refuses_an_unknown_number(run_llmlab: Callable[..., Done]) -> None:
    """And ``-1`` is an answer, and no option: it needs no ``--`` before it."""
    listed = run_llmlab("exercise", COLUMNS="60").out
    assert [number for number in read() if f"\n{number} " not in listed] == []
    assert "Compute the floor of abracadabra" in run_llmlab("exercise", "1.1").out
    assert is_wide(run_llmlab("exercise", "1.1", "--lang", "ja").out)
    assert run_llmlab("exercise", "9.9", "1").code == 2
    ends, told = check("1.1", "-1")
    assert (ends, "-1isnotit" in told) == (1, True)


@pytest.mark.parametrize("code", CODES)
def test_the_pages_have_every_exercise_once_with_its_check(code: str) -> None:
    hook = site_hooks.hook("exercises")
    folder = DOCS / "study" if code == "en" else DOCS / code / "study"
    asked: list[str] = []
    for page in sorted(folder.glob("*.md")):
        text = page.read_text("utf-8")
        numbers = [found["number"] for found in hook.PLACE.finditer(text) if found["kind"] == "question"]
        assert numbers == [found["number"] for found in hook.PLACE.finditer(text) if found["kind"] == "answer"]
        assert numbers == re.findall(r"^llmlab exercise (\d\.\d) ANSWER$", text, re.MULTILINE)
        asked += numbers
        became = site_hooks.on_page(hook, text, f"study/{page.name}", code)
        assert "<!-- question" not in became
        assert "<!-- answer" not in became
        for link in re.findall(r"\]\(\.\./(log/posts/[^)#]+md)\)", became):
            assert (DOCS / link).is_file()
    assert sorted(asked) == sorted(read())


def test_a_number_that_is_gone_stops_the_build_and_the_log_is_left_alone() -> None:
    """An entry may hold anything; a page of ours may not."""
    hook = site_hooks.hook("exercises")
    with pytest.raises(hook.PluginError, match=r"study/phase1\.md: <!-- question: 9\.9"):
        site_hooks.on_page(hook, "<!-- question: 9.9 -->", "study/phase1.md")
    assert site_hooks.on_page(hook, "<!-- question: 1.1 -->", "log/posts/x/entry.md") == "<!-- question: 1.1 -->"
