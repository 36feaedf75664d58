"""New-LLM with a longer context: the trained numbers where they were, and room for new ones beside them.

A context of c0 numbers becomes one of c1.  The parameters that belong to single context numbers grow: the columns
of the first layer that read them (token columns, old context, new context), the rows of D, F and I that write them,
and the gains and biases of their LayerNorm.  Everything else is copied.

Covers building the larger model, which of its parameters belong to which context numbers, and how unlike one another
its new numbers have become.  Leaves out training.

Two facts that hold whatever the model is.  (1) One LayerNorm over old numbers and new zeros divides by a smaller
deviation: with r = c0 / c1, mean m and variance v of the old numbers, v becomes r v + r (1 - r) m^2, so for m = 0 the
old numbers grow by sqrt(1 / r), and every new one becomes the same constant.  (2) New numbers whose weights are equal
get equal gradients, at every update: they stay equal for ever, and are one number, written down many times.  In fp32
they are equal to the bit where a product sums every column in the same order, as it does at the seed's sizes; at sizes
that leave an odd rest they differ by a rounding (which Adam enlarges where a gradient is nothing but roundings).

Source: the plan at the end of seed document 003, and section 7 of its code.
"""

from dataclasses import replace

import torch
from torch import Tensor

from llmlab.lab.rng import generator
from llmlab.lab.sizes import Size
from llmlab.model.new_llm import ContextVectorLM

Part = tuple[str, tuple[slice, ...]]
"""A parameter's name, and where in it."""

DEVIATION = 0.02
"""Of new rows that start by chance; the deviation that all weights of the seed's model start with."""


def parts(size: Size, first: int, last: int) -> list[Part]:
    """Return where the parameters of the context numbers from ``first`` up to ``last`` stand."""
    found: list[Part] = [
        ("layer0.weight", (slice(None), slice(size.embedding + first, size.embedding + last))),
        ("norm.gain", (slice(first, last),)),
        ("norm.bias", (slice(first, last),)),
    ]
    for gate in range(3):  # D, then F, then I
        rows = slice(gate * size.context + first, gate * size.context + last)
        found += [("gates.weight", (rows,)), ("gates.bias", (rows,))]
    return found


def expanded(
    model: ContextVectorLM, context: int, *, rows: str = "zero", own_norm: bool = False, seed: int = 0
) -> ContextVectorLM:
    """Return a model with a longer context that has the trained parameters in its old part.

    New columns, biases and gains are 0, 0 and 1; the parameters are copies.

    Args:
        model: the trained one.
        context: numbers of the new context, more than the old one has.
        rows: the new rows of D, F and I: ``zero``, or ``random`` for N(0, 0.02^2).
        own_norm: normalise old and new part each for itself.  As no column reads the new part yet, the logits are
            then exactly those of ``model``; with ``rows="zero"`` the new part would stay 0 and could never learn.
        seed: of the random rows.

    Raises:
        ValueError: the context is not longer.
    """
    old = model.size
    if context <= old.context:
        raise ValueError(f"a context of {context} is not longer than one of {old.context}")
    size = replace(old, context=context, first_norm=old.context if own_norm else 0)
    parameters = {
        name: model.parameters[name].clone()
        if model.parameters[name].shape == shape
        else model.parameters[name].new_zeros(shape)
        for name, shape in size.shapes().items()
    }
    parameters["layer0.weight"][:, : size.embedding] = model.parameters["layer0.weight"][:, : size.embedding]
    parameters["norm.gain"][old.context :] = 1.0
    for (name, there), (_, here) in zip(parts(old, 0, old.context), parts(size, 0, old.context), strict=True):
        parameters[name][here] = model.parameters[name][there]
    if rows == "random":
        chance = generator("new rows", seed)
        for name, here in parts(size, old.context, context):
            if name == "gates.weight":
                new = parameters[name][here]
                new.copy_(torch.randn(new.shape, generator=chance) * DEVIATION)
    return ContextVectorLM(size, parameters, model.dropout)


def count(size: Size, first: int, last: int) -> int:
    """Return how many parameters belong to the context numbers from ``first`` up to ``last``.

    Example:
        >>> 1_951_720 - count(Size(layers=1, context=512), 0, 256)  # what pattern A trains at the seed's sizes
        1426152
    """
    return (last - first) * (size.hidden + 2 + 3 * (size.hidden + 1))


def hold_still(gradients: dict[str, Tensor], size: Size, old: int) -> None:
    """Set the gradients of the first ``old`` context numbers' parameters to 0: pattern A.

    Under Adam without decay a parameter whose gradient has always been 0 does not move.
    """
    for name, here in parts(size, 0, old):
        gradients[name][here] = 0.0


def largest_difference(after: ContextVectorLM, before: ContextVectorLM, old: int) -> float:
    """Return how far the parameters of the first ``old`` context numbers moved, the one that moved most."""
    return max(
        float((after.parameters[name][here] - before.parameters[name][here]).abs().max())
        for name, here in parts(after.size, 0, old)
    )


def spread(model: ContextVectorLM, old: int) -> float:
    """Return the largest difference between the same parameter of any two new context numbers; 0: they are one."""
    found = 0.0
    for name, here in parts(model.size, old, model.size.context):
        new = model.parameters[name][here]
        axis = 1 if name == "layer0.weight" else 0  # along which the new numbers stand
        found = max(found, float((new.amax(axis) - new.amin(axis)).max()))
    return found
