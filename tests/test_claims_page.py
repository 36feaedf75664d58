"""The page of the claims: every row with its anchor, in both languages, and no word of a record acts on it."""

import functools
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import site_hooks
from claims_by_hand import LEDGER
from dangers import Seen
from llmlab.claims.ledger import read
from llmlab.claims.verdicts import JUDGEMENTS, Judged, Said
from llmlab.report.language import language
from llmlab.report.messages import worded
from strategies_report import HOSTILE, texts

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = read()
hook = site_hooks.hook("claims")


@pytest.mark.parametrize("folder", ["docs", "docs/ja"])
def test_the_page_names_the_claims_that_go_on_from_the_notes_own_run(folder: str) -> None:
    """What their rows need of a checkpoint the small run does not have."""
    text = (ROOT / folder / "claims.md").read_text("utf-8")
    (told,) = re.findall(r"`CHECKPOINT`(.*?)`llmlab baseline --preset original", text, re.DOTALL)
    apart = {"number_bytes_fp32", "base_data"}
    rows = [(claim.id, claim.records.needs) for claim in LEDGER if claim.records and "CHECKPOINT" in claim.command]
    assert re.findall(r"\[([^]]+)\]", told) == [claim for claim, needs in rows if apart & needs.keys()]


@functools.cache
def page(*evidence: str, lang: str = "en") -> str:
    """Return the page with each claim judged by a run that said something, one after the other."""
    told = [evidence[number % len(evidence)] for number in range(len(LEDGER))]
    rows = [
        Judged(
            claim,
            Said(JUDGEMENTS[number % 5], {"en": words, "ja": words}, record="2026-01-01-phase1-00000000"),
            reruns=(Said("supported", {}, machine=words),),
        )
        for number, (claim, words) in enumerate(zip(LEDGER, told, strict=True))
    ]
    return str(hook.rendered(DOCUMENTS, rows, lang, "log/"))


@functools.cache
def seen(*evidence: str) -> Seen:
    return Seen(page(*evidence))


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_every_claim_stands_under_its_anchor(lang: str) -> None:
    made = page("seen", lang=lang)
    anchors = re.findall(r'<h3 id="([^"]+)"', made)

    assert sorted(anchors) == sorted(claim.id.lower() for claim in LEDGER)
    assert made.count('href="log/2026-01-01-phase1-00000000.html"') == len(LEDGER)
    for claim in LEDGER:
        assert hook.shown(claim.claim_ja if lang == "ja" else claim.claim) in made
        assert f"<code>{hook.shown(claim.command)}</code>" in made
    last = next(line for line in reversed(made.splitlines()) if line.startswith("| **"))
    counted = [int(number) for number in re.findall(r"\*\*(\d+)\*\*", last)]
    assert sum(counted[:-1]) == counted[-1] == len(LEDGER)


def test_both_languages_have_the_same_words() -> None:
    checks = {hook.WORDS.get(claim.check, claim.check) for claim in LEDGER}

    for text in {*hook.WORDS.values(), *JUDGEMENTS, *(claim.kind for claim in LEDGER), *checks}:
        assert language("ja").translation(text) is not None, text


@settings(max_examples=5)
@given(st.lists(texts, min_size=1, max_size=20))
def test_no_word_of_a_record_acts(words: list[str]) -> None:
    assert seen(*HOSTILE, *words).dangers == seen("seen").dangers
    assert page(*HOSTILE, *words).count("<") == page("seen").count("<")


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_notes_are_named_by_title_and_ten_claims_come_first(lang: str) -> None:
    """No file name is shown; ten claims link to their places in the ledger, which is folded by document."""
    rows = [Judged(claim, Said("refuted", {"en": "seen", "ja": "seen"})) for claim in LEDGER]
    first, ledger = hook.to_read_first(rows, lang), page("seen", lang=lang)

    for title in (worded(document, "title", lang) for document in DOCUMENTS):
        assert title in hook.notes(DOCUMENTS, lang)
        assert f"<summary>{hook.shown(title)}" in ledger
    assert not any(document.name in ledger + hook.notes(DOCUMENTS, lang) for document in DOCUMENTS)
    assert len(re.findall(r"<li>", first)) == 10
    assert all(f'id="{anchor}"' in ledger for anchor in re.findall(r'href="#([^"]+)"', first))


def test_a_page_without_the_mark_is_left_alone() -> None:
    assert hook.on_page_markdown("# Other\n", page=None, config={}) == "# Other\n"
