"""Three update rules, each as its equation on one page, and the clip before them.

With gradient g of a parameter p at update t and learning rate r:

SGD      p <- p - r g

Adam     m <- b1 m + (1 - b1) g             a running mean of the gradient
         v <- b2 v + (1 - b2) g^2           a running mean of its square, per coordinate
         p <- p - r (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

AdamW    p <- p (1 - r d), then Adam        d is the weight decay; it reaches parameters without gradient too

A parameter may have a rate of its own: ``shares`` says by name which share of r it gets.

SGD treats all directions alike.  Adam divides coordinate by coordinate, so the axes it is written in
matter: rotate the axes, and it takes another path.

Sources: Kingma and Ba, "Adam" (2015), algorithm 1; Loshchilov and Hutter, "Decoupled weight decay
regularization" (2019), algorithm 2.  ``torch.optim`` is the oracle in the tests; it is not used here because
its first use imports some 900 modules, as slow as importing torch itself.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

BETAS = 0.9, 0.999
"""How much of Adam's two running means stays at each update."""


class SGD:
    """Plain gradient descent."""

    def __init__(self, lr: float, *, shares: Mapping[str, float] | None = None) -> None:
        self.lr, self.shares = lr, shares or {}

    def update(self, parameters: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
        """Apply one update to every parameter; gradients of other names are ignored."""
        for name, parameter in parameters.items():
            parameter.add_(gradients[name], alpha=-self.lr * self.shares.get(name, 1.0))

    def state(self) -> dict[str, Tensor]:
        """Return nothing: plain descent remembers nothing."""
        return {}

    def restore(self, state: dict[str, Tensor], device: torch.device | str = "cpu") -> None:
        """Take over nothing."""


class Adam:
    """Adam; with ``weight_decay`` it is AdamW."""

    def __init__(
        self,
        lr: float,
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.lr, self.eps, self.weight_decay = lr, eps, weight_decay
        self.shares = shares or {}
        self.updates = 0
        self.mean: dict[str, Tensor] = {}
        self.square: dict[str, Tensor] = {}

    def state(self) -> dict[str, Tensor]:
        """Return what the next update depends on beside parameters and gradients; not a copy."""
        means = {f"mean.{name}": tensor for name, tensor in self.mean.items()}
        squares = {f"square.{name}": tensor for name, tensor in self.square.items()}
        return {"updates": torch.tensor(self.updates), **means, **squares}

    def restore(self, state: dict[str, Tensor], device: torch.device | str = "cpu") -> None:
        """Take over what ``state`` returned, as a copy on a device."""
        self.updates, self.mean, self.square = int(state["updates"]), {}, {}
        for key, tensor in state.items():
            kind, _, name = key.partition(".")
            if name:
                (self.mean if kind == "mean" else self.square)[name] = tensor.to(device, copy=True)

    def update(self, parameters: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
        """Apply one update to every parameter."""
        self.updates += 1
        b1, b2 = BETAS
        mean_correction, square_correction = 1 - b1**self.updates, 1 - b2**self.updates
        for name, parameter in parameters.items():
            gradient = gradients[name]
            if name not in self.mean:
                self.mean[name], self.square[name] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            mean, square = self.mean[name], self.square[name]
            lr = self.lr * self.shares.get(name, 1.0)
            if self.weight_decay:
                parameter.mul_(1 - lr * self.weight_decay)
            mean.lerp_(gradient, 1 - b1)
            square.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
            denominator = (square.sqrt() / square_correction**0.5).add_(self.eps)
            parameter.addcdiv_(mean, denominator, value=-lr / mean_correction)


Optimizer = SGD | Adam
"""What changes named parameters in place, given their gradients."""


def clip(gradients: dict[str, Tensor], largest: float) -> float:
    """Scale gradients in place to a norm over all their numbers of at most ``largest``.

    Returns:
        The norm before; one that is not finite leaves gradients that are not to be used.
    """
    norm = float(torch.nn.utils.get_total_norm(gradients.values()))
    if norm > largest:
        for gradient in gradients.values():
            gradient.mul_(largest / (norm + 1e-6))  # the 1e-6 as in torch.nn.utils.clip_grad_norm_
    return norm


def optimizer_named(
    name: str, lr: float, weight_decay: float = 0.0, shares: Mapping[str, float] | None = None
) -> Optimizer:
    """Return a fresh optimiser: ``sgd``, ``adam``, or ``adamw`` (the only one that decays weights)."""
    if name == "sgd":
        return SGD(lr, shares=shares)
    return Adam(lr, weight_decay=weight_decay if name == "adamw" else 0.0, shares=shares)
