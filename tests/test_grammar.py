"""The synthetic language: its lines, and the exact probabilities against adding up every line there is."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmlab.text.grammar import Grammar, context_recovered, made_lines
from llmlab.text.words import BOS, EOS, MARKS, PAD, UNK, WordVocabulary, encoded, windows

STANDARD = Grammar.standard()
WINDOW = STANDARD.most + 2

SMALL = "abcd"


def small(weights: list[int]) -> Grammar:
    """A grammar of 2 topics and 4 words, in lines of 2 to 4 words, that ends with probability 1 / 3."""
    opening = torch.tensor(weights[:16]).reshape(2, 2, 4)
    following = torch.tensor(weights[16:]).reshape(2, 4, 4)
    return Grammar(tuple(SMALL), opening, following, fewest=2, most=4, ending=3)


small_grammars = st.lists(st.integers(1, 5), min_size=48, max_size=48).map(small)


def every_line(grammar: Grammar) -> dict[str, float]:
    """Every line there is, with its probability: the mean over topics, from the weights."""
    found = {}
    for length in range(grammar.fewest, grammar.most + 1):
        stays = math.prod(1 - 1 / grammar.ending for _ in range(grammar.fewest, length))
        stops = 1.0 if length == grammar.most else 1 / grammar.ending
        for words in product(range(len(SMALL)), repeat=length):
            by_topic = []
            for opening, following in zip(grammar.opening.transpose(0, 1), grammar.following, strict=True):
                weights = [*opening.double(), *(following[word].double() for word in words[1:-1])]
                by_topic.append(
                    math.prod(float(own[word] / own.sum()) for own, word in zip(weights, words, strict=True))
                )
            found[" ".join(SMALL[word] for word in words)] = sum(by_topic) / len(by_topic) * stays * stops
    return found


def as_windows(lines: Iterable[str], vocabulary: WordVocabulary, length: int = 6) -> Tensor:
    return windows(encoded(lines, vocabulary, fewest_words=1), length)


# ---- the exact probabilities --------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(small_grammars)
def test_each_step_is_the_share_of_the_next_token_among_all_lines_that_look_the_same(grammar: Grammar):
    """So the steps multiply to the line's probability; a reader of one token does not even know the place."""
    lines, vocabulary = every_line(grammar), grammar.vocabulary()
    assert math.fsum(lines.values()) == pytest.approx(1, abs=1e-12)
    for exactly, seen in ((grammar.log_probabilities, 9), (grammar.bigram_log_probabilities, 1)):
        together, after, steps = Counter[object](), Counter[object](), dict[str, list[Any]]()
        for line, probability in lines.items():
            tokens = ["<bos>", *line.split(), "<eos>"]
            steps[line] = [(tuple(tokens[:place][-seen:]), tokens[place]) for place in range(1, len(tokens))]
            for past, token in steps[line]:
                together[past] += probability  # type: ignore[assignment]
                after[past, token] += probability  # type: ignore[assignment]

        found = exactly(as_windows(lines, vocabulary), vocabulary).exp().tolist()

        for row, line in zip(found, lines, strict=True):
            shares = [after[step] / together[step[0]] for step in steps[line]]
            assert row == pytest.approx([*shares, *[1.0] * (5 - len(shares))], rel=1e-9)


# ---- the standard language ----------------------------------------------------------------------------------------


def test_the_lines_are_the_same_on_every_machine():
    """Their hash is pinned: drawing is whole-number arithmetic on torch's own generator."""
    text = "\n".join(made_lines("synthetic", "train") + made_lines("synthetic", "valid"))
    pinned = "c1a520a04ca2506771ceff6f2aff4ee0d2df62f4e3ab7d7d5e24a7e6f33d8c2f"

    assert hashlib.sha256(text.encode()).hexdigest() == pinned


def test_the_first_lines_do_not_depend_on_how_many_are_drawn():
    assert STANDARD.lines(10, seed=5) == STANDARD.lines(300, seed=5)[:10]
    assert STANDARD.lines(10, seed=5) != STANDARD.lines(10, seed=6)
    assert STANDARD.lines(0, seed=5) == []


def test_drawn_lines_follow_the_exact_probabilities():
    """The share of each pair in many lines lies within five standard errors of the exact bigram."""
    lines = STANDARD.lines(20_000, seed=7)
    vocabulary = STANDARD.vocabulary()
    shift = len(MARKS)
    tokens = as_windows(lines, vocabulary, WINDOW)
    source, target = tokens[:, :-1][tokens[:, 1:] != PAD], tokens[:, 1:][tokens[:, 1:] != PAD]
    source = torch.where(source == BOS, len(STANDARD.words), source - shift)
    target = torch.where(target == EOS, len(STANDARD.words), target - shift)
    counts = torch.zeros_like(STANDARD.bigram)
    counts.index_put_((source, target), torch.ones(len(source), dtype=torch.float64), accumulate=True)

    totals = counts.sum(-1, keepdim=True)
    expected = totals * STANDARD.bigram
    error = (expected * (1 - STANDARD.bigram)).sqrt()

    usual = expected > 20
    assert int(usual.sum()) > 1_000
    assert ((counts - expected).abs()[usual] < 5 * error[usual]).all()
    assert not counts[STANDARD.bigram == 0].any()


def test_the_past_matters():
    """What the best reader of a line knows beyond the last word is what a model's ``context_recovered`` is of."""
    vocabulary = STANDARD.vocabulary()
    tokens = as_windows(made_lines("synthetic", "valid"), vocabulary, WINDOW)
    bayes, bigram = (
        math.exp(-float(exactly(tokens, vocabulary).sum()) / int((tokens[:, 1:] != PAD).sum()))
        for exactly in (STANDARD.log_probabilities, STANDARD.bigram_log_probabilities)
    )

    assert bayes == pytest.approx(9.610, abs=0.001)
    assert bigram == pytest.approx(15.818, abs=0.001)


# ---- windows and vocabularies -------------------------------------------------------------------------------------


def test_words_are_matched_by_name_and_padding_costs_nothing():
    """Another order of the vocabulary and longer windows change no probability; beyond the line stands 0."""
    lines = STANDARD.lines(40, seed=8)
    own = STANDARD.vocabulary()
    other = WordVocabulary((*MARKS, "foreign", *reversed(STANDARD.words)))
    tokens = as_windows(lines, own, WINDOW)
    for function in (STANDARD.log_probabilities, STANDARD.bigram_log_probabilities):
        expected = function(tokens, own)

        assert torch.equal(function(as_windows(lines, other, WINDOW), other), expected)
        assert not expected[tokens[:, 1:] == PAD].any()
        longer = function(as_windows(lines, own, 64), own)
        assert torch.equal(longer[:, : WINDOW - 1], expected)
        assert not longer[:, WINDOW - 1 :].any()


GOOD = STANDARD.vocabulary().encode(STANDARD.lines(1, seed=9)[0])
FIRST_OPENER = len(MARKS)


@pytest.mark.parametrize(
    "wrong",
    [
        GOOD[1:],  # begins in the middle
        [*GOOD[:3], UNK, *GOOD[4:]],
        [*GOOD, GOOD[-2]],  # goes on after its end
        [*GOOD[:3], PAD, *GOOD[4:]],
        [*GOOD[:4], EOS],  # ends too early
        [*GOOD[:3], FIRST_OPENER, *GOOD[4:]],  # an opening word in the middle
        [BOS, *GOOD[1:3], *[GOOD[3], GOOD[4]] * 20],  # never ends
    ],
)
def test_what_is_no_line_of_the_language_is_refused(wrong: list[int]):
    """No probability is made up for a line that the generator cannot say."""
    tokens = torch.tensor([wrong + [PAD] * (64 - len(wrong))])

    with pytest.raises(ValueError, match="synthetic language"):
        STANDARD.log_probabilities(tokens, STANDARD.vocabulary())


@given(st.floats(0.1, 5), st.floats(0.1, 2), st.floats(-1, 2))
def test_context_recovered_is_a_straight_scale(bayes: float, gap: float, share: float):
    """The bigram's loss is 0, the Bayes loss is 1, and between them the share of the way."""
    found = context_recovered(bayes + gap, bayes + gap - share * gap, bayes)

    assert found == pytest.approx(share, abs=1e-9)
