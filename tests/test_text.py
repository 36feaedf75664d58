"""Tokens and pair counts: nothing of a text is lost on the way to numbers."""

import math
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.text.pairs import Pairs, visible
from strategies import any_texts


@given(any_texts)
def test_tokens_and_pairs_are_those_of_the_text(text: str):
    """No character is lost, none with a higher number stands earlier, and the pairs are all neighbours."""
    pairs = Pairs.of(text)
    numbers = [pairs.numbers[token] for token in text]

    assert [pairs.tokens.index(token) for token in text] == numbers
    assert [text.index(token) for token in pairs.tokens] == sorted(text.index(token) for token in set(text))
    expected = Counter((numbers[i], numbers[i + 1]) for i in range(len(numbers) - 1))
    assert pairs.counts == expected
    assert float(pairs.joint().sum()) == pytest.approx(1, abs=1e-5)
    for (source, target), count in expected.items():
        assert float(pairs.joint()[source, target]) == pytest.approx(count / (len(text) - 1), rel=1e-5)


@given(any_texts)
def test_every_token_is_an_input_with_followers_or_unseen(text: str):
    """The followers of every input are shared out completely, most frequent first; only a last token is no input."""
    pairs = Pairs.of(text)

    assert {*pairs.inputs()} | {*pairs.unseen()} == set(range(len(pairs.tokens)))
    unseen = [pairs.tokens[number] for number in pairs.unseen()]
    assert unseen == ([] if text[-1] in text[:-1] else [text[-1]])
    for source in pairs.inputs():
        shares = list(pairs.followers(source).values())
        assert math.isclose(sum(shares), 1)
        assert shares == sorted(shares, reverse=True)


def test_a_tie_of_followers_goes_to_the_first_in_the_text():
    """In "hello" l is followed by l and by o once each; l comes first."""
    assert list(Pairs.of("hello").followers(2)) == [2, 3]


@given(st.characters(exclude_categories=["Cs"]))
def test_visible_names_can_be_seen_and_told_apart(character: str):
    name = visible(character)

    assert name
    assert all(unicodedata.category(sign)[0] not in "CZM" for sign in name)
    recovered = " " if name == "␣" else chr(int(name[2:], 16)) if len(name) > 1 else name
    assert recovered == character
