"""A trained model further trained on another text: one vocabulary, two arms, and what is forgotten."""

import gc
import json
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from claims_by_hand import verdicts
from llmlab.after import finetune
from llmlab.after.finetune import MOST_TOKENS, PROMPTS, completed, dialogue, floor, prompts
from llmlab.after.opening import restored
from llmlab.errors import CheckpointError, SettingError, TextError
from llmlab.lab.language import LanguageModel, evaluate
from llmlab.peers import build
from llmlab.report.result import Result
from llmlab.settings import BaselineSettings, FinetuneSettings
from llmlab.shown.finetune import head_start
from llmlab.text.corpus import load_corpus
from llmlab.text.grammar import Grammar
from llmlab.text.windows import prepare
from llmlab.text.words import EOS, MARKS, WordVocabulary
from strategies_trained import TINY, saved, state_of, write_text

STANDARD, DIALECT = Grammar.standard(), Grammar.dialect()


def chosen(checkpoint: Path, **changes: Any) -> FinetuneSettings:
    return FinetuneSettings(**{"checkpoint": checkpoint, "epochs": 2, "lr": 5e-3} | changes)


def run(checkpoint: Path, **changes: Any) -> Result:
    return finetune.run(chosen(checkpoint, **changes))


# ---- the dialect ---------------------------------------------------------------------------------------------------


def test_the_dialect_has_the_languages_words_and_openings_and_half_of_what_follows_what():
    """Words and openings are the same; after every second word all else is new, after the others only the tastes."""
    assert DIALECT.words == STANDARD.words
    assert torch.equal(DIALECT.opening, STANDARD.opening)
    openers = 24
    likely = [(grammar.following[:, :, openers:].double() > 0).all(0) for grammar in (STANDARD, DIALECT)]
    assert likely[0].sum() == likely[1].sum()
    ratio = (DIALECT.following[:, :, openers:].double() / STANDARD.following[:, :, openers:].double()).nan_to_num(1.0)
    # only a topic's taste (a factor of 24 or none) may differ after the words that were kept
    assert set(ratio[:, 1::2].round(decimals=6).unique().tolist()) == {round(1 / 24, 6), 1.0, 24.0}
    assert len(ratio[:, ::2].round(decimals=6).unique()) > 3


def test_the_dialect_is_a_text_of_its_own_with_a_floor():
    """It is loaded by its name, is five times shorter, and its own grammar foretells it better than the language's."""
    corpus = load_corpus("dialect")
    assert (len(corpus.train), len(corpus.valid)) == (1000, 120)
    text = prepare(corpus, length=32, vocabulary=STANDARD.vocabulary(), fewest_words=0)
    scored = text.valid[:, 1:] != 0
    own, language = (
        -float(one.log_probabilities(text.valid, text.vocabulary)[scored].mean()) for one in (DIALECT, STANDARD)
    )
    assert math.exp(own) < 12 < 40 < math.exp(language)
    assert floor(text) == pytest.approx(own)


# ---- the command ---------------------------------------------------------------------------------------------------


def test_pretraining_helps_on_a_short_text_and_costs_the_old_one(
    trained: Path, own_text: Path, dialect_text: Path, monkeypatch: pytest.MonkeyPatch
):
    """The base itself is left as it was, and the models of the arms are let go with their runs."""
    models: list[weakref.ref[LanguageModel]] = []

    def watched(*args: Any) -> LanguageModel:
        models.append(weakref.ref(model := build(*args)))
        return model

    monkeypatch.setattr("llmlab.after.finetune.build", watched)
    result, base = run(trained, data=str(dialect_text), original=str(own_text), epochs=4), restored(trained)
    gc.collect()
    assert [model() for model in models] == [None, None]
    metrics = result.metrics
    assert (result.status, verdicts(result)) == ("complete", {})
    assert metrics["val_ppl_pretrained"] < metrics["val_ppl_scratch"]
    assert metrics["val_ppl_pretrained"] < metrics["zero_shot_ppl"]
    assert metrics["original_ppl_before"] == evaluate(base.model, base.dataset(str(own_text)).text.valid, 16).ppl
    assert metrics["original_ppl_after"] > metrics["original_ppl_before"]
    assert metrics["train_windows"] == 81, "a line of two words counts too"
    assert metrics["unk_share"] == metrics["unk_share_lines"] == 0
    needed = [metrics[name] for name in ("base_data", "tensors", "tensors_that_fit_the_plan")]
    assert needed == ["path: original", 9, 0]  # what was read before; no tensor has the size that the script builds
    tables = {table.name: table for table in result.tables}
    assert [row[0] for row in tables["epochs"].rows] == [0, 1, 2, 3, 4]
    assert list(tables) == ["model", "arms", "epochs", "forgotten", "words", "completions"]


def test_the_default_text_is_the_dialect_and_the_kept_model_the_one_that_was_reported(trained: Path, tmp_path: Path):
    """No reader is better than the one who knows it; what is kept of the run is judged on it without being told."""
    out = tmp_path / "tuned"
    result = run(trained, epochs=1, out=out)
    kept, metrics = restored(out), result.metrics
    text = dialogue(chosen(trained), kept, load_corpus("dialect")).text
    assert metrics["bayes_ppl"] < metrics["val_ppl_pretrained"]
    assert any("--original says where that is" in told for told in result.summary), "forgetting was not measured"
    assert "original_ppl_before" not in metrics
    assert kept.vocabulary == restored(trained).vocabulary
    assert (kept.settings.data, kept.settings.lr, kept.settings.epochs) == ("dialect", 5e-3, 1)
    assert kept.dataset().text.name == "dialect"
    assert kept.text == text.digest
    assert evaluate(kept.model, text.valid, 16).ppl == pytest.approx(metrics["val_ppl_pretrained"], rel=1e-12)
    assert len(list(out.glob("update-*"))) == 1
    with pytest.raises(SettingError, match="--out"):
        run(trained, out=out)


def test_chats_and_peers_are_taken(tmp_path: Path):
    chats = tmp_path / "chats.jsonl"
    messages = [[{"role": "user", "content": line}] for line in DIALECT.lines(40, 5)]
    chats.write_text("\n".join(json.dumps({"messages": said}) for said in messages), "utf-8")
    result = run(saved(tmp_path / "gru", state_of(model="gru")), data=str(chats), epochs=1)
    assert (result.status, result.settings["data"]) == ("complete", "path: chats.jsonl")
    assert "completions" not in {table.name for table in result.tables}


def test_what_cannot_be_used_is_refused(trained: Path, dialect_text: Path, tmp_path: Path):
    strange = write_text(tmp_path / "strange", ["what is this", "who knows"], ["nobody does"])
    for checkpoint, data, batch, error, told in (
        (tmp_path / "nothing", "dialect", 16, CheckpointError, "nothing"),
        (trained, str(strange), 1, TextError, "knows none of its words"),
        (trained, str(dialect_text), 82, SettingError, "--batch"),
        (trained, "nowhere", 16, TextError, "--data"),
    ):
        with pytest.raises(error, match=told):
            run(checkpoint, data=data, batch=batch)


# ---- completions and verdicts --------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 999), st.text("abc ", max_size=12))
def test_a_completion_is_the_likeliest_word_each_time(seed: int, prompt: str):
    vocabulary = WordVocabulary((*MARKS, "a", "b", "c"))
    model: Any = build(BaselineSettings(**TINY), len(vocabulary), seed, "fp32")
    read, expected = vocabulary.encode(prompt)[:-1], list[str]()
    while len(expected) < MOST_TOKENS:
        token = int(model.model.logits(torch.tensor([read]))[0, -1].argmax())
        if token == EOS:
            break
        read.append(token)
        expected.append(vocabulary.words[token])
    assert completed(model, vocabulary, prompt) == " ".join(expected)


def test_prompts_are_those_of_the_notes_where_any_word_is_known(trained: Path, dialect_text: Path):
    """A model that knows one of their words completes them; one that knows none completes openings of its text."""
    words = restored(trained).vocabulary
    text = dialogue(chosen(trained, data=str(dialect_text)), restored(trained), load_corpus(str(dialect_text))).text
    assert prompts(words, text) == [" ".join(line.split()[:3]) for line in DIALECT.lines(3, 4)]
    assert prompts(WordVocabulary((*MARKS, "you")), text) == list(PROMPTS)


def test_the_head_start_is_counted_in_epochs():
    assert head_start([3.0, 2.0, 1.0], [4.0, 2.2, 2.1, 1.9]).endswith("reaches after 3 epochs.")
    assert head_start([3.0, 2.0, 1.0], [4.0, 2.2, 2.1]).endswith("does not reach in 2 epochs.")
