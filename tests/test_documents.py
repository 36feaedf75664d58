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


def article(title: str, *lines: str) -> list[str]:
    return [f"= {title} =", f"{title} {TEXT}", "= = A part = =", *lines, f"{title} ends"]


def test_a_text_of_articles_is_cut_at_its_titles() -> None:
    """Smaller headings, formulas and tables that look like headings belong to the article around them."""
    first = article("One", "Key : Pld", "= Played , W =", "= 7 / 2 ) <unk> the ( J =", "= Goals ; A =", "= and =", TEXT)
    corpus = Corpus("x", [*first, *article("Two ( song )")], article("Three"))
    train, valid, _ = documents(corpus)
    assert train == ["\n".join(first), "\n".join(article("Two ( song )"))]
    assert valid == ["\n".join(article("Three"))]


def test_what_may_be_the_rest_of_an_article_is_not_held_out() -> None:
    """Where a file was split amid an article, what is held out begins with the next one."""
    train, valid, _ = documents(Corpus("x", article("One"), ["the rest of it", "= = Notes = =", *article("Two")]))
    assert (train, valid) == (["\n".join(article("One"))], ["\n".join(article("Two"))])
    assert documents(Corpus("x", article("One"), ["no title at all"]))[1] == ["no title at all"]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_articles_put_together_are_the_text(sizes: list[int]) -> None:
    lines = [line for number, size in enumerate(sizes) for line in article(f"No {number}", *["more"] * size)]
    train, *_ = documents(Corpus("x", lines, ["something else"]))
    assert len(train) == len(sizes)
    assert "\n".join(train).split("\n") == lines


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


def test_a_held_out_document_that_is_trained_on_is_refused() -> None:
    """Told with how many there are, the first one's beginning, and a way out; blanks do not hide it."""
    both = [words(LONG, 7), words(2 * LONG)]
    corpus = Corpus("mine", [words(50, 9), *both], [words(60, 60), *(both[1].replace(" ", "  "), both[0])])
    with pytest.raises(TextError, match=r"mine: 2 of 3 held-out .* begins 'w0 w1 w2 .*; take them out"):
        documents(corpus)


def test_short_documents_may_repeat_but_not_most_of_them() -> None:
    """A greeting in both is no leak; a held-out text that is a copy of short lines is."""
    train = [words(LONG - 1), words(3), *(words(9, first) for first in range(20, 30))]
    documents(Corpus("x", train, [words(LONG - 1), words(3), words(8), words(7)]))
    with pytest.raises(TextError, match="3 of 4 held-out"):
        documents(Corpus("x", train, [words(LONG - 1), words(3), words(9, 20), words(7)]))
    with pytest.raises(TextError, match="12 of 12 held-out"):
        documents(Corpus("x", train, train))


@pytest.mark.parametrize("name", ["synthetic", "dialect", "story"])
def test_the_built_in_language_is_held_apart(name: str) -> None:
    corpus = load_corpus(name)
    assert documents(corpus) == (corpus.train, corpus.valid, corpus.test)
    assert len(set(corpus.test) & {*corpus.train, *corpus.valid}) < len(corpus.test) / 100


def test_a_test_split_is_cut_and_held_apart_as_the_others_are() -> None:
    """Articles from the first title on; what stands in another split is refused; without a split there is none."""
    train, valid = article("One"), article("Two")
    corpus = Corpus("x", train, valid, test=["the rest of it", *article("Three"), *article("Four")])
    assert documents(corpus)[2] == ["\n".join(article("Three")), "\n".join(article("Four"))]
    assert documents(Corpus("x", train, valid))[2] == []
    for leaked in (train, valid):
        with pytest.raises(TextError, match="1 of 1 held-out documents"):
            documents(Corpus("x", train, valid, test=leaked))


@given(st.lists(st.integers(0, 4), max_size=150), st.integers(0, 3))
def test_each_line_knows_its_document(sizes: list[int], rest: int) -> None:
    lines = ["the rest"] * rest
    owners = [0] * rest
    for number, size in enumerate(sizes):
        added = article(f"No {number}", *["more"] * size)
        lines += added
        owners += [number + (rest > 0)] * len(added)
    assert document_of_each(lines, in_articles=True) == owners
    assert document_of_each(lines, in_articles=False) == list(range(len(lines)))


@pytest.mark.skipif(not GIVEN, reason="LLMLAB_DATA does not say where WikiText-2 is")
def test_wikitext_has_its_articles() -> None:
    """600 articles and one reference that looks like one; 60 held out; none in both."""
    train, valid, _ = documents(load_corpus("wikitext-2", offline=True))
    assert (len(train), len(valid)) == (601, 60)
    assert train[0].startswith("= 2013 – 14 York City F.C. season =\nThe 2013")
