"""Each arm at its own best: its rates, chosen on a tail of the training text, with the same effort for every arm.

A comparison at one learning rate compares rates too: what suits a small block may be far too much for an embedding of
millions of numbers.  So before its runs each arm tries the same number of rates, with one seed.  Without an embedding
to train there is one rate, and all tries go into it.  With one, first the embedding's share of the rate is tried, then
the rate of everything else while the embedding keeps its own; both kinds of arm look as far up and down.

A try trains on the text up to its last documents and is judged on these: the validation text has no say.  The runs that
are compared then train on all of the text.  Contexts are those of the runs, for what makes them saw no targets.

Leaves out the runs themselves, ``running``, and what is shown, ``tables``.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llmlab.contexts.arms import Arm
from llmlab.contexts.stage1 import Contexts
from llmlab.contexts.task import ContextTask
from llmlab.contexts.token_block import built, of_arm, training_of
from llmlab.disk import replace_file
from llmlab.errors import CheckpointError, WriteError
from llmlab.lab.checkpoint import packed, read
from llmlab.lab.folders import check_same_run
from llmlab.lab.steps import Diverged, OnStep, one_of_several
from llmlab.settings import ContextSettings
from llmlab.text.streams import StreamText

SHARES, BESIDE = (1.0, 0.1, 0.03, 0.01), (4.0, 2.0, 0.5)
"""Where the embedding is trained: its share of the rate set; then, at the best of these, multiples of that rate."""

FACTORS = (4.0, 2.8, 2.0, 1.4, 1.0, 0.7, 0.5)
"""Where it is not: multiples of the rate set."""

TRIES = len(FACTORS)
"""Of every arm: len(SHARES) + len(BESIDE) are as many."""

TAIL = 0.1
"""Share of the training text that a try is judged on, to the nearest end of a document."""


@dataclass(frozen=True)
class Try:
    """Rates that were tried, as multiples of those set: the lowest loss on the tail, none if the try diverged.

    ``embedding`` is the embedding's own rate, whatever that of the others: not a share of it.
    """

    rate: float
    embedding: float
    loss: float | None = None
    epoch: int = 0


@dataclass
class Tuned:
    """What an arm tried, in the order of its grid, on a ``tail`` of so many tokens."""

    arm: Arm
    settings: ContextSettings
    tail: int
    tries: list[Try] = field(default_factory=list)

    @property
    def best(self) -> Try:
        """The try with the lowest loss; where every one diverged, the rates that are set."""
        finite = [one for one in self.tries if one.loss is not None]
        return min(finite, key=lambda one: one.loss or 0.0, default=Try(1.0, 1.0))

    @property
    def next(self) -> Try | None:
        """What to try next, without a loss; ``None`` when all is done."""
        done = len(self.tries)
        if done == TRIES:
            return None
        if not self.arm.learns_embedding:
            return Try(FACTORS[done], 1.0)
        if done < len(SHARES):
            return Try(1.0, SHARES[done])
        return Try(BESIDE[done - len(SHARES)], replace(self, tries=self.tries[: len(SHARES)]).best.embedding)

    @property
    def edge(self) -> list[str]:
        """Which rates are the highest or lowest that were tried, so that one beyond might be better still."""
        best = self.best
        at = {
            "rate": best.rate in (FACTORS[0], FACTORS[-1]),
            "embedding": self.arm.learns_embedding and best.embedding in (SHARES[0], SHARES[-1]),
        }
        return [name for name, there in at.items() if there and best.loss is not None]

    def at(self, rates: Try) -> ContextSettings:
        """Return the settings with these rates."""
        settings = self.settings
        share = settings.embedding_lr * rates.embedding / rates.rate if self.arm.learns_embedding else 1.0
        return replace(settings, lr=settings.lr * rates.rate, embedding_lr=share)


def tune(
    settings: ContextSettings,
    task: ContextTask,
    arm: Arm,
    contexts: Contexts,
    path: Path,
    ours: dict[str, Any],
    resumes: bool,
    on_step: OnStep | None = None,
) -> Tuned:
    """Try all rates of an arm's grid that are not tried yet.

    Args:
        settings: of the comparison; the grid is relative to its rates.
        task: what the arm reads.
        arm: which.
        contexts: of its design.
        path: of the file that keeps what was tried, from one try to the next.
        ours: what the comparison's checkpoints say of it.
        resumes: whether to go on from what is kept.
        on_step: called after each update.

    Raises:
        Stopped: ``on_step`` raised it; what was tried before is kept.
        CheckpointError: what is kept is another comparison's.
        WriteError: it cannot be kept.
    """
    seed, cut = contexts.measured.seed, tail_start(task.text)
    identity = ours | {"settings": ours["settings"] | of_arm(settings, arm), "text": task.digest}
    found = Tuned(arm, settings, len(task.text.train.tokens) - cut, _kept(path, identity) if resumes else [])
    while (rates := found.next) is not None:
        own = found.at(rates)
        training = training_of(own, task, built(own, task, arm, contexts, seed), seed, tail=cut)
        step = one_of_several(on_step, len(found.tries), TRIES, f"trying rate x {rates.rate:g}, {rates.embedding:g}")
        try:
            training.run(step)
            best = min(training.progress.history, key=lambda row: row["val_loss_token"])
            found.tries.append(replace(rates, loss=best["val_loss_token"], epoch=int(best["epoch"])))
        except Diverged:
            found.tries.append(rates)
        _keep(path, identity | {"tries": [asdict(one) for one in found.tries]})
    return found


def tail_start(text: StreamText) -> int:
    """Return where the tail of the training text begins: at the document nearest to its last tenth.

    A text whose documents are too long for that is cut between two tokens, and one whose tail has no target that is
    scored is cut at its last one that is.
    """
    tokens = len(text.train.tokens)
    wanted = round((1 - TAIL) * tokens)
    near = [start for start in text.train.starts.tolist() if tokens // 2 <= start <= tokens - max(1, tokens // 50)]
    cut = min(near, key=lambda start: abs(start - wanted), default=wanted)
    return min(cut, int(text.scored(text.train).nonzero()[-1, 0]) + 1)


def _kept(path: Path, ours: dict[str, Any]) -> list[Try]:
    """Return what an earlier run tried; what cannot be read is tried again."""
    try:
        state = read(path)
        tries = [Try(**one) for one in state["tries"]]
    except (CheckpointError, KeyError, TypeError):
        return []
    check_same_run(ours, state, path)
    return tries


def _keep(path: Path, state: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, packed(state))
    except OSError as error:
        raise WriteError(f"{path}: {error.strerror}; choose another folder with --out") from error
