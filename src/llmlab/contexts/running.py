"""The runs of a comparison: the contexts of each design, then the token block of each arm on them, seed by seed.

Covers the order of the runs, their folders, what is kept of each, and what happens when one is stopped or diverges.
All arms of a seed see the same tokens in the same batches, and start from the same token block, so that runs of one
seed can be subtracted from each other.  Leaves out what is said about them: ``tables``, ``figures``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmlab.contexts.arms import Arm, Design
from llmlab.contexts.keeping import Home
from llmlab.contexts.stage1 import Contexts, Measured
from llmlab.contexts.task import ContextTask, Material, task_of
from llmlab.contexts.token_block import ArmRun, train_arm
from llmlab.contexts.tuning import TRIES, Tuned, tune
from llmlab.errors import SettingError, Stopped
from llmlab.lab.steps import Diverged, OnStep
from llmlab.measure.bootstrap import document_interval
from llmlab.measure.score import perplexity
from llmlab.measure.stats import mean_interval, paired_interval
from llmlab.report.result import counted
from llmlab.settings import ContextSettings

LOSS, TEST_LOSS = "val_loss_token", "test_loss_token"
"""The number of a run that arms are compared by, and the same on text that chose nothing."""


@dataclass
class ArmRuns:
    """An arm and its finished runs; ``tuned`` are the rates it tried, if it was asked to."""

    arm: Arm
    runs: list[ArmRun] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    tuned: Tuned | None = None

    @property
    def state(self) -> str:
        """Whether it is done, in a word or a few."""
        return "; ".join(self.trouble) or ("done" if self.runs else "not begun")

    def values(self, name: str) -> list[float]:
        """Return a headline number of every finished run, in the order of the seeds."""
        return [run.numbers[name] for run in self.runs]

    def mean(self, name: str) -> dict[str, float]:
        """Return its mean over seeds, with the interval as ``mean_interval`` has it."""
        return mean_interval(self.values(name))

    @property
    def ppl(self) -> dict[str, float]:
        """The perplexity over seeds and its interval: exp of those of the loss, never below 1; empty without runs."""
        told = self.mean(LOSS) if self.runs else {}
        return {end: perplexity(told[end]) for end in ("", "_low", "_high") if end in told}


@dataclass
class Comparison:
    """All arms of a chapter with their runs; ``contexts`` are what Stage 1 measured, by design, one per seed."""

    settings: ContextSettings
    tasks: dict[int, ContextTask]  # by number of tokens
    arms: dict[str, ArmRuns]
    contexts: dict[Design, list[Measured]]
    stopped: bool = False

    @property
    def task(self) -> ContextTask:
        """The text of the settings' own number of tokens."""
        return self.tasks[self.settings.tokens]

    @property
    def own_contexts(self) -> list[Measured]:
        """What was measured of the first arm's design, the settings' own; of another one where that has none."""
        own = next(iter(self.arms.values())).arm.design
        return self.contexts.get(own) or next(iter(self.contexts.values()))

    @property
    def first_contexts(self) -> Measured:
        """What was measured of the settings' own design and its first seed."""
        return self.own_contexts[0]

    def label_of(self, design: Design) -> str:
        """Return the label of the first arm that has a design."""
        return next(arm.arm.label for arm in self.arms.values() if arm.arm.design == design)

    @property
    def finished(self) -> list[ArmRuns]:
        """The arms that have a finished run, in their order."""
        return [arm for arm in self.arms.values() if arm.runs]


def paired(name: str, first: ArmRuns, second: ArmRuns) -> dict[str, float]:
    """Return how much larger a number is in the second arm, seed by seed; see ``paired_interval``."""
    one, other = ({run.seed: run.numbers[name] for run in arm.runs if name in run.numbers} for arm in (first, second))
    return paired_interval(one, other)


def over_documents(name: str, task: ContextTask, first: ArmRuns, second: ArmRuns) -> dict[str, float]:
    """Return between which values that difference lies when other documents are drawn; see ``document_interval``.

    Empty for a number that is no loss, without two documents, and for runs whose best model was lost.
    """
    if name not in (LOSS, TEST_LOSS):
        return {}
    counts = task.valid_counts if name == LOSS else task.test_counts
    one, other = (
        {run.seed: sums for run in arm.runs if (sums := run.valid_sums if name == LOSS else run.test_sums)}
        for arm in (first, second)
    )
    both = [seed for seed in one if seed in other]
    return document_interval([one[seed] for seed in both], [other[seed] for seed in both], counts)


def paired_gap(first: ArmRuns, second: ArmRuns) -> dict[str, float]:
    """Return likewise how much larger the gap between validation and train loss is after equal updates.

    That is after the last epoch that both runs of a seed made: patience may end one of them earlier.
    """
    one, other = ({run.seed: run for run in arm.runs} for arm in (first, second))
    last = {seed: min(len(one[seed].losses), len(other[seed].losses)) - 1 for seed in one if seed in other}
    gaps = [
        {seed: runs[seed].losses[epoch] - runs[seed].train_losses[epoch] for seed, epoch in last.items()}
        for runs in (one, other)
    ]
    return paired_interval(*gaps)


def compared(
    settings: ContextSettings, material: Material, arms: Sequence[Arm], on_step: OnStep | None = None
) -> Comparison:
    """Train every arm with every seed: seed by seed, and within a seed design by design.

    Args:
        settings: of the chapter.
        material: what all of them read.
        arms: of equal names only the first one is trained.
        on_step: called after each update, counted over all runs.

    Raises:
        Stopped: before the first run was finished; its checkpoint was written.
        SettingError: the folder asked for holds checkpoints and nobody said to resume, or batch or inputs are larger
            than the text.
        TextError: the text cannot be used.
        CheckpointError: the checkpoints cannot be used.
        WriteError: there is no room for them.
    """
    sizes = sorted({arm.design.tokens for arm in arms} | {settings.tokens})
    tasks = {tokens: task_of(material, tokens, settings.val_tokens) for tokens in sizes}
    check_fits(settings, tasks[sizes[0]])
    named: dict[str, ArmRuns] = {}
    for arm in arms:
        named.setdefault(arm.name, ArmRuns(arm))
    found = Comparison(settings, tasks, named, {})
    home = Home.of(settings, tasks[settings.tokens])
    each = {tokens: planned(settings, task) for tokens, task in tasks.items()}
    counter = Counter(on_step, each, named, settings.seeds, TRIES if settings.tune else 0)
    for seed in range(settings.seed, settings.seed + settings.seeds):
        for design in dict.fromkeys(arm.arm.design for arm in named.values()):
            try:
                _train_design(found, design, seed, home, counter)
            except (Stopped, KeyboardInterrupt):
                if not found.finished:
                    raise
                found.stopped = True
                _name_seeds_left(found)
                return found
    return found


def _name_seeds_left(found: Comparison) -> None:
    """Say of each arm that has finished some of its seeds, and met no trouble, how many those are."""
    wanted = found.settings.seeds
    for arm in found.finished:
        if len(arm.runs) < wanted and not arm.trouble:
            arm.trouble.append(f"{len(arm.runs)} of {counted(wanted, 'seed')}")


def _train_design(found: Comparison, design: Design, seed: int, home: Home, counter: "Counter") -> None:
    """Compute the contexts of a design once, and train all arms on them."""
    settings, task = found.settings, found.tasks[design.tokens]
    shared = [arm for arm in found.arms.values() if arm.arm.design == design]
    try:
        contexts = home.contexts(settings, task, design, seed, counter.at(shared[0].arm.label, seed))
    except Diverged as diverged:
        for arm in shared:
            arm.trouble.append(f"seed {seed}: the context block diverged in pass {diverged.update + 1}")
            counter.passed(design.tokens)
        return
    found.contexts.setdefault(design, []).append(contexts.measured)
    for arm in shared:
        try:
            own = home.settings_of(_tuned(found, arm, contexts, home, counter), arm.arm, seed)
            step = counter.of(arm.arm.label, seed)
            arm.runs.append(train_arm(own, task, arm.arm, contexts, seed, step))
        except Diverged as diverged:
            arm.trouble.append(f"seed {seed} diverged at update {diverged.update}")
        except (Stopped, KeyboardInterrupt):
            arm.trouble.append(f"seed {seed} stopped")
            raise
        counter.passed(design.tokens)


def _tuned(found: Comparison, arm: ArmRuns, contexts: Contexts, home: Home, counter: "Counter") -> ContextSettings:
    """Return the settings with the rates of an arm, which are chosen before its first run."""
    settings, tokens = found.settings, arm.arm.design.tokens
    if not settings.tune:
        return settings
    if arm.tuned is None:
        seed = contexts.measured.seed
        path, step = home.rates_of(arm.arm, seed), counter.of(arm.arm.label, seed)
        arm.tuned = tune(settings, found.tasks[tokens], arm.arm, contexts, path, home.ours, home.resumes, step)
        counter.passed(tokens, TRIES)
    return arm.tuned.at(arm.tuned.best)


def check_fits(settings: ContextSettings, task: ContextTask) -> None:
    """Refuse a batch or a window of input tokens that the shortest text does not fill.

    Raises:
        SettingError: says how many tokens there are.
    """
    targets, shortest = len(task.text.train.tokens) - 1, min(len(task.text.train.tokens), len(task.text.valid.tokens))
    if settings.batch > targets:
        raise SettingError(
            f"--batch: {settings.batch:,} tokens, but the text has only {targets:,} to learn to predict; lower it, or "
            "give more text"
        )
    if settings.inputs > shortest:
        raise SettingError(
            f"--inputs: {settings.inputs} tokens at once, but the text has only {shortest:,}; lower it, or give more "
            "text"
        )


def planned(settings: ContextSettings, task: ContextTask) -> int:
    """Return how many updates a run makes at most."""
    return settings.epochs * -(-(len(task.text.train.tokens) - 1) // settings.batch)


class Counter:
    """Counts the updates of all runs as those of one long one."""

    def __init__(
        self, on_step: OnStep | None, each: dict[int, int], arms: dict[str, ArmRuns], seeds: int, tries: int = 0
    ) -> None:
        self.on_step, self.each, self.done = on_step, each, 0
        self.total = (seeds + tries) * sum(each[arm.arm.design.tokens] for arm in arms.values())

    def at(self, label: str, seed: int) -> OnStep:
        """Return what the passes of a context block call: they are no updates, and count as none."""

        def step(update: int, planned: int, told: str = "") -> None:
            if self.on_step:
                self.on_step(self.done, self.total, f"{label}, seed {seed}: context block, {told}")

        return step

    def of(self, label: str, seed: int) -> OnStep:
        """Return what the updates of a run call."""

        def step(update: int, planned: int, told: str = "") -> None:
            if self.on_step:
                self.on_step(self.done + update, self.total, f"{label}, seed {seed}: {told}")

        return step

    def passed(self, tokens: int, runs: int = 1) -> None:
        """Take note that runs are over, however early."""
        self.done += runs * self.each[tokens]
