"""``baseline evaluate``: a checkpoint is worth what its run wrote down, and what cannot be judged is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llmlab import baseline
from llmlab.after import evaluate
from llmlab.after.opening import restored
from llmlab.errors import CheckpointError, SettingError
from llmlab.lab.device import device_of
from llmlab.report.result import Result
from llmlab.settings import (
    BaselineSettings,
    EvaluateSettings,
    ExpandSettings,
    FinetuneSettings,
    GenerateSettings,
    QuantizeSettings,
)
from llmlab.settings.trained import TrainedSettings
from llmlab.text.words import MARKS
from strategies_trained import SMALL, saved, state_of

pytestmark = pytest.mark.usefixtures("counted_once")
OF_THE_RUN = {"epochs", "best_epoch", "train_loss", "precision", "tokens_per_second"}
"""Metrics that speak of the training, not of the parameters."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A short training run and the folder of its checkpoints; its last epoch is not its best."""
    folder = tmp_path_factory.mktemp("run") / "here"
    settings = BaselineSettings(**SMALL, epochs=3, batch=250, lr=0.3, schedule="constant", clip="none", out=folder)
    return folder, baseline.run(settings)


@pytest.mark.parametrize("name", ["", "best"])
def test_a_checkpoint_is_worth_what_its_run_wrote_down(run: tuple[Path, Result], name: str) -> None:
    """And every part of the work is announced."""
    (folder, trained), heard = run, list[tuple[int, int]]()
    settings = EvaluateSettings(checkpoint=folder / name, batch=250)
    found = evaluate.run(settings, lambda at, planned, told="": heard.append((at, planned)))
    compared = trained.metrics.keys() - OF_THE_RUN
    assert {"val_loss", "val_ppl", "val_ppl_batch_mean", "val_accuracy_known", "train_loss_no_dropout"} <= compared
    assert {key: found.metrics[key] for key in compared} == {key: trained.metrics[key] for key in compared}
    assert found.metrics["epochs"] == trained.metrics["best_epoch"]
    assert "to the last digit" in " ".join(found.summary)
    shared = {table.name: table.rows for table in trained.tables}
    assert all(table.rows == shared[table.name] for table in found.tables if table.name in shared)
    assert [at for at, _ in heard] == list(range(1, heard[0][1] + 1))


def test_the_batch_changes_the_batch_mean_alone(run: tuple[Path, Result]) -> None:
    """Per token nothing depends on how windows are grouped; the original notes' average does."""
    one, other = (evaluate.run(EvaluateSettings(checkpoint=run[0], batch=batch)).metrics for batch in (7, 250))
    differ = {key for key in one if one[key] != other[key]} - {"tokens_per_second"}
    assert differ == {"val_loss", "val_ppl_batch_mean"}


def test_another_text_is_read_with_the_models_own_words(run: tuple[Path, Result], tmp_path: Path) -> None:
    text = tmp_path / "other.txt"
    text.write_text("the sun is warm and the wind is cold today\n" * 40)
    found = evaluate.run(EvaluateSettings(checkpoint=run[0], data=str(text)))
    assert found.metrics["unk_share"] == pytest.approx(10 / 11)  # nine words and <eos>, which is known
    assert found.settings["data"] == "path: other.txt"
    assert "not the one" in " ".join(found.summary)
    assert str(tmp_path) not in str(found.document())
    assert "recorded_val_loss_token" not in found.metrics


def test_the_floor_is_left_out_where_the_model_lacks_words(tmp_path: Path) -> None:
    """A model with other words can be judged on the synthetic language; there is then no exact floor for it."""
    path = saved(tmp_path / "m", state_of((*MARKS, "a", "b")))
    found = evaluate.run(EvaluateSettings(checkpoint=path))
    assert "bayes_ppl" not in found.metrics
    assert "floor" in " ".join(found.summary)


SPOILED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "nan": lambda state: state["model"]["output.bias"].fill_(torch.nan),
    "huge": lambda state: [state["model"][f"output.{end}"].fill_(1e38) for end in ("weight", "bias")],
    "shape": lambda state: state["model"].update({"output.bias": torch.zeros(3)}),
    "no model": lambda state: state.pop("model"),
    "words": lambda state: state.update(vocabulary=["a"]),
}


@pytest.mark.parametrize("damage", ["missing", "empty", "several", "cut", *SPOILED])
def test_what_holds_no_usable_model_is_refused(tmp_path: Path, damage: str) -> None:
    """Of a folder of several runs one is proposed."""
    state, path, several = state_of(), tmp_path / "m", tmp_path / "m" / "seed0"
    SPOILED.get(damage, bool)(state)
    if damage == "several":
        several.mkdir(parents=True)
        saved(several / "best", state)
    elif damage == "empty":
        path.mkdir()
    elif damage != "missing":
        saved(path, state)
    if damage == "cut":
        (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"such as {several}" if damage == "several" else "/m: ") as refused:
        evaluate.run(EvaluateSettings(checkpoint=path))
    assert refused.value.exit_code == 4


def test_a_checkpoint_asks_for_what_it_does_not_hold(tmp_path: Path) -> None:
    """Of the text it was trained on it keeps the name and not the place; a card it does without."""
    state = state_of(data="somewhere/mine.txt")
    state["settings"]["device"] = "cuda"
    path = saved(tmp_path / "m", state)
    assert restored(path).model.parameters["embedding"].device.type == device_of("auto")
    with pytest.raises(SettingError, match=r"--data.*mine\.txt"):
        evaluate.run(EvaluateSettings(checkpoint=path))


REFUSED: dict[type[TrainedSettings], list[dict[str, Any]]] = {
    EvaluateSettings: [{"batch": 0}, {"batch": 10**6}, {"seeds": 2}, {"seed": -1}],  # nothing is drawn: no more seeds
    QuantizeSettings: [{"scheme": "column"}, {"batch": 0}, {"seeds": 2}],
    GenerateSettings: [
        *({"tokens": tokens} for tokens in (0, 100_001)),
        *({"temperature": temperature} for temperature in (-0.1, math.nan)),
        *({"top_k": -1}, {"prompt": "x" * 1_001}, {"prompt": "\ud800"}, {"seeds": 101}, {"seeds": 2, "tokens": 60_000}),
    ],
    FinetuneSettings: [{"epochs": 0}, {"lr": 0.0}, {"patience": 0}, {"preset": "huge"}, {"seeds": 101}],
    ExpandSettings: [*({"arms": arms} for arms in ("C", "A,A", "")), {"updates": 0}, {"seeds": 101}],
}
"""Of every verb."""


@pytest.mark.parametrize("settings", REFUSED, ids=lambda kind: kind.__name__)
def test_options_out_of_range_are_refused_by_name(settings: type[TrainedSettings]) -> None:
    for options in REFUSED[settings]:
        with pytest.raises(SettingError, match="--" + next(iter(options)).replace("_", "-")):
            settings(checkpoint=Path("m"), **options)
