"""A corpus as two streams: every token in its place, cut exactly, scored right, and the same from the cache."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import needs
from llmlab.errors import TextError
from llmlab.text.cache import keep, kept
from llmlab.text.corpus import Corpus, load_corpus
from llmlab.text.pretrained import Pretrained, load_pretrained
from llmlab.text.streams import Coder, StreamText, stream_text, subword_coder, word_coder
from llmlab.text.words import EOS, UNK, WordVocabulary
from stand_in_model import WORDS, gpt_tokenizer, loaded, model_files

GIVEN = os.environ.get("LLMLAB_DATA", "")
CHANCE = random.Random(0)
LINES = [" ".join(CHANCE.choices(WORDS, k=CHANCE.randint(1, 12))) for _ in range(40)]
CORPUS = Corpus("words", LINES[:30], LINES[30:])
VOCABULARY = WordVocabulary.of_lines(LINES[:20], 60)
CODER = word_coder(VOCABULARY)
small_lines = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=6).map(" ".join), min_size=1, max_size=8)


def streams(corpus: Corpus = CORPUS, coder: Coder = CODER, **options: Any) -> StreamText:
    return stream_text(corpus, coder, **{"tokens": 90, "valid_tokens": 40, **options})


def parts(text: StreamText) -> list[Any]:
    """What two equal texts have in common."""
    tensors = [tensor for stream in text.streams for tensor in (stream.tokens, stream.starts)]
    plain = [text.name, text.vocabulary, text.unknown, text.digest, text.notes]
    return plain + [(tensor.dtype, tensor.tolist()) for tensor in tensors]


def spec(lines: list[str], coder: Coder, most: int) -> tuple[list[int], list[int]]:
    tokens, starts = [coder.end], []
    for line in lines:
        for place, token in enumerate(coder.encode(line)):
            starts += [len(tokens)] if place == 0 else []
            tokens.append(token)
        tokens += [coder.end] if coder.encode(line) else []
    return tokens[:most], [start for start in starts if start < most]


@given(small_lines, st.integers(2, 60), st.integers(2, 60))
def test_a_stream_is_its_documents_with_an_end_after_each(lines: list[str], most: int, fewer: int) -> None:
    """Cut at exactly what is asked for, or all there is, which is said; a shorter one is the beginning of a longer one.

    What is held out is always the same, and an unknown word does not count.
    """
    coder = word_coder(WordVocabulary.of_lines(["a b c d"], 7))
    corpus = Corpus("x", ["a", *lines], ["never drawn above"])
    text = streams(corpus, coder, tokens=most, valid_tokens=5)
    tokens, starts = spec(corpus.train, coder, most)
    assert (text.train.tokens.tolist(), text.train.starts.tolist()) == (tokens, starts)
    other = streams(corpus, coder, tokens=fewer, valid_tokens=5)
    shared = min(len(tokens), len(other.train.tokens))
    assert torch.equal(other.train.tokens[:shared], text.train.tokens[:shared])
    assert torch.equal(other.valid.tokens, text.valid.tokens)
    assert text.scored(text.train).tolist() == [token != UNK for token in tokens[1:]]
    said = f"To train there are {len(tokens)} tokens, fewer than the {most} asked for: all are used."
    assert text.notes == [said] * (len(tokens) < most)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Pretrained]:
    """One tokenizer of word pieces, and one that knows every byte."""
    folder, bytewise = tmp_path_factory.mktemp("model"), {"tokenizer.json": gpt_tokenizer().encode()}
    return [loaded(folder / "bert", model_files()), loaded(folder / "gpt", bytewise, weights=False)]


def test_unknown_words_of_wikitext_are_one_token_and_do_not_count(models: list[Pretrained]) -> None:
    """``<unk>`` is the tokenizer's own unknown token, not letters; in byte-level text it takes its blank along.

    And a number is read as it was printed.
    """
    for model in models:
        coder = subword_coder(model)
        plain, unknown = coder.encode("bale bali"), coder.encode("bale <unk> bali")
        assert unknown.count(model.unknown) == 1
        assert [number for number in unknown if number != model.unknown] == plain
        assert coder.encode("<unk>") == [model.unknown]
        assert coder.encode("1 @,@ 2 @.@ 5") == coder.encode("1,2.5")
    text = streams(Corpus("x", ["bale <unk> bali"], ["bale"]), subword_coder(models[0]))
    assert text.scored(text.train).tolist() == [True, False, True, True]


@given(st.text(max_size=60))
def test_any_text_becomes_numbers_in_range_and_no_word_piece_is_an_end(models: list[Pretrained], text: str) -> None:
    found = [subword_coder(model).encode(text) for model in models]
    assert all(0 <= number < model.vocabulary for model, each in zip(models, found, strict=True) for number in each)
    assert models[0].end not in found[0]


@pytest.mark.parametrize(
    ("corpus", "told"),
    [
        (Corpus("x", [""], ["a"]), "1 tokens to train on, and 2 are the least"),
        (Corpus("x", ["a"], [""]), "1 tokens to validate with, and 2 are the least"),
        (Corpus("x", [], ["a"]), "train on"),
        (Corpus("x", ["a b " * 30], ["a b " * 30]), "1 of 1 held-out documents stand in the training text too"),
    ],
)
def test_a_text_that_is_too_short_or_overlaps_is_refused(corpus: Corpus, told: str) -> None:
    with pytest.raises(TextError, match=told):
        streams(corpus)


def test_the_cache_gives_the_same_text_and_every_condition_has_its_own(tmp_path: Path) -> None:
    """The second time nothing is encoded; another corpus, cut, vocabulary or mark has another file and digest."""
    first = streams(cache=tmp_path)
    (path,) = tmp_path.iterdir()
    stamp = path.stat().st_mtime_ns
    never = Coder(lambda text: pytest.fail("encoded again"), CODER.vocabulary, CODER.unknown, CODER.end, CODER.digest)
    assert parts(streams(coder=never, cache=tmp_path, say=pytest.fail)) == parts(first) == parts(streams())
    assert path.stat().st_mtime_ns == stamp
    others = [streams(tokens=91, cache=tmp_path), streams(valid_tokens=39, cache=tmp_path)]
    others += [streams(coder=word_coder(WordVocabulary.of_lines(LINES, 50)), cache=tmp_path)]
    others += [streams(Corpus("words", LINES[:29], LINES[30:]), cache=tmp_path)]
    others += [streams(coder=Coder(CODER.encode, 60, 4, EOS, CODER.digest), cache=tmp_path)]
    assert len(list(tmp_path.iterdir())) == len({first.digest, *(other.digest for other in others)}) == 6


@pytest.mark.parametrize(
    ("part", "more", "told"), [(0, len(VOCABULARY), "not those of its tokenizer"), (1, 90, "begin outside")]
)
def test_what_is_kept_is_checked_against_its_tokenizer(tmp_path: Path, part: int, more: int, told: str) -> None:
    """Numbers beyond the vocabulary, or documents that begin outside, are told of and made again."""
    first, said = streams(cache=tmp_path), list[str]()
    (path,) = tmp_path.iterdir()
    words, found = kept(path, path.stem)
    found[part] += more
    keep(path, path.stem, words, found)
    assert parts(streams(cache=tmp_path, say=said.append)) == parts(first)
    assert parts(streams(cache=tmp_path, say=pytest.fail)) == parts(first)
    assert told in said[0]


@needs("tokenizers", "pretrained")
@pytest.mark.skipif(
    not GIVEN or not (Path(GIVEN) / "minilm-embeddings").is_dir() or not (Path(GIVEN) / "wikitext-2").is_dir(),
    reason="LLMLAB_DATA lacks MiniLM or WikiText-2",
)
def test_wikitext_in_the_tokens_of_minilm() -> None:
    """250,000 tokens of 72 articles, 50,000 of 19 held out."""
    model = load_pretrained(str(Path(GIVEN) / "minilm-embeddings"))
    corpus = load_corpus("wikitext-2", offline=True)
    text = stream_text(corpus, subword_coder(model), tokens=250_000, valid_tokens=50_000)
    assert (len(text.train.tokens), len(text.valid.tokens)) == (250_000, 50_000)
    assert (len(text.train.starts), len(text.valid.starts)) == (72, 19)
    assert text.scored(text.train).float().mean() == pytest.approx(0.972, abs=0.001)
    assert int(text.train.tokens.max()) < model.vocabulary
