"""Given: the rounds of a GradScaler, from one update to the next, and gradients that are divided before the step."""

from typing import ClassVar

import numpy as np

from tinytorch.core import Optimizer, Stateful

__all__: list[str] = []


class ScalerRounds(Stateful):
    """Which optimizers of this round have stepped, and which gradients are divided already.

    Its state is to be saved between rounds, after `update`.
    """

    not_state: ClassVar[tuple[str, ...]] = ("_stepped", "_unscaled")
    loss_scale: float
    found_inf: bool

    def __init__(self) -> None:
        self._stepped: list[Optimizer] = []
        self._unscaled: list[tuple[Optimizer, bool]] = []  # whether its gradients were finite

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale now, in float32, to look at them or to clip them; `step` will not again.

            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            clip_grad_norm_(optimizer.params, 1.0)
            scaler.step(optimizer)
            scaler.update()

        Once a round for each optimizer, when all its gradients are there: RuntimeError for a second time. If a gradient
        is infinite or NaN here, `step` will be skipped, whatever clipping makes of it.
        """
        self.begin(optimizer)
        if self.is_unscaled(optimizer):
            raise RuntimeError(
                "the gradients of this optimizer are divided already: unscale_ once, then step and update"
            )
        grads = [(p, p.grad) for p in optimizer.params if p.grad is not None]
        finite = all(np.isfinite(grad).all() for _, grad in grads)
        self._unscaled.append((optimizer, finite))
        for p, grad in grads:
            p.grad = np.divide(grad, self.loss_scale, dtype=np.float32)

    def is_unscaled(self, optimizer: Optimizer) -> bool:
        """Whether `unscale_` has divided the gradients of this optimizer in this round."""
        return any(other is optimizer for other, _ in self._unscaled)

    def begin(self, optimizer: Optimizer) -> None:
        """What this optimizer does first in a round. RuntimeError if gradients would be divided twice, or are none."""
        if not self._stepped and not self._unscaled:
            self.found_inf = False  # a round begins without
        if all(p.grad is None for p in optimizer.params):
            raise RuntimeError("this optimizer has no gradients to look at: scale(loss).backward() comes first")
        for other in (*self._stepped, *(other for other, _ in self._unscaled if other is not optimizer)):
            if other is optimizer:
                raise RuntimeError(
                    "this optimizer has stepped since the last update(): its gradients are divided already"
                )
            if not set(optimizer.params).isdisjoint(other.params):
                raise RuntimeError("two optimizers of a round share a parameter: its gradient would be divided twice")

    def step_unscaled(self, optimizer: Optimizer) -> bool:
        """The step of an optimizer whose gradients are divided; skipped if one was not finite, or is not now."""
        finite = next(finite for other, finite in self._unscaled if other is optimizer)
        finite = finite and all(p.grad is None or bool(np.isfinite(p.grad).all()) for p in optimizer.params)
        self._stepped.append(optimizer)
        self.found_inf = self.found_inf or not finite
        if finite:
            optimizer.step()
        return finite

    def end(self) -> None:
        """The round is over. RuntimeError if nothing looked at gradients in it."""
        if not self._stepped and not self._unscaled:
            raise RuntimeError("update() comes after step(optimizer), which looks at the gradients: none was made")
        self.found_inf = self.found_inf or not all(finite for _, finite in self._unscaled)
        self._stepped, self._unscaled = [], []
