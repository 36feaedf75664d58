"""Every rule of the ledger can come out both ways, or says why not; and no verdict is written anywhere else."""

import ast
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import llmlab
from claims_by_hand import run
from llmlab.claims.evaluate import FUNCTIONS, value
from llmlab.claims.ledger import Claim, RecordsCheck, read
from llmlab.claims.verdicts import BOUND, judged
from llmlab.report.result import Scalar

SOURCE = Path(llmlab.__file__).parent
WAITING = {"LY-S2"}
BY_HAND = {"CN-4", "EF-24", "EF-27", "EF-28", "LY-21"}
"""What takes several differences at once: each verdict of these is in ``test_rules_of_contexts``."""
RULES = [
    claim for document in read() for claim in document.claims if claim.records and claim.id not in WAITING | BY_HAND
]
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
        self.names = {node.id for node in nodes if isinstance(node, ast.Name)} - {*FUNCTIONS, "as_documented"}
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


def said_of(claim: Claim, metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Return the verdict on a claim from a run with such metrics and settings."""
    assert claim.records is not None
    record = run(1, metrics=metrics, **settings)
    result = replace(record.result, experiment=claim.records.experiments[0])
    return judged(claim, [replace(record, result=result)]).said.verdict


@pytest.mark.parametrize("claim", RULES, ids=lambda claim: claim.id)
def test_a_rule_can_support_and_refute_or_says_why_not(claim: Claim) -> None:
    """Random metrics that meet the conditions bring out every verdict that the row names, and both sides are named."""
    check = claim.records
    assert check is not None
    drawn, seen = Drawn(check, random.Random(claim.id)), set[str]()
    wanted = {name for name in ("supported", "refined", "refuted") if getattr(check, name)}
    for _ in range(DRAWS):
        metrics, settings = drawn.metrics()
        try:
            seen.add(said_of(claim, metrics, settings))
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
            for figure in map(float, re.findall(r"/ ([\d.]+) - 1\)", " ".join(filter(None, rules)))):
                near = [one for one in figures if figure == pytest.approx(one, rel=1e-3) or 100 * figure == one]
                assert near, (claim.id, figure)


def test_no_verdict_is_written_outside_the_ledger() -> None:
    """No module of a chapter names a verdict, so that a rule is corrected in one place."""
    found = {
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in LITERALS
    }

    assert {place for place in found if not place.startswith(OTHER_ROOMS)} == set()


CLAIMS = {claim.id: claim for claim in RULES}
ORIGINAL = CLAIMS["BL-10"].records.where | {"seeds": 1}  # type: ignore[union-attr]
FREE, FROZEN, LINEAR = (CLAIMS[name].records.where for name in ("P12-7", "P1-7", "P2A-3"))  # type: ignore[union-attr]
TUNED = {"data": "dialect", "seeds": 3}
PEERS = {"peers": True, "model": "new-llm", "data": "wikitext-2", "seeds": 3}
OURS = {"number_bytes_fp32": 10_957_728}


def curve(farthest: float, epochs: int = 27, rises: int = 0) -> dict[str, float]:
    """Return the metrics of a run beside the recorded curve."""
    return {"curve_epochs": epochs, "curve_farthest": farthest, "curve_rises": rises}


def beside(name: str, mean: float, half: float) -> dict[str, float]:
    """Return a metric with its interval."""
    return {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}


def at_27(ppl: float, train: float, best: int = 27) -> dict[str, float]:
    """Return the metrics of a run of 27 epochs."""
    numbers = {"val_ppl_batch_mean": ppl, "train_loss": train, "best_epoch": best}
    return {"epochs": 27, "val_loss": 3.1, "val_loss_token": 3.1, "train_loss_no_dropout": train, **numbers}


def peers(gpt2: float, gru: float, half: float = 0.01, counting: float = 28.0) -> dict[str, float]:
    """Return New-LLM at a perplexity of 20 beside its peers."""
    ppls = {"val_ppl_new_llm": 20.0, "val_ppl_tiny_gpt2": 20 + gpt2, "val_ppl_gru": 20 + gru}
    ppls |= {"val_ppl_equal_time_new_llm": 20.0, "val_ppl_equal_time_tiny_gpt2": 20.0}
    one, other = (
        beside(f"val_ppl_new_llm_minus_{name}", -gap, half) for name, gap in (("tiny_gpt2", gpt2), ("gru", gru))
    )
    return {"parameters_new_llm": 2_739_432, "kneser_ney_ppl": counting, **ppls, **one, **other}


def tuned(gain: float, half: float, after: float) -> dict[str, float]:
    """Return a fine-tuned model beside one from scratch, and what is left of the original text."""
    ppls = {"val_ppl_pretrained": 20 - gain, "val_ppl_scratch": 20.0, "zero_shot_ppl": 50.0}
    ppls |= {"original_ppl_before": 10.0, "original_ppl_after": after}
    return ppls | beside("val_ppl_pretrained_minus_scratch", -gain, half)


def eight_bits(change: float = 0.0, ratios: tuple[float, ...] = (1.0,) * 4, nbytes: tuple[int, int] = (11, 4)) -> Any:
    """Return a quantised model of the document's sizes."""
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
    """Return what closeness and the inner product tell of P(next)."""
    known = {"rank_correlation_product": 0.8, "rank_correlation_closeness": 0.8 - ahead}
    return known | beside("rank_correlation_product_minus_closeness", ahead, half)


def first(share: float, half: float) -> dict[str, float]:
    """Return in how many seeds e is the first."""
    norms = {f"norm_{when}_{token}": 1.0 for when in ("before", "after") for token in "hel"}
    shares = {f"{name}_most_fraction": share for name in ("moved", "grew")}
    return norms | shares | beside("moved_and_grew_most_fraction", share, half)


@pytest.mark.parametrize(
    ("name", "metrics", "settings", "verdict"),
    [
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
    ],
)
def test_a_rule_decides_where_its_row_says(
    name: str, metrics: dict[str, float], settings: dict[str, Any], verdict: str
) -> None:
    """On either side of each tolerance, interval and condition: none could be moved without a word here."""
    assert said_of(CLAIMS[name], metrics, settings) == verdict
