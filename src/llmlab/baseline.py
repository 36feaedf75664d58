"""Chapter 3: New-LLM, a language model whose whole memory is one vector, the context.

Question: a recurrent model reads a text word by word and keeps what it needs in a context of fixed size.  How well
does it predict the next word, and how good is that?

At each position t a stack of layers reads the token and the context *before* it, and gives both the logits of the next
token and the change of the context:

    u_t    = [ E[x_t] ; c_(t-1) ]                   token first, c_0 = 0
    h_t    = stack(u_t)                             L layers, each Linear, ReLU, dropout
    logits = Out h_t                                so the logits see the OLD context and the token
    d, f, i = D h_t,  sigmoid(F h_t),  sigmoid(I h_t)       what may be written, what is kept, how much is written
    c_t    = clamp( LayerNorm( f * c_(t-1) + i * d ), -10, 10 )

Each of these maps has a bias.  A model widened from a smaller one may normalise the old and the new numbers of its
context apart (``after.expand``).  The loss is the mean of -ln P(x_(t+1)) over the positions of windows, each of which
begins with c_0.  An update takes its gradient on a batch of windows, clips the gradient's norm, and makes a step of
Adam (or the optimiser asked for); after each epoch the validation windows are scored, and the best epoch's parameters
are kept (``lab.epochs``).

The memory never grows: generating the 10,000th token costs as much as the first.  The model is compared with what
counting reaches on the same windows; on the synthetic language also with the exact floor; if asked, with a transformer
and a GRU of the same size (``peers``).

Source: document 001 of the original notes; where the text and the code in its section 3 differ, the code.
But: how deep must the stack be?  That is chapter 4.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.errors import SettingError, Stopped
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.dataset import Dataset, check_fits, dataset_of
from llmlab.lab.device import chosen_precision, device_of
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.folders import checkpointed, identity
from llmlab.lab.language import LanguageModel, evaluate, parameter_count
from llmlab.lab.runs import LanguageRun, beside_the_notes, repeats_the_notes, resumed
from llmlab.lab.sizes import CLAMP, EPS, MODELS, Size, size_of
from llmlab.lab.steps import Diverged, OnStep, kept_in, watched
from llmlab.lab.study import Arm, Study, Unfinished, study
from llmlab.lab.team import ALONE, Team
from llmlab.measure.score import Score, document_sums
from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text, say
from llmlab.report.result import Result, Scalar, rounded
from llmlab.settings import BaselineSettings
from llmlab.shown import baseline as shown
from llmlab.shown.study import endings
from llmlab.text.windows import WindowedText
from llmlab.text.words import PAD

TRAIN_SAMPLE = 2_048
"""How many training windows are scored at the end without dropout, as validation windows are."""


# ---- the model ----------------------------------------------------------------------------------------------------


def deviation(name: str, shape: tuple[int, ...], init: str) -> float:
    """Return the standard deviation with which a matrix is drawn; see ``ContextVectorLM.initial``."""
    if init == "original":
        return 0.02
    if name == "embedding":
        return 1.0
    return math.sqrt((2.0 if name.startswith("layer") else 1.0) / shape[1])


class ContextVectorLM:
    """New-LLM: named parameters, and the equations above.

    Args:
        size: the sizes.
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
                the contexts are then nearly constant at first, and training lingers at token frequencies.
                ``scaled`` draws each layer from N(0, 2 / inputs) (He et al. 2015), the other matrices from
                N(0, 1 / inputs), the embedding from N(0, 1), and opens the forget gates with a bias of 1
                (Jozefowicz et al. 2015).
        """
        rng = torch.Generator().manual_seed(seed)
        parameters: dict[str, Tensor] = {}
        for name, shape in size.shapes().items():
            if name == "norm.gain":
                parameters[name] = torch.ones(shape)
            elif len(shape) == 1:
                parameters[name] = torch.zeros(shape)
            else:
                parameters[name] = torch.randn(shape, generator=rng) * deviation(name, shape, init)
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
        """Take (B, D + C) through the hidden layers: each replaces what it reads, or adds to it, (B, H)."""
        for layer in range(self.size.layers):
            weight, bias = self.parameters[f"layer{layer}.weight"], self.parameters[f"layer{layer}.bias"]
            adds = self.size.stack == "residual" and layer > 0
            read = F.layer_norm(hidden, (self.size.hidden,), eps=EPS) if adds else hidden
            out = F.linear(read, weight, bias).relu()
            out = out if keep is None else out * keep[layer]
            hidden = hidden + out if adds else out
        return hidden

    def logits(self, inputs: Tensor, keep: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Return the logits after every position of windows, by the plain loop.

        Args:
            inputs: (B, T) token numbers.
            keep: (L, T, B, H), what dropout leaves, or ``None``.
            context: (B, C) to start from; zeros if ``None``.

        Returns:
            (B, T, V).
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


# ---- training -----------------------------------------------------------------------------------------------------


def build(settings: BaselineSettings, vocabulary: int, seed: int, precision: str) -> LanguageModel:
    """Return a fresh model of one seed for the training loop, computed by ``fast.sweep``."""
    device = device_of(settings.device)
    model = ContextVectorLM.initial(size_of(settings, vocabulary), seed, dropout=settings.dropout, init=settings.init)
    model.parameters = {name: tensor.to(device) for name, tensor in model.parameters.items()}
    return SweptNewLLM(model, precision, device)


def precision_of(settings: BaselineSettings, device: str) -> str:
    """Return the precision of a model's products, see ``lab.device``; a GRU's are fp32 on a card.

    There cuDNN computes its recurrence, and autocast would run that in fp16.
    """
    if settings.model == "gru" and device == "cuda":
        return "fp32"
    return chosen_precision(settings.precision, device, settings.hidden)


def train_seed(
    settings: BaselineSettings,
    data: Dataset,
    seed: int,
    on_step: OnStep | None = None,
    *,
    name: str = "",
    builder: Callable[[BaselineSettings, int, int, str], LanguageModel] | None = None,
) -> LanguageRun:
    """Train one seed, or resume it, and measure the best epoch's model.

    Args:
        settings: of one model; their own ``seed`` is the first of several.
        data: what it reads.
        seed: its number.
        on_step: called after each update.
        name: of its checkpoint folder under ``runs``; if empty, the experiment and the preset.
        builder: of the model, if that is not New-LLM; see ``build``.

    Raises:
        Diverged: a number was not finite; the last good checkpoint stands.
        Stopped: before the first epoch was finished; a checkpoint was written.
        Unfinished: it was stopped later; the exception holds the run so far.
    """
    check_fits(settings, data.text)
    text, device = data.text, device_of(settings.device)
    team, precision = Team.join(device), precision_of(settings, device)
    model = (builder or build)(settings, len(text.vocabulary), seed, precision)
    training = Training(
        model,
        text.train,
        text.valid,
        Recipe.of(settings, seed),
        save_seconds=60 * settings.save_minutes,
        team=team,
        documents=text.valid_documents,
    )
    ours = identity(settings.document(), seed, text, precision, text.vocabulary.words) | {"processes": team.size}
    stop: BaseException | None = None
    name = name or f"{settings.experiment}-{settings.preset}"
    with checkpointed(training, settings, ours, name) as (notes, gone_on_from):
        notes += resumed(ours, gone_on_from) if gone_on_from else []
        if team.size > 1:
            notes.insert(0, say("run.processes", processes=team.size))
        before = training.progress.updates
        if training.folder:
            kept_in(on_step, training.folder.folder)
        watched(on_step, lambda: shown.curve_so_far(data, training.progress, settings.dropout))
        try:
            training.run(on_step)  # each epoch: updates on shuffled batches, then the loss on the validation windows
        except (Stopped, KeyboardInterrupt) as stopped:
            if not training.progress.history:
                raise
            stop = stopped
    if settings.precision not in ("auto", precision):
        notes.append(say("run.precision", precision=precision, asked=settings.precision))
    run = measured(training, settings, data, seed, notes, finished=stop is None)
    if stop is not None:
        raise Unfinished(run, stop)
    return replace(run, anew=training.progress.updates > before)


def measured(
    training: Training, settings: BaselineSettings, data: Dataset, seed: int, notes: list[Text], *, finished: bool
) -> LanguageRun:
    """Return what is kept of a run: its epochs, and the scores of the best epoch's parameters."""
    model, team, progress, text = training.model, training.team, training.progress, data.text
    for name, tensor in training.best.items():
        model.parameters[name].copy_(tensor)
    score = (
        Score(**progress.best_score)
        if progress.best_score
        else evaluate(model, text.valid, settings.batch, team=team, documents=text.valid_documents)
    )
    sample = text.train[:TRAIN_SAMPLE]
    run = LanguageRun(
        seed=seed,
        parameters=parameter_count(model),
        precision=precision_of(settings, device_of(settings.device)),
        history=progress.history,
        best_epoch=progress.best_epoch or len(progress.history),
        score=score,
        train_score=evaluate(model, sample, settings.batch, team=team) if finished else None,
        test_score=score_on_test(model, text, settings.batch, team) if finished else None,
        notes=notes,
    )
    if not all(one.finite for one in (run.score, run.train_score, run.test_score) if one):
        raise Diverged(progress.updates)
    best, targets = run.history[run.best_epoch - 1], sum(row["train_targets"] for row in run.history)
    found = {
        "epochs": float(len(run.history)),
        "best_epoch": float(run.best_epoch),
        "train_loss": best["train_loss"],
        **headline(data, run.score, run.test_score),
        "tokens_per_second": targets / max(run.history[-1]["seconds"], 1e-9),
    }
    return replace(run, numbers=found | ({"train_loss_no_dropout": run.train_score.loss} if run.train_score else {}))


# ---- what is measured ---------------------------------------------------------------------------------------------


def score_on_test(model: LanguageModel, text: WindowedText, batch: int, team: Team = ALONE) -> Score | None:
    """Return the score on the test windows, by which nothing is chosen; ``None`` where the text has none."""
    if not (text.test[:, 1:] != PAD).any():
        return None
    return evaluate(model, text.test, batch, team=team, documents=text.test_documents)


def headline(data: Dataset, score: Score, test: Score | None) -> dict[str, float]:
    """Return the metrics of a model on the validation windows, and on the test windows if there are any."""
    found = {
        "val_loss": score.loss_batch_mean,
        "val_loss_token": score.loss,
        "val_ppl": score.ppl,
        "val_ppl_batch_mean": score.ppl_batch_mean,
        "val_accuracy": score.accuracy,
        "val_accuracy_known": score.accuracy_known,
    }
    recovered = data.context_recovered(score.loss)
    if recovered is not None:
        found["context_recovered"] = recovered
    if test is not None:
        found |= {"test_loss": test.loss, "test_ppl": test.ppl, "test_accuracy": test.accuracy}
    return found


def per_seed(runs: list[LanguageRun]) -> dict[str, list[float]]:
    """Return each headline metric as a list over seeds."""
    return {name: [run.numbers[name] for run in runs] for name in runs[0].numbers}


def metrics(settings: BaselineSettings, data: Dataset, runs: list[LanguageRun]) -> dict[str, Scalar]:
    """Return the metrics: means over seeds with intervals, and the baselines beside them."""
    found: dict[str, Scalar] = {"parameters": runs[0].parameters, "precision": runs[0].precision}
    for name, values in per_seed(runs).items():
        told = mean_interval(values)
        if name in ("epochs", "best_epoch") and told[""].is_integer():
            told[""] = int(told[""])
        found |= {name + suffix: value for suffix, value in told.items()}
    return found | data.metrics() | (beside_the_notes(runs[0]) if repeats_the_notes(settings) else {})


# ---- the chapter --------------------------------------------------------------------------------------------------


def run(settings: BaselineSettings, on_step: OnStep | None = None) -> Result:
    """Train New-LLM per seed and report what it reaches, and what counting reaches.

    Args:
        settings: the options of the chapter; ``peers.run`` takes those that name other models.
        on_step: called after each update with its number, the number planned, and a few words.

    Returns:
        The result; its ``status`` is ``diverged`` if no run stayed finite, ``interrupted`` if ``on_step`` stopped it
        when there was something to show.

    Raises:
        LlmlabError: text or checkpoints cannot be used, or nothing can be written.
        Stopped: ``on_step`` stopped the run before anything could be reported.
    """
    if settings.has_peers:
        raise SettingError("--peers, --model: llmlab.peers.run trains other models than New-LLM")
    data = dataset_of(settings)
    check_fits(settings, data.text)

    def train(seed: int, step: OnStep) -> LanguageRun:
        return train_seed(settings, data, seed, step)

    arm = Arm(settings.model, data.updates(settings), train, MODELS[settings.model])
    found = study([arm], range(settings.seed, settings.seed + settings.seeds), on_step)
    return reported(settings, data, found, shown.WHY, shown.HOW)


def reported(settings: BaselineSettings, data: Dataset, found: Study[LanguageRun], why: Text, how: Text) -> Result:
    """Return the result of the runs of the model asked for.

    A run that was stopped is reported only if none was finished: a half run and a whole one cannot be averaged.
    """
    main = found.arms[settings.model]
    runs = main.runs or ([main.unfinished] if main.unfinished else [])
    asked = settings.experiment, settings.document(), why, how
    if not runs:
        if found.stop and not (main.diverged and found.finished):
            raise found.stop
        return Result.diverged(*asked, next(iter(main.diverged.values())))
    measured = metrics(settings, data, runs)
    return Result(
        *asked,
        status="interrupted" if found.stop else "complete",
        metrics=measured,
        summary=[
            *shown.summary(settings, data, runs),
            *endings(found, settings.epochs),
            *data.notes,
            *(note for one in runs for note in one.notes),
        ],
        tables=shown.tables(settings, data, runs, "curve_epochs" in measured),
        figures=shown.figures(settings, data, runs),
        samples={name: rounded(values) for name, values in per_seed(runs).items()},
        documents=document_sums({"": [one.score for one in runs]}),
    )
