"""Steps downhill, in place: after the first step no array is allocated."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

import numpy as np

from .tensor import Array, Tensor


class Optimizer:
    """Holds the parameters. A subclass defines `_update`, called for each parameter that has a gradient."""

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = list(params)
        self.lr = lr
        self.steps = 0
        self._scratch: list[Array] = [np.empty_like(p.data) for p in self.params]
        if not self.params:
            raise ValueError("an optimizer needs at least one parameter, got none: pass model.parameters()")
        if not lr > 0:
            raise ValueError(f"lr must be > 0, got {lr}")

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
        self.momentum, self.weight_decay = momentum, weight_decay
        self._velocity = [np.zeros_like(p.data) for p in self.params]

    def _update(self, i: int, w: Array, grad: Array, scratch: Array) -> None:
        velocity = self._velocity[i]
        np.multiply(w, self.weight_decay, out=scratch)
        scratch += grad
        velocity *= self.momentum
        velocity += scratch
        np.multiply(velocity, self.lr, out=scratch)
        w -= scratch


class Adam(Optimizer):
    """m, v: running means of grad and grad**2;  w -= lr * m_hat / (sqrt(v_hat) + eps), where
    m_hat = m / (1 - beta1**t) and v_hat = v / (1 - beta2**t) at step t. Kingma and Ba 2015, in the order of their
    section 2, which folds both corrections into lr and eps."""

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(params, lr)
        self.betas, self.eps = betas, eps
        self._mean = [np.zeros_like(p.data) for p in self.params]
        self._mean_square = [np.zeros_like(p.data) for p in self.params]

    def _update(self, i: int, w: Array, grad: Array, scratch: Array) -> None:
        beta1, beta2 = self.betas
        m, v = self._mean[i], self._mean_square[i]
        np.subtract(grad, m, out=scratch)
        scratch *= 1 - beta1
        m += scratch
        np.multiply(grad, grad, out=scratch)
        scratch -= v
        scratch *= 1 - beta2
        v += scratch
        correction = sqrt(1 - beta2**self.steps)
        np.sqrt(v, out=scratch)
        scratch += self.eps * correction
        np.divide(m, scratch, out=scratch)
        scratch *= self.lr * correction / (1 - beta1**self.steps)
        w -= scratch
