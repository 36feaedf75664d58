"""Chapter 1: train only the output layer; the embedding stays where it was drawn.

Question: if every token keeps the random place it was given, can a linear layer still learn what follows what?  And
how far from perfect does it end?

For input token x and possible next token k the model has a score, and softmax makes probabilities of the scores:

    score[x, k] = E[x] . W[k] + b[k]          P(k | x) = softmax over k of score[x, k]

With joint[x, k] the share of "x, then k" among all neighbouring pairs of the text, and P(x) the share of those that
begin with x, the loss is the mean surprise over the pairs, L = -sum over (x, k) of joint[x, k] ln P(k | x).  Let

    G[x, k] = P(x) P(k | x) - joint[x, k]     how much more likely (x, k) is to the model than in the text

Then the gradients of L are short enough to be written out below instead of left to autograd:

    dL/dE = G W          dL/dW = G^T E          dL/db = sum over x of G

An update takes the gradients of all pairs at once and hands them to Adam, whose three lines are in ``lab.optimizer``.
In this chapter E is frozen: it is never handed over, only W and b are.  (A token that is never an input has a row of
zeros in G, so its embedding would get no gradient anyway.)

But: nothing here moves the embeddings themselves.  That is chapter 2.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from llmlab.lab.optimizer import Adam, Optimizer
from llmlab.lab.steps import Diverged, OnStep, watched
from llmlab.measure.geometry import affine_rank, moved
from llmlab.measure.ranks import quantiles
from llmlab.measure.stats import metrics_of
from llmlab.report.result import Figure, Result, Scalar, rounded
from llmlab.settings import Phase1Settings
from llmlab.shown import phase1 as shown
from llmlab.shown import table
from llmlab.text.pairs import Pairs

EMBEDDING, WEIGHT, BIAS = "embedding.weight", "linear.weight", "linear.bias"
TRAINED_WITH_FROZEN = {
    "none": frozenset({EMBEDDING, WEIGHT, BIAS}),
    "embedding": frozenset({WEIGHT, BIAS}),
    "linear": frozenset({EMBEDDING}),
}
"""Names of the trained parameters, by what is frozen."""

STACK_SCORES = 2**22
"""Most scores, V x V of each model, that are computed at once: 16 MB.  More models train stack after stack."""

PATH_POINTS = 24
"""How often the first seed's embedding is kept on its way, start and end included: chapter 2 draws it."""


# ---- the model --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TinyModel:
    """An embedding and an output layer, nothing between them, for S seeds side by side.

    Everything carries a leading axis S, so that a thousand models train in about the time of a few.  Where ``weight``
    is the very tensor ``embedding`` is, the two are tied: one tensor, two uses (chapter 2 tries that).
    """

    embedding: Tensor  # (S, V, D)
    weight: Tensor  # (S, V, D)
    bias: Tensor  # (S, V)

    @classmethod
    def initial(cls, vocabulary_size: int, dim: int, seeds: Iterable[int]) -> "TinyModel":
        """Draw one model per seed: embedding N(0, 1), output layer uniform in ±1/sqrt(dim).

        These are the defaults of ``torch.nn.Embedding`` and ``torch.nn.Linear``.  Each seed has its own stream of
        random numbers, so a model does not depend on its neighbours in the stack.
        """
        generator = torch.Generator()
        drawn = []
        for seed in seeds:
            generator.manual_seed(seed)
            drawn.append(
                (
                    torch.randn(vocabulary_size, dim, generator=generator),
                    torch.rand(vocabulary_size, dim, generator=generator),
                    torch.rand(vocabulary_size, generator=generator),
                )
            )
        embedding, weight, bias = (torch.stack(tensors) for tensors in zip(*drawn, strict=True))
        bound = dim**-0.5
        return cls(embedding, (2 * weight - 1) * bound, (2 * bias - 1) * bound)

    @property
    def tied(self) -> bool:
        """Whether the output layer's rows are the embeddings themselves."""
        return self.weight is self.embedding

    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that an optimiser may change, by the names ``torch.nn`` would give them."""
        named = {EMBEDDING: self.embedding, WEIGHT: self.weight, BIAS: self.bias}
        if self.tied:
            del named[WEIGHT]
        return named

    def logits(self) -> Tensor:
        """Return the score of every next token after every input: (S, V, V), row = input."""
        return torch.baddbmm(self.bias[:, None, :], self.embedding, self.weight.transpose(1, 2))

    def probabilities(self) -> Tensor:
        """Return P(next | input): (S, V, V), rows sum to 1."""
        return self.logits().softmax(-1)

    def loss(self, joint: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats over the text's pairs, one per model: (S,).

        ``joint`` has the share of each (input, target) pair, (V, V), summing to 1.
        """
        return -(joint * self.logits().log_softmax(-1)).sum((1, 2))

    def loss_and_gradients(self, joint: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss (S,) and its gradient for each parameter, shaped like the parameter."""
        log_probabilities = self.logits().log_softmax(-1)  # (S, V, V)
        loss = -(joint * log_probabilities).sum((1, 2))
        excess = joint.sum(1, keepdim=True) * log_probabilities.exp() - joint  # G: (S, V, V)
        gradients = {
            EMBEDDING: excess @ self.weight,
            WEIGHT: excess.transpose(1, 2) @ self.embedding,
            BIAS: excess.sum(1),
        }
        if self.tied:
            gradients[EMBEDDING] = gradients[EMBEDDING] + gradients.pop(WEIGHT)
        return loss, gradients

    def each(self, change: Callable[[Tensor], Tensor]) -> "TinyModel":
        """Return the models with every tensor changed, tied where these are."""
        embedding = change(self.embedding)
        return TinyModel(embedding, embedding if self.tied else change(self.weight), change(self.bias))

    def __len__(self) -> int:
        return len(self.embedding)

    def __getitem__(self, seeds: slice) -> "TinyModel":
        return self.each(lambda tensor: tensor[seeds])


# ---- the training -----------------------------------------------------------------------------------------------


def descend(
    models: TinyModel, joint: Tensor, optimizer: Optimizer, trained: Collection[str], updates: int
) -> Iterator[Tensor]:
    """Train S models in place on all pairs at once, and yield their losses, (S,), as they were before each update.

    ``trained`` names the parameters that may change; the others are never handed to the optimiser.

    Raises:
        Diverged: a loss is not finite, before an update or after the last one, or a parameter has grown so large that
            its norm is not.
    """
    free = {name: tensor for name, tensor in models.parameters().items() if name in trained}
    for update in range(1, updates + 1):
        loss, gradients = models.loss_and_gradients(joint)
        if not loss.isfinite().all():
            raise Diverged(update)
        optimizer.update(free, gradients)
        yield loss
    norms = [tensor.square().sum() for tensor in free.values()]
    if not (models.loss(joint).isfinite().all() and all(norm.isfinite() for norm in norms)):
        raise Diverged(updates)


@dataclass(frozen=True)
class TinyRun:
    """S models before and after training, and what happened on the way."""

    pairs: Pairs
    before: TinyModel
    after: TinyModel
    losses: Tensor  # (updates, S), each before its update
    path: Tensor  # (up to PATH_POINTS, V, D), the first seed's embedding on its way


def train(
    start: TinyModel,
    pairs: Pairs,
    new_optimizer: Callable[[], Optimizer],
    *,
    trained: Collection[str],
    updates: int,
    on_step: OnStep | None = None,
    picture: Callable[[TinyRun], Figure] | None = None,
) -> TinyRun:
    """Train copies of the models in ``start`` on a text, as many side by side as fit, and return what became of them.

    Each stack of models that train side by side has a fresh optimiser.  ``on_step`` is called after each of its
    updates, counted over all stacks; one that shows a ``picture`` gets what draws the run so far, with the losses of
    the stack in training.  For the rest, and for what is raised, see ``descend``.
    """
    after, joint = start.each(torch.clone), pairs.joint()
    size = max(1, STACK_SCORES // len(pairs.tokens) ** 2)
    stacks = [after[slice(first, first + size)] for first in range(0, len(start), size)]
    remembered = set(torch.linspace(1, updates, PATH_POINTS - 1).round().int().tolist())
    path, losses = [start.embedding[0].clone()], [list[Tensor]() for _ in stacks]

    def run_of(so_far: Tensor) -> TinyRun:
        return TinyRun(pairs, start, after, so_far, torch.stack(path))

    def show(number: int) -> None:
        if picture:
            watched(on_step, lambda: picture(run_of(torch.stack(losses[number]))))

    for number, models in enumerate(stacks):
        show(number)
        for update, loss in enumerate(descend(models, joint, new_optimizer(), trained, updates), start=1):
            losses[number].append(loss)
            if number == 0 and update in remembered:
                path.append(models.embedding[0].clone())
            if on_step:
                on_step(number * updates + update, len(stacks) * updates)
    watched(on_step, None)
    return run_of(torch.cat([torch.stack(each) for each in losses], dim=1))


# ---- what is measured, one number per seed ----------------------------------------------------------------------


def samples_of(run: TinyRun, focus: int) -> dict[str, Tensor]:
    """Return each headline metric as an (S,) tensor; a boolean one becomes a share of seeds.

    ``focus`` is the token whose next one is asked for.  ``p_next`` and ``correct_fraction`` are about what follows it
    most often; where several do, ``p_next`` takes the first in the text and each of them counts as correct.
    """
    followers = run.pairs.followers(focus)
    likeliest = [token for token, share in followers.items() if share == max(followers.values())]
    after_focus = run.after.probabilities()[:, focus]  # (S, V)
    return {
        "loss": run.losses[-1],
        "p_next": after_focus[:, next(iter(followers))],
        "correct_fraction": torch.isin(after_focus.argmax(-1), torch.tensor(likeliest)),
        "embedding_moved": moved(run.before.embedding, run.after.embedding).mean(-1),
        "linear_moved": moved(run.before.weight, run.after.weight).mean(-1),
    }


def metrics(run: TinyRun, samples: dict[str, Tensor]) -> dict[str, Scalar]:
    """Return the metrics: means over seeds with ``_sd``, ``_low``, ``_high``, and how far each token moved."""
    distance = moved(run.before.embedding, run.after.embedding)  # (S, V)
    found: dict[str, Scalar] = {"loss_floor": run.pairs.conditional_entropy(), **over_seeds(samples)}
    for name in ("loss", "p_next"):
        levels = quantiles(samples[name], 0.05, 0.5, 0.95)
        found |= dict(zip((f"{name}_p05", f"{name}_p50", f"{name}_p95"), levels, strict=True))
    unigram = run.pairs.unigram_entropy()
    found |= {"loss_min": float(samples["loss"].min()), "loss_max": float(samples["loss"].max())}
    found |= {"unigram_loss": unigram, **over_seeds({"beats_unigram_fraction": samples["loss"] < unigram})}
    found |= over_seeds({f"moved_{token}": distance[:, number] for token, number in run.pairs.numbers.items()})
    if unseen := run.pairs.unseen():
        return found | {"unseen_moved_max": float(distance[:, unseen].max())}
    return found | {"unseen_moved_max": None, "unseen_moved_max_reason": "every token of the text is an input"}


def metrics_of_frozen(run: TinyRun) -> dict[str, float]:
    """Return how far a frozen embedding moved (not at all), and in how many seeds it lets a linear layer fit anything.

    A linear layer can reach every table of scores if the inputs' embeddings, each with a constant 1 appended, are
    linearly independent.
    """
    inputs = run.pairs.inputs()
    change = float((run.after.embedding - run.before.embedding).abs().max())
    full = affine_rank(run.before.embedding[:, inputs]) == len(inputs)
    return {"embedding_change_max": change, **over_seeds({"reaches_every_table_fraction": full})}


def over_seeds(samples: dict[str, Tensor]) -> dict[str, float]:
    """Return means over seeds, and shares of booleans, with their intervals."""
    return metrics_of({name: values.tolist() for name, values in samples.items()})


# ---- the chapter ------------------------------------------------------------------------------------------------


@torch.inference_mode()  # the gradients are written out: autograd has nothing to record
def run(settings: Phase1Settings, on_step: OnStep | None = None) -> Result:
    """Train one model per seed with a frozen embedding and report how far that gets.

    The ``run`` of every chapter has these arguments, results and errors.

    Args:
        settings: the options of the chapter.
        on_step: called after each update with its number, the number planned over all runs, and from chapter 2 on a few
            words; it may raise ``Stopped``.

    Returns:
        The result.  Its ``status`` is ``diverged`` if no run stayed finite, and ``interrupted`` if ``on_step`` stopped
        it when there was something to report.

    Raises:
        LlmlabError: from chapter 3 on, text, embedding or checkpoints cannot be used, or nothing can be written.
        Stopped: ``on_step`` stopped it before anything could be reported; a checkpoint stands where the chapter has
            them.
    """
    pairs = Pairs.of(settings.text)
    start = TinyModel.initial(len(pairs.tokens), settings.dim, settings.every_seed)
    free = TRAINED_WITH_FROZEN["embedding"]
    try:
        trained = train(
            start,
            pairs,
            lambda: Adam(settings.lr),
            trained=free,
            updates=settings.epochs,
            on_step=on_step,
            picture=lambda run: shown.learning_curve(pairs, run.losses),
        )
    except Diverged as diverged:
        return Result.diverged(settings.experiment, settings.document(), shown.WHY, shown.HOW, diverged.update)
    focus = pairs.numbers[settings.focus]
    samples = samples_of(trained, focus)
    return Result(
        settings.experiment,
        settings.document(),
        shown.WHY,
        shown.HOW,
        metrics={**metrics(trained, samples), **metrics_of_frozen(trained)},
        summary=shown.summary(settings, pairs, samples),
        tables=[
            shown.loss(pairs, trained.losses),
            shown.next_token(pairs, focus, start.probabilities(), trained.after.probabilities()),
            shown.tensors(start.parameters(), trained.after.parameters(), free),
            *table.over_seeds(samples),
        ],
        figures=[shown.learning_curve(pairs, trained.losses)],
        samples={name: rounded(values.tolist()) for name, values in samples.items()},
    )
