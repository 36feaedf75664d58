"""Chapter 5 as a reader meets it: the grid, pairs, growth, and runs that stop, go on or diverge."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from conftest import Done, Stop, rows
from llmlab import embedding_freeze
from llmlab.errors import SettingError
from llmlab.lab import made_embedding
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Result
from llmlab.settings import EmbeddingFreezeSettings
from llmlab.settings.contexts import FREEZE_ARMS
from llmlab.shown.embedding_freeze import LABELS
from strategies_contexts import GROWN, diverging, options, write_model_and_text

Run = Callable[..., Done]
pytestmark = pytest.mark.usefixtures("elsewhere", "sixty_lines")

CONTRACT = {
    *("val_ppl_frozen", "val_ppl_trained", "val_accuracy_frozen", "val_accuracy_trained"),
    *("trainable_parameters_frozen", "trainable_parameters_trained", "total_parameters"),
    *("effective_rank", "effective_rank_untrained", "converged_fraction", "train_tokens", "val_tokens"),
}
"""Names of metrics that the chapter has promised."""


def freeze(**changes: Any) -> Result:
    """Run the chapter with frozen and trained at one number of tokens, unless told otherwise."""
    return embedding_freeze.run(replace(GROWN, **{"arms": "frozen,trained", "grow": "none"} | changes))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A finished comparison of all arms at two numbers of tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_embedding, "LINES", 60)
        return embedding_freeze.run(replace(GROWN, out=tmp_path_factory.mktemp("whole") / "runs"))


def test_the_metrics_have_the_contracts_names(whole: Result) -> None:
    metrics = whole.metrics

    assert all(math.isfinite(float(metrics[name] or 0)) for name in CONTRACT)
    assert {f"val_ppl_{name.replace('-', '_')}" for name in FREEZE_ARMS} <= set(metrics)
    assert (metrics["train_tokens"], metrics["val_tokens"], metrics["context_drift"]) == (300, 120, 0)
    assert metrics["trainable_parameters_trained"] - metrics["trainable_parameters_frozen"] == 132 * 8  # type: ignore
    assert metrics["total_parameters"] == metrics["total_parameters_trained"] == metrics["total_parameters_frozen"]
    assert float(metrics["bayes_ppl"] or 0) < float(metrics["kneser_ney_ppl"] or 0)
    json.dumps(whole.document(), allow_nan=False)


def test_the_tables_have_a_row_per_arm_with_n_mean_and_interval(whole: Result) -> None:
    """The grid in its own order; every PPL is the exponential of the samples' mean loss."""
    grid = rows(whole, "arms")
    names = ["text", "meaning", "arms", "pairs", "final", "fit", "growth", "epochs", "contexts", "passes"]

    assert [table.name for table in whole.tables] == names
    assert list(grid) == [LABELS[name] for name in FREEZE_ARMS]
    for name, label in LABELS.items():
        loss = mean(whole.samples[f"val_loss_token_{name.replace('-', '_')}"])
        found = [grid[label][column] for column in ("n", "val PPL", "state")]
        assert found == [2, pytest.approx(math.exp(loss), rel=5e-2), "done"]
    assert {row["loss"] for row in rows(whole, "meaning").values()} > {None}
    assert [figure.name for figure in whole.figures] == ["curves", "fit", "growth"]


def test_pairs_are_subtracted_seed_by_seed(whole: Result) -> None:
    told, metrics = rows(whole, "pairs")["trained, tied → frozen, tied"], whole.metrics
    samples = [whole.samples[f"val_loss_token_{name}"] for name in ("trained", "frozen")]
    wanted = mean_interval([b - a for a, b in zip(*samples, strict=True)])

    assert told["n"] == metrics["val_loss_token_frozen_minus_trained_n"] == 2
    assert told["loss changes by"] == pytest.approx(wanted[""], abs=1e-3)
    assert told["PPL changes by"] == pytest.approx(math.expm1(told["loss changes by"]))
    assert len(rows(whole, "pairs")) == len(embedding_freeze.PAIRS)
    for end, column in (("", "loss changes by"), ("_low", "95 % low"), ("_high", "95 % high")):
        metric = metrics[f"val_loss_token_frozen_minus_trained{end}"]
        assert metric == told[column]
        assert metrics[f"val_ppl_change_frozen_minus_trained{end}"] == pytest.approx(math.expm1(float(metric)))
    tied, untied = (float(metrics[f"val_loss_token_frozen{end}_minus_trained{end}"] or 0) for end in ("", "_untied"))
    assert metrics["val_loss_token_tying_with_freezing"] == pytest.approx(tied - untied)
    assert "val_loss_token_frozen_150_minus_trained_150" in metrics
    assert metrics["val_loss_token_frozen_300_minus_trained_300"] == metrics["val_loss_token_frozen_minus_trained"]


def test_growth_has_every_size_once_from_small_to_large(whole: Result) -> None:
    """The settings' own size among the others; parameters per token are the trained ones divided by it."""
    told, metrics = rows(whole, "growth"), whole.metrics

    assert list(told) == [150, 300]
    assert told[300]["PPL, frozen"] == rows(whole, "arms")[LABELS["frozen"]]["val PPL"]
    assert told[150]["PPL, trained"] == pytest.approx(metrics["val_ppl_trained_150"], rel=0.05)  # another mean
    for tokens, row in told.items():
        per_token = float(metrics["trainable_parameters_trained"] or 0) / tokens
        assert row["parameters per token, trained"] == pytest.approx(per_token)


def test_a_stopped_run_is_interrupted_and_says_what_is_missing() -> None:
    stopped = embedding_freeze.run(replace(GROWN, arms="frozen,trained,random-trained"), Stop(15))

    assert (stopped.status, stopped.samples) == ("interrupted", {})
    assert any("Stopped before the end; not begun: " in sentence for sentence in stopped.summary)
    assert "mean of n = 1:" in stopped.summary[0]
    assert stopped.metrics["val_ppl_random_trained"] is None
    assert stopped.metrics["val_ppl_random_trained_reason"] == "not begun"
    json.dumps(stopped.document(), allow_nan=False)


def test_seeds_that_never_finish_together_leave_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    diverging(monkeypatch, ("frozen", 0), ("frozen-150", 0), ("trained", 1), ("trained-150", 1))
    result = freeze(grow="150")

    assert result.status == "complete"
    assert "pairs" not in {table.name for table in result.tables}
    assert {row["n"] for row in rows(result, "arms").values()} == {1}
    assert {row["n"] for row in rows(result, "growth").values()} == {0}
    assert not [name for name in result.metrics if "_minus_" in name]


def test_a_comparison_of_which_nothing_stays_finite_has_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    diverging(monkeypatch, ("all", 0), update=5)
    result = freeze(seeds=1)

    assert result.status == "diverged"
    assert "frozen, tied: seed 0 diverged at update 5" in result.summary[0]
    assert result.metrics["val_ppl_frozen"] is None


def test_one_arm_alone_has_no_pairs_and_no_growth() -> None:
    result = freeze(arms="random-frozen", seeds=1, block="untrained")

    assert [table.name for table in result.tables] == ["text", "meaning", "arms", "final", "fit", "epochs", "contexts"]
    assert result.metrics["converged_fraction"] is None
    assert (result.status, len(result.samples)) == ("complete", 3)


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        *(({"arms": value}, "--arms: .*is not one of") for value in ("", "frozen,melted", "frozen,,trained")),
        ({"arms": "frozen,frozen"}, "--arms: frozen is listed twice"),
        *(({"arms": value}, "--grow: compares frozen with trained") for value in ("trained", "random-frozen,frozen")),
        *(
            ({"grow": value}, "--grow: .*no number of tokens")
            for value in ("", "x", "63", "1e3", "1000000001", "²", "9,")
        ),
        ({"grow": "64,64"}, "--grow: 64 is listed twice"),
        ({"tokens": 63}, "--tokens: .*allowed value"),
        ({"tolerance": 0.0}, "--tolerance: .*not above"),
        ({"pretrained": ""}, "--pretrained: empty"),
        ({"pretrained": "gpt2"}, "--pretrained: .*add --data"),
        ({"reading": "later"}, "--reading: .*is not one of"),
        ({"widths": "round"}, "--widths: .*is not one of"),
        *(
            ({"data": value}, "--pretrained: made knows the words of --data synthetic only")
            for value in ("dialect", "")
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        EmbeddingFreezeSettings(**given)


def test_the_original_preset_is_the_documents_run() -> None:
    """The sizes of document 004 of the original notes, text and arms; paths stay private in what is published."""
    notes = EmbeddingFreezeSettings(preset="original")

    assert (notes.tokens, notes.layers, notes.context, notes.batch, notes.lr) == (251_208, 6, 768, 512, 2e-3)
    assert (notes.data, notes.pretrained, notes.arms, notes.grow) == ("ultrachat", "gpt2", "frozen,trained", "502498")
    own = replace(notes, data="/home/somebody/mine.txt", pretrained="/home/somebody/model")
    assert (own.document()["data"], own.document()["pretrained"]) == ("path: mine.txt", "path: model")
    assert (own.spelled("data"), own.spelled("pretrained"), own.spelled("lr")) == ("PATH", "PATH", "0.002")


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_reads_a_model_folder_and_a_text(run_llmlab: Run, tmp_path: Path) -> None:
    """Sizes beyond the text are one row with the tokens that there are, and so are the parameters per token."""
    given = write_model_and_text(tmp_path) | {"data": str(tmp_path / "text" / "train.txt"), "tokens": 9000}
    done = run_llmlab("embedding-freeze", *options(**given, grow="100,9000,90000"), "--no-tune", "--json")
    document = done.document
    metrics, tables = document["metrics"], {table["name"]: table["rows"] for table in document["tables"]}

    assert done.code == 0, done.err
    assert set(metrics) >= CONTRACT
    assert document["settings"]["pretrained"] == "path: model"
    assert "--pretrained PATH" in document["command"]
    assert len(done.entries) == 1
    assert str(tmp_path) not in "".join(page.read_text("utf-8") for page in done.entries[0].iterdir())
    assert 300 < metrics["train_tokens"] == tables["text"][0][1] < 9_000
    assert [row[0] for row in tables["growth"]] == [100, metrics["train_tokens"]]
    assert pytest.approx(metrics["trainable_parameters_frozen"] / metrics["train_tokens"]) in tables["arms"][0]
    assert any("fewer than the 9,000 asked for" in sentence for sentence in document["summary"])


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"pretrained": "nowhere"}, 3, "--pretrained"),
        ({"data": "leaked"}, 3, "held-out documents stand in the training text"),
        ({"pretrained": "gpt2"}, 5, "llmlab data fetch gpt2"),
        ({"resume": "nowhere"}, 4, "--resume: nowhere"),
        ({"out": "text/train.txt"}, 7, "--out: text/train.txt is not a folder"),
        ({"batch": 4_000}, 2, "--batch"),
    ],
)
def test_what_cannot_be_used_has_its_exit_code(
    run_llmlab: Run, tmp_path: Path, changes: dict[str, Any], code: int, told: str
) -> None:
    """Of a folder of text whose held-out lines are read in training too the run would say nothing."""
    given = write_model_and_text(tmp_path)
    (tmp_path / "leaked").mkdir()
    for name in ("train.txt", "valid.txt"):
        (tmp_path / "leaked" / name).write_bytes((tmp_path / "text" / "train.txt").read_bytes())
    done = run_llmlab("embedding-freeze", *options(**{"grow": "none"} | given | changes), "--offline")

    assert (done.code, done.out, done.entries) == (code, "", [])
    assert told in done.err
    assert not (done.folder / "runs").exists()
