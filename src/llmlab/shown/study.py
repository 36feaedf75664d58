"""What every study has to say of how it ended: the runs that diverged, and where it was stopped."""

from llmlab.lab.runs import LanguageRun
from llmlab.lab.study import Runs, Study
from llmlab.report.messages import Text, say


def endings(found: Study[LanguageRun], epochs: int) -> list[Text]:
    """Return a sentence for each run that diverged, and one if the study was stopped; a run plans ``epochs``."""
    several, told = len(found.arms) > 1, list[Text]()
    labels = {key: runs.arm.label or key for key, runs in found.arms.items()}
    for seed, key, update in found.diverged:
        lost = say("study.arm_lost", arm=labels[key], seed=seed, update=update)
        told.append(lost if several else say("study.seed_lost", seed=seed, update=update))
    for key, runs in found.arms.items():
        if runs.stopped is not None:
            done = {"epochs": len(runs.unfinished.history) if runs.unfinished else 0, "planned": epochs}
            if found.finished or several:
                whole = len(found.finished)
                told.append(say("study.stopped_in", arm=labels[key], seed=runs.stopped, finished=whole, **done))
            else:
                told.append(say("study.stopped_run", **done))
    return told


def state(runs: Runs[LanguageRun], epochs: int) -> Text:
    """Return how an arm stands, in a few words: done, not begun, or what went wrong with which seed."""
    told: list[Text] = [say("study.state_diverged", seed=seed, update=update) for seed, update in runs.diverged.items()]
    if runs.stopped is not None:
        done = len(runs.unfinished.history) if runs.unfinished else 0
        told.append(say("study.state_stopped", seed=runs.stopped, epochs=done, planned=epochs))
    if not told:
        return "done" if runs.runs else "not begun"
    return told[0] if len(told) == 1 else say("study.states", each=told)
