"""What is held out: sums over validation documents, and a test split that has a say in nothing."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmlab import baseline, layers
from llmlab.measure.score import Score, document_difference, document_interval, document_sums
from llmlab.report.language import language
from llmlab.report.messages import sentences
from llmlab.report.result import Result, of_documents, of_seeds
from llmlab.settings import BaselineSettings, LayersSettings
from llmlab.text.grammar import made_lines

TINY = {"embedding": 4, "hidden": 8, "context": 4, "epochs": 2, "batch": 64}
LINES = made_lines("synthetic", "train")
pytestmark = pytest.mark.usefixtures("elsewhere")


def corpus(folder: Path, test: list[str]) -> str:
    folder.mkdir()
    splits = {"train": LINES[:200], "valid": LINES[200:280], **({"test": test} if test else {})}
    for name, lines in splits.items():
        (folder / f"{name}.txt").write_text("\n".join(lines), "utf-8")
    return str(folder)


# ---- sums over documents ------------------------------------------------------------------------------------------


def scores(*losses: list[float]) -> list[Score]:
    """Scores of several seeds with these sums over three documents of 10, 20 and 30 targets."""
    return [Score(*[0] * 6, 60, [], [], own, own, [10, 20, 30]) for own in losses]


def test_a_difference_by_documents_is_the_second_less_the_first():
    low, high = scores([10.0, 20.0, 30.0]), scores([20.0, 40.0, 60.0])
    counts = [10, 20, 30]

    change = math.e**2 - math.e
    assert document_difference(low, high) == pytest.approx({"_doc_low": change, "_doc_high": change})
    uneven = scores([10.0, 25.0, 20.0], [11.0, 20.0, 30.0])
    sums = [[one.loss_by_document for one in model] for model in (low, uneven)]
    assert document_difference(low, uneven) == document_interval(*sums, counts, shown=torch.exp)
    for others in ([], [Score(0, 0, 0, 0, 0, 0, 60, [], [])]):
        assert document_difference(low, others) == {}
        assert document_difference(others, low) == {}


def test_a_record_keeps_the_mean_over_seeds_of_each_document():
    """Targets once, and a list for each model."""
    models = {"_a": scores([10.0, 20.0, 30.0], [20.0, 20.0, 60.0]), "_b": scores([1 / 3, 1.0, 2.0])}

    assert document_sums(models) == {
        "val_targets": [10, 20, 30],
        "val_loss_a": [15.0, 20.0, 45.0],
        "val_loss_b": [0.3333333, 1.0, 2.0],
    }
    assert document_sums({"": [Score(0, 0, 0, 0, 0, 0, 60, [], [])]}) == {}


# ---- what is said of them -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=4), st.one_of(st.none(), st.integers(1, 2000)))
def test_one_sentence_says_what_intervals_over_seeds_speak_of(counts, documents):
    """In both languages, with the numbers that it is about; nothing where no row has an interval."""
    told = of_seeds(counts, documents)

    if max(counts) < 2:
        assert told == ""
        return
    assert f"{max(counts):,})" in told
    assert f"{min(counts):,}" in told
    assert documents is None or f"{documents:,} validation document" in told
    assert told.count(".") == 1
    other = language("ja").translation(told)
    assert other is not None
    assert f"{max(counts):,}" in other


@given(st.integers(2, 2000))
def test_one_sentence_says_what_intervals_over_documents_speak_of(documents):
    """Likewise; of one document there is nothing to say."""
    for blocks in {min(documents, 64), documents}:
        told = of_documents(documents, blocks)
        assert ("blocks" in told) == (blocks < documents)
        assert f"{documents:,}" in str(language("ja").translation(told))
    assert of_documents(1, 1) == ""
    assert sentences("a.", "", "b.") == "a. b."


# ---- a test split -------------------------------------------------------------------------------------------------


def without_test(result: Result) -> dict[str, object]:
    """The metrics that are neither of the test split nor of the clock."""
    return {
        name: value
        for name, value in result.metrics.items()
        if not name.startswith(("test_", "tokens_per_second", "seconds", "val_ppl_equal_time"))
    }


def test_a_test_split_changes_no_other_number(tmp_path: Path):
    """With a test split, with the validation lines once more, or with none, the run is the same to the bit.

    Only the test's own numbers are not, and they are what validation gives of the same lines.
    """
    results = {}
    for name, test in (("none", []), ("some", LINES[300:360]), ("same", LINES[200:280])):
        settings = BaselineSettings(**TINY, layers=1, data=corpus(tmp_path / name, test), out=tmp_path / f"{name}-out")
        results[name] = baseline.run(settings)

    assert without_test(results["some"]) == without_test(results["none"]) == without_test(results["same"])
    assert not any(name.startswith("test_") for name in results["none"].metrics)
    assert "held_out" not in {table.name for table in results["none"].tables}
    some, same = (results[name].metrics for name in ("some", "same"))
    assert some["test_ppl"] == pytest.approx(math.exp(some["test_loss"]))
    assert some["test_loss"] != same["test_loss"] == pytest.approx(same["val_loss_token"], rel=1e-6)
    assert same["test_accuracy"] == pytest.approx(same["val_accuracy"], rel=1e-6)
    table = next(table for table in results["some"].tables if table.name == "held_out")
    assert [row[:2] for row in table.rows] == [["validation", "choosing the epoch"], ["test", "nothing"]]
    assert table.rows[1][3] == some["test_ppl"]


def test_a_sweep_tells_the_test_split_and_the_documents_of_each_depth(tmp_path: Path):
    """Metrics, columns and what the record keeps agree, and the interval holds what it is an interval of."""
    settings = LayersSettings(
        **TINY,
        layers="1,2",
        seeds=2,
        stack="plain",
        data=corpus(tmp_path / "text", LINES[300:360]),
        out=tmp_path / "out",
    )
    found = layers.run(settings)

    kept = found.documents
    losses = [sum(kept[f"val_loss_L{depth}"]) / sum(kept["val_targets"]) for depth in (1, 2)]
    assert losses == pytest.approx([found.metrics[f"val_loss_token_L{depth}"] for depth in (1, 2)], rel=1e-5)
    assert len(kept["val_targets"]) == 64
    difference = found.metrics["val_ppl_L2_minus_L1"]
    assert found.metrics["val_ppl_L2_minus_L1_doc_low"] <= difference <= found.metrics["val_ppl_L2_minus_L1_doc_high"]
    tables = {table.name: table for table in found.tables}
    assert [row[6] for row in tables["depths"].rows[:2]] == [found.metrics[f"test_ppl_L{depth}"] for depth in (1, 2)]
    assert tables["pairs"].rows[0][5:7] == [found.metrics[f"val_ppl_L2_minus_L1_doc_{end}"] for end in ("low", "high")]
    for name in ("depths", "fit", "pairs"):
        assert "are over seeds (n = 2), all on one text and the same 80 validation documents." in tables[name].caption
    assert "80 validation documents, in 64 blocks, are resampled" in tables["pairs"].caption
