"""The ledger's rules on chapters 4 to 6, by metrics made by hand: each verdict where it belongs, none in between.

A case is a claim, the differences that a run found, and what is to come of it.  ``as said`` is a run under the
conditions of the claim's document, ``elsewhere`` one on another text: it refines or refutes, and supports nothing.
"""

import math
from dataclasses import replace
from typing import Any

import pytest

from claims_by_hand import run
from llmlab.claims.ledger import Claim, read
from llmlab.claims.verdicts import judged
from llmlab.report.result import Scalar

CLAIMS = {claim.id: claim for document in read() for claim in document.claims}
DEPTHS = {"data": "wikitext-2", "hidden": 512, "context": 256, "batch": 2048, "stack": "plain", "seeds": 3}
SAID = {"data": "ultrachat", "pretrained": "gpt2", "layers": 6, "context": 768, "tokens": 251_208, "seeds": 3}
ELSEWHERE = SAID | {"data": "wikitext-2", "pretrained": "path: x", "layers": 1, "context": 384, "tokens": 250_000}
BLOCK = {"block": "trained", "reading": "after"}
HALF = 0.01
"""Half of every interval made by hand, unless a case says otherwise."""


def spread(half: float = HALF, **means: float) -> dict[str, Scalar]:
    """Return metrics with intervals of three seeds around their means."""
    ends = {"": 0.0, "_low": -half, "_high": half}
    return {name + end: mean + off for name, mean in means.items() for end, off in ends.items()}


def verdict(claim: Claim, metrics: dict[str, Scalar], settings: dict[str, Any]) -> str:
    """Return what a run with these metrics and settings says of a claim."""
    assert claim.records is not None
    words = dict.fromkeys(_named(claim.records.evidence), 0)  # what the sentence tells beside what decides
    record = run(1, metrics=words | {"common_epochs": 150} | metrics, **settings)  # type: ignore[arg-type]
    result = replace(record.result, experiment=claim.records.experiments[0])
    return judged(claim, [replace(record, result=result)]).said.verdict


def _named(template: str) -> list[str]:
    named = [part.split("}")[0].split(":")[0] for part in template.split("{")[1:]]
    return [name for name in named if not name.startswith("setting_")]


# ---- chapter 4 ------------------------------------------------------------------------------------------------------


def depths(**changes: float) -> dict[str, Scalar]:
    """Return differences of PPL and train loss between depths; ``p61`` is the PPL of six layers minus one."""
    kinds = {"p": "val_ppl", "t": "train_loss"}
    return spread(**{f"{kinds[name[0]]}_L{name[1]}_minus_L{name[2]}": value for name, value in changes.items()})


@pytest.mark.parametrize(
    ("claim", "metrics", "expected"),
    [
        ("LY-1", depths(p61=1, p64=-1), "supported"),
        ("LY-1", depths(p61=-1, p64=-1), "refuted"),
        ("LY-1", depths(p61=0, p64=-1), "inconclusive"),
        ("LY-9", depths(t41=-1, t61=1), "supported"),
        ("LY-9", depths(t41=1, t61=1), "refuted"),
        ("LY-9", depths(t41=0, t61=1), "inconclusive"),
        ("LY-10", depths(p65=0.02), "supported"),
        ("LY-10", depths(p65=-0.02), "refuted"),
        ("LY-10", depths(p65=0.005), "inconclusive"),
        ("LY-20", depths(p61=1, t61=-1), "supported"),
        ("LY-20", depths(p61=1, t61=1), "refuted"),
        ("LY-20", depths(p61=-1, t61=0), "refuted"),
        ("LY-20", depths(p61=1, t61=0), "inconclusive"),
        ("LY-21", depths(p41=-1, p64=1, p51=1, p65=-1), "supported"),
        ("LY-21", depths(p41=1, p51=1, p64=1, p65=1), "refuted"),
        ("LY-21", depths(p41=-1, p51=-1, p64=-1, p65=-1), "refuted"),
        ("LY-21", depths(p41=-1, p51=-1, p64=0, p65=0), "inconclusive"),
        ("LY-28", depths(p64=1, p65=-1), "refined"),
        ("LY-28", depths(p64=-1, p65=-1), "refuted"),
        ("LY-28", depths(p64=0, p65=-1), "inconclusive"),
    ],
)
def test_depth_is_judged_by_intervals_under_the_documents_conditions(
    claim: str, metrics: dict[str, Scalar], expected: str
) -> None:
    """And by nothing else: a narrow model, few epochs or few seeds inform, whatever they show."""
    row = CLAIMS[claim]

    assert verdict(row, metrics, DEPTHS) == expected
    for short in ({"common_epochs": 20}, {}):
        settings = DEPTHS if short else DEPTHS | {"hidden": 128}
        assert verdict(row, metrics | short, settings) == "inconclusive"
    assert verdict(row, metrics, DEPTHS | {"seeds": 2}) == "inconclusive"


def test_an_interval_that_just_misses_zero_among_several_decides_nothing() -> None:
    """One of two comparisons at p = 0.04 is not enough for a claim that either of them would decide."""
    barely = {"_low": 0.01, "": 1.0, "_high": 1.99}
    metrics = depths(p64=0.0) | {f"val_ppl_L6_minus_L1{end}": value for end, value in barely.items()}

    assert verdict(CLAIMS["LY-1"], metrics, DEPTHS) == "inconclusive"


@pytest.mark.parametrize(("epochs", "expected"), [(1, "inconclusive"), (20, "inconclusive"), (100, "refined")])
def test_depths_are_compared_to_the_end_only_at_the_end(epochs: int, expected: str) -> None:
    """Few epochs of each depth are shown and decide nothing; with one seed as with three."""
    reached: dict[str, Scalar] = {f"{what}_L{n}": 20.0 for what in ("val_ppl", "train_loss") for n in (1, 4, 6)}
    row = CLAIMS["LY-26"]

    for seeds in (1, 3):
        settings = DEPTHS | {"seeds": seeds, "layers": "1,4,6", "only": ""}
        assert verdict(row, reached | {"common_epochs": epochs}, settings) == expected
    whole = reached | {"common_epochs": 150}
    every = DEPTHS | {"layers": "1,4,5,6,7", "only": ""}
    assert verdict(row, whole, every) == "supported"
    assert verdict(row, whole, every | {"layers": "1,4,6"}) == "refined"
    assert verdict(row, whole, every | {"hidden": 128}) == "inconclusive"


# ---- chapter 5 ------------------------------------------------------------------------------------------------------


def frozen(half: float = HALF, **losses: float) -> dict[str, Scalar]:
    """Return what freezing does to the loss by thousands of tokens, ``k250``, of arms that chose their rates."""
    named = {f"val_loss_token_frozen_{k[1:]}000_minus_trained_{k[1:]}000": loss for k, loss in losses.items()}
    told = spread(half, **named)
    shares = {
        name.replace("val_loss_token", "val_ppl_change"): math.expm1(float(value)) for name, value in told.items()
    }  # type: ignore[arg-type]
    return {"tuning_tries": 7, "val_ppl_frozen": 300, "kneser_ney_ppl": 400, **told, **shares}


DROP = math.log(0.281)
ACCURACIES: dict[str, Scalar] = {"val_accuracy_frozen": 0.158, "val_accuracy_trained": 0.1}


@pytest.mark.parametrize(
    ("claim", "metrics", "said", "elsewhere"),
    [
        ("EF-1", frozen(k250=-1, k500=-1), "supported", "refined"),
        ("EF-1", frozen(k250=-1, k500=1), "refined", "refined"),
        ("EF-1", frozen(k250=0, k500=1), "refuted", "refuted"),
        ("EF-1", frozen(k250=0, k500=0), "inconclusive", "inconclusive"),
        ("EF-11", frozen(k250=DROP), "supported", "refined"),
        ("EF-11", frozen(k250=0.6 * DROP), "refined", "refined"),
        ("EF-11", frozen(k250=-0.03), "refuted", "refuted"),
        ("EF-11", frozen(half=2, k250=-1), "inconclusive", "inconclusive"),
        ("EF-12", frozen(k500=math.log(0.333)), "supported", "refined"),
        ("EF-12", frozen(k500=0.1), "refuted", "refuted"),
        ("EF-20", frozen(k250=-1, k500=-1, k1000=-1), "supported", "refined"),
        ("EF-20", frozen(k250=-1, k500=1), "refuted", "refuted"),
        ("EF-20", frozen(k250=-1, k500=0), "inconclusive", "inconclusive"),
        ("EF-27", frozen(k60=-1, k250=-1, k500=-1), "supported", "refined"),
        ("EF-27", frozen(k60=-1, k250=0, k500=1), "refined", "refined"),
        ("EF-27", frozen(k60=0, k250=0, k500=1), "refuted", "refuted"),
        ("EF-27", frozen(k60=-1, k250=-1, k500=-1) | {"kneser_ney_ppl": 200}, "inconclusive", "inconclusive"),
        ("EF-28", frozen(k250=-0.1, k500=0.1), "refuted", "refuted"),
        ("EF-28", frozen(k250=-0.9, k500=-0.9), "refined", "refined"),
        ("EF-28", frozen(k250=-1.15, k500=-1.15) | ACCURACIES, "supported", "refined"),
    ],
)
def test_freezing_is_judged_where_each_arm_chose_its_rates(
    claim: str, metrics: dict[str, Scalar], said: str, elsewhere: str
) -> None:
    """On real text by three seeds; a comparison at one rate, or on the made-up language, decides nothing."""
    row = CLAIMS[claim]

    assert verdict(row, metrics, SAID | BLOCK) == said
    assert verdict(row, metrics, ELSEWHERE | BLOCK) == elsewhere
    untuned = {name: value for name, value in metrics.items() if name != "tuning_tries"}
    assert verdict(row, untuned, SAID | BLOCK) == "inconclusive"
    assert verdict(row, metrics, ELSEWHERE | BLOCK | {"data": "synthetic"}) == "inconclusive"


# ---- chapter 6 ------------------------------------------------------------------------------------------------------


def loss(half: float = HALF, **means: float) -> dict[str, Scalar]:
    """Return differences of loss by the arms that are subtracted."""
    return spread(half, **{f"val_loss_token_{name}": mean for name, mean in means.items()})


def layers(two: float, three: float, six: float) -> dict[str, Scalar]:
    """Return how much worse more layers are than one."""
    return loss(_2_layers=two, _3_layers=three, _6_layers=six) | {
        f"val_loss_token_{n}_layers_minus_1_layer{end}": mean + off
        for n, mean in ((2, two), (3, three), (6, six))
        for end, off in (("", 0.0), ("_low", -HALF), ("_high", HALF))
    }


WIRED = ("first_constant_minus_every_constant", "first_decreasing_minus_every_decreasing")
RANKS: dict[str, Scalar] = {
    **{f"effective_rank_validation_every_{widths}": 0.8 for widths in ("constant", "decreasing")},
    **{f"effective_rank_validation_first_{widths}": 0.7 for widths in ("constant", "decreasing")},
}
TURNED = {"val_loss_rise_noise_0": 0.1, "val_loss_rise_6_layers": 0.1}
NOISE, SIX = "noise_0_1_minus_noise_0", "6_layers_minus_3_layers"


@pytest.mark.parametrize(
    ("claim", "metrics", "said", "elsewhere"),
    [
        ("EF-23", loss(untrained_block_minus_trained_block=0.1), "supported", "refined"),
        ("EF-23", loss(half=0.001, untrained_block_minus_trained_block=0.005), "supported", "refuted"),
        ("EF-23", loss(untrained_block_minus_trained_block=-0.1), "refuted", "refuted"),
        ("EF-23", loss(untrained_block_minus_trained_block=0.005), "inconclusive", "inconclusive"),
        ("NZ-1", spread(**{f"best_epoch_{NOISE}": 1}), "supported", "refined"),
        ("NZ-1", spread(**{f"best_epoch_{NOISE}": -1}), "refuted", "refuted"),
        ("NZ-2", spread(**{f"gap_equal_{NOISE}": -math.log(12)}) | TURNED, "supported", "refined"),
        ("NZ-2", spread(**{f"gap_equal_{NOISE}": -0.1}) | TURNED, "refuted", "refuted"),
        ("NZ-2", spread(**{f"gap_equal_{NOISE}": -0.1}), "inconclusive", "inconclusive"),
        ("NZ-3", spread(**{f"val_accuracy_{NOISE}": 1}), "supported", "refined"),
        ("NZ-4", loss(**{NOISE: -1}), "refuted", "refuted"),
        ("NZ-6", loss(**{NOISE: -1}) | spread(**{f"gap_equal_{NOISE}": -1}), "supported", "refined"),
        ("NZ-6", loss(**{NOISE: 0}) | spread(**{f"gap_equal_{NOISE}": 1}), "refuted", "refuted"),
        ("NZ-6", loss(**{NOISE: 0}) | spread(**{f"gap_equal_{NOISE}": 0}), "inconclusive", "inconclusive"),
        ("CN-4", layers(1, 1, 1), "supported", "refined"),
        ("CN-4", layers(1, 1, -1), "refuted", "refuted"),
        ("CN-4", layers(1, 0, 1), "inconclusive", "inconclusive"),
        ("CN-6", loss(**{SIX: 1}), "supported", "refined"),
        ("CN-6", loss(**{SIX: -1}), "refuted", "refuted"),
        ("CN-9", spread(**{f"gap_equal_{SIX}": 1}) | TURNED, "supported", "refined"),
        ("CN-9", spread(**{f"gap_equal_{SIX}": 1}), "inconclusive", "inconclusive"),
        ("CS-1", loss(before_minus_after_last_layer=-0.1), "supported", "refined"),
        ("CS-1", loss(before_minus_after_last_layer=0.1), "refuted", "refuted"),
        ("TS-1", loss(first_decreasing_minus_every_constant=0.1), "supported", "refined"),
        ("TS-2", loss(first_decreasing_minus_every_constant=0.08) | RANKS, "inconclusive", "inconclusive"),
        ("TS-3", loss(**dict.fromkeys(WIRED, 0.1)) | RANKS, "refined", "refined"),
        ("TS-3", loss(**dict.fromkeys(WIRED, -0.1)) | RANKS, "refuted", "refuted"),
        ("TS-3", loss(**dict(zip(WIRED, (0.1, 0.0), strict=True))) | RANKS, "inconclusive", "inconclusive"),
    ],
)
def test_each_choice_of_the_two_stages_follows_its_own_difference(
    claim: str, metrics: dict[str, Scalar], said: str, elsewhere: str
) -> None:
    """Where the condition that a claim compares under never occurred, nothing is decided."""
    assert verdict(CLAIMS[claim], metrics, SAID) == said
    assert verdict(CLAIMS[claim], metrics, ELSEWHERE) == elsewhere
    assert verdict(CLAIMS[claim], metrics, ELSEWHERE | {"data": "synthetic"}) == "inconclusive"
    assert verdict(CLAIMS[claim], metrics, ELSEWHERE | {"seeds": 1}) == "inconclusive"


# ---- what has a rule of its own shape -------------------------------------------------------------------------------


def steadier(gap: float, frozen_sd: float, trained_sd: float) -> dict[str, Scalar]:
    """Return what EF-25 looks at: a smaller gap refines, with a smaller spread as said it supports."""
    spreads = {"val_loss_token_frozen_sd": frozen_sd, "val_loss_token_trained_sd": trained_sd}
    return spread(gap_equal_frozen_minus_trained=gap) | {"tuning_tries": 7} | spreads


def shares(before: float, after: float) -> dict[str, Scalar]:
    """Return what EF-5 looks at: a share that was there before shows no learning."""
    return {"converged_fraction_before": before, "converged_fraction": after}


def moved(drift: float) -> dict[str, Scalar]:
    """Return what EF-22 looks at, which is true by construction and never supported."""
    return {"trainable_parameters_frozen": 1, "trainable_parameters_trained": 2, "context_drift": drift}


OWN = {
    "EF-18": ("val_loss_token_frozen_minus_random_frozen", "supported", "refuted"),
    "WT-2": ("val_loss_token_frozen_minus_frozen_untied", "refined", "refuted"),
    "WT-4": ("val_loss_token_tying_with_freezing", "supported", "refuted"),
}
"""Arms that are judged by their own difference: below zero the change helps, above it does harm."""
RANK = f"effective_rank_validation_{SIX}"
FALLEN = RANKS | {"effective_rank_validation_first_decreasing": 0.086}
"""TS-2 is about a design whose rank fell to 8.6 per cent."""
BY_DEPTH: dict[str, Scalar] = {
    f"effective_rank_validation_{name}": rank for name, rank in (("1_layer", 0.8), ("3_layers", 0.7), ("6_layers", 0.6))
}
WORSE = loss(**{SIX: 0.1, "6_layers_minus_1_layer": 0.1}) | BY_DEPTH
BETTER = loss(**{SIX: 0.0, "6_layers_minus_1_layer": -0.1}) | BY_DEPTH
NOISY = loss(noise_0_2_minus_noise_0=0.1)
NOISY |= {"effective_rank_validation_noise_0": 0.8, "effective_rank_validation_noise_0_2": 0.6}


@pytest.mark.parametrize(
    ("claim", "metrics", "settings", "expected"),
    [
        ("EF-25", steadier(-1, 0.01, 0.1), SAID | BLOCK, "supported"),
        ("EF-25", steadier(-1, 0.1, 0.01), SAID | BLOCK, "refined"),
        ("EF-25", steadier(-1, 0.01, 0.1), ELSEWHERE | BLOCK, "refined"),
        ("EF-25", steadier(1, 0.01, 0.1), ELSEWHERE | BLOCK, "refuted"),
        ("EF-25", steadier(0, 0.01, 0.1), SAID | BLOCK, "inconclusive"),
        *(
            (claim, spread(**{metric: mean}) | {"tuning_tries": 7}, SAID | BLOCK, expected)
            for claim, (metric, *signs) in OWN.items()
            for mean, expected in zip((-1, 1, 0), (*signs, "inconclusive"), strict=True)
        ),
        *(
            ("EF-24", spread(1.0, val_ppl_frozen=100, val_ppl_frozen_500000=doubled), settings, expected)
            for doubled, said, elsewhere in (
                (84, "supported", "refined"),
                (95, "refined", "refined"),
                (110, "refuted", "refuted"),
                (100, "inconclusive", "inconclusive"),
            )
            for settings, expected in ((SAID | BLOCK | {"tokens": 250_000}, said), (ELSEWHERE | BLOCK, elsewhere))
        ),
        ("EF-5", shares(1.0, 0.967), SAID | {"seeds": 1}, "refined"),
        ("EF-5", shares(1.0, 0.2), SAID | {"seeds": 1}, "refuted"),
        ("EF-5", shares(0.1, 0.99), SAID | {"seeds": 1}, "supported"),
        ("EF-5", shares(0.1, 0.99), ELSEWHERE, "inconclusive"),
        ("EF-6", spread(effective_rank=0.8, effective_rank_untrained=0.6), SAID | BLOCK, "supported"),
        ("EF-6", spread(effective_rank=0.75, effective_rank_untrained=0.7), SAID | BLOCK, "refined"),
        ("EF-6", spread(effective_rank=0.78, effective_rank_untrained=0.8), SAID | BLOCK, "refuted"),
        ("EF-22", moved(0.0), SAID, "refined"),
        ("EF-22", moved(1e-6), SAID, "refuted"),
        ("TS-2", loss(first_decreasing_minus_every_constant=0.473) | FALLEN, SAID, "supported"),
        ("TS-2", loss(first_decreasing_minus_every_constant=0.3) | FALLEN, SAID, "refined"),
        ("TS-2", loss(first_decreasing_minus_every_constant=0.08) | FALLEN, SAID, "refuted"),
        (
            "TS-3",
            loss(**dict.fromkeys(WIRED, 0.1)) | RANKS | {"effective_rank_validation_first_decreasing": 0.9},
            SAID,
            "supported",
        ),
        ("CN-5", spread(**{RANK: -0.1}) | {f"{RANK}_n": 3}, SAID, "supported"),
        ("CN-5", spread(**{RANK: 0.1}) | {f"{RANK}_n": 3}, SAID, "refuted"),
        ("CN-5", {}, SAID, "inconclusive"),
        ("CN-13", WORSE, ELSEWHERE, "refined"),
        ("CN-13", WORSE | NOISY, SAID, "supported"),
        ("CN-13", BETTER, ELSEWHERE, "refuted"),
    ],
)
def test_each_verdict_is_where_it_belongs(
    claim: str, metrics: dict[str, Scalar], settings: dict[str, Any], expected: str
) -> None:
    """What chance has as well is no merit, a mean without its interval decides nothing, and a cause has to show."""
    assert verdict(CLAIMS[claim], metrics, settings) == expected
