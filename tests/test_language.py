"""Japanese beside English: what is said in it, that no number gets lost on the way, and that it fits and aligns."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from conftest import Done
from llmlab.cli import app
from llmlab.cli.options import EXAMPLE, HEADS, HELP, help_of
from llmlab.errors import SettingError
from llmlab.params import models, tables
from llmlab.report import entry, screen
from llmlab.report.escape import md_fence
from llmlab.report.folding import folded, is_wide, phrases
from llmlab.report.language import ENGLISH, Language, language
from llmlab.report.record import Record
from llmlab.report.table import table_view
from strategies_report import HOSTILE, number_cells, on_screen, published, records, specimen

ROOT = Path(__file__).resolve().parents[1]
JAPANESE = language("ja")
PAGES = sorted((ROOT / "docs" / "ja").rglob("*.md"))
Run = Callable[..., Done]
WORDS = re.compile(r"[A-Za-z]{2,}[^A-Za-z]* [^A-Za-z]*[A-Za-z]{2,}")
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


GOLDEN = sorted((ROOT / "tests" / "golden").glob("*/record.json"))
KEPT = [*published(), *(Record.from_json(file.read_text("utf-8")) for file in GOLDEN)]
"""Every record of the log, and those of the golden runs."""
EACH = list({record.result.experiment: record for record in KEPT}.values())
"""One of each experiment."""


class Heard(Language):
    """A language that remembers what it was asked to say: everything that a person reads of a run."""

    texts: ClassVar[set[str]] = set()

    def say(self, text: str) -> str:
        self.texts.add(text)
        return JAPANESE.say(text)


def said() -> set[str]:
    """Return everything in words that the kept records and the counts say."""
    listener = Heard("ja", JAPANESE.catalogue)
    for record in KEPT:
        listener.result(record.result)
    for table in tables(models()):
        listener.table(table)
    return {text for text in listener.texts if WORDS.search(text)}


def test_what_the_records_say_is_said_in_japanese_without_losing_a_number() -> None:
    lost = dict[str, set[str]]()
    told = {text: JAPANESE.translation(text) for text in sorted(said())}
    for text, other in told.items():
        left = set(NUMBER.findall(other or ""))
        if gone := {found for found in NUMBER.findall(text) if found not in left and found not in (other or "")}:
            lost[text] = gone
    assert ([text for text, other in told.items() if other is None], lost) == ([], {})


def test_the_catalogue_has_no_holes() -> None:
    """What has something in it is a message; the catalogue is for texts that are always the same."""
    assert [text for text in JAPANESE.catalogue if re.search(r"\{[nwtxls]\d?\}", text)] == []


def test_only_words_are_translated() -> None:
    """Names, numbers, settings, coordinates, tokens and verdicts are the same in every language; in English, all is."""
    for record in KEPT:
        assert ENGLISH.result(record.result) == record.result
        told = replace(record, result=JAPANESE.result(record.result))
        assert replace(told, result=record.result) == record
        assert (told.result.metrics, told.result.settings) == (record.result.metrics, record.result.settings)
        for there, here in zip(record.result.figures, told.result.figures, strict=True):
            assert [replace(mark, legend="") for mark in there.marks] == [replace(m, legend="") for m in here.marks]


def widest(out: str) -> int:
    """Return how wide the widest line is, but for the command to go on with: the terminal folds that."""
    return max(cell_len(line.rstrip()) for line in out.splitlines() if not line.startswith(("次: ", "Next: ")))


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("record", EACH, ids=lambda record: record.name)
def test_every_run_fits_in_either_language(record: Record, width: int) -> None:
    for told in (ENGLISH, JAPANESE):
        out = on_screen(record, width, language=told)
        assert widest(out) <= width
        assert Counter(number_cells(record)) <= Counter(out.split())


@settings(max_examples=25)
@given(records)
def test_any_words_fit_in_japanese(record: Record) -> None:
    assert widest(on_screen(record, 40, language=JAPANESE)) <= 40


def test_the_columns_of_a_japanese_table_stand_under_each_other() -> None:
    table = JAPANESE.table(next(table for table in KEPT[-1].result.tables if table.name == "loss"))
    console = Console(markup=False, highlight=False, emoji=False, width=80, file=io.StringIO())
    console.print(table_view(table, console))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    rows = [line for line in lines if re.search(r"\d\.\d{4}$", line)]

    assert len(rows) == len(table.rows)
    assert len({cell_len(line) for line in rows}) == 1
    assert len({cell_len(line.rsplit(maxsplit=1)[0].rstrip()) for line in rows}) == 1


@given(st.text(alphabet="漢字かなカナー、。（）12.5, abPL", max_size=60), st.integers(12, 60))
def test_folding_loses_nothing_and_cuts_no_number(text: str, width: int) -> None:
    """The lines of a text are the text, none begins with a closing mark, and a number stands on one line.

    A space before a closing mark, where a line may end, is in no Japanese text.
    """
    assume(not re.search("\\s[、。）ー]", text))
    lines = folded(text, width)

    assert "".join(lines) == "".join(phrases(text)) == text
    assert not any(line[0] in "、。）ー" for line in lines[1:] if lines[0])
    assert not any(a[-1:].isdigit() and b[:1].isdigit() for a, b in pairwise(lines))


@pytest.mark.parametrize("text", [text for text in HOSTILE if "<script" in text or "\x1b" in text], ids=ascii)
def test_words_of_a_user_pass_through_a_translation_untouched(text: str) -> None:
    record = specimen(text)
    page = entry.page(record, language=JAPANESE).replace(md_fence(record.command, "sh"), "")

    assert "<script" not in page
    assert "\x1b" not in page


def test_a_sentence_is_translated_whole_or_not_at_all() -> None:
    half = "Means over seeds. Nobody ever wrote this."
    record = replace(specimen(), result=replace(specimen().result, why=half))

    assert JAPANESE.say(half) == half
    assert JAPANESE.is_foreign(half)
    assert f'<span lang="en">{half}</span>' in entry.page(record, language=JAPANESE)
    assert f'<span lang="en">{half}</span>' not in entry.page(record)


@pytest.mark.parametrize("record", EACH, ids=lambda record: record.name)
def test_an_entry_in_japanese_keeps_the_notes(record: Record) -> None:
    notes = "My own *words*, in whatever language: メモ。"
    english = entry.page(record).replace(entry.notes_of(entry.page(record)), notes)
    page = entry.page(record, english, JAPANESE)

    assert entry.notes_of(page) == notes
    assert is_wide(screen.title(record, JAPANESE))
    assert "**わかったこと** " in page
    assert record.command in page


def test_lang_changes_what_is_read_and_nothing_else(run_llmlab: Run) -> None:
    short = ("phase1", "--epochs", "3")
    seen = run_llmlab(*short, "--lang", "ja")
    by_variable = run_llmlab(*short, "--no-log", LLMLAB_LANG="ja")
    plain, told = (run_llmlab(*short, "--no-log", "--json", *more).document for more in ((), ("--lang", "ja")))
    assert all("出力層だけ" in done.out for done in (seen, by_variable))
    assert "output layer" not in seen.out
    assert plain["tables"] == told["tables"]
    (folder,) = seen.entries
    assert "**Found**" in (folder / "entry.md").read_text("utf-8")
    assert Record.from_json((folder / "record.json").read_text("utf-8")).command == "llmlab phase1 --epochs 3"
    for words in (["params"], ["log", "list"]):
        assert [is_wide(run_llmlab(*words, *more).out) for more in ((), ("--lang", "ja"))] == [False, True]


def test_an_unknown_language_is_refused(run_llmlab: Run) -> None:
    for done in (run_llmlab("phase1", LLMLAB_LANG="fr"), run_llmlab("phase1", "--lang", "fr")):
        assert done.code == SettingError.exit_code
        assert "--lang (or LLMLAB_LANG): 'fr' is not one of en, ja" in done.err


def test_a_terminal_without_japanese_gets_english(run_llmlab: Run) -> None:
    done = run_llmlab("params", "--lang", "ja", PYTHONIOENCODING="ascii")

    assert done.out.startswith("\nParameters")
    assert "--lang ja" in done.err


def built(page: Path) -> tuple[list[str], set[str], list[str]]:
    """Return the headings of a page in their order (their anchors depend on it), its commands and its marks."""
    text = page.read_text("utf-8")
    lines = {line.strip() for _, kind, body in FENCE.findall(text) if kind != "text" for line in body.splitlines()}
    commands = {line for line in lines if not line.startswith("mkdocs")}
    headings = re.findall(r"^(#+) ", FENCE.sub("", text), re.MULTILINE)
    return headings, commands, re.findall(r"<!-- .*? -->", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_translated_page_has_the_build_of_the_english_one(page: Path) -> None:
    assert is_wide(page.read_text("utf-8"))
    assert built(page) == built(ROOT / "docs" / page.relative_to(ROOT / "docs" / "ja"))


def test_the_menu_is_japanese() -> None:
    config = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8").replace("!ENV", ""), yaml.SafeLoader)

    def titles(nav: object) -> Iterator[str]:
        for item in nav if isinstance(nav, list) else []:
            if isinstance(item, dict):
                yield from item
                yield from (title for below in item.values() for title in titles(below))

    wanted = [*titles(config["nav"]), *(palette["toggle"]["name"] for palette in config["theme"]["palette"])]

    assert [title for title in wanted if JAPANESE.translation(title) is None] == []


def test_every_command_says_in_japanese_what_it_is() -> None:
    """Commands without a chapter too, their options, what Typer writes itself, and the exit codes."""

    def texts(command: Any) -> Iterator[str]:
        for part in (command, *command.params):
            yield from (getattr(part, "help", None) or "").split("\n\n")
        yield from (text for text in (command.epilog or "").split("\n\n") if not text.startswith(EXAMPLE))
        for below in getattr(command, "commands", {}).values():
            yield from texts(below)

    wanted = {*texts(typer.main.get_command(app)), *HEADS.values(), "Usage: ", EXAMPLE}
    assert [text for text in wanted if text and JAPANESE.translation(help_of(text)) is None] == []


def test_help_speaks_japanese(run_llmlab: Run) -> None:
    """Each option of each experiment says in Japanese what it is, its choices and its range; names stay as typed."""
    shown = run_llmlab("phase1-2", "--lang", "ja", "--help", COLUMNS="200").out
    assert "選べるのはnone、embedding、linear。" in shown
    assert "（1から4,096まで）" in shown
    assert "One of" not in shown
    assert run_llmlab("phase1-2", "--help", LLMLAB_LANG="ja", COLUMNS="200").out == shown
    assert "…" not in run_llmlab("two-stage", "--help", "--lang=ja", COLUMNS="80").out
    assert [data["help"] for data in HELP.values() if JAPANESE.translation(data["help"]) is None] == []
    assert [text for text in HELP if str(help_of(text)) != text] == []
