"""Both stages of chapters 5 and 6 over a text, by chapter 5's equations; and the embedding that is made in a run."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from llmlab.fast.fixed_context_lm import Blocks, FixedContextLM
from llmlab.fast.fixed_contexts import embedded, fixed_contexts
from llmlab.lab.block_sizes import BlockSize, contexts_bytes
from llmlab.lab.context_runs import (
    ArmSpec,
    Contexts,
    ContextSpec,
    FixedPointRecipe,
    Measured,
    TrainedBlock,
    training_of,
)
from llmlab.lab.context_text import ContextDataset, EmbeddedCorpus, dataset_of, embedded_corpus
from llmlab.lab.device import chosen_precision, device_of, measure
from llmlab.lab.language import PRECISIONS
from llmlab.lab.memory import check_memory
from llmlab.lab.rng import generator
from llmlab.lab.steps import OnStep
from llmlab.measure.spectrum import effective_rank
from llmlab.report.messages import say
from llmlab.settings import MADE, ContextSettings
from llmlab.text.corpus import SYNTHETIC, Corpus, load_corpus
from llmlab.text.grammar import Grammar
from llmlab.text.streams import word_coder

FEWEST_CHECKED, WORK_CHECKED = 32, 2 * 10**7
"""At least this many contexts are checked, and more while tokens times parameters stay below this."""

TRIED = 1_024
"""The number of threads is settled by a pass over this many tokens."""

RANKED = 10_000
"""The effective rank is computed of this many contexts, the first ones."""

LINES, HELD_OUT, MADE_SEED = 40_000, 600, 3
"""What the made embedding is made from: some 720,000 tokens.  The language's own splits have the seeds 1 and 2."""


class Equations(NamedTuple):
    """What chapter 5 teaches: how parameters begin, how a context block is trained, and what both blocks compute."""

    initial: Callable[[dict[str, tuple[int, ...]], int], dict[str, Tensor]]
    fixed_point: Callable[..., tuple[dict[str, Tensor], list[dict[str, float]]]]
    blocks: Blocks


@dataclass(frozen=True, eq=False)
class Stages:
    """Both stages over one text.  ``on_pass`` is called now and then while contexts are made, and may raise to stop."""

    equations: Equations
    settings: ContextSettings
    data: ContextDataset

    @property
    def device(self) -> str:
        """Where everything is computed."""
        return device_of(self.settings.device)

    @property
    def precision(self) -> str:
        """Of the products in training."""
        return chosen_precision(self.settings.precision, self.device, self.settings.context)

    def trained_block(self, spec: ContextSpec, seed: int, on_pass: OnStep | None = None) -> TrainedBlock:
        """Train a context block on the training text; the seed is that of its start and its noise."""
        settings, text = self.settings, self.data.text.train.tokens.to(self.device)
        embedding, size, start = self._start(spec, seed)
        inputs, between = embedded(embedding, text, size.n_tokens), _between(on_pass)
        recipe = FixedPointRecipe(settings.iterations, settings.block_lr, spec.noise, settings.diversity, seed=seed)
        recipe = recipe if spec.stops else replace(recipe, enough=math.inf)
        found = fixed_contexts(size, start, inputs, len(text), tolerance=settings.tolerance, between=between)
        contexts, rank, dtype = found.contexts, _rank(found.contexts), PRECISIONS[self.precision]
        block, rows = self.equations.fixed_point(size, start, inputs, contexts, recipe, on_pass, dtype=dtype)
        return TrainedBlock(block, rows, rank)

    def contexts(
        self, spec: ContextSpec, seed: int, on_pass: OnStep | None = None, trained: TrainedBlock | None = None
    ) -> Contexts:
        """Compute the contexts of all streams; ``trained`` is the trained block, where that is done already."""
        embedding, size, start = self._start(spec, seed)
        streams = [part.tokens.to(self.device) for part in self.data.text.streams]
        if spec.trained:
            trained = trained or self.trained_block(spec, seed, on_pass)
        block = {name: tensor.to(self.device) for name, tensor in trained.block.items()} if trained else start
        room = torch.empty(sum(map(len, streams)), size.context, device=self.device)
        found = [
            fixed_contexts(
                size,
                block,
                embedded(embedding, tokens, size.n_tokens),
                len(own),
                tolerance=self.settings.tolerance,
                check=checked(size, own),
                out=own,
                between=_between(on_pass),
            )
            for tokens, own in zip(streams, torch.split(room, [len(tokens) for tokens in streams]), strict=True)
        ]
        ranks = {"train": _rank(found[0].contexts), "valid": _rank(found[1].contexts)}
        rows = trained.rows if trained else []
        measured = Measured(
            seed=seed,
            size=size,
            warm_up=found[0].warm_up,
            seam_error=max(each.seam_error for each in found),
            max_error=max(each.max_error for each in found),
            checked=sum(each.checked for each in found),
            plain=found[0].plain,
            tokens_per_second=len(streams[0]) / max(found[0].seconds, 1e-9),
            ranks=ranks | {"untrained": trained.rank if trained else ranks["train"]},
            rows=rows,
            converged=rows[-1]["converged_fraction"] if rows else None,
        )
        return Contexts(size, block, embedding, room, measured)

    def model(self, arm: ArmSpec, contexts: Contexts, seed: int) -> FixedContextLM:
        """Return a fresh model of an arm on fixed contexts, which it shares with the other arms."""
        size, after = replace(contexts.size, layerwise=arm.reading == "after"), contexts.after
        streams, trained = self.data.text.streams, {"tied": arm.tied, "trains_embedding": arm.trains_embedding}
        return FixedContextLM(
            self.equations.blocks,
            size,
            contexts.block | {"embedding": contexts.embedding},
            torch.cat([stream.tokens for stream in streams]).to(after.device),
            after if arm.reading != "none" else after.new_zeros(1, size.context).expand_as(after),
            fresh_parameters(self.equations, size, contexts.embedding, seed, **trained),
            starts=tuple(accumulate((len(stream.tokens) for stream in streams[:-1]), initial=0)),
            when="before" if arm.reading in ("before", "none") else "after",
            precision=self.precision,
        )

    def _start(self, spec: ContextSpec, seed: int) -> tuple[Tensor, BlockSize, dict[str, Tensor]]:
        """Return the embedding that a block reads, its sizes, and its parameters before they are trained."""
        embedding = self.data.vectors(spec.vectors, seed).to(self.device)
        size = spec.size(self.settings, embedding)
        block = self.equations.initial(size.context_shapes(), seed)
        block = {name: tensor.to(self.device) for name, tensor in block.items()}
        inputs = embedded(embedding, self.data.text.train.tokens[:TRIED].to(self.device), size.n_tokens)
        rows = self.data.text.train.tokens[:TRIED, None]
        measure(block, rows, lambda some: fixed_contexts(size, block, inputs, len(some)))
        return embedding, size, block


def checked(size: BlockSize, contexts: Tensor) -> int:
    """Return how many of the contexts to compare with the token-by-token pass: many where a token costs little.

    A narrow block forgets slowly, and is the one to watch.
    """
    return min(len(contexts), max(FEWEST_CHECKED, len(contexts) // 500, WORK_CHECKED // size.context_parameters()))


def fresh_parameters(
    equations: Equations, size: BlockSize, embedding: Tensor, seed: int, *, tied: bool, trains_embedding: bool
) -> dict[str, Tensor]:
    """Return what Stage 2 trains, at its start: of a seed the same token block, whatever else is trained.

    An embedding, if it is trained, starts as a copy of the frozen one, (V, d), an untied head at zero.
    """
    block, parameters = equations.initial(size.token_shapes(), seed), dict[str, Tensor]()
    shapes = size.trained_shapes(len(embedding), tied=tied, trains_embedding=trains_embedding)
    for name, shape in shapes.items():
        if name == "embedding":
            parameters[name] = embedding.clone()
        elif name in block:
            parameters[name] = block[name].to(embedding.device)
        else:
            parameters[name] = embedding.new_full(shape, float(name == "norm.gain"))
    return parameters


def _rank(contexts: Tensor) -> float:
    """Return the effective rank of the first contexts, (n, c), as a share of their width."""
    return effective_rank(contexts[:RANKED], centred=False) / contexts.shape[1]


def _between(on_pass: OnStep | None) -> Callable[[int], None] | None:
    """Return what a pass over a text calls now and then, so that it can be stopped."""
    return None if on_pass is None else lambda done: on_pass(0, 1, f"{done:,} tokens read")


# ---- a pretrained embedding, made in the run --------------------------------------------------------------------


def loaded(
    equations: Equations, settings: ContextSettings, on_step: OnStep | None = None, *, vectors: str = "pretrained"
) -> EmbeddedCorpus:
    """Return corpus and embedding; ``on_step`` hears of an embedding that is made, and may raise to stop."""
    # of an embedding that is still to be read only what a row has at the least
    own = settings.width if settings.pretrained == MADE else 1
    blocks = BlockSize(own, settings.context, settings.layers, settings.inputs, settings.wiring, settings.widths)
    check_memory(contexts_bytes(blocks, 1, 0))
    if settings.pretrained != MADE or vectors != "pretrained":
        return embedded_corpus(settings, vectors=vectors)

    def making(update: int, planned: int, told: str = "") -> None:
        if on_step:  # these are no updates of the run
            on_step(0, 0, f"making the embedding, {update:,} of {planned:,}")

    return made(equations, settings.width, making)


def made(equations: Equations, width: int, on_step: OnStep | None = None) -> EmbeddedCorpus:
    """Return the synthetic language with an embedding, (V, width), that was trained on much more of it.

    The offline stand-in for an embedding that read much more text than we have: the tied embedding of a model of this
    chapter, trained on many times more lines of the language, drawn by another seed than any line that is read later.
    """
    corpus, words = load_corpus(SYNTHETIC), Grammar.standard().vocabulary()
    settings = ContextSettings(
        width=width,
        context=32,
        tokens=10**7,
        layers=1,
        block="untrained",
        epochs=2,
        batch=1_024,
        lr=1e-2,
        patience=100,
        device="cpu",  # as small as it is, and the same wherever it is then read
    )
    start = torch.randn(len(words), width, generator=generator("made embedding", MADE_SEED)) / width**0.5
    # lines of its own to validate with: nothing of what is judged on later has a say
    lines = Grammar.standard().lines
    more = Corpus(SYNTHETIC, lines(LINES, MADE_SEED), lines(HELD_OUT, MADE_SEED + 1))
    source = EmbeddedCorpus(more, word_coder(words), start, "made", "", words)
    data = dataset_of(source, settings.tokens, settings.val_tokens)
    arm = ArmSpec("made", contexts=ContextSpec.of(settings), trains_embedding=True)
    stages = Stages(equations, settings, data)
    model = stages.model(arm, stages.contexts(arm.contexts, MADE_SEED), MADE_SEED)
    training = training_of(settings, data, model, MADE_SEED)
    training.run(on_step)
    # known by how it is made, not where: its last bits depend on the machine, and a run may go on with another
    recipe = f"{LINES} {MADE_SEED} {settings.document() | {'device': 'auto'}} {words.sha256}"
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    told = say("contexts.made_embedding", tokens=len(data.text.train.tokens))
    embedding = training.best["embedding"]
    return EmbeddedCorpus(corpus, word_coder(words), embedding, "made in the run", digest, words, [told])
