"""The first screen: it fits, each entry has a finding of its own, and its rules agree in both languages."""

import ast
import io
import re
import shlex
from dataclasses import replace
from html import unescape
from string import Formatter

import pytest
import typer
from rich.cells import cell_len
from rich.console import Console

from llmlab.cli import app, chapter
from llmlab.cli.chapter import CHAPTERS, FOLLOW_UPS
from llmlab.report import entry, screen
from llmlab.report.escape import md_text
from llmlab.report.language import language
from llmlab.report.messages import CODES, group, say
from llmlab.report.record import Record
from llmlab.report.table import circumstances, first_screen, height, report
from llmlab.settings import flag
from strategies_report import on_screen, published

RECORDS = published()
CURRENT = [record for record in RECORDS if not record.superseded_by]
EACH = list({record.result.experiment: record for record in RECORDS}.values())
"""The newest of each experiment."""
NEXT = {"en": "Next: ", "ja": "次: "}
MOST_LINES = {80: 39, 40: 59}
"""By width; the line with the entry's path comes below."""


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("width", MOST_LINES)
def test_every_entry_of_the_log_fits_on_one_screen(width: int, code: str) -> None:
    """Forty lines of eighty columns, sixty of forty, none too long; a sentence is broken between phrases."""
    for record in RECORDS:
        lines = on_screen(record, width, first_screen, language(code)).splitlines()
        taken = sum(max(1, -(-cell_len(line) // width)) for line in lines)  # the terminal folds a command
        assert taken <= MOST_LINES[width], (record.id, record.command, taken)
        assert max(cell_len(line) for line in lines if not line.startswith(NEXT[code])) <= width, record.id
        assert [line for line in lines if line.lstrip()[:1] in {*"、。）」"}] == []
        numbers = {one for said in screen.findings(record, language(code)) for one in re.findall(r"\d[\d.,]*\d", said)}
        assert {one for one in numbers if not any(one in line for line in lines)} == set()


def test_a_label_of_ours_begins_a_sentence_in_upper_case_and_is_translated() -> None:
    """GRU and tiny GPT-2 are labels: a sentence that begins with one begins as sentences do, in either language."""
    record = next(
        one for one in RECORDS if "counting words" in screen.title(one) and one.result.experiment == "baseline"
    )
    for model in ("gru", "tiny-gpt2"):
        other = replace(record, result=replace(record.result, settings=record.result.settings | {"model": model}))
        assert screen.title(other)[0].isupper()
        assert "the GRU" not in screen.title(other, language("ja"))


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("width", MOST_LINES)
def test_what_log_show_says_first_fits_on_the_screen_too(width: int, code: str) -> None:
    for record in EACH:
        console = Console(markup=False, width=width, file=io.StringIO())
        which = circumstances(record, language(code), short=True)
        lines = height(which, console)
        taken = lines + sum(height(part, console) for part in first_screen(record, console, language(code), lines - 1))
        assert taken <= MOST_LINES[width] + 1, (record.id, record.command, lines, taken)


@pytest.mark.parametrize(("width", "full", "code"), [(20, False, "en"), (20, True, "ja"), (80, True, "en")])
def test_a_shell_takes_the_next_command_as_it_is_copied(width: int, full: bool, code: str) -> None:
    """However narrow the screen, the line behind Next: is the command and nothing else that a shell would obey."""
    for record in EACH:
        if proposal := screen.proposal(record, language(code)):
            shown = on_screen(record, width, report if full else first_screen, language(code))
            (line,) = [line for line in shown.splitlines() if line.startswith(NEXT[code])][-1:]
            typed = line.removeprefix(NEXT[code])
            assert shlex.split(typed, comments=True) == shlex.split(proposal[0])


def test_the_next_command_names_the_checkpoint_that_it_would_not_find() -> None:
    for command, place in (("llmlab baseline generate", " 'my run'"), ("llmlab layers", "")):
        record = next(one for one in RECORDS if (screen.proposal(one) or ("",))[0] == command)
        assert screen.proposal(record, place="my run")[0] == command + place  # type: ignore[index]


def test_the_next_command_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every entry, and of runs with a setting at its end, that can be made of one: no option is refused."""
    commands, asked = typer.main.get_command(app), []
    monkeypatch.setattr(chapter, "execute", lambda *words: asked.append(words))
    monkeypatch.setattr(chapter, "continue_lines", lambda *words: asked.append(words))
    ends = {"dim": 4_096, "epochs": 1_000_000, "text": "".join(map(chr, range(0x4E00, 0x4E00 + 200)))}
    for record in RECORDS:
        settings = record.result.settings
        single = settings["seeds"] == 1 and settings.keys() >= ends.keys() and "--focus" not in record.command
        for changes in ({}, *({name: end} for name, end in ends.items() if single)):
            given = "".join(f" {flag(name)} {end}" for name, end in changes.items())
            result = replace(record.result, settings=settings | changes)
            typed, _ = screen.proposal(replace(record, result=result, command=record.command + given)) or ("", "")
            if typed.split()[1] in CHAPTERS:
                asked.clear()
                with pytest.raises(SystemExit) as ended:
                    commands.main(shlex.split(typed)[1:])
                assert (ended.value.code, len(asked)) == (None, 1), typed


@pytest.mark.parametrize("code", CODES)
def test_no_two_entries_have_the_same_title(code: str) -> None:
    titles = [screen.title(record, language(code)) for record in RECORDS]
    assert sorted(titles) == sorted(set(titles))
    assert [title for title, record in zip(titles, RECORDS, strict=True) if record.created[:10] in title] == []


@pytest.mark.parametrize("code", CODES)
def test_a_page_is_headed_by_its_title_and_has_the_other_findings(code: str) -> None:
    for record in CURRENT:
        page = entry.page(record, language=language(code))
        assert f"\n# {md_text(screen.title(record, language(code)))}\n" in page
        seen = unescape(page.partition("<!-- more -->")[0])
        assert [one for one in screen.findings(record, language(code)) if one not in seen] == [], record.id


@pytest.mark.parametrize("experiment", [*CHAPTERS, *FOLLOW_UPS])
def test_every_rule_can_be_read_and_says_the_same_in_both_languages(experiment: str) -> None:
    one = screen.of(experiment)
    assert one is not None
    for rule in (*one.found, *one.next):
        for expression in (rule.when, *rule.where.values()):
            ast.parse(expression, mode="eval")
        english, japanese = ({name for _, name, _, _ in Formatter().parse(text) if name} for text in (rule.en, rule.ja))
        assert english == japanese, rule.en
    assert one.conditions.keys() == one.title.keys() == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_what_is_missing_from_the_numbers_is_said_at_once(code: str) -> None:
    """A run that was stopped, or that lost seeds, says so behind its title, on the screen and on its page."""
    record = next(record for record in CURRENT if record.result.experiment == "two-stage")
    lost = [say("study.stopped", seeds=1), say("study.lost", seed=2, arm="main", update=7)]
    result = replace(record.result, status="interrupted", summary=[*record.result.summary, *lost])
    cut = replace(record, result=result)
    said = [language(code).say(one) for one in lost]
    assert screen.findings(cut, language(code))[1:3] == said
    assert all(md_text(one) in entry.page(cut, language=language(code)).partition("<!-- more -->")[0] for one in said)
    assert screen.title(cut, language(code)).endswith(language(code).say(group("title", code)["interrupted"]))


def test_colours_read_on_dark_and_on_light() -> None:
    """No background, no white, no yellow, nothing reversed: of these, one is invisible on somebody's ground."""
    codes = set()
    for record in EACH:
        file = io.StringIO()
        console = Console(file=file, force_terminal=True, color_system="truecolor", width=80)
        for part in (*first_screen(record, console), *report(record, console)):
            console.print(part, crop=False)
        codes |= {int(code) for found in re.findall(r"\x1b\[([0-9;]*)m", file.getvalue()) for code in found.split(";")}
    bright, plain = range(90, 97), range(30, 37)
    assert codes <= {0, 1, 2, 3, *plain, *bright} - {30, 33, 93}


def test_a_rule_about_a_number_that_a_run_lacks_is_silent() -> None:
    """No rule guesses: without metrics nothing is found, and the title is chapter and time."""
    record = next(record for record in RECORDS if record.result.experiment == "layers")
    bare = Record.from_json(record.json().replace('"val_ppl', '"other'))
    assert "2026-" in screen.title(bare)
