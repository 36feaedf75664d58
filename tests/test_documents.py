"""A corpus as documents: cut where articles begin, whole, and never held out and trained on at once."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.errors import TextError
from llmlab.text.corpus import Corpus, load_corpus
from llmlab.text.documents import LONG, document_of_each, documents, is_title, undone

GIVEN = os.environ.get("LLMLAB_DATA", "")
TEXT = "this is a line of some fifteen words or more so that it begins an article of ours"
REST = ["the rest of it", "= = Notes = ="]
"""Of an article that a split went through."""
INSIDE = ["more", TEXT, "Key : Pld", "= Played , W =", "= 7 / 2 ) <unk> the ( J =", "= Goals ; A =", "= and ="]
"""Lines that begin no article, though some look like headings: of a table or a formula."""


def article(title: str, *lines: str) -> list[str]:
    return [f"= {title} =", f"{title} {TEXT}", "= = A part = =", *lines, f"{title} ends"]


@given(st.lists(st.lists(st.sampled_from(INSIDE), max_size=4), max_size=60), st.integers(0, 3))
def test_a_text_of_articles_is_cut_at_its_titles_and_each_line_knows_its_document(
    insides: list[list[str]], rest: int
) -> None:
    """Smaller headings, formulas and tables that look like headings belong to the article around them."""
    lines, owners, expected = ["the rest"] * rest, [0] * rest, []
    for number, inside in enumerate(insides):
        added = article(f"No {number} ( song )", *inside)
        lines += added
        owners += [number + (rest > 0)] * len(added)
        expected.append("\n".join(added))
    assert document_of_each(lines, in_articles=True) == owners
    assert document_of_each(lines, in_articles=False) == list(range(len(lines)))
    untitled = ["\n".join(lines)] if lines else []
    assert documents(Corpus("x", article("One"), [], test=lines))[2] == (expected or untitled)
    if expected and not rest:
        assert documents(Corpus("x", lines, ["something else"])) == (expected, ["something else"], [])


def test_what_may_be_the_rest_of_an_article_is_not_held_out() -> None:
    """Where a file was split amid an article, what is held out begins with the next one."""
    corpus = Corpus("x", article("One"), REST + article("Two"), test=REST + article("Three") + article("Four"))
    assert documents(corpus) == tuple(
        ["\n".join(article(title)) for title in titles] for titles in (["One"], ["Two"], ["Three", "Four"])
    )
    assert documents(Corpus("x", article("One"), ["no title at all"]))[1] == ["no title at all"]


@given(st.lists(st.text("ab =", min_size=1, max_size=9), max_size=9), st.lists(st.text("cd", min_size=1), max_size=9))
def test_of_any_other_text_each_line_is_a_document(train: list[str], valid: list[str]) -> None:
    assert documents(Corpus("x", ["first", *train], ["other", *valid])) == (["first", *train], ["other", *valid], [])


def test_a_title_has_one_equals_sign_on_each_side() -> None:
    """Anything else is text or a smaller heading."""
    for line in ("= 2013 – 14 York City F.C. season =", "= New York State Route 164 =", "= A =", "= <unk> p , <unk> ="):
        assert is_title(line), line
    for line in ("= = A = =", "= A", "A =", "= =", "=  =", "=", "", "= Ties , L ="):
        assert not is_title(line), line


def test_the_joins_of_wikitext_are_undone() -> None:
    assert undone("17th @-@ place , 1 @,@ 000 @.@ 5 @-@ a") == "17th-place , 1,000.5-a"
    assert undone("a @ b @-@") == "a @ b @-@"


def words(count: int, first: int = 0) -> str:
    return " ".join(f"w{number}" for number in range(first, first + count))


def test_a_held_out_document_that_stands_in_another_split_is_refused() -> None:
    """A greeting in both is no leak; a long document is, however blank, and so is a split that is mostly a copy."""
    both = [words(LONG, 7), words(2 * LONG)]
    train = [words(LONG - 1), words(3), *(words(9, first) for first in range(20, 30))]
    documents(Corpus("x", train, [words(LONG - 1), words(3), words(8), words(7)]))
    one, two = article("One"), article("Two")
    for corpus, told in (
        (
            Corpus("mine", [words(50, 9), *both], [words(60, 60), both[1].replace(" ", "  "), both[0]]),
            r"mine: 2 of 3 held-out .* begins 'w0 w1 w2 .*; take them out",
        ),
        (Corpus("x", train, [words(LONG - 1), words(3), words(9, 20), words(7)]), "3 of 4 held-out"),
        (Corpus("x", [words(LONG)], [words(LONG), words(8), words(7)]), "1 of 3 held-out"),
        (Corpus("x", train, train), "12 of 12 held-out"),
        (Corpus("x", one, two, test=one), "1 of 1 held-out documents"),
        (Corpus("x", one, two, test=two), "1 of 1 held-out documents"),
    ):
        with pytest.raises(TextError, match=told):
            documents(corpus)


@pytest.mark.parametrize("name", ["synthetic", "dialect", "story"])
def test_the_built_in_language_is_held_apart(name: str) -> None:
    corpus = load_corpus(name, offline=True)
    assert documents(corpus) == (corpus.train, corpus.valid, corpus.test)
    assert len(set(corpus.test) & {*corpus.train, *corpus.valid}) < len(corpus.test) / 100
    assert len(corpus.train) > min(len(corpus.valid), len(corpus.test)) > 1


@pytest.mark.skipif(not GIVEN, reason="LLMLAB_DATA does not say where WikiText-2 is")
def test_wikitext_has_its_articles() -> None:
    """600 articles and one reference that looks like one; 60 held out; none in both."""
    train, valid, _ = documents(load_corpus("wikitext-2", offline=True))
    assert (len(train), len(valid)) == (601, 60)
    assert train[0].startswith("= 2013 – 14 York City F.C. season =\nThe 2013")
