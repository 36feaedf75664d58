"""``llmlab baseline evaluate CHECKPOINT``: a trained model judged again.

Question: what is the model in this file worth, on the text that it was trained for, or on another one?

It reads every validation window from an empty context, without dropout and in fp32, and gets everything that chapter 3
reports of the same parameters; beside it stands what the run itself wrote down.  On another text it keeps its own
words, and all others are <unk> to it.

But: how the model came to be is the run's own entry.
"""

import time

from llmlab.after.opening import check_finite, counting, restored
from llmlab.baseline import TRAIN_SAMPLE
from llmlab.lab.language import ROWS_AT_ONCE, evaluate, parameter_count, score_on_test
from llmlab.lab.sizes import MODELS
from llmlab.lab.steps import OnStep
from llmlab.report.messages import say
from llmlab.report.result import Result, Scalar, rounded
from llmlab.settings import EvaluateSettings
from llmlab.shown import after as shown
from llmlab.shown import baseline
from llmlab.shown.words import judged


def run(settings: EvaluateSettings, on_step: OnStep | None = None) -> Result:
    """Judge the model of a checkpoint."""
    found = restored(settings.checkpoint)
    data = found.dataset(settings.data, offline=settings.offline)
    own, windows, sample = data.text.digest == found.text, data.text.valid, data.text.train[:TRAIN_SAMPLE]
    step = counting(on_step, sum(-(-len(each) // ROWS_AT_ONCE) for each in (windows, sample if own else ())))
    start = time.perf_counter()
    score = evaluate(found.model, windows, settings.batch, lambda: step("judging"))
    seconds = time.perf_counter() - start
    check_finite(score, settings.checkpoint)
    test = score_on_test(found.model, data.text, settings.batch)
    if test is not None:
        check_finite(test, settings.checkpoint)
    measured = data.headline(score, test)
    if own:
        again = evaluate(found.model, sample, settings.batch, lambda: step("judging"))
        measured["train_loss_no_dropout"] = again.loss
    parameters, epochs = parameter_count(found.model), len(found.history)
    metrics: dict[str, Scalar] = {"parameters": parameters, "epochs": epochs, **measured}
    metrics |= {"tokens_per_second": score.targets / max(seconds, 1e-9)} | data.metrics()
    then = found.history[-1] if own and found.history else None
    if then:
        metrics["recorded_val_loss_token"] = then["val_loss_token"]
    name, trained_on = MODELS[found.settings.model], None if own else found.settings.data
    return Result(
        settings.experiment,
        settings.document(),
        say("evaluate.why"),
        say("evaluate.how"),
        metrics=metrics,
        summary=[
            *judged("evaluate.reached", data, name, parameters, [score]),
            *shown.judged_again(score, then, trained_on),
            *data.notes,
            *found.notes,
        ],
        tables=[
            found.table(),
            baseline.text_read(data),
            baseline.meaning(data, score, name, say("evaluate.own" if own else "evaluate.other", epochs=epochs)),
            *baseline.held_out(data, score, test, "choosing the epoch" if own else "nothing"),
            *([shown.written_down(then, score, epochs)] if then else []),
            baseline.by_position(score),
        ],
        figures=[baseline.loss_by_position(score, name, data.bayes_by_position)],
        samples={key: rounded([value]) for key, value in measured.items()},
    )
