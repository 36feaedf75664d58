"""What a comparison of arms has to say of the seeds that are in none of its numbers."""

from typing import Any

from llmlab.lab.study import Study
from llmlab.report.messages import Text, say
from llmlab.report.result import Result
from llmlab.settings import Settings


def left_out(found: Study[Any]) -> list[Text]:
    """Return a sentence for each run that diverged, and one if the comparison was stopped."""
    lost: list[Text] = [say("study.lost", seed=seed, arm=arm, update=update) for seed, arm, update in found.diverged]
    whole = len({run.seed for run in found.whole()})
    return [*lost, say("study.stopped", seeds=whole)] if found.stop else lost


def nothing_whole(settings: Settings, why: str, how: str, found: Study[Any]) -> Result:
    """Return the result of a comparison in which some arm diverged in every seed.

    Raises:
        Stopped: it was stopped before every arm had finished a seed.
        KeyboardInterrupt: likewise.
    """
    if found.stop:
        raise found.stop
    _, arm, update = found.diverged[0]
    return Result.diverged(settings.experiment, settings.document(), why, how, update, of=arm)
