"""Each arm at its own best: its rates, chosen on a tail of the training text, with the same effort for every arm.

A comparison at one learning rate compares rates too: what suits a small block may be far too much for an embedding of
millions of numbers.  So before its runs each arm tries the same number of rates, with one seed.  Without an embedding
to train there is one rate, and all tries go into it.  With one, first the embedding's share of the rate is tried, then
the rate of everything else while the embedding keeps its own; both kinds of arm look as far up and down.

A try trains on the text up to its last documents and is judged on these: the validation text has no say.  The runs that
are compared then train on all of the text.  Contexts are those of the runs, for what makes them saw no targets.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llmlab.fast.fixed_context_lm import FixedContextLM
from llmlab.lab.context_runs import LOSS, ArmSpec, as_settings, training_of
from llmlab.lab.context_text import ContextDataset
from llmlab.lab.folders import keep, kept
from llmlab.lab.steps import Diverged, OneOfSeveral, OnStep
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

    arm: ArmSpec
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
        if not self.arm.trains_embedding:
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
            "embedding": self.arm.trains_embedding and best.embedding in (SHARES[0], SHARES[-1]),
        }
        return [name for name, there in at.items() if there and best.loss is not None]

    def at(self, rates: Try) -> ContextSettings:
        """Return the settings with these rates."""
        settings = self.settings
        share = settings.embedding_lr * rates.embedding / rates.rate if self.arm.trains_embedding else 1.0
        return replace(settings, lr=settings.lr * rates.rate, embedding_lr=share)

    def told(self, rates: Try) -> str:
        """Return what is being tried, for people."""
        own = self.at(rates)
        beside = f", the embedding's {own.lr * own.embedding_lr:.3g}" if self.arm.trains_embedding else ""
        return f"choosing rates, {len(self.tries) + 1} of {TRIES}: learning rate {own.lr:.3g}{beside}"


def tune(
    settings: ContextSettings,
    data: ContextDataset,
    arm: ArmSpec,
    fresh: Callable[[], FixedContextLM],
    seed: int,
    path: Path,
    ours: dict[str, Any],
    on_step: OnStep | None = None,
) -> Tuned:
    """Try all rates of an arm's grid that are not tried yet.

    Args:
        settings: of the comparison; the grid is relative to its rates.
        data: what the arm reads.
        arm: which.
        fresh: makes the arm's model anew.
        seed: of that model, and of the order of its batches.
        path: of the folder that keeps what was tried, from one try to the next.
        ours: what the comparison's checkpoints say of it.
        on_step: called after each update.

    Raises:
        Stopped: ``on_step`` raised it; what was tried before is kept.
        CheckpointError: what is kept is another comparison's.
        WriteError: it cannot be kept.
    """
    cut = tail_start(data.text)
    identity = ours | {"settings": ours["settings"] | as_settings(settings, arm), "text": data.digest}
    before = kept(path, identity, "tries") if settings.resume else None
    tries = [Try(**one) for one in before["tries"]] if before else []
    found = Tuned(arm, settings, len(data.text.train.tokens) - cut, tries)
    while (rates := found.next) is not None:
        training = training_of(found.at(rates), data, fresh(), seed, tail=cut)
        try:
            training.run(OneOfSeveral(on_step, len(found.tries), TRIES, f"{found.told(rates)}, "))
            best = min(training.progress.history, key=lambda row: row[LOSS])
            found.tries.append(replace(rates, loss=best[LOSS], epoch=int(best["epoch"])))
        except Diverged:
            found.tries.append(rates)
        keep(path, identity, {"tries": [asdict(one) for one in found.tries]})
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
