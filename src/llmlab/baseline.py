"""Chapter 3: New-LLM, a language model whose whole memory is one vector, the context.

Question: a recurrent model reads a text word by word and keeps what it needs in a context of fixed size.  How well
does it predict the next word, and how good is that?

At each position t a stack of layers reads the token and the context *before* it, and gives both the logits of the next
token and the change of the context:

    u_t    = [ E[x_t] ; c_(t-1) ]                   token first, c_0 = 0
    h_t    = stack(u_t)                             L layers, each Linear, ReLU, dropout
    logits = W_O h_t                                so the logits see the OLD context and the token
    d, f, i = W_D h_t,  sigmoid(W_F h_t),  sigmoid(W_I h_t)     what may be written, what is kept, how much is written
    c_t    = clamp( LayerNorm( f * c_(t-1) + i * d ), -10, 10 )

Each of these maps has a bias.  W_D, W_F and W_I lie in one matrix, ``gates``.  The loss is the mean of
-ln P(x_(t+1)) over the positions of windows, each of which begins with c_0.  An update takes its gradient on a batch of
windows, clips the gradient's norm, and makes a step of Adam (or the optimiser asked for); after each epoch the
validation windows are scored, and the best epoch's parameters are kept.

The memory never grows: generating the 10,000th token costs as much as the first.  The model is compared with what
counting reaches on the same windows; on the synthetic language also with the exact floor; if asked, with a transformer
and a GRU of the same size (``peers``).

Source: document 001 of the original notes; where the text and the code in its section 3 differ, the code.
But: how deep must the stack be?  That is chapter 4.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.errors import SettingError
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.dataset import Dataset, check_fits, dataset_of
from llmlab.lab.device import device_of, precision_of
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.folders import identity
from llmlab.lab.language import EPS, LanguageModel, evaluate, parameter_count, score_on_test
from llmlab.lab.optimizer import clip, optimizer_named
from llmlab.lab.rng import kept, scale, shuffled
from llmlab.lab.runs import LanguageRun, beside_the_notes, repeats_the_notes, run_or_resume
from llmlab.lab.sizes import CLAMP, MODELS, Size, size_of
from llmlab.lab.steps import Diverged, OnStep, watched
from llmlab.lab.study import Arm, Study, Unfinished, study
from llmlab.lab.team import Team
from llmlab.measure.score import Score
from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text
from llmlab.report.result import Result, Scalar
from llmlab.settings import BaselineSettings
from llmlab.shown import baseline as shown
from llmlab.text.words import PAD

TRAIN_SAMPLE = 2_048
"""How many training windows are scored at the end without dropout, as validation windows are."""


# ---- the model ----------------------------------------------------------------------------------------------------


class ContextVectorLM:
    """New-LLM: named parameters, and the equations above.

    Args:
        size: the sizes V, D, C, H and L.
        parameters: the tensors named by ``Size.shapes``.
        dropout: probability with which a hidden number is set to zero in training.
    """

    def __init__(self, size: Size, parameters: dict[str, Tensor], dropout: float = 0.0) -> None:
        self.size, self.parameters, self.dropout = size, parameters, dropout

    @classmethod
    def initial(cls, size: Size, seed: int, *, dropout: float = 0.0, init: str = "original") -> "ContextVectorLM":
        """Return a fresh model.

        Args:
            size: the sizes.
            seed: the same seed gives the same numbers.
            dropout: see the class.
            init: ``original`` draws every weight and the embedding from N(0, 0.02^2), as the original notes' code does;
                a context then hardly changes after its third token, and training lingers at token frequencies.
                ``scaled`` draws each layer from N(0, 2 / inputs) (He et al. 2015), the other matrices from
                N(0, 1 / inputs), the embedding from N(0, 1), and opens the forget gates with a bias of 1
                (Jozefowicz et al. 2015).
        """
        rng = torch.Generator().manual_seed(seed)
        parameters: dict[str, Tensor] = {}
        for name, shape in size.shapes().items():
            if len(shape) == 1:
                parameters[name] = torch.full(shape, float(name == "norm.gain"))
                continue
            deviation = 0.02
            if init == "scaled":
                gain = 2.0 if name.startswith("layer") else 1.0
                deviation = 1.0 if name == "embedding" else math.sqrt(gain / shape[1])
            parameters[name] = torch.randn(shape, generator=rng) * deviation
        if init == "scaled":
            parameters["gates.bias"][size.context : 2 * size.context] = 1.0
        return cls(size, parameters, dropout)

    def first_context(self, batch: int) -> Tensor:
        """Return the context before the first token: zeros, (B, C)."""
        return self.parameters["embedding"].new_zeros(batch, self.size.context)

    def step(self, tokens: Tensor, context: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read one token per row.

        Args:
            tokens: (B,) token numbers.
            context: (B, C), the context before them.
            keep: (L, B, H), what dropout leaves: 0 or 1 / (1 - p); ``None`` outside training.

        Returns:
            The logits of the next token, (B, V), and the context after these, (B, C).
        """
        p = self.parameters
        hidden = self.stack(torch.cat([p["embedding"][tokens], context], dim=1), keep)  # (B, H)
        logits = F.linear(hidden, p["output.weight"], p["output.bias"])
        change, forget, write = F.linear(hidden, p["gates.weight"], p["gates.bias"]).chunk(3, dim=1)  # (B, C) each
        mixed = forget.sigmoid() * context + write.sigmoid() * change
        normed = [
            F.layer_norm(own, own.shape[1:], p["norm.gain"][part], p["norm.bias"][part], EPS)
            for part, own in ((part, mixed[:, part]) for part in self.size.norms())
        ]
        return logits, torch.cat(normed, dim=1).clamp(-CLAMP, CLAMP)

    def stack(self, hidden: Tensor, keep: Tensor | None = None) -> Tensor:
        """Take (B, D + C) through the hidden layers: each replaces what it reads, or (chapter 4) adds to it, (B, H)."""
        for layer in range(self.size.layers):
            weight, bias = self.parameters[f"layer{layer}.weight"], self.parameters[f"layer{layer}.bias"]
            adds = self.size.stack == "residual" and layer > 0
            read = F.layer_norm(hidden, (self.size.hidden,), eps=EPS) if adds else hidden
            out = F.linear(read, weight, bias).relu()
            out = out if keep is None else out * keep[layer]
            hidden = hidden + out if adds else out
        return hidden

    def logits(self, inputs: Tensor, keep: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Return the logits after every position of (B, T) windows, (B, T, V), by the plain loop.

        ``keep``, (L, T, B, H), is that of all steps; a ``context``, (B, C), takes the place of the zeros at the start.
        """
        context = self.first_context(len(inputs)) if context is None else context
        logits: list[Tensor] = []
        for t in range(inputs.shape[1]):
            at_t, context = self.step(inputs[:, t], context, None if keep is None else keep[:, t])
            logits.append(at_t)
        return torch.stack(logits, dim=1)

    def loss(
        self, inputs: Tensor, targets: Tensor, keep: Tensor | None = None, context: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss over the (B, T) targets, in nats; padding is no target.

        Its gradient, by autograd back through every step, is what training follows.  ``fast.sweep`` computes both
        several times sooner, and a test holds the two together.
        """
        logits = self.logits(inputs, keep, context)  # (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)


# ---- the training -------------------------------------------------------------------------------------------------


def dropout(model: ContextVectorLM, rows: range, length: int, seed: int, update: int) -> Tensor | None:
    """Return what dropout leaves of the hidden numbers at an update, (L, T, B, H): a function of seed and update."""
    shape = model.size.layers, length, model.size.hidden
    keep = kept(model.dropout, shape, rows, seed=seed, update=update, dtype=torch.float32)
    return None if keep is None else keep * scale(model.dropout)


def plain_training(model: ContextVectorLM, windows: Tensor, recipe: Recipe) -> Iterator[float]:
    """Train a model in place on windows, (N, T + 1), the plain way, and yield the loss before each update.

    A command makes the same updates with ``lab.epochs.Training``, and a test holds the two together.  It computes the
    gradient sooner, scores the validation windows after each epoch (the best epoch's parameters are kept, and too many
    epochs without a better one end the run), writes checkpoints, and goes on from them to the bit.
    """
    parameters = model.parameters
    optimizer = optimizer_named(recipe.optimizer, recipe.lr, recipe.weight_decay)
    update, planned = 0, recipe.epochs * math.ceil(len(windows) / recipe.batch)
    for epoch in range(recipe.epochs):
        for rows in torch.split(shuffled(recipe.seed, epoch, len(windows)), recipe.batch):
            inputs, targets = windows[rows, :-1], windows[rows, 1:]
            keep = dropout(model, range(len(rows)), inputs.shape[1], recipe.seed, update)
            leaves = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
            loss = ContextVectorLM(model.size, leaves).loss(inputs, targets, keep)
            gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
            clip(gradients, recipe.largest_norm(epoch))
            optimizer.lr = recipe.rate(update, planned)
            optimizer.update(parameters, gradients)
            update += 1
            yield float(loss.detach())


def build(settings: BaselineSettings, vocabulary: int, seed: int, precision: str) -> LanguageModel:
    """Return a fresh model of one seed for ``Training``, computed by ``fast.sweep``."""
    device = device_of(settings.device)
    model = ContextVectorLM.initial(size_of(settings, vocabulary), seed, dropout=settings.dropout, init=settings.init)
    model.parameters = {name: tensor.to(device) for name, tensor in model.parameters.items()}
    return SweptNewLLM(model, precision, device)


def train_seed(
    settings: BaselineSettings,
    data: Dataset,
    seed: int,
    on_step: OnStep | None = None,
    *,
    name: str = "",
    builder: Callable[[BaselineSettings, int, int, str], LanguageModel] | None = None,
) -> LanguageRun:
    """Train one seed, or resume it, and measure the best epoch's parameters.

    ``name`` is that of its checkpoint folder under ``runs``; if empty, the experiment and the preset.  A ``builder``
    makes another model than New-LLM: see ``peers``.

    Raises:
        Diverged: a number was not finite; the last good checkpoint stands.
        Stopped: before the first epoch was finished; a checkpoint was written.
        Unfinished: it was stopped later; the exception holds the run so far.
    """
    check_fits(settings, data.text)
    text, device = data.text, device_of(settings.device)
    team, precision = Team.join(device), precision_of(settings, device)
    model = (builder or build)(settings, len(text.vocabulary), seed, precision)
    recipe, seconds, documents = Recipe.of(settings, seed), 60 * settings.save_minutes, text.valid_documents
    training = Training(model, text.train, text.valid, recipe, save_seconds=seconds, team=team, documents=documents)
    kept = identity(settings.document(), seed, text.digest, text.name, precision, text.vocabulary.words)
    watched(on_step, lambda: shown.curve_so_far(data, training.progress, settings.dropout))
    folder = name or f"{settings.experiment}-{settings.preset}"
    notes, stop, anew = run_or_resume(training, settings, kept, folder, on_step)
    run = measured(training, data, precision, notes, finished=stop is None)
    if stop is not None:
        raise Unfinished(run, stop)
    return replace(run, anew=anew)


# ---- what is measured ---------------------------------------------------------------------------------------------


def measured(training: Training, data: Dataset, precision: str, notes: list[Text], *, finished: bool) -> LanguageRun:
    """Return what is kept of a run: its epochs, and the scores of the best epoch's parameters.

    A run that was stopped is scored on the validation windows alone, which chose that epoch.  A score that is not
    finite raises ``Diverged``.
    """
    model, team, text, batch = training.model, training.team, data.text, training.recipe.batch
    for name, tensor in training.best.items():
        model.parameters[name].copy_(tensor)
    progress, history = training.progress, training.progress.history
    score = (
        Score(**progress.best_score)
        if progress.best_score
        else evaluate(model, text.valid, batch, team=team, documents=text.valid_documents)
    )
    train = evaluate(model, text.train[:TRAIN_SAMPLE], batch, team=team) if finished else None
    test = score_on_test(model, text, batch, team) if finished else None
    if not all(one.finite for one in (score, train, test) if one):
        raise Diverged(progress.updates)
    best_epoch = progress.best_epoch or len(history)
    numbers = {
        "epochs": float(len(history)),
        "best_epoch": float(best_epoch),
        "train_loss": history[best_epoch - 1]["train_loss"],  # dropout on, and while the parameters changed
        **data.headline(score, test),
        "tokens_per_second": sum(row["train_targets"] for row in history) / max(history[-1]["seconds"], 1e-9),
    }
    numbers |= {"train_loss_no_dropout": train.loss} if train else {}
    return LanguageRun(
        seed=training.recipe.seed,
        numbers=numbers,
        history=history,
        precision=precision,
        notes=notes,
        parameters=parameter_count(model),
        best_epoch=best_epoch,
        score=score,
        test_score=test,
    )


def metrics(settings: BaselineSettings, data: Dataset, runs: list[LanguageRun]) -> dict[str, Scalar]:
    """Return the metrics: means over seeds with intervals, and the baselines beside them."""
    found: dict[str, Scalar] = {"parameters": runs[0].parameters, "precision": runs[0].precision}
    for name in runs[0].numbers:
        told = mean_interval([run.numbers[name] for run in runs])
        if name in ("epochs", "best_epoch") and told[""].is_integer():
            told[""] = int(told[""])
        found |= {name + suffix: value for suffix, value in told.items()}
    return found | data.metrics() | (beside_the_notes(runs[0]) if repeats_the_notes(settings) else {})


# ---- the chapter --------------------------------------------------------------------------------------------------


def run(settings: BaselineSettings, on_step: OnStep | None = None) -> Result:
    """Train New-LLM per seed and report what it and counting reach; see ``phase1.run``.

    ``peers.run`` takes the settings that name other models.
    """
    if settings.has_peers:
        raise SettingError("--peers, --model: llmlab.peers.run trains other models than New-LLM")
    data = dataset_of(settings)
    check_fits(settings, data.text)
    arm = Arm(settings.model, MODELS[settings.model], data.updates(settings))
    found = study(settings, [arm], lambda _, seed, step: train_seed(settings, data, seed, step), on_step)
    return reported(settings, data, found, (shown.WHY, shown.HOW))


def reported(
    settings: BaselineSettings, data: Dataset, found: Study[Arm, LanguageRun], asked: tuple[Text, Text]
) -> Result:
    """Return the result of the runs of the model asked for; ``asked`` is why and how.

    A run that was stopped is reported only if none was finished: a half run and a whole one have no mean.
    """
    main = found.arms[settings.model]
    runs = main.runs or ([main.unfinished] if main.unfinished else [])
    if not runs and found.stop and not (main.diverged and found.finished):
        raise found.stop
    return shown.result(settings, data, found, runs, metrics(settings, data, runs) if runs else {}, asked)
