"""Embedding freeze: does a pretrained token embedding serve better if it is not trained any further?

Question: the seed compared two runs that differed in text, head and validation, and found freezing 72 % better.  On
the same tokens, the same validation text and the same updates: what does freezing do, and up to how much text?

    c_i = block(c_(i-1), LN(E[x_i]))      the contexts, fixed before        {E frozen, E trained} x
    y_i = tokens(LN(E[x_i]), c_i)         the token block, trained           {score = E y (tied), score = W y + b}
                                                                             and a random E, as the control

Covers the grid with seeds and intervals, train and validation curves, the growth of the text, and what the contexts
are worth by themselves.
But: are these contexts any good, and was the block that makes them worth training?  Chapter 6.
"""

from llmlab.contexts import differences, figures, outcome, rates_tables, stage1_tables, tables
from llmlab.contexts.arms import freeze_arms
from llmlab.contexts.loading import loaded
from llmlab.contexts.running import ArmRuns, Comparison, compared
from llmlab.lab.steps import OnStep
from llmlab.measure.ngram import beside_counting
from llmlab.report.result import Figure, Result, Scalar, Table
from llmlab.settings import EmbeddingFreezeSettings

WHY = (
    "A model on little text can take its token embedding from a model that read much. Is it better to leave that "
    "embedding as it is, or to train it further? Seed document 004 found freezing 72 % better, but its two runs "
    "differed in text, head and validation text, and the embedding was frozen in both."
)
HOW = (
    "A context block is trained to a fixed point and its contexts are computed once; then a token block is trained on "
    "them, with the embedding frozen or trained, tied to the output or not, pretrained or from chance. All arms see "
    "the same tokens in the same batches and start from the same token block; runs of one seed are subtracted from "
    "each other."
)

PAIRS = (
    ("trained", "frozen"),
    ("trained-untied", "frozen-untied"),
    ("frozen-untied", "frozen"),
    ("trained-untied", "trained"),
    ("random-frozen", "frozen"),
    ("random-trained", "trained"),
)
"""What is compared with what: from the first to the second."""
GRID = PAIRS[:2]
"""Freezing with a tied head and with an untied one."""


def run(settings: EmbeddingFreezeSettings, on_step: OnStep | None = None) -> Result:
    """Train every arm and seed and report what freezing does.

    Args:
        settings: the options of the chapter.
        on_step: called after each update, counted over all runs.

    Returns:
        The result; its ``status`` is ``interrupted`` if ``on_step`` stopped it after its first run, and ``diverged`` if
        no run stayed finite.

    Raises:
        LlmlabError: text, embedding or checkpoints cannot be used, or nothing can be written.
        Stopped: ``on_step`` stopped it before its first run was finished.
    """
    found = compared(settings, loaded(settings, on_step), freeze_arms(settings), on_step)
    if not found.finished:
        return outcome.all_diverged(settings, found, WHY, HOW)
    grid = [found.arms[name] for name in settings.arm_names]
    growth = growing(settings, found)
    shown: list[Table] = [
        tables.text_read(found.task),
        tables.meaning(found, settings.arm_names),
        tables.arms("The grid", grid, found.task),
        tables.differences(pairs(found), found.task),
        *rates_tables.rates(found.finished),
        tables.final(found, found.finished),
        tables.fit(grid),
        *([tables.growth(growth, found.task)] if len(growth) > 1 else []),
        tables.epochs([arm for arm in grid if arm.runs]),
        stage1_tables.contexts(found, lambda design: f"{design.vectors}, {design.tokens:,} tokens"),
        stage1_tables.passes(found.first_contexts),
    ]
    pictures: list[Figure] = [
        figures.curves([arm for arm in grid if arm.runs], found.task),
        figures.train_and_validation([arm for arm in grid if arm.runs][:2]),
    ]
    if len(growth) > 1:
        pictures.append(figures.growth(growth))
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        status="interrupted" if found.stopped else "complete",
        metrics=outcome.metrics(found) | compared_arms(settings, found),
        summary=_summary(settings, found, growth),
        tables=[table for table in shown if table.rows],
        figures=pictures,
        samples=outcome.samples(found),
    )


def pairs(found: Comparison) -> list[tuple[str, ArmRuns, ArmRuns]]:
    """Return the arms to subtract from each other, each pair with its name."""
    have = {name: arm for name, arm in found.arms.items() if arm.runs}
    named = [(have[one], have[other]) for one, other in PAIRS if one in have and other in have]
    return [(f"{one.arm.label} → {other.arm.label}", one, other) for one, other in named]


def compared_arms(settings: EmbeddingFreezeSettings, found: Comparison) -> dict[str, Scalar]:
    """Return the differences between arms as metrics, and how much freezing and tying help each other.

    Frozen and trained are told by their number of tokens, too, whichever size the settings begin with.
    """
    sized = {f"{name}-{settings.tokens}": arm for name, arm in found.arms.items() if name in ("frozen", "trained")}
    have = {name: (differences.called(name), arm) for name, arm in {**found.arms, **sized}.items() if arm.runs}
    grown = [(f"trained-{tokens}", f"frozen-{tokens}") for tokens in sorted({settings.tokens, *settings.sizes})]
    both = [(have[one], have[other]) for one, other in (*PAIRS, *grown) if {one, other} <= have.keys()]
    told = differences.differences(found, both)
    if {name for pair in GRID for name in pair} <= have.keys():
        told |= differences.interaction(*(have[name][1] for pair in GRID for name in pair))
    return told


def growing(settings: EmbeddingFreezeSettings, found: Comparison) -> list[tuple[int, ArmRuns, ArmRuns]]:
    """Return frozen and trained at each number of tokens at which both have a finished run, fewest first.

    A text that has fewer tokens than some of the sizes gives all there are, once.
    """
    told = dict[int, tuple[ArmRuns, ArmRuns]]()
    for tokens in sorted({settings.tokens, *settings.sizes}):
        end = "" if tokens == settings.tokens else f"-{tokens}"
        frozen, trained = (found.arms.get(f"{name}{end}") for name in ("frozen", "trained"))
        if frozen and trained and frozen.runs and trained.runs:
            told.setdefault(frozen.runs[0].tokens, (frozen, trained))
    return [(tokens, *both) for tokens, both in told.items()]


def _summary(
    settings: EmbeddingFreezeSettings, found: Comparison, growth: list[tuple[int, ArmRuns, ArmRuns]]
) -> list[str]:
    counts = sorted({len(found.arms[name].runs) for name in settings.arm_names if found.arms[name].runs})
    of = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else "0"
    reached = ", ".join(
        f"{found.arms[name].arm.label} {found.arms[name].ppl['']:.2f}"
        for name in settings.arm_names
        if found.arms[name].runs
    )
    told = [
        f"Validation PPL on {len(found.task.text.train.tokens):,} tokens, mean of n = {of}: {reached}; "
        f"a bigram has {found.task.references['bigram'].ppl:.2f}, Kneser–Ney "
        f"{found.task.references['kneser_ney_3'].ppl:.2f}."
    ]
    finished = [found.arms[name].ppl[""] for name in settings.arm_names if found.arms[name].runs]
    told += beside_counting(found.task.references, finished)
    told += [told_pair for _, one, other in pairs(found)[:1] if (told_pair := outcome.difference(one, other))]
    told += outcome.crossing(growth)
    return [*told, *outcome.notes(found)]
