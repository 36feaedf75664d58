"""What is added to a record later: a successor, numbers counted again, an expectation that came after a first look."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given

from claims_by_hand import LEDGER
from conftest import Done
from llmlab import compare
from llmlab.claims import findings
from llmlab.claims.verdicts import judged
from llmlab.errors import SettingError
from llmlab.pages import chapters, comparison
from llmlab.report import entry
from llmlab.report.language import language
from llmlab.report.logbook import Logbook, read_record
from llmlab.report.messages import stored
from llmlab.report.record import LATER, Amendment, Record
from strategies_report import HOSTILE, specimen, strict_json, texts
from test_entry import shown
from test_golden import kept

WHY = "It was run again with more seeds."
NAMES = {"89abcdef": "2026-11-23-phase1-2-89abcdef"}


def later(text: str = "h", why: str = WHY) -> Record:
    """Return a record with everything that can be added to one, ``text`` wherever words of a user can stand."""
    return replace(
        specimen(text),
        amendments=[Amendment("2026-11-29", why, {"loss": 0.5, "samples.p_next": [0.25, 1.0]}, "数え直した。")],
        superseded_by="89abcdef",
        superseded_why=why,
        superseded_why_ja="シードを増やした。",
        supersedes=["01234567"],
        expectation_after_look=True,
    )


@given(texts)
def test_additions_survive_strict_json(text: str) -> None:
    record = later(text, text or "x")
    assert Record.from_json(record.json()) == record
    assert strict_json(record.json()) == stored(record.document())
    assert set(specimen(text).document()) & set(LATER) == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("superseded_by", "0123abcd"),
        ("superseded_by", "../posts"),
        ("superseded_by", 7),
        ("superseded_why", ""),
        ("supersedes", ["01234567", "01234567"]),
        ("supersedes", ["89abcdef"]),
        ("supersedes", "01234567"),
        ("expectation_after_look", "yes"),
        ("expectation_after_look", 1),
        ("amendments", [{"date": "2026-11-29", "why": "w", "was": {"lost": 1.0}}]),
        ("amendments", [{"date": "2026-11-29", "why": "w", "was": {}}]),
        ("amendments", [{"date": "2026-11-29", "why": "", "was": {"loss": 1.0}}]),
        ("amendments", [{"date": "29.11.2026", "why": "w", "was": {"loss": 1.0}}]),
        ("amendments", [{"date": "2026-11-29", "why": "w", "was": {"loss": 1.0}, "by": "me"}]),
    ],
)
def test_an_addition_that_means_nothing_is_refused(name: str, value: Any) -> None:
    """A name of no number, an entry that supersedes itself, no date, a word for a truth value: all are refused."""
    document = json.loads(later().json()) | {name: value}
    with pytest.raises(ValueError, match=rf"{name}|{name[:-1]}|does not match"):
        Record.from_json(json.dumps(document))


def shape(page: str) -> tuple[object, ...]:
    seen = shown(page.split("---\n", 2)[2])
    return seen.elements, seen.attributes, seen.comments


def test_no_hostile_reason_can_act_on_the_page() -> None:
    bare = replace(later(), result=replace(later().result, tables=[], figures=[]))
    pages = [
        entry.page(replace(bare, superseded_why=why, amendments=[replace(bare.amendments[0], why=why)]), names=NAMES)
        for why in (WHY, *HOSTILE)
    ]
    for text, page in zip(HOSTILE, pages[1:], strict=True):
        assert shape(page) == shape(pages[0]), ascii(text[:24])
        assert "\n\n" not in page.partition("<details>")[2].partition("</details>")[0]


@pytest.mark.parametrize("code", ["en", "ja"])
def test_a_superseded_entry_leads_to_its_successor(code: str) -> None:
    """Its head names and links the successor and says why; in lists what it said is folded, and no verdict is left."""
    said = language(code)
    page = entry.page(later(), language=said, names=NAMES)
    head = page.partition("<!-- more -->")[0]

    assert (
        f"[89abcdef](../{NAMES['89abcdef']}/entry.md)**: {later().superseded_why if code == 'en' else 'シード'}" in head
    )
    assert head.index("<details") < head.index(said.say("Found")) < head.index("</details>")
    assert f"{said.say('Supersedes')} 01234567\n" in page
    assert f"**{said.say('Written after a first look:')}**" in page
    assert said.say("Expected beforehand:") not in page
    assert yaml.safe_load(page.split("---\n")[1])["tags"] == [said.say("complete"), said.say("superseded")]
    assert all(said.translation(words) for words in ("Counted again", "was", "is", "number")) or code == "en"


def test_a_number_that_was_counted_again_stands_beside_its_old_value() -> None:
    cells = re.findall(r"<td>(.*?)</td>", entry.page(later()))
    assert cells == ["loss", "0.5000", "0.3740", "samples.p&#95;next", "0.2500, 1.0000", "0.3740, 0.3740, 0.3740"]


def test_a_superseded_record_decides_no_claim() -> None:
    """Alone it leaves claims unjudged that it would decide; beside its successor it is not even among the others."""
    new = kept("phase1-2")
    old = replace(new, id="0123abcd", superseded_by=new.id, superseded_why=WHY)
    decided = {finding.claim for finding in findings(new)}
    claims = [claim for claim in LEDGER if claim.id in decided]

    assert len(claims) > 3
    assert findings(old) == []
    for claim in claims:
        assert judged(claim, [old]).said.verdict == "not yet run"
        assert (judged(claim, [old, new]).said.record, judged(claim, [old, new]).others) == (new.name, ())


def test_the_index_folds_what_is_superseded() -> None:
    """The list of a chapter has the current entries; the others are links that open on demand, all of them."""
    new = replace(specimen(), id="89abcdef")
    index = chapters.index([new, later()])
    folded = chapters.folded([new, later()], "phase1-2", lambda record: f"{record.name}.html", "ja")

    assert (index.count("](posts/"), chapters.FOLDED.findall(index)) == (1, ["phase1-2"])
    assert folded.startswith("<details><summary>旧版の記録: 1件</summary><ul><li>")
    assert f'href="{later().name}.html"' in folded
    assert new.name not in folded
    assert "(superseded)" in comparison.block([later()], lambda record: "x.html")
    assert not chapters.FOLDED.findall(chapters.index([new]))


def test_a_comparison_says_what_is_superseded() -> None:
    new = replace(specimen(), id="89abcdef")
    assert compare.tables(later(), new)[0].caption.endswith("0123abcd is superseded by 89abcdef.")
    assert compare.document(new, later())["superseded_by"] == {"a": None, "b": "89abcdef"}


def test_the_command_links_both_loses_nothing_and_lists_fold_the_old_one(
    run_llmlab: Callable[..., Done], log: Logbook
) -> None:
    old, new = (log.put(specimen())[0] for _ in range(2))
    done = run_llmlab("log", "supersede", old.id, new.id, "--why", WHY, "--why-ja", "増やした。", "--json")
    then = [read_record(log.posts / record.name) for record in (old, new)]

    assert (done.code, done.document["schema"], done.document["why"]) == (0, "llmlab.supersede/1", WHY)
    assert then[0] == replace(old, superseded_by=new.id, superseded_why=WHY, superseded_why_ja="増やした。")
    assert then[1] == replace(new, supersedes=[old.id])
    assert {outcome for _, outcome in log.render(only_check=True)} == {"same"}
    assert f"](../{new.name}/entry.md)" in (log.posts / old.name / entry.PAGE).read_text("utf-8")
    assert f"](../{old.name}/entry.md)" in (log.posts / new.name / entry.PAGE).read_text("utf-8")
    again = run_llmlab("log", "supersede", old.id, new.id, "--why", WHY, "--why-ja", "増やした。", "--lang", "ja")
    assert again.out == f"{old.id}は旧版です。{new.id}に置き換えられました。\n"
    assert [read_record(log.posts / record.name) for record in (old, new)] == then

    short, long = run_llmlab("log", "list").out, run_llmlab("log", "list", "--all").out
    listed = {each["id"]: each["superseded_by"] for each in run_llmlab("log", "list", "--json").document["entries"]}

    searched = run_llmlab("log", "list", "--search", old.id).out
    assert ("1 superseded, shown by --all" in searched, "No entry" in searched) == (True, False)
    assert (old.id in short, new.id in short, "1 superseded" in " ".join(short.split())) == (False, True, True)
    assert old.id in long
    assert listed == {old.id: new.id, new.id: None}
    assert f"Superseded by {new.id}: {WHY}" in run_llmlab("log", "show", old.id).out
    assert f"Supersedes {old.id}" in run_llmlab("log", "show", new.id).out


def test_what_was_counted_again_is_shown_in_a_terminal(run_llmlab: Callable[..., Done], log: Logbook) -> None:
    """``log show`` has each old value beside the new one, the reason, and says of the expectation what it is."""
    put, _ = log.put(replace(later(), superseded_by="", superseded_why=""))
    shown, japanese = (
        " ".join(run_llmlab("log", "show", put.id, "--full", "--lang", code).out.split()) for code in ("en", "ja")
    )
    for words in ("Counted again", "loss 0.5000 0.3740", f"2026-11-29: {WHY}", "After a first look you wrote: h"):
        assert words in shown
    for words in ("2026-11-29: 数え直した。", "結果を見たあとの予想: h"):
        assert words in japanese


def test_entries_that_do_not_go_together_are_refused(run_llmlab: Callable[..., Done], log: Logbook) -> None:
    """Itself, another experiment, no reason, a second or a superseded successor: refused, and nothing is written."""
    old, new, third = (log.put(specimen())[0] for _ in range(3))
    other, _ = log.put(replace(specimen(), result=replace(specimen().result, experiment="phase1")))
    old, new = log.supersede(old, new, WHY)
    before = {path: path.read_bytes() for path in log.posts.rglob("*.*")}
    for first, second, words in (
        (new, new, "itself"),
        (other, new, "same experiment"),
        (old, third, "already"),
        (new, old, "superseded itself"),
    ):
        with pytest.raises(SettingError, match=words):
            log.supersede(first, second, WHY)
    done = run_llmlab("log", "supersede", third.id, new.id, "--why", " ")

    assert (done.code, "--why" in done.err) == (2, True)
    assert run_llmlab("log", "supersede", "zzz", new.id, "--why", WHY).code == 2
    assert {path: path.read_bytes() for path in log.posts.rglob("*.*")} == before
