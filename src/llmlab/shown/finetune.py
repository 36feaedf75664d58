"""What is shown of a fine-tuned model: beside a fresh one, epoch by epoch, on the text before, and completing prompts.

Where a table or the picture shows one run of an arm, it is the one of the first seed; ``losses`` are on validation per
token, before the first epoch and after each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from llmlab.lab.dataset import Dataset
from llmlab.measure.ngram import Baseline
from llmlab.measure.score import Score, perplexity
from llmlab.report.messages import Text, say
from llmlab.report.result import Cell, Figure, Table
from llmlab.shown.after import Metrics
from llmlab.shown.table import cells, curve, figure, level, table, tell
from llmlab.shown.words import COUNTING, beside_counting, ppls_at, shown_epochs


def compared(data: Dataset, zero_shot: Score, updates: Mapping[str, int], metrics: Metrics) -> Table:
    """Return what predicts the new text how well, from counting to the floor; ``updates`` of each arm's best epoch."""
    scores: list[tuple[str, int | None, Baseline | Score]] = [
        *((name, None, data.references[key]) for key, name in COUNTING.items() if key != "majority"),
        ("base, untouched", 0, zero_shot),
    ]
    rows: list[list[Cell]] = [[*name, score.ppl, score.accuracy, score.accuracy_known] for *name, score in scores]
    measures = "val_ppl val_accuracy val_accuracy_known"
    rows += [[arm, count, *cells(metrics, measures, f"_{arm}")] for arm, count in updates.items()]
    if "bayes_ppl" in metrics:
        rows.append(["Bayes (floor)", None, metrics["bayes_ppl"], None, None])
    title = say("finetune.on_new_text", text=data.name)
    return table("finetune.compared", rows, title=title, targets=zero_shot.targets)


def by_epoch(losses: Mapping[str, Sequence[float]], best: Mapping[str, int], updates: int) -> Table:
    """Return the validation perplexity of both arms; ``updates`` are those of an epoch, ``best`` the best epochs."""
    longest = max(losses, key=lambda name: len(losses[name]))
    epochs = [0, *shown_epochs(len(losses[longest]) - 1, best[longest])]
    rows = [(epoch, epoch * updates, *ppls_at(epoch, losses.values())) for epoch in epochs]
    columns = " | ".join(["epoch:integer", "updates:integer", *(f"PPL {name}:2" for name in losses)])
    return table("finetune.epochs", rows, columns=columns, caption=say("finetune.epochs", **best))


def forgotten(text: str, before: Score, after: Mapping[str, float]) -> Table:
    """Return the perplexity on the original text of the base, and after training that of each arm."""
    rows = [("base", before.ppl, None), *((name, ppl, ppl / before.ppl - 1) for name, ppl in after.items())]
    title = say("finetune.what_is_left", text=text)
    return table("finetune.forgotten", rows, title=title, targets=before.targets)


def words(size: int, metrics: Metrics) -> Table:
    """Return what the one vocabulary, of ``size`` words, costs on the new text."""
    rows = [
        ("the checkpoint's", size, metrics["unk_share_lines"]),
        ("the text's own, of at most that size", *cells(metrics, "shared_words unk_share_lines_own_vocabulary")),
    ]
    return table("finetune.words", rows, same=metrics["words_with_same_number"], size=size)


def written(found: Sequence[tuple[str, str, str]]) -> list[Table]:
    """Return the completions: prompt, model, and words; nothing where the model writes none."""
    rows = [(prompt, name, words or "(ends at once)") for prompt, name, words in found]
    return [table("finetune.completions", rows)] if rows else []


def curves(losses: Mapping[str, Sequence[float]], data: Dataset) -> Figure:
    """Return the validation loss of both arms by epoch, between the best way of counting and the floor."""
    ours, fresh = losses["pretrained"], losses["scratch"][1:]
    counting = data.references["kneser_ney_3"].loss
    marks = [
        curve(ours, "series", "pretrained", [float(epoch) for epoch in range(len(ours))]),
        curve(fresh, "winner", "scratch"),
        *level(counting, COUNTING["kneser_ney_3"]),
        *level(data.bayes_loss, "Bayes floor", "floor"),
    ]
    said: dict[str, Any] = {"before": ours[0], "after": ours[-1], "epochs": len(ours) - 1, "counting": counting}
    said |= {"first": fresh[0], "last": fresh[-1], "fresh_epochs": len(fresh), "floor": data.bayes_loss}
    return figure(
        "finetune.curves", marks, says="" if data.bayes_loss is None else "finetune.curves_with_floor", **said
    )


def summary(
    data: Dataset, before: str, metrics: Metrics, losses: Mapping[str, Sequence[float]], seeds: int, *, kept: bool
) -> list[Text]:
    """Return the run in a few sentences; ``before`` is what the old text is called."""
    pretrained, scratch = (float(metrics[f"val_ppl_{name}"] or 0) for name in losses)
    reached = say(
        "finetune.reached",
        text=data.name,
        zero_shot=metrics["zero_shot_ppl"],
        pretrained=pretrained,
        scratch=scratch,
        seeds=say("finetune.means", seeds=seeds) if seeds > 1 else "",
        counting=min(data.references[name].ppl for name in ("bigram", "kneser_ney_3")),
    )
    told = [reached, *beside_counting(data.references, [pretrained, scratch])]
    told += [head_start(losses["pretrained"], losses["scratch"]), say("finetune.unknown", share=metrics["unk_share"])]
    was, now = cells(metrics, "original_ppl_before original_ppl_after")
    if was is not None:
        forgets = "finetune.forgets" if float(now or 0) > float(was) else "finetune.forgets_nothing"
        told += tell({"text": before, "before": was, "after": now}, forgets)
    return [*told, say("finetune.kept")] if kept else told


def head_start(pretrained: Sequence[float], scratch: Sequence[float]) -> Text:
    """Return in a sentence how long a fresh model needs for what the pretrained one has after its first epoch."""
    bar, epochs = pretrained[1], len(scratch) - 1
    there = next((epoch for epoch in range(1, epochs + 1) if scratch[epoch] <= bar), None)
    if there is None:
        return say("finetune.fresh_does_not_reach", bar=perplexity(bar), epochs=epochs)
    return say("finetune.fresh_reaches", bar=perplexity(bar), epochs=there)
