"""Arms x seeds of chapters 5 and 6: contexts that arms share are computed once a seed, and rates are chosen first.

All arms of a seed see the same tokens in the same batches, and start from the same token block.  One folder holds what
is kept of a comparison: a folder of checkpoints for each arm and seed, the trained context blocks, and the rates tried.

A comparison at one learning rate compares rates too: what suits a small block may be far too much for an embedding of
millions of numbers.  So before its runs each arm tries the same number of rates, with one seed.  Without an embedding
to train there is one rate, and all tries go into it.  With one, first the embedding's share of the rate is tried, then
the rate of everything else while the embedding keeps its own; both kinds of arm look as far up and down.

A try trains on the text up to its last documents and is judged on these: the validation text has no say.  The runs that
are compared then train on all of the text.  Contexts are those of the runs, for what makes them saw no targets.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from llmlab.errors import SettingError, Stopped, WriteError
from llmlab.lab.block_sizes import contexts_bytes
from llmlab.lab.checkpoint import State
from llmlab.lab.context_runs import (
    LOSS,
    ArmRun,
    ArmRuns,
    ArmSpec,
    Contexts,
    ContextSpec,
    Measured,
    Stage1,
    Stage2,
    train_arm,
    training_of,
)
from llmlab.lab.context_text import ContextDataset, EmbeddedCorpus, dataset_of
from llmlab.lab.device import device_of
from llmlab.lab.folders import identity, keep, kept, run_folder, study_folder
from llmlab.lab.memory import check_memory
from llmlab.lab.steps import Diverged, OnStep, Part, one_of_several
from llmlab.lab.study import Study, study
from llmlab.report.messages import Text, say
from llmlab.settings import ContextSettings
from llmlab.text.streams import StreamText

# ---- the rates of an arm ----------------------------------------------------------------------------------------

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
        grid = [Try(factor, 1.0) for factor in FACTORS]
        if self.arm.trains_embedding:
            share = replace(self, tries=self.tries[: len(SHARES)]).best.embedding
            grid = [*(Try(1.0, each) for each in SHARES), *(Try(factor, share) for factor in BESIDE)]
        return next(iter(grid[len(self.tries) :]), None)

    @property
    def edge(self) -> list[str]:
        """Which rates are the highest or lowest that were tried, so that one beyond might be better still."""
        rate = self.best.rate in (FACTORS[0], FACTORS[-1])
        embedding = self.arm.trains_embedding and self.best.embedding in (SHARES[0], SHARES[-1])
        at = {"rate": rate, "embedding": embedding} if self.best.loss is not None else {}
        return [name for name, there in at.items() if there]

    def at(self, rates: Try) -> ContextSettings:
        """Return the settings with these rates."""
        settings = self.settings
        share = settings.embedding_lr * rates.embedding / rates.rate if self.arm.trains_embedding else 1.0
        return replace(settings, lr=settings.lr * rates.rate, embedding_lr=share)


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


# ---- arms x seeds -----------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Comparison(Study[ArmSpec, ArmRun]):
    """All arms of a chapter with their runs.

    ``contexts`` are what Stage 1 measured, by spec, one per seed; where its block diverged, the pass is in ``lost``, by
    spec and seed.  ``tuned`` are the rates that the arms tried.
    """

    settings: ContextSettings
    texts: dict[int, ContextDataset]  # by number of tokens
    contexts: dict[ContextSpec, list[Measured]] = field(default_factory=dict)
    lost: dict[tuple[ContextSpec, int], int] = field(default_factory=dict)
    tuned: dict[str, Tuned] = field(default_factory=dict)

    @property
    def text(self) -> ContextDataset:
        """The text of the settings' own number of tokens."""
        return self.texts[self.settings.tokens]

    @property
    def own_contexts(self) -> list[Measured]:
        """What was measured of the first arm's contexts, the settings' own; of others where it has none."""
        own = next(iter(self.arms.values())).arm.contexts
        return self.contexts.get(own) or next(iter(self.contexts.values()))

    def trouble(self, arm: ArmRuns) -> list[Text]:
        """Return in words which runs of an arm are missing."""
        told = list[Text]()
        for seed, update in arm.diverged.items():
            in_block = self.lost.get((arm.arm.contexts, seed))
            lost = say("contexts.block_diverged", seed=seed, iteration=in_block + 1) if in_block else None
            told.append(lost or say("contexts.run_diverged", seed=seed, update=update))
        if arm.stopped is not None:
            told.append(say("contexts.run_stopped", seed=arm.stopped))
        elif self.stop and arm.runs and not told and len(arm.runs) < self.settings.seeds:
            told.append(say("contexts.some_seeds", done=len(arm.runs), seeds=self.settings.seeds))
        return told

    def state(self, arm: ArmRuns) -> Text:
        """Return whether an arm is done, in a word or a few."""
        told = self.trouble(arm)
        if len(told) > 1:
            return say("contexts.states", states=told)
        return told[0] if told else "done" if arm.runs else "not begun"


def compared(
    stage1: Stage1,
    stage2: Stage2,
    settings: ContextSettings,
    source: EmbeddedCorpus,
    arms: Sequence[ArmSpec],
    on_step: OnStep | None = None,
) -> Comparison:
    """Train every arm with every seed: seed by seed, and within a seed contexts by contexts.

    Of arms of equal names only the first is trained; ``on_step`` is called after each update, counted over all runs.

    Raises:
        Stopped: before the first run was finished; its checkpoint was written.
        LlmlabError: text, batch or checkpoints cannot be used, or there is no room for them.
    """
    sizes = sorted({arm.contexts.tokens for arm in arms} | {settings.tokens})
    found = Comparison({}, settings=settings, texts={n: dataset_of(source, n, settings.val_tokens) for n in sizes})
    check_fits(found, arms)
    comparing, specs = _Comparing(stage1, stage2, found), list(dict.fromkeys(arm.contexts for arm in arms))
    in_order = sorted(map(comparing.planned, arms), key=lambda arm: specs.index(arm.contexts))
    trained = study(settings, in_order, comparing.run, on_step)
    found.arms, found.stop = {arm.name: trained.arms[arm.name] for arm in arms}, trained.stop
    return found


class _Comparing:
    """Trains the arms of a comparison in its folder, and holds the contexts of one spec and seed at a time."""

    def __init__(self, stage1: Stage1, stage2: Stage2, found: Comparison) -> None:
        self.stage1, self.stage2, self.found, self.settings = stage1, stage2, found, found.settings
        document, text = self.settings.document() | {"schedule": "constant"}, found.text
        self.ours = identity(document, self.settings.seed, text.digest, text.text.name, "")
        self.held: tuple[ContextSpec, int, Contexts] | None = None
        study_folder(self.settings, ["*-seed*"], "a comparison")
        name = f"{self.settings.experiment}-{self.settings.preset}"
        self.folder = run_folder(replace(self.settings, seeds=1), self.ours, name).folder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"{self.folder}: {error.strerror}; choose another folder with --out") from error

    def planned(self, arm: ArmSpec) -> ArmSpec:
        """Return an arm with the updates that it plans; with its first run come the tries of its rates."""
        targets = len(self.found.texts[arm.contexts.tokens].text.train.tokens) - 1
        updates = self.settings.epochs * -(-targets // self.settings.batch)
        return replace(arm, updates=updates, before=TRIES * updates if self.settings.tune else 0)

    def run(self, arm: ArmSpec, seed: int, step: OnStep) -> ArmRun:
        """Return the run of an arm and seed."""
        settings, data, tuned = self.settings, self.found.texts[arm.contexts.tokens], self.found.tuned
        try:
            contexts = self.contexts(arm.contexts, seed, step)
            if settings.tune and arm.name not in tuned:
                tuned[arm.name] = self.tuned(arm, contexts, seed, step)
                step = one_of_several(step, TRIES, TRIES + 1)  # the updates of the run come after those of the tries
            chosen = tuned[arm.name].at(tuned[arm.name].best) if settings.tune else settings
            own = self.folder / f"{arm.name}-seed{seed}"
            alone = replace(chosen, seed=seed, seeds=1, out=own, resume="auto" if settings.resume else "")
            return train_arm(alone, data, arm, self.stage2(settings, data, arm, contexts, seed), seed, step)
        except Stopped as stop:
            stop.kept = stop.kept or any(self.folder.glob("*-seed*/run.json"))  # a trained block, rates that were tried
            raise

    def tuned(self, arm: ArmSpec, contexts: Contexts, seed: int, step: OnStep) -> Tuned:
        """Try all rates of an arm's grid that are not tried yet; each is kept as soon as it is tried."""
        settings, data = self.settings, self.found.texts[arm.contexts.tokens]
        path, cut = self.folder / f"rates-{arm.name}-seed{seed}", tail_start(data.text)
        ours = self.ours | {"settings": self.ours["settings"] | arm.document(settings), "text": data.digest}
        before = kept(path, ours, "tries") if settings.resume else None
        tries = [Try(**one) for one in before["tries"]] if before else []
        found = Tuned(arm, settings, len(data.text.train.tokens) - cut, tries)
        while (rates := found.next) is not None:
            own = found.at(rates)
            beside = f", the embedding's {own.lr * own.embedding_lr:.3g}" if arm.trains_embedding else ""
            told = f"choosing rates, {len(tries) + 1} of {TRIES}: learning rate {own.lr:.3g}{beside}, "
            training = training_of(own, data, self.stage2(settings, data, arm, contexts, seed), seed, tail=cut)
            try:
                training.run(one_of_several(step, len(tries), TRIES, told))
                best = min(training.progress.history, key=lambda row: row[LOSS])
                tries.append(replace(rates, loss=best[LOSS], epoch=int(best["epoch"])))
            except Diverged:
                tries.append(rates)
            keep(path, ours, {"tries": [asdict(one) for one in tries]})
        return found

    def contexts(self, spec: ContextSpec, seed: int, step: OnStep) -> Contexts:
        """Return the contexts of a spec and seed, their block trained here or found in the folder.

        Raises:
            Diverged: the block did, now or for an earlier arm.
        """
        if self.held is not None and self.held[:2] == (spec, seed):
            return self.held[2]
        self.held = None  # let go of the last ones before there are others
        if (spec, seed) in self.found.lost:
            raise Diverged(self.found.lost[spec, seed])
        on_pass = Part(step, lambda update, planned: (0, 1), "context block, ")  # these are no updates
        data, keep_block = self.found.texts[spec.tokens], partial(self.kept_block, spec, seed)
        try:
            contexts = self.stage1(self.settings, data, spec, seed, on_pass, keep_block)
        except Diverged as diverged:
            self.found.lost[spec, seed] = diverged.update
            raise
        self.found.contexts.setdefault(spec, []).append(contexts.measured)
        self.held = spec, seed, contexts
        return contexts

    def kept_block(self, spec: ContextSpec, seed: int, train: Callable[[], State]) -> State:
        """Return what the folder has of a trained block, or train it and keep it as soon as it is there."""
        path, digest = self.folder / f"block-{spec.name}-seed{seed}", self.found.texts[spec.tokens].digest
        ours = self.ours | {"settings": self.ours["settings"] | vars(spec), "seed": seed, "text": digest}
        state = kept(path, ours, "model", "rows", "rank") if self.settings.resume else None
        if state is None:
            keep(path, ours, state := train())
        return state


def check_fits(found: Comparison, arms: Sequence[ArmSpec]) -> None:
    """Refuse a batch or a window that the shortest text does not fill, and an arm that the memory does not hold."""
    settings, shortest = found.settings, next(iter(found.texts.values())).text
    tokens, valid = len(shortest.train.tokens), len(shortest.valid.tokens)
    if settings.batch > tokens - 1:
        raise SettingError(
            f"--batch: {settings.batch:,} tokens, but the text has only {tokens - 1:,} to learn to predict; lower it, "
            "or give more text"
        )
    if settings.inputs > min(tokens, valid):
        raise SettingError(
            f"--inputs: {settings.inputs} tokens at once, but the text has only {min(tokens, valid):,}; lower it, or "
            "give more text"
        )
    for arm in arms if device_of(settings.device) == "cpu" else ():
        data = found.texts[arm.contexts.tokens]
        count, (words, width) = sum(len(stream.tokens) for stream in data.text.streams), data.source.embedding.shape
        size = arm.contexts.size(settings, width)
        check_memory(contexts_bytes(size, words, count, trains_embedding=arm.trains_embedding))
