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
# # 17b. Quantization-aware training
#
# INT8 after training loses nothing on an easy network. Four bits, three, two do. This notebook is about what to do then:
# first repair the network **without** training (fold, equalize, correct), then train it **with the error in the loop**,
# so that it learns weights which survive rounding.
#
# Save, then: `tito export 17_quantization`, `tito test 17_quantization`.

# %%
#| default_exp quantization.qat

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

from collections import Counter
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from tinytorch.core import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    Module,
    ReLU,
    Sequential,
    Tensor,
    no_grad,
)
from tinytorch.core.checks import check_fits, checked_axis, float32_array, true_or_false, whole_number
from tinytorch.core.layers import as_module, is_exactly, names_in
from tinytorch.quantization.arguments import as_observer, tell_uncalibrated
from tinytorch.quantization.folding import folded_chain, folded_siblings, tell_unfolded, told_pairs
from tinytorch.quantization.layers import bias_as_it_runs
from tinytorch.quantization.networks import quantized_layer
from tinytorch.quantization.quantizers import RangeQuantizer, StepQuantizer
from tinytorch.quantization.quantize import (
    MovingAverageObserver,
    Observer,
    choose_qparams,
    dequantize,
    quantize,
    value_range,
)
from tinytorch.quantization.reprs import repr_of_fake_quantize, repr_of_learned_step
from tinytorch.quantization.tensors import QuantizedTensor
from tinytorch.quantization.rules import Rules, Weighted, Wrapped, check_rules, is_quantizable, rule_of
from tinytorch.quantization.trees import (
    POOLING,
    fuse_chain,
    inputs_of,
    is_of_zeros,
    map_modules,
)
from tinytorch.quantization.qparams import (
    INT8,
    IntType,
    QParams,
    as_int_type,
    as_qparams,
    as_range,
    as_real,
    as_scale,
    check_same_shape,
)

# %%
import matplotlib.pyplot as plt

from tinytorch.core import Adam, accuracy, fit, load_digits
from tinytorch.quantization.networks import quantize_dynamic

four = np.array([-1, 0, 0.5, 2], np.float32)

# %% [markdown]
# ## 1. Where rounding after training fails
#
# A small network, 64 - 64 - 32 - 10, on the digits. And its twin: 8 hidden units multiplied by 40, the weights they feed
# divided by 40. In float32 the twin computes **the same function**.

# %%
digits = load_digits()
rng = np.random.default_rng(0)
model = Sequential(Linear(64, 64, rng=rng), ReLU(), Linear(64, 32, rng=rng), ReLU(), Linear(32, 10, rng=rng))
fit(model, digits.x_train, digits.y_train, epochs=30, optimizer=Adam(model.parameters(), lr=2e-3))


def score(network):
    return accuracy(network, digits.x_test, digits.y_test)


def rescaled(network, units=8, factor=40.0):
    twin = map_modules(network, lambda name, m: copy(m) if isinstance(m, Linear) else None)
    first, second = twin.layers[0], twin.layers[2]
    grow = np.where(np.arange(len(first.weight.data)) < units, factor, 1).astype(np.float32)
    first.weight, first.bias = Tensor(first.weight.data * grow[:, None], True), Tensor(first.bias.data * grow, True)
    second.weight = Tensor(second.weight.data / grow, True)
    return twin


twin = rescaled(model)
print(f"float32 {score(model):.1%}, its twin {score(twin):.1%}")

# %% [markdown]
# **Predict.** Weights in b bits, one scale a matrix, or one a row. Which of the four curves falls first?

# %%
bits = np.arange(2, 9)
plt.figure(figsize=(7, 3.5))
for network, name in ((model, "network"), (twin, "twin")):
    for axis, how in ((None, "per tensor"), (0, "per channel")):
        curve = [score(quantize_dynamic(network, IntType(int(b)), axis)) for b in bits]
        plt.plot(bits, curve, "o-" if network is model else "s--", label=f"{name}, {how}")
plt.xlabel("bits of a weight")
plt.ylabel("accuracy")
plt.legend()
plt.show()

# %% [markdown]
# > **Takeaway.** The same function can be easy or hard to quantize. So before training again: make it easy.

# %% [markdown]
# ## 2. Repair without training
#
# **Folding.** In use, batch normalization is one multiplication and one addition a channel,
# $y = \gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta$. A convolution before it can do both: scale its rows, move its
# bias. One layer less, and one result less to quantize.

# %% [markdown]
# **Equalization.** Between two layers with a ReLU, channel $i$ may be divided by any $s_i > 0$ if the next layer
# multiplies it back: $\mathrm{relu}(x / s) = \mathrm{relu}(x) / s$. Choose $s_i$ so that the channel's largest weights are
# equal on both sides: with $r_i$ and $r'_i$ the largest |weight| of row $i$ and of the column it feeds,
# $s_i = \sqrt{r_i / r'_i}$. Source: Nagel et al. 2019.
#
# **By hand.** r = 8, r' = 2: s = 2. The row becomes 4, the column 4.
#
# ### Exercise 13: `fold_batch_norm`, `equalization_scales`

# %%
#| export
#| exercise: fold_and_equalize
def fold_batch_norm(conv: Conv2d, bn: BatchNorm2d) -> Conv2d:
    """A Conv2d that computes bn(conv(x)) in evaluation mode: [out, in, kh, kw] weights, and a bias [out].

    With g = gamma / sqrt(running_var + eps): weight * g a row, bias = (bias - running_mean) * g + beta. gamma is
    `bn.weight`, beta is `bn.bias`.
    """
    if not (is_exactly(conv, Conv2d) and is_exactly(bn, BatchNorm2d)):
        got = f"{type(conv).__name__} and {type(bn).__name__}"
        raise TypeError(f"wanted a Conv2d and a BatchNorm2d themselves, whose function is known, got {got}")
    bias = np.zeros(len(conv.weight.data), np.float32) if conv.bias is None else conv.bias.data
    check_same_shape(channels_of_conv=bias, channels_of_bn=bn.running_mean)
    folded = copy(conv)
    # About 3 lines: g, then folded.weight and, from `bias` above, folded.bias, as Tensor(..., requires_grad=True).
    ### BEGIN SOLUTION
    g = bn.weight.data / np.sqrt(bn.running_var + bn.eps)
    folded.weight = Tensor(conv.weight.data * g[:, None, None, None], requires_grad=True)
    folded.bias = Tensor((bias - bn.running_mean) * g + bn.bias.data, requires_grad=True)
    ### END SOLUTION
    return folded


# %%
#| export
#| exercise: fold_and_equalize
def equalization_scales(r: NDArray[Any], r_next: NDArray[Any]) -> NDArray[np.float32]:
    """s [channels], by which each row is divided and the column it feeds multiplied: `sqrt(r / r_next)`.

    r, r_next: the largest |weight| of each channel's row, and of the column it feeds. Where either is 0, s is 1.

    >>> equalization_scales(np.array([8.0, 0.0]), np.array([2.0, 3.0])).tolist()
    [2.0, 1.0]
    """
    r, r_next = float32_array("r", r), float32_array("r_next", r_next)
    check_same_shape(r=r, r_next=r_next)
    # About 2 lines. np.divide(a, b, out=..., where=...) divides only where it is told to.
    ### BEGIN SOLUTION
    usable = (r > 0) & (r_next > 0)
    return np.sqrt(np.divide(r, r_next, out=np.ones_like(r), where=usable)).astype(np.float32)
    ### END SOLUTION


# %%
assert equalization_scales(np.array([8.0]), np.array([2.0])) == 2, "sqrt(8 / 2) = 2: the row becomes 4, the column 4"
conv, bn = Conv2d(1, 2, 3, rng=rng), BatchNorm2d(2)
bn.running_mean[:], bn.running_var[:] = 0.5, 4.0
image = Tensor(rng.normal(size=(1, 1, 5, 5)).astype(np.float32))
folded = fold_batch_norm(conv, bn)
assert np.allclose(folded(image).data, bn.eval()(conv(image)).data, atol=1e-5), "the folded layer must compute bn(conv(x))"

# %% [markdown]
# The walkers that apply them to a whole network are given. **Bias correction** is the third repair: rounding moves the
# *mean* output of a layer a little; measure by how much, and subtract it from the bias.

# %%
#| export
def fold_batch_norms(model: Module, batches: Iterable[Any] | None = None) -> Module:
    """A new model in which every batch norm right behind a Conv2d, Conv1d or Linear of a Sequential is folded into it.

    What remains keeps its names: "layers.2" is "layers.2" although "layers.1" is gone, and layers[1]. batches: the
    first is run. It finds the pairs of own modules, too, and, where no Flatten says so, whether a Linear gives rows: of
    anything else a BatchNorm1d takes other numbers together. Subclasses stay as they are: what their `forward` computes
    is not known. A warning names the batch norms that are left, or says that there were none.
    """

    def replace(name: str, m: Module) -> Module | None:
        if type(m) is not Sequential:
            return None
        folded, names = copy(m), names_in(m.layers)
        prefix = f"{name}.layers".lstrip(".")
        layers = [map_modules(part, replace, f"{prefix}.{key}") for key, part in zip(names, m.layers, strict=True)]
        folded.layers = folded_chain(layers, names, fold_batch_norm)
        return folded

    folded = map_modules(model, replace)
    if batches is not None:
        folded = folded_siblings(folded, batches, fold_batch_norm)
    tell_unfolded(model, folded, batches is not None)
    return folded


def equalized_pairs(model: Module) -> Iterator[tuple[Weighted, Weighted]]:
    """Pairs of layers of a Sequential: a channel of the first reaches known columns of the second, and no others.

    Between the two lies nothing that a positive factor could not pass. Layers that share a tensor with others are left.
    """
    count = Counter(tensor for _, tensor in model.named_tensors())
    for _, m in model.named_modules():
        for first, second in _neighbours(m.layers) if type(m) is Sequential else ():
            if all(count[t] == 1 for t in (first.weight, first.bias, second.weight) if t is not None):
                yield first, second


def _neighbours(layers: list[Module]) -> Iterator[tuple[Weighted, Weighted]]:
    """The pairs within one chain. axis: where the first layer's channels lie, 1 of images, or -1."""
    first: Weighted | None = None
    axis = 0
    for layer in layers:
        kind = type(layer)
        if isinstance(layer, Weighted) and is_quantizable(layer):
            wanted = -1 if kind is Linear else 1
            if first is not None and axis == wanted and getattr(layer, "groups", 1) == 1:
                yield first, layer
            first, axis = layer, wanted
        elif kind is Flatten and axis == 1:
            axis = -1  # [N, channels, ...] becomes [N, values], each channel's side by side
        elif kind not in (ReLU, Dropout, Identity) and not (axis == 1 and kind in POOLING):
            first = None


def equalize(model: Module, sweeps: int = 20) -> Module:
    """A new model of the same function, whose neighbouring layers have equally large weights channel by channel.

    A warning says so if there are no such neighbours, and nothing changes.
    """
    new = map_modules(model, lambda name, m: copy(m) if is_quantizable(m) else None)
    pairs = told_pairs(list(equalized_pairs(new)))
    for _ in range(whole_number("equalize", "sweeps", sweeps, 0)):
        for first, second in pairs:
            rows, columns = first.weight.data, second.weight.data
            channels = len(rows)
            fed = columns.reshape(len(columns), channels, -1)  # behind a Flatten, a channel feeds several columns
            s = equalization_scales(np.abs(rows.reshape(channels, -1)).max(1), np.abs(fed).max((0, 2)))
            s = np.clip(s, 2.0**-32, 2.0**32).astype(np.float32)  # a bias divided by much less would overflow
            first.weight = Tensor((rows.reshape(channels, -1) / s[:, None]).reshape(rows.shape), requires_grad=True)
            if first.bias is not None:
                first.bias = Tensor(first.bias.data / s, requires_grad=True)
            second.weight = Tensor((fed * s[:, None]).reshape(columns.shape), requires_grad=True)
    return new


# %%
check("fold_and_equalize")
restored = equalize(twin)
for name, network in {"network": model, "twin": twin, "twin, equalized": restored}.items():
    print(f"{name:<16} float32 {score(network):.1%}   int4 per tensor {score(quantize_dynamic(network, IntType(4), None)):.1%}")

# %% [markdown]
# > **Takeaway.** Equalization undoes the rescaling exactly. It cannot help where the network itself needs more bits.

# %% [markdown]
# ## 3. The error in the loop
#
# Now train with quantization *inside*: forward, the weights and inputs of each layer are quantized and dequantized. But a
# staircase has slope 0 almost everywhere, and nothing would learn. The **straight-through estimator** pretends: where the
# code fits, the gradient passes as if nothing had happened; where it was clipped, it stops.
#
# **By hand.** Scale 0.01, int8. 1.2749 is 127.49 steps: rint gives 127, which fits; the gradient passes. 1.275 is 127.5
# steps: rint gives 128, which does not; it stops. The mask is on the *rounded* integer, not on x.

# %% [markdown]
# `Tensor.from_op(values, (x,), backward)` makes a result that remembers what it came from: `backward(grad)` takes the
# gradient of the result, and returns a tuple with one for each input.
#
# ### Exercise 14: `fake_quantize`

# %%
#| export
#| exercise: fake_quantize
@np.errstate(over="ignore")  # x / scale may overflow to infinity, which is clipped
def fake_quantize(x: Tensor, qparams: QParams) -> Tensor:
    """`dequantize(quantize(x))`, whose gradient passes where `qmin <= rint(x / scale) + zero_point <= qmax`, else is 0.

    >>> x = Tensor([-1.0, 0.5, 9.0], requires_grad=True)
    >>> fake_quantize(x, choose_qparams(-1.0, 2.0)).sum().backward()
    >>> x.grad.tolist()
    [1.0, 1.0, 0.0]
    """
    check_fits("a scale", as_qparams(qparams).scale.shape, as_real(x.data).shape)
    # About 4 lines: the unclipped integer, the mask, then Tensor.from_op(values, (x,), lambda grad: (...,)).
    ### BEGIN SOLUTION
    q = np.rint(x.data / qparams.scale) + qparams.zero_point
    inside = (q >= qparams.int_type.qmin) & (q <= qparams.int_type.qmax)
    x_hat = dequantize(quantize(x.data, qparams), qparams)
    return Tensor.from_op(x_hat, (x,), lambda grad: (grad * inside,))
    ### END SOLUTION


# %%
check("fake_quantize")
x = Tensor(np.array([1.2749, 1.275, -1.28, -1.29], np.float32), requires_grad=True)
out = fake_quantize(x, QParams(0.01, 0))
out.sum().backward()
assert np.allclose(out.data, [1.27, 1.27, -1.28, -1.28]), f"values must be those of dequantize(quantize(x)), got {out.data}"
assert x.grad.tolist() == [1, 0, 1, 0], f"the mask is on the rounded, unclipped integer: wanted [1, 0, 1, 0], got {x.grad}"

# %% [markdown]
# A module around it. For weights the scale follows the weights at every step. For activations an observer follows the
# batches, in training mode, until `freeze()`.

# %%
#| export
class FakeQuantize(RangeQuantizer):
    """Quantizes and dequantizes what passes, by the quantization parameters that it remembers as `qparams`.

    observer: watches in training mode and gives the range; None: the range is that of x itself, for each slice along
    `axis`: for weights. After its own `freeze()` the qparams stay; `freeze(model)` leaves those of weights moving.
    """

    def __init__(
        self,
        int_type: IntType = INT8,
        symmetric: bool = False,
        observer: Observer | None = None,
        axis: int | None = None,
    ) -> None:
        if not as_int_type(int_type).signed and symmetric:
            raise ValueError(f"symmetric needs a signed type, got {int_type}: use {IntType(int_type.bits)}")
        if observer is not None and axis is not None:
            raise ValueError(f"an observer has its own axis: give {axis} to it, as in MinMaxObserver({axis})")
        self.int_type, self.symmetric, self.axis = int_type, symmetric, checked_axis(axis)
        self.observer = None if observer is None else as_observer(observer)
        self.qparams: QParams | None = None
        self.frozen = False

    __repr__ = repr_of_fake_quantize

    @property
    def state_type(self) -> str:
        """What a saved state tells beyond its arrays."""
        return f"{self.int_type}, symmetric {self.symmetric}, axis {self.axis}"

    @property
    def saw_only_zeros(self) -> bool:
        """Whether qparams are those of a range of zeros, which does not tell how large other numbers are."""
        return self.qparams is not None and self.observer is not None and is_of_zeros(self.qparams, self.observer)

    def freeze(self) -> None:
        self.frozen = True

    def forward(self, x: Tensor) -> Tensor:
        if x.data.size == 0:
            return x
        if not self.frozen and self.observer is None:
            self.qparams = choose_qparams(*value_range(x.data, self.axis), self.int_type, self.symmetric)
        elif not self.frozen and self.training and self.observer is not None:
            self.observer.observe(x.data)
            self.qparams = self.observer.qparams(self.int_type, self.symmetric)
        if self.qparams is None:
            raise ValueError("FakeQuantize has no qparams yet: give prepare_qat a batch, or run one in training mode")
        return fake_quantize(x, self.qparams)


# %% [markdown]
# ## 4. Prepare, train, convert
#
# A `FakeQuantized` layer computes with the errors that its quantized self will make. `prepare_qat` puts one around every
# `Linear` and `Conv2d`, and lets a few batches pass; you train it with the same `fit` as ever; `convert` takes the scales
# and zero points it learned and makes the integer network.
#
# ### Exercise 15: `FakeQuantized`, `convert`

# %%
#| export
@dataclass
class OutputSums:
    """The outputs of each channel [channels], added up over batches, and how many they were."""

    total: Any = 0.0
    count: int = 0

    def add(self, y: NDArray[Any], channel_axis: int) -> None:
        self.total = self.total + y.sum(tuple(a for a in range(y.ndim) if a != channel_axis), dtype=np.float64)
        self.count += y.size // y.shape[channel_axis]

    @property
    def mean(self) -> Any:
        return self.total / max(self.count, 1)


# %%
#| export
#| exercise: qat
class FakeQuantized(Wrapped):
    """A Linear, Conv1d or Conv2d whose input and weight pass through quantizers on their way into the product.

    layer: holds the float weights that are trained. weight, input: FakeQuantize or LearnedStepSize modules.
    """

    def __init__(self, layer: Weighted, weight: Any, input: Any) -> None:
        self.layer, self.weight, self.input = layer, weight, input
        self.enabled = True
        self.seen: OutputSums | None = None  # where bias correction adds up the outputs

    def explanation(self) -> str:
        return f"{type(self.layer).__name__} with {self.weight.int_type} weights, rounded in float for training"

    def forward(self, x: Tensor) -> Tensor:
        y = self._rounded(x) if self.enabled else self.layer(x)
        if self.seen is not None:
            self.seen.add(y.data, y.ndim - 1 if isinstance(self.layer, Linear) else 1)
        return y

    def _rounded(self, x: Tensor) -> Tensor:
        """The layer's output for the rounded input, computed with the rounded weight."""
        # About 3 lines: a copy(self.layer) whose weight is self.weight(...), called with self.input(...).
        ### BEGIN SOLUTION
        layer = copy(self.layer)
        layer.weight = self.weight(self.layer.weight)
        return layer(self.input(x))
        ### END SOLUTION


class PreparedLayer(FakeQuantized):
    """A FakeQuantized layer that adds its bias as the integer layer will: in whole steps of s_x * s_w.

    The float bias is trained, with its gradient unchanged. A layer that will be dynamic keeps it in float, as there.
    """

    def running_bias(self) -> NDArray[np.float32]:
        """The bias [channels] as it is added, for the quantization parameters of the last forward pass."""
        assert self.layer.bias is not None
        if self.input.qparams is None or self.input.saw_only_zeros:
            return self.layer.bias.data
        return bias_as_it_runs(self.layer, self.weight.qparams, self.input.qparams)

    def _rounded(self, x: Tensor) -> Tensor:
        y = super()._rounded(x)
        if self.layer.bias is None:
            return y
        moved = (self.running_bias() - self.layer.bias.data).astype(y.dtype)
        moved = moved if isinstance(self.layer, Linear) else moved.reshape(-1, *[1] * (y.ndim - 2))
        return Tensor.from_op(y.data + moved, (y,), lambda grad: (grad,))


# %% [markdown]
# `prepare_qat` is given. With `learned=True` it puts in the quantizer of section 5. The layers it makes round their bias,
# too: an integer layer adds it to its sums in whole steps of $s_x s_w$, which are large when bits are few.

# %%
#| export
def prepare_qat(
    model: Module,
    batches: Iterable[Any],
    weight_type: IntType = INT8,
    activation_type: IntType = INT8,
    axis: int | None = 0,
    learned: bool = False,
    rules: Rules | None = None,
    symmetric: bool = False,
) -> Module:
    """A new model to be trained: every Linear, Conv1d and Conv2d a PreparedLayer, its ranges set by running batches.

    axis: 0 a scale for each row of a weight, None one for all. learned: steps are trained (LSQ), else they follow the
    ranges. symmetric: activations have zero point 0. rules: other types by layer name, pattern or class, see Rule;
    "float" leaves a layer as it is. The given model stays as it is, and tensors that several of its layers share are
    shared in the new one.
    """
    check_rules(model, rules, weight_type, knows=("activation_type",))
    as_int_type(activation_type)
    if true_or_false("symmetric", symmetric) and learned:
        raise ValueError("learned steps choose their zero points by the numbers: leave symmetric out")
    if axis not in (0, None):
        raise ValueError(f"axis must be 0, a scale for each output of a weight, or None, one for all, got {axis}")

    def replace(name: str, m: Module) -> Module | None:
        rule = rule_of(name, m, weight_type, rules)
        if rule is None or rule.weight_type is None or not isinstance(m, Weighted):
            return None
        int_type, input_type = rule.weight_type, rule.activation_type or activation_type
        if learned:
            trained = LearnedStepSize(input_type, batched=True)
            return PreparedLayer(copy(m), LearnedStepSize(int_type, axis), trained)
        watched = FakeQuantize(input_type, symmetric, MovingAverageObserver())
        return PreparedLayer(copy(m), FakeQuantize(int_type, symmetric=True, axis=axis), watched)

    prepared = map_modules(model, replace)
    own: dict[Tensor, Tensor] = {}  # tensors of its own, for training changes them in place
    for _, m in prepared.named_modules():
        for key, value in vars(m).items():
            if isinstance(value, Tensor):
                setattr(m, key, own.setdefault(value, Tensor(value.data.copy(), value.requires_grad)))
    _calibrate(prepared, batches)
    return prepared


def _calibrate(prepared: Module, batches: Iterable[Any]) -> None:
    """Let the batches pass: ranges and learned steps follow them, but no statistics of a batch norm."""
    modules = [m for _, m in prepared.named_modules()]
    for m in modules:
        m.training = not isinstance(m, BatchNorm2d)
    learned: list[Any] = [m for m in modules if hasattr(m, "calibrating")]
    for step in learned:
        step.calibrating = True
    seen = 0
    with no_grad():
        for batch in inputs_of(batches, prepared):
            seen += len(batch)
            if len(batch):
                prepared(batch)
    tell_uncalibrated(seen)
    for step in learned:
        step.calibrating = False
    prepared.train()


def prepared_layers(model: Module) -> list[FakeQuantized]:
    """The FakeQuantized layers, in order. ValueError for a model that has none, for it was not prepared."""
    layers = [m for _, m in as_module(model).named_modules() if isinstance(m, FakeQuantized)]
    if not layers:
        raise ValueError("wanted a model from prepare_qat, got one without FakeQuantized layers: prepare it first")
    return layers


def freeze(model: Module) -> Module:
    """Every observer of a prepared model stops: the qparams of inputs stay as they are. Returns the model.

    Weights have no observer: their scales go on following them, so that training clips none.
    """
    prepared_layers(model)
    for _, m in model.named_modules():
        if isinstance(m, FakeQuantize) and m.observer is not None:
            m.freeze()
    return model


# %%
#| export
#| exercise: qat
def convert(model: Module) -> Module:
    """The integer network of a prepared one: each FakeQuantized becomes a QuantizedLinear or a quantized convolution.

    Weight codes and input qparams are exactly those that training saw. A layer whose input was always 0 becomes
    dynamic. ValueError for a model that was not prepared.
    """
    prepared_layers(model)

    def replace(name: str, m: Module) -> Module | None:
        if not isinstance(m, FakeQuantized):
            return None
        if m.input.qparams is None:
            raise ValueError(f"layer {name!r} has no qparams for its input: give prepare_qat batches to run")
        if m.input.saw_only_zeros:
            m = FakeQuantized(m.layer, m.weight, FakeQuantize())  # whose qparams are None: the input's own, each time
        with no_grad():
            m.weight(m.layer.weight)  # sets its qparams, for the weights as they are now
        # About 3 lines: a QuantizedTensor of the weight's codes and qparams, then quantized_layer(..., the input's qparams).
        ### BEGIN SOLUTION
        weight = QuantizedTensor(quantize(m.layer.weight.data, m.weight.qparams), m.weight.qparams)
        return quantized_layer(m.layer, weight, m.input.qparams)
        ### END SOLUTION

    quantized = map_modules(model, replace)
    fuse_chain(quantized)
    return quantized.eval()


# %% [markdown]
# **Predict.** Weights *and* activations in 4 bits; then weights in 2 bits. After training (PTQ) and with the error in the
# loop (QAT): where will training make the largest difference?

# %%
check("qat")
calibration = [digits.x_train[:256]]
table = {}
for name, weights, activations in (("int4, activations int4", 4, 4), ("int3, activations int4", 3, 4), ("int2, activations int8", 2, 8)):
    prepared = prepare_qat(model, calibration, IntType(weights), IntType(activations), axis=None)
    after = score(convert(prepared))
    fit(prepared, digits.x_train, digits.y_train, epochs=15, optimizer=Adam(prepared.parameters(), lr=1e-3))
    table[name] = after, score(convert(freeze(prepared)))
    print(f"{name:<26} rounded after training {after:6.1%}   trained with the error {table[name][1]:6.1%}")
assert table["int2, activations int8"][1] > 0.9 * score(model), "2-bit weights must come back above 90 % of float32's accuracy"

# %% [markdown]
# > **Takeaway.** A network that feels the error while it learns finds weights for which the error is small.

# %% [markdown]
# ## 5. Learn the step, too
#
# The range of the weights is not the best one for two or three bits. So let training choose the step $s$ itself. How
# does the output move when $s$ does? Inside, $\hat x = s \cdot (q - z)$ with $q$ fixed by rounding $x / s$; the
# straight-through rule gives
#
# $$\frac{d\hat x}{ds} = \frac{\hat x - x}{s} \text{ inside}, \quad q_{min} - z \text{ below}, \quad q_{max} - z \text{ above}$$
#
# One step serves many numbers, so its gradient is a sum of many; it is scaled by $1 / \sqrt{N (q_{max} - z)}$. Start at
# $s = 2\,\mathrm{mean}|x| / \sqrt{q_{max} - z}$. Source: Esser et al. 2020.
#
# ### Exercise 16: `learned_step_quantize`

# %%
#| export
#| exercise: learned_step
@np.errstate(over="ignore")  # x / scale may overflow to infinity, which is clipped
def learned_step_quantize(x: Tensor, scale: Tensor, zero_point: int, int_type: IntType, count: float) -> Tensor:
    """Quantize and dequantize x by `scale`, with gradients for x (as `fake_quantize`) and for scale (LSQ).

    scale: float32, of a shape that broadcasts against x. count: N, how many numbers of x share one scale. The result
    has the dtype of x. The gradient of scale may have the shape of x: the caller sums it to that of scale.

    >>> x, s = Tensor([0.3, 5.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    >>> learned_step_quantize(x, s, 0, IntType(2), count=1).sum().backward()
    >>> x.grad.tolist(), round(float(s.grad[0]), 4)  # inside (0 - 0.3) / 1; above qmax = 1
    ([1.0, 0.0], 0.7)
    """
    qparams = QParams(scale.data, zero_point, int_type)  # refuses what is no scale or no code
    check_fits("a scale", qparams.scale.shape, as_real(x.data).shape)
    if not 0 < count < np.inf:
        raise ValueError(f"count must be > 0 and finite, got {count}: it is how many numbers share a scale")
    qmin, qmax = int_type.qmin, int_type.qmax
    steps = x.data / scale.data
    q = np.rint(steps) + zero_point
    # About 6 lines: below, above; x_hat = (clipped q - zero_point) * scale; the slope of scale by np.where; backward.
    ### BEGIN SOLUTION
    below, above = q < qmin, q > qmax
    kept = np.clip(q, qmin, qmax) - zero_point
    slope = np.where(below, qmin - zero_point, np.where(above, qmax - zero_point, kept - steps)).astype(x.dtype)
    damping = (count * (qmax - zero_point)) ** -0.5
    return Tensor.from_op(
        (kept * scale.data).astype(x.dtype),
        (x, scale),
        lambda grad: (grad * ~(below | above), grad * slope * damping),
    )
    ### END SOLUTION


# %%
#| export
@dataclass
class Magnitudes:
    """Of the numbers seen so far: the sum of |x|, of all or of each slice, how many they were, and the smallest."""

    total: Any = 0.0
    count: int = 0
    lowest: float = 0.0

    def add(self, x: NDArray[Any], axis: int | tuple[int, ...] | None) -> None:
        kept = () if axis is None else normalize_axis_tuple(axis, x.ndim)
        reduced = tuple(a for a in range(x.ndim) if a not in kept)
        keepdims: Any = axis is not None  # Any: NumPy's types tell True from False, but know no bool
        self.total = self.total + np.abs(x).sum(reduced, dtype=np.float64, keepdims=keepdims)
        self.count += x.size // prod(x.shape[a] for a in kept)
        self.lowest = min(self.lowest, float(x.min()))


class LearnedStepSize(StepQuantizer):
    """A quantizer whose step is trained (LSQ). It is started by all that passes while it is `calibrating`, in
    prepare_qat, and otherwise by the first tensor in training mode.

    axis: 0 a step for each row, None one for all. batched: axis 0 of x is a batch, and not counted in N; and numbers
    none of which is negative (behind a ReLU) get all codes for the positive side. Weights need a signed type.
    """

    def __init__(
        self, int_type: IntType = INT8, axis: int | tuple[int, ...] | None = None, batched: bool = False
    ) -> None:
        if not (as_int_type(int_type).signed or batched):
            raise ValueError(f"the step of a weight needs a signed type, got {int_type}: use {IntType(int_type.bits)}")
        self.int_type, self.axis, self.batched = int_type, checked_axis(axis), batched
        self.scale: Tensor | None = None
        self.zero_point = np.zeros((), np.int32)  # an array: it is saved with the model
        self.calibrating, self.seen = False, Magnitudes()

    __repr__ = repr_of_learned_step

    @property
    def state_type(self) -> str:
        """What a saved state tells beyond its arrays."""
        return f"{self.int_type}, axis {self.axis}"

    def forward(self, x: Tensor) -> Tensor:
        if x.data.size == 0:
            return x
        as_range(np.min(x.data), np.max(x.data))  # refuses NaN and infinity
        if self.scale is None and not (self.training or self.calibrating):
            raise ValueError("LearnedStepSize has no step yet: give prepare_qat a batch, or run one in training mode")
        if self.scale is None or self.calibrating:
            self._start(x.data)
        assert self.scale is not None
        smallest = np.finfo(np.float32).tiny
        np.maximum(self.scale.data, smallest, out=self.scale.data)  # an update may not make a step 0 or negative
        count = x.data.size / self.scale.data.size / (len(x) if self.batched else 1)
        return learned_step_quantize(x, self.scale, int(self.zero_point), self.int_type, count)

    @property
    def saw_only_zeros(self) -> bool:
        """Whether the step was set by zeros, which do not tell how large other numbers are, and is still that."""
        return self.scale is not None and bool(np.all(self.scale.data == 1)) and not np.any(self.seen.total)

    def _start(self, x: NDArray[Any]) -> None:
        if x.any() or self.axis is not None:  # a batch of zeros says nothing about the step
            self.seen.add(x, self.axis)
        qmin, qmax = self.int_type.qmin, self.int_type.qmax
        if self.batched:
            self.zero_point = np.array(qmin if self.seen.lowest >= 0 else (qmin + qmax + 1) // 2, np.int32)
        step = 2 * self.seen.total / max(self.seen.count, 1) / np.sqrt(qmax - self.zero_point)
        self.scale = Tensor(as_scale(step), requires_grad=True)

    @property
    def qparams(self) -> QParams | None:
        return None if self.scale is None else QParams(self.scale.data, self.zero_point, self.int_type)


# %%
check("learned_step")
x, s = Tensor([0.3, 5.0, -9.0], requires_grad=True), Tensor([1.0], requires_grad=True)
learned_step_quantize(x, s, 0, IntType(2), count=1).sum().backward()
assert x.grad.tolist() == [1, 0, 0], "x gets its gradient inside only"
assert np.isclose(s.grad[0], -0.3 + 1 - 2), f"scale: inside kept - steps = -0.3, above qmax = 1, below qmin = -2; got {s.grad[0]}"

# %%
losses = {}
for name, learned in {"ranges": False, "learned steps": True}.items():
    prepared = prepare_qat(model, calibration, IntType(2), IntType(4), learned=learned)
    losses[name] = fit(prepared, digits.x_train, digits.y_train, epochs=15, optimizer=Adam(prepared.parameters(), lr=1e-3))
    print(f"2-bit weights, 4-bit activations, {name:<14} {score(convert(freeze(prepared))):.1%}")
plt.figure(figsize=(7, 3))
for name, curve in losses.items():
    plt.semilogy(curve, label=name)
plt.xlabel("epoch")
plt.ylabel("training loss")
plt.legend()
plt.show()

# %% [markdown]
# ## 6. What each remedy is worth
#
# The twin, whose weights differ by 40, in 3 bits with one scale a matrix, and one remedy after the other. `correct_bias`
# (given) compares mean outputs, layer by layer, with the quantizers off and on.

# %%
#| export
def correct_bias(model: Module, batches: Iterable[Any]) -> Module:
    """Move the bias of each FakeQuantized layer so that its mean output on the batches is that without quantizers.

    The mean is over all samples, however they are batched. model: from `prepare_qat`; it is changed, and returned.
    Layers are corrected in order, each behind corrected ones. Source: Nagel et al. 2019.
    """
    layers = [m for m in prepared_layers(model) if m.layer.bias is not None]
    inputs = [batch for batch in inputs_of(batches, model) if len(batch)]
    if not inputs:
        raise ValueError("correct_bias needs at least one sample, got none")
    model.eval()

    def mean_outputs(chosen: list[FakeQuantized]) -> list[NDArray[Any]]:
        for m in chosen:
            m.seen = OutputSums()
        with no_grad():
            for batch in inputs:
                model(batch)
        means = [m.seen.mean for m in chosen if m.seen is not None]
        for m in chosen:
            m.seen = None
        return means

    for m in layers:
        m.enabled = False
    wanted = mean_outputs(layers)
    for m in layers:
        m.enabled = True
    for m, mean in zip(layers, wanted, strict=True):
        bias = m.layer.bias
        assert bias is not None
        now = mean_outputs([m])[0]
        added = m.running_bias() if isinstance(m, PreparedLayer) else bias.data
        bias.data = (added + mean - now).astype(np.float32)
    return model


# %%
W, A = IntType(3), IntType(8)
steps = {"rounded": score(convert(prepare_qat(twin, calibration, W, A, axis=None)))}
steps["+ equalized"] = score(convert(prepare_qat(restored, calibration, W, A, axis=None)))
steps["+ bias corrected"] = score(convert(correct_bias(prepare_qat(restored, calibration, W, A, axis=None), calibration)))
steps["+ per channel"] = score(convert(correct_bias(prepare_qat(restored, calibration, W, A), calibration)))
prepared = prepare_qat(restored, calibration, W, A)
fit(prepared, digits.x_train, digits.y_train, epochs=15, optimizer=Adam(prepared.parameters(), lr=1e-3))
steps["+ trained"] = score(convert(freeze(prepared)))
plt.figure(figsize=(7, 3))
wrong = [round(500 * (1 - share)) for share in steps.values()]
plt.bar_label(plt.barh(list(steps), wrong), wrong, padding=3)
plt.axvline(500 * (1 - score(twin)), color="0.4", ls="--", label="float32")
plt.xscale("log")
plt.xlim(5, 1000)
plt.xlabel("wrong of 500 images (each factor of 10 the same length)")
plt.ylabel("one remedy after the other")
plt.gca().invert_yaxis()
plt.legend()
plt.show()

# %% [markdown]
# **Look.** Accuracy against bits, for everything so far: rounded after training, equalized, trained, trained with learned
# steps. Activations in 8 bits, one scale a matrix.

# %%
curves = {"after training": [], "equalized": [], "QAT": [], "LSQ": []}
for b in (2, 3, 4, 6):
    curves["after training"].append(score(convert(prepare_qat(twin, calibration, IntType(b), axis=None))))
    curves["equalized"].append(score(convert(prepare_qat(restored, calibration, IntType(b), axis=None))))
    for name, learned in (("QAT", False), ("LSQ", True)):
        prepared = prepare_qat(restored, calibration, IntType(b), axis=None, learned=learned)
        fit(prepared, digits.x_train, digits.y_train, epochs=8, optimizer=Adam(prepared.parameters(), lr=1e-3))
        curves[name].append(score(convert(freeze(prepared))))
plt.figure(figsize=(7, 3.5))
for (name, curve), marker in zip(curves.items(), "osv^", strict=True):
    plt.semilogy((2, 3, 4, 6), [1 - share for share in curve], marker + "-", label=name)
plt.axhline(1 - score(twin), color="0.7", label="float32")
plt.xticks((2, 3, 4, 6))
plt.xlabel("bits of a weight")
plt.ylabel("share of wrong answers")
plt.legend()
plt.show()

# %% [markdown]
# > **Takeaway.** First make the network easy to quantize; it costs nothing. Then train, where bits are few.
#
# ## Reflect
#
# Write below each question; what you write is handed in.

# %% [markdown]
# <!-- question: equalize_or_train -->
# 1. Equalization restored the twin completely, and training did too. Which would you try first on a network of someone
#    who has left, with 256 images of calibration data and no labels?
#
# ### BEGIN SOLUTION
# Equalization: it needs no data and no labels. Then bias correction, which needs only inputs. Training needs labels.
# ### END SOLUTION

# %% [markdown]
# <!-- question: straight_through -->
# 2. The straight-through gradient is wrong almost everywhere. Why does it work at all, and when would you expect it not to?
#
# ### BEGIN SOLUTION
# It is the slope of the staircase seen from afar. It fails where the step is as long as the whole weight distribution:
# then a small update rarely changes any code, and a large one changes many.
# ### END SOLUTION

# %% [markdown]
# <!-- question: off_by_one -->
# 3. The converted network agrees with the one that was trained, nearly code for code. Name two places where a code may
#    still differ by one.
#
# ### BEGIN SOLUTION
# The bias is rounded to int32 steps; and the float sums of the trained network are themselves rounded, so that a value
# that lies next to a tie may fall on the other side.
# ### END SOLUTION
