"""New-LLM's peers, behind the same functions: a GRU and a tiny GPT-2 of its size, on the same batches.

    GRU          hidden state = GRU(embedding of the token, hidden state before it),   score = Out hidden state
    tiny GPT-2   every token looks back at all earlier ones of the window by attention

A GRU's memory is a vector too, but its logits see the state *after* the token.  Its recurrence is ``torch.nn.GRU``.
The blocks of tiny GPT-2 are those of the ``transformers`` library, built from a configuration and never downloaded:
learned positions, one per token of a window; 4 heads; MLP four times as wide, with the tanh form of GELU; LayerNorm
before each half of a block; dropout on embeddings, attention and residual; the output layer is the embedding again.

A batch depends on the run's seed and the number of the update and on nothing else, so models that train one after
another see the same batches.  They are compared after equal updates, at equal time, and while they generate.

Sources: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014); Radford et al., "Language
models are unsupervised multitask learners" (2019); sizes of document 001 of the original notes.
"""

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab import baseline
from llmlab.errors import SettingError, UnreachableError
from llmlab.fast.reader import Reader as FastReader
from llmlab.fast.swept import NewLLM
from llmlab.lab.checkpoint import is_checkpoint
from llmlab.lab.dataset import check_fits, dataset_of
from llmlab.lab.device import device_of
from llmlab.lab.folders import study_folder
from llmlab.lab.language import Judged, LanguageModel, Place
from llmlab.lab.rng import generator
from llmlab.lab.runs import LanguageRun, common_epochs, first_done
from llmlab.lab.sizes import HEADS, MODELS, GPT2Size, GRUSize, peer_size_of, size_of, sized
from llmlab.lab.steps import OnStep
from llmlab.lab.study import Arm, study
from llmlab.measure.generation import Cost, Reader, costs
from llmlab.measure.score import document_difference, document_sums, perplexity
from llmlab.measure.stats import as_metrics, metrics_of, paired_interval
from llmlab.report.result import Result, Scalar
from llmlab.settings import BaselineSettings
from llmlab.shown import baseline as chapter
from llmlab.shown import peers as shown
from llmlab.text.words import PAD

LENGTHS = (1, 64, 256, 1024, 4096)
"""Tokens after which the cost of the next one is measured."""

FP32 = partial(torch.backends.cudnn.flags, enabled=True, allow_tf32=False)
"""Inside, a card's GRU computes in the numbers that it is said to; by itself cuDNN would round products to ten bits."""


# ---- the models ---------------------------------------------------------------------------------------------------


class GRULanguageModel(nn.Module):
    """Embedding, GRU and output layer; dropout stands after the embedding and after each GRU layer.

    It starts as the library would: the embedding N(0, 1), all else uniform within 1 / sqrt(hidden).
    """

    def __init__(self, size: GRUSize, seed: int, dropout: float = 0.0) -> None:
        super().__init__()
        between = dropout if size.layers > 1 else 0.0  # the library warns of one that would do nothing
        with torch.random.fork_rng(devices=[]):
            self.embedding = nn.Embedding(size.vocabulary, size.embedding)
            self.recurrence = nn.GRU(size.embedding, size.hidden, size.layers, batch_first=True, dropout=between)
            self.output = nn.Linear(size.hidden, size.vocabulary)
        self.dropout = nn.Dropout(dropout)
        rng, bound = torch.Generator().manual_seed(seed), 1 / math.sqrt(size.hidden)
        for name, parameter in self.named_parameters():
            if name == "embedding.weight":
                parameter.data.copy_(torch.randn(parameter.shape, generator=rng))
            else:
                parameter.data.copy_(torch.rand(parameter.shape, generator=rng) * 2 * bound - bound)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the logits after every position of (B, T) windows, (B, T, V), and the state after the last.

        The state, before as after, is (layers, B, H); the one to start from is zeros unless given.
        """
        read, state = self.recurrence(self.dropout(self.embedding(inputs)), state)
        logits: Tensor = self.output(self.dropout(read))
        return logits, state


def library() -> Any:
    """Return the ``transformers`` module, imported when it is needed and not before."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UnreachableError(
            f"tiny GPT-2 needs the transformers library ({error}); pip install 'llmlab[peers]'"
        ) from error


def tiny_gpt2(size: GPT2Size, seed: int, dropout: float = 0.0, *, attention: str = "eager") -> nn.Module:
    """Return a fresh tiny GPT-2, which starts as GPT-2 does.

    All weights are N(0, 0.02^2), those that write into the residual stream divided by sqrt(2 layers), biases 0 and
    gains 1.  ``eager`` attention is a little faster to train on short windows; ``sdpa`` reads long texts without a
    square matrix in memory.
    """
    transformers = library()
    config = transformers.GPT2Config(
        vocab_size=size.vocabulary,
        n_positions=size.positions,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=HEADS,
        activation_function="gelu_new",
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=min(2, size.vocabulary - 1),
        eos_token_id=min(3, size.vocabulary - 1),
        tie_word_embeddings=True,
        attn_implementation=attention,
    )
    with torch.random.fork_rng(devices=[]):  # the library draws a start of its own, which is then written over
        built: nn.Module = transformers.GPT2LMHeadModel(config)
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in built.named_parameters():
        if parameter.dim() == 1:
            parameter.data.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        else:
            shrunk = math.sqrt(2 * size.layers) if name.endswith("c_proj.weight") else 1.0
            parameter.data.copy_(torch.randn(parameter.shape, generator=rng) * (0.02 / shrunk))
    return built


# ---- loss and gradients -------------------------------------------------------------------------------------------


class Peer:
    """A module as a ``LanguageModel``: loss and gradients by autograd.

    ``logits`` asks it: (B, T) token numbers to (B, T, V).  The precision is of the products in training, ``fp32`` or
    ``bf16`` (by ``torch.autocast``); judging is always fp32.
    """

    def __init__(
        self, module: nn.Module, logits: Callable[[Tensor], Tensor], precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.module, self.logits, self.device = module.to(device), logits, device
        self.rounds = precision == "bf16"
        # the same numbers without a history: what changes them in place changes the module
        self.parameters = {name: parameter.detach() for name, parameter in module.named_parameters()}

    def gradients(
        self, inputs: Tensor, targets: Tensor, *, count: int, place: Place
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``LanguageModel``."""
        self.module.train()
        with torch.enable_grad(), dropout_of(place, self.device), FP32():
            with torch.autocast(self.device, torch.bfloat16, enabled=self.rounds):
                logits = self.logits(inputs.to(self.device))
            wanted = targets.to(self.device).flatten()
            summed = F.cross_entropy(logits.flatten(0, 1).float(), wanted, ignore_index=PAD, reduction="sum")
            loss = summed / count
            found = torch.autograd.grad(loss, list(self.module.parameters()))
        return loss.detach(), dict(zip(self.parameters, found, strict=True))

    def judge(self, inputs: Tensor, targets: Tensor) -> Judged:
        """See ``LanguageModel``."""
        self.module.eval()
        with torch.no_grad(), FP32():
            logits = self.logits(inputs.to(self.device)).flatten(0, 1)
            chosen = targets.to(self.device).flatten()
            losses, hits = F.cross_entropy(logits, chosen, reduction="none"), logits.argmax(1) == chosen
        return Judged(losses.view(targets.shape).cpu(), hits.view(targets.shape).cpu())


@contextmanager
def dropout_of(place: Place, device: str) -> Iterator[None]:
    """Let torch draw, inside, from what belongs to a place in a run; outside nothing has been drawn.

    So a run continues to the bit where it was stopped.
    """
    number = generator("dropout of a peer", place.seed, place.update, place.first_row).initial_seed()
    cards = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(cards):
        torch.default_generator.manual_seed(number)
        if cards:
            torch.cuda.manual_seed(number)
        yield


def peer(
    size: GPT2Size | GRUSize, seed: int, *, dropout: float = 0.0, precision: str = "fp32", device: str = "cpu"
) -> Peer:
    """Return a fresh peer of a size; see ``Peer``."""
    if isinstance(size, GRUSize):
        network = GRULanguageModel(size, seed, dropout)
        return Peer(network, lambda inputs: network(inputs)[0], precision, device)
    built = tiny_gpt2(size, seed, dropout)
    return Peer(built, lambda inputs: built(input_ids=inputs, use_cache=False).logits, precision, device)


def build(settings: BaselineSettings, vocabulary: int, seed: int, precision: str) -> LanguageModel:
    """Return a fresh model of one seed for the training loop, whichever model the settings name."""
    if settings.model == "new-llm":
        return baseline.build(settings, vocabulary, seed, precision)
    size, device = peer_size_of(settings, vocabulary), device_of(settings.device)
    return peer(size, seed, dropout=settings.dropout, precision=precision, device=device)


def alone(settings: BaselineSettings, model: str, vocabulary: int) -> BaselineSettings:
    """Return the settings of one model's runs: sized, and of several models each with its own folder.

    A missing library is noticed here, before anything is trained.
    """
    if model == "tiny-gpt2":
        library()
    own = sized(settings, model, vocabulary)
    if not settings.peers:
        return own
    if settings.resume not in ("", "auto") and is_checkpoint(Path(settings.resume)):
        raise SettingError(
            f"--resume: {settings.resume} is of one model, --peers trains several; give auto or their folder"
        )
    place = study_folder(settings, MODELS, ", ".join(MODELS))
    return replace(own, out=place / model if place else None, resume="auto" if settings.resume else "")


# ---- what the next token costs ------------------------------------------------------------------------------------


class VectorReader:
    """A model in the middle of a text that keeps one tensor: New-LLM its context, (C,), a GRU its state, (L, 1, H).

    ``step`` reads (T,) tokens after what is kept, and returns the logits after the last, (V,), and what is kept then.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], start: Tensor) -> None:
        self.step, self.kept, self.before = step, start, start

    def read(self, tokens: Tensor) -> Tensor:
        """See ``Reader``."""
        self.before = self.kept
        logits, self.kept = self.step(tokens, self.kept)
        return logits

    def back(self) -> None:
        """See ``Reader``."""
        self.kept = self.before

    def state(self) -> list[Tensor]:
        """See ``Reader``."""
        return [self.kept]


def new_llm_reader(model: NewLLM) -> VectorReader:
    """Return a New-LLM at the beginning of a text."""
    reader = FastReader(model)

    def step(tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        for token in tokens.tolist():
            logits, context = reader.step(token, context)
        return logits, context

    return VectorReader(step, torch.zeros(model.size.context))


def gru_reader(size: GRUSize) -> VectorReader:
    """Return a fresh GRU at the beginning of a text."""
    module = GRULanguageModel(size, seed=0).eval()

    @torch.no_grad()
    def step(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        logits, state = module(tokens[None], state)
        return logits[0, -1], state

    return VectorReader(step, torch.zeros(size.layers, 1, size.hidden))


class GPT2Reader:
    """A fresh tiny GPT-2 in the middle of a text no longer than its positions: it keeps a key and a value per token."""

    def __init__(self, size: GPT2Size) -> None:
        self.module = tiny_gpt2(size, seed=0, attention="sdpa").eval()
        self.cache = library().DynamicCache(config=self.module.config)

    def read(self, tokens: Tensor) -> Tensor:
        """See ``Reader``."""
        with torch.no_grad():
            found = self.module(input_ids=tokens[None], past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        logits: Tensor = found.logits[0, -1]
        return logits

    def back(self) -> None:
        """See ``Reader``."""
        self.cache.crop(-1)

    def state(self) -> list[Tensor]:
        """Return a key and a value per layer, (1, heads, tokens, width / heads) each."""
        return [tensor for layer in self.cache.layers for tensor in (layer.keys, layer.values)]


def generation_costs(each: Mapping[str, BaselineSettings], vocabulary: int) -> dict[str, list[Cost]]:
    """Return what one more token costs each model after texts of rising length, on the CPU and in fp32.

    The cost depends on sizes and not on what was learned, so fresh models are measured, tiny GPT-2 with as many
    positions as the greatest length: the one that was trained could not read beyond its window.
    """
    readers: dict[str, Reader] = {}
    for name, settings in each.items():
        if name == "new-llm":
            readers[name] = new_llm_reader(baseline.ContextVectorLM.initial(size_of(settings, vocabulary), seed=0))
        elif isinstance(size := peer_size_of(settings, vocabulary), GRUSize):
            readers[name] = gru_reader(size)
        else:
            readers[name] = GPT2Reader(replace(size, positions=max(LENGTHS)))
    tokens = torch.randint(vocabulary, (max(LENGTHS),), generator=generator("tokens to read"))
    return costs(readers, tokens, LENGTHS)


# ---- what is measured ---------------------------------------------------------------------------------------------


def metrics(models: Mapping[str, list[LanguageRun]], generation: Mapping[str, list[Cost]]) -> dict[str, Scalar]:
    """Return the headline numbers of each model, ``_<model>`` at the end of their names, and New-LLM's distance.

    PPL and accuracy are of the best epoch among those that every run has: at equal updates.  At equal time the PPL is
    that of the moment when the seed's fastest model was done, of those that had finished an epoch by then.
    """
    found: dict[str, Scalar] = {}
    epochs = common_epochs([run for runs in models.values() for run in runs])
    for name, runs in models.items():
        best = [run.best_within(epochs) for run in runs]
        samples = {
            "val_ppl": [perplexity(row["val_loss_token"]) for row in best],
            "val_accuracy": [row["val_accuracy"] for row in best],
            "tokens_per_second": [run.numbers["tokens_per_second"] for run in runs],
            "val_ppl_equal_time": list(at_equal_time(models, name).values()),
        }
        if all(run.test_score for run in runs):
            tested = [metric for metric in runs[0].numbers if metric.startswith("test_")]
            samples |= {metric: [run.numbers[metric] for run in runs] for metric in tested}
        model = name.replace("-", "_")
        found[f"parameters_{model}"] = runs[0].parameters
        found |= metrics_of({f"{metric}_{model}": values for metric, values in samples.items() if values})
        for cost in generation.get(name, [])[-1:]:
            found[f"state_bytes_{model}_at_{cost.length}"] = cost.kept
    for name in models:
        found |= distance(models, name, epochs) if name != "new-llm" else {}
    return found


def at_equal_time(models: Mapping[str, list[LanguageRun]], name: str) -> dict[int, float]:
    """Return a model's PPL by seed when the seed's fastest was done; not of a seed that had none by then."""
    losses = {run.seed: run.at_time(first_done(models, run.seed), "val_loss_token") for run in models[name]}
    return {seed: perplexity(loss) for seed, loss in losses.items() if loss is not None}


def distance(models: Mapping[str, list[LanguageRun]], name: str, epochs: int) -> dict[str, float]:
    """Return by how much New-LLM's PPL is above a peer's, seed by seed, at equal updates and at equal time.

    At equal updates also between which values it lies when validation documents are drawn anew; not where early
    stopping spared some runs epochs, for what is kept of them is their best epoch's.
    """
    ours = {run.seed: run for run in models.get("new-llm", [])}
    theirs = [run for run in models[name] if run.seed in ours]
    if not theirs:
        return {}
    both = theirs, [ours[run.seed] for run in theirs]
    best = ({run.seed: perplexity(run.best_within(epochs)["val_loss_token"]) for run in runs} for runs in both)
    told = paired_interval(*best)
    if all(run.best_epoch <= epochs for runs in both for run in runs):
        told |= document_difference(*([run.score for run in runs] for runs in both))
    by_then = paired_interval(at_equal_time(models, name), at_equal_time(models, "new-llm"))
    end = f"new_llm_minus_{name.replace('-', '_')}"
    return as_metrics(f"val_ppl_{end}", told) | as_metrics(f"val_ppl_equal_time_{end}", by_then)


# ---- the models side by side --------------------------------------------------------------------------------------


def run(settings: BaselineSettings, on_step: OnStep | None = None) -> Result:
    """Train the model that chapter 3's options name, or all three, and report on it as ``baseline.run`` on New-LLM."""
    data = dataset_of(settings)
    words = len(data.text.vocabulary)
    each = {name: alone(settings, name, words) for name in (MODELS if settings.peers else [settings.model])}
    for own in each.values():
        check_fits(own, data.text)

    def train(arm: Arm, seed: int, step: OnStep) -> LanguageRun:
        return baseline.train_seed(each[arm.name], data, seed, step, builder=build)

    arms = [Arm(name, MODELS[name], data.updates(own)) for name, own in each.items()]
    found = study(settings, arms, train, on_step)
    asked = (chapter.WHY, chapter.HOW) if settings.model == "new-llm" else shown.asked(settings.model)
    result = baseline.reported(settings, data, found, asked)
    models = {name: arm.runs for name, arm in found.arms.items() if arm.runs}
    if all(name == settings.model for name in models):
        return result
    generation = {} if found.stop else generation_costs(each, words)
    compared = metrics(models, generation)
    tables, told = shown.tables(data, models, each, generation, compared), result.metrics | compared
    if result.status == "diverged":
        return replace(result, metrics=told, tables=tables, status="interrupted" if found.stop else "diverged")
    return replace(
        result,
        metrics=told,
        summary=[*result.summary, *shown.summary(data, models, compared)],
        tables=[*result.tables, *tables],
        figures=[*result.figures, *shown.figures(data, models, generation)],
        documents=document_sums(
            {f"_{name.replace('-', '_')}": [r.score for r in runs] for name, runs in models.items()}
        ),
    )
