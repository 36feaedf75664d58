"""What chapters 5 and 6 read: an embedding made in the run, held-out documents that stay, texts that do not fit."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import Stop
from llmlab.embedding_freeze import EQUATIONS, freeze_arms
from llmlab.errors import SettingError, Stopped, TextError
from llmlab.lab import context_stages
from llmlab.lab.context_stages import LINES, MADE_SEED, loaded, made
from llmlab.lab.context_text import EmbeddedCorpus, dataset_of
from llmlab.settings import TwoStageSettings
from llmlab.text.corpus import Corpus
from llmlab.text.grammar import Grammar
from llmlab.text.pretrained import load_pretrained
from llmlab.text.streams import subword_coder
from stand_in_model import model_files, write_files
from strategies_contexts import FREEZE, compared

pytestmark = pytest.mark.usefixtures("one_thread", "elsewhere")


# ---- what is read -------------------------------------------------------------------------------------------------


def test_the_made_embedding_is_the_same_in_every_run(source: EmbeddedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit and under the same digest; and while it is made it can be stopped."""
    monkeypatch.setattr(context_stages, "LINES", 60)
    again = made(EQUATIONS, 8)

    assert torch.equal(again.embedding, source.embedding)
    assert (again.digest, again.name) == (source.digest, "made in the run")
    with pytest.raises(Stopped):
        made(EQUATIONS, 8, Stop(at=1))


def test_the_made_embedding_read_none_of_the_lines_that_are_read_later(source: EmbeddedCorpus) -> None:
    """Its lines are drawn by another seed, and nearly none of them stands in the text."""
    read = set(Grammar.standard().lines(LINES // 20, MADE_SEED))
    later = {*source.corpus.train, *source.corpus.valid}

    assert len(read & later) / len(read) < 0.01
    assert source.corpus.train[:50] == Grammar.standard().lines(50, 1)


def test_random_vectors_need_no_embedding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With ``--vectors random`` nothing is made and no matrix is read; the name says what it is."""
    monkeypatch.setattr("llmlab.lab.context_stages.made", lambda *_: pytest.fail("it was made"))
    found = loaded(EQUATIONS, TwoStageSettings(width=6, vectors="random"), vectors="random")
    assert found.embedding.shape == (132, 6)
    assert found.name.startswith("random")

    files = {name: content for name, content in model_files().items() if name != "model.safetensors"}
    asked = TwoStageSettings(width=6, data="synthetic", pretrained=write_files(tmp_path / "words only", files))
    found = loaded(EQUATIONS, asked, vectors="random")
    assert found.embedding.shape[1] == 6
    assert float(found.embedding.square().sum(1).mean()) == pytest.approx(1, abs=0.1)
    with pytest.raises(TextError, match="safetensors"):
        loaded(EQUATIONS, asked)


def test_every_size_keeps_the_same_held_out_documents(source: EmbeddedCorpus) -> None:
    """However much is trained on: the held-out stream is the same, and a smaller text begins a larger one."""
    small, large = dataset_of(source, 100, 120), dataset_of(source, 400, 120)

    assert torch.equal(small.text.valid.tokens, large.text.valid.tokens)
    assert torch.equal(small.text.train.tokens, large.text.train.tokens[:100])
    assert small.bayes_loss == large.bayes_loss
    assert small.digest != large.digest
    assert small.references["unigram"].loss != large.references["unigram"].loss


# ---- texts that do not fit ------------------------------------------------------------------------------------------


def test_a_batch_or_a_window_larger_than_the_text_is_refused(source: EmbeddedCorpus) -> None:
    """More tokens at once than there are: refused by the option's name, before anything is trained."""
    count = Stop()
    for wrong, words in (({"batch": 300}, "--batch: 300 tokens"), ({"inputs": 40, "val_tokens": 30}, "--inputs: 40")):
        asked = replace(FREEZE, **wrong)
        with pytest.raises(SettingError, match=words):
            compared(asked, source, freeze_arms(asked), count)
    grown = replace(FREEZE, grow="64", batch=64)
    with pytest.raises(SettingError, match="only 63"):
        compared(grown, source, freeze_arms(grown), count)
    assert (count.told, Path("runs").exists()) == ([], False)
    assert compared(replace(FREEZE, batch=299, arms="frozen", seeds=1), source, freeze_arms(FREEZE)[:1]).finished


def stand_in(folder: Path, train: list[str], valid: list[str]) -> EmbeddedCorpus:
    """Return a text read by a stand-in model."""
    found = load_pretrained(write_files(folder / "model", model_files()))
    assert found.embedding is not None
    return EmbeddedCorpus(Corpus("mine", train, valid), subword_coder(found), found.embedding, found.name, found.digest)


def test_a_text_of_unknown_words_is_refused(tmp_path: Path) -> None:
    """If the tokenizer knows none of the words there is nothing to score, and the message says so."""
    known, unknown = "bali dona kiri gule", " ".join(["漢字"] * 400)
    with pytest.raises(TextError, match=r"mine: .* to train on .* knows none"):
        dataset_of(stand_in(tmp_path, [unknown], [known]), 64, 16)
    with pytest.raises(TextError, match=r"mine: .* to validate with .* knows none"):
        dataset_of(stand_in(tmp_path, [known] * 20, [unknown]), 64, 16)


def test_batches_of_unknown_words_teach_nothing_and_stop_nothing(tmp_path: Path) -> None:
    """With one token per update most updates have no target: the loss told stays a number."""
    lines = [f"{' '.join(['漢字'] * 30)} {word}" for word in ("bali", "dona", "kiri", "gule")]
    source = stand_in(tmp_path, lines * 2, ["bali dona 漢字 kiri"])
    asked = replace(FREEZE, tokens=80, val_tokens=16, batch=1, epochs=1, seeds=1, arms="frozen")
    count = Stop()
    found = compared(asked, source, freeze_arms(asked), count)

    assert len(found.arms["frozen"].runs) == 1
    assert math.isfinite(found.arms["frozen"].mean("val_loss_token")[""])
