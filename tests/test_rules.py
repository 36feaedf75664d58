"""Every rule of the ledger can come out both ways, or says why not; and no verdict is written anywhere else."""

import ast
import random
import re
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
WAITING = {"BL-28", "BL-29", "EF-24", "LY-26", "LY-S2"}
RULES = [claim for document in read() for claim in document.claims if claim.records and claim.id not in WAITING]
READERS = {"p", "some_above", "some_below"}
"""Functions that are given the name of a metric and read its interval."""
DRAWS = 4_000
OTHER_ROOMS = ("contexts/", "lm/", "trained/", "report/", "claims/", "pages/", "cli/")
LITERALS = {"supported", "refuted", "refined", "inconclusive"}


class Drawn:
    """Random metrics for one rule: near the numbers that it compares with, and now and then just on a side of them."""

    def __init__(self, check: RecordsCheck, chance: random.Random) -> None:
        self.chance, self.check = chance, check
        texts = [check.supported, check.refined, check.refuted]
        self.trees = [ast.parse(text, mode="eval") for text in texts if text]
        nodes = [node for tree in self.trees for node in ast.walk(tree)]
        self.names = {node.id for node in nodes if isinstance(node, ast.Name)} - FUNCTIONS.keys()
        calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        read = [ast.literal_eval(arg) for call in calls if call.func.id in READERS for arg in call.args]
        self.names |= {name + end for name in read for end in ("", "_low", "_high")}
        self.names |= {name.split("[")[0].split(":")[0] for name in re.findall(r"\{(\w+)", check.evidence)}
        self.sums = [node for node in nodes if isinstance(node, ast.Compare)]
        self.constants = [0.0, 1.0, -1.0, *filter(_is_number, (_constant(node) for node in nodes))]
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

    def _meeting(self, wanted: Scalar) -> Scalar:
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


@pytest.mark.parametrize("claim", RULES, ids=lambda claim: claim.id)
def test_a_rule_can_support_and_refute_or_says_why_not(claim: Claim) -> None:
    """Random metrics that meet the conditions bring out every verdict that the row names, and both sides are named."""
    check = claim.records
    assert check is not None
    drawn, seen = Drawn(check, random.Random(claim.id)), set[str]()
    wanted = {name for name in ("supported", "refined", "refuted") if getattr(check, name)}
    for _ in range(DRAWS):
        metrics, settings = drawn.metrics()
        record = run(1, metrics=metrics, **settings)  # type: ignore[arg-type]
        object.__setattr__(record.result, "experiment", check.experiments[0])
        try:
            seen.add(judged(claim, [record]).said.verdict)
        except ValueError:  # a division by a drawn zero
            continue
        if wanted <= seen:
            break

    assert wanted <= seen, f"{claim.id} names {wanted - seen}, which no numbers reach"
    assert {"supported", "refuted"} <= wanted or check.only, f"{claim.id} decides one way only, and has no reason"


def test_no_verdict_is_written_outside_the_ledger() -> None:
    """No module of a chapter names a verdict, so that a rule is corrected in one place."""
    found = {
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in LITERALS
    }

    assert {place for place in found if not place.startswith(OTHER_ROOMS)} == set()
