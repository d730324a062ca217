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
# # 17. Quantization: a network in eight bits
#
# A trained network is a few hundred thousand real numbers. Each takes 32 bits. Most of those bits say nothing that the
# answer depends on: here you store each number in **8**, multiply them as integers, and measure what it cost.
#
# In this notebook you write the arithmetic, in nine exercises: from reals to codes and back, ranges, and exact products. In
# `networks_dev.py` a network then runs on it, as you wrote it. Save, then in a terminal:
#
# ```
# tito export 17_quantization
# tito test 17_quantization
# ```
#
# We carry four numbers through every section: **`[-1, 0, 0.5, 2]`**.

# %% [markdown]
# Stuck? `tito hint` shows the next of three hints, from a question to nearly the line. `check("choose_qparams")` in a cell
# runs that exercise's tests on what this notebook has defined, and says what `tito test` would say.
#
# Your own work is what you write with NumPy, and with functions of other exercises. `tinytorch.acceleration` would do
# some exercises for you: while one is checked, tested or graded, it is not there.

# %%
#| default_exp quantization.quantize

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

from typing import Any, ClassVar

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, NDArray

from tinytorch.core.checks import check_fits, checked_axis, real_array, real_number, said, whole_number
from tinytorch.quantization.arguments import ends_of
from tinytorch.quantization.histogram import Histogram, as_counts, as_percentile
from tinytorch.quantization.qparams import (
    INT4,
    INT8,
    UINT4,
    UINT8,
    IntType,
    QParams,
    as_codes,
    as_int_type,
    as_integers,
    as_qparams,
    as_range,
    as_real,
    as_scale,
    as_signals,
    as_sums,
    as_zero_points,
    check_codes,
    check_same_shape,
    each_slice,
    packed_size,
)
from tinytorch.quantization.reprs import repr_of_observer

# %%
import time

import matplotlib.pyplot as plt

rng = np.random.default_rng(17)
four = np.array([-1, 0, 0.5, 2], np.float32)

# %% [markdown]
# ## 1. A scale and a zero point: a ruler with 256 marks
#
# **Question.** An int8 holds the integers -128 ... 127 and nothing else. How can it stand for 0.5?
#
# Put 256 marks along the real line, `scale` apart, and number them by these integers. One of them, the `zero_point`,
# lies on 0. A real number is stored as the number of its nearest mark, its **code**:
#
# $$x \approx \text{scale} \cdot (q - \text{zero\_point})$$
#
# That formula is the whole module. Everything else is choosing the scale and the zero point, the **quantization
# parameters**, and multiplying codes without leaving the integers.

# %% [markdown]
# Two small classes hold this, given in `tinytorch/quantization/qparams.py`. An `IntType` says which codes exist and how they
# are stored. `QParams` holds a scale, a zero point and their type, checked when they are made. Both are arrays of any
# shape that broadcasts against `x`: one of each for the whole tensor has shape `()`, one for each row has `(rows, 1)`.
#
# The same file refuses what cannot be quantized, with a sentence, where NumPy would go on in silence (`as_real`,
# `check_fits` ...). One of its functions answers a small question with a long history: what is the scale of a tensor of
# zeros? `as_scale` says 1.

# %%
for int_type in (INT8, UINT8, INT4):
    print(f"{int_type!s:<6} holds the codes {int_type.qmin} to {int_type.qmax}, stored as {int_type.storage}")
p = QParams(scale=0.5, zero_point=-3)
print("code 7 stands for", p.scale * (7 - p.zero_point), "   scale of zeros:", as_scale(0.0))

# %% [markdown]
# **By hand.** Our four numbers run from -1 to 2: 3 units of length. 256 marks have 255 steps between them. So a step is
# 3/255. Mark -128 should lie on -1. Which mark lies on 0?

# %%
step = 3 / 255
print(f"scale {step:.5f}, and 0 lies {1 / step:.0f} steps above mark -128: at mark {-128 + 1 / step:.0f}")

# %% [markdown]
# **Predict.** Before you run your function: what becomes of a range that does not hold 0, such as [10, 11]? Padding and
# ReLU make zeros all the time, so **0.0 must always have a mark of its own**. The range is widened to hold 0 *before*
# anything is divided.
#
# ### Exercise 1: `choose_qparams`

# %%
#| export
#| exercise: choose_qparams
def choose_qparams(lo: ArrayLike, hi: ArrayLike, int_type: IntType = INT8, symmetric: bool = False) -> QParams:
    """The quantization parameters for reals in [lo, hi].

    First the range is widened to hold 0: `lo = np.minimum(lo, 0)`, `hi = np.maximum(hi, 0)`.
    Asymmetric: `scale = (hi - lo) / (qmax - qmin)`, `zero_point = rint(qmin - lo / scale)`, clipped to the codes.
    Symmetric (signed types only): `scale = max(|lo|, |hi|) / qmax`, and one `zero_point = 0` for all.
    `as_scale(...)` turns a step into a usable scale: do it before you divide by the scale.

    lo, hi: finite reals of one shape, which scale and an asymmetric zero_point get too. Source: ONNX QuantizeLinear.

    >>> p = choose_qparams(-1.0, 2.0)
    >>> round(float(p.scale), 5), int(p.zero_point)
    (0.01176, -43)
    >>> int(choose_qparams(10.0, 11.0).zero_point), int(choose_qparams(-1.0, 2.0, symmetric=True).zero_point)
    (-128, 0)
    """
    lo, hi = as_range(lo, hi)
    if not as_int_type(int_type).signed and symmetric:
        raise ValueError(f"symmetric needs a signed type, got {int_type}: use {IntType(int_type.bits)} or asymmetric")
    # About 6 lines: widen; one scale and zero_point for symmetric, another for asymmetric.
    ### BEGIN SOLUTION
    lo, hi = np.minimum(lo, 0), np.maximum(hi, 0)  # padding and ReLU need an exact 0
    if symmetric:
        return QParams(as_scale(np.maximum(-lo, hi) / int_type.qmax), 0, int_type)
    scale = as_scale((hi - lo) / (int_type.qmax - int_type.qmin))
    zero_point = np.clip(np.rint(int_type.qmin - lo / scale), int_type.qmin, int_type.qmax)
    return QParams(scale, zero_point, int_type)
    ### END SOLUTION


# %%
check("choose_qparams")
p = choose_qparams(-1, 2)
assert abs(p.scale - 3 / 255) < 1e-8, f"scale must be 3/255 = 0.01176, got {p.scale:.5f}: 256 marks have 255 steps between"
assert p.zero_point == -43, f"zero_point must be -43, got {p.zero_point}: rint(qmin - lo / scale), mind the sign"
assert choose_qparams(10, 11).zero_point == -128, "the range must be widened to hold 0 before the scale is computed"
assert choose_qparams(0, 0).scale == 1, "an all-zero range must give scale 1: as_scale(...) does it"

# %% [markdown]
# Widening is not free. [10, 11] is one unit long, but its codes span eleven:

# %%
narrow, widened = 1 / 255, float(choose_qparams(10, 11).scale)
print(f"a step of {widened:.4f} where {narrow:.4f} would have done: {widened / narrow:.0f} times coarser")

# %% [markdown]
# > **Takeaway.** Quantization parameters are a scale and the code of zero. 0.0 is always exact; data far from 0 pays for it.

# %% [markdown]
# ## 2. To codes and back
#
# **By hand.** 0.5 / 0.01176 = 42.5 steps above zero. That is a tie! Which mark? IEEE arithmetic, ONNX and we go to the
# **even** one, 42, and only then add the zero point: 42 - 43 = -1. Adding first would make it -0.5, and the even
# neighbour of that is 0: a different code. Small rules like this one are why two libraries disagree.
#
# **Predict.** 2.0 is 170 steps above zero: code 127. What code must 2.1 get, and 1000, and infinity?
#
# ### Exercise 2: `quantize`, `dequantize`

# %%
#| export
#| exercise: quantize
@np.errstate(over="ignore")  # x / scale may overflow to infinity, which saturates like any large number
def quantize(x: ArrayLike, qparams: QParams) -> NDArray[Any]:
    """The codes of x: `clip(rint(x / scale) + zero_point, qmin, qmax)`, stored as int8 or uint8.

    The division is done in float32, a tie goes to the even integer, the zero point is added after rounding, and what
    lies outside the codes saturates. x: reals [any shape]; NaN is refused. Source: ONNX QuantizeLinear.

    >>> quantize([-1, 0, 0.5, 2, 1000], choose_qparams(-1.0, 2.0)).tolist()
    [-128, -43, -1, 127, 127]
    """
    x, int_type = as_real(x), as_qparams(qparams).int_type
    check_fits("a scale", qparams.scale.shape, x.shape)
    # About 2 lines. Clip while the numbers are still float, then cast: int8 cannot hold 84957, the code of 1000 here, to be clipped later.
    ### BEGIN SOLUTION
    q = np.rint(x / qparams.scale) + qparams.zero_point.astype(np.float32)  # ties to even, before the zero point
    return np.asarray(np.clip(q, int_type.qmin, int_type.qmax)).astype(int_type.storage)
    ### END SOLUTION


# %%
#| export
#| exercise: quantize
def dequantize(q: NDArray[Any], qparams: QParams) -> NDArray[np.float32]:
    """The reals that codes stand for: `scale * (q - zero_point)`, float32 [shape of q]. q may be int32 sums, too.

    >>> dequantize(np.array([-43, 42], np.int8), QParams(0.5, -43)).tolist()
    [0.0, 42.5]
    """
    q = as_codes(q, as_qparams(qparams).int_type)
    check_fits("a scale", qparams.scale.shape, q.shape)
    # 1 line. Widen first: in int8, 127 - (-43) is -86. Last comes .astype(np.float32), for int32 * float32 is float64.
    ### BEGIN SOLUTION
    return (q.astype(np.int32) - qparams.zero_point).astype(np.float32) * qparams.scale
    ### END SOLUTION


# %%
check("quantize")
q = quantize(four, choose_qparams(-1, 2))
assert q.dtype == np.int8, f"codes must be stored as int8, got {q.dtype}: cast with .astype(int_type.storage)"
assert q.tolist() == [-128, -43, -1, 127], f"wanted [-128, -43, -1, 127], got {q.tolist()}: round, add zero_point, clip"
back = dequantize(q, choose_qparams(-1, 2))
assert back.dtype == np.float32 and back[1] == 0, "0.0 must come back exactly, as float32"
assert abs(back - four).max() <= 3 / 255 / 2 + 1e-6, "no number in the range may move by more than half a step"

# %% [markdown]
# **Look.** A staircase with 3 bits, and its error: a sawtooth that never leaves half a step, until the codes run out.

# %%
x = np.linspace(-1.4, 2.4, 800)
p3 = choose_qparams(-1, 2, IntType(3))
x_hat = dequantize(quantize(x, p3), p3)
fig, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(7, 4))
top.plot(x, x, color="0.7")
top.plot(x, x_hat)
top.set(ylabel="dequantized", title="3 bits: eight marks")
bottom.plot(x, x_hat - x)
bottom.axhspan(-p3.scale / 2, p3.scale / 2, color="0.9", label="half a step")
bottom.set(xlabel="x", ylabel="error")
bottom.legend(loc="upper center")
plt.show()

# %% [markdown]
# **Play.** Range, bits and rounding, and what they do to both curves. Before you move a slider: will the error grow
# inside the range, outside of it, or both?

# %%
WAYS_TO_ROUND = {"to nearest": np.rint, "down": np.floor, "towards 0": np.trunc}


def view(lo=-1.0, hi=1.0, bits=3, rounding="to nearest"):
    """The staircase and its error on [-2, 2], for one range and one way to round."""
    p, x = choose_qparams(lo, hi, IntType(bits)), np.linspace(-2, 2, 1000)
    q = np.clip(WAYS_TO_ROUND[rounding](x / p.scale) + p.zero_point, p.int_type.qmin, p.int_type.qmax)
    x_hat = dequantize(q.astype(np.int32), p)
    plt.figure(figsize=(7, 3))
    plt.plot(x, x_hat, label="dequantized")
    plt.plot(x, x_hat - x, label=f"error, root mean square {np.sqrt(np.mean((x_hat - x) ** 2)):.3f}")
    plt.ylim(-2.2, 2.2)  # the same for every range: a larger error looks larger
    plt.xlabel("x")
    plt.ylabel("value, units of x")
    plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    plt.show()


view()

# %%
try:
    from ipywidgets import interact
except ImportError:
    print("Sliders need ipywidgets (pip install ipywidgets). Without them: view(-2, 2, bits=4, rounding='down')")
else:
    interact(view, lo=(-2.0, 0.0), hi=(0.0, 2.0), bits=(2, 8), rounding=list(WAYS_TO_ROUND))

# %% [markdown]
# > **Takeaway.** Inside the range the error is at most half a step; outside it is as large as the distance to the end.

# %% [markdown]
# ## 3. Two kinds of error
#
# **Question.** One outlier of 100 among a thousand numbers near 1. A range up to 100, or let the outlier saturate?
#
# A wider range has coarser steps (**rounding** error, for everybody); a narrower one cuts off what lies beyond it
# (**clipping** error, for a few). To choose, you must be able to see both. `sqnr_db` then says in one number how loud
# the signal is over the noise: $10 \log_{10} (\sum x^2 / \sum (x - \hat x)^2)$ decibels.
#
# ### Exercise 3: `error_parts`, `sqnr_db`

# %%
#| export
#| exercise: error_parts
@np.errstate(over="ignore")
def error_parts(x: ArrayLike, qparams: QParams) -> tuple[float, float]:
    """The mean squared error of quantizing x in two parts, (rounding, clipping), in squared units of x.

    An element is *clipped* when its unclipped code `rint(x / scale) + zero_point` lies outside [qmin, qmax]; its whole
    error counts as clipping, that of all others as rounding. Both are sums divided by the number of all elements
    (0.0 for an empty x), so that they add up to the whole.

    >>> error_parts([0.5, 3.0], QParams(1.0, 0, IntType(2)))  # 0.5 -> 0, and 3 -> 1, the largest 2-bit code
    (0.125, 2.0)
    """
    x = as_real(x)
    check_fits("a scale", as_qparams(qparams).scale.shape, x.shape)
    # About 4 lines. Take the squared errors in float64: x.astype(np.float64) - dequantize(...)
    ### BEGIN SOLUTION
    unclipped = np.rint(x / qparams.scale) + qparams.zero_point
    clipped = (unclipped < qparams.int_type.qmin) | (unclipped > qparams.int_type.qmax)
    squared = (x.astype(np.float64) - dequantize(quantize(x, qparams), qparams)) ** 2
    return float(squared[~clipped].sum()) / max(x.size, 1), float(squared[clipped].sum()) / max(x.size, 1)
    ### END SOLUTION


# %%
#| export
#| exercise: error_parts
def sqnr_db(x: ArrayLike, x_hat: ArrayLike, axis: int | tuple[int, ...] | None = None) -> Any:
    """Signal to quantization noise, in decibels: `10 log10(sum x**2 / sum (x - x_hat)**2)`.

    Infinite if exact; minus infinity if x is all zero and x_hat is not. A float; with an axis an array, [n]: that of
    each of the n slices along it, of which a loud one hides no other.

    >>> round(sqnr_db([3.0, 4.0], [3.0, 4.5]), 6)  # 25 / 0.25 is a factor of 100
    20.0
    """
    if axis is not None:
        return each_slice(sqnr_db, x, x_hat, axis)
    x, x_hat = as_signals(x, x_hat)
    # About 3 lines. No noise: return float("inf"). No signal: float("-inf"), for log10(0) would warn.
    ### BEGIN SOLUTION
    noise = ((x - x_hat) ** 2).sum()
    if noise == 0:
        return float("inf")
    return float(10 * np.log10((x**2).sum() / noise)) if x.any() else float("-inf")
    ### END SOLUTION


# %%
check("error_parts")
p2 = QParams(1.0, 0, IntType(2))
assert error_parts([0.5, 3.0], p2) == (0.125, 2.0), "rounding 0.5**2 / 2, clipping 2**2 / 2: both divide by 2 elements"
assert np.isclose(sum(error_parts(four, p2)), np.mean((four - dequantize(quantize(four, p2), p2)) ** 2)), "parts must sum to the whole"
assert np.isclose(sqnr_db([3, 4], [3, 4.5]), 20), "25 / 0.25 is 100, which is 20 dB: 10 log10, not 20"

# %% [markdown]
# **Look.** 4 000 normal numbers and one of 10, quantized to 4 bits. As the range shrinks, rounding falls and clipping
# rises. The best range is neither the widest nor the narrowest.

# %%
x = np.append(rng.normal(size=4000), 10).astype(np.float32)
limits = np.linspace(1, 10, 60)
parts = np.array([error_parts(x, choose_qparams(-t, t, INT4, symmetric=True)) for t in limits])
plt.figure(figsize=(7, 3.5))
plt.plot(limits, parts, label=["rounding", "clipping"])
plt.plot(limits, parts.sum(1), color="0.3", label="sum")
plt.semilogy()
plt.xlabel(f"range from -t to t; best t = {limits[parts.sum(1).argmin()]:.1f}, largest |x| = 10")
plt.ylabel("mean squared error")
plt.legend()
plt.show()

# %% [markdown]
# **Look.** Each bit halves the step, so the noise falls to a quarter: 6.02 dB a bit. For a uniform signal that fills the
# range the theory says exactly $20 \log_{10}(2^b - 1)$ dB.

# %%
x, bits = rng.uniform(-1, 1, 100_000), np.arange(2, 9)
qparams_by_bits = [choose_qparams(-1, 1, IntType(int(b))) for b in bits]
plt.figure(figsize=(7, 3))
plt.plot(bits, 20 * np.log10(2.0**bits - 1), color="0.7", label="theory")
plt.plot(bits, [sqnr_db(x, dequantize(quantize(x, p), p)) for p in qparams_by_bits], "o", label="measured")
plt.xlabel("bits")
plt.ylabel("SQNR, dB")
plt.legend()
plt.show()

# %% [markdown]
# > **Takeaway.** A bit is worth 6 dB. Which numbers the range leaves out can be worth more.

# %% [markdown]
# ## 4. A scale for each row
#
# **Question.** A layer's weight has a row for each output. One row reaches 2, another 0.01. What is left of the second
# with the first one's scale?
#
# **By hand**, symmetric, scale 2/127 = 0.0157: every weight of the small row is 0 or +-1 step. It is flattened. Give each
# row (*per channel*), or each run of 32 weights within a row (*per group*), a scale of its own; it costs 4 bytes.
#
# A scale of shape `(rows, 1)` broadcasts against `(rows, columns)`. For groups, `x` is first reshaped to
# `(rows, groups, group_size)`, the last group filled up with zeros.
#
# ### Exercise 4: `value_range`, `split_groups`

# %%
#| export
#| exercise: per_channel
def value_range(x: NDArray[Any], axis: int | tuple[int, ...] | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """The smallest and largest value: of all of x (axis None), or for each slice along the axes that are *kept*.

    The results have shape () for None, else that of x with every other axis reduced to 1, so they broadcast against x.
    An empty x has the range (0, 0). AxisError for an axis that x does not have.

    >>> lo, hi = value_range(np.array([[-1.0, 0.0], [0.5, 2.0]]), axis=0)
    >>> lo.tolist(), hi.tolist()
    ([[-1.0], [0.5]], [[0.0], [2.0]])
    """
    x, axis = real_array("x", x), checked_axis(axis)
    kept = () if axis is None else normalize_axis_tuple(axis, x.ndim)
    if x.size == 0:
        return np.zeros((), x.dtype), np.zeros((), x.dtype)
    # About 3 lines: the axes to reduce are those not in `kept`; keepdims=True unless axis is None.
    ### BEGIN SOLUTION
    reduced = tuple(a for a in range(x.ndim) if a not in kept)
    keepdims: Any = axis is not None  # Any: NumPy's types tell True from False, but know no bool
    return np.asarray(x.min(reduced, keepdims=keepdims)), np.asarray(x.max(reduced, keepdims=keepdims))
    ### END SOLUTION


# %%
#| export
#| exercise: per_channel
def split_groups(x: NDArray[Any], group_size: int) -> NDArray[Any]:
    """[rows, columns] -> [rows, groups, group_size]: each row cut into runs, the last one filled up with zeros.

    >>> split_groups(np.array([[1, 2, 3]]), 2).tolist()
    [[[1, 2], [3, 0]]]
    """
    group_size = whole_number("split_groups", "group_size", group_size)
    x = real_array("x", x)
    if x.ndim != 2:
        raise ValueError(f"groups need x of 2 axes, got shape {x.shape}")
    # About 3 lines: how many zeros are missing? np.pad(x, ((0, 0), (0, missing))), then reshape. It must be told all three
    # lengths: -1 stands for none where x has no rows.
    ### BEGIN SOLUTION
    rows, columns = x.shape
    groups = -(-columns // group_size)
    return np.pad(x, ((0, 0), (0, groups * group_size - columns))).reshape(rows, groups, group_size)
    ### END SOLUTION


# %%
check("per_channel")
w = np.array([[1.0, -2.0], [0.01, 0.002]], np.float32)
lo, hi = value_range(w, axis=0)
assert lo.shape == (2, 1), f"one range for each row must have shape (2, 1), got {lo.shape}: reduce the *other* axes, keep dims"
assert lo.ravel().tolist() == w.min(1).tolist(), "axis=0 keeps axis 0: each row its own minimum"
assert split_groups(w, 3).shape == (2, 1, 3), "2 columns in groups of 3: one group, filled up with a zero"

# %%
one, each = (choose_qparams(*value_range(w, axis), symmetric=True) for axis in (None, 0))
print("per tensor:", dequantize(quantize(w, one), one)[1], "  per channel:", dequantize(quantize(w, each), each)[1])

# %% [markdown]
# **Look.** 24 rows of a weight whose rows differ in size, and the 4-bit step that they share with one scale. Rows
# that do not reach half a step come back as nothing but zeros.

# %%
rows = rng.normal(size=(24, 64)).astype(np.float32) * rng.lognormal(-2, 1.2, (24, 1)).astype(np.float32)
lo, hi = (v.ravel() for v in value_range(rows, axis=0))
shared = float(choose_qparams(*value_range(rows), INT4, symmetric=True).scale)
plt.figure(figsize=(7, 3))
plt.bar(range(24), hi - lo, bottom=lo)
plt.axhspan(-shared / 2, shared / 2, color="C1", alpha=0.4, label="rounds to 0 with the shared scale")
plt.xlabel("row of the weight")
plt.ylabel("its values, least to largest")
plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
plt.show()

# %% [markdown]
# > **Takeaway.** Rows of different size need scales of their own. It is the cheapest accuracy there is.

# %% [markdown]
# ## 5. Half a byte
#
# A 4-bit code in an int8 wastes half of it. Two fit in a byte: ONNX puts the **first in the low nibble** (the lower four
# bits), the second in the high one; an odd number of codes is filled up with a zero.
#
# **By hand.** Codes 1 and -2. In four bits -2 is `1110`, so the byte is `1110 0001` = 225. Masking with `& 0xF` keeps the
# low four bits. Going back, the nibble 14 must become -2 again: nibbles of 8 and more stand for nibble - 16.
#
# ### Exercise 5: `pack_int4`, `unpack_int4`

# %%
#| export
#| exercise: pack_int4
def pack_int4(q: NDArray[Any]) -> NDArray[np.uint8]:
    """4-bit codes [any shape] -> uint8 [(size + 1) // 2]: first code in the low nibble, odd sizes filled up with 0.

    ValueError for a code that does not fit 4 bits (signed -8..7, unsigned 0..15). Source: ONNX, type INT4.

    >>> pack_int4(np.array([1, -2, 3], np.int8)).tolist()
    [225, 3]
    """
    q = real_array("codes", q)
    check_codes(q, UINT4 if q.dtype == np.uint8 else INT4)
    # About 3 lines: flatten to uint8 nibbles (& 0xF), fill up to an even number (0 of uint8), low | high << 4.
    ### BEGIN SOLUTION
    nibbles = np.append(q.astype(np.uint8) & 0xF, np.zeros(q.size % 2, np.uint8))
    return (nibbles[0::2] | nibbles[1::2] << 4).astype(np.uint8)
    ### END SOLUTION


# %%
#| export
#| exercise: pack_int4
def unpack_int4(packed: NDArray[np.uint8], shape: tuple[int, ...], signed: bool = True) -> NDArray[Any]:
    """The inverse of `pack_int4`: int8 (signed) or uint8 codes [shape]. ValueError if the bytes are not those of shape.

    TypeError for bytes that are not uint8: `>>` would carry the sign of an int8 along.

    >>> unpack_int4(np.array([225, 3], np.uint8), (3,)).tolist()
    [1, -2, 3]
    """
    size = packed_size(packed, 4, shape)
    # About 4 lines: both nibbles side by side, drop the filling, 8..15 -> -8..-1 if signed, reshape.
    ### BEGIN SOLUTION
    nibbles = np.stack([packed & 0xF, packed >> 4], axis=-1).ravel()[:size].reshape(shape)
    if not signed:
        return nibbles
    return (nibbles ^ 8).astype(np.int8) - np.int8(8)  # 0..15 -> -8..7, without a branch
    ### END SOLUTION


# %%
check("pack_int4")
assert pack_int4(np.array([1, -2], np.int8)).tolist() == [225], "[1, -2] is the byte 225: first code in the low nibble"
assert unpack_int4(np.array([225], np.uint8), (2,)).tolist() == [1, -2], "nibble 14 stands for 14 - 16 = -2"
q = rng.integers(-8, 8, (3, 5)).astype(np.int8)
assert (unpack_int4(pack_int4(q), q.shape) == q).all(), "15 codes must survive: one filling nibble, dropped on the way back"

# %% [markdown]
# > **Takeaway.** Half a byte holds 16 codes, and a sign is the matter of one bit.

# %% [markdown]
# ## 6. Watching numbers go by
#
# Weights lie still and can be measured. Activations cannot: they depend on the input. So we *calibrate*: run a few
# hundred samples through the float network and let an **observer** watch each place. Batches come one by one and are
# not kept, so an observer may remember only a few numbers, however many batches there are.

# %%
#| export
class Observer:
    """Watches batches of real numbers, then says which range [lo, hi] the codes should cover. Memory does not grow."""

    __repr__ = repr_of_observer

    def observe(self, x: ArrayLike) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define observe(x)")

    def range(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """(lo, hi). ValueError before anything was observed."""
        raise NotImplementedError(f"{type(self).__name__} must define range(), which gives (lo, hi)")

    def qparams(self, int_type: IntType = INT8, symmetric: bool = False) -> QParams:
        """The quantization parameters for `range()`."""
        return choose_qparams(*ends_of(self), int_type, symmetric)

    def _require(self, seen: Any) -> None:
        if not seen:
            raise ValueError(f"{type(self).__name__} has seen no numbers: call observe(x) with calibration data first")


# %% [markdown]
# A `Histogram` (given, in `tinytorch/quantization/histogram.py`) counts in equal cells and doubles its limit when a number
# lies beyond. Three observers, from trusting to sceptical:
#
# - **Min-max** keeps the smallest and largest value *ever* seen. One outlier stays forever.
# - **Moving average**: the first batch sets the range; each later one pulls it a little:
#   `lo = momentum * lo + (1 - momentum) * batch_lo`.
# - **Percentile** covers 99.9 % of the *magnitudes* |x|, and gives up the rest. `magnitudes` counts them for you.
#
# **Predict.** Three batches with ranges [-1, 2], [-1, 4], [-3, 2]: what does min-max say, and what does a moving average
# of momentum 0.5?
#
# ### Exercise 6: the observers

# %%
#| export
#| exercise: observers
class MinMaxObserver(Observer):
    """The smallest and largest value ever seen: of all (axis None), or for each slice along `axis`.

    >>> observer = MinMaxObserver()
    >>> for batch in ([-1.0, 2.0], [-1.0, 4.0], [-3.0, 2.0]): observer.observe(batch)
    >>> [float(v) for v in observer.range()]
    [-3.0, 4.0]
    """

    def __init__(self, axis: int | None = None) -> None:
        self.axis = checked_axis(axis)
        self.lo: NDArray[Any] | None = None
        self.hi: NDArray[Any] | None = None

    def observe(self, x: ArrayLike) -> None:
        x = as_real(x)
        if x.size == 0:
            return
        lo, hi = as_range(*value_range(x, self.axis))
        if self.lo is not None:
            check_same_shape(lo_before=self.lo, lo_of_this_batch=lo)
        # About 4 lines: the first batch sets self.lo and self.hi; later ones may only widen them.
        ### BEGIN SOLUTION
        if self.lo is not None and self.hi is not None:
            lo, hi = np.minimum(self.lo, lo), np.maximum(self.hi, hi)
        self.lo, self.hi = lo, hi
        ### END SOLUTION

    def range(self) -> tuple[NDArray[Any], NDArray[Any]]:
        self._require(self.lo is not None)
        assert self.lo is not None and self.hi is not None
        return self.lo, self.hi


# %%
#| export
#| exercise: observers
class MovingAverageObserver(MinMaxObserver):
    """A range that follows the batches: `lo = momentum * lo + (1 - momentum) * batch_lo`, the same for hi.

    momentum: 0 (only the last batch) to below 1 (slow). The first batch sets the range.

    >>> observer = MovingAverageObserver(momentum=0.5)
    >>> for batch in ([-1.0, 2.0], [-1.0, 4.0], [-3.0, 2.0]): observer.observe(batch)
    >>> [float(v) for v in observer.range()]
    [-2.0, 2.5]
    """

    def __init__(self, momentum: float = 0.9) -> None:
        if not 0 <= real_number("momentum", momentum) < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}: it is the weight of what was seen before")
        super().__init__()
        self.momentum = momentum

    def observe(self, x: ArrayLike) -> None:
        x = as_real(x)
        if x.size == 0:
            return
        lo, hi = as_range(*value_range(x))
        # About 4 lines: like min-max, but a later batch only pulls.
        ### BEGIN SOLUTION
        if self.lo is not None and self.hi is not None:
            lo = self.momentum * self.lo + (1 - self.momentum) * lo
            hi = self.momentum * self.hi + (1 - self.momentum) * hi
        self.lo, self.hi = lo, hi
        ### END SOLUTION


# %%
#| export
#| exercise: observers
class PercentileObserver(Observer):
    """The range that holds `percentile` % of the magnitudes |x|: [-t, t], but never wider than what was seen, which
    the histogram knows as its lo and hi.

    t is the upper edge of the first cell at which the share of magnitudes counted so far reaches percentile / 100, so
    it is exact to one cell of the histogram.

    >>> observer = PercentileObserver(99.0)
    >>> observer.observe(np.append(np.linspace(0, 1, 199), 100))
    >>> [round(float(v), 1) for v in observer.range()]
    [0.0, 1.0]
    """

    def __init__(self, percentile: float = 99.9) -> None:
        self.percentile, self.histogram = as_percentile(percentile), Histogram()

    def observe(self, x: ArrayLike) -> None:
        self.histogram.add(x)

    def magnitudes(self) -> NDArray[np.int64]:
        """Counts of |x| in cells of `histogram.cell`, from 0 up: the negative half folded onto the positive one."""
        half = self.histogram.counts.size // 2
        return self.histogram.counts[half:] + self.histogram.counts[:half][::-1]

    def range(self) -> tuple[NDArray[Any], NDArray[Any]]:
        h = self.histogram
        self._require(h.total)
        # About 3 lines: np.cumsum the magnitudes, find the cell (np.searchsorted), t is its upper edge.
        ### BEGIN SOLUTION
        cell = np.searchsorted(np.cumsum(self.magnitudes()), h.total * self.percentile / 100)
        t = (cell + 1) * h.cell
        return np.asarray(max(h.lo, -t)), np.asarray(min(h.hi, t))
        ### END SOLUTION


# %%
check("observers")
seen = [MinMaxObserver(), MovingAverageObserver(0.5), PercentileObserver(99.0)]
for observer in seen:
    for batch in ([-1, 2], [-1, 4], [-3, 2]):
        observer.observe(batch)
assert tuple(map(float, seen[0].range())) == (-3, 4), f"min-max of all three batches is (-3, 4), got {seen[0].range()}"
assert tuple(map(float, seen[1].range())) == (-2, 2.5), f"momentum 0.5 gives (-2, 2.5), got {seen[1].range()}"
assert tuple(map(float, seen[2].range())) == (-3, 4), f"99 % of six numbers is all of them: (-3, 4), got {seen[2].range()}"

# %% [markdown]
# > **Takeaway.** Observers differ in what they are willing to forget.

# %% [markdown]
# ## 7. Let the data choose
#
# A percentile is still a guess. With a histogram we can try a few hundred thresholds t and ask what each would cost,
# without seeing the data again. Two costs are in use:
#
# - **mse**: the expected squared error. Every cell's center is quantized; its error counts as often as the cell.
# - **entropy** (TensorRT): how much the *distribution* changes. `p` is what the range lets through, with everything
#   beyond its ends piled on the last cells; `q` is what is left when each code spreads its count evenly over its
#   occupied cells. The cost is the Kullback-Leibler divergence $\sum p \ln(p / q)$.
#
# ### Exercise 7: `expected_mse`, `kl_divergence`

# %%
#| export
#| exercise: histogram_observer
def expected_mse(counts: NDArray[np.int64], centers: NDArray[np.float64], qparams: QParams) -> float:
    """The mean squared error of quantizing `counts[i]` numbers at `centers[i]`, in squared units of x.

    >>> expected_mse(np.array([3, 1]), np.array([0.25, 2.0]), QParams(1.0, 0))  # three errors of 0.25, one of 0
    0.046875
    """
    check_same_shape(counts=counts, centers=centers)
    counts, centers = as_counts("counts", counts), real_array("centers", centers)
    # About 2 lines.
    ### BEGIN SOLUTION
    squared = (centers - dequantize(quantize(centers, qparams), qparams)) ** 2
    return float((counts * squared).sum() / counts.sum())
    ### END SOLUTION


# %%
#| export
#| exercise: histogram_observer
def kl_divergence(counts: NDArray[np.int64], codes: NDArray[Any], clipped: NDArray[np.int64]) -> float:
    """How much the distribution changes, in nats: sum p ln(p / q) over the cells where p > 0.

    counts: of the cells inside the range. codes: the code of each cell. clipped: the same counts with all that lies
    beyond the ends added to the first and last cell. p is `clipped`, divided by its sum. q gives each occupied cell
    (counts > 0) the mean count of the occupied cells that share its code, divided by counts.sum(). For an empty cell q
    is 1e-9, so that mass on it costs much, not infinity.

    >>> codes = np.array([0, 0, 1, 1])
    >>> kl_divergence(np.array([4, 4, 8, 0]), codes, np.array([4, 4, 8, 0]))  # even within each code: nothing lost
    0.0
    """
    check_same_shape(counts=counts, codes=codes, clipped=clipped)
    counts, codes, clipped = real_array("counts", counts), as_integers("codes", codes), as_counts("clipped", clipped)
    code_index = codes.astype(np.int64) - int(codes.min())
    occupied = counts > 0
    # About 5 lines. np.bincount(code_index, weights=...) sums over the cells of each code. Not one of them may be
    # occupied, or of all cells: divide by 1 then, not by 0.
    ### BEGIN SOLUTION
    total, cells = np.bincount(code_index, weights=counts), np.bincount(code_index, weights=occupied)
    mean = total / np.maximum(cells, 1)
    p = clipped / clipped.sum()
    q = np.maximum(np.where(occupied, mean[code_index], 0) / max(counts.sum(), 1), 1e-9)
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())
    ### END SOLUTION


# %% [markdown]
# The observer that uses them tries `candidates` thresholds between 0 and the largest magnitude seen.

# %%
#| export
class HistogramObserver(Observer):
    """The range of least cost among `candidates` thresholds t: [-t, t], but never wider than what was seen.

    objective: "mse" (expected squared error) or "entropy" (Kullback-Leibler divergence). Which range is best depends on
    the codes to fill it, so `qparams(int_type, symmetric)` searches for those; `range()` searches for asymmetric INT8.
    """

    objectives: ClassVar[tuple[str, ...]] = ("mse", "entropy")

    def __init__(self, objective: str = "mse", candidates: int = 256) -> None:
        if objective not in self.objectives:
            raise ValueError(f"objective must be one of {self.objectives}, got {said(objective)}")
        self.objective, self.histogram = objective, Histogram()
        self.candidates = whole_number("HistogramObserver", "candidates", candidates)

    def observe(self, x: ArrayLike) -> None:
        self.histogram.add(x)

    def range(self, int_type: IntType = INT8, symmetric: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
        h = self.histogram
        self._require(h.total)
        largest = max(-h.lo, h.hi)
        limits = largest * np.arange(1, self.candidates + 1) / self.candidates
        ranges = [(max(h.lo, -t), min(h.hi, t)) for t in limits if h.lo <= t and h.hi >= -t]
        costs = [self._cost(lo, hi, choose_qparams(lo, hi, int_type, symmetric)) for lo, hi in ranges]
        lo, hi = ranges[int(np.argmin(costs))]
        return np.asarray(lo), np.asarray(hi)

    def qparams(self, int_type: IntType = INT8, symmetric: bool = False) -> QParams:
        return choose_qparams(*self.range(int_type, symmetric), int_type, symmetric)

    def _cost(self, lo: float, hi: float, qparams: QParams) -> float:
        counts, centers = self.histogram.counts, self.histogram.centers
        if self.objective == "mse":
            used = counts > 0
            return expected_mse(counts[used], centers[used], qparams)
        first = int(np.searchsorted(centers + self.histogram.cell / 2, lo, side="right"))
        last = max(int(np.searchsorted(centers - self.histogram.cell / 2, hi, side="left")) - 1, 0)
        first = min(first, last)
        inside = counts[first : last + 1]
        clipped = inside.copy()
        clipped[0] += counts[:first].sum()
        clipped[-1] += counts[last + 1 :].sum()
        return kl_divergence(inside, quantize(centers[first : last + 1], qparams), clipped)


# %%
check("histogram_observer")
assert expected_mse(np.array([3, 1]), np.array([0.25, 2.0]), QParams(1.0, 0)) == 0.046875, "weight each squared error by its count"
assert kl_divergence(np.array([4, 4, 8]), np.array([0, 0, 1]), np.array([4, 4, 8])) == 0, "even within each code: nothing is lost"
assert np.isclose(kl_divergence(np.array([6, 2]), np.array([0, 0]), np.array([6, 2])), 0.1308, atol=1e-4), "6, 2 becomes 4, 4"

# %% [markdown]
# **Look.** The same numbers, and the range each observer chooses for 4 bits.

# %%
x = np.append(rng.laplace(size=20_000), [25, -19]).astype(np.float32)
watchers = {"min-max": MinMaxObserver(), "99.9 %": PercentileObserver(), "mse": HistogramObserver(), "entropy": HistogramObserver("entropy")}
fig, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(7, 4), height_ratios=(2, 1))
top.hist(x, 400, log=True, color="0.6")
top.set(ylabel="how many numbers")
for name, observer in watchers.items():
    observer.observe(x)
    p = observer.qparams(INT4)
    lowest, highest = dequantize(np.array([INT4.qmin, INT4.qmax], np.int8), p)
    label = f"{name}: {sqnr_db(x, dequantize(quantize(x, p), p)):.1f} dB"
    bottom.barh(label, highest - lowest + p.scale, left=lowest - p.scale / 2)
bottom.set(xlabel="x; a bar holds what is not clipped", ylabel="observer")
bottom.invert_yaxis()
plt.tight_layout()
plt.show()

# %% [markdown]
# > **Takeaway.** The best range for 4 bits gives up the outliers; for 8 bits there is room to keep most of them.

# %% [markdown]
# ## 8. Multiplying codes
#
# **Seen to fail.** NumPy multiplies int8 by int8 into int8:

# %%
print(np.array([[100]], np.int8) @ np.array([[2]], np.int8), "should be 200: an int8 sum wraps, so sums need int32")
a, b = rng.integers(-128, 128, (256, 256), np.int8), rng.integers(-128, 128, (256, 256), np.int8)
seconds = {}
for dtype in (np.int32, np.float32):
    laps = []
    for _ in range(9):
        start = time.perf_counter()
        product = a.astype(dtype) @ b.astype(dtype)
        laps.append(time.perf_counter() - start)
    seconds[dtype] = min(laps)
print(f"int32 @ takes {seconds[np.int32] / seconds[np.float32]:.1f} times as long as float32 @")

# %% [markdown]
# The second surprise: NumPy's integer `@` is slow, for it uses no BLAS. But float32 holds **every** integer up to
# $2^{24}$, so the float32 product of *codes* is exact while its sums stay below that. `exact_product` cuts K into
# blocks short enough, and adds the blocks in float64, which holds every integer up to $2^{53}$.

# %%
#| export
LARGEST_CODE = {np.dtype(np.int8): 128, np.dtype(np.uint8): 255}


def exact_product(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """a [..., M, K] @ b [..., K, N] of int8 or uint8 codes: the integers themselves, held in float64. Exact.

    Any sum of `block` products of two codes stays within 2**24, up to which float32 holds every integer.
    """
    for name, codes in {"a": a, "b": b}.items():
        if codes.dtype not in LARGEST_CODE:
            raise TypeError(f"{name} must hold int8 or uint8 codes, got {codes.dtype}: quantize first")
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"wanted a [..., M, K] and b [..., K, N], got shapes {a.shape} and {b.shape}")
    block = 2**24 // (LARGEST_CODE[a.dtype] * LARGEST_CODE[b.dtype])
    k = a.shape[-1]
    acc = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))
    for i in range(0, k, block):
        acc += a[..., i : i + block].astype(np.float32) @ b[..., i : i + block, :].astype(np.float32)
    return acc


# %% [markdown]
# **Zero points.** Codes are not the numbers; $q - z$ is. Multiply out:
#
# $$(A - z_a)(B - z_b) = AB - z_a\,\text{colsum}(B) - z_b\,\text{rowsum}(A) + K z_a z_b$$
#
# So a product with zero points costs the product of the codes plus a few *vectors*. And the sums of B's columns are known
# before any input arrives.
#
# **By hand.** a = [1, 2], z_a = 1; b = [3, 4], z_b = 2: (0)(1) + (1)(2) = 2. And 11 - 1*7 - 2*3 + 2*1*2 = 2.
#
# ### Exercise 8: `integer_matmul`

# %%
#| export
#| exercise: integer_matmul
def integer_matmul(
    a: NDArray[Any], b: NDArray[Any], a_zero_point: ArrayLike = 0, b_zero_point: ArrayLike = 0
) -> NDArray[np.int32]:
    """(a - a_zero_point) @ (b - b_zero_point), exactly: int32 [..., M, N].

    a: int8 or uint8 codes [..., M, K], zero point (), [M] or [M, 1]. b: the same [..., K, N], zero point () or [N].
    OverflowError if a result does not fit int32; never a wrapped sum. Source: ONNX MatMulInteger.

    >>> integer_matmul(np.array([[1, 2]], np.int8), np.array([[3], [4]], np.int8), 1, 2).tolist()
    [[2]]
    """
    a, b = real_array("a", a), real_array("b", b)
    acc, k = exact_product(a, b), a.shape[-1]
    za = as_zero_points("a_zero_point", a_zero_point, (*a.shape[:-1], 1))
    zb = as_zero_points("b_zero_point", b_zero_point, (*b.shape[:-2], 1, b.shape[-1]))
    # About 5 lines: the three corrections (sums over K, with keepdims=True), the check, the cast.
    ### BEGIN SOLUTION
    column_sums, row_sums = b.sum(-2, np.int64, keepdims=True), a.sum(-1, np.int64, keepdims=True)
    acc -= za * (column_sums - k * zb)
    acc -= zb * row_sums
    if acc.size and (acc.max() >= 2**31 or acc.min() < -(2**31)):
        raise OverflowError(f"a sum of K = {k} products reaches {np.abs(acc).max():.0f}, beyond int32: split K")
    return acc.astype(np.int32)
    ### END SOLUTION


# %%
check("integer_matmul")
a, b = np.array([[1, 2]], np.int8), np.array([[3], [4]], np.int8)
assert integer_matmul(a, b).tolist() == [[11]], "without zero points it is the product of the codes: 1*3 + 2*4 = 11"
assert integer_matmul(a, b, 1, 2).tolist() == [[2]], f"(1-1)(3-2) + (2-1)(4-2) = 2, got {integer_matmul(a, b, 1, 2).item()}"
assert integer_matmul(a, b, 1).dtype == np.int32, "sums are int32"

# %% [markdown]
# > **Takeaway.** 8-bit codes, 32-bit sums. Zero points are vectors of corrections, not a second product.

# %% [markdown]
# ## 9. Back to eight bits
#
# An int32 sum stands for $s_a s_b \cdot acc$. The next layer wants codes of scale $s_y$. So each sum is multiplied by
# $m = s_a s_b / s_y$, a number below 1, rounded, shifted by the zero point and clipped.
#
# **By hand**, symmetric, x = [0.5, -1], w = [0.25, -0.5]: both have the codes [64, -127], the sum is 64*64 + 127*127.

# %%
acc, m = 64 * 64 + 127 * 127, (1 / 127) * (0.5 / 127) / (1 / 127)
print(f"sum {acc}, m = {m:.6f}, code {np.rint(acc * m):.0f}, value {np.rint(acc * m) / 127:.5f}; the true one is 0.625")

# %% [markdown]
# A chip without floating point multiplies by an integer instead: $m = q_{31} \cdot 2^{e - 31}$ with $q_{31}$ in
# $[2^{30}, 2^{31})$. Three ways to round are in use, and of 100 000 codes a few, or a few hundred, come out different:
#
# - **float** (ONNX Runtime, FBGEMM): `rint(float32(acc) * float32(m))`.
# - **single** (newer TensorFlow Lite kernels): one rounding, `(acc * q31 + half) >> (31 - e)`, in int64.
# - **gemmlowp** (TensorFlow Lite): two roundings, halves away from zero. Given: `_high_mul`, `_round_shift`.
#
# ### Exercise 9: `quantize_multiplier`, `requantize`

# %%
#| export
def _high_mul(a: NDArray[np.int64], q31: NDArray[np.int64]) -> NDArray[np.int64]:
    """The high half of 2 * a * q31, rounded: (a * q31 + nudge) / 2**31, *truncated*. Source: gemmlowp fixedpoint.h."""
    product = a * q31
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    return np.sign(nudged) * (np.abs(nudged) >> 31)  # numpy's // and >> round down, C's / truncates


def _round_shift(a: NDArray[np.int64], exponent: NDArray[np.int64]) -> NDArray[np.int64]:
    """a / 2**exponent, halves away from zero. Source: gemmlowp RoundingDivideByPOT."""
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (a < 0)
    return (a >> exponent) + ((a & mask) > threshold)


# %%
#| export
#| exercise: requantize
def quantize_multiplier(m: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(q31, exponent) with `m ~ q31 * 2**(exponent - 31)` and 2**30 <= q31 < 2**31, for 0 < m < 2**30.

    `np.frexp(m)` gives a fraction in [0.5, 1) and the exponent. q31 is fraction * 2**31, a half rounded *up* (away from
    zero); if that makes 2**31, halve it and add one to the exponent. Where exponent < -31 the product would always
    round to 0: q31 and exponent are both 0. Source: TensorFlow Lite QuantizeMultiplier.

    >>> [int(v) for v in quantize_multiplier(0.75)], [int(v) for v in quantize_multiplier(0.25)]
    ([1610612736, 0], [1073741824, -1])
    """
    m = real_array("m", m).astype(np.float64)
    if not np.all((m > 0) & (m < 2**30)):
        raise ValueError(f"a multiplier must be in (0, 2**30), got {np.min(m):g} to {np.max(m):g}: check the scales")
    # About 5 lines. np.frexp gives the exponent as int32: .astype(np.int64) before anything is added or shifted.
    # m may be one number or one a channel: np.where serves both.
    ### BEGIN SOLUTION
    fraction, exponent = np.frexp(m)
    q31 = np.floor(fraction * 2**31 + 0.5).astype(np.int64)
    exponent = exponent.astype(np.int64) + (q31 == 2**31)
    q31 = np.where(q31 == 2**31, 2**30, q31)
    tiny = exponent < -31
    return np.where(tiny, 0, q31), np.where(tiny, 0, exponent)
    ### END SOLUTION


# %%
#| export
ROUNDINGS = ("float", "gemmlowp", "single")

# %%
#| export
#| exercise: requantize
def requantize(acc: NDArray[np.int32], m: ArrayLike, qparams: QParams, rounding: str = "float") -> NDArray[Any]:
    """int32 sums -> codes of `qparams`: `clip(round(acc * m) + zero_point, qmin, qmax)`.

    acc: int32 [..., N]. m: `s_a * s_b / s_y`, () or [N]. rounding "float": rint in float32, ties to even. "single":
    `(acc * q31 + (1 << (30 - e))) >> (31 - e)`. "gemmlowp": `_high_mul(acc << max(e, 0), q31)`, the shifted sum first
    clipped to int32, then `_round_shift(..., max(-e, 0))`. The last two in int64.

    >>> requantize(np.array([20225, 2**30]), 0.5 / 127, QParams(1 / 127, 0)).tolist()
    [80, 127]
    """
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding must be one of {ROUNDINGS}, got {said(rounding)}")
    q31, e = quantize_multiplier(m)  # refuses a multiplier that is none, whatever the rounding
    wide = as_sums(acc)
    check_fits("m", np.shape(m), wide.shape)
    check_fits("a scale", as_qparams(qparams).scale.shape, wide.shape)
    # About 8 lines: three ways to `rounded`, then zero point, clip, cast.
    ### BEGIN SOLUTION
    if rounding == "float":
        rounded = np.rint(wide.astype(np.float32) * np.asarray(m, np.float32))
    elif rounding == "single":
        rounded = (wide * q31 + (np.int64(1) << (30 - e))) >> (31 - e)
    else:
        shifted = np.clip(wide << np.maximum(e, 0), -(2**31), 2**31 - 1)
        rounded = _round_shift(_high_mul(shifted, q31), np.maximum(-e, 0))
    q = np.clip(rounded + qparams.zero_point, qparams.int_type.qmin, qparams.int_type.qmax)
    return np.asarray(q).astype(qparams.int_type.storage)
    ### END SOLUTION


# %%
check("requantize")
assert [int(v) for v in quantize_multiplier(0.25)] == [2**30, -1], "0.25 = 0.5 * 2**-1: q31 = 2**30, exponent -1"
assert requantize(np.array([20225]), 0.5 / 127, QParams(1 / 127, 0)).tolist() == [80], "20225 * 0.003937 = 79.6: code 80"
ties = np.array([-6, -2, 2, 6], np.int32)
wanted = {"float": [-2, 0, 0, 2], "gemmlowp": [-2, -1, 1, 2], "single": [-1, 0, 1, 2]}
for rounding, codes in wanted.items():
    got = requantize(ties, 0.25, QParams(1.0, 0), rounding).tolist()
    assert got == codes, f"{rounding}: a quarter of [-6, -2, 2, 6] must round to {codes}, got {got}"

# %% [markdown]
# > **Takeaway.** One multiplier a channel leads from int32 back to int8. How ties go is part of the result.

# %% [markdown]
# All the arithmetic is there. `networks_dev.py` builds layers and a network on it, and measures what it cost.
