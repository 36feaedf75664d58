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
def test_tokens_are_numbered_in_order_of_first_appearance(text: str):
    """No character is lost, and no earlier one has a higher number."""
    pairs = Pairs.of(text)

    assert [pairs.tokens.index(token) for token in text] == [pairs.numbers[token] for token in text]
    assert [text.index(token) for token in pairs.tokens] == sorted(text.index(token) for token in set(text))


@given(any_texts)
def test_pairs_are_the_neighbours_of_the_text(text: str):
    pairs = Pairs.of(text)
    numbers = [pairs.numbers[token] for token in text]

    expected = Counter((numbers[i], numbers[i + 1]) for i in range(len(numbers) - 1))

    assert pairs.counts == expected
    assert float(pairs.joint().sum()) == pytest.approx(1, abs=1e-5)
    for (source, target), count in expected.items():
        assert float(pairs.joint()[source, target]) == pytest.approx(count / (len(text) - 1), rel=1e-5)


@given(any_texts)
def test_inputs_and_unseen_tokens_divide_the_vocabulary(text: str):
    pairs = Pairs.of(text)

    unseen = [pairs.tokens[number] for number in pairs.unseen()]

    assert set(pairs.inputs()) | set(pairs.unseen()) == set(range(len(pairs.tokens)))
    assert unseen == ([] if text[-1] in text[:-1] else [text[-1]])


@given(any_texts)
def test_shares_of_followers_sum_to_one_most_frequent_first(text: str):
    """The followers of every input are shared out completely."""
    pairs = Pairs.of(text)

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
