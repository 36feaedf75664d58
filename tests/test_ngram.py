"""The trivial baselines against dictionaries and loops, and, where the data is at hand, against known figures."""

import math
import os
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmlab.measure import ngram
from llmlab.measure.ngram import Level, Reference, kneser_ney, references, scored
from llmlab.text import words
from llmlab.text.words import BOS, EOS, PAD, UNK, WordVocabulary, encoded, windows

SIZE = 8
lines = st.lists(st.lists(st.sampled_from([UNK, 4, 5, 6, 7]), max_size=9), min_size=1, max_size=12).map(
    lambda drawn: [[BOS, *line, EOS] for line in drawn]
)
orders = st.integers(1, 4)
Gram = tuple[int, ...]


# ---- the slow and obvious way -------------------------------------------------------------------------------------


def slow_kept(count: int, counts: list[int], refined: bool) -> float:
    """What absolute discounting keeps of a count."""
    n = [counts.count(r) for r in range(5)]
    if not (n[1] and n[2]):
        return count - 0.5
    y = n[1] / (n[1] + 2 * n[2])
    if refined and n[3] and n[4]:
        each = {r: r - (r + 1) * y * n[r + 1] / n[r] for r in (1, 2, 3)}
        if all(0 < loss < r for r, loss in each.items()):
            return count - each[min(count, 3)]
    return count - y


def slow_kneser_ney(text: list[list[int]], order: int, refined: bool) -> list[dict[Gram, list[float]]]:
    """Interpolated Kneser-Ney from dictionaries: for each order, the V probabilities after each context."""
    raw = [
        Counter(tuple(line[i : i + n]) for line in text for i in range(len(line) - n + 1) if i + n > 1)
        for n in range(order + 1)
    ]
    tables: list[dict[Gram, list[float]]] = []
    for n in range(1, order + 1):
        counts = Counter(raw[n])
        if n < order:
            counts = Counter(gram[1:] for gram in raw[n + 1])
            if refined and n > 1:
                counts.update({gram: count for gram, count in raw[n].items() if gram[0] == BOS})
        by_context: dict[Gram, Counter[int]] = defaultdict(Counter)
        for gram, count in counts.items():
            by_context[gram[:-1]][gram[-1]] = count
        table = {}
        for context, followers in by_context.items():
            kept = {token: slow_kept(count, list(counts.values()), refined) for token, count in followers.items()}
            lower = slow_lookup(tables, context[1:]) if n > 1 else [1 / SIZE] * SIZE
            total = sum(followers.values())
            freed = total - sum(kept.values())
            table[context] = [(kept.get(token, 0) + freed * lower[token]) / total for token in range(SIZE)]
        tables.append(table)
    return tables


def slow_lookup(tables: list[dict[Gram, list[float]]], context: Gram) -> list[float]:
    """The V probabilities after a context, from the longest part of it that was seen."""
    for start in range(len(context) + 1):
        table = tables[len(context) - start]
        if context[start:] in table:
            return table[context[start:]]
    return [1 / SIZE] * SIZE


def slow_bigram(rows: Tensor) -> tuple[list[float], dict[int, list[float]]]:
    """The raised unigram, and 0.9 relative frequency + 0.1 unigram after each input that was seen."""
    pairs = Counter(pair for row in rows.tolist() for pair in pairwise(row) if pair[1] != PAD)
    targets: Counter[int] = Counter()
    inputs: Counter[int] = Counter()
    for (source, target), count in pairs.items():
        targets[target] += count
        inputs[source] += count
    one = [(targets[token] + 1) / (targets.total() + SIZE) for token in range(SIZE)]
    two = {
        source: [0.9 * pairs[source, token] / count + 0.1 * one[token] for token in range(SIZE)]
        for source, count in inputs.items()
    }
    return one, two


def number(context: Gram) -> int:
    """The number of a context, as ``Level`` counts."""
    return sum(token * SIZE**back for back, token in enumerate(reversed(context)))


def distribution(levels: list[Level], context: Gram) -> list[float]:
    """The V probabilities that the tables give after a context of as many words."""
    after = torch.full((SIZE,), number(context))
    found: list[float] = levels[len(context)].probability(after, torch.arange(SIZE)).tolist()
    return found


def contexts_of(text: list[list[int]], length: int) -> list[Gram]:
    """Contexts that stand in the text, and two that do not."""
    seen = {tuple(line[i : i + length]) for line in text for i in range(len(line) - length)}
    return [*sorted(seen), (7,) * length, (PAD,) * length]


# ---- laws ---------------------------------------------------------------------------------------------------------


def test_the_marks_are_those_of_the_text_room():
    """This room imports no other, so it repeats three numbers."""
    assert (ngram.PAD, ngram.UNK, ngram.BOS) == (words.PAD, words.UNK, words.BOS)


@settings(max_examples=60)
@given(lines, orders, st.booleans())
def test_kneser_ney_equals_the_dictionaries_and_sums_to_one(text: list[list[int]], order: int, refined: bool):
    """After every context, seen or not and of any length, the V probabilities are the loop's and their sum is 1."""
    levels, slow = kneser_ney(text, SIZE, order, refined=refined), slow_kneser_ney(text, order, refined)

    assert len(levels) == order
    for length in range(order):
        for context in contexts_of(text, length):
            found = distribution(levels, context)
            assert found == pytest.approx(slow_lookup(slow, context), rel=1e-9)
            assert math.fsum(found) == pytest.approx(1, abs=1e-12)
            assert min(found) >= 0


def test_three_discounts_equal_the_dictionaries_on_a_longer_text():
    """200 lines, enough for n-grams counted once to four times at every order, so that each count has its discount."""
    chance = torch.Generator().manual_seed(0)
    drawn = (4 + 4 * torch.rand(200, 5, generator=chance) ** 2).long()
    text = [[BOS, *row, EOS] for row in drawn.tolist()]
    refined, plain = (slow_kneser_ney(text, 4, which) for which in (True, False))

    levels = kneser_ney(text, SIZE, 4, refined=True)

    for context in contexts_of(text, 3):
        assert distribution(levels, context) == pytest.approx(slow_lookup(refined, context), rel=1e-9)
    assert refined[3] != plain[3]


@given(lines)
def test_unigram_and_bigram_equal_the_dictionaries_and_sum_to_one(text: list[list[int]]):
    """The unigram is raised by one; the bigram takes 0.9 of the frequency and 0.1 of the unigram."""
    rows = windows(text, 8)
    inputs, targets = rows[:, :-1][rows[:, 1:] != PAD], rows[:, 1:][rows[:, 1:] != PAD]
    one, two = slow_bigram(rows)

    assert distribution([ngram.unigram(targets, SIZE)], ()) == pytest.approx(one, rel=1e-12)
    levels = [ngram.unigram(targets, SIZE), ngram.bigram(inputs, targets, SIZE)]
    for source in range(SIZE):
        found = distribution(levels, (source,))
        assert found == pytest.approx(two.get(source, one), rel=1e-12)
        assert math.fsum(found) == pytest.approx(1, abs=1e-12)


@settings(max_examples=60)
@given(lines, orders, st.booleans())
def test_the_best_token_is_the_largest_of_the_whole_distribution(text: list[list[int]], order: int, refined: bool):
    """Looking only at what was seen, level by level, misses no larger probability."""
    levels = kneser_ney(text, SIZE, order, refined=refined)

    for length in range(order):
        contexts = contexts_of(text, length)
        best = levels[length].best(torch.tensor([number(context) for context in contexts])).tolist()
        for context, token in zip(contexts, best, strict=True):
            found = distribution(levels, context)
            assert found[token] == pytest.approx(max(found), rel=1e-12)


@settings(max_examples=40)
@given(lines, lines)
def test_scores_equal_a_loop_over_the_targets(train: list[list[int]], valid: list[list[int]]):
    """Each target costs -ln P given the two tokens before it, or the one there is; padding costs nothing."""
    rows = windows(valid, 6)
    levels, slow = kneser_ney(train, SIZE), slow_kneser_ney(train, 3, refined=False)
    losses = []
    for row in rows.tolist():
        for place in range(1, 6):
            if row[place] != PAD:
                losses.append(-math.log(slow_lookup(slow, tuple(row[max(0, place - 2) : place]))[row[place]]))

    found = scored("", levels, rows)

    assert found.loss == pytest.approx(math.fsum(losses) / len(losses), rel=1e-9)
    assert found.ppl == pytest.approx(math.exp(found.loss))


@given(lines)
def test_every_baseline_scores_a_text_it_was_not_counted_on(text: list[list[int]]):
    """One frequent token, then ever longer contexts; an accuracy is a share of the targets."""
    rows = windows(text, 8)

    found = references(rows, text, rows, SIZE)

    assert list(found) == ["majority", "unigram", "bigram", "kneser_ney_3"]
    for name in ("unigram", "bigram", "kneser_ney_3"):
        assert math.isfinite(found[name].loss)
    assert found["unigram"].accuracy == found["majority"].accuracy
    assert all(r.accuracy is not None and 0 <= r.accuracy <= 1 for r in found.values())


# ---- small cases --------------------------------------------------------------------------------------------------


def test_the_majority_is_right_as_often_as_its_token_stands_there():
    """Always 5 is right twice of four; without the unknown word twice of three; its loss is infinite."""
    rows = torch.tensor([[BOS, 5, 5, EOS, PAD], [BOS, UNK, PAD, PAD, PAD]])

    found = references(rows, [[BOS, 5, 5, EOS]], rows, SIZE)["majority"]

    assert found == Reference("always the most frequent", math.inf, math.inf, 0.5, 2 / 3)


def test_a_share_of_nothing_is_none():
    """Without a known target there is no accuracy among the known ones."""
    rows = torch.tensor([[BOS, UNK, UNK]])

    found = references(rows, [[BOS, UNK, UNK]], rows, SIZE)

    assert found["bigram"].accuracy == 1
    assert found["bigram"].accuracy_known is None
    assert found["majority"].loss == 0


@pytest.mark.parametrize("empty", [torch.zeros(0, 5, dtype=torch.int64), torch.tensor([[BOS, PAD]])])
def test_windows_without_a_target_are_refused(empty: Tensor):
    """The mean over no target is no number."""
    rows = torch.tensor([[BOS, 5, EOS]])

    with pytest.raises(ValueError, match="no target"):
        references(rows, [[BOS, 5, EOS]], empty, SIZE)
    with pytest.raises(ValueError, match="no target"):
        references(empty, [[BOS, 5, EOS]], rows, SIZE)


# ---- WikiText-2 ---------------------------------------------------------------------------------------------------


WIKITEXT = Path(os.environ.get("LLMLAB_DATA", "nowhere")) / "wikitext-2"


@pytest.mark.skipif(
    not (WIKITEXT / "train.txt").is_file(), reason="LLMLAB_DATA names no folder with wikitext-2/train.txt"
)
def test_the_figures_on_wikitext_2():
    """Unigram 67.56, bigram 33.42 and 33.0 % right, Kneser-Ney 28.7 (27.8 refined), always unknown 30.44 % right."""
    split = {name: (WIKITEXT / f"{name}.txt").read_text("utf-8").split("\n") for name in ("train", "valid")}
    vocabulary = WordVocabulary.of_lines(split["train"])
    train, valid = (list(encoded(split[name], vocabulary)) for name in ("train", "valid"))

    found = references(windows(train), train, windows(valid), len(vocabulary))
    refined = scored("refined", kneser_ney(train, len(vocabulary), refined=True), windows(valid))

    assert found["majority"].accuracy == pytest.approx(0.3044, abs=5e-5)
    assert found["unigram"].ppl == pytest.approx(67.56, abs=0.005)
    assert found["bigram"].ppl == pytest.approx(33.42, abs=0.005)
    assert found["bigram"].accuracy == pytest.approx(0.330, abs=5e-4)
    assert found["kneser_ney_3"].ppl == pytest.approx(28.72, abs=0.005)
    assert found["kneser_ney_3"].accuracy == pytest.approx(0.3436, abs=5e-5)
    assert refined.ppl == pytest.approx(27.82, abs=0.005)
