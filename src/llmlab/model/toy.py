"""TinyModel: an embedding and an output layer, nothing between them (seed document 000).

For input token x and possible next token k

    score[x, k] = E[x] . W[k] + b[k]          P(k | x) = softmax over k of score[x, k]

Covers many models at once: everything carries a leading axis S, one model per random seed, so that a
thousand seeds train in about the time of a few.

Gradients are written out instead of left to autograd: with G[x, k] = P(x) P(k | x) - joint[x, k],
which is how much too likely the model holds the pair (x, k),

    dL/dE = G W          dL/dW = G^T E          dL/db = sum over x of G

A token that is never an input has a zero row in G, so its embedding gets exactly no gradient.  The tests
hold these three lines against autograd and against plain Python loops.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

EMBEDDING = "embedding.weight"
WEIGHT = "linear.weight"
BIAS = "linear.bias"


@dataclass(frozen=True)
class TinyModel:
    """S models side by side.  With ``weight is embedding`` the two are tied: one tensor, two uses."""

    embedding: Tensor  # (S, V, D)
    weight: Tensor  # (S, V, D)
    bias: Tensor  # (S, V)

    @classmethod
    def initial(cls, vocabulary_size: int, dim: int, seeds: Iterable[int]) -> "TinyModel":
        """Draw one model per seed: embedding N(0, 1), output layer uniform in ±1/sqrt(dim).

        These are the defaults of ``torch.nn.Embedding`` and ``torch.nn.Linear``.  Each seed has its own
        stream of random numbers, so a model does not depend on its neighbours in the stack.
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

        Args:
            joint: share of each (input, target) pair, (V, V), summing to 1.
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

    def rotated(self, rotation: Tensor) -> "TinyModel":
        """Return the model with embeddings and output rows turned together by an orthogonal (D, D) matrix."""
        return TinyModel(self.embedding @ rotation, self.weight @ rotation, self.bias.clone())

    def with_tied_weights(self) -> "TinyModel":
        """Return a copy whose output rows are the embeddings."""
        embedding = self.embedding.clone()
        return TinyModel(embedding, embedding, self.bias.clone())

    def padded(self, dim: int) -> "TinyModel":
        """Return the model in ``dim`` dimensions, the new coordinates all zero.

        The function is the same, and so is training: a coordinate that is zero in E and in W has gradient
        zero in both.  Models of different dimensions can so share one stack.
        """
        missing = dim - self.embedding.shape[-1]
        pad = torch.nn.functional.pad
        return TinyModel(pad(self.embedding, (0, missing)), pad(self.weight, (0, missing)), self.bias.clone())

    def clone(self) -> "TinyModel":
        """Return a copy that shares no memory."""
        return (
            self.with_tied_weights()
            if self.tied
            else TinyModel(self.embedding.clone(), self.weight.clone(), self.bias.clone())
        )

    def __len__(self) -> int:
        return self.embedding.shape[0]

    def __getitem__(self, seeds: slice) -> "TinyModel":
        embedding = self.embedding[seeds]
        return TinyModel(embedding, embedding if self.tied else self.weight[seeds], self.bias[seeds])


def stacked(models: Iterable[TinyModel]) -> TinyModel:
    """Return the models of all stacks in one, in order.  They must agree in V, D and tying."""
    parts = list(models)
    embedding = torch.cat([part.embedding for part in parts])
    weight = embedding if parts[0].tied else torch.cat([part.weight for part in parts])
    return TinyModel(embedding, weight, torch.cat([part.bias for part in parts]))
