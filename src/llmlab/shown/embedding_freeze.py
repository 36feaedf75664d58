"""What is shown of chapter 5: the grid of arms, their differences, and how they change with the number of tokens."""

from collections.abc import Sequence

from llmlab.lab.context_runs import LOSS, ArmRuns
from llmlab.lab.context_study import Comparison
from llmlab.report.messages import Text, say
from llmlab.report.result import Result, Scalar
from llmlab.settings import EmbeddingFreezeSettings
from llmlab.shown import contexts
from llmlab.shown.words import beside_counting

ASKED = say("embedding_freeze.why"), say("embedding_freeze.how")

LABELS = {
    "frozen": "frozen, tied",
    "trained": "trained, tied",
    "frozen-untied": "frozen, untied",
    "trained-untied": "trained, untied",
    "random-frozen": "random, frozen",
    "random-trained": "random, trained",
}
"""What tables call the arms."""


def result(
    settings: EmbeddingFreezeSettings,
    found: Comparison,
    metrics: dict[str, Scalar],
    pairs: Sequence[tuple[ArmRuns, ArmRuns]],
) -> Result:
    """Return the result of the chapter; of each of the ``pairs`` the second is compared with the first."""
    if not found.finished:
        return contexts.all_diverged(found, ASKED)
    text, grid, growth = found.text, [found.arms[name] for name in settings.arm_names], growing(settings, found)
    trained = [arm for arm in grid if arm.runs]
    tables = contexts.tables(
        found,
        "The grid",
        grid,
        fitted=grid,
        compared=[contexts.differences(pairs, text)],
        sizes=growth,
        label=lambda spec: say("contexts.read", vectors=spec.vectors, tokens=spec.tokens),
    )
    figures = [contexts.curves(trained, text), contexts.train_and_validation(trained[:2])]
    figures += [contexts.growth_curves(growth)] if len(growth) > 1 else []
    return contexts.result(found, ASKED, metrics, summary(found, trained, pairs, growth), tables, figures)


def growing(settings: EmbeddingFreezeSettings, found: Comparison) -> contexts.Growth:
    """Return frozen and trained at each number of tokens at which both have a finished run, fewest first.

    Sizes beyond the end of the text are all the whole text, which is returned once.
    """
    told = dict[int, tuple[ArmRuns, ArmRuns]]()
    for tokens in sorted({settings.tokens, *settings.sizes}):
        end = "" if tokens == settings.tokens else f"-{tokens}"
        frozen, trained = (found.arms.get(f"{name}{end}") for name in ("frozen", "trained"))
        if frozen and trained and frozen.runs and trained.runs:
            told.setdefault(frozen.runs[0].tokens, (frozen, trained))
    return [(tokens, *both) for tokens, both in told.items()]


def summary(
    found: Comparison, trained: Sequence[ArmRuns], pairs: Sequence[tuple[ArmRuns, ArmRuns]], growth: contexts.Growth
) -> list[Text]:
    """Return what one would say of the run in a few sentences."""
    references, ppls = found.text.references, {arm.arm.label: contexts.reached(arm)["val_ppl"] for arm in trained}
    least, most = (of((len(arm.runs) for arm in trained), default=0) for of in (min, max))
    reached = say(
        "embedding_freeze.reached",
        tokens=len(found.text.text.train.tokens),
        seeds=most if least == most else say("intervals.from_to", least=least, most=most),
        arms=[say("embedding_freeze.arm", arm=arm, ppl=ppl) for arm, ppl in ppls.items()],
        bigram=references["bigram"].ppl,
        kneser_ney=references["kneser_ney_3"].ppl,
    )
    told = [reached, *beside_counting(references, [*ppls.values()])]
    told += contexts.difference(*pairs[0]) if pairs else []
    return [*told, *crossing(growth), *contexts.notes(found)]


def crossing(growth: contexts.Growth) -> list[Text]:
    """Return in a sentence at which numbers of tokens freezing pays; nothing with fewer than two of them."""
    if len(growth) < 2:
        return []
    told: list[Text] = []
    for tokens, frozen, trained in growth:
        change = contexts.ppl_changes(frozen.minus(trained, LOSS)).get("")
        missing = say("embedding_freeze.size_missing", tokens=tokens)
        told.append(missing if change is None else say("embedding_freeze.size", tokens=tokens, change=change))
    return [say("embedding_freeze.crossing", sizes=told)]
