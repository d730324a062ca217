# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 17c. Mixed precision
#
# Two ideas share this name. **Mixed-precision training**: compute in 16 bits, keep what must not be lost in 32.
# **Mixed-precision inference**: give each layer as many bits as it needs, and no more.
#
# Save, then: `tito export 17_quantization`, `tito test 17_quantization`.

# %%
#| default_exp quantization.mixed_precision

# %%
# Finds the package, wherever in the course's folder this notebook was opened; or says what to do.
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before NumPy is imported: everything here is timed on one thread


def course():
    here = Path.cwd()
    around = [folder for folder in (here, *here.parents) if (folder / "tinytorch" / "core").is_dir()]
    return [str(folder) for folder in (*around, *(core.parents[1] for core in here.glob("*/tinytorch/core")))][:1]


if not course() and Path("course.zip").is_file():  # on Colab
    shutil.unpack_archive("course.zip")
sys.path[:0] = course()
if find_spec("tinytorch") is None:
    raise ImportError("tinytorch was not found. On your machine: open this notebook inside the course's folder. On Colab: zip that folder as course.zip, drop it into the list of files on the left, and run this cell again.")

# %%
from tito.testing.in_notebook import check  # check("ID") says what `tito test` would say

# %%
#| export
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.core import (
    Adam,
    Module,
    Optimizer,
    Stateful,
    Tensor,
    accuracy,
    clip_grad_norm_,
    computing_in,
    outputs,
    wide_matmul,
)
from tinytorch.core.checks import float32_array, real_array, real_number, rounded_to_odd, said
from tinytorch.core.training import CROSS_ENTROPY
from tinytorch.quantization.arguments import sensitivity_rows
from tinytorch.quantization.networks import quantize_dynamic
from tinytorch.quantization.quantize import sqnr_db
from tinytorch.quantization.rounds import ScalerRounds
from tinytorch.quantization.reprs import repr_of_masters, repr_of_scaler
from tinytorch.quantization.tensors import QuantizedTensor
from tinytorch.quantization.rules import Rules, as_planned, check_rules, is_quantizable, rule_for
from tinytorch.quantization.trees import map_modules
from tinytorch.quantization.qparams import IntType

# %%
import tracemalloc

import matplotlib.pyplot as plt

from tinytorch.core import CrossEntropyLoss, Linear, ReLU, Sequential, fit, load_digits, train_step

four = np.array([-1, 0, 0.5, 2], np.float32)

# %% [markdown]
# ## 1. What half the bits lose
#
# | | exponent | fraction | largest | smallest normal |
# |---|---|---|---|---|
# | float32 | 8 bits | 23 bits | 3.4e38 | 1.2e-38 |
# | float16 | 5 bits | 10 bits | 65504 | 6.1e-5 |
# | bfloat16 | 8 bits | 7 bits | 3.4e38 | 1.2e-38 |
#
# float16 has few exponents: small numbers vanish, large ones overflow. bfloat16 has few digits. **Predict** each line:

# %%
print(f"2048 + 1 in float16: {np.float16(2048) + np.float16(1):.0f}")
print("a gradient of 1e-8 in float16:", np.float16(1e-8))
with np.errstate(over="ignore"):
    print("300 squared in float16:", np.array([300], np.float16) ** 2)

# %% [markdown]
# NumPy has no bfloat16. But it is just the upper half of a float32: keep the top 16 bits, rounded to nearest, ties to even.
# On the bits, seen as an integer: add `0x7FFF`, and 1 more if the lowest kept bit is set; then clear the lower half.
#
# **By hand.** 0.5 is `0x3F000000`: nothing below the upper half, so it stays. 1.01 becomes 1.0078125: 7 bits of fraction.
#
# ### Exercise 17: `to_bfloat16`, `lost_share`

# %%
#| export
#| exercise: half
@np.errstate(over="ignore")  # the bits of a NaN may wrap around: it is put back
def to_bfloat16(x: ArrayLike) -> NDArray[np.float32]:
    """x rounded to bfloat16 (ties to even), held in float32 [shape of x]. Infinity stays, NaN stays NaN.

    >>> to_bfloat16([-1.0, 0.5, 1.01]).tolist()
    [-1.0, 0.5, 1.0078125]
    """
    x = rounded_to_odd("x", x)  # float32: what float64 has beyond it stays in the last bit, and no tie arises anew
    bits = x.view(np.uint32)
    # About 3 lines. A NaN must not be rounded into infinity: np.where(np.isnan(x), x, ...).
    ### BEGIN SOLUTION
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), x, rounded.view(np.float32))
    ### END SOLUTION


# %%
#| export
HALVES = ("float16", "bfloat16")


def round_half(x: NDArray[Any], dtype: str) -> NDArray[Any]:
    """x in "float16" (a float16 array), or rounded to "bfloat16" (held in float32: NumPy has no such dtype)."""
    if dtype not in HALVES:
        raise ValueError(f"dtype must be one of {HALVES}, got {said(dtype)}")
    if dtype == "bfloat16":
        return to_bfloat16(x)
    with np.errstate(over="ignore"):  # beyond 65504 is infinity: that is what the lesson is about
        return real_array("x", x).astype(np.float16, copy=False)


# %%
#| export
#| exercise: half
def lost_share(x: ArrayLike, dtype: str) -> tuple[float, float]:
    """The shares of x, in [0, 1], that "float16" or "bfloat16" cannot hold: (became 0, became infinite).

    A number is lost when it is not 0 (not infinite) in float32, but is in `dtype`. (0.0, 0.0) for an empty x.

    >>> lost_share([1e-8, 1.0, 1e5, 0.0], "float16")
    (0.25, 0.25)
    """
    x = float32_array("x", x)
    # About 3 lines: half = round_half(x, dtype), then two means.
    ### BEGIN SOLUTION
    half, size = round_half(x, dtype), max(x.size, 1)
    return float(((half == 0) & (x != 0)).sum() / size), float((np.isinf(half) & ~np.isinf(x)).sum() / size)
    ### END SOLUTION


# %%
check("half")
assert to_bfloat16(1.01) == 1.0078125, f"1.01 must become 1.0078125, got {to_bfloat16(1.01)}: round, do not cut"
assert to_bfloat16(1.00390625) == 1.0, "1 + 2**-8 is a tie; the even neighbour is 1.0"
assert np.isnan(to_bfloat16(np.nan)) and np.isinf(to_bfloat16(np.inf)), "NaN stays NaN, infinity stays infinity"
assert lost_share([1e-8, 1.0, 1e5, 0.0], "float16") == (0.25, 0.25), "0.0 was 0 before: it is not lost"
assert lost_share([1e-8, 1.0, 1e5, 0.0], "bfloat16") == (0.0, 0.0), "bfloat16 has the exponents of float32"

# %% [markdown]
# **Look.** The gradients of a trained network, and float16's floor. With one answer an image nearly all lie above it. A loss
# that is a mean over many outputs, such as the 150 528 values of an image of 224 x 224 in three colours, divides every
# gradient by their number: **predict** how many are left.

# %%
digits = load_digits()
rng = np.random.default_rng(0)
model = Sequential(Linear(64, 128, rng=rng), ReLU(), Linear(128, 128, rng=rng), ReLU(), Linear(128, 10, rng=rng))
optimizer, loss_of = Adam(model.parameters()), CrossEntropyLoss()
fit(model, digits.x_train, digits.y_train, epochs=30, optimizer=optimizer)
optimizer.zero_grad()
loss_of(model(Tensor(digits.x_train[:64])), digits.y_train[:64]).backward()
grads = np.concatenate([np.abs(p.grad).ravel() for p in model.parameters()])
plt.figure(figsize=(7, 3))
for outputs_of_loss in (1, 150_528):
    own = grads / np.float32(outputs_of_loss)
    label = f"mean over {outputs_of_loss} output(s): {lost_share(own, 'float16')[0]:.1%} vanish in float16"
    plt.hist(np.log10(own[own > 0]), 100, alpha=0.6, label=label)
plt.axvline(np.log10(2.0**-25), color="k", ls="--", label="2**-25: below it, float16 rounds to 0")
plt.xlabel("log10 |gradient|")
plt.ylabel("how many gradients")
plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
plt.show()

# %% [markdown]
# > **Takeaway.** float16 loses small numbers, bfloat16 loses digits. Gradients are small; sums need digits.

# %% [markdown]
# ## 2. Scale the loss
#
# Gradients too small for float16? Multiply the **loss** by 65536: every gradient grows by it. Divide again, in float32, just
# before the step. If a gradient overflows instead, skip the step and halve the scale; after 2000 good steps, double it.
#
# ### Exercise 18: `GradScaler`

# %%
#| export
LOSS_SCALES = (2.0**-32, 2.0**127)  # beyond them a scaled loss, or a gradient divided again, is 0 or infinite


def check_between(name: str, value: Any, above: float, below: float) -> None:
    """TypeError unless the value is a real number, ValueError unless above < value < below."""
    if not above < real_number(name, value) < below:
        raise ValueError(f"{name} must be above {above:g} and below {below:g}, got {value:g}")


# %%
#| export
#| exercise: grad_scaler
class GradScaler(ScalerRounds):
    """Keeps small gradients alive in float16. Constants and behaviour of PyTorch's torch.amp.GradScaler.

    Each round: `scaler.scale(loss).backward()`, then `scaler.step(optimizer)` for each optimizer, once, then
    `scaler.update()`. To clip gradients, `scaler.unscale_(optimizer)` divides them ahead of the step.
    loss_scale stays within LOSS_SCALES, where dividing by it is safe.
    events: (update, "skip" | "grow", new scale), one for each change.
    """

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        check_between("init_scale", init_scale, *LOSS_SCALES)
        check_between("growth_factor", growth_factor, 1, np.inf)
        check_between("backoff_factor", backoff_factor, 0, 1)
        check_between("growth_interval", growth_interval, 0, np.inf)
        if int(growth_interval) != growth_interval:
            raise ValueError(f"growth_interval must be an integer, got {growth_interval}: it counts steps")
        self.loss_scale = float(init_scale)
        self.growth_factor, self.backoff_factor = float(growth_factor), float(backoff_factor)
        self.growth_interval = int(growth_interval)
        super().__init__()
        self.good_steps, self.updates, self.found_inf = 0, 0, False
        self.events: list[tuple[int, str, float]] = []

    __repr__ = repr_of_scaler

    @property
    def loss_scale(self) -> float:
        return self._loss_scale

    @loss_scale.setter
    def loss_scale(self, value: float) -> None:
        smallest, largest = LOSS_SCALES
        self._loss_scale = min(max(value, smallest), largest)

    @np.errstate(over="ignore")  # a float16 loss may become infinite: step looks for it
    def scale(self, loss: Tensor) -> Tensor:
        """The loss, multiplied."""
        return loss * self.loss_scale

    def step(self, optimizer: Optimizer) -> bool:
        """Divide the gradients by the scale, in float32, and step; do not step if any is infinite or NaN.

        Returns whether it stepped. The gradients of a skipped step are left as they are, and found_inf stays True until
        the next round, whatever other optimizers find. RuntimeError for a second step before `update`, or no gradient.
        """
        self.begin(optimizer)
        if self.is_unscaled(optimizer):
            return self.step_unscaled(optimizer)
        self._stepped.append(optimizer)
        grads = [(p, p.grad) for p in optimizer.params if p.grad is not None]
        # About 6 lines: look at every gradient first; if one is not finite, self.found_inf = True and return False. Then
        # p.grad = grad.astype(np.float32) / scale for each, optimizer.step(), return True.
        ### BEGIN SOLUTION
        if not all(np.isfinite(grad).all() for _, grad in grads):
            self.found_inf = True
            return False
        for p, grad in grads:
            p.grad = grad.astype(np.float32) / np.float32(self.loss_scale)
        optimizer.step()
        return True
        ### END SOLUTION

    def update(self) -> None:
        """Back off, or grow, and count good steps from 0 again.

        After a skipped step: scale * backoff_factor. After growth_interval good steps in a row: scale * growth_factor.
        """
        self.end()
        self.updates += 1
        # About 8 lines; self.found_inf tells whether a step of this round was skipped. When the scale changes, append
        # (self.updates, "skip" or "grow", self.loss_scale) to self.events.
        ### BEGIN SOLUTION
        self.good_steps = 0 if self.found_inf else self.good_steps + 1
        if self.found_inf:
            self.loss_scale *= self.backoff_factor
            self.events.append((self.updates, "skip", self.loss_scale))
        elif self.good_steps == self.growth_interval:
            self.loss_scale *= self.growth_factor
            self.good_steps = 0
            self.events.append((self.updates, "grow", self.loss_scale))
        ### END SOLUTION


# %%
check("grad_scaler")
p = Tensor(np.ones(2, np.float32), requires_grad=True)
sgd, scaler = Adam([p]), GradScaler(init_scale=8.0, growth_interval=2)
for grad in ([8.0, 8.0], [8.0, 8.0], [np.inf, 8.0], [8.0, 8.0]):
    p.grad = np.array(grad, np.float32)
    scaler.step(sgd)
    scaler.update()
assert sgd.steps == 3, f"of four steps the one with infinity must be skipped: wanted 3, got {sgd.steps}"
assert scaler.events == [(2, "grow", 16.0), (3, "skip", 8.0)], f"grow after 2 good steps, then back off: got {scaler.events}"

# %% [markdown]
# > **Takeaway.** The scale searches for the largest value that does not overflow, forever.

# %% [markdown]
# ## 3. Multiply in half, remember in full
#
# `autocast` changes what a *product* does inside a `with` block: both operands are rounded to 16 bits, the sums are taken
# in float32 (as in every half-precision unit), and the result is rounded. Weights stay in float32: they are the **master
# weights**, so that small updates are not lost. What is kept for the backward pass is half as large.
#
# The core gives you the hook: inside `computing_in(cast, matmul)`, every product first passes its operands through
# `cast`, a differentiable function, and then calls `matmul(a, b)` on arrays.
#
# ### Exercise 19: `cast_to`, `MasterWeights`

# %%
#| export
#| exercise: autocast
def cast_to(x: Tensor, dtype: str) -> Tensor:
    """x rounded to "float16" or "bfloat16". The gradient passes back unchanged (the core gives it x's own dtype).

    >>> cast_to(Tensor([1.0, 2049.0]), "float16").data.tolist()
    [1.0, 2048.0]
    """
    # 1 line: round_half, Tensor.from_op.
    ### BEGIN SOLUTION
    return Tensor.from_op(round_half(x.data, dtype), (x,), lambda grad: (grad,))
    ### END SOLUTION


# %%
#| export
#| exercise: autocast
class MasterWeights(Stateful):
    """float32 copies of half-precision parameters, for the optimizer: here small updates add up before any rounding.

    params: tensors of dtype float16. make_optimizer: list of tensors -> Optimizer.
    `step()` gives the masters their gradients, in float32, lets the optimizer step, and rounds the masters back.
    """

    not_state = ("params",)

    def __init__(self, params: Iterable[Tensor], make_optimizer: Callable[[list[Tensor]], Optimizer] = Adam) -> None:
        self.params = list(params) if isinstance(params, Iterable) else [params]
        if not all(isinstance(p, Tensor) for p in self.params):
            raise TypeError("MasterWeights copies Tensors, got something else: pass the parameters of a model")
        for p in self.params:
            if p.dtype != np.float16:
                raise ValueError(f"MasterWeights copies float16 parameters, got {p.dtype}: give them to the optimizer")
        self.masters = [Tensor(p.data.astype(np.float32), requires_grad=True) for p in self.params]
        self.optimizer = make_optimizer(self.masters)

    __repr__ = repr_of_masters

    def zero_grad(self) -> None:
        for p in (*self.params, *self.masters):
            p.grad = None

    def step(self) -> None:
        # About 5 lines. A parameter without gradient gives its master None. Give each parameter a new array, p.data = ...
        ### BEGIN SOLUTION
        for p, master in zip(self.params, self.masters, strict=True):
            master.grad = None if p.grad is None else p.grad.astype(np.float32)
        self.optimizer.step()
        for p, master in zip(self.params, self.masters, strict=True):
            p.data = master.data.astype(p.dtype)
        ### END SOLUTION


# %%
#| export
def _compiled_bf16_matmul() -> Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]] | None:
    """`tinytorch.acceleration.bf16_matmul`, where that part of the package and a compiler are installed."""
    if find_spec("tinytorch.acceleration") is None:
        return None
    from tinytorch.acceleration import bf16_matmul, kernels

    return bf16_matmul if kernels()[0] != "numpy" else None


@contextmanager
def autocast(dtype: str = "float16") -> Iterator[None]:
    """Inside the block, products round their operands and results to `dtype`, with sums in float32.

    Losses and normalization compute in float32 by themselves. Run forward inside; backward may be outside. Where there
    are compiled kernels, bfloat16 runs on `bf16_matmul`: operands rounded alike, results kept in float32, and
    convolutions in float32.
    """
    round_half(np.zeros(0, np.float32), dtype)  # refuses an unknown dtype before anything is computed
    compiled = _compiled_bf16_matmul() if dtype == "bfloat16" else None
    if compiled is not None:
        with computing_in(lambda x: x, compiled):
            yield
        return

    def matmul(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return round_half(wide_matmul(a, b), dtype)

    with computing_in(lambda x: cast_to(x, dtype), matmul), np.errstate(over="ignore", invalid="ignore"):
        yield  # an overflow is no accident: the scaler looks for it


# %%
check("autocast")
half = Tensor(np.float16([1.0]), requires_grad=True)
weights = MasterWeights([half], lambda params: Adam(params, lr=1e-4))
for _ in range(10):
    half.grad = np.float16([1.0])
    weights.step()
assert half.dtype == np.float16 and weights.masters[0].dtype == np.float32, "the parameter stays float16, its master float32"
assert np.isclose(weights.masters[0].data[0], 0.999, atol=1e-5), "ten steps of 1e-4 must add up in the master: 0.999"
with autocast("float16"):
    out = model(four.repeat(16)[None])
assert out.dtype == np.float16, f"inside autocast the product's result is float16, got {out.dtype}"

# %% [markdown]
# **Seen to fail.** The same ten steps without a master: 1 - 1e-4 rounds back to 1, every time.

# %%
w = np.float16(1.0)
for _ in range(10):
    w = np.float16(w - np.float16(1e-4))
print(f"without master weights: {w}, with: {weights.masters[0].data[0]:.4f}")

# %% [markdown]
# A training step, with all parts in place, to be given to `fit`:

# %%
#| export
def mixed_step(
    dtype: str = "float16",
    scaler: GradScaler | None = None,
    loss_weight: float = 1.0,
    max_norm: float = np.inf,
    loss: Callable[[Any, Any], Tensor] = CROSS_ENTROPY,
) -> Callable[[Module, Optimizer, NDArray[Any], NDArray[Any]], float]:
    """A training step in `dtype`, for `fit(..., step=...)`. Without a scaler the loss is not scaled.

    loss_weight multiplies the loss, as a mean over many outputs would. Gradients are clipped to a norm of max_norm.
    loss: called with (outputs, y), returns a Tensor of shape ().
    """
    check_between("loss_weight", loss_weight, 0, np.inf)
    round_half(np.zeros(0, np.float32), dtype)  # refuses an unknown dtype before anything is trained
    if not (scaler is None or isinstance(scaler, ScalerRounds)):
        raise TypeError(f"scaler must be a GradScaler() or None, got {said(scaler)}")

    @np.errstate(over="ignore", invalid="ignore")  # an overflow is no accident: the scaler looks for it
    def step(model: Module, optimizer: Optimizer, x: NDArray[Any], y: NDArray[Any]) -> float:
        optimizer.zero_grad()
        with autocast(dtype):
            value = loss(model(x), y)
        weighted = value * loss_weight
        (weighted if scaler is None else scaler.scale(weighted)).backward()
        if max_norm < np.inf:
            if scaler is not None:
                scaler.unscale_(optimizer)
            clip_grad_norm_(optimizer.params, max_norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        return value.item()

    return step


# %% [markdown]
# **Predict.** The loss is weighted by 1e-7, as the mean over ten million pixels would be. Which of these networks learns?

# %%
def network(seed=0):
    rng = np.random.default_rng(seed)
    return Sequential(Linear(64, 128, rng=rng), ReLU(), Linear(128, 128, rng=rng), ReLU(), Linear(128, 10, rng=rng))


def train(dtype=None, scaler=None, loss_weight=1.0, epochs=12):
    model = network()
    step = train_step if dtype is None else mixed_step(dtype, scaler, loss_weight)
    curve = fit(model, digits.x_train, digits.y_train, epochs, Adam(model.parameters(), eps=1e-16), step=step)
    return curve, accuracy(model, digits.x_test, digits.y_test)


scalers = [GradScaler(init_scale=2.0**40, growth_interval=40), GradScaler(init_scale=2.0**40, growth_interval=40)]
runs = {
    "float32": train(),
    "bfloat16": train("bfloat16"),
    "float16": train("float16"),
    "float16, loss / 1e7": train("float16", None, 1e-7),
    "float16, loss / 1e7, scaled": train("float16", scalers[0], 1e-7),
}
for name, (curve, share) in runs.items():
    print(f"{name:<28} last loss {curve[-1]:.4f}   accuracy {share:.1%}")
plt.figure(figsize=(7, 3.5))
for name, style in {"float32": "0.7", "float16, loss / 1e7": "C3-", "float16, loss / 1e7, scaled": "C0--"}.items():
    plt.semilogy(runs[name][0], style, lw=5 if name == "float32" else 1.5, label=name)
plt.xlabel("epoch")
plt.ylabel("training loss")
plt.legend()
plt.show()

# %%
updates = [0] + [e[0] for e in scalers[0].events]
plt.figure(figsize=(7, 2.5))
plt.step(updates, [2.0**40] + [e[2] for e in scalers[0].events], where="post")
plt.yscale("log", base=2)
plt.xlabel(f"step; {sum(e[1] == 'skip' for e in scalers[0].events)} steps were skipped")
plt.ylabel("loss scale")
plt.show()

# %% [markdown]
# **Memory, measured.** What a forward pass keeps for the backward pass, in float32 and with autocast: activations are halved,
# float32 weights stay. **And speed:** NumPy has no fast half-precision product; here 16 bits save memory only.

# %%
wide = Sequential(*[layer for _ in range(6) for layer in (Linear(512, 512), ReLU())], Linear(512, 10))
x, y = np.random.default_rng(0).normal(size=(2048, 512)).astype(np.float32), np.zeros(2048, np.int64)
for dtype in (None, "float16"):
    tracemalloc.start()
    with autocast(dtype) if dtype else np.errstate():
        loss = loss_of(wide(x), y)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{dtype or 'float32':<8} keeps {kept / 1e6:6.1f} MB for the backward pass")
    del loss

# %% [markdown]
# > **Takeaway.** Half precision needs three guards: float32 sums, float32 master weights, and a scaled loss.

# %% [markdown]
# ## 4. Which layer minds?
#
# Now inference. Round the weights of **one layer at a time**, leave the rest in float, its inputs, too, and look at the
# output: its SQNR says how much noise these weights alone bring, its accuracy whether that matters.
#
# ### Exercise 20: `sensitivity`

# %%
#| export
@dataclass(frozen=True)
class Sensitivity:
    """What quantizing one layer alone does. nbytes: of what was quantized, codes and scales. accuracy in [0, 1]."""

    layer: str
    int_type: IntType
    nbytes: int
    sqnr_db: float
    accuracy: float

    @property
    def noise(self) -> float:
        """Noise power at the network's output, relative to the signal's. Noises of several layers about add up."""
        return float(10 ** (-self.sqnr_db / 10))


# %%
#| export
def quantize_weights(model: Module, types: Rules, axis: int | None = 0) -> Module:
    """A new model in which the weights of the named layers are rounded to codes of these types and back.

    All else is float32, their inputs, too: it tells what the weights cost. quantize_dynamic(model, None, axis, types)
    makes layers of integers.
    """
    check_rules(model, types, None)

    def replace(name: str, m: Module) -> Module | None:
        int_type = rule_for(name, m, None, types)
        if int_type is None or not is_quantizable(m):
            return None
        rounded = copy(m)
        rounded.weight = Tensor(QuantizedTensor.from_float(m.weight.data, int_type, axis=axis).dequantize())
        return rounded

    return map_modules(model, replace)


# %%
#| export
#| exercise: sensitivity
def sensitivity(
    model: Module, x: NDArray[Any], y: NDArray[Any], int_types: Iterable[IntType], axis: int | None = 0
) -> list[Sensitivity]:
    """A row for each quantizable layer and each type: that layer's weights in that type, everything else in float32.

    SQNR compares the outputs for x with those of the float model; accuracy is that on (x, y). Unsigned types are for
    quantize_weight_only alone. `activation_sensitivity` quantizes the layer's input instead. ValueError for a model
    without a layer to quantize.
    """
    check_rules(model, None)
    if not isinstance(int_types, Iterable):
        raise TypeError(f"int_types must be a list of them, such as [INT8, INT4], got {said(int_types)}")
    reference, int_types = outputs(model, x), list(int_types)
    table = []
    for name, layer in [(name, m) for name, m in model.named_modules() if is_quantizable(m)]:
        for int_type in int_types:
            nbytes = QuantizedTensor.from_float(layer.weight.data, int_type, axis=axis).nbytes
            # About 3 lines: quantize_weights(model, {name: int_type}, axis), its outputs, a Sensitivity row.
            ### BEGIN SOLUTION
            quantized = quantize_weights(model, {name: int_type}, axis)
            sqnr = sqnr_db(reference, outputs(quantized, x))
            table.append(Sensitivity(name, int_type, nbytes, sqnr, accuracy(quantized, x, y)))
            ### END SOLUTION
    return table


# %% [markdown]
# ## 5. Spend bytes where they count
#
# A budget of bytes for the whole network: which type for which layer? Noises about add up, bytes add up: a knapsack. Go
# layer by layer and keep a list of *plans*, (bytes, noise, choices). A plan that needs more bytes than another **and**
# makes more noise can never win: drop it. What is left, sorted by bytes, is the Pareto front.
#
# ### Exercise 21: `assign_bits`

# %%
#| export
Plan = tuple[int, float, dict[str, IntType]]  # bytes, noise, layer -> type


def without_losers(plans: list[Plan]) -> list[Plan]:
    """The plans that no other one beats in bytes and noise, by growing bytes."""
    front: list[Plan] = []
    for plan in sorted(plans, key=lambda p: (p[0], p[1])):
        if not front or plan[1] < front[-1][1]:
            front.append(plan)
    return front


# %%
#| export
#| exercise: assign_bits
def pareto_front(table: Iterable[Sensitivity]) -> list[Plan]:
    """Every plan for the whole network that no other one beats, by growing bytes and falling noise."""
    layers: dict[str, list[Sensitivity]] = {}
    for row in sensitivity_rows(table):
        layers.setdefault(row.layer, []).append(row)
    plans: list[Plan] = [(0, 0.0, {})]
    # About 5 lines: for each layer, extend every plan by each of its rows, then without_losers(...).
    ### BEGIN SOLUTION
    for rows in layers.values():
        plans = without_losers(
            [
                (nbytes + row.nbytes, noise + row.noise, {**choice, row.layer: row.int_type})
                for nbytes, noise, choice in plans
                for row in rows
            ]
        )
    ### END SOLUTION
    return plans


# %%
#| export
#| exercise: assign_bits
@as_planned
def assign_bits(table: Iterable[Sensitivity], byte_budget: int) -> dict[str, IntType]:
    """The types of least noise that fit the budget: layer -> IntType. ValueError if even the smallest do not fit.

    The budget is for what the table's rows count: codes and scales. Biases, zero points and layers without a row come
    on top. Of a table of activation_sensitivity each layer gets Rule(activation_type=...), which rules take, too.
    """
    plans = pareto_front(table)
    if not real_number("byte_budget", byte_budget) >= plans[0][0]:
        wanted = f"the smallest plan takes {plans[0][0]} bytes, the budget is {byte_budget}"
        raise ValueError(f"{wanted}: raise it, or allow fewer bits")
    # 1 line: the last plan that fits.
    ### BEGIN SOLUTION
    return [choice for nbytes, _, choice in plans if nbytes <= byte_budget][-1]
    ### END SOLUTION


# %%
check("sensitivity")
check("assign_bits")
rows = [
    Sensitivity("a", IntType(2), 10, 10.0, 0.5), Sensitivity("a", IntType(4), 20, 20.0, 0.9),
    Sensitivity("b", IntType(2), 100, 30.0, 0.9), Sensitivity("b", IntType(4), 200, 40.0, 0.9),
]
assert assign_bits(rows, 120) == {"a": IntType(4), "b": IntType(2)}, "120 bytes: 4 bits for a (20), which minds most, 2 for b (100)"
assert assign_bits(rows, 300) == {"a": IntType(4), "b": IntType(4)}, "with room for all, all get the most bits"
assert [plan[0] for plan in pareto_front(rows)] == [110, 120, 220], "210 bytes are more noise than 120: that plan never wins"

# %% [markdown]
# **Look.** A trained network: which layer minds? And every plan on the front, against the same bits for all.

# %%
trained = network()
fit(trained, digits.x_train, digits.y_train, epochs=20, optimizer=Adam(trained.parameters()))
types = [IntType(b) for b in (2, 3, 4, 5, 6, 8)]
x, y = digits.x_train[:400], digits.y_train[:400]
table = sensitivity(trained, x, y, types)
plt.figure(figsize=(7, 3))
for name in dict.fromkeys(row.layer for row in table):
    own = [row for row in table if row.layer == name]
    plt.plot([row.int_type.bits for row in own], [row.sqnr_db for row in own], "o-", label=name)
plt.xlabel("bits of this layer alone")
plt.ylabel("SQNR at the output, dB")
plt.legend()
plt.show()

# %%
reference = outputs(trained, digits.x_test)
def output_db(choice): return sqnr_db(reference, outputs(quantize_weights(trained, choice), digits.x_test))
plans = pareto_front(table)
plt.figure(figsize=(7, 3.5))
plt.plot([p[0] for p in plans], [output_db(p[2]) for p in plans], ".-", label="assigned")
names = dict.fromkeys(row.layer for row in table)
uniform = [(sum(r.nbytes for r in table if r.int_type == t), output_db({n: t for n in names})) for t in types]
plt.plot(*zip(*uniform, strict=True), "s", label="the same bits for every layer")
plt.xlabel("bytes of all weights")
plt.ylabel("SQNR at the output, dB")
plt.legend()
plt.show()

# %% [markdown]
# The line of plans dips here and there: each was chosen by the *sum* of noises measured one layer at a time, and shown
# with the noise that it makes as a whole. A plan becomes a network of integers as the rules of `quantize_dynamic`:

# %%
budget = sum(r.nbytes for r in table if r.int_type == IntType(4))
integers = quantize_dynamic(trained, None, rules=assign_bits(table, budget))
print(f"float32 {accuracy(trained, digits.x_test, digits.y_test):.1%}, assigned in the bytes of int4 {accuracy(integers, digits.x_test, digits.y_test):.1%}")

# %% [markdown]
# > **Takeaway.** Bits are a budget. Measure which layer minds, then spend.
#
# ## 6. Out of the classroom
#
# Nothing to write here. Your network can leave: `tinytorch.deployment` writes what *your* functions quantized as a file
# for ONNX Runtime, which runs on servers and laptops, and for LiteRT, which runs on phones, and asks both for every code
# of every layer. **Predict**: how many of them will differ from yours?

# %%
from tinytorch.deployment import compare, computed, to_onnx, to_tflite, trace, with_output_codes
from tinytorch.quantization import integer_matmul, quantize_static

images = digits.x_train[:400]
static = with_output_codes(quantize_static(trained, [images]), [images])
try:
    for file in (to_onnx(static, (64,)), to_tflite(static, (64,))):
        print(compare(static, file, digits.x_test), end="\n\n")
except ImportError as error:
    print(f"Left out: {error}")

# %% [markdown]
# Other engines round otherwise: TFLite Micro, on microcontrollers, has no float32 to multiply by, and shifts integers
# twice. Look for the first code of the first layer in which the two disagree, and at the number that was rounded.

# %%
steps, layer = trace(static, digits.x_test), static.layers[0]
by_float, by_integers = (computed(steps, digits.x_test, rounding) for rounding in ("float", "gemmlowp"))
name, p = "layers.0", layer.input_qparams
sums = integer_matmul(by_float[f"{name}.input"], layer.weight.q.T, p.zero_point) + layer.bias
m = np.float64(p.scale) * layer.weight.qparams.scale.ravel() / np.float64(layer.output_qparams.scale)
differ = np.argwhere(by_float[name] != by_integers[name])
print(f"{len(differ)} of {sums.size} codes differ")
for i, j in differ[:3]:
    print(f"{sums[i, j]} * {m[j]:.9f} = {sums[i, j] * m[j]:.5f} steps: code {by_float[name][i, j]} or {by_integers[name][i, j]}")

# %% [markdown]
# Both are right to half a step. That is why two engines give codes one apart, and why `docs/deployment.md` can say of each
# engine which rounding it has.
#
# ## Reflect
#
# Write below each question; what you write is handed in.

# %% [markdown]
# <!-- question: bfloat16_range -->
# 1. bfloat16 needs no loss scaling. Why not, and what does it pay instead?
#
# ### BEGIN SOLUTION
# It has float32's exponents, so gradients do not vanish; it pays with 3 decimal digits less than float32... about two remain.
# ### END SOLUTION

# %% [markdown]
# <!-- question: skipped_steps -->
# 2. Skipping a step looks like a loss of data. Why is it harmless, and when would it not be?
#
# ### BEGIN SOLUTION
# One batch of many is not used, once in a while. If every step overflows, nothing is learned: look at the event log.
# ### END SOLUTION

# %% [markdown]
# <!-- question: summed_noise -->
# 3. `assign_bits` adds up noises measured one layer at a time. When is that sum wrong, and how would you notice?
#
# ### BEGIN SOLUTION
# When errors of two layers are correlated, or a large error saturates the next layer. Measure the whole plan, as the
# plot does, and compare with the sum.
# ### END SOLUTION
