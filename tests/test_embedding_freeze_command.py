"""The settings of chapter 5, and its command: what cannot be used is refused in one line."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Done
from llmlab import embedding_freeze
from llmlab.errors import SettingError, TextError
from llmlab.settings import EmbeddingFreezeSettings, flag
from llmlab.settings.contexts import FREEZE_ARMS
from stand_in_model import BERT_SETTINGS, bert_tokenizer, model_files, write_files
from strategies_contexts import FREEZE_CONTRACT as CONTRACT
from strategies_contexts import GROWN, SMALL, write_model_and_text

Run = Callable[..., Done]

pytestmark = pytest.mark.usefixtures("one_thread", "elsewhere", "sixty_lines")


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("arms", "", "is not one of"),
        ("arms", "frozen,melted", "'melted' is not one of"),
        ("arms", "frozen,frozen", "frozen is listed twice"),
        ("arms", "frozen,,trained", "'' is not one of"),
        *(
            ("grow", value, "is no number of tokens")
            for value in ("", "x", "63", "1e3", "-100", "1000000001", "²", "9,")
        ),
        ("grow", "64,64", "64 is listed twice"),
        *(("tokens", value, "allowed value") for value in (63, 10**9 + 1)),
        ("val_tokens", 15, "allowed value"),
        ("inputs", 65, "allowed value"),
        ("tolerance", 0.0, "not above"),
        ("pretrained", "", "empty"),
        ("reading", "later", "is not one of"),
        ("widths", "round", "is not one of"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: object, words: str) -> None:
    """Unknown, double and missing words, sizes out of range: the option is named and what is wrong with it."""
    with pytest.raises(SettingError, match=f"{flag(name)}: .*{words}"):
        EmbeddingFreezeSettings(**{name: value})


def test_growth_needs_what_it_compares() -> None:
    """``--grow`` without frozen or without trained is refused with both ways out; without growth it is fine."""
    for arms in ("frozen", "trained", "random-frozen,frozen"):
        with pytest.raises(SettingError, match="--grow: compares frozen with trained"):
            EmbeddingFreezeSettings(arms=arms)
        assert EmbeddingFreezeSettings(arms=arms, grow="none").sizes == []


@pytest.mark.parametrize("data", ["wikitext-2", "dialect", "mine.txt", ""])
def test_the_made_embedding_reads_its_own_language_only(data: str) -> None:
    """With any other text ``--pretrained made`` is refused, with what to give instead."""
    with pytest.raises(SettingError, match="--pretrained: made knows the words of --data synthetic only"):
        EmbeddingFreezeSettings(data=data)


@given(st.lists(st.sampled_from(FREEZE_ARMS), min_size=1, unique=True))
def test_lists_are_read_in_any_order_and_with_blanks(names: list[str]) -> None:
    """Arms come in their own order however they are written."""
    asked = EmbeddingFreezeSettings(arms=" , ".join(names), grow="none")
    assert asked.arm_names == [name for name in FREEZE_ARMS if name in names]


def test_the_original_preset_is_the_documents_run() -> None:
    """The sizes of document 004 of the original notes, text and arms; paths stay private in what is published."""
    notes = EmbeddingFreezeSettings(preset="original")

    assert (notes.tokens, notes.layers, notes.context, notes.batch, notes.lr) == (251_208, 6, 768, 512, 2e-3)
    assert (notes.data, notes.pretrained, notes.arms, notes.grow) == ("ultrachat", "gpt2", "frozen,trained", "502498")
    own = replace(notes, data="/home/somebody/mine.txt", pretrained="/home/somebody/model")
    assert (own.document()["data"], own.document()["pretrained"]) == ("path: mine.txt", "path: model")
    assert (own.spelled("data"), own.spelled("pretrained"), own.spelled("lr")) == ("PATH", "PATH", "0.002")


# ---- the command ----------------------------------------------------------------------------------------------------


def options(**changes: Any) -> list[str]:
    """Return the options of a run that takes a second, as they are typed."""
    asked = SMALL | {"seeds": 1, "arms": "frozen,trained", "grow": "none"} | changes
    return [word for name, value in asked.items() for word in (flag(name), str(value))]


def test_the_command_reads_a_model_folder_and_a_text(run_llmlab: Run, tmp_path: Path) -> None:
    """``llmlab embedding-freeze`` with a model and a text of one's own: one document, one entry, paths private."""
    done = run_llmlab("embedding-freeze", *options(**write_model_and_text(tmp_path), grow="100"), "--json")
    document = done.document

    assert done.code == 0, done.err
    assert set(document["metrics"]) >= CONTRACT
    assert document["settings"]["pretrained"] == "path: model"
    assert "--pretrained PATH" in document["command"]
    assert len(done.entries) == 1
    written = "".join(page.read_text("utf-8") for page in done.entries[0].iterdir())
    assert str(tmp_path) not in written
    assert document["tables"][0]["rows"][0][1] == 300


def test_at_forty_columns_and_into_a_closed_pipe(shell_llmlab: Run, tmp_path: Path) -> None:
    """Every line fits a narrow terminal, and a reader who has seen enough is no failure."""
    words = " ".join(options(**write_model_and_text(tmp_path), arms="frozen"))
    wide = shell_llmlab(f"$LLMLAB embedding-freeze {words} --no-log", COLUMNS="40", NO_COLOR="1", LANG="C")
    assert wide.code == 0, wide.err
    assert max(map(len, wide.out.splitlines())) <= 40
    piped = shell_llmlab(f"$LLMLAB embedding-freeze {words} --no-log | head -n 3; exit ${{PIPESTATUS[0]}}")
    assert piped.code in (0, 141)
    assert len(piped.out.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--arms", "melted"], 2, "--arms"),
        (["--arms", "frozen"], 2, "--grow"),
        (["--grow", "0"], 2, "--grow"),
        (["--data", "nowhere.txt"], 2, "--pretrained"),
        (["--tokens", "10"], 2, "--tokens"),
        (["--noise", "nan"], 2, "--noise"),
        (["--resume", "a", "--out", "b"], 2, "--out"),
    ],
)
def test_the_command_refuses_before_torch(run_llmlab: Run, words: list[str], code: int, told: str) -> None:
    """Exit 2 with the option's name, nothing on stdout, and nothing is written."""
    done = run_llmlab("embedding-freeze", *words)

    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert list(done.folder.iterdir()) == []


def test_gpt2_without_a_network_is_one_line(run_llmlab: Run) -> None:
    """Offline and not here: exit 5 with the way out, and nothing else in its place; without a text for it, exit 2."""
    done = run_llmlab("embedding-freeze", *options(pretrained="gpt2", data="synthetic"), "--offline", HF_HOME="nowhere")

    assert (done.code, done.out, done.entries) == (5, "", [])
    assert len(done.err.strip().splitlines()) == 1
    assert "llmlab data fetch gpt2" in done.err or "--pretrained" in done.err
    alone = run_llmlab("embedding-freeze", *options(pretrained="gpt2"))
    assert (alone.code, "add --data" in alone.err) == (2, True)


def damaged(kind: str) -> dict[str, bytes]:
    """Return the files of a model with one fault."""
    files = model_files()
    if kind == "no weights":
        del files["model.safetensors"]
    elif kind == "no tokenizer":
        del files["tokenizer.json"]
    elif kind == "cut off":
        files["model.safetensors"] = files["model.safetensors"][:-100]
    elif kind == "not a number":
        rows_of = torch.ones(len(json.loads(bert_tokenizer())["model"]["vocab"]), 16)
        rows_of[3] = math.nan
        files = model_files(rows=rows_of)
    elif kind == "another's tokenizer":
        files["tokenizer.json"] = model_files("gpt2")["tokenizer.json"]
        files["tokenizer_config.json"] = json.dumps(BERT_SETTINGS).encode()
    return files


@pytest.mark.parametrize("kind", ["no weights", "no tokenizer", "cut off", "not a number", "another's tokenizer"])
def test_a_model_that_cannot_be_used_is_refused(tmp_path: Path, kind: str) -> None:
    """A folder with one fault is refused by its name, before anything is trained or written."""
    given = {**write_model_and_text(tmp_path), "pretrained": write_files(tmp_path / "damaged", damaged(kind))}
    with pytest.raises(TextError, match="--pretrained"):
        embedding_freeze.run(replace(GROWN, **given, resume=""))
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"pretrained": "nowhere"}, 3, "--pretrained"),
        ({"pretrained": "./text/train.txt"}, 3, "--pretrained"),
        ({"data": "nowhere"}, 3, "--data"),
        ({"resume": "nowhere"}, 4, "--resume: nowhere"),
        ({"out": "text/train.txt"}, 7, "--out: text/train.txt is not a folder"),
        ({"batch": 4_000}, 2, "--batch"),
    ],
    ids=["no model", "a file as model", "no text", "no checkpoint", "a file as folder", "a batch beyond the text"],
)
def test_paths_that_lead_nowhere_have_their_exit_codes(
    run_llmlab: Run, tmp_path: Path, changes: dict[str, Any], code: int, told: str
) -> None:
    """Unusable text or model 3, no checkpoint 4, nowhere to write 7: one line by name, and no entry."""
    done = run_llmlab("embedding-freeze", *options(**write_model_and_text(tmp_path) | changes))

    assert (done.code, done.out, done.entries) == (code, "", [])
    assert told in done.err
    assert not (done.folder / "runs").exists()


def test_held_out_text_in_the_training_text_is_refused(run_llmlab: Run, tmp_path: Path) -> None:
    """If what is held out is read in training too, the run would say nothing: exit 3."""
    given = write_model_and_text(tmp_path)
    (tmp_path / "text" / "valid.txt").write_bytes((tmp_path / "text" / "train.txt").read_bytes())
    done = run_llmlab("embedding-freeze", *options(**given), "--json")

    assert (done.code, done.out, done.entries) == (3, "", [])
    assert "held-out documents stand in the training text" in done.err
