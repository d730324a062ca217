"""Steps downhill, in place: after the first step no array is allocated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Any

import numpy as np

from .checks import kind_of, real_number
from .resuming import Stateful
from .tensor import Array, Tensor


def _checked_parameters(params: Any) -> list[Tensor]:
    """The parameters in a list. TypeError or ValueError for what no step could train."""
    if not isinstance(params, Iterable):
        raise TypeError(f"an optimizer changes Tensors, got {kind_of(params)}: pass model.parameters()")
    tensors = list(params)
    if not tensors:
        raise ValueError("an optimizer needs at least one parameter, got none: pass model.parameters()")
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"an optimizer changes Tensors, got {kind_of(tensor)}: pass model.parameters()")
        if not tensor.requires_grad:
            raise ValueError(f"parameter {i} of the optimizer would never get a gradient: set its requires_grad first")
        if tensor._backward is not None:
            raise ValueError(f"parameter {i} of the optimizer is computed from others, which change: pass those")
    if len(set(tensors)) < len(tensors):
        raise ValueError("an optimizer would change a parameter twice: it was given the same Tensor more than once")
    return tensors


class Optimizer(Stateful):
    """Holds the parameters. A subclass defines `update`, called at each step for each parameter that has a gradient:

        class SignDescent(Optimizer):
            def update(self, i, w, grad, scratch):
                w -= self.lr * np.sign(grad)

    Its state is all that it keeps but the parameters: lr and other settings too, as they were when it was saved, and
    whatever numbers and arrays a subclass has put into attributes.
    """

    not_state = ("params", "_scratch")

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = _checked_parameters(params)
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
                self.update(i, param.data, param.grad, self._scratch[i])

    def update(self, i: int, w: Array, grad: Array, scratch: Array) -> None:
        """Change w, the array of parameter i, in place. scratch: one like it, to compute in. steps is 1 at first."""
        raise NotImplementedError(f"{type(self).__name__} must define update(i, w, grad, scratch), which changes w")


class SGD(Optimizer):
    """v = momentum * v + (grad + weight_decay * w);  w -= lr * v"""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr)
        self.momentum, self.weight_decay = real_number("momentum", momentum), real_number("weight_decay", weight_decay)
        if not (0 <= self.momentum < np.inf and 0 <= self.weight_decay < np.inf):
            raise ValueError(f"momentum and weight_decay must be >= 0 and finite, got {momentum} and {weight_decay}")
        self._velocity = [np.zeros_like(p.data) for p in self.params]

    def update(self, i: int, w: Array, grad: Array, scratch: Array) -> None:
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

    def update(self, i: int, w: Array, grad: Array, scratch: Array) -> None:
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


class AdamW(Adam):
    """Adam, each step of which first does w -= lr * weight_decay * w: apart from the gradient, whose size it would
    otherwise be divided by. Loshchilov and Hutter 2019."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps)
        self.weight_decay = real_number("weight_decay", weight_decay)
        if not 0 <= self.weight_decay < np.inf:
            raise ValueError(f"weight_decay must be >= 0 and finite, got {weight_decay}")

    def update(self, i: int, w: Array, grad: Array, scratch: Array) -> None:
        np.multiply(w, self.lr * self.weight_decay, out=scratch)
        w -= scratch
        super().update(i, w, grad, scratch)


def _with_gradients(params: Iterable[Tensor]) -> list[tuple[Tensor, Array]]:
    return [(p, p.grad) for p in ([params] if isinstance(params, Tensor) else params) if p.grad is not None]


def clip_grad_norm_(params: Iterable[Tensor], max_norm: float) -> float:
    """Make the gradients smaller, all by one factor, where their norm is above `max_norm`; returns the norm they had.

    The norm is the square root of the sum of all squares, of all parameters together. Gradients that are not finite
    stay as they are, and so does the direction of the others. Pascanu et al. 2013.
    """
    if not real_number("max_norm", max_norm) > 0:
        raise ValueError(
            f"max_norm must be > 0, got {max_norm:g}: no gradient has a norm below 0, and 0 trains nothing"
        )
    grads = _with_gradients(params)
    norm = float(np.linalg.norm([np.linalg.norm(grad.astype(np.float64)) for _, grad in grads]))
    if max_norm < norm < np.inf:
        for p, grad in grads:
            p.grad = grad * grad.dtype.type(max_norm / norm)
    return norm


def clip_grad_value_(params: Iterable[Tensor], max_value: float) -> None:
    """Bring every number of the gradients into [-max_value, max_value]; NaN stays NaN."""
    if not real_number("max_value", max_value) > 0:
        raise ValueError(f"max_value must be > 0, got {max_value:g}: it is the largest magnitude that stays")
    for p, grad in _with_gradients(params):
        p.grad = np.clip(grad, -max_value, max_value)
