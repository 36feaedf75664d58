"""The text that ships with llmlab: whole, named, small, split by chapters, and read as people write it."""

from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.lab.dataset import dataset_of
from llmlab.settings import BaselineSettings
from llmlab.text.story import SPLITS, closed, spaced, story_lines
from llmlab.text.words import UNK

FOLDER = files("llmlab") / "text"


def test_the_text_is_small_and_its_source_and_licence_stand_beside_it() -> None:
    """At most 200 kB in the package; the note names author, year, source and that it is in the public domain."""
    note = (FOLDER / "story.licence.txt").read_text("utf-8")
    assert 100_000 < len((FOLDER / "story.txt").read_bytes()) <= 200_000
    assert all(word in note for word in ("Lewis Carroll", "1865", "public domain", "alice29.txt"))


def test_chapters_are_held_out_whole() -> None:
    """Ten chapters train, one validates, one tests; together the splits are the whole text, and no chapter is twice."""
    lines = {split: story_lines(split) for split in SPLITS}
    paragraphs = (FOLDER / "story.txt").read_text("utf-8").splitlines()
    titles = [number for number, line in enumerate(paragraphs) if line.startswith("= ")]
    assert len(titles) == 12
    assert lines["valid"][0].startswith(spaced(paragraphs[titles[10] + 1])[:40])
    assert lines["test"][0].startswith(spaced(paragraphs[titles[11] + 1])[:20])
    whole = " ".join(spaced(line) for line in paragraphs if not line.startswith("= "))
    assert " ".join(line for split in lines.values() for line in split) == whole


@pytest.mark.parametrize("split", SPLITS)
def test_every_line_is_written_as_people_write_and_read_again(split: str) -> None:
    """Closing up the signs and spacing them again gives the same words; no line is blank."""
    for line in story_lines(split):
        assert line
        assert spaced(closed(line)) == line
        assert not any(f" {sign}" in closed(line) for sign in ",.;:!?”")


@given(st.text())
def test_spacing_a_text_twice_is_spacing_it_once(text: str) -> None:
    assert spaced(spaced(text)) == spaced(text)
    assert spaced(text) == " ".join(spaced(text).split())


def test_the_story_has_numbers_of_its_own_where_nothing_else_is_asked_for() -> None:
    """Under ``pocket`` the story's sizes and training stand; an option that is given, or another preset, goes first."""
    own, given_, original = (
        BaselineSettings(data="story", **options) for options in ({}, {"epochs": 3}, {"preset": "original"})
    )
    assert (own.vocabulary, own.length, own.layers, own.epochs, own.optimizer) == (1_500, 64, 1, 24, "adamw")
    assert (given_.epochs, given_.dropout) == (3, own.dropout)
    assert (original.vocabulary, original.epochs) == (1_000, 50)
    assert BaselineSettings().epochs == BaselineSettings(data="dialect").epochs == 10
    assert BaselineSettings(data="story", optimizer="adam").weight_decay == 0


def test_counting_stands_beside_the_story() -> None:
    data = dataset_of(BaselineSettings(data="story"))
    ppl = {name: baseline.ppl for name, baseline in data.references.items()}
    assert ppl["kneser_ney_3"] < ppl["bigram"] < ppl["unigram"]
    assert len(data.text.test) > 0
    assert (data.text.train == UNK).float().mean() < 0.04
    assert data.metrics()["unk_share"] < 0.1
