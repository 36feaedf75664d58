"""Chapter 3: New-LLM, a language model whose whole memory is one vector.

Question: a recurrent model reads a text word by word and keeps what it needs in a context of fixed size.  How
well does it predict the next word, and what does that number mean?

    score of the next word = f(word, context before it),    context after it = g(word, context before it)

Covers training with checkpoints, the seed document's measures beside per-token ones, and on the same windows what
counting reaches; on the synthetic language also the exact floor, and how much of the context the model recovers; if
asked, also a transformer and a GRU of the same size on the same batches.
But: how deep must the stack be?  That is chapter 4.
"""

from collections.abc import Mapping, Sequence

from llmlab.lab.dataset import Dataset, dataset_of
from llmlab.lab.steps import Diverged, OnStep, one_of_several
from llmlab.lm import figures, outcome, peer_tables, tables
from llmlab.lm.peers import MODELS, Peers, alone, train_peers
from llmlab.lm.training import Trained, train_seed
from llmlab.measure.ngram import beside_counting
from llmlab.measure.score import Score, document_sums
from llmlab.report.result import Result, Status, counted, rounded
from llmlab.settings import BaselineSettings

WHY = (
    "New-LLM reads word by word and remembers nothing but one context vector, which it rewrites at every word. "
    "How well does it predict the next word, and what is its perplexity worth beside plain counting?"
)
HOW = (
    "Lines are cut into windows of fixed length, each read from an empty context. At each position a stack of layers "
    "reads the word and the context before it, and gives the scores of the next word and, through two gates and a "
    "LayerNorm, the next context; gradients go back through the whole window. The same windows are scored by counting: "
    "unigram, bigram, Kneser–Ney."
)

WHY_OF_A_PEER = (
    "{name} is a peer of New-LLM: it reads the same windows, is trained by the same rule, and what it remembers has "
    "another form. How well does it predict the next word, and what is its perplexity worth beside plain counting?"
)
HOW_OF_A_PEER = (
    "Lines are cut into windows of fixed length, each read from the start with nothing remembered. {what} The same "
    "windows are scored by counting: unigram, bigram, Kneser–Ney."
)
WHAT_A_PEER_IS = {
    "tiny-gpt2": "A decoder of the GPT-2 kind looks back at every earlier word of the window by attention.",
    "gru": "Gated recurrent layers hand one vector per layer on from word to word.",
}


def run(settings: BaselineSettings, on_step: OnStep | None = None) -> Result:
    """Train a language model of each seed and report what it reached beside what counting reaches.

    Args:
        settings: the options of the chapter.
        on_step: called after each update with its number, the number planned, and a few words.

    Returns:
        The result; its ``status`` is ``diverged`` if a number stopped being finite, ``interrupted`` if ``on_step``
        stopped the run after the first epoch.

    Raises:
        LlmlabError: text or checkpoints cannot be used, or nothing can be written.
        Stopped: ``on_step`` stopped the run before anything could be reported.
    """
    task = dataset_of(settings)
    each = {name: alone(settings, name, len(task.text.vocabulary)) for name in _models(settings)}

    def step_of(number: int, name: str) -> OnStep | None:
        total = settings.seeds * len(each)
        return on_step if total == 1 else one_of_several(on_step, number, total, f"run {number + 1} of {total}, {name}")

    runs, diverged_at = list[Trained](), dict[int, int]()
    for number in range(settings.seeds):
        seed = settings.seed + number
        try:
            runs.append(train_seed(each[settings.model], task, seed, step_of(number, tables.named(settings))))
        except Diverged as diverged:
            diverged_at[seed] = diverged.update
            continue
        if runs[-1].stopped:
            break
    if not runs:
        first = next(iter(diverged_at.values()))
        return Result.diverged(settings.experiment, settings.document(), *_asked(settings), first)
    peers = train_peers(settings, task, runs, step_of) if settings.peers and not runs[-1].stopped else None
    return reported(settings, task, runs, peers, diverged_at)


def reported(
    settings: BaselineSettings,
    task: Dataset,
    runs: Sequence[Trained],
    peers: Peers | None = None,
    diverged_at: Mapping[int, int] | None = None,
) -> Result:
    """Return the result of runs that are made, and of their peers'.

    A run that was stopped is reported only if none was finished: half a run and a whole one have no mean.  Seeds that
    diverged, by the update they did it at, are named and are in no number.
    """
    stopped = runs[-1].stopped or (peers is not None and peers.stopped)
    status: Status = "interrupted" if stopped else "complete"
    told, runs = _summary(settings, task, runs), _finished(runs)
    samples = outcome.per_seed(runs)
    lost = [
        f"Seed {seed} diverged at update {update}; it is in none of these numbers."
        for seed, update in (diverged_at or {}).items()
    ]
    shown = [
        tables.text_read(task),
        tables.meaning(task, runs[0].score, tables.named(settings)),
        *tables.held_out(task, runs[0].score, runs[0].test_score, "choosing the epoch"),
        tables.epochs(runs[0], beside_seed=outcome.repeats_the_seed(settings)),
        tables.by_position(runs[0].score),
        *([] if len(runs) == 1 else [tables.over_seeds(runs)]),
        *(peer_tables.tables(peers) if peers else []),
    ]
    pictures = [figures.learning_curve(runs), figures.loss_by_position(runs[0].score, tables.named(settings))]
    return Result(
        settings.experiment,
        settings.document(),
        *_asked(settings),
        status=status,
        metrics={
            **outcome.metrics(runs),
            **(outcome.beside_the_record(runs[0]) if outcome.repeats_the_seed(settings) else {}),
            **(peer_tables.metrics(peers) if peers else {}),
        },
        summary=[*told, *lost, *(peer_tables.summary(peers) if peers else [])],
        tables=shown,
        figures=[*pictures, *(peer_tables.figures(peers) if peers else [])],
        samples={name: rounded(values) for name, values in samples.items()},
        documents=document_sums(_scores(runs, peers)),
    )


def _asked(settings: BaselineSettings) -> tuple[str, str]:
    """Return why and how, of the model that is asked about; with its peers beside it that is New-LLM."""
    if settings.peers or settings.model == "new-llm":
        return WHY, HOW
    return WHY_OF_A_PEER.format(name=tables.named(settings)), HOW_OF_A_PEER.format(what=WHAT_A_PEER_IS[settings.model])


def _scores(runs: Sequence[Trained], peers: Peers | None) -> dict[str, list[Score]]:
    """Return the scores of every model by the end of its metrics' names."""
    if peers is None:
        return {"": [run.score for run in runs]}
    return {f"_{name.replace('-', '_')}": [run.score for run in own] for name, own in peers.runs.items() if own}


def _finished(runs: Sequence[Trained]) -> Sequence[Trained]:
    return [run for run in runs if not run.stopped] or runs


def _models(settings: BaselineSettings) -> list[str]:
    return list(MODELS) if settings.peers else [settings.model]


def _summary(settings: BaselineSettings, task: Dataset, runs: Sequence[Trained]) -> list[str]:
    run, last, notes = runs[0], runs[-1], [note for one in runs for note in one.notes]
    runs = _finished(runs)
    counting = task.references["kneser_ney_3"]
    ppl = sum(one.score.ppl for one in runs) / len(runs)
    mean = "" if len(runs) == 1 else f" (mean of {counted(len(runs), 'seed')})"
    told = [
        f"{tables.named(settings)} with {run.parameters:,} parameters reached a validation perplexity of {ppl:.2f} per "
        f"token{mean}; counting with Kneser–Ney reaches {counting.ppl:.2f}, a bigram "
        f"{task.references['bigram'].ppl:.2f}, token frequencies {task.references['unigram'].ppl:.2f}.",
        *beside_counting(task.references, [ppl]),
    ]
    recovered = task.context_recovered(sum(one.score.loss for one in runs) / len(runs))
    if recovered is not None and task.bayes_loss is not None:
        told.append(tables.beside_the_floor(task.bayes_loss, recovered))
    told.append(
        f"Accuracy {run.score.accuracy:.1%}, without the targets that are <unk> {run.score.accuracy_known:.1%}; always "
        f"naming the commonest token has {task.references['majority'].accuracy:.1%}."
    )
    if last.stopped:
        told.append(
            f"Unfinished: stopped after {counted(len(last.history), 'epoch')} of {settings.epochs}"
            + (f", in seed {last.seed}." if settings.seeds > 1 else ".")
        )
    return [*told, *task.notes, *notes]
