"""Weights of eight bits: the laws of rounding, the bytes as written, and what ``baseline quantize`` says of them."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from claims_by_hand import verdicts
from faults import bytes_in
from llmlab.after import evaluate, generate
from llmlab.after import quantize as command
from llmlab.after.opening import SCALE, restored
from llmlab.after.quantize import LARGEST, SMALLEST, context_errors, eight_bits, largest_errors, quantize, widened
from llmlab.baseline import ContextVectorLM
from llmlab.errors import SettingError, WriteError
from llmlab.lab.checkpoint import packed
from llmlab.lab.sizes import Size
from llmlab.report.result import Result
from llmlab.settings import EvaluateSettings, GenerateSettings, QuantizeSettings
from llmlab.shown.quantize import speed
from strategies_trained import saved, small_models, state_of

SCHEMES = st.sampled_from(["row", "tensor"])
numbers = st.floats(-LARGEST, LARGEST, width=32) | st.floats(-2, 2, width=32) | st.just(0.0)


@st.composite
def matrices(draw: st.DrawFn) -> torch.Tensor:
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    drawn = draw(st.lists(numbers, min_size=rows * columns, max_size=rows * columns))
    return torch.tensor(drawn).view(rows, columns)


def wide_of(weight: torch.Tensor, scheme: str = "row") -> torch.Tensor:
    found = quantize(weight, scheme)
    return found.numbers.float() * found.scale


@given(matrices(), SCHEMES)
def test_no_weight_is_off_by_more_than_half_a_step(weight: torch.Tensor, scheme: str) -> None:
    """|w - w'| is at most scale / 2, each w' is exactly n times scale, and n stays within 127.

    By row no scale is coarser, and to quantise again changes nothing.
    """
    found, coarse = quantize(weight, scheme), quantize(weight, "tensor").scale
    wide, scale = wide_of(weight, scheme), found.scale.double()
    assert bool(((wide.double() - weight.double()).abs() <= scale / 2 * (1 + 1e-12)).all())
    assert torch.equal(wide.double(), found.numbers.double() * scale)
    assert int(found.numbers.int().abs().max()) <= 127
    assert found.scale.shape == ((len(weight), 1) if scheme == "row" else (1, 1))
    assert bool((found.scale <= coarse).all())
    assert torch.equal(quantize(wide, scheme).numbers, found.numbers)
    assert torch.equal(wide_of(wide, scheme), wide)


@given(st.integers(0, 10_000), st.integers(2, 20))
def test_scales_by_row_leave_less_error_in_sum(seed: int, rows: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, 200, generator=chance) * torch.linspace(0.2, 1, rows)[:, None]
    row, tensor = ((wide_of(weight, scheme) - weight).abs().sum() for scheme in ("row", "tensor"))
    assert row < tensor


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 2 * LARGEST])
def test_what_no_number_stands_for_is_refused_and_all_else_taken(bad: float) -> None:
    """At both ends of the range nothing overflows, and what is far below the smallest scale becomes zero."""
    with pytest.raises(ValueError, match="finite"):
        quantize(torch.tensor([[1.0, bad]]))
    weight = torch.tensor([[LARGEST, -LARGEST], [1e-45, -1e-45]])
    wide = wide_of(weight)
    assert bool(wide.isfinite().all())
    assert torch.equal(wide[1], torch.zeros(2))
    assert float(quantize(weight).scale[1]) == SMALLEST


@given(small_models(), SCHEMES, st.booleans())
def test_a_model_is_quantised_in_its_linear_weights_alone(model: ContextVectorLM, scheme: str, embedding: bool) -> None:
    """Biases, LayerNorm and, unless asked for, the embedding stay as they are; the state gives the model back.

    Of each matrix the largest weight and the largest error of each model are what a plain loop finds, fp32's being 0.
    """
    quantized = eight_bits(model, scheme, embedding=embedding)
    wide = widened(model.size, quantized)
    chosen = [name for name in model.parameters if name.endswith(".weight") or (embedding and name == "embedding")]
    assert [name for name, tensor in quantized.items() if tensor.dtype == torch.int8] == chosen
    assert quantized.keys() == model.parameters.keys() | {name + SCALE for name in chosen}
    assert list(wide.parameters) == list(model.size.shapes())
    for name in model.parameters.keys() - {*chosen}:
        assert torch.equal(wide.parameters[name], model.parameters[name])
    for name, rows, columns, largest, errors in largest_errors(model, [wide, model], chosen):
        ours, theirs = (one.parameters[name].flatten().tolist() for one in (model, wide))
        worst = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
        assert (rows, columns) == tuple(model.parameters[name].shape)
        assert largest == max(map(abs, ours))
        assert errors == [pytest.approx(worst, rel=1e-5, abs=1e-12), 0.0]


def nbytes(parameters: dict[str, torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in parameters.values())


def test_the_bytes_at_the_original_sizes_are_the_right_ones() -> None:
    """10,957,728 bytes of fp32; 2,478,080 of int8 and 1,045,408 of fp32 beside scales; at most 3.6 MB as a file."""
    model = ContextVectorLM.initial(Size(), 0)
    assert nbytes(model.parameters) == 10_957_728
    row, tensor = eight_bits(model, "row"), eight_bits(model, "tensor")
    assert sum(part.numel() for part in row.values() if part.dtype == torch.int8) == 2_478_080
    kept = {name: part for name, part in row.items() if part.dtype != torch.int8 and not name.endswith(SCALE)}
    assert nbytes(kept) == 1_045_408
    assert nbytes(tensor) == 3_523_488 + 4 * 8
    assert nbytes(row) == 3_523_488 + 4 * (6 * 512 + 1_000 + 3 * 256)
    words = {"vocabulary": [f"word{number}" for number in range(1_000)]}
    assert sum(map(len, packed({**words, "model": row}).values())) <= 3_600_000
    assert nbytes(eight_bits(model, embedding=True)) < 2_790_000


@given(small_models(), st.integers(0, 1_000))
def test_the_straying_of_the_context_is_what_the_plain_loop_finds(model: ContextVectorLM, seed: int) -> None:
    windows = torch.randint(1, 5, (3, 5), generator=torch.Generator().manual_seed(seed))
    windows[0, 3:] = 0
    wide = widened(model.size, eight_bits(model))
    contexts = [one.first_context(3) for one in (model, wide)]
    expected = []
    for t in range(4):
        contexts = [one.step(windows[:, t], context)[1] for one, context in zip((model, wide), contexts, strict=True)]
        share = (contexts[1] - contexts[0]).norm(dim=1) / contexts[0].norm(dim=1).clamp_min(1e-12)
        expected.append(float(share[windows[:, t] != 0].mean()))
    assert context_errors(model, wide, windows) == pytest.approx(expected, rel=1e-2, abs=1e-4)


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Result]:
    folder = tmp_path_factory.mktemp("model")
    path, small = saved(folder / "m", state_of()), folder / "small"
    return path, small, command.run(QuantizeSettings(checkpoint=path, save=small))


def test_the_result_has_what_the_contract_names(quantised: tuple[Path, Path, Result]) -> None:
    """Bytes, perplexities and the ratio of times are there, and only a model of the original sizes decides claims."""
    result = quantised[2]
    assert {"bytes_fp32", "bytes_int8", "val_ppl_fp32", "val_ppl_int8", "latency_ratio"} <= result.metrics.keys()
    assert result.metrics["bytes_int8"] < result.metrics["bytes_fp32"]  # type: ignore[operator]
    assert verdicts(result) == {}
    ppl = {name: result.metrics[f"val_ppl_batch_mean_{name}"] for name in ("fp32", "int8")}
    change = ppl["int8"] / ppl["fp32"] - 1  # type: ignore[operator]
    assert result.metrics["val_ppl_batch_mean_change_row"] == pytest.approx(change)
    assert str(quantised[0].parent) not in str(result.document())
    assert [row[0] for row in result.tables[1].rows] == ["fp32", "int8, scale per row", "int8, scale per tensor"]


def test_a_saved_model_is_read_back_by_every_command(quantised: tuple[Path, Path, Result]) -> None:
    path, small, result = quantised
    assert sum(file.stat().st_size for file in small.iterdir()) == result.metrics["bytes_int8"]
    back = evaluate.run(EvaluateSettings(checkpoint=small))
    assert back.metrics["val_ppl"] == result.metrics["val_ppl_int8"]
    assert back.metrics["val_ppl_batch_mean"] == result.metrics["val_ppl_batch_mean_int8"]
    exact = restored(path).model.model  # type: ignore[attr-defined]
    wide = widened(exact.size, eight_bits(exact)).parameters
    assert all(torch.equal(tensor, wide[name]) for name, tensor in restored(small).model.parameters.items())
    assert generate.run(GenerateSettings(checkpoint=small, tokens=2)).status == "complete"
    assert not list(small.parent.glob(".tmp-*"))


def test_what_is_there_is_not_overwritten(quantised: tuple[Path, Path, Result], tmp_path: Path) -> None:
    path, small, _ = quantised
    before = bytes_in(path)
    for there, error, told in (
        *((there, SettingError, "--save: .* exists") for there in (path, small, tmp_path)),
        *((nowhere, WriteError, "--save") for nowhere in (tmp_path / "none" / "m", tmp_path / ("x" * 300))),
    ):
        with pytest.raises(error, match=told):
            command.run(QuantizeSettings(checkpoint=path, save=there))
    assert bytes_in(path) == before


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [(1.5, 2.0, "not faster ("), (0.8, 2.0, "not faster throughout"), (1.0, 0.96, "not faster ("), (0.8, 0.5, "and")],
)
def test_faster_is_said_only_where_it_was_measured(first: float, second: float, words: str) -> None:
    """Every ratio has to be clearly below one."""
    assert speed((first, second)).startswith(words)
    assert ("and faster, by 20%" in speed((first, second))) == (words == "and")
