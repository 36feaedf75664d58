"""What counting reaches on windows and streams, against dictionaries and loops, once on paper, and on known texts."""

import math
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from counted_by_hand import CountedByHand, Gram, asked_of, split_at_marks
from llmlab.lab.context_text import EmbeddedCorpus, dataset_of, exact_losses
from llmlab.measure import ngram
from llmlab.measure.ngram import (
    NOTHING,
    Baseline,
    Discounts,
    Lines,
    NgramOrder,
    kneser_ney,
    predict,
    stream_baselines,
    window_baselines,
)
from llmlab.text import words
from llmlab.text.corpus import load_corpus
from llmlab.text.documents import documents
from llmlab.text.grammar import Grammar
from llmlab.text.pretrained import load_pretrained
from llmlab.text.streams import Stream, stream, subword_coder, word_coder
from llmlab.text.windows import WindowedText, prepare
from llmlab.text.words import BOS, EOS, PAD, UNK, windows

SIZE = 8
texts_of_lines = st.lists(st.lists(st.sampled_from([UNK, 4, 5, 6, 7]), max_size=9), min_size=1, max_size=12)
discounts: st.SearchStrategy[Discounts] = st.sampled_from(["interpolated", "modified"])


def marked(text: list[list[int]]) -> list[list[int]]:
    return [[BOS, *line, EOS] for line in text]


def joined(text: list[list[int]], cut: int = 0) -> Tensor:
    """Documents as a stream in which a mark ends each, some of its last tokens cut off."""
    tokens = [EOS, *(token for line in text for token in (*line, EOS))]
    return torch.tensor(tokens[: max(3, len(tokens) - cut)])


def rows_of(table: Tensor) -> list[list[int]]:
    return [[token for token in row if token != PAD] for row in table.tolist()]


# ---- laws ---------------------------------------------------------------------------------------------------------


def test_the_marks_are_those_of_the_words():
    """The package of measures imports no other, so it repeats two numbers."""
    assert (ngram.PAD, ngram.UNK) == (words.PAD, words.UNK)


@settings(max_examples=60)
@given(texts_of_lines.map(marked), st.integers(1, 4), discounts)
def test_kneser_ney_equals_the_dictionaries_and_sums_to_one(text: list[list[int]], order: int, which: Discounts):
    """After every context, seen or not, the V probabilities are the loop's, their sum is 1, and the best is largest."""
    tables, slow = kneser_ney(Lines.of(text), SIZE, order, which), CountedByHand(text, SIZE, order, which == "modified")

    assert len(tables) == order
    for length, table in enumerate(tables):
        seen = {tuple(line[i : i + length]) for line in text for i in range(len(line) - length)}
        for context in (*sorted(seen), (7,) * length, (PAD,) * length):
            number = sum(token * SIZE**back for back, token in enumerate(reversed(context)))
            found = table.probability(number * SIZE + torch.arange(SIZE)).tolist()
            assert found == pytest.approx(slow.distribution(context), rel=1e-9)
            assert math.fsum(found) == pytest.approx(1, abs=1e-12)
            assert min(found) >= 0
            assert found[int(table.best(torch.tensor([number])))] == pytest.approx(max(found), rel=1e-12)


def slow_baselines(
    counted: list[tuple[Gram, int]], three: CountedByHand, asked: list[tuple[Gram, int]]
) -> dict[str, list[list[float]]]:
    """All probabilities of every target, by loops over dictionaries."""
    targets, pairs = Counter(token for _, token in counted), Counter((before[-1], token) for before, token in counted)
    after = Counter(before[-1] for before, _ in counted)

    def one(token: int) -> float:
        return (targets[token] + 1) / (len(counted) + SIZE)

    def two(before: int, token: int) -> float:
        return 0.9 * pairs[before, token] / after[before] + 0.1 * one(token) if after[before] else one(token)

    return {
        "unigram": [[one(token) for token in range(SIZE)] for _ in asked],
        "bigram": [[two(before[-1], token) for token in range(SIZE)] for before, _ in asked],
        "kneser_ney_3": [three.distribution(before) for before, _ in asked],
    }


@settings(max_examples=60)
@given(texts_of_lines, texts_of_lines, st.sampled_from(["windows", NOTHING, UNK]), st.integers(0, 4))
def test_baselines_equal_the_dictionaries(
    train: list[list[int]], valid: list[list[int]], kind: str | int, cut: int
) -> None:
    """On windows, some from the middle of a line, and on a stream, with or without an unknown word."""
    if isinstance(kind, str):
        rows, held_out = windows(marked(train), 6), windows(marked(valid), 6)
        assume(len(rows) and len(held_out))
        never, counted, whole, asked = None, rows_of(rows), marked(train), rows_of(held_out)
        found = window_baselines(rows, whole, held_out, SIZE)
    else:
        tokens, held_out = joined(train, cut), joined(valid)
        never, counted, asked = kind, split_at_marks(tokens.tolist()), split_at_marks(held_out.tolist())
        whole = counted
        found = stream_baselines(tokens, held_out, SIZE, never)
    targets = asked_of(asked, never)
    right = [token for _, token in targets]

    slow = slow_baselines(asked_of(counted, never), CountedByHand(whole, SIZE, 3, False, never), targets)

    assert list(found) == ["majority", *slow]
    for name, each in slow.items():
        loss = -math.fsum(math.log(row[y]) for row, y in zip(each, right, strict=True)) / len(right)
        assert found[name].loss == pytest.approx(loss, rel=1e-9)
        assert found[name].ppl == pytest.approx(math.exp(loss))
        gaps = [row[y] - max(row[:y] + row[y + 1 :]) for row, y in zip(each, right, strict=True)]
        surely, maybe = (sum(gap > edge for gap in gaps) / len(right) for edge in (1e-9, -1e-9))
        assert surely - 1e-9 <= found[name].accuracy <= maybe + 1e-9
    assert any(found["majority"].accuracy == pytest.approx(right.count(token) / len(right)) for token in range(SIZE))


# ---- small cases --------------------------------------------------------------------------------------------------


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


def test_the_majority_is_right_as_often_as_its_token_stands_there():
    """Always 5 is right twice of four; without the unknown word twice of three; its loss is infinite, or 0."""
    rows = torch.tensor([[BOS, 5, 5, EOS, PAD], [BOS, UNK, PAD, PAD, PAD]])
    same = torch.tensor([[BOS, UNK, UNK]])

    found = window_baselines(rows, [[BOS, 5, 5, EOS]], rows, SIZE)["majority"]
    of_nothing = window_baselines(same, [[BOS, UNK, UNK]], same, SIZE)

    assert found == Baseline("always the most frequent", math.inf, math.inf, 0.5, 2 / 3)
    assert of_nothing["majority"] == Baseline("always the most frequent", 0, 1, 1, None)
    assert (of_nothing["bigram"].accuracy, of_nothing["bigram"].accuracy_known) == (1, None)


def test_windows_without_a_target_are_refused():
    rows, none, padded = torch.tensor([[BOS, 5, EOS]]), torch.zeros(0, 5, dtype=torch.int64), torch.tensor([[BOS, PAD]])
    for train, valid in ((rows, none), (none, rows), (rows, padded), (padded, rows)):
        with pytest.raises(ValueError, match="no target"):
            window_baselines(train, [[BOS, 5, EOS]], valid, SIZE)


# ---- a check that finds a wrong count -------------------------------------------------------------------------------


def without_beginnings(tables: list[NgramOrder]) -> list[NgramOrder]:
    """What a continuation count makes of n-grams that begin a line: after <bos> alone no word was seen."""
    one, two, three = tables
    kept, context = two.grams // two.size != BOS, two.contexts != BOS
    seen, mass = two.seen[kept], two.backoff_mass[context]
    two = replace(two, grams=two.grams[kept], seen=seen, contexts=two.contexts[context], backoff_mass=mass)
    return [one, two, replace(three, below=two)]


@pytest.mark.parametrize("name", ["synthetic", "dialect"])
def test_the_check_finds_that_beginnings_were_not_counted(name: str, texts: dict[str, WindowedText]):
    """A 3-gram without first words is worse than the bigram, and they cost more than a guess; a sound one neither."""
    text, size = texts[name], len(texts[name].vocabulary)
    rows, asked = Lines.of_windows(text.train), Lines.of_windows(text.valid)
    two, three = [ngram.unigram(rows, size), ngram.bigram(rows, size)], kneser_ney(Lines.of(text.train_lines), size)
    sound, crippled, beside = (predict(each, asked)[0] for each in (three, without_beginnings(three), two))

    assert ngram.doubts(beside, sound, asked, size) == []
    told = ngram.doubts(beside, crippled, asked, size)

    first = asked.tokens.roll(1)[asked.target] == BOS
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
    lines = sorted({number for _, number in drawn})
    mean = math.fsum(value for value, _ in drawn) / len(drawn)
    sums = [math.fsum(value - mean for value, number in drawn if number == one) for one in lines]
    spread = math.fsum(total**2 for total in sums) * len(lines) / (len(lines) - 1) if len(lines) > 1 else math.inf

    values = torch.tensor([value for value, _ in drawn], dtype=torch.float64)
    found = ngram.mean_over_lines(values, torch.tensor([number for _, number in drawn]))

    assert found == pytest.approx((mean, math.sqrt(spread) / len(drawn)), abs=1e-9)


# ---- whole texts ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts() -> dict[str, WindowedText]:
    return {name: prepare(load_corpus(name), length=32) for name in ("synthetic", "dialect")}


@pytest.mark.parametrize(("order", "which"), [(3, "interpolated"), (4, "modified")])
@pytest.mark.parametrize(("name", "ppl"), [("synthetic", 15.74), ("dialect", 19.13)])
def test_a_made_text_equals_the_dictionaries(
    name: str, ppl: float, order: int, which: Discounts, texts: dict[str, WindowedText]
):
    """The whole validation text costs what plain counting says; at order 3 no other figure than ever."""
    text, size = texts[name], len(texts[name].vocabulary)
    slow = CountedByHand(text.train_lines, size, order, which == "modified")

    losses, _ = predict(kneser_ney(Lines.of(text.train_lines), size, order, which), Lines.of_windows(text.valid))

    found = math.exp(losses.mean())
    assert found == pytest.approx(slow.perplexity(asked_of(rows_of(text.valid), None, order - 1)), rel=1e-9)
    assert order == 4 or found == pytest.approx(ppl, abs=0.005)


def slow_ppl(train: Tensor, valid: Tensor, size: int, unknown: int) -> float:
    lines, held_out = (split_at_marks(tokens.tolist()) for tokens in (train, valid))
    return CountedByHand(lines, size, 3, False, unknown).perplexity(asked_of(held_out, unknown))


@pytest.mark.parametrize("tokens", [1_000, 4_000, 16_000])
def test_a_made_stream_equals_the_dictionaries(tokens: int):
    """The synthetic language one line after another, at the sizes of chapter 5; no count is doubtful."""
    coder, corpus, said = word_coder(Grammar.standard().vocabulary()), load_corpus("synthetic"), list[str]()
    train, valid = (stream(*each).tokens for each in ((corpus.train, coder, tokens), (corpus.valid, coder, 8_000)))

    found = stream_baselines(train, valid, coder.vocabulary, UNK, said.append)["kneser_ney_3"]

    assert found.ppl == pytest.approx(slow_ppl(train, valid, coder.vocabulary, UNK), rel=1e-9)
    assert said == []


# ---- WikiText-2, where it is here: known figures, and the dictionaries again -----------------------------------------

DATA = Path(os.environ.get("LLMLAB_DATA", "nowhere"))
wikitext = pytest.mark.skipif(
    not (DATA / "wikitext-2" / "train.txt").is_file(), reason="LLMLAB_DATA names no folder with wikitext-2/train.txt"
)


@pytest.mark.slow
@wikitext
def test_the_figures_on_wikitext_2():
    text, said = prepare(load_corpus("wikitext-2")), list[str]()
    size, lines = len(text.vocabulary), text.train_lines
    slow = CountedByHand(lines, size, 3, False)

    found = window_baselines(text.train, lines, text.valid, size, said.append)
    modified = predict(kneser_ney(Lines.of(lines), size, 4, "modified"), Lines.of_windows(text.valid))[0].mean()

    assert said == []
    assert found["majority"].accuracy == pytest.approx(0.3044, abs=5e-5)
    assert found["unigram"].ppl == pytest.approx(67.56, abs=0.005)
    assert found["bigram"].ppl == pytest.approx(33.42, abs=0.005)
    assert found["bigram"].accuracy == pytest.approx(0.330, abs=5e-4)
    assert found["kneser_ney_3"].ppl == pytest.approx(28.155, abs=0.0005)
    assert found["kneser_ney_3"].ppl == pytest.approx(slow.perplexity(asked_of(rows_of(text.valid), None)), rel=1e-9)
    assert found["kneser_ney_3"].accuracy == pytest.approx(0.3438, abs=5e-5)
    assert math.exp(modified) == pytest.approx(27.55, abs=0.005)


@pytest.mark.slow
@wikitext
@pytest.mark.skipif(not (DATA / "minilm-embeddings").is_dir(), reason="LLMLAB_DATA has no minilm-embeddings")
def test_the_figures_on_a_stream_of_wikitext_2():
    """In 250,000 tokens of MiniLM's tokenizer."""
    coder, said = subword_coder(load_pretrained(str(DATA / "minilm-embeddings"), weights=False)), list[str]()
    train_texts, valid_texts, _ = documents(load_corpus("wikitext-2"))
    train, valid = (stream(each, coder, n).tokens for each, n in ((train_texts, 250_000), (valid_texts, 25_000)))

    found = stream_baselines(train, valid, coder.vocabulary, coder.unknown, said.append)

    assert said == []
    assert found["bigram"].ppl == pytest.approx(784.50, abs=0.005)
    assert found["kneser_ney_3"].ppl == pytest.approx(472.48, abs=0.005)
    assert found["kneser_ney_3"].ppl == pytest.approx(slow_ppl(train, valid, coder.vocabulary, coder.unknown), rel=1e-9)


# ---- the Bayes loss of a stream -------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(0, 50), st.integers(0, 40))
def test_the_exact_losses_of_a_stream_are_those_of_its_lines(count: int, seed: int, cut: int) -> None:
    grammar = Grammar.standard()
    vocabulary, lines = grammar.vocabulary(), grammar.lines(count, seed)
    whole = stream(lines, word_coder(vocabulary), 10**6)
    tokens = whole.tokens[: max(2, len(whole.tokens) - cut)]
    alone = windows(map(vocabulary.encode, lines), grammar.most + 2)

    found = exact_losses(Stream(tokens, whole.starts[whole.starts < len(tokens)]), vocabulary)

    for told, exactly in zip(found, (grammar.log_probabilities, grammar.bigram_log_probabilities), strict=True):
        wanted = -exactly(alone, vocabulary)[alone[:, 1:] != PAD][: len(tokens) - 1]
        assert told == pytest.approx(float(wanted.mean()))


def test_the_floor_is_below_what_counting_reaches(source: EmbeddedCorpus) -> None:
    """On the same targets no baseline is better than the best reader, nor than the exact bigram if it is a bigram."""
    task = dataset_of(source, 4_000, 1_000)
    assert task.bayes_loss is not None
    assert task.bigram_loss is not None

    assert task.bayes_loss < min(task.references[name].loss for name in ("unigram", "bigram", "kneser_ney_3"))
    assert task.bayes_loss < task.bigram_loss < task.references["bigram"].loss
    assert sum(task.valid_counts) == 999
