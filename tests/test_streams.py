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
from llmlab.text.grammar import Grammar
from llmlab.text.pretrained import Pretrained, load_pretrained
from llmlab.text.streams import Coder, StreamText, stream_text, subword_coder, word_coder
from llmlab.text.words import EOS, UNK, WordVocabulary
from stand_in_model import WORDS, gpt_tokenizer, model_files, write_files

GIVEN = os.environ.get("LLMLAB_DATA", "")
CHANCE = random.Random(0)
LINES = [" ".join(CHANCE.choices(WORDS, k=CHANCE.randint(1, 12))) for _ in range(40)]
CORPUS = Corpus("words", LINES[:30], LINES[30:])
VOCABULARY = WordVocabulary.of_lines(LINES[:20], 60)
CODER = word_coder(VOCABULARY)
small_lines = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=6).map(" ".join), min_size=1, max_size=8)


def streams(corpus: Corpus = CORPUS, coder: Coder = CODER, **options: Any) -> StreamText:
    return stream_text(corpus, coder, **{"tokens": 90, "valid_tokens": 40, **options})


def same(a: StreamText, b: StreamText) -> bool:
    pairs = list(zip(a.streams, b.streams, strict=True))
    tensors = [(getattr(x, name), getattr(y, name)) for x, y in pairs for name in ("tokens", "starts")]
    rest = (a.name, a.vocabulary, a.unknown, a.digest, a.notes) == (b.name, b.vocabulary, b.unknown, b.digest, b.notes)
    return rest and all(torch.equal(x, y) and x.dtype == y.dtype == torch.int64 for x, y in tensors)


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
    """Cut at exactly what is asked for, or all there is; a shorter one is the beginning of a longer one."""
    coder = word_coder(WordVocabulary.of_lines(["a b c d"], 7))
    corpus = Corpus("x", ["a", *lines], ["never drawn above"])
    text = streams(corpus, coder, tokens=most)
    tokens, starts = spec(corpus.train, coder, most)
    assert (text.train.tokens.tolist(), text.train.starts.tolist()) == (tokens, starts)
    other = streams(corpus, coder, tokens=fewer)
    shared = min(len(tokens), len(other.train.tokens))
    assert torch.equal(other.train.tokens[:shared], text.train.tokens[:shared])
    assert torch.equal(other.valid.tokens, text.valid.tokens)
    assert text.scored(text.train).tolist() == [token != UNK for token in tokens[1:]]


def test_the_built_in_language_has_no_unknown_word() -> None:
    """Its stream is whole words, and <eos> is a target like any other."""
    coder = word_coder(Grammar.standard().vocabulary())
    text = stream_text(load_corpus("synthetic"), coder, tokens=3_000, valid_tokens=1_000)
    assert (len(text.train.tokens), len(text.valid.tokens)) == (3_000, 1_000)
    assert text.scored(text.valid).all()
    assert (text.unknown, text.end) == (UNK, EOS)
    assert (text.train.tokens[text.train.starts - 1] == EOS).all()


def test_a_text_that_is_too_short_says_so() -> None:
    assert streams().notes == []
    found = streams(tokens=100_000)
    (note,) = found.notes
    assert note.startswith(f"To train there are {len(found.train.tokens):,} tokens, fewer than the 100,000")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return load_pretrained(write_files(tmp_path_factory.mktemp("model") / "bert", model_files()))


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    folder = write_files(tmp_path_factory.mktemp("model") / "gpt", {"tokenizer.json": gpt_tokenizer().encode()})
    return load_pretrained(folder, weights=False)


def test_unknown_words_of_wikitext_are_one_token_and_do_not_count(bert: Pretrained, gpt: Pretrained) -> None:
    """``<unk>`` is the tokenizer's own unknown token, not letters; in byte-level text it takes its blank along."""
    for model in (bert, gpt):
        coder = subword_coder(model)
        plain, unknown = coder.encode("bale bali"), coder.encode("bale <unk> bali")
        assert unknown.count(model.unknown) == 1
        assert [number for number in unknown if number != model.unknown] == plain
        assert coder.encode("<unk>") == [model.unknown]
    text = stream_text(Corpus("x", ["bale <unk> bali"], ["bale"]), subword_coder(bert), tokens=9, valid_tokens=9)
    assert text.scored(text.train).tolist() == [True, False, True, True]


def test_the_joins_are_undone_before_encoding(bert: Pretrained) -> None:
    """A number is read as it was printed."""
    coder = subword_coder(bert)
    assert coder.encode("1 @,@ 2 @.@ 5") == coder.encode("1,2.5")


@given(st.text(max_size=60))
def test_any_text_becomes_numbers_in_range(bert: Pretrained, gpt: Pretrained, text: str) -> None:
    for model in (bert, gpt):
        numbers = subword_coder(model).encode(text)
        assert all(0 <= number < model.vocabulary for number in numbers)
        assert model is gpt or model.end not in numbers


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
    """No target, or what is held out is trained on: exit 3 in a line."""
    with pytest.raises(TextError, match=told):
        streams(corpus)


def test_the_cache_gives_the_same_text_and_every_condition_has_its_own(tmp_path: Path) -> None:
    """The second time nothing is encoded; another corpus, cut, vocabulary or mark has another file and digest."""
    first = streams(cache=tmp_path)
    (path,) = tmp_path.iterdir()
    stamp = path.stat().st_mtime_ns
    never = Coder(lambda text: pytest.fail("encoded again"), CODER.vocabulary, CODER.unknown, CODER.end, CODER.digest)
    assert same(streams(coder=never, cache=tmp_path, say=pytest.fail), first)
    assert path.stat().st_mtime_ns == stamp
    others = [streams(tokens=91, cache=tmp_path), streams(valid_tokens=39, cache=tmp_path)]
    others += [streams(coder=word_coder(WordVocabulary.of_lines(LINES, 50)), cache=tmp_path)]
    others += [streams(Corpus("words", LINES[:29], LINES[30:]), cache=tmp_path)]
    others += [streams(coder=Coder(CODER.encode, 60, 4, EOS, CODER.digest), cache=tmp_path)]
    assert len(list(tmp_path.iterdir())) == len({first.digest, *(other.digest for other in others)}) == 6


def test_what_is_kept_is_checked_against_its_tokenizer(tmp_path: Path) -> None:
    """Numbers beyond the vocabulary, or documents that begin outside, are told of and made again."""
    first, told = streams(cache=tmp_path), list[str]()
    (path,) = tmp_path.iterdir()
    words, parts = kept(path, path.stem)
    keep(path, path.stem, words, [parts[0] + len(VOCABULARY), *parts[1:]])
    assert same(streams(cache=tmp_path, say=told.append), first)
    keep(path, path.stem, words, [parts[0], parts[1] + 90, *parts[2:]])
    assert same(streams(cache=tmp_path, say=told.append), first)
    assert same(streams(cache=tmp_path, say=pytest.fail), first)
    assert ["not those of its tokenizer" in told[0], "begin outside" in told[1]] == [True, True]


@needs("tokenizers", "pretrained")
@pytest.mark.skipif(
    not GIVEN or not (Path(GIVEN) / "minilm-embeddings").is_dir() or not (Path(GIVEN) / "wikitext-2").is_dir(),
    reason="LLMLAB_DATA lacks MiniLM or WikiText-2",
)
def test_wikitext_in_the_tokens_of_minilm(tmp_path: Path) -> None:
    """250,000 tokens of 72 articles, 50,000 of 19 held out, and the same from the cache."""
    model = load_pretrained(str(Path(GIVEN) / "minilm-embeddings"))
    corpus = load_corpus("wikitext-2", offline=True)
    for _ in range(2):
        text = stream_text(corpus, subword_coder(model), tokens=250_000, valid_tokens=50_000, cache=tmp_path)
        assert (len(text.train.tokens), len(text.valid.tokens)) == (250_000, 50_000)
        assert (len(text.train.starts), len(text.valid.starts)) == (72, 19)
        assert text.scored(text.train).float().mean() == pytest.approx(0.972, abs=0.001)
        assert int(text.train.tokens.max()) < model.vocabulary
