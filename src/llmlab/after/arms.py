"""Arms that go on from one trained model, compared seed by seed: what ``finetune`` and ``expand`` have in common."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from llmlab.lab.study import Arm, Run, Study
from llmlab.measure.score import Score, document_sums, ppl_difference
from llmlab.report.messages import Text
from llmlab.report.result import Figure, Result, Scalar, Table, rounded
from llmlab.settings import Settings
from llmlab.shown.after import left_out


@dataclass(frozen=True, kw_only=True)
class ArmRun(Run):
    """One arm of one seed: how it did on validation before the first update, and ``score``, of the model kept."""

    start: Score
    score: Score

    @property
    def losses(self) -> list[float]:
        """Losses per token on validation, before the first update and after each round."""
        return [self.start.loss, *self.curve("val_loss_token")]


R = TypeVar("R", bound=ArmRun)


def minus(arm: Sequence[ArmRun], other: Sequence[ArmRun]) -> dict[str, float]:
    """Return how much larger an arm's PPL is than another's; see ``ppl_difference``."""
    return ppl_difference(*({run.seed: run.score for run in runs} for runs in (other, arm)))


def result(
    settings: Settings,
    asked: tuple[Text, Text],
    found: Study[Arm, R],
    arms: Mapping[str, Sequence[R]],
    metrics: dict[str, Scalar],
    summary: Iterable[Text],
    tables: list[Table],
    figure: Figure,
    samples: Mapping[str, Sequence[float]] | None = None,
) -> Result:
    """Return the result of arms that are trained; ``asked`` says why and how, ``samples`` are more than the PPL."""
    ppls = {f"val_ppl_{name}": [run.score.ppl for run in runs] for name, runs in arms.items()}
    seeds = len(next(iter(arms.values())))
    return Result(
        settings.experiment,
        settings.document(),
        *asked,
        status="interrupted" if found.stop else "complete",
        metrics=metrics,
        summary=[*summary, *left_out(found.diverged, seeds if found.stop else None)],
        tables=tables,
        figures=[figure],
        samples={name: rounded(values) for name, values in {**ppls, **(samples or {})}.items()},
        documents=document_sums({f"_{name}": [run.score for run in runs] for name, runs in arms.items()}),
    )


def nothing_whole(settings: Settings, asked: tuple[Text, Text], found: Study[Arm, R]) -> Result:
    """Return the result of a comparison in which some arm diverged in every seed, or raise what stopped it before."""
    if found.stop:
        raise found.stop
    _, arm, update = found.diverged[0]
    return Result.diverged(settings.experiment, settings.document(), *asked, update, of=arm)
