"""What counting reaches on windows and streams, against dictionaries and loops, once on paper, and on known texts."""

import math
import os
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from counted_by_hand import CountedByHand, Gram, asked_of_rows, asked_of_stream
from llmlab.lab.context_text import EmbeddedCorpus, dataset_of, exact_losses
from llmlab.measure import ngram
from llmlab.measure.ngram import (
    NOTHING,
    Baseline,
    Discounts,
    NgramOrder,
    kneser_ney,
    predict,
    stream_baselines,
    window_baselines,
    window_targets,
)
from llmlab.text import words
from llmlab.text.corpus import load_corpus
from llmlab.text.documents import documents
from llmlab.text.grammar import Grammar
from llmlab.text.pretrained import load_pretrained
from llmlab.text.streams import Stream, stream, subword_coder, word_coder
from llmlab.text.windows import WindowedText, prepare
from llmlab.text.words import BOS, EOS, PAD, UNK, WordVocabulary, encoded, windows

SIZE = 8
pytestmark = pytest.mark.usefixtures("one_thread")
lines = st.lists(st.lists(st.sampled_from([UNK, 4, 5, 6, 7]), max_size=9), min_size=1, max_size=12).map(
    lambda drawn: [[BOS, *line, EOS] for line in drawn]
)
orders = st.integers(1, 4)
discounts: st.SearchStrategy[Discounts] = st.sampled_from(["interpolated", "modified"])


# ---- the slow and obvious way -------------------------------------------------------------------------------------


def number(context: Gram) -> int:
    return sum(token * SIZE**back for back, token in enumerate(reversed(context)))


def distribution(levels: list[NgramOrder], context: Gram) -> list[float]:
    after = torch.full((SIZE,), number(context))
    found: list[float] = levels[len(context)].probability(after, torch.arange(SIZE)).tolist()
    return found


def contexts_of(text: list[list[int]], length: int) -> list[Gram]:
    """Contexts that stand in the text, and two that do not."""
    seen = {tuple(line[i : i + length]) for line in text for i in range(len(line) - length)}
    return [*sorted(seen), (7,) * length, (PAD,) * length]


# ---- laws ---------------------------------------------------------------------------------------------------------


def test_the_marks_are_those_of_the_words():
    """The package of measures imports no other, so it repeats three numbers."""
    assert (ngram.PAD, ngram.UNK, ngram.BOS) == (words.PAD, words.UNK, words.BOS)


@settings(max_examples=60)
@given(lines, orders, discounts)
def test_kneser_ney_equals_the_dictionaries_and_sums_to_one(text: list[list[int]], order: int, which: Discounts):
    """After every context, seen or not and of any length, the V probabilities are the loop's and their sum is 1."""
    tables, slow = kneser_ney(text, SIZE, order, which), CountedByHand(text, SIZE, order, which == "modified")

    assert len(tables) == order
    for length in range(order):
        for context in contexts_of(text, length):
            found = distribution(tables, context)
            assert found == pytest.approx(slow.distribution(context), rel=1e-9)
            assert math.fsum(found) == pytest.approx(1, abs=1e-12)
            assert min(found) >= 0


@settings(max_examples=60)
@given(lines, orders, discounts)
def test_the_best_token_is_the_largest_of_the_whole_distribution(text: list[list[int]], order: int, which: Discounts):
    """Looking only at what was seen, order by order, misses no larger probability."""
    tables = kneser_ney(text, SIZE, order, which)

    for length in range(order):
        contexts = contexts_of(text, length)
        best = tables[length].best(torch.tensor([number(context) for context in contexts])).tolist()
        for context, token in zip(contexts, best, strict=True):
            found = distribution(tables, context)
            assert found[token] == pytest.approx(max(found), rel=1e-12)


@settings(max_examples=40)
@given(lines, lines, orders, discounts)
def test_scores_equal_a_loop_over_the_targets(
    train: list[list[int]], valid: list[list[int]], order: int, which: Discounts
):
    rows = windows(valid, 6)
    slow = CountedByHand(train, SIZE, order, which == "modified")

    losses, _ = predict(kneser_ney(train, SIZE, order, which), window_targets(rows, order - 1))

    assert math.exp(losses.mean()) == pytest.approx(slow.perplexity(asked_of_rows(rows.tolist(), PAD, order - 1)))


# ---- small cases --------------------------------------------------------------------------------------------------


def test_the_majority_is_right_as_often_as_its_token_stands_there():
    """Always 5 is right twice of four; without the unknown word twice of three; its loss is infinite."""
    rows = torch.tensor([[BOS, 5, 5, EOS, PAD], [BOS, UNK, PAD, PAD, PAD]])

    found = window_baselines(rows, [[BOS, 5, 5, EOS]], rows, SIZE)["majority"]

    assert found == Baseline("always the most frequent", math.inf, math.inf, 0.5, 2 / 3)


def test_a_share_of_nothing_is_none():
    rows = torch.tensor([[BOS, UNK, UNK]])

    found = window_baselines(rows, [[BOS, UNK, UNK]], rows, SIZE)

    assert found["bigram"].accuracy == 1
    assert found["bigram"].accuracy_known is None
    assert found["majority"].loss == 0


@pytest.mark.parametrize("empty", [torch.zeros(0, 5, dtype=torch.int64), torch.tensor([[BOS, PAD]])])
def test_windows_without_a_target_are_refused(empty: Tensor):
    rows = torch.tensor([[BOS, 5, EOS]])

    with pytest.raises(ValueError, match="no target"):
        window_baselines(rows, [[BOS, 5, EOS]], empty, SIZE)
    with pytest.raises(ValueError, match="no target"):
        window_baselines(empty, [[BOS, 5, EOS]], rows, SIZE)


# ---- a check that finds a wrong count -------------------------------------------------------------------------------


def without_beginnings(tables: list[NgramOrder]) -> list[NgramOrder]:
    """What a continuation count makes of n-grams that begin a line: after <bos> alone no word was seen."""
    one, two, three = tables
    kept, context = two.keys // two.size != BOS, two.contexts != BOS
    two = replace(
        two,
        keys=two.keys[kept],
        seen=two.seen[kept],
        contexts=two.contexts[context],
        backoff_mass=two.backoff_mass[context],
    )
    return [one, two, replace(three, below=two)]


@pytest.mark.parametrize("name", ["synthetic", "dialect"])
def test_the_check_finds_that_beginnings_were_not_counted(name: str, texts: dict[str, WindowedText]):
    """A 3-gram without first words is worse than the bigram, and they cost more than a guess; a sound one neither."""
    text, size = texts[name], len(texts[name].vocabulary)
    inputs, targets = text.train[:, :-1], text.train[:, 1:]
    kept, asked = targets != PAD, window_targets(text.valid)
    two = [ngram.unigram(targets[kept], size), ngram.bigram(inputs[kept], targets[kept], size)]
    three = kneser_ney(text.train_lines, size)
    sound, crippled, beside = (predict(each, asked)[0] for each in (three, without_beginnings(three), two))

    assert ngram.doubts(beside, sound, asked, BOS, size) == []
    told = ngram.doubts(beside, crippled, asked, BOS, size)

    first = asked.past[:, 0] == BOS
    assert len(told) == 2
    assert f"loses {float((crippled - beside).mean()):.3f} nats more per token than the bigram" in told[0]
    assert f"costs the Kneser–Ney 3-gram {float(crippled[first].mean()):.3f} nats" in told[1]
    assert f"among all tokens {math.log(size):.3f}" in told[1]


def test_a_text_unlike_its_validation_text_is_doubted():
    """Counted on lines of 4 and 5 and asked for 6 and 7 the longer context only misleads; asked for its own, not."""
    train, own, other = ([[BOS, *row, EOS] for row in [pair * 4] * 20] for pair in ([4, 5], [4, 5], [6, 7]))
    said: list[str] = []

    window_baselines(windows(train), train, windows(own), SIZE, said.append)
    assert said == []
    window_baselines(windows(train), train, windows(other), SIZE, said.append)

    assert [told.partition(":")[0] for told in said] == ["Doubtful count"] * len(said)
    assert said


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 4)), min_size=1, max_size=20))
def test_the_error_of_a_mean_is_that_of_its_lines(drawn: list[tuple[float, int]]):
    """Lines are drawn as wholes: their sums, less what the mean gives them, are what spreads; one line says nothing."""
    values = torch.tensor([value for value, _ in drawn], dtype=torch.float64)
    line = torch.tensor([number for _, number in drawn])
    lines = sorted(set(line.tolist()))
    mean = math.fsum(values.tolist()) / len(values)
    sums = [math.fsum(value - mean for value, number in drawn if number == one) for one in lines]

    found = ngram.mean_over_lines(values, line)

    assert found[0] == pytest.approx(mean, abs=1e-9)
    if len(lines) < 2:
        assert found[1] == math.inf
    else:
        spread = math.fsum(total**2 for total in sums) * len(lines) / (len(lines) - 1)
        assert found[1] == pytest.approx(math.sqrt(spread) / len(values), abs=1e-9)


# ---- whole texts ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts() -> dict[str, WindowedText]:
    return {name: prepare(load_corpus(name), length=32) for name in ("synthetic", "dialect")}


@pytest.mark.parametrize(
    ("name", "order", "which", "ppl"),
    [
        ("synthetic", 3, "interpolated", 15.74),
        ("dialect", 3, "interpolated", 19.13),
        ("synthetic", 4, "modified", None),
        ("dialect", 4, "modified", None),
    ],
)
def test_a_made_text_equals_the_dictionaries(
    name: str, order: int, which: Discounts, ppl: float | None, texts: dict[str, WindowedText]
):
    """The whole validation text costs what plain counting says; at order 3 no other figure than ever."""
    text, size = texts[name], len(texts[name].vocabulary)
    slow = CountedByHand(text.train_lines, size, order, which == "modified")
    losses, _ = predict(kneser_ney(text.train_lines, size, order, which), window_targets(text.valid, order - 1))

    found = math.exp(losses.mean())

    assert found == pytest.approx(slow.perplexity(asked_of_rows(text.valid.tolist(), PAD, order - 1)), rel=1e-9)
    assert ppl is None or found == pytest.approx(ppl, abs=0.005)


@pytest.mark.parametrize("tokens", [1_000, 4_000, 16_000])
def test_a_made_stream_equals_the_dictionaries(tokens: int):
    """The synthetic language one line after another, at the sizes of chapter 5; no count is doubtful."""
    coder = word_coder(Grammar.standard().vocabulary())
    corpus = load_corpus("synthetic")
    train, valid = stream(corpus.train, coder, tokens).tokens, stream(corpus.valid, coder, 8_000).tokens
    slow = CountedByHand.of_stream(train.tolist(), coder.vocabulary, 3, False, UNK)
    said: list[str] = []

    found = stream_baselines(train, valid, coder.vocabulary, UNK, said.append)["kneser_ney_3"]

    assert found.ppl == pytest.approx(slow.perplexity(asked_of_stream(valid.tolist(), UNK)), rel=1e-9)
    assert said == []


DATA = Path(os.environ.get("LLMLAB_DATA", "nowhere"))
wikitext = pytest.mark.skipif(
    not (DATA / "wikitext-2" / "train.txt").is_file(), reason="LLMLAB_DATA names no folder with wikitext-2/train.txt"
)
minilm = pytest.mark.skipif(
    not (DATA / "minilm-embeddings" / "tokenizer.json").is_file(), reason="LLMLAB_DATA has no minilm-embeddings"
)


@wikitext
def test_the_figures_on_wikitext_2():
    split = {name: (DATA / "wikitext-2" / f"{name}.txt").read_text("utf-8").split("\n") for name in ("train", "valid")}
    vocabulary = WordVocabulary.of_lines(split["train"])
    size = len(vocabulary)
    train, valid = (list(encoded(split[name], vocabulary)) for name in ("train", "valid"))
    asked, said = windows(valid), list[str]()

    found = window_baselines(windows(train), train, asked, size, said.append)
    modified = predict(kneser_ney(train, size, 4, "modified"), window_targets(asked, 3))[0].mean()
    slow = CountedByHand(train, size, 3, False).perplexity(asked_of_rows(asked.tolist(), PAD))

    assert said == []
    assert found["majority"].accuracy == pytest.approx(0.3044, abs=5e-5)
    assert found["unigram"].ppl == pytest.approx(67.56, abs=0.005)
    assert found["bigram"].ppl == pytest.approx(33.42, abs=0.005)
    assert found["bigram"].accuracy == pytest.approx(0.330, abs=5e-4)
    assert found["kneser_ney_3"].ppl == pytest.approx(slow, rel=1e-9)
    assert found["kneser_ney_3"].ppl == pytest.approx(28.155, abs=0.0005)
    assert found["kneser_ney_3"].accuracy == pytest.approx(0.3438, abs=5e-5)
    assert math.exp(modified) == pytest.approx(27.55, abs=0.005)


@wikitext
@minilm
def test_the_figures_on_a_stream_of_wikitext_2():
    """250,000 tokens of MiniLM's tokenizer: bigram 784.50, Kneser-Ney 472.48, as plain counting has it."""
    coder = subword_coder(load_pretrained(str(DATA / "minilm-embeddings"), weights=False))
    train_texts, valid_texts, _ = documents(load_corpus("wikitext-2"))
    train, valid = (stream(each, coder, n).tokens for each, n in ((train_texts, 250_000), (valid_texts, 25_000)))
    slow = CountedByHand.of_stream(train.tolist(), coder.vocabulary, 3, False, coder.unknown)
    said: list[str] = []

    found = stream_baselines(train, valid, coder.vocabulary, coder.unknown, said.append)

    assert said == []
    assert found["bigram"].ppl == pytest.approx(784.50, abs=0.005)
    assert found["kneser_ney_3"].ppl == pytest.approx(
        slow.perplexity(asked_of_stream(valid.tolist(), coder.unknown)), rel=1e-9
    )
    assert found["kneser_ney_3"].ppl == pytest.approx(472.48, abs=0.005)


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

WORDS = 5
some_documents = st.lists(st.lists(st.integers(1, WORDS - 1), min_size=1, max_size=6), min_size=1, max_size=6)


def joined(found: list[list[int]], cut: int = 0) -> Tensor:
    """Return documents as a stream in which 0 ends each, some of its last tokens cut off."""
    tokens = [0, *(token for document in found for token in (*document, 0))]
    return torch.tensor(tokens[: max(3, len(tokens) - cut)])


def slow_references(train: list[int], valid: list[int], unknown: int) -> dict[str, tuple[float, list[list[float]]]]:
    """Return loss and, for every scored target, all probabilities, by loops over dictionaries."""
    targets = [token for token in train[1:] if token != unknown]
    pairs = Counter((a, b) for a, b in pairwise(train) if b != unknown)
    three = CountedByHand.of_stream(train, WORDS, 3, False, unknown)

    def one(token: int) -> float:
        return (targets.count(token) + 1) / (len(targets) + WORDS)

    def two(before: int, token: int) -> float:
        total = sum(count for (a, _), count in pairs.items() if a == before)
        return 0.9 * pairs[before, token] / total + 0.1 * one(token) if total else one(token)

    found: dict[str, list[list[float]]] = {"unigram": [], "bigram": [], "kneser_ney_3": []}
    right = []
    for place in range(1, len(valid)):
        if valid[place] == unknown:
            continue
        right.append(valid[place])
        found["unigram"].append([one(token) for token in range(WORDS)])
        found["bigram"].append([two(valid[place - 1], token) for token in range(WORDS)])
    found["kneser_ney_3"] = [three.distribution(context) for context, _ in asked_of_stream(valid, unknown)]
    return {
        name: (-math.fsum(math.log(row[y]) for row, y in zip(each, right, strict=True)) / len(right), each)
        for name, each in found.items()
    }


@settings(max_examples=60)
@given(some_documents, some_documents, st.integers(0, 4), st.sampled_from([NOTHING, 1, WORDS - 1]))
def test_baselines_on_a_stream_equal_the_dictionaries(
    train: list[list[int]], valid: list[list[int]], cut: int, unknown: int
) -> None:
    tokens, held_out = joined(train, cut), joined(valid)
    right = [token for token in held_out[1:].tolist() if token != unknown]
    assume(any(token != unknown for token in tokens[1:].tolist()) and right)
    found = stream_baselines(tokens, held_out, WORDS, unknown)
    slow = slow_references(tokens.tolist(), held_out.tolist(), unknown)

    for name, (loss, probabilities) in slow.items():
        assert found[name].loss == pytest.approx(loss, rel=1e-9)
        assert found[name].ppl == pytest.approx(math.exp(loss))
        assert all(sum(row) == pytest.approx(1) for row in probabilities)
        best = [[row[y] - max(row[:y] + row[y + 1 :]) for row, y in zip(probabilities, right, strict=True)]]
        surely, maybe = (sum(gap > edge for gap in best[0]) / len(right) for edge in (1e-9, -1e-9))
        assert surely - 1e-9 <= (found[name].accuracy or 0) <= maybe + 1e-9
    shares = [right.count(token) / len(right) for token in range(WORDS) if token != unknown]
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
    found = stream_baselines(joined(train), joined(valid), WORDS)["kneser_ney_3"]
    sorted_ones = stream_baselines(joined(sorted(train)), joined(sorted(valid)), WORDS)["kneser_ney_3"]

    assert found.loss == pytest.approx(sorted_ones.loss, rel=1e-12)
    assert found.accuracy == pytest.approx(sorted_ones.accuracy)


@given(some_documents)
def test_streams_and_windows_are_one_estimator(text: list[list[int]]) -> None:
    moved = [[word + 3 for word in document] for document in text]  # beside the marks that windows have
    lines = [[BOS, *document, BOS] for document in moved]
    tokens = torch.tensor([BOS, *(token for line in lines for token in line[1:])])
    rows = windows(lines, 8)

    in_windows, in_stream = window_baselines(rows, lines, rows, WORDS + 3), stream_baselines(tokens, tokens, WORDS + 3)

    assert list(in_windows) == list(in_stream) == ["majority", "unigram", "bigram", "kneser_ney_3"]
    for name, found in in_windows.items():
        assert (found.loss, found.accuracy) == (in_stream[name].loss, in_stream[name].accuracy)
