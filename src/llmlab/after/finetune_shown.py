"""From fine-tuned models to tables and a picture.

Leaves out training.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from llmlab.after.finetuning import Dialogue, Tuned
from llmlab.after.opening import Restored
from llmlab.lm.tables import shown_epochs
from llmlab.measure.score import Score, document_difference, perplexity
from llmlab.measure.stats import mean_interval, paired_interval
from llmlab.report.messages import say
from llmlab.report.result import (
    Cell,
    Column,
    Figure,
    Mark,
    Table,
    counted,
    of_documents,
    of_seeds,
    rounded,
    sentences,
)

Arms = Mapping[str, Sequence[Tuned]]


def compared(text: Dialogue, arms: Arms) -> Table:
    """Return what predicts the new text how well, from counting to the floor."""
    rows: list[list[Cell]] = []
    for key, name in (("unigram", "unigram"), ("bigram", "bigram"), ("kneser_ney_3", "Kneser–Ney 3-gram")):
        found = text.references[key]
        rows.append([name, None, found.ppl, found.accuracy, found.accuracy_known])
    zero_shot = arms["pretrained"][0].start
    rows.append(["base, untouched", 0, zero_shot.ppl, zero_shot.accuracy, zero_shot.accuracy_known])
    for name, runs in arms.items():
        scores = [run.score for run in runs]
        rows.append(
            [
                name,
                int(runs[0].history[runs[0].best_epoch - 1]["updates"]),
                fmean(score.ppl for score in scores),
                fmean(score.accuracy for score in scores),
                fmean(score.accuracy_known for score in scores),
            ]
        )
    if text.floor is not None:
        rows.append(["Bayes (floor)", None, perplexity(text.floor), None, None])
    columns = [
        Column("what predicts", "text"),
        Column("updates", "integer"),
        Column("PPL", digits=2),
        Column("accuracy", "share"),
        Column("accuracy of known", "share"),
    ]
    return Table(
        "arms",
        f"On the new text: {text.text.name}",
        columns,
        rows,
        f"All on the same {zero_shot.targets:,} validation targets, per token; counting has read the new text's "
        "training lines. The trained models are those of their best epoch, chosen on this very validation text.",
    )


def by_epoch(arms: Arms) -> Table:
    """Return the validation perplexity of the first seed of both arms, epoch by epoch."""
    first = {name: runs[0] for name, runs in arms.items()}
    longest = max(first.values(), key=lambda run: len(run.history))
    rows: list[list[Cell]] = [[0, 0, *(run.start.ppl for run in first.values())]]
    for number in shown_epochs(len(longest.history), longest.best_epoch):
        ppls: list[Cell] = [
            perplexity(run.history[number - 1]["val_loss_token"]) if number <= len(run.history) else None
            for run in first.values()
        ]
        rows.append([number, int(longest.history[number - 1]["updates"]), *ppls])
    best = ", ".join(f"{name} {run.best_epoch}" for name, run in first.items())
    columns = [Column("epoch", "integer"), Column("updates", "integer")]
    return Table(
        "epochs",
        "Epoch by epoch",
        [*columns, *(Column(f"PPL {name}", digits=2) for name in first)],
        rows,
        f"Validation perplexity per token at equal updates; epoch 0 is before the first. Best epochs: {best}.",
    )


def forgotten(base: Restored, before: Score | None, arms: Arms) -> list[Table]:
    """Return the perplexity on the original text before and after; nothing where that is not here."""
    if before is None:
        return []
    rows: list[list[Cell]] = [["base", before.ppl, None]]
    for name, runs in arms.items():
        ppl = fmean(perplexity(run.original or 0.0) for run in runs)
        rows.append([name, ppl, ppl / before.ppl - 1])
    return [
        Table(
            "forgotten",
            f"What is left of the original text: {base.settings.data}",
            [Column("model", "text"), Column("PPL", digits=2), Column("beside base", "share")],
            rows,
            f"Validation perplexity per token, {before.targets:,} targets. scratch never read this text.",
        )
    ]


def words(base: Restored, text: Dialogue) -> Table:
    """Return what the one vocabulary costs on the new text."""
    size = len(base.vocabulary.numbers)
    rows: list[list[Cell]] = [
        ["the checkpoint's", size, text.unknown],
        ["the text's own, of at most that size", text.shared, text.unknown_own],
    ]
    columns = [Column("vocabulary", "text"), Column("of the model's words", "integer"), Column("<unk> share", "share")]
    return Table(
        "words",
        "One vocabulary",
        columns,
        rows,
        "Among the words and ends of the validation lines. With a vocabulary of its own fewer words may be unknown, "
        f"but only {text.same_number:,} of the {size:,} words would keep their numbers, and what the others learned "
        "would stand under wrong ones.",
    )


def written(found: Sequence[tuple[str, str, str]]) -> list[Table]:
    """Return the completions; nothing where the model writes none."""
    rows: list[list[Cell]] = [[prompt, name, words or "(ends at once)"] for prompt, name, words in found]
    columns = [Column("prompt", "token"), Column("model", "text"), Column("the likeliest words", "token")]
    caption = "Always the likeliest next word, up to 30, or to the end of the line; the first seed of each arm."
    return [Table("completions", "How they go on", columns, rows, caption)] if rows else []


def head_start_of_ppl(arms: Arms) -> dict[str, float]:
    """Return how much larger the pretrained arm's PPL is: seed by seed, and with validation documents drawn anew."""
    fresh, ours = ({arm.seed: arm.score for arm in arms[name]} for name in ("scratch", "pretrained"))
    ppls = [{seed: score.ppl for seed, score in scores.items()} for scores in (fresh, ours)]
    return paired_interval(*ppls) | document_difference(list(fresh.values()), list(ours.values()))


def over_seeds(samples: Mapping[str, list[float]], text: Dialogue, arms: Arms) -> list[Table]:
    """Return mean and interval of what was trained, and of the difference, if there are several seeds."""
    seeds = len(samples["val_ppl_pretrained"])
    if seeds < 2:
        return []
    told = {name: mean_interval(values) for name, values in samples.items()}
    told["pretrained minus scratch"] = head_start_of_ppl(arms)
    ends = ("", "_low", "_high", "_doc_low", "_doc_high")
    rows: list[list[Cell]] = [[name, seeds, *map(one.get, ends)] for name, one in told.items()]
    names = ("mean", "95 % low", "95 % high", "docs low", "docs high")
    columns = [Column("metric", "token"), Column("n", "integer"), *(Column(name, digits=3) for name in names)]
    documents, blocks = text.text.valid_document_count, len(arms["scratch"][0].score.targets_by_document)
    caption = sentences(say("intervals.of_means"), of_seeds([seeds], documents), of_documents(documents, blocks))
    return [Table("over_seeds", "Over seeds", columns, rows, caption)]


def curves(text: Dialogue, arms: Arms) -> Figure:
    """Return the validation loss of both arms by epoch, the first seed's."""
    pretrained, scratch = (arms[name][0] for name in ("pretrained", "scratch"))
    losses = [pretrained.start.loss, *(row["val_loss_token"] for row in pretrained.history)]
    fresh = [row["val_loss_token"] for row in scratch.history]
    marks = [
        Mark("line", "series", [float(epoch) for epoch in range(len(losses))], rounded(losses), legend="pretrained"),
        Mark("line", "winner", [epoch + 1.0 for epoch in range(len(fresh))], rounded(fresh), legend="scratch"),
        Mark("level", "other", [], [text.references["kneser_ney_3"].loss], legend="Kneser–Ney 3-gram"),
    ]
    told = ""
    if text.floor is not None:
        marks.append(Mark("level", "floor", [], [text.floor], legend="Bayes floor"))
        told = f", the Bayes floor {text.floor:.3f}"
    return Figure(
        "curve",
        "Pretrained and from scratch",
        f"Validation loss per token in nats: pretrained {losses[0]:.3f} before and {losses[-1]:.3f} after "
        f"{counted(len(losses) - 1, 'epoch')}, scratch {fresh[0]:.3f} after one and {fresh[-1]:.3f} after "
        f"{len(fresh)}; Kneser–Ney has {text.references['kneser_ney_3'].loss:.3f}{told}.",
        "epoch",
        "loss (nats)",
        marks,
        after="epochs",
    )


def head_start(pretrained: Tuned, scratch: Tuned) -> str:
    """Return in a sentence how long a fresh model needs for what the pretrained one has after its first epoch."""
    bar = pretrained.history[0]["val_loss_token"]
    there = next((number for number, row in enumerate(scratch.history, 1) if row["val_loss_token"] <= bar), None)
    told = f"What the pretrained model has after one epoch, {perplexity(bar):.2f}, the fresh one "
    if there is None:
        return told + f"does not reach in {counted(len(scratch.history), 'epoch')}."
    return told + f"reaches after {counted(there, 'epoch')}."
