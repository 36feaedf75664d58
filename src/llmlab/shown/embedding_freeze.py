"""What is shown of chapter 5: the grid of arms, their differences, and how they change with the number of tokens."""

from collections.abc import Sequence

from llmlab.lab.context_study import LOSS, ArmRuns, Comparison
from llmlab.measure.score import perplexity
from llmlab.report.messages import Text, say
from llmlab.report.result import Figure, Result, Scalar
from llmlab.settings import EmbeddingFreezeSettings
from llmlab.shown import contexts
from llmlab.shown.words import beside_counting

WHY, HOW = say("embedding_freeze.why"), say("embedding_freeze.how")

Growth = list[tuple[int, ArmRuns, ArmRuns]]
"""Frozen and trained, by number of tokens."""


def result(
    settings: EmbeddingFreezeSettings,
    found: Comparison,
    metrics: dict[str, Scalar],
    pairs: Sequence[tuple[ArmRuns, ArmRuns]],
) -> Result:
    """Return the result of the chapter; of each of the ``pairs`` the second is compared with the first."""
    if not found.finished:
        return contexts.all_diverged(found, WHY, HOW)
    growth = growing(settings, found)
    grid = [found.arms[name] for name in settings.arm_names]
    trained = [arm for arm in grid if arm.runs]
    tables = [
        contexts.text_read(found.text),
        contexts.meaning(found, settings.arm_names),
        contexts.arms("The grid", grid, found),
        contexts.differences(pairs, found.text),
        *contexts.rates(found),
        contexts.final(found),
        contexts.fit(grid),
        *([contexts.growth(growth, found.text)] if len(growth) > 1 else []),
        *([contexts.epochs(trained)] if trained else []),
        contexts.contexts(found, lambda spec: say("contexts.read", vectors=spec.vectors, tokens=spec.tokens)),
        contexts.passes(found.own_contexts[0]),
    ]
    figures: list[Figure] = [
        contexts.curves(trained, found.text),
        contexts.train_and_validation(trained[:2]),
        *([contexts.growth_curves(growth)] if len(growth) > 1 else []),
    ]
    return contexts.result(found, WHY, HOW, metrics, summary(found, trained, pairs, growth), tables, figures)


def growing(settings: EmbeddingFreezeSettings, found: Comparison) -> Growth:
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
    found: Comparison, trained: Sequence[ArmRuns], pairs: Sequence[tuple[ArmRuns, ArmRuns]], growth: Growth
) -> list[Text]:
    """Return what one would say of the run in a few sentences."""
    least, most = (of((len(arm.runs) for arm in trained), default=0) for of in (min, max))
    references = found.text.references
    told: list[Text] = [
        say(
            "embedding_freeze.reached",
            tokens=len(found.text.text.train.tokens),
            seeds=most if least == most else say("intervals.from_to", least=least, most=most),
            arms=[say("embedding_freeze.arm", arm=arm.arm.label, ppl=contexts.ppl(arm)[""]) for arm in trained],
            bigram=references["bigram"].ppl,
            kneser_ney=references["kneser_ney_3"].ppl,
        )
    ]
    told += beside_counting(references, [contexts.ppl(arm)[""] for arm in trained])
    told += [sentence for one, other in pairs[:1] for sentence in contexts.difference(one, other)]
    return [*told, *crossing(growth), *contexts.notes(found)]


def crossing(growth: Growth) -> list[Text]:
    """Return in a sentence at which numbers of tokens freezing pays; nothing with fewer than two of them."""
    if len(growth) < 2:
        return []
    told: list[Text] = []
    for tokens, frozen, trained in growth:
        change = frozen.minus(trained, LOSS)
        share = perplexity(change[""]) - 1 if change else None
        missing = say("embedding_freeze.size_missing", tokens=tokens)
        told.append(missing if share is None else say("embedding_freeze.size", tokens=tokens, change=share))
    return [say("embedding_freeze.crossing", sizes=told)]
