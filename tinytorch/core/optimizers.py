"""Steps downhill, in place: after the first step no array is allocated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt

import numpy as np

from .checks import real_number
from .tensor import Array, Tensor


class Optimizer:
    """Holds the parameters. A subclass defines `_update`, called for each parameter that has a gradient."""

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = list(params) if isinstance(params, Iterable) else []
        if not self.params:
            raise ValueError("an optimizer needs at least one parameter, got none: pass model.parameters()")
        if not all(isinstance(p, Tensor) for p in self.params):
            raise TypeError("an optimizer changes Tensors, got something else: pass model.parameters()")
        if len(set(self.params)) < len(self.params):
            raise ValueError("an optimizer would change a parameter twice: it was given the same Tensor more than once")
        self.lr = real_number("lr", lr)
        if not 0 < self.lr < np.inf:
            raise ValueError(f"lr must be > 0 and finite, got {lr}")
        self.steps = 0
        self._scratch: list[Array] = [np.empty_like(p.data) for p in self.params]

    def zero_grad(self) -> None:
        """Forget the gradients; call it before every backward(), which adds to them."""
        for param in self.params:
            param.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        self.steps += 1
        for i, param in enumerate(self.params):
            if param.grad is not None:
                self._update(i, param.data, param.grad, self._scratch[i])

    def _update(self, i: int, w: Array, grad: Array, scratch: Array) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """v = momentum * v + (grad + weight_decay * w);  w -= lr * v"""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr)
        self.momentum, self.weight_decay = real_number("momentum", momentum), real_number("weight_decay", weight_decay)
        if not (0 <= self.momentum < np.inf and 0 <= self.weight_decay < np.inf):
            raise ValueError(f"momentum and weight_decay must be >= 0 and finite, got {momentum} and {weight_decay}")
        self._velocity = [np.zeros_like(p.data) for p in self.params]

    def _update(self, i: int, w: Array, grad: Array, scratch: Array) -> None:
        velocity = self._velocity[i]
        np.multiply(w, self.weight_decay, out=scratch)
        scratch += grad
        velocity *= self.momentum
        velocity += scratch
        np.multiply(velocity, self.lr, out=scratch)
        w -= scratch


def _square(grad: Array, out: Array) -> None:
    """OverflowError where a finite gradient has an infinite square, with which a parameter would never move again."""
    try:
        with np.errstate(over="raise"):
            np.multiply(grad, grad, out=out)
    except FloatingPointError:
        largest = np.abs(grad).max()
        raise OverflowError(
            f"a gradient of {largest:g} is too large: its square overflows {out.dtype}; clip it or scale the loss down"
        ) from None


class Adam(Optimizer):
    """m, v: running means of grad and grad**2;  w -= lr * m_hat / (sqrt(v_hat) + eps), where
    m_hat = m / (1 - beta1**t) and v_hat = v / (1 - beta2**t) at step t. Kingma and Ba 2015, in the order of their
    section 2, which folds both corrections into lr and eps."""

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(params, lr)
        if not isinstance(betas, Sequence) or isinstance(betas, str) or len(betas) != 2:
            raise TypeError(f"betas must be two numbers, got {betas!r}")
        self.betas, self.eps = (real_number("beta1", betas[0]), real_number("beta2", betas[1])), real_number("eps", eps)
        if not (all(0 <= beta < 1 for beta in self.betas) and 0 <= self.eps < np.inf):
            raise ValueError(f"betas must lie in [0, 1) and eps be >= 0 and finite, got {betas} and {eps}")
        self._mean = [np.zeros_like(p.data) for p in self.params]
        self._mean_square = [np.zeros_like(p.data) for p in self.params]

    def _update(self, i: int, w: Array, grad: Array, scratch: Array) -> None:
        beta1, beta2 = self.betas
        m, v = self._mean[i], self._mean_square[i]
        _square(grad, scratch)
        scratch -= v
        scratch *= 1 - beta2
        v += scratch
        np.subtract(grad, m, out=scratch)
        scratch *= 1 - beta1
        m += scratch
        correction = sqrt(1 - beta2**self.steps)
        np.sqrt(v, out=scratch)
        scratch += self.eps * correction
        np.divide(m, scratch, out=scratch)
        scratch *= self.lr * correction / (1 - beta1**self.steps)
        w -= scratch
