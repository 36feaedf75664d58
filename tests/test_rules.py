"""Every rule of the ledger can come out both ways, or says why not; and no verdict is written anywhere else."""

import ast
import math
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import llmlab
from claims_by_hand import run
from llmlab.claims.evaluate import functions, value
from llmlab.claims.ledger import Claim, RecordsCheck, read
from llmlab.claims.verdicts import BOUND, judged
from llmlab.report.result import Scalar

SOURCE = Path(llmlab.__file__).parent
WAITING = {"LY-S2"}
BY_HAND = {"CN-4", "EF-24", "EF-27", "EF-28", "LY-21"}
"""What takes several differences at once: each verdict of these is below, by hand."""
CLAIMS = {claim.id: claim for document in read() for claim in document.claims}
RULES = [claim for claim in CLAIMS.values() if claim.records and claim.id not in WAITING | BY_HAND]
READERS = {"p", "some_above", "some_below"}
"""Functions that are given the name of a metric and read its interval."""
DRAWS = 20_000
OTHER_ROOMS = ("report/", "claims/", "pages/", "cli/")
LITERALS = {"supported", "refuted", "refined", "inconclusive"}


class Drawn:
    """Random metrics for one rule: near the numbers that it compares with, and now and then just on a side of them."""

    def __init__(self, check: RecordsCheck, chance: random.Random) -> None:
        self.chance, self.check = chance, check
        texts = [check.supported, check.refined, check.refuted]
        self.trees = [ast.parse(text, mode="eval") for text in texts if text]
        nodes = [node for tree in self.trees for node in ast.walk(tree)]
        self.names = {node.id for node in nodes if isinstance(node, ast.Name)} - {*functions({}), "as_documented"}
        calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        read = [ast.literal_eval(arg) for call in calls if call.func.id in READERS for arg in call.args]
        self.names |= {name + end for name in read for end in ("", "_low", "_high")}
        self.names |= {name.split("[")[0].split(":")[0] for name in re.findall(r"\{(\w+)", check.evidence)}
        self.sums = [node for node in nodes if isinstance(node, ast.Compare)]
        constants = [*(_constant(node) for node in nodes), *check.needs.values()]
        self.constants = [0.0, 1.0, -1.0, *filter(_is_number, constants)]
        self.words = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]

    def metrics(self) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
        """Return the metrics and the settings of one run that meets the rule's conditions."""
        known = {name: self._number() for name in sorted(self.names)}
        known |= {f"setting_{name}": wanted for name, wanted in self.check.where.items()}
        needed = {name: self._meeting(wanted) for name, wanted in self.check.needs.items()}
        for name, wanted in needed.items():
            known |= {name: wanted} if name in known else {f"setting_{name}": wanted}
        for _ in range(2):
            self._repair(known)
        known |= {f"setting_{name}": wanted for name, wanted in (self.check.where | needed).items()}
        known |= {name: needed[name] for name in needed if name in self.names}
        self._order(known)
        settings = {name.removeprefix("setting_"): known[name] for name in known if name.startswith("setting_")}
        return {name: one for name, one in known.items() if not name.startswith("setting_")}, settings

    def _number(self) -> Scalar:
        if self.words and self.chance.random() < 0.1:
            return str(self.chance.choice(self.words))
        near = float(self.chance.choice(self.constants))
        scale = self.chance.choice([0, 1e-6, 0.01, 0.3, 1, 30])
        number = near + scale * max(abs(near), 0.1) * self.chance.uniform(-1, 1)
        return round(number) if self.chance.random() < 0.3 else number

    def _meeting(self, wanted: Scalar | tuple[Scalar, ...]) -> Scalar:
        if isinstance(wanted, tuple):
            return self.chance.choice(wanted)
        bound = BOUND.fullmatch(wanted) if isinstance(wanted, str) else None
        if not bound:
            return wanted
        border = float(bound["number"])
        off = self.chance.choice([0 if "=" in bound["sign"] else 1, 1, 3])
        number = border + off if ">" in bound["sign"] else border - off
        return round(number) if number.is_integer() else number

    def _repair(self, known: dict[str, Scalar]) -> None:
        """Set a name to what it is compared with, or near it."""
        for node in self.chance.sample(self.sums, k=min(len(self.sums), self.chance.randint(0, 4))):
            sides = [node.left, *node.comparators]
            for here, there in ((0, -1), (-1, 0)):
                if isinstance(sides[here], ast.Name):
                    try:
                        other = value(ast.unparse(sides[there]), known)
                    except (ValueError, LookupError):
                        continue
                    shift = self.chance.choice([0, 0, 1e-6, -1e-6, 0.1, -0.1, 1, -1])
                    known[sides[here].id] = other + shift if _is_number(other) else other

    def _order(self, known: dict[str, Scalar]) -> None:
        """Put a metric inside its interval."""
        for name in [name for name in known if name + "_low" in known or name + "_high" in known]:
            ends = [name + end for end in ("_low", "", "_high") if name + end in known]
            numbers = [known[end] for end in ends]
            if all(_is_number(one) for one in numbers):
                known |= dict(zip(ends, sorted(numbers), strict=True))


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


def _constant(node: ast.AST) -> Any:
    """Return the value of a part of an expression that needs no run, or nothing."""
    if not isinstance(node, ast.expr) or isinstance(node, ast.Name):
        return None
    try:
        return value(ast.unparse(node))
    except (ValueError, LookupError):
        return None


def verdict(claim: Claim, metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    assert claim.records is not None
    named = re.findall(r"\{(?!setting_)(\w+)", claim.records.evidence)  # what the sentence tells beside what decides
    record = run(1, metrics=dict.fromkeys(named, 0) | {"common_epochs": 150} | metrics, **settings)
    result = replace(record.result, experiment=claim.records.experiments[0])
    return judged(claim, [replace(record, result=result)]).said.verdict


HALF = 0.01
"""Half of every interval made by hand, unless a case says otherwise."""


def spread(half: float = HALF, **means: float) -> dict[str, Scalar]:
    ends = {"": 0.0, "_low": -half, "_high": half}
    return {name + end: mean + off for name, mean in means.items() for end, off in ends.items()}


@pytest.mark.parametrize("claim", RULES, ids=lambda claim: claim.id)
def test_a_rule_can_support_and_refute_or_says_why_not(claim: Claim) -> None:
    check = claim.records
    assert check is not None
    drawn, seen = Drawn(check, random.Random(claim.id)), set[str]()
    wanted = {name for name in ("supported", "refined", "refuted") if getattr(check, name)}
    for _ in range(DRAWS):
        metrics, settings = drawn.metrics()
        try:
            seen.add(verdict(claim, metrics, settings))
        except ValueError:  # a division by a drawn zero
            continue
        if wanted <= seen:
            break

    assert wanted <= seen, f"{claim.id} names {wanted - seen}, which no numbers reach"
    assert {"supported", "refuted"} <= wanted or check.only, f"{claim.id} decides one way only, and has no reason"


def test_a_rule_measures_by_figures_that_a_claim_states() -> None:
    """What a metric is divided by, to see how near it comes, a claim of its document has, be it in per cent."""
    for document in read():
        stated = " ".join(f"{claim.claim} {claim.figures}" for claim in document.claims)
        figures = [float(figure) for figure in re.findall(r"\d+(?:\.\d+)?", stated)]
        for claim in document.claims:
            rules = [claim.records.supported, claim.records.refined, claim.records.refuted] if claim.records else []
            divisors = re.findall(r"/ ([^a-z/]+) - 1\)", " ".join(filter(None, rules)))
            for figure in (float(str(value(divisor))) for divisor in divisors):
                near = [one for one in figures if figure == pytest.approx(one, rel=1e-3) or 100 * figure == one]
                assert near, (claim.id, figure)


def test_no_verdict_is_written_outside_the_ledger() -> None:
    found = {
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in LITERALS
    }

    assert {place for place in found if not place.startswith(OTHER_ROOMS)} == set()


ORIGINAL = CLAIMS["BL-10"].records.where | {"seeds": 1}  # type: ignore[union-attr]
FREE, FROZEN, LINEAR = (CLAIMS[name].records.where for name in ("P12-7", "P1-7", "P2A-3"))  # type: ignore[union-attr]
TUNED = {"data": "dialect", "seeds": 3}
PEERS = {"peers": True, "model": "new-llm", "data": "wikitext-2", "seeds": 3}
OURS = {"number_bytes_fp32": 10_957_728}


def curve(farthest: float, epochs: int = 27, rises: int = 0) -> dict[str, float]:
    return {"curve_epochs": epochs, "curve_farthest": farthest, "curve_rises": rises}


def at_27(ppl: float, train: float, best: int = 27) -> dict[str, float]:
    numbers = {"val_ppl_batch_mean": ppl, "train_loss": train, "best_epoch": best}
    return {"epochs": 27, "val_loss": 3.1, "val_loss_token": 3.1, "train_loss_no_dropout": train, **numbers}


def peers(gpt2: float, gru: float, half: float = 0.01, counting: float = 28.0) -> dict[str, float]:
    """Return New-LLM at a perplexity of 20 beside its peers."""
    ppls = {"val_ppl_new_llm": 20.0, "val_ppl_tiny_gpt2": 20 + gpt2, "val_ppl_gru": 20 + gru}
    ppls |= {"val_ppl_equal_time_new_llm": 20.0, "val_ppl_equal_time_tiny_gpt2": 20.0}
    one, other = (
        spread(half, **{f"val_ppl_new_llm_minus_{name}": -gap}) for name, gap in (("tiny_gpt2", gpt2), ("gru", gru))
    )
    return {"parameters_new_llm": 2_739_432, "kneser_ney_ppl": counting, **ppls, **one, **other}


def tuned(gain: float, half: float, after: float) -> dict[str, float]:
    """Return a fine-tuned model beside one from scratch, and what is left of the original text."""
    ppls = {"val_ppl_pretrained": 20 - gain, "val_ppl_scratch": 20.0, "zero_shot_ppl": 50.0}
    ppls |= {"original_ppl_before": 10.0, "original_ppl_after": after}
    return ppls | spread(half, val_ppl_pretrained_minus_scratch=-gain)


def eight_bits(change: float = 0.0, ratios: tuple[float, ...] = (1.0,) * 4, nbytes: tuple[int, int] = (11, 4)) -> Any:
    names = ("token_1", "window_1", "token_32", "window_32")
    times = {f"latency_ratio_{name}": ratio for name, ratio in zip(names, ratios, strict=True)}
    changes = {f"val_ppl_batch_mean_change_{name}": change for name in ("tensor", "row")}
    return OURS | times | changes | {"bytes_fp32": nbytes[0] * 10**6, "bytes_int8": nbytes[1] * 10**6}


def grown(**changes: float) -> dict[str, float]:
    """Return the metrics of an expansion whose new numbers stay one."""
    sizes = {"context_base": 64, "context": 128, "new_parameters": 10, "parameters_A": 100, "parameters_B": 100}
    trained = {"trained_parameters_A": 80, "trained_parameters_B": 100, "old_moved_A": 0.0, "new_apart_B": 0.0}
    ppls = {"base_ppl": 10.0, "start_ppl_B": 10.05, "val_ppl_B": 9.0, "val_ppl_continue": 9.0, "growth_all": 1.4}
    return {"new_rank_B": 1.0, **sizes, **trained, **ppls, **changes}


def ranks(ahead: float, half: float) -> dict[str, float]:
    known = {"rank_correlation_product": 0.8, "rank_correlation_closeness": 0.8 - ahead}
    return known | spread(half, rank_correlation_product_minus_closeness=ahead)


def first(share: float, half: float) -> dict[str, float]:
    norms = {f"norm_{when}_{token}": 1.0 for when in ("before", "after") for token in "hel"}
    shares = {f"{name}_most_fraction": share for name in ("moved", "grew")}
    return norms | shares | spread(half, moved_and_grew_most_fraction=share)


BORDERS = [
    ("BL-10", curve(0.05), ORIGINAL, "supported"),
    ("BL-10", curve(-0.0501), ORIGINAL, "refuted"),
    ("BL-10", curve(0.4), ORIGINAL, "refuted"),
    ("BL-10", curve(0.0, epochs=26), ORIGINAL, "inconclusive"),
    ("BL-13", curve(0.0), ORIGINAL, "supported"),
    ("BL-13", curve(0.0, rises=1), ORIGINAL, "refuted"),
    ("BL-7", at_27(24.5, 3.15), ORIGINAL, "refined"),
    ("BL-7", at_27(24.52, 3.15), ORIGINAL, "refuted"),
    ("BL-7", at_27(23.34, 3.158), ORIGINAL, "refuted"),
    ("BL-14", at_27(23.34, 3.06), ORIGINAL, "supported"),
    ("BL-14", at_27(23.34, 3.04), ORIGINAL, "refined"),
    ("BL-14", at_27(23.34, 3.06, best=26), ORIGINAL, "refuted"),
    ("BL-18", peers(1.0, 1.0), PEERS, "supported"),
    ("BL-18", peers(1.0, 1.0, counting=19.0), PEERS, "refuted"),
    ("BL-18", peers(1.0, -1.0), PEERS, "refuted"),
    ("BL-18", peers(1.0, 0.001), PEERS, "inconclusive"),
    ("BL-18", peers(0.005, -0.0101), PEERS, "inconclusive"),
    ("BL-18", peers(1.0, 1.0), PEERS | {"seeds": 1}, "inconclusive"),
    ("BL-18", peers(1.0, 1.0), PEERS | {"data": "synthetic"}, "inconclusive"),
    ("BL-28", peers(1.0, 1.0) | {"parameters_tiny_gpt2": 2_642_176}, PEERS, "supported"),
    ("BL-28", peers(1.0, 1.0) | {"parameters_tiny_gpt2": 5_011_456}, PEERS, "inconclusive"),
    ("BL-25", eight_bits(nbytes=(31, 8)), {}, "supported"),
    ("BL-25", eight_bits(nbytes=(11, 4)), {}, "refuted"),
    ("BL-25", eight_bits(nbytes=(31, 8)) | {"number_bytes_fp32": 1}, {}, "inconclusive"),
    ("BL-26", eight_bits(0.0099), {}, "refined"),
    ("BL-26", eight_bits(-0.001), {}, "refined"),
    ("BL-26", eight_bits(0.02), {}, "supported"),
    ("BL-26", eight_bits(0.0301), {}, "refuted"),
    ("BL-27", eight_bits(ratios=(0.9, 0.8, 0.7, 0.6)), {}, "supported"),
    ("BL-27", eight_bits(ratios=(3.0, 0.8, 2.0, 2.0)), {}, "refined"),
    ("BL-27", eight_bits(ratios=(3.3, 1.05, 1.3, 0.97)), {}, "inconclusive"),
    ("BL-27", eight_bits(ratios=(3.3, 1.06, 1.3, 1.1)), {}, "refuted"),
    ("BL-31D", tuned(2.0, 1.0, 10.5), TUNED, "supported"),
    ("BL-31D", tuned(2.0, 1.0, 10.6), TUNED, "refined"),
    ("BL-31D", tuned(2.0, 2.1, 10.0), TUNED, "inconclusive"),
    ("BL-31D", tuned(-2.0, 1.0, 10.0), TUNED, "refuted"),
    ("BL-31D", tuned(2.0, 1.0, 10.0), TUNED | {"seeds": 2}, "inconclusive"),
    ("EX-1", grown(), {"seeds": 3}, "refined"),
    ("EX-1", grown(trained_parameters_A=10), {"seeds": 3}, "supported"),
    ("EX-1", grown(old_moved_A=1e-9), {"seeds": 3}, "refuted"),
    ("EX-2", grown(), {"seeds": 3}, "refined"),
    ("EX-2", grown(new_apart_B=0.1), {"seeds": 3}, "supported"),
    ("EX-2", grown(trained_parameters_B=99), {"seeds": 3}, "refuted"),
    ("EX-3", grown(), {"seeds": 3}, "refined"),
    ("EX-3", grown(new_apart_B=0.1), {"seeds": 3}, "supported"),
    ("EX-3", grown(start_ppl_B=10.11), {"seeds": 3}, "refuted"),
    ("P12-7", ranks(0.5, 0.1), FREE | {"seeds": 20}, "refined"),
    ("P12-7", ranks(0.05, 0.1), FREE | {"seeds": 20}, "inconclusive"),
    ("P12-7", ranks(-0.5, 0.1), FREE | {"seeds": 20}, "refuted"),
    ("P2A-3", first(0.6, 0.05), LINEAR | {"seeds": 20}, "supported"),
    ("P2A-3", first(0.2, 0.05), LINEAR | {"seeds": 20}, "refuted"),
    ("P2A-3", first(0.5, 0.05), LINEAR | {"seeds": 20}, "inconclusive"),
    ("P1-7", {"loss_min": 0.3496, "loss_max": 0.3754}, FROZEN | {"seeds": 1000}, "supported"),
    ("P1-7", {"loss_min": 0.3497, "loss_max": 0.4}, FROZEN | {"seeds": 1000}, "refined"),
    ("P1-7", {"loss_min": 0.38, "loss_max": 0.4}, FROZEN | {"seeds": 1000}, "refuted"),
    ("P1-7", {"loss_min": 0.3496, "loss_max": 0.4}, FROZEN | {"seeds": 999}, "inconclusive"),
]
"""On either side of each tolerance, interval and condition: none could be moved without a word here."""


# ---- chapters 4 to 6: by metrics made by hand, as said in the document, and elsewhere -------------------------------


DEPTHS = {"data": "wikitext-2", "hidden": 512, "context": 256, "batch": 2048, "stack": "plain", "seeds": 3}
SAID = {"data": "ultrachat", "pretrained": "gpt2", "layers": 6, "context": 768, "tokens": 251_208, "seeds": 3}
ELSEWHERE = SAID | {"data": "wikitext-2", "pretrained": "path: x", "layers": 1, "context": 384, "tokens": 250_000}
BLOCK = {"block": "trained", "reading": "after"}


def depths(**changes: float) -> dict[str, Scalar]:
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


FREEZING = [
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
]
"""On real text by three seeds: a claim, what was found, and what is to come of it as said and elsewhere."""


# ---- chapter 6 ------------------------------------------------------------------------------------------------------


def loss(half: float = HALF, **means: float) -> dict[str, Scalar]:
    return spread(half, **{f"val_loss_token_{name}": mean for name, mean in means.items()})


def layers(two: float, three: float, six: float) -> dict[str, Scalar]:
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
        *FREEZING,
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
def test_each_choice_follows_its_own_difference(
    claim: str, metrics: dict[str, Scalar], said: str, elsewhere: str
) -> None:
    """A comparison at one rate, on the made-up language, or under a condition that never occurred, decides nothing."""
    row, block = CLAIMS[claim], BLOCK if "tuning_tries" in metrics else {}
    untuned = {name: value for name, value in metrics.items() if name != "tuning_tries"}

    assert verdict(row, metrics, SAID | block) == said
    assert verdict(row, metrics, ELSEWHERE | block) == elsewhere
    assert verdict(row, metrics, ELSEWHERE | block | {"data": "synthetic"}) == "inconclusive"
    assert verdict(row, metrics, ELSEWHERE | block | {"seeds": 1}) == "inconclusive"
    assert not block or verdict(row, untuned, SAID | block) == "inconclusive"


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
        *BORDERS,
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
