"""Chapter 5: a memory computed once, and a pretrained embedding: is it better frozen or trained further?

Question: the original notes compared two runs that differed in text, head and validation, and found freezing 72 %
better.  With the same tokens, validation text and updates: does freezing help, and up to how much text?

One stack, the context block, writes the memory; another, the token block, reads it and predicts.  Both have the same
number of layers k.  x is the embedding of token t after a LayerNorm (of the last M tokens side by side, the newest
last); the token block's LayerNorm has a trained gain and bias, and its embedding may be trained:

    context layer    c[k] = LayerNorm( P c[k-1] + ReLU( A [c[k-1] ; x] + a ) )    c[0] = the context after token t-1
    token layer      y[k] = LayerNorm( P y[k-1] + ReLU( A [c[k] ; y[k-1]] + a ) )    y[0] = x

Every layer has its own A, a and P; P is the identity where the width stays, and a learned linear map (with a bias)
where it changes; where the layers of a block are equally wide, y[0] is added as the newest token's x alone.  The
context after token t is the last context layer's output; the last token layer's output y is scored against the
embedding (a tied head), score = E y, or by a head of its own, score = W y + b.

Stage 1 trains the context block without any target from the text: read again, each position's context should stay what
it was, and the contexts should differ.  Then the block is frozen, and computes the contexts of the whole text.

Stage 2 trains the token block on them.  As contexts no longer change, no position waits for another: a batch is any
positions, each with its context, its token and its target, and the loop is chapter 3's (``baseline.plain_training``)
with the gradient of ``plain_loss`` over the batch, clipped to norm 1, at a constant rate.  ``lab.context_study`` can
let each arm choose that rate first, on the last tenth of its training text.

The arms of this chapter share their contexts and differ in Stage 2 alone: {E frozen, E trained} x {tied, untied head}.
The control has a random E in both stages; frozen and trained are also compared on more text.  A pretrained E comes from
a model's folder; without one ``lab.made_embedding`` trains it on other lines of the made-up language.  What is measured
of an arm is in ``lab.context_runs.scores``.

But: are these contexts any good, and was the block that makes them worth training?  Chapter 6.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.fast.fixed_context_lm import FixedContextLM, Parameters
from llmlab.fast.fixed_contexts import FixedContexts, Inputs, embedded, fixed_contexts
from llmlab.lab import context_metrics
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.checkpoint import State
from llmlab.lab.context_metrics import called
from llmlab.lab.context_runs import ArmRuns, ArmSpec, Contexts, ContextSpec, Keep, Measured, precision_of
from llmlab.lab.context_study import Comparison, compared
from llmlab.lab.context_text import ContextDataset
from llmlab.lab.device import device_of, measure, products_in
from llmlab.lab.language import EPS, PRECISIONS
from llmlab.lab.made_embedding import loaded
from llmlab.lab.optimizer import Adam, clip
from llmlab.lab.rng import generator
from llmlab.lab.steps import Diverged, OnStep, one_of_several
from llmlab.measure.spectrum import rank_share
from llmlab.report.messages import say
from llmlab.report.result import Result, Scalar
from llmlab.settings import ContextSettings, EmbeddingFreezeSettings
from llmlab.shown import embedding_freeze as shown

WEIGHT_DEVIATION, BIAS_DEVIATION = 0.1, 0.01

# ---- the two blocks ---------------------------------------------------------------------------------------------
#
# In what follows ``size`` are the sizes of both blocks (``lab.block_sizes``, which names their parameters), c is the
# width of a context, w or w_k that of a layer, d that of the embedding; ``x``, (B, M d), are the normalised embeddings
# of the last M tokens of B positions, ``ids``, (n,), the tokens of a text, and ``frozen`` the parameters of the
# context block and the ``embedding``, (V, d), that it reads.


def layer(parameters: Parameters, name: str, reads: Tensor, residual: Tensor) -> Tensor:
    """Return LayerNorm( P residual + ReLU( A reads + a ) ), (B, w); without a P the residual is added as it is."""
    if f"{name}.projection.weight" in parameters:
        weight, bias = parameters[f"{name}.projection.weight"], parameters[f"{name}.projection.bias"]
        residual = F.linear(residual, weight, bias).to(residual.dtype)
    change = F.linear(reads, parameters[f"{name}.weight"], parameters[f"{name}.bias"]).relu()
    gain, bias = parameters[f"{name}.norm.gain"], parameters[f"{name}.norm.bias"]
    return F.layer_norm(residual + change, gain.shape, gain, bias, EPS)


def context_layers(
    size: BlockSize, parameters: Parameters, context: Tensor, x: Tensor, layers: int | None = None
) -> list[Tensor]:
    """Return the output of each layer of the context block, (B, w_k), or of the first ``layers``, over a token per row.

    It reads the context before the token, (B, c); the last layer's output is the context after it.
    """
    outputs: list[Tensor] = []
    for k in range(size.layers)[:layers]:
        reads = torch.cat([context, x], dim=1) if size.reads_tokens(k) else context
        context = layer(parameters, f"context{k}", reads, context)
        outputs.append(context)
    return outputs


def token_layers(size: BlockSize, parameters: Parameters, contexts: list[Tensor], x: Tensor) -> Tensor:
    """Return what the token block makes of one token per row, (B, d), for the head.

    ``contexts`` has for each layer the context that it is given, (B, w_k).
    """
    y = x
    for k, context in enumerate(contexts):
        residual = y[:, -size.embedding :] if size.widths == "constant" else y  # the newest token's
        y = layer(parameters, f"token{k}", torch.cat([context, y], dim=1), residual)
    return y


BLOCKS = context_layers, token_layers


def initial(shapes: dict[str, tuple[int, ...]], seed: int) -> Parameters:
    """Return fresh parameters: weights N(0, 0.1^2), biases N(0, 0.01^2), LayerNorms that change nothing.

    What a parameter starts with depends on its name, its shape and the seed, so no other parameter can move it.
    """
    parameters: Parameters = {}
    for name, shape in shapes.items():
        if "norm." in name:
            parameters[name] = torch.full(shape, float(name.endswith("gain")))
        else:
            deviation = WEIGHT_DEVIATION if len(shape) > 1 else BIAS_DEVIATION
            parameters[name] = torch.randn(shape, generator=generator(name, seed)) * deviation
    return parameters


# ---- the plain pass, token by token -----------------------------------------------------------------------------


def normalised(rows: Tensor, parameters: Parameters | None = None) -> Tensor:
    """Return embedding rows after LayerNorm, with the trained ``norm.gain`` and ``norm.bias`` if there are any."""
    gain, bias = (parameters["norm.gain"], parameters["norm.bias"]) if parameters else (None, None)
    return F.layer_norm(rows, rows.shape[-1:], gain, bias, EPS)


def plain_pass(size: BlockSize, frozen: Parameters, ids: Tensor) -> Iterator[list[Tensor]]:
    """Yield what every context layer has written after each token of a text, (1, w_k) each."""
    context = frozen["embedding"].new_zeros(1, size.context)
    x = frozen["embedding"].new_zeros(size.n_tokens, size.embedding)
    for token in ids.tolist():
        x = torch.cat([x[1:], normalised(frozen["embedding"][[token]])])
        outputs = context_layers(size, frozen, context, x.view(1, -1))
        context = outputs[-1]
        yield outputs


def logits_by_token(size: BlockSize, frozen: Parameters, parameters: Parameters, ids: Tensor) -> Iterator[Tensor]:
    """Yield the logits after each token of a text, (V,) each: both blocks, the plain way.

    ``parameters`` are what Stage 2 trains: the token block, ``norm.gain`` and ``norm.bias``; ``embedding`` in the arms
    that train it, ``head.weight`` and ``head.bias`` in those with an untied head.  No gradient flows into what is
    frozen, nor into a context.  ``size.reading`` says which contexts the token layers are given.
    """
    embedding = parameters.get("embedding", frozen["embedding"])
    head, bias = parameters.get("head.weight", embedding), parameters.get("head.bias")
    x = embedding.new_zeros(size.n_tokens, size.embedding)
    before = nothing = embedding.new_zeros(1, size.context)
    for token, after in zip(ids.tolist(), plain_pass(size, frozen, ids), strict=True):
        x = torch.cat([x[1:], normalised(embedding[[token]], parameters)])
        seen = {"final": after[-1], "before": before, "none": nothing}
        given = after if size.reading == "after" else [seen[size.reading]] * size.layers
        yield F.linear(token_layers(size, parameters, given, x.view(1, -1)), head, bias)[0]
        before = after[-1]


def plain_loss(size: BlockSize, frozen: Parameters, parameters: Parameters, ids: Tensor) -> Tensor:
    """Return the mean loss of each next token of a text, in nats: what Stage 2 makes small, the plain way.

    Autograd through this loop is the oracle of ``fast.fixed_context_lm``, which trains on any positions at once.
    """
    logits = torch.stack(list(logits_by_token(size, frozen, parameters, ids))[:-1])
    return F.cross_entropy(logits, ids[1:])


# ---- Stage 1: contexts that stay put and fill the space ---------------------------------------------------------


@dataclass(frozen=True)
class FixedPointRecipe:
    """How Stage 1 trains its block; the defaults are those of the original notes.

    ``weight`` is that of the diversity: 0 has none of it, 1 nothing else.  A position has converged when its context's
    mean squared change is below ``near``; training stops once the share ``enough`` of positions has.  ``clip`` is the
    largest gradient norm, ``dtype`` that of the products; all else is float32.
    """

    iterations: int = 10
    lr: float = 0.002
    noise: float = 0.1
    weight: float = 0.5
    near: float = 0.03
    enough: float = 0.95
    batch: int = 4096
    clip: float = 1.0
    seed: int = 0
    dtype: torch.dtype = torch.float32


def diversity(contexts: Tensor) -> Tensor:
    """Return minus the norm of the contexts, (m, c), less their mean row, divided by m.

    It shrinks as 1 / sqrt(m), so another batch size is another recipe.  It rewards distance from the mean, not many
    directions: contexts at two opposite points are as good as any.
    """
    length: Tensor = torch.linalg.vector_norm(contexts - contexts.mean(0))
    return -length / len(contexts)


def fixed_point(
    size: BlockSize,
    start: Parameters,
    inputs: Inputs,
    contexts: Tensor,
    recipe: FixedPointRecipe,
    on_step: OnStep | None = None,
) -> tuple[Parameters, list[dict[str, float]]]:
    """Train a copy of a context block without any target from the text: each context should stay what it was.

    Iteration 1 learns nothing: it is the block's own pass through the text, ``contexts``, (n, c).  Each further one
    moves all positions at once, adds up the gradients of all batches, and makes one step of Adam.  In the second only
    the noise moves contexts, as nothing is learned yet, so it does not stop there.  ``inputs`` gives the x of any
    positions, ``on_step`` is called after each batch.

    Returns:
        The trained parameters, and a row per iteration from the second on.  The contexts are written over by those of
        the last iteration, from before its step and with its noise: what the notes measure.

    Raises:
        Diverged: a loss or a gradient is not finite.
    """
    block = {name: parameter.clone() for name, parameter in start.items()}
    adam, rows = Adam(recipe.lr), list[dict[str, float]]()
    for iteration in range(2, recipe.iterations + 1):
        began, rate = time.monotonic(), rows[-1]["converged_fraction"] if rows else 0.0
        told = f"iteration {iteration} of {recipe.iterations}, {rate:.1%} converged"
        step = one_of_several(on_step, iteration - 2, recipe.iterations - 1, told)
        found, gradients = one_iteration(size, block, inputs, contexts, recipe, iteration, step)
        if not math.isfinite(clip(gradients, recipe.clip)):
            raise Diverged(iteration - 1)
        adam.update(block, gradients)
        rows.append({"iteration": iteration, **found, "seconds": time.monotonic() - began})
        if iteration > 2 and found["converged_fraction"] >= recipe.enough:
            break
    return block, rows


def one_iteration(
    size: BlockSize,
    block: Parameters,
    inputs: Inputs,
    contexts: Tensor,
    recipe: FixedPointRecipe,
    iteration: int,
    step: OnStep,
) -> tuple[dict[str, float], Parameters]:
    """Replace the contexts by new ones; return the means over batches of what is measured, and the gradients.

    With w the weight of the diversity and m positions in a batch:

        new_t = block( old_(t-1) + noise, x_t )       the first reads old_n: the text is a circle
        loss  = (1 - w) mean (new - old)^2  -  w |new - mean row of new| / m         old is constant here

    One (n, c) buffer is enough: batches go from the last to the first, so old_(t-1) is still there when position t
    reads it.  Noise is a function of (seed, iteration, batch).
    """
    batches, device = -(-len(contexts) // recipe.batch), contexts.device
    wrapped = contexts[-1:].clone()  # a copy: it is overwritten before position 1 reads it
    moved, spread, settled = 0.0, 0.0, 0
    gradients: Parameters = {}
    for done, number in enumerate(reversed(range(batches)), 1):
        first, stop = number * recipe.batch, min((number + 1) * recipe.batch, len(contexts))
        old = contexts[first:stop]
        before = torch.cat([contexts[first - 1 : first] if first else wrapped, old[:-1]])
        if recipe.noise:
            drawn = torch.randn(before.shape, generator=generator("context noise", recipe.seed, iteration, number))
            before.add_(drawn.to(device, before.dtype), alpha=recipe.noise)
        leaves = {name: parameter.detach().requires_grad_() for name, parameter in block.items()}
        with torch.enable_grad(), products_in(recipe.dtype, device):
            output = context_layers(size, leaves, before, inputs(torch.arange(first, stop, device=device)))[-1]
            stays, fills = (output - old).square().mean(), diversity(output)
            loss = ((1 - recipe.weight) * stays + recipe.weight * fills) / batches
            part = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        gradients = {name: gradients[name].add_(part[name]) for name in part} if gradients else part
        moved, spread, output = moved + float(stays.detach()), spread + float(fills.detach()), output.detach()
        settled += int(((output - old).square().mean(1) < recipe.near).sum())
        contexts[first:stop] = output
        step(done, batches)
    found = {"fixed_point_loss": moved / batches, "diversity": spread / batches}
    return found | {"converged_fraction": settled / len(contexts)}, gradients


# ---- both stages over a text ------------------------------------------------------------------------------------

FEWEST_CHECKED, WORK_CHECKED = 32, 2 * 10**7
"""At least this many contexts are checked, and more while tokens times parameters stay below this."""

TRIED = 1_024
"""So many tokens of a pass settle the number of threads."""


def stage1(
    settings: ContextSettings,
    data: ContextDataset,
    spec: ContextSpec,
    seed: int,
    on_pass: OnStep = lambda *told: None,
    keep: Keep = lambda train: train(),
) -> Contexts:
    """Compute the contexts of all streams of a text, by a block that is trained on the first one if it is to be.

    ``on_pass`` is called now and then, and may raise to stop.
    """
    device, embedding = device_of(settings.device), data.source.vectors(spec.vectors, seed)
    embedding, size = embedding.to(device), spec.size(settings, embedding.shape[1])
    streams = [part.tokens.to(device) for part in data.text.streams]
    inputs = [embedded(embedding, tokens, size.n_tokens) for tokens in streams]
    start = {name: tensor.to(device) for name, tensor in initial(size.context_shapes(), seed).items()}
    measure(start, streams[0][:TRIED, None], lambda some: fixed_contexts(size, start, inputs[0], len(some)))

    def contexts(block: Parameters, number: int, **choices: Any) -> FixedContexts:
        choices |= {"tolerance": settings.tolerance, "between": lambda done: on_pass(0, 1, f"{done:,} tokens read")}
        return fixed_contexts(size, block, inputs[number], len(streams[number]), **choices)

    def train() -> State:
        recipe = FixedPointRecipe(settings.iterations, settings.block_lr, spec.noise, settings.diversity, seed=seed)
        recipe = replace(recipe, dtype=PRECISIONS[precision_of(settings)])
        recipe = recipe if spec.stops else replace(recipe, enough=math.inf)
        before = contexts(start, 0).contexts
        rank = rank_share(before)
        block, rows = fixed_point(size, start, inputs[0], before, recipe, on_pass)
        return {"model": block, "rows": rows, "rank": rank}

    kept: State = keep(train) if spec.trained else {"model": start}
    block = {name: tensor.to(device) for name, tensor in kept["model"].items()}
    after = torch.empty(sum(map(len, streams)), size.context, device=device)
    # many where a token costs little: a narrow block forgets slowly, and is the one to watch
    fewest = max(FEWEST_CHECKED, WORK_CHECKED // size.context_parameters())
    rooms = torch.split(after, [len(tokens) for tokens in streams])
    found = [contexts(block, n, check=max(fewest, len(room) // 500), out=room) for n, room in enumerate(rooms)]
    ranks = {name: rank_share(one.contexts) for name, one in zip(("train", "valid"), found, strict=False)}
    ranks |= {"untrained": kept.get("rank", ranks["train"])}
    measured = Measured.of(seed, size, found, ranks, kept.get("rows", []))
    return Contexts(block | {"embedding": embedding}, after, measured)


def stage2(
    settings: ContextSettings, data: ContextDataset, arm: ArmSpec, contexts: Contexts, seed: int
) -> FixedContextLM:
    """Return a fresh model of an arm on fixed contexts, which it shares with the other arms."""
    size, streams = replace(contexts.measured.size, reading=arm.reading), [part.tokens for part in data.text.streams]
    trained = {"tied": arm.tied, "trains_embedding": arm.trains_embedding}
    parameters = fresh_parameters(size, contexts.frozen["embedding"], seed, **trained)
    precision = precision_of(settings)
    return FixedContextLM(BLOCKS, size, contexts.frozen, streams, contexts.after, parameters, precision)


def fresh_parameters(
    size: BlockSize, embedding: Tensor, seed: int, *, tied: bool = True, trains_embedding: bool = False
) -> Parameters:
    """Return what Stage 2 trains, at its start: of a seed the same token block, whatever else is trained.

    An embedding, if it is trained, starts as a copy of the frozen one, (V, d), an untied head at zero.
    """
    shapes = size.trained_shapes(len(embedding), tied=tied, trains_embedding=trains_embedding)
    given, parameters = initial(size.token_shapes(), seed) | {"embedding": embedding}, Parameters()
    for name, shape in shapes.items():
        start = given[name] if name in given else torch.full(shape, float(name == "norm.gain"))
        parameters[name] = start.to(embedding.device, copy=True)
    return parameters


# ---- the chapter ------------------------------------------------------------------------------------------------

GRID = (("trained", "frozen"), ("trained-untied", "frozen-untied"))
"""Trained and frozen, with a tied head and with an untied one."""
HEADS = (("frozen-untied", "frozen"), ("trained-untied", "trained"))
PAIRS = (*GRID, *HEADS, ("random-frozen", "frozen"), ("random-trained", "trained"))
"""What is compared with what."""


def freeze_arms(settings: EmbeddingFreezeSettings) -> list[ArmSpec]:
    """Return the arms: the grid, then frozen and trained at the other numbers of tokens."""
    arms = []
    for name in settings.arm_names:
        contexts = replace(ContextSpec.of(settings), vectors="random" if name.startswith("random") else "pretrained")
        trained = {"tied": not name.endswith("untied"), "trains_embedding": "trained" in name}
        arms.append(ArmSpec(name, shown.LABELS[name], contexts=contexts, reading=settings.reading, **trained))
    grown = []
    for tokens in (tokens for tokens in settings.sizes if tokens != settings.tokens):
        for arm in (arm for arm in arms if arm.name in GRID[0]):
            contexts, label = replace(arm.contexts, tokens=tokens), say("contexts.grown", arm=arm.label, tokens=tokens)
            grown.append(replace(arm, name=f"{arm.name}-{tokens}", label=label, contexts=contexts))
    return arms + grown


def run(settings: EmbeddingFreezeSettings, on_step: OnStep | None = None) -> Result:
    """Train every arm and seed and report what freezing does; see ``phase1.run``."""
    source, arms = loaded(settings, stage1, stage2, on_step), freeze_arms(settings)
    found = compared(stage1, stage2, settings, source, arms, on_step)
    have = {name: arm for name, arm in found.arms.items() if arm.runs}
    pairs = [(have[one], have[other]) for one, other in PAIRS if one in have and other in have]
    metrics = context_metrics.metrics(found) | differences(settings, have, found) if found.finished else {}
    return shown.result(settings, found, metrics, pairs)


def differences(settings: EmbeddingFreezeSettings, have: dict[str, ArmRuns], found: Comparison) -> dict[str, Scalar]:
    """Return the differences between arms as metrics, and how much freezing and tying help each other.

    Frozen and trained are also named by their number of tokens, whichever size the settings begin with.
    """
    have = have | {f"{name}-{settings.tokens}": have[name] for name in GRID[0] if name in have}
    grown = [(f"trained-{tokens}", f"frozen-{tokens}") for tokens in sorted({settings.tokens, *settings.sizes})]
    pairs = [(called(one), called(other)) for one, other in (*PAIRS, *grown) if {one, other} <= have.keys()]
    told = context_metrics.differences(found, {called(name): arm for name, arm in have.items()}, pairs)
    if {name for pair in GRID for name in pair} <= have.keys():
        tied, untied = ((have[one], have[other]) for one, other in GRID)
        told |= context_metrics.interaction(untied, tied)
    return told
