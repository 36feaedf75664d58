"""What the best reader and what counting reach on a stream: worked out again slowly, and once on paper."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from counted_by_hand import CountedByHand, asked_of_stream
from llmlab.lab.context_text import EmbeddedCorpus, dataset_of, exact_losses
from llmlab.measure.ngram import NOTHING, Baseline, stream_baselines, window_baselines
from llmlab.text.grammar import Grammar
from llmlab.text.streams import Stream, stream, word_coder
from llmlab.text.words import BOS, PAD, windows

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- the Bayes loss of a stream -------------------------------------------------------------------------------------


def line_losses(line: str) -> list[list[float]]:
    grammar = Grammar.standard()
    words = grammar.vocabulary()
    numbers = words.encode(line)
    window = torch.tensor([numbers + [PAD] * (grammar.most + 2 - len(numbers))])
    both = grammar.log_probabilities(window, words), grammar.bigram_log_probabilities(window, words)
    return [(-each[0, : len(numbers) - 1]).tolist() for each in both]


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(0, 50), st.integers(0, 40))
def test_the_exact_losses_of_a_stream_are_those_of_its_lines(count: int, seed: int, cut: int) -> None:
    words = Grammar.standard().vocabulary()
    lines = Grammar.standard().lines(count, seed)
    whole = stream(lines, word_coder(words), 10**6)
    tokens = whole.tokens[: max(2, len(whole.tokens) - cut)]
    cut_off = Stream(tokens, whole.starts[whole.starts < len(tokens)])
    for number, told in enumerate(exact_losses(cut_off, words)):
        wanted = [loss for line in lines for loss in line_losses(line)[number]][: len(tokens) - 1]
        assert told == pytest.approx(sum(wanted) / len(wanted))


def test_the_floor_is_below_what_counting_reaches(source: EmbeddedCorpus) -> None:
    """On the same targets no baseline is better than the best reader, and the scale between them ends there."""
    task = dataset_of(source, 4_000, 1_000)
    assert task.bayes_loss is not None

    assert task.bayes_loss < min(task.references[name].loss for name in ("unigram", "bigram", "kneser_ney_3"))
    assert task.context_recovered(task.bayes_loss) == pytest.approx(1)
    assert task.context_recovered(task.bigram_loss) == pytest.approx(0)
    assert task.context_recovered(task.references["bigram"].loss) < 0
    assert sum(task.valid_counts) == 999


# ---- what counting reaches on a stream ------------------------------------------------------------------------------

SIZE = 5
documents = st.lists(st.lists(st.integers(1, SIZE - 1), min_size=1, max_size=6), min_size=1, max_size=6)


def joined(found: list[list[int]], cut: int = 0) -> Tensor:
    """Return documents as a stream in which 0 ends each, some of its last tokens cut off."""
    tokens = [0, *(token for document in found for token in (*document, 0))]
    return torch.tensor(tokens[: max(3, len(tokens) - cut)])


def slow_references(train: list[int], valid: list[int], unknown: int) -> dict[str, tuple[float, list[list[float]]]]:
    """Return loss and, for every scored target, all probabilities, by loops over dictionaries."""
    targets = [token for token in train[1:] if token != unknown]
    pairs = Counter((a, b) for a, b in pairwise(train) if b != unknown)
    three = CountedByHand.of_stream(train, SIZE, 3, False, unknown)

    def one(token: int) -> float:
        return (targets.count(token) + 1) / (len(targets) + SIZE)

    def two(before: int, token: int) -> float:
        total = sum(count for (a, _), count in pairs.items() if a == before)
        return 0.9 * pairs[before, token] / total + 0.1 * one(token) if total else one(token)

    found: dict[str, list[list[float]]] = {"unigram": [], "bigram": [], "kneser_ney_3": []}
    right = []
    for place in range(1, len(valid)):
        if valid[place] == unknown:
            continue
        right.append(valid[place])
        found["unigram"].append([one(token) for token in range(SIZE)])
        found["bigram"].append([two(valid[place - 1], token) for token in range(SIZE)])
    found["kneser_ney_3"] = [three.distribution(context) for context, _ in asked_of_stream(valid, unknown)]
    return {
        name: (-math.fsum(math.log(row[y]) for row, y in zip(each, right, strict=True)) / len(right), each)
        for name, each in found.items()
    }


@settings(max_examples=60)
@given(documents, documents, st.integers(0, 4), st.sampled_from([NOTHING, 1, SIZE - 1]))
def test_baselines_on_a_stream_equal_the_dictionaries(
    train: list[list[int]], valid: list[list[int]], cut: int, unknown: int
) -> None:
    tokens, held_out = joined(train, cut), joined(valid)
    right = [token for token in held_out[1:].tolist() if token != unknown]
    assume(any(token != unknown for token in tokens[1:].tolist()) and right)
    found = stream_baselines(tokens, held_out, SIZE, unknown)
    slow = slow_references(tokens.tolist(), held_out.tolist(), unknown)

    for name, (loss, probabilities) in slow.items():
        assert found[name].loss == pytest.approx(loss, rel=1e-9)
        assert found[name].ppl == pytest.approx(math.exp(loss))
        assert all(sum(row) == pytest.approx(1) for row in probabilities)
        best = [[row[y] - max(row[:y] + row[y + 1 :]) for row, y in zip(probabilities, right, strict=True)]]
        surely, maybe = (sum(gap > edge for gap in best[0]) / len(right) for edge in (1e-9, -1e-9))
        assert surely - 1e-9 <= (found[name].accuracy or 0) <= maybe + 1e-9
    shares = [right.count(token) / len(right) for token in range(SIZE) if token != unknown]
    assert any(found["majority"].accuracy == pytest.approx(share) for share in shares)


def test_baselines_of_an_example_by_hand() -> None:
    found = stream_baselines(torch.tensor([0, 1, 2, 0, 1, 2, 0]), torch.tensor([0, 1, 3, 0]), 4)

    def loss(*probabilities: float) -> float:
        return -sum(map(math.log, probabilities)) / 3

    assert found["unigram"].loss == pytest.approx(loss(0.3, 0.1, 0.3))
    assert found["bigram"].loss == pytest.approx(loss(0.9 + 0.03, 0.01, 0.3))
    word, never = 0.5 / 3 + 0.5 / 4, 0.5 / 4  # of the lowest order: three words stand after one other each
    # of pairs, 0 1 begins both documents and counts 2; 1 2 and 2 0 stand after one word each: D = 2 / (2 + 2) = 1/2
    first = (2 - 0.5) / 2 + 0.5 / 2 * word
    # of triples, 0 1 2 and 1 2 0 stand twice, none once: D = 1/2; after 0 1 a quarter is left, after 1 alone a half
    assert found["kneser_ney_3"].loss == pytest.approx(loss(first, 0.25 * 0.5 * never, word))
    assert isinstance(found["majority"], Baseline)


@settings(max_examples=30)
@given(st.permutations([[1, 2, 3], [2, 1], [3, 3, 1], [2, 2]]), st.permutations([[1, 2], [3, 1, 2], [2]]))
def test_no_count_and_no_score_depends_on_the_order_of_documents(
    train: list[list[int]], valid: list[list[int]]
) -> None:
    """Which document came before is the order of the corpus, not the language: Kneser-Ney does not see it."""
    found = stream_baselines(joined(train), joined(valid), SIZE)["kneser_ney_3"]
    sorted_ones = stream_baselines(joined(sorted(train)), joined(sorted(valid)), SIZE)["kneser_ney_3"]

    assert found.loss == pytest.approx(sorted_ones.loss, rel=1e-12)
    assert found.accuracy == pytest.approx(sorted_ones.accuracy)


@given(documents)
def test_streams_and_windows_are_one_estimator(text: list[list[int]]) -> None:
    moved = [[word + 3 for word in document] for document in text]  # beside the marks that windows have
    lines = [[BOS, *document, BOS] for document in moved]
    tokens = torch.tensor([BOS, *(token for line in lines for token in line[1:])])
    rows = windows(lines, 8)

    in_windows, in_stream = window_baselines(rows, lines, rows, SIZE + 3), stream_baselines(tokens, tokens, SIZE + 3)

    assert list(in_windows) == list(in_stream) == ["majority", "unigram", "bigram", "kneser_ney_3"]
    for name, found in in_windows.items():
        assert (found.loss, found.accuracy) == (in_stream[name].loss, in_stream[name].accuracy)
