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
# # 17. Quantization: layers and networks on codes
#
# The arithmetic is yours, from `quantization_dev.py`. Now a layer runs on it, then a whole network, and you measure the
# three things that are claimed for it: smaller, as accurate, faster. Save, then in a terminal:
#
# ```
# tito export 17_quantization
# tito test 17_quantization
# ```

# %% [markdown]
# Stuck? `tito hint` shows the next of three hints, from a question to nearly the line. `check("quantized_linear")` in a cell
# runs that exercise's tests on what this notebook has defined, and says what `tito test` would say.

# %%
#| default_exp quantization.networks

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

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.core import BatchNorm2d, Conv1d, Conv2d, Flatten, Linear, Module, ReLU, Sequential, Tensor, evaluating  # noqa: F401, for networks that are tried
from tinytorch.core.checks import real_array, real_number, said, whole_number
from tinytorch.core.windows import Both, checked_pair
from tinytorch.quantization.arguments import several_models
from tinytorch.quantization.biases import as_bias, integer_bias
from tinytorch.quantization.layers import (
    WeightOnlyLinear,
    WindowedProducts,
    check_weight_axis,
    checked_per_row,
    codes_of,
    convolution_of,
    each_row,
    explained_products,
    filters,
    one_scale,
    symmetric_codes,
)
from tinytorch.quantization.quantize import (
    MinMaxObserver,
    MovingAverageObserver,
    Observer,
    choose_qparams,
    integer_matmul,
    quantize,
    requantize,
)
from tinytorch.quantization.reprs import repr_of_linear
from tinytorch.quantization.tensors import QuantizedTensor, dynamic_quantize
from tinytorch.quantization.rules import Rules, check_rules, is_quantizable, rule_for
from tinytorch.quantization.trees import (
    ObserversFor,
    bias_of,
    explain,
    fuse_chain,
    inputs_of,
    map_modules,
    model_arrays,
    observe_layers,
    owner,
    quantize_weight_only,
    replace_observed,
    with_rows,
)
from tinytorch.quantization.qparams import INT4, INT8, IntType, QParams, check_same_shape

# %%
import platform

import matplotlib.pyplot as plt

from tinytorch.core import Adam, accuracy, fit, load_digits
from tinytorch.quantization.quantize import sqnr_db

rng = np.random.default_rng(17)
four = np.array([-1, 0, 0.5, 2], np.float32)

# %% [markdown]
# ## 10. A layer in integers
#
# **A tensor that really is small.** `QuantizedTensor` (given, in `tinytorch/quantization/tensors.py`) holds codes and their
# quantization parameters, and **no float32 copy**: `nbytes` counts what is there. Codes of 4 bits are packed by your
# function, those of other widths below 8 as one stream of bits.

# %%
w = rng.normal(size=(256, 256)).astype(np.float32) * np.geomspace(0.1, 1, 256, dtype=np.float32)[:, None]
for name, how in {"tensor": {}, "row": {"axis": 0}, "group of 32": {"group_size": 32}}.items():
    for int_type in (INT8, INT4):
        t = QuantizedTensor.from_float(w, int_type, **how)
        print(f"{int_type} per {name:<12} {w.nbytes / t.nbytes:5.2f} x smaller   {sqnr_db(w, t.dequantize()):5.1f} dB")

# %% [markdown]
# > **Takeaway.** 4 bits are 8 times smaller until you count the scales. Always count the scales.

# %% [markdown]
# **The layer.** A `Linear` layer in INT8:
#
# 1. int8 weights, a scale a row; the float32 weights are let go.
# 2. Input to codes: with a scale and zero point from calibration (**static**), or from this very input (**dynamic**).
# 3. `integer_matmul`, int32.
# 4. The bias, as int32 at scale $s_x s_w$: then it is just one more addend (static). A dynamic layer does not know $s_x$
#    ahead, and adds its bias in float.
# 5. Out: requantized codes for the next layer, or float32.
#
# Dynamic quantization, `dynamic_quantize`, follows the ONNX rule, in float32 and uint8:
# `scale = (max(0, hi) - min(0, lo)) / 255`, `zero_point = rint(clip(-lo / scale, 0, 255))`.

# %%
codes, x_qparams = dynamic_quantize(four)
print(codes, "scale", x_qparams.scale, "zero point", x_qparams.zero_point)

# %% [markdown]
# Between two static layers, numbers travel as a `QuantizedTensor` of int8 codes. Write `forward`. Static: `self.bias` is
# already int32 and joins the sums. Dynamic: it is float and comes last. Both hand out codes if `output_qparams` is given:
# a static layer by `requantize`, a dynamic one by `quantize`.
#
# ### Exercise 10: `QuantizedLinear`

# %%
#| export
#| exercise: quantized_linear
class QuantizedLinear(Module):
    """`Linear` in integers: int8 weights [out, in], int32 sums.

    weight: float [out, in], or ready codes of zero point 0; bias: float [out] or None. input_qparams: those of the
    input, per tensor; None: dynamic, from each input. output_qparams: those of the result, a QuantizedTensor; None: a
    float32 Tensor. weight_type: of the weights. axis: 0 a scale for each output channel, None one for all. per_row: a
    dynamic layer chooses a scale for each row of its input, so that no row depends on the others.
    """

    def __init__(
        self,
        weight: ArrayLike | QuantizedTensor,
        bias: ArrayLike | None = None,
        input_qparams: QParams | None = None,
        output_qparams: QParams | None = None,
        weight_type: IntType = INT8,
        axis: int | None = 0,
        per_row: bool = False,
    ) -> None:
        super().__init__()
        self.per_row = checked_per_row(per_row, input_qparams)
        self.weight = symmetric_codes(weight, weight_type, axis)
        if len(self.weight.shape) != 2:
            raise ValueError(f"weight must be [out, in], got shape {self.weight.shape}")
        self.input_qparams = one_scale("input_qparams", input_qparams)
        self.output_qparams = one_scale("output_qparams", output_qparams)
        self.bias: NDArray[Any] = as_bias(bias, self.weight.shape[0])
        if input_qparams is not None:
            self.weight, self.bias = integer_bias(self.weight, self.bias, input_qparams.scale)

    __repr__ = repr_of_linear

    def explanation(self) -> str:
        return explained_products([self])

    @property
    def state_type(self) -> str:
        return "per row" if self.per_row else ""

    def _scale(self, input_qparams: QParams) -> NDArray[np.float32]:
        """s_x * s_w, float32 [out], per row [rows, out]: what one unit of each int32 sum is worth."""
        scale = input_qparams.scale * self.weight.qparams.scale.ravel()
        return np.broadcast_to(scale, input_qparams.scale.shape[:1] + self.weight.shape[:1])

    def _codes(self, x: Tensor | QuantizedTensor) -> tuple[NDArray[Any], QParams]:
        """The input's codes [..., in] and their quantization parameters: as they come, by calibration, or dynamic.

        One scale and zero point, or [rows, 1] per row.
        """
        q, qparams = codes_of(x, self.input_qparams, int(self.per_row))
        return q, each_row(qparams, q.shape)

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        q, qparams = self._codes(x)
        if q.shape[-1:] != self.weight.shape[1:]:
            raise ValueError(f"wanted input [..., {self.weight.shape[1]}], got shape {q.shape}")
        rows = q.reshape(int(np.prod(q.shape[:-1])), q.shape[-1])
        # About 10 lines. 1. integer_matmul(rows, self.weight.q.T, the input's zero point). 2. Dynamic: y = acc * scale +
        # bias, quantized if codes are wanted. Static: acc + bias, then requantize(acc, scale / s_y, ...) or acc * scale.
        # 3. From rows back to [..., out]: a float32 Tensor, or QuantizedTensor(codes, self.output_qparams).
        ### BEGIN SOLUTION
        acc = integer_matmul(rows, self.weight.q.T, qparams.zero_point)
        scale, shape = self._scale(qparams), (*q.shape[:-1], self.weight.shape[0])
        if self.input_qparams is None:
            y = acc.astype(np.float32) * scale + self.bias
        else:
            acc = acc + self.bias
            y = acc.astype(np.float32) * scale
        if self.output_qparams is None:
            return Tensor(y.reshape(shape))
        if self.input_qparams is None:
            codes = quantize(y, self.output_qparams)
        else:
            codes = requantize(acc, scale / self.output_qparams.scale, self.output_qparams)
        return QuantizedTensor(codes.reshape(shape), self.output_qparams)
        ### END SOLUTION


# %%
check("quantized_linear")
layer = Linear(4, 3, rng=rng)
exact = layer(four[None]).data
for name, input_qparams in {"dynamic": None, "static": choose_qparams(-1, 2)}.items():
    got = QuantizedLinear(layer.weight.data, layer.bias.data, input_qparams)(four[None]).data
    assert np.abs(got - exact).max() < 0.02, f"{name}: {got} is not near {exact}: check zero point, scale and bias"

# %% [markdown]
# > **Takeaway.** Codes in, codes out. No weight and no activation is stored in float32.

# %% [markdown]
# **Given: the layers of an image network**, in `tinytorch/quantization/layers.py`. A convolution is your layer, slid over
# the image: each window is a row of codes. What lies beyond the edge is 0.0, whose code is the zero point. Max pooling and
# flattening work on codes as they are (`OnCodes`), for a larger number has a larger code.

# %%
#| export
class QuantizedConv2d(WindowedProducts):
    """`Conv2d` in integers: for each group of channels a QuantizedLinear over the windows. Source: ONNX QLinearConv.

    weight: float [out, in / groups, kh, kw], or ready codes; everything else as in QuantizedLinear and Conv2d. per_row:
    of the batch: a dynamic layer chooses a scale for each sample.
    """

    def __init__(
        self,
        weight: ArrayLike | QuantizedTensor,
        bias: ArrayLike | None = None,
        input_qparams: QParams | None = None,
        output_qparams: QParams | None = None,
        weight_type: IntType = INT8,
        axis: int | None = 0,
        stride: Both = 1,
        padding: Both = 0,
        groups: int = 1,
        dilation: Both = 1,
        per_row: bool = False,
    ) -> None:
        stride, dilation = (checked_pair("QuantizedConv2d", *n) for n in (("stride", stride), ("dilation", dilation)))
        padding = checked_pair("QuantizedConv2d", "padding", padding, 0)
        codes = symmetric_codes(weight, weight_type, axis)
        parts = filters(codes, bias, whole_number("QuantizedConv2d", "groups", groups))
        products = [QuantizedLinear(rows, part, input_qparams, output_qparams, per_row=per_row) for rows, part in parts]
        super().__init__(products, (codes.shape[2], codes.shape[3]), stride, padding, dilation)

# %% [markdown]
# A function of one number, such as GELU, needs no arithmetic at all: there are 256 codes, so a **table** of 256 answers is
# the function (`Lookup`). And a sum of two tensors, as in a residual block, is two multiplications and one rounding
# (`quantized_add`).

# %% [markdown]
# ## 11. A whole network
#
# **The float network first**: 64 - 512 - 512 - 10 on handwritten digits, trained here, in seconds.

# %%
digits = load_digits()
model_rng = np.random.default_rng(0)
model = Sequential(Linear(64, 512, rng=model_rng), ReLU(), Linear(512, 512, rng=model_rng), ReLU(), Linear(512, 10, rng=model_rng))
fit(model, digits.x_train, digits.y_train, epochs=12, optimizer=Adam(model.parameters(), lr=1e-3))
print(f"float32: {accuracy(model, digits.x_test, digits.y_test):.1%} of {len(digits.x_test)} held-out images")

# %% [markdown]
# A network is a tree of modules. `map_modules` makes a new tree in which some are replaced; the old one stays as it is.
#
# **Dynamic** and **weight-only** quantization look at one layer at a time. **Static** quantization needs calibration:
#
# 1. each `Linear` is wrapped in `Observed`, which watches its input go by;
# 2. a few batches are run;
# 3. each becomes a `QuantizedLinear` with the scale and zero point of its observer.
#
# Within a chain, a layer's `output_qparams` are the *next layer's `input_qparams`*. And a ReLU between two of them
# vanishes: its output is never negative, so its range begins at 0, and clipping to the lowest code **is** the ReLU.

# %%
#| export
def quantized_layer(
    layer: Module,
    weight: QuantizedTensor | IntType = INT8,
    input_qparams: QParams | None = None,
    axis: int | None = 0,
    per_row: bool = False,
) -> Module:
    """The integer form of a Linear, Conv1d or Conv2d; without input_qparams dynamic. TypeError for another layer.

    weight: ready codes, or the type to quantize the layer's weight to, with a scale for each slice along `axis`.
    per_row: as in quantize_dynamic.
    """
    if not is_quantizable(layer):
        kinds, kind = "Linear, Conv1d and Conv2d", type(layer).__name__
        raise TypeError(f"only {kinds} themselves have an integer form, got a {kind}: leave it as it is")
    if not isinstance(weight, QuantizedTensor):
        check_weight_axis(axis, layer.weight.ndim)
        weight = QuantizedTensor.from_float(layer.weight.data, weight, symmetric=True, axis=axis)
    how: dict[str, Any] = {"input_qparams": input_qparams, "per_row": per_row}
    if isinstance(layer, (Conv1d, Conv2d)):
        return convolution_of(layer, weight, partial(QuantizedConv2d, bias=bias_of(layer), **how))
    return QuantizedLinear(weight, bias_of(layer), **how)


def quantize_observed(model: Module, axis: int | None) -> Module:
    """A new model in which everything Observed has become integers, with the qparams of its observer."""
    return replace_observed(model, lambda layer, weight, qparams: quantized_layer(layer, weight, qparams, axis)).eval()


# %% [markdown]
# `observe_layers` and `fuse_chain` are given, in `tinytorch/quantization/trees.py`. The second drops the ReLUs that clipping
# replaces, and tells each layer its `output_qparams`. In between, `quantize_observed` makes integers of what was watched.

# %% [markdown]
# ### Exercise 11: `quantize_dynamic`, `quantize_static`

# %%
#| export
#| exercise: quantize_model
def quantize_dynamic(
    model: Module,
    weight_type: IntType | None = INT8,
    axis: int | None = 0,
    rules: Rules | None = None,
    per_row: bool = False,
) -> Module:
    """A new model whose Linear, Conv1d and Conv2d are quantized dynamically: int8 weights, inputs by their own range.

    The new model holds no float32 weight of theirs; drop the old one and they are gone. rules: other types by layer
    name, pattern ("layers.*") or class, "float": stays in float; see Rule. weight_type None: only layers that rules
    give a type. per_row: not one range for a whole batch, but one for each row of the last axis (a token), and of a
    convolution for each sample: then an answer does not depend on the rest of its batch. The model is in evaluation
    mode. `explain(model)` tells what became of each layer.
    """
    check_rules(model, rules, weight_type, knows=("dynamic",))

    def replace(name: str, m: Module) -> Module | None:
        wanted = rule_for(name, m, weight_type, rules)
        # About 3 lines: no type wanted: None leaves the module as it is. Else quantized_layer(m, type, None, axis).
        ### BEGIN SOLUTION
        if wanted is None:
            return None
        return quantized_layer(m, wanted, None, axis)
        ### END SOLUTION

    return map_modules(model, with_rows(replace, rules, per_row)).eval()


# %%
#| export
#| exercise: quantize_model
def quantize_static(
    model: Module,
    batches: Iterable[Any],
    observer: Callable[[], Observer] = MinMaxObserver,
    weight_type: IntType | None = INT8,
    axis: int | None = 0,
    rules: Rules | None = None,
    activation_type: IntType = INT8,
    symmetric: bool = False,
) -> Module:
    """A new model whose Linear, Conv1d and Conv2d are quantized statically: int8 weights, int8 codes between layers.

    batches: calibration inputs, [batch, ...] each, or pairs (x, y). observer: called without arguments, makes one.
    weight_type, axis: of the weights. rules: other types by layer name, pattern ("layers.*") or class, "float" and
    "dynamic"; see Rule. activation_type: of the codes between layers, of zero point 0 if symmetric. GELU, Tanh and
    Sigmoid become tables, a Residual adds codes. A layer whose input was always 0 in the batches is quantized
    dynamically, for they do not tell its range. The new model is in evaluation mode. `explain(model)` tells what became
    of each layer. ValueError without batches.
    """
    check_rules(model, rules, weight_type, knows=("dynamic", "activation_type"))
    check_weight_axis(axis)
    batches, observer = inputs_of(batches, model), ObserversFor(observer, activation_type, symmetric)
    # About 6 lines: observe_layers(...) of all but the batches and the axis; inside `with evaluating(...)` of its result
    # run every batch through it; quantize_observed(..., axis); fuse_chain(...), which returns nothing; return.
    ### BEGIN SOLUTION
    observed = observe_layers(model, observer, weight_type, rules)
    with evaluating(observed):
        for batch in batches:
            observed(batch)
    quantized = quantize_observed(observed, axis)
    fuse_chain(quantized)
    return quantized
    ### END SOLUTION


# %%
check("quantize_model")
for row in explain(quantize_static(model, [digits.x_train[:64]], rules={"layers.4": None})):
    print(*row, sep="   ")

# %%
calibration = np.array_split(digits.x_train[:256], 4)
static, dynamic = quantize_static(model, calibration), quantize_dynamic(model)
for name, quantized in {"static": static, "dynamic": dynamic}.items():
    kinds = [type(m).__name__ for m in quantized.layers]
    assert "Linear" not in kinds, f"{name}: a Linear is still there, in float32: {kinds}"
    assert accuracy(quantized, digits.x_test, digits.y_test) > 0.95, f"{name}: accuracy fell below 95 %"
assert len(static.layers) == 3, "in the static chain the two ReLUs must be gone: call fuse_chain"
for observer in (MinMaxObserver, MovingAverageObserver):
    watched = quantize_static(model, calibration, observer)
    print(f"{observer.__name__:<22} second layer: scale {watched.layers[1].input_qparams.scale:.5f}   {accuracy(watched, digits.x_test, digits.y_test):.1%}")

# %% [markdown]
# **Look.** INT8 loses nothing here; a network this wide has weights to spare. So take a small one, 64 - 24 - 16 - 10, and
# take bits away, with one scale for each matrix and with one for each row. **Predict**: at how many bits does each curve
# begin to fall? This is where a lesson on quantization begins, and where `qat_dev.py` goes on.

# %%
bits, small_rng = np.arange(2, 9), np.random.default_rng(0)
small = Sequential(Linear(64, 24, rng=small_rng), ReLU(), Linear(24, 16, rng=small_rng), ReLU(), Linear(16, 10, rng=small_rng))
fit(small, digits.x_train, digits.y_train, epochs=30, optimizer=Adam(small.parameters(), lr=5e-3))
curves = {axis: [accuracy(quantize_dynamic(small, IntType(int(b)), axis), digits.x_test, digits.y_test) for b in bits] for axis in (None, 0)}
plt.figure(figsize=(7, 3))
for axis, curve in curves.items():
    plt.plot(bits, curve, "o-", label="per tensor" if axis is None else "per channel")
plt.axhline(accuracy(small, digits.x_test, digits.y_test), color="0.7", label="float32")
plt.xlabel("bits of a weight")
plt.ylabel("accuracy on 500 images")
plt.legend(loc="lower right")
plt.show()

# %% [markdown]
# > **Takeaway.** Quantizing a network is: wrap, watch, replace.

# %% [markdown]
# ## 12. Measure, do not believe
#
# Three claims are made for quantization: smaller, as accurate, faster. Each needs an honest number.
#
# - **Smaller**: the bytes of every array the model keeps alive, each counted once. A slice keeps its *whole* base alive.
# - **As accurate**: 98.0 % of 500 images is 490 of 500. Another 500 would give another number. Wilson's interval says
#   where the true accuracy lies, with z = 1.96 for 95 %:
#   $\frac{1}{1 + z^2/n} \left( p + \frac{z^2}{2n} \pm z \sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}} \right)$
# - **Faster**: machines are noisy, so the two models take turns, and medians are compared. A ratio above 1 is faster.

# %% [markdown]
# `model_arrays(model)` is a dictionary, name -> array, of what a model keeps. `owner(array)` is the array whose memory a
# view shows.
#
# ### Exercise 12: `model_nbytes`, `accuracy_interval`, `speedup`

# %%
#| export
#| exercise: measure
def model_nbytes(model: Module) -> int:
    """Bytes of memory that the model's arrays keep alive: of each array's `owner`, every owner counted once."""
    # About 2 lines. id(...) tells whether two names mean the same object.
    ### BEGIN SOLUTION
    owners = {id(owner(a)): owner(a) for a in model_arrays(model).values()}
    return sum(a.nbytes for a in owners.values())
    ### END SOLUTION


# %%
#| export
#| exercise: measure
def accuracy_interval(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a share of `correct` in `total`: (lo, hi), within [0, 1]. Source: Wilson 1927.

    >>> [round(v, 4) for v in accuracy_interval(490, 500)]
    [0.9636, 0.9891]
    """
    correct, total = (whole_number("accuracy_interval", *n, 0) for n in (("correct", correct), ("total", total)))
    if not correct <= total or total < 1:
        raise ValueError(f"wanted 0 <= correct <= total and total >= 1, got {correct} of {total}")
    z = real_number("z", z)
    if not 0 < z < 1e9:
        raise ValueError(f"z must be > 0 and below 1e9, got {z:g}: 1.96 gives the interval of 95 %")
    # About 4 lines.
    ### BEGIN SOLUTION
    p = correct / total
    middle = p + z**2 / (2 * total)
    half = z * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5
    lo, hi = (middle - half) / (1 + z**2 / total), (middle + half) / (1 + z**2 / total)
    return max(0.0, lo), min(1.0, hi)
    ### END SOLUTION


# %%
#| export
#| exercise: measure
def speedup(baseline: ArrayLike, candidate: ArrayLike) -> float:
    """How many times faster the candidate is: the median of baseline / candidate. Both: seconds, one a round.

    Round i of both was timed side by side, so noise that lasts longer than a round cancels in each ratio.

    >>> speedup([2.0, 2.0, 90.0], [1.0, 1.0, 30.0])
    2.0
    """
    for name, seconds in {"baseline": baseline, "candidate": candidate}.items():
        if not np.all(real_array(name, seconds) > 0) or not np.all(np.isfinite(seconds)) or np.size(seconds) == 0:
            raise ValueError(f"{name} must be seconds > 0, at least one, got {said(seconds)}")
    check_same_shape(baseline=baseline, candidate=candidate)
    # 1 line.
    ### BEGIN SOLUTION
    return float(np.median(np.asarray(baseline, np.float64) / np.asarray(candidate, np.float64)))
    ### END SOLUTION


# %%
#| export
def time_interleaved(models: list[Any], x: Any, rounds: int = 15) -> NDArray[np.float64]:
    """Seconds for model(x), [models, rounds]: in every round each takes its turn, in another order each time.

    A call before the timed one brings the model's own weights back into the caches that the others filled.
    """
    from time import perf_counter

    models, rounds = several_models(models), whole_number("time_interleaved", "rounds", rounds)
    seconds, order = np.empty((len(models), rounds)), np.random.default_rng(0)
    for i in range(rounds):
        for j in order.permutation(len(models)):
            models[j](x)
            start = perf_counter()
            models[j](x)
            seconds[j, i] = perf_counter() - start
    return seconds


# %%
check("measure")
codes = QuantizedTensor.from_float(np.ones((10, 20), np.float32))
assert model_nbytes(WeightOnlyLinear(codes)) == 208, "200 codes of a byte, a scale and a zero point of 4 bytes each"
assert model_nbytes(Sequential(Linear(2, 3))) == 36, "2 * 3 weights and 3 biases of 4 bytes are 36"
assert np.allclose(accuracy_interval(490, 500), (0.9636, 0.9891), atol=1e-4), "490 of 500: 96.4 % to 98.9 %"
assert speedup([2, 2, 90], [1, 1, 30]) == 2, "the median of the ratios [2, 2, 3] is 2: above 1 means faster than the baseline"

# %% [markdown]
# **Predict**, and write it down: how much smaller is each model? Which one is faster than float32, and by how much?

# %%
candidates = {
    "float32": model,
    "int8 static": static,
    "int8 dynamic": dynamic,
    "int8 weight-only": quantize_weight_only(model, INT8, None),
    "int4 weight-only, groups of 32": quantize_weight_only(model),
}
seconds = time_interleaved(list(candidates.values()), Tensor(digits.x_test[:256]))
print("one thread,", platform.machine(), platform.processor())
for (name, m), own in zip(candidates.items(), seconds, strict=True):
    lo, hi = accuracy_interval(round(accuracy(m, digits.x_test, digits.y_test) * 500), 500)
    print(f"{name:<31} {model_nbytes(m):>9} bytes   {lo:6.1%} to {hi:6.1%}   {speedup(seconds[0], own):5.2f} x float32's speed")

# %% [markdown]
# Smaller: yes. As accurate: yes. Faster: **no**. Why not? Take the time apart, over the size of the layer: quantize the
# input, multiply, go back to float32. One thread.

# %%
sizes, medians = [64, 128, 256, 512, 1024], []
for n in sizes:
    x, w = rng.normal(size=(128, n)).astype(np.float32), rng.normal(size=(n, n)).astype(np.float32)
    codes, x_qparams = dynamic_quantize(x)
    wq = QuantizedTensor.from_float(w, axis=0)
    acc = integer_matmul(codes, wq.q.T, x_qparams.zero_point)
    steps = [lambda v: v @ w.T, dynamic_quantize, lambda v: integer_matmul(codes, wq.q.T, x_qparams.zero_point), lambda v: acc.astype(np.float32) * x_qparams.scale]
    medians.append(np.median(time_interleaved(steps, x, 9), axis=1))
times = np.array(medians) * 1e6
plt.figure(figsize=(7, 3.5))
plt.plot(sizes, times[:, 0], "k--", label="float32 layer")
plt.plot(sizes, times[:, 1:], "o-", label=["quantize", "product", "dequantize"])
plt.plot(sizes, times[:, 1:].sum(1), color="0.7", lw=4, zorder=0, label="all three")
plt.xscale("log", base=2)
plt.yscale("log")
plt.xlabel("n, of a layer n x n; batch of 128")
plt.ylabel("microseconds")
plt.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()

# %% [markdown]
# NumPy multiplies codes no faster than floats, and quantizing comes on top. Bytes are saved at once; **time is saved only
# by a product that works on bytes**: one processor instruction that multiplies 64 pairs of them. What you wrote is the
# definition such a kernel must agree with, bit for bit.
#
# **Given: the kernel.** `tinytorch.acceleration` compiles such products (with numba; without it, NumPy's serve).
# `accelerate(model)` puts them in place of your layers' products. The next cell compiles them, once, for up to a minute.
# **Predict**: from which width on does INT8 win, with one
# input, and with 128?

# %%
from tinytorch.acceleration import accelerate, kernels, set_num_threads

set_num_threads(1)
if kernels()[0] == "numpy":
    print("Nothing can be compiled here, so the next cells show NumPy against NumPy: pip install numba, then restart")
x = Tensor(digits.x_test[:256])
for name, slow in {"static": static, "dynamic": dynamic}.items():
    fast = accelerate(slow)
    assert (fast(x).data == slow(x).data).all(), "the kernel must give the very same answers"
    base, own = time_interleaved([model, fast], x)
    print(f"{name:<8} on the kernel {kernels()[0]}: {speedup(base, own):.1f} x float32's speed")

# %%
widths = [32, 64, 128, 256, 512, 1024]
plt.figure(figsize=(7, 3.5))
for batch in (1, 128):
    ratios = []
    for n in widths:
        layer = Linear(n, n, rng=rng)
        pair = [layer, accelerate(QuantizedLinear(layer.weight.data, layer.bias.data))]
        ratios.append(speedup(*time_interleaved(pair, Tensor(rng.normal(size=(batch, n)).astype(np.float32)))))
    plt.loglog(widths, ratios, "o-", base=2, label=f"batch of {batch}")
plt.axhline(1, color="k", ls="--", label="float32 layer")
plt.xlabel(f"n, of a layer n x n; dynamic INT8 on the kernel {kernels()[0]}, one thread")
plt.ylabel("times float32's speed")
plt.legend()
plt.show()

# %% [markdown]
# > **Takeaway.** Measure all three. A quantized model that nobody timed is a smaller model, not a faster one.

# %% [markdown]
# ## Reflect
#
# Answer before you measure; then measure. Write below each question; what you write is handed in.

# %% [markdown]
# <!-- question: acceptable_loss -->
# 1. **When is 1 % acceptable?** In section 11, 4 bits per tensor lose a little. What would you have to know about the use
#    of that network before you accepted it, and what does the interval of 500 images let you say?
#
# ### BEGIN SOLUTION
# Whoever uses it must say what an error costs. The interval of 500 images is about two points wide: too wide to see
# one point. More images, or paired answers of both networks, can show it.
# ### END SOLUTION

# %% [markdown]
# <!-- question: outlier_rows -->
# 2. **Per tensor or per channel?** Multiply 8 hidden units of the first layer by 40, and divide the columns they feed
#    by 40. The float network computes the same. What happens to each curve, and why?
#
# ### BEGIN SOLUTION
# Per channel hardly moves: a row's scale grows with its row. Per tensor the 8 large rows stretch the one scale by 40,
# and the others are left with a few codes.
# ### END SOLUTION

# %% [markdown]
# <!-- question: where_time_goes -->
# 3. **Where does the time go?** From the plot of microseconds: if the product were four times faster, which sizes would win?
#
# ### BEGIN SOLUTION
# Move the product's line down by four: those sizes at which the sum of the three then lies below float32. At small
# sizes quantizing the input alone costs more than the float32 layer.
# ### END SOLUTION
