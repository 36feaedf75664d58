"""Every rule of the ledger can come out both ways, or says why not; and no verdict is written anywhere else."""

import ast
import contextlib
import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import llmlab
from claims_by_hand import run
from llmlab.claims.evaluate import functions, value
from llmlab.claims.ledger import Claim, RecordsCheck, read
from llmlab.claims.verdicts import BOUND, judged, meets
from llmlab.report.result import Scalar

SOURCE = Path(llmlab.__file__).parent
CLAIMS = {claim.id: claim for document in read() for claim in document.claims}
WAITING = {"LY-S2"}
READERS = {"p", "some_above", "some_below"}
"""Functions that are given the name of a metric and read its interval."""
DRAWS = 20_000
VERDICTS = ("supported", "refined", "refuted")
OTHER_ROOMS = ("report/", "claims/", "pages/", "cli/")

Metrics = dict[str, Any]


def verdict(claim: str, metrics: Metrics, settings: Metrics) -> str:
    row, check = CLAIMS[claim], CLAIMS[claim].records
    assert check is not None
    told = re.findall(r"\{(\w+)", check.evidence)  # what the sentence tells beside what decides
    filled = {name: 0 for name in told if not name.startswith("setting_")} | {"common_epochs": 150}
    planned = {name.removeprefix("setting_"): 0 for name in told if name.startswith("setting_")}
    record = run(1, metrics=filled | metrics, **planned | settings)
    return judged(row, [replace(record, result=replace(record.result, experiment=check.experiments[0]))]).said.verdict


# ---- by metrics made by hand: on either side of each tolerance, interval and condition ------------------------------


Case = tuple[str, Metrics, Metrics, str]
HALF = 0.01
"""Half of every interval made by hand, unless a case says otherwise."""
ONE, FEW, THREE = ({"seeds": seeds} for seeds in (1, 2, 3))
SYNTHETIC: Metrics = {"data": "synthetic"}
DIALECT: Metrics = {"data": "dialect", "seeds": 3}


def ends(half: float) -> dict[str, float]:
    return {"": 0.0, "_low": -half, "_high": half}


def spread(means: dict[str, float], half: float = HALF) -> Metrics:
    return {name + end: mean + off for name, mean in means.items() for end, off in ends(half).items()}


def by(*names: str, half: float = HALF, **more: float) -> Callable[..., Metrics]:
    """Return what makes metrics of their means, in this order, each with an interval."""
    return lambda *means: spread(dict(zip(names, means, strict=True)), half) | more


def plain(*names: str, **more: float) -> Callable[..., Metrics]:
    """Return what makes metrics of their numbers, in this order."""
    return lambda *numbers: dict(zip(names, numbers, strict=True)) | more


def at(claim: str, made: Callable[..., Metrics], settings: Metrics, *changes: Metrics, **numbers: Any) -> list[Case]:
    """Return the cases of a claim: of which numbers each verdict comes, and that a change leaves nothing decided."""
    cases = [
        (claim, made(*(each if isinstance(each, tuple) else (each,))), settings, expected)
        for expected, several in numbers.items()
        for each in several
    ]
    changed = [(claim, case[1] | change, settings | change, "inconclusive") for case in cases for change in changes]
    return cases + changed


def under(claim: str, seeds: int) -> Metrics:
    """Return the settings that a rule asks for."""
    check = CLAIMS[claim].records
    assert check is not None
    return check.where | {"seeds": seeds}


ORIGINAL = under("BL-10", 1)
PEERS = {"peers": True, "model": "new-llm", "data": "wikitext-2", "seeds": 3}


def curve(farthest: float, epochs: int = 27, rises: int = 0) -> Metrics:
    return {"curve_epochs": epochs, "curve_farthest": farthest, "curve_rises": rises}


def at_27(ppl: float, train: float, best: int = 27) -> Metrics:
    numbers = {"val_ppl_batch_mean": ppl, "train_loss": train, "best_epoch": best}
    return {"epochs": 27, "val_loss": 3.1, "val_loss_token": 3.1, "train_loss_no_dropout": train, **numbers}


def peers(gpt2: float, gru: float, counting: float = 28.0, parameters: int = 2_642_176) -> Metrics:
    """Return New-LLM at a perplexity of 20 beside its peers."""
    ppls = {"val_ppl_new_llm": 20.0, "val_ppl_tiny_gpt2": 20 + gpt2, "val_ppl_gru": 20 + gru}
    ppls |= {"val_ppl_equal_time_new_llm": 20.0, "val_ppl_equal_time_tiny_gpt2": 20.0}
    sizes = {"parameters_new_llm": 2_739_432, "parameters_tiny_gpt2": parameters}
    apart = spread({"val_ppl_new_llm_minus_tiny_gpt2": -gpt2, "val_ppl_new_llm_minus_gru": -gru})
    return {"kneser_ney_ppl": counting, **sizes, **ppls, **apart}


def tuned(gain: float, half: float, after: float) -> Metrics:
    """Return a fine-tuned model beside one from scratch, and what is left of the original text."""
    ppls = {"val_ppl_pretrained": 20 - gain, "val_ppl_scratch": 20.0, "zero_shot_ppl": 50.0}
    ppls |= {"original_ppl_before": 10.0, "original_ppl_after": after}
    return ppls | spread({"val_ppl_pretrained_minus_scratch": -gain}, half)


def grown(changes: Metrics) -> Metrics:
    """Return the metrics of an expansion whose new numbers stay one, but for changes."""
    sizes = {"context_base": 64, "context": 128, "new_parameters": 10, "parameters_A": 100, "parameters_B": 100}
    trained = {"trained_parameters_A": 80, "trained_parameters_B": 100, "old_moved_A": 0.0, "new_apart_B": 0.0}
    ppls = {"base_ppl": 10.0, "start_ppl_B": 10.05, "val_ppl_B": 9.0, "val_ppl_continue": 9.0, "growth_all": 1.4}
    return {"new_rank_B": 1.0, **sizes, **trained, **ppls, **changes}


def ranks(ahead: float) -> Metrics:
    known = {"rank_correlation_product": 0.8, "rank_correlation_closeness": 0.8 - ahead}
    return known | spread({"rank_correlation_product_minus_closeness": ahead}, 0.1)


def first(share: float) -> Metrics:
    norms = {f"norm_{when}_{token}": 1.0 for when in ("before", "after") for token in "hel"}
    shares = {f"{name}_most_fraction": share for name in ("moved", "grew")}
    return norms | shares | spread({"moved_and_grew_most_fraction": share}, 0.05)


RATIOS = tuple(f"latency_ratio_{name}" for name in ("token_1", "window_1", "token_32", "window_32"))
BYTES = plain("bytes_fp32", "bytes_int8", number_bytes_fp32=10_957_728)
CHANGED = plain("val_ppl_batch_mean_change_tensor", number_bytes_fp32=10_957_728)
QUICKER = plain(*RATIOS, number_bytes_fp32=10_957_728)
LOSSES = plain("loss_min", "loss_max")
TO_27 = [
    *at("BL-10", curve, ORIGINAL, supported=[0.05], refuted=[-0.0501, 0.4], inconclusive=[(0.0, 26)]),
    *at("BL-13", curve, ORIGINAL, supported=[0.0], refuted=[(0.0, 27, 1)]),
    *at("BL-7", at_27, ORIGINAL, refined=[(24.5, 3.15)], refuted=[(24.52, 3.15), (23.34, 3.158)]),
    *at("BL-14", at_27, ORIGINAL, supported=[(23.34, 3.06)], refined=[(23.34, 3.04)], refuted=[(23.34, 3.06, 26)]),
    *at("BL-18", peers, PEERS, FEW, SYNTHETIC, supported=[(1, 1)], refuted=[(1, -1), (1, 1, 19.0)]),
    *at("BL-18", peers, PEERS, inconclusive=[(1, 0.001), (0.005, -0.0101)]),
    *at("BL-28", peers, PEERS, supported=[(1, 1)], inconclusive=[(1, 1, 28.0, 5_011_456)]),
    *at("BL-25", BYTES, {}, {"number_bytes_fp32": 1}, supported=[(31e6, 8e6)], refuted=[(11e6, 4e6)]),
    *at("BL-26", CHANGED, {}, refined=[0.0099, -0.001], supported=[0.02], refuted=[0.0301]),
    *at("BL-27", QUICKER, {}, supported=[(0.9, 0.8, 0.7, 0.6)], refined=[(3.0, 0.8, 2.0, 2.0)]),
    *at("BL-27", QUICKER, {}, inconclusive=[(3.3, 1.05, 1.3, 0.97)], refuted=[(3.3, 1.06, 1.3, 1.1)]),
    *at("BL-31D", tuned, DIALECT, FEW, supported=[(2, 1, 10.5)], refined=[(2, 1, 10.6)], refuted=[(-2, 1, 10)]),
    *at("BL-31D", tuned, DIALECT, inconclusive=[(2, 2.1, 10)]),
    *at("EX-1", grown, THREE, refined=[{}], supported=[{"trained_parameters_A": 10}], refuted=[{"old_moved_A": 1e-9}]),
    *at("EX-2", grown, THREE, refined=[{}], supported=[{"new_apart_B": 0.1}], refuted=[{"trained_parameters_B": 99}]),
    *at("EX-3", grown, THREE, refined=[{}], supported=[{"new_apart_B": 0.1}], refuted=[{"start_ppl_B": 10.11}]),
    *at("P12-7", ranks, under("P12-7", 20), refined=[0.5], inconclusive=[0.05], refuted=[-0.5]),
    *at("P2A-3", first, under("P2A-3", 20), supported=[0.6], refuted=[0.2], inconclusive=[0.5]),
    *at("P1-7", LOSSES, under("P1-7", 1000), {"seeds": 999}, supported=[(0.3496, 0.3754)], refuted=[(0.38, 0.4)]),
    *at("P1-7", LOSSES, under("P1-7", 1000), refined=[(0.3497, 0.4)]),
]


# ---- chapter 4: by intervals under the document's conditions: a narrow model, few epochs or few seeds inform --------


DEPTHS = {"data": "wikitext-2", "hidden": 512, "context": 256, "batch": 2048, "stack": "plain", "seeds": 3}
SHORT: tuple[Metrics, ...] = (FEW, {"hidden": 128}, {"common_epochs": 20})
SWEEP = DEPTHS | {"only": ""}


def depths(*names: str) -> Callable[..., Metrics]:
    """Return what makes the differences of two depths: ``p61`` is the perplexity of six layers minus that of one."""
    kinds = {"p": "val_ppl", "t": "train_loss"}
    return by(*(f"{kinds[name[0]]}_L{name[1]}_minus_L{name[2]}" for name in names))


def reached(epochs: int) -> Metrics:
    return {"common_epochs": epochs} | {f"{what}_L{n}": 20.0 for what in ("val_ppl", "train_loss") for n in (1, 4, 6)}


def barely(low: float) -> Metrics:
    """Return two comparisons, one of which just misses zero: at p = 0.04 it would decide alone."""
    return depths("p64")(0) | {"val_ppl_L6_minus_L1" + end: 1 + off for end, off in ends(1 - low).items()}


DEEP = [
    *at("LY-1", depths("p61", "p64"), DEPTHS, *SHORT, supported=[(1, -1)], refuted=[(-1, -1)], inconclusive=[(0, -1)]),
    *at("LY-1", barely, DEPTHS, inconclusive=[0.01]),
    *at("LY-9", depths("t41", "t61"), DEPTHS, *SHORT, supported=[(-1, 1)], refuted=[(1, 1)], inconclusive=[(0, 1)]),
    *at("LY-10", depths("p65"), DEPTHS, *SHORT, supported=[0.02], refuted=[-0.02], inconclusive=[0.005]),
    *at("LY-20", depths("p61", "t61"), DEPTHS, *SHORT, supported=[(1, -1)], refuted=[(1, 1), (-1, 0)]),
    *at("LY-20", depths("p61", "t61"), DEPTHS, inconclusive=[(1, 0)]),
    *at("LY-21", depths("p41", "p51", "p64", "p65"), DEPTHS, *SHORT, supported=[(-1, 1, 1, -1)]),
    *at("LY-21", depths("p41", "p51", "p64", "p65"), DEPTHS, *SHORT, refuted=[(1, 1, 1, 1), (-1, -1, -1, -1)]),
    *at("LY-21", depths("p41", "p51", "p64", "p65"), DEPTHS, inconclusive=[(-1, -1, 0, 0)]),
    *at("LY-28", depths("p64", "p65"), DEPTHS, *SHORT, refined=[(1, -1)], refuted=[(-1, -1)], inconclusive=[(0, -1)]),
    *at("LY-26", reached, SWEEP | {"layers": "1,4,6"}, inconclusive=[1, 20], refined=[100, 150]),
    *at("LY-26", reached, SWEEP | {"layers": "1,4,6", "seeds": 1}, inconclusive=[1, 20], refined=[100]),
    *at("LY-26", reached, SWEEP | {"layers": "1,4,5,6,7"}, {"hidden": 128}, supported=[150]),
]


# ---- chapters 5 and 6: as the document says, and elsewhere, where what it would support is refined ------------------


SAID = {"data": "ultrachat", "pretrained": "gpt2", "layers": 6, "context": 768, "tokens": 251_208, "seeds": 3}
ELSEWHERE = SAID | {"data": "wikitext-2", "pretrained": "path: x", "layers": 1, "context": 384, "tokens": 250_000}
BLOCK = {"block": "trained", "reading": "after"}
TUNED = {"tuning_tries": 7}
DROP = math.log(0.281)
NOISE, SIX = "noise_0_1_minus_noise_0", "6_layers_minus_3_layers"
RISING = {"val_loss_rise_noise_0": 0.1, "val_loss_rise_6_layers": 0.1}
RANK = f"effective_rank_validation_{SIX}"
RANKS = {
    f"effective_rank_validation_{when}_{widths}": rank
    for when, rank in (("every", 0.8), ("first", 0.7))
    for widths in ("constant", "decreasing")
}
FALLEN = RANKS | {"effective_rank_validation_first_decreasing": 0.086}
"""TS-2 is about a design whose rank fell to 8.6 per cent."""
RISEN = RANKS | {"effective_rank_validation_first_decreasing": 0.9}
BY_DEPTH = {"1_layer": 0.8, "3_layers": 0.7, "6_layers": 0.6, "noise_0": 0.8, "noise_0_2": 0.6}


def both(
    claim: str, made: Callable[..., Metrics], settings: Metrics | None = None, *changes: Metrics, **numbers: Any
) -> list[Case]:
    """Return the cases of a claim as said and elsewhere; on a made-up language or by one seed nothing is decided."""
    there = {"refined": numbers.get("supported", []) + numbers.get("refined", [])}
    there |= {name: numbers.get(name, []) for name in ("refuted", "inconclusive")}
    more = settings or {}
    return [
        *at(claim, made, SAID | more, *changes, **numbers),
        *at(claim, made, ELSEWHERE | more, SYNTHETIC, ONE, **there),
    ]


def freezing(claim: str, made: Callable[..., Metrics], **numbers: Any) -> list[Case]:
    """Return the cases of a comparison in which each arm chose its rate: at one rate nothing is decided."""
    return both(claim, made, BLOCK, {"tuning_tries": 1}, **numbers)


def frozen(*thousands: int, half: float = HALF, counting: float = 400, **more: float) -> Callable[..., Metrics]:
    """Return what makes the metrics of what freezing does to the loss, by thousands of tokens."""

    def made(*losses: float) -> Metrics:
        sizes = {f"frozen_{k}000_minus_trained_{k}000": loss for k, loss in zip(thousands, losses, strict=True)}
        told = spread({f"val_loss_token_{name}": loss for name, loss in sizes.items()}, half)
        shares = {name.replace("val_loss_token", "val_ppl_change"): math.expm1(loss) for name, loss in told.items()}
        return {"val_ppl_frozen": 300, "kneser_ney_ppl": counting, **TUNED, **more, **told, **shares}

    return made


def loss(*names: str, half: float = HALF, **more: float) -> Callable[..., Metrics]:
    return by(*(f"val_loss_token_{name}" for name in names), half=half, **more)


def deeper(*apart: float) -> Metrics:
    """Return what CN-13 looks at: six layers beside three and one, and noise where a third number is given for it."""
    names, noisy = (SIX, "6_layers_minus_1_layer", "noise_0_2_minus_noise_0"), len(apart) == 3
    ranks = {f"effective_rank_validation_{arm}": rank for arm, rank in BY_DEPTH.items() if noisy or "noise" not in arm}
    return loss(*names[: len(apart)])(*apart) | ranks


def steadier(gap: float, frozen_sd: float, trained_sd: float) -> Metrics:
    """Return what EF-25 looks at: a smaller gap refines, with a smaller spread as said it supports."""
    spreads = {"val_loss_token_frozen_sd": frozen_sd, "val_loss_token_trained_sd": trained_sd}
    return spread({"gap_equal_frozen_minus_trained": gap}) | TUNED | spreads


BOTH_PPLS = by("val_ppl_frozen", "val_ppl_frozen_500000", half=1.0)
CONVERGED = plain("converged_fraction_before", "converged_fraction")
DRIFT = plain("context_drift", trainable_parameters_frozen=1, trainable_parameters_trained=2)
UNTRAINED = "untrained_block_minus_trained_block"
TWO_RANKS = by("effective_rank", "effective_rank_untrained")
LAYERS = loss("2_layers_minus_1_layer", "3_layers_minus_1_layer", "6_layers_minus_1_layer")
WIRED = ("first_constant_minus_every_constant", "first_decreasing_minus_every_decreasing")
DECREASING = "first_decreasing_minus_every_constant"
OWN = {
    "EF-18": ("val_loss_token_frozen_minus_random_frozen", "supported"),
    "WT-2": ("val_loss_token_frozen_minus_frozen_untied", "refined"),
    "WT-4": ("val_loss_token_tying_with_freezing", "supported"),
}
"""Arms that are judged by their own difference: below zero the change helps, above it does harm."""
LATE = [
    *freezing(
        "EF-1", frozen(250, 500), supported=[(-1, -1)], refined=[(-1, 1)], refuted=[(0, 1)], inconclusive=[(0, 0)]
    ),
    *freezing("EF-11", frozen(250), supported=[DROP], refined=[0.6 * DROP], refuted=[-0.03]),
    *freezing("EF-11", frozen(250, half=2), inconclusive=[-1]),
    *freezing("EF-12", frozen(500), supported=[math.log(0.333)], refuted=[0.1]),
    *freezing("EF-20", frozen(250, 500), refuted=[(-1, 1)], inconclusive=[(-1, 0)]),
    *freezing("EF-20", frozen(250, 500, 1000), supported=[(-1, -1, -1)]),
    *freezing("EF-27", frozen(60, 250, 500), supported=[(-1, -1, -1)], refined=[(-1, 0, 1)], refuted=[(0, 0, 1)]),
    *freezing("EF-27", frozen(60, 250, 500, counting=200), inconclusive=[(-1, -1, -1)]),
    *freezing("EF-28", frozen(250, 500), refuted=[(-0.1, 0.1)], refined=[(-0.9, -0.9)]),
    *freezing(
        "EF-28", frozen(250, 500, val_accuracy_frozen=0.158, val_accuracy_trained=0.1), supported=[(-1.15, -1.15)]
    ),
    *freezing("EF-25", steadier, supported=[(-1, 0.01, 0.1)], refined=[(-1, 0.1, 0.01)], refuted=[(1, 0.01, 0.1)]),
    *freezing("EF-25", steadier, inconclusive=[(0, 0.01, 0.1)]),
    *(
        case
        for claim, (metric, helped) in OWN.items()
        for case in at(claim, by(metric, **TUNED), SAID | BLOCK, **{helped: [-1]}, refuted=[1], inconclusive=[0])
    ),
    *both("EF-24", BOTH_PPLS, BLOCK | {"tokens": 250_000}, supported=[(100, 84)], refined=[(100, 95)]),
    *both("EF-24", BOTH_PPLS, BLOCK | {"tokens": 250_000}, refuted=[(100, 110)], inconclusive=[(100, 100)]),
    *both("EF-23", loss(UNTRAINED), supported=[0.1], refuted=[-0.1], inconclusive=[0.005]),
    *at("EF-23", loss(UNTRAINED, half=0.001), SAID, supported=[0.005]),
    *at("EF-23", loss(UNTRAINED, half=0.001), ELSEWHERE, refuted=[0.005]),
    *at("EF-5", CONVERGED, SAID | ONE, supported=[(0.1, 0.99)], refined=[(1.0, 0.967)], refuted=[(1.0, 0.2)]),
    *at("EF-5", CONVERGED, ELSEWHERE, inconclusive=[(0.1, 0.99)]),
    *at("EF-6", TWO_RANKS, SAID | BLOCK, supported=[(0.8, 0.6)], refined=[(0.75, 0.7)], refuted=[(0.78, 0.8)]),
    *at("EF-22", DRIFT, SAID, refined=[0.0], refuted=[1e-6]),
    *both("NZ-1", by(f"best_epoch_{NOISE}"), supported=[1], refuted=[-1]),
    *both("NZ-2", by(f"gap_equal_{NOISE}", **RISING), supported=[-math.log(12)], refuted=[-0.1]),
    *both("NZ-2", by(f"gap_equal_{NOISE}"), inconclusive=[-0.1]),
    *both("NZ-3", by(f"val_accuracy_{NOISE}"), supported=[1]),
    *both("NZ-4", loss(NOISE), refuted=[-1]),
    *both(
        "NZ-6",
        by(f"val_loss_token_{NOISE}", f"gap_equal_{NOISE}"),
        supported=[(-1, -1)],
        refuted=[(0, 1)],
        inconclusive=[(0, 0)],
    ),
    *both("CN-4", LAYERS, supported=[(1, 1, 1)], refuted=[(1, 1, -1)], inconclusive=[(1, 0, 1)]),
    *at("CN-5", by(RANK, **{f"{RANK}_n": 3}), SAID, supported=[-0.1], refuted=[0.1]),
    *at("CN-5", plain(), SAID, inconclusive=[()]),
    *both("CN-6", loss(SIX), supported=[1], refuted=[-1]),
    *both("CN-9", by(f"gap_equal_{SIX}", **RISING), supported=[1]),
    *both("CN-9", by(f"gap_equal_{SIX}"), inconclusive=[1]),
    *at("CN-13", deeper, ELSEWHERE, refined=[(0.1, 0.1)], refuted=[(0.0, -0.1)]),
    *at("CN-13", deeper, SAID, supported=[(0.1, 0.1, 0.1)]),
    *both("CS-1", loss("before_minus_after_last_layer"), supported=[-0.1], refuted=[0.1]),
    *both("TS-1", loss(DECREASING), supported=[0.1]),
    *at("TS-2", loss(DECREASING, **FALLEN), SAID, supported=[0.473], refined=[0.3], refuted=[0.08]),
    *both("TS-2", loss(DECREASING, **RANKS), inconclusive=[0.08]),
    *both("TS-3", loss(*WIRED, **RANKS), refined=[(0.1, 0.1)], refuted=[(-0.1, -0.1)], inconclusive=[(0.1, 0.0)]),
    *at("TS-3", loss(*WIRED, **RISEN), SAID, supported=[(0.1, 0.1)]),
]
CASES = TO_27 + DEEP + LATE


@pytest.mark.parametrize("claim", sorted({case[0] for case in CASES}))
def test_a_verdict_changes_where_the_rule_says(claim: str) -> None:
    """What chance has as well is no merit, a mean without its interval decides nothing, and a cause has to show."""
    for name, metrics, settings, expected in CASES:
        if name == claim:
            assert verdict(claim, metrics, settings) == expected, (metrics, settings)


# ---- by metrics drawn by chance: what no case above reaches ---------------------------------------------------------


def wanted(claim: Claim) -> set[str]:
    return {name for name in VERDICTS if getattr(claim.records, name, "")}


SHOWN = {claim: {case[-1] for case in CASES if case[0] == claim} for claim in CLAIMS}
UNSHOWN = [one for one in CLAIMS.values() if one.id not in WAITING and not wanted(one) <= SHOWN[one.id]]


def is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


def constant(node: ast.AST, known: Metrics | None = None) -> Any:
    """Return the value of a part of an expression, as far as it is known, or nothing."""
    try:
        return value(ast.unparse(node), known) if isinstance(node, ast.expr) else None
    except (ValueError, LookupError):
        return None


def meeting(condition: Any, chance: random.Random) -> Scalar:
    """Return a number or a word that meets a condition, or lies just beside its bound."""
    bound = BOUND.fullmatch(condition) if isinstance(condition, str) else None
    near = [float(bound["number"]) + off for off in (-3, -1, 0, 1, 3)] if bound else condition
    either = near if isinstance(near, list | tuple) else [near]
    return chance.choice([round(one) if bound and one.is_integer() else one for one in either if meets(one, condition)])


def drawn(check: RecordsCheck, chance: random.Random) -> Iterator[tuple[Metrics, Metrics]]:
    """Yield metrics and settings of runs that meet the conditions: near what the rule compares with, or just beside."""
    texts = [text for name in VERDICTS if (text := getattr(check, name))]
    nodes = [node for text in texts for node in ast.walk(ast.parse(text, mode="eval"))]
    names = {node.id for node in nodes if isinstance(node, ast.Name)} - {*functions({}), "as_documented"}
    for call in (node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) in READERS):
        names |= {ast.literal_eval(arg) + end for arg in call.args for end in ends(0)}
    comparisons = [node for node in nodes if isinstance(node, ast.Compare)]
    found = [constant(node) for node in nodes] + [*check.needs.values()]
    numbers, words = [0.0, 1.0, -1.0, *filter(is_number, found)], [one for one in found if isinstance(one, str)]

    def number() -> Scalar:
        if words and chance.random() < 0.1:
            return chance.choice(words)
        near, scale = chance.choice(numbers), chance.choice([0, 1e-6, 0.01, 0.3, 1, 30])
        told = near + scale * max(abs(near), 0.1) * chance.uniform(-1, 1)
        return round(told) if chance.random() < 0.3 else float(told)

    while True:
        needed = {name: meeting(condition, chance) for name, condition in check.needs.items()}
        fixed = needed | {f"setting_{name}": each for name, each in (check.where | needed).items()}
        known = {name: number() for name in sorted(names)} | fixed
        for one in chance.sample(comparisons, k=min(len(comparisons), chance.randint(0, 4))):
            sides = [one.left, one.comparators[-1]]
            for side, other in (sides, sides[::-1]):
                if isinstance(side, ast.Name) and (beside := constant(other, known)) is not None:
                    shift = chance.choice([0, 0, 1e-6, -1e-6, 0.1, -0.1, 1, -1])
                    known[side.id] = beside + shift if is_number(beside) else beside
        known |= fixed
        for name in [name for name in known if name + "_low" in known or name + "_high" in known]:
            interval = [name + end for end in ("_low", "", "_high") if name + end in known]
            if all(is_number(known[end]) for end in interval):
                known |= dict(zip(interval, sorted(known[end] for end in interval), strict=True))
        settings = {name.removeprefix("setting_"): each for name, each in known.items() if name[:8] == "setting_"}
        yield {name: each for name, each in known.items() if name[:8] != "setting_"}, settings


@pytest.mark.parametrize("claim", UNSHOWN, ids=lambda claim: claim.id)
def test_every_verdict_that_a_rule_names_can_be_reached(claim: Claim) -> None:
    assert claim.records is not None
    seen = set[str]()
    for metrics, settings in islice(drawn(claim.records, random.Random(claim.id)), DRAWS):
        with contextlib.suppress(ValueError):  # a division by a drawn zero
            seen.add(verdict(claim.id, metrics, settings))
        if wanted(claim) <= seen:
            return
    raise AssertionError(f"{claim.id} names {wanted(claim) - seen}, which no numbers reach")


# ---- of the ledger as a whole ---------------------------------------------------------------------------------------


def test_a_rule_decides_both_ways_or_says_why_not() -> None:
    rules = {one.id: one.records for one in CLAIMS.values() if one.records and one.id not in WAITING}
    assert [name for name, one in rules.items() if not (one.supported and one.refuted) and not one.only] == []


def test_a_rule_measures_by_figures_that_a_claim_states() -> None:
    """What a metric is divided by, to see how near it comes, a claim of its document has, be it in per cent."""
    for document in read():
        stated = " ".join(f"{claim.claim} {claim.figures}" for claim in document.claims)
        figures = [float(figure) for figure in re.findall(r"\d+(?:\.\d+)?", stated)]
        for claim in document.claims:
            rules = " ".join(getattr(claim.records, name) or "" for name in VERDICTS) if claim.records else ""
            for figure in (float(str(value(divisor))) for divisor in re.findall(r"/ ([^a-z/]+) - 1\)", rules)):
                near = [one for one in figures if figure == pytest.approx(one, rel=1e-3) or 100 * figure == one]
                assert near, (claim.id, figure)


def test_no_verdict_is_written_outside_the_ledger() -> None:
    found = {
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in {*VERDICTS, "inconclusive"}
    }

    assert {place for place in found if not place.startswith(OTHER_ROOMS)} == set()
