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
# You write twelve small functions. Each is exported to `tinytorch.quantization` and run, as you wrote it, by the network
# at the end. Save, then in a terminal:
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

# %%
#| default_exp quantization.quantize

# %%
# Finds the package, wherever in the course's folder this notebook was opened; or says what to do.
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path


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
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, TypeGuard

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, NDArray

from tinytorch.core import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    LayerNorm,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
    Tensor,
    evaluating,
)
from tinytorch.core.checks import checked_axis, float32_array, real_array, real_number, true_or_false, whole_number
from tinytorch.core.windows import count_windows, padded, patches

# %%
import time

import matplotlib.pyplot as plt

from tinytorch.core import Adam, accuracy, fit, load_digits

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
# Two small checks come first, given and used all over this notebook. Where they refuse, NumPy would go on in silence: it
# stretches shapes that were never meant to meet.

# %%
#| export
def check_same_shape(**arrays: ArrayLike) -> None:
    """ValueError unless all arrays have one shape: unequal ones would broadcast."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"wanted equal shapes, got {', '.join(f'{name} {shape}' for name, shape in shapes.items())}")


def check_fits(name: str, shape: tuple[int, ...], into: tuple[int, ...]) -> None:
    """ValueError unless an array of `shape` broadcasts against one of shape `into` without making it larger."""
    if len(shape) > len(into) or any(n not in (1, m) for n, m in zip(shape[::-1], into[::-1], strict=False)):
        raise ValueError(f"{name} of shape {shape} does not fit an array of shape {into}: it would enlarge the result")


# %%
#| export
@dataclass(frozen=True)
class IntType:
    """An integer type of `bits` bits: which codes exist, and how they are stored.

    `narrow` leaves out the lowest code of a signed type, so that the range is the same on both sides of 0.

    >>> INT8.qmin, INT8.qmax, IntType(8, narrow=True).qmin, UINT4.qmax
    (-128, 127, -127, 15)
    """

    bits: int
    signed: bool = True
    narrow: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", whole_number("IntType", "bits", self.bits, 0))
        for name in ("signed", "narrow"):
            object.__setattr__(self, name, true_or_false(name, getattr(self, name)))
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be 2 to 8, got {self.bits}: codes are stored in bytes")
        if self.narrow and not self.signed:
            raise ValueError("narrow needs a signed type: it drops the lowest negative code")

    @property
    def qmin(self) -> int:
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @property
    def qmax(self) -> int:
        return (1 << (self.bits - self.signed)) - 1

    @property
    def storage(self) -> np.dtype[Any]:
        """The NumPy dtype that holds one code: int8 or uint8."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that codes of this shape take when stored, packed without gaps: size * bits / 8, rounded up."""
        return (int(np.prod(shape, dtype=np.int64)) * self.bits + 7) // 8

    def __str__(self) -> str:
        return f"{'int' if self.signed else 'uint'}{self.bits}{' narrow' if self.narrow else ''}"


INT8, UINT8 = IntType(8), IntType(8, signed=False)
INT4, UINT4 = IntType(4), IntType(4, signed=False)


def as_int_type(value: Any) -> IntType:
    """value, if it is an IntType. TypeError for anything else, such as a number of bits."""
    if not isinstance(value, IntType):
        raise TypeError(f"wanted an integer type such as INT8 or IntType(4), got {value!r}")
    return value


def check_codes(q: NDArray[Any], int_type: IntType) -> None:
    """TypeError unless q is stored as codes of this type are, ValueError unless every code is one of its codes."""
    if q.dtype != int_type.storage:
        raise TypeError(f"codes of {int_type} are stored as {int_type.storage}, got {q.dtype}: quantize first")
    if q.size and (q.min() < int_type.qmin or q.max() > int_type.qmax):
        wanted = f"[{int_type.qmin}, {int_type.qmax}]"
        raise ValueError(f"codes of {int_type} lie in {wanted}, got {q.min()} to {q.max()}: quantize clips")


# %% [markdown]
# The quantization parameters themselves. They are checked once, when they are made; everybody after that trusts them.
# `scale` and `zero_point` are arrays of any shape that broadcasts against `x`: one of each for the whole tensor has shape
# `()`, one for each row has `(rows, 1)`.

# %%
#| export
@dataclass(frozen=True, eq=False, init=False)
class QParams:
    """Quantization parameters: `x ~ scale * (q - zero_point)`.

    scale: float32, > 0, units of x per step. zero_point: int32, the code of 0.0, within the codes of `int_type`.
    Their shapes broadcast against x: () per tensor, (rows, 1) per channel, (rows, groups, 1) per group; one zero point
    () may serve all scales. Raises ValueError for anything else.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    int_type: IntType

    def __init__(self, scale: ArrayLike, zero_point: ArrayLike, int_type: IntType = INT8) -> None:
        scale, zero_point = float32_array("scale", scale).copy(), real_array("zero_point", zero_point)
        int_type = as_int_type(int_type)
        if not np.all(np.isfinite(scale) & (scale > 0)):
            bad = scale[~(np.isfinite(scale) & (scale > 0))].flat[0]
            raise ValueError(f"scale must be > 0 and finite, got {bad:g}: choose_qparams makes one for any range")
        if zero_point.dtype.kind not in "iuf" or np.any(zero_point != np.rint(zero_point)):
            raise ValueError("zero_point must be an integer: it is a code, so round it first (np.rint)")
        qmin, qmax = int_type.qmin, int_type.qmax
        if np.any((zero_point < qmin) | (zero_point > qmax)):
            raise ValueError(
                f"zero_point must lie in [{qmin}, {qmax}], the codes of {int_type}, "
                f"got {zero_point.min():g} to {zero_point.max():g}: widen the range to hold 0, then clip"
            )
        if zero_point.shape not in ((), scale.shape):
            raise ValueError(f"zero_point must have shape () or that of scale, {scale.shape}, got {zero_point.shape}")
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point.astype(np.int32))
        object.__setattr__(self, "int_type", int_type)
        self.scale.flags.writeable = self.zero_point.flags.writeable = False

    @property
    def nbytes(self) -> int:
        """Bytes the parameters take."""
        return self.scale.nbytes + self.zero_point.nbytes

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a state dict saves."""
        return {"scale": self.scale, "zero_point": self.zero_point}

    @property
    def state_type(self) -> str:
        """What a state dict tells beyond the arrays."""
        return str(self.int_type)

    def with_arrays(self, arrays: dict[str, NDArray[Any]]) -> "QParams":
        """Quantization parameters for the same integer type, of other arrays."""
        return QParams(arrays["scale"], arrays["zero_point"], self.int_type)


# %% [markdown]
# Five doorkeepers come with them. They refuse what cannot be quantized, with a sentence; you will not need to touch
# them. The last one answers a small question with a long history: what is the scale of a tensor of zeros?

# %%
#| export
def as_qparams(value: Any) -> QParams:
    """value, if it is QParams. TypeError for anything else, such as a scale alone."""
    if not hasattr(value, "int_type"):
        raise TypeError(f"wanted QParams(scale, zero_point, int_type), got {value!r}")
    return value


def as_real(x: ArrayLike) -> NDArray[np.float32]:
    """x as float32. TypeError for what is not a real number, ValueError for NaN, which has no code."""
    x = float32_array("x", x)  # a float64 beyond float32 becomes infinity, which saturates
    if np.isnan(np.min(x, initial=np.inf)):
        where = np.argwhere(np.isnan(x))[0].tolist()
        raise ValueError(f"x must not hold NaN, got one at index {where}: no code stands for it; find where it arose")
    return x


def as_integers(name: str, q: ArrayLike, room: int = 0) -> NDArray[Any]:
    """q as an array of integers. TypeError for anything else, OverflowError for what is beyond int32, less `room`."""
    q, end = real_array(name, q), 2**31 - room
    if q.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {q.dtype}")
    may_be_beyond = np.iinfo(q.dtype).max >= end or np.iinfo(q.dtype).min < -end
    if q.size and may_be_beyond and (q.min() < -end or q.max() >= end):
        raise OverflowError(f"{name} must fit int32 and lie in [{-end}, {end}), got {q.min()} to {q.max()}")
    return q


def as_range(lo: ArrayLike, hi: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """lo, hi as float64 (so that hi - lo cannot overflow). ValueError unless finite in float32, and lo <= hi."""
    lo, hi = real_array("lo", lo).astype(np.float64), real_array("hi", hi).astype(np.float64)
    check_same_shape(lo=lo, hi=hi)
    largest = np.finfo(np.float32).max
    if not (np.all(np.abs(lo) <= largest) and np.all(np.abs(hi) <= largest)):
        raise ValueError(f"a range must be finite, got [{np.min(lo):g}, {np.max(hi):g}]: mask or clip x first")
    if np.any(lo > hi):
        raise ValueError(f"a range needs lo <= hi, got [{np.max(lo):g}, {np.min(hi):g}]: are the two swapped?")
    return lo, hi


def as_scale(step: ArrayLike) -> NDArray[np.float32]:
    """step as a float32 scale, which reaches its largest number; 1 below its smallest normal one, as for zeros."""
    scale = np.minimum(step, float(np.finfo(np.float32).max)).astype(np.float32)
    return np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale)


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

    First the range is widened to hold 0: `lo = min(lo, 0)`, `hi = max(hi, 0)`.
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
    # About 2 lines. Clip while the numbers are still float, then cast: int8 cannot hold 957 to be clipped later.
    ### BEGIN SOLUTION
    q = np.rint(x / qparams.scale) + qparams.zero_point.astype(np.float32)  # ties to even, before the zero point
    return np.asarray(np.clip(q, int_type.qmin, int_type.qmax)).astype(int_type.storage)
    ### END SOLUTION


# %%
#| export
#| exercise: quantize
def dequantize(q: NDArray[Any], qparams: QParams) -> NDArray[np.float32]:
    """The reals that codes stand for: `scale * (q - zero_point)`, float32 [shape of q].

    >>> dequantize(np.array([-43, 42], np.int8), QParams(0.5, -43)).tolist()
    [0.0, 42.5]
    """
    q = as_integers("codes", q, room=256)  # for the zero point
    check_fits("a scale", as_qparams(qparams).scale.shape, q.shape)
    # 1 line. Widen first: in int8, 127 - (-43) is -86.
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
bottom.set(xlabel="x", ylabel="error")
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
    plt.legend(loc="lower right")
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
def as_signals(x: ArrayLike, x_hat: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64, divided by one power of two, which is exact: no square of them overflows or vanishes.

    ValueError unless they are finite and of one shape.
    """
    x, x_hat = real_array("x", x).astype(np.float64), real_array("x_hat", x_hat).astype(np.float64)
    check_same_shape(x=x, x_hat=x_hat)
    largest = max(np.abs(x).max(initial=0), np.abs(x_hat).max(initial=0))
    if not np.isfinite(largest):
        raise ValueError(f"x and x_hat must be finite, got {largest:g}: infinity and NaN have no power")
    exponent = np.frexp(largest)[1]
    return np.ldexp(x, -exponent), np.ldexp(x_hat, -exponent)


# %%
#| export
#| exercise: error_parts
def sqnr_db(x: ArrayLike, x_hat: ArrayLike) -> float:
    """Signal to quantization noise, in decibels: `10 log10(sum x**2 / sum (x - x_hat)**2)`.

    Infinite if exact; minus infinity if x is all zero and x_hat is not.

    >>> round(sqnr_db([3.0, 4.0], [3.0, 4.5]), 6)  # 25 / 0.25 is a factor of 100
    20.0
    """
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
    # About 3 lines: how many zeros are missing? np.pad(x, ((0, 0), (0, missing))), then reshape.
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
w = rng.normal(size=(24, 64)).astype(np.float32) * rng.lognormal(-2, 1.2, (24, 1)).astype(np.float32)
lo, hi = (v.ravel() for v in value_range(w, axis=0))
shared = float(choose_qparams(*value_range(w), INT4, symmetric=True).scale)
plt.figure(figsize=(7, 3))
plt.bar(range(24), hi - lo, bottom=lo)
plt.axhspan(-shared / 2, shared / 2, color="C1", alpha=0.4, label="rounds to 0 with the shared scale")
plt.xlabel("row")
plt.legend()
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
def packed_size(packed: NDArray[Any], bits: int, shape: tuple[int, ...]) -> int:
    """How many codes of `bits` bits this shape has. TypeError or ValueError unless `packed` are exactly their bytes."""
    if not isinstance(packed, np.ndarray) or packed.dtype != np.uint8:
        raise TypeError(f"packed codes are an array of uint8, got {getattr(packed, 'dtype', type(packed).__name__)}")
    size = int(np.prod([whole_number("a shape", "each size", n, 0) for n in np.atleast_1d(shape)], dtype=np.int64))
    if packed.size != (size * bits + 7) // 8:
        raise ValueError(f"shape {shape} takes {(size * bits + 7) // 8} bytes, got {packed.size}")
    return size


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
    # About 3 lines: flatten to uint8 nibbles (& 0xF), fill up to an even number, low | high << 4.
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
# Other widths (2, 3, 5 ... bits) are packed as one stream of bits, lowest bit first: for 4 bits, exactly your nibbles.

# %%
#| export
def pack_bits(q: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Codes of `bits` bits [any shape] -> uint8 [ceil(size * bits / 8)]: a stream of bits, lowest first, filled with 0.

    >>> pack_bits(np.array([1, -2, 1, 0], np.int8), 2).tolist()  # 01, 10, 01, 00, from the right
    [25]
    """
    q = real_array("codes", q)
    int_type = IntType(bits, signed=q.dtype != np.uint8)
    check_codes(q, int_type)
    stream = (q.astype(np.uint8).reshape(-1, 1) >> np.arange(int_type.bits, dtype=np.uint8)) & 1
    return np.packbits(stream, bitorder="little")


@np.errstate(over="ignore")  # -128 wraps around to itself
def unpack_bits(packed: NDArray[np.uint8], bits: int, shape: tuple[int, ...], signed: bool = True) -> NDArray[Any]:
    """The inverse of `pack_bits`: int8 (signed) or uint8 codes [shape]. Refuses what `unpack_int4` refuses.

    >>> unpack_bits(np.array([25], np.uint8), 2, (4,)).tolist()
    [1, -2, 1, 0]
    """
    bits = IntType(bits).bits
    size = packed_size(packed, bits, shape)
    stream = np.unpackbits(packed, count=size * bits, bitorder="little").reshape(size, bits)
    q = (stream << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.uint8).reshape(shape)
    sign = np.uint8(1 << (bits - 1))
    return (q ^ sign).astype(np.int8) - sign.astype(np.int8) if signed else q


# %% [markdown]
# Now a tensor that really is small. It holds codes and their quantization parameters, and **no float32 copy**: `nbytes`
# counts what is there. Codes of fewer than 8 bits are packed, those of 4 by your function.

# %%
#| export
class QuantizedTensor:
    """Codes and their quantization parameters: `x ~ dequantize()`. Stored as int8 or uint8, packed below 8 bits.

    q: codes, of dtype `qparams.int_type.storage`. shape: of the real tensor, where it differs from that of q: with
    groups q is [rows, groups, group_size] and shape (rows, columns).
    """

    def __init__(self, q: NDArray[Any], qparams: QParams, shape: tuple[int, ...] | None = None) -> None:
        q, int_type = real_array("codes", q), as_qparams(qparams).int_type
        check_codes(q, int_type)
        check_fits("a scale", qparams.scale.shape, q.shape)
        self.qparams = qparams
        self.shape = q.shape if shape is None else tuple(whole_number("a shape", "each size", n, 0) for n in shape)
        if self.shape != q.shape and not self._has_groups(q.shape):
            raise ValueError(f"codes of shape {q.shape} are no tensor of shape {self.shape}, nor its rows in groups")
        self._q_shape = q.shape
        self.stored = np.array(q, order="C")
        if int_type.bits < 8:
            self.stored = pack_int4(q) if int_type.bits == 4 else pack_bits(q, int_type.bits)

    def _has_groups(self, q_shape: tuple[int, ...]) -> bool:
        """Whether q [rows, groups, group_size] are this shape's rows (rows, columns), as `split_groups` cuts them."""
        if len(q_shape) != 3 or len(self.shape) != 2:
            return False
        rows, groups, group_size = q_shape
        return rows == self.shape[0] and (groups - 1) * group_size < self.shape[1] <= groups * group_size

    @classmethod
    def from_float(
        cls,
        x: ArrayLike,
        int_type: IntType = INT8,
        symmetric: bool = True,
        axis: int | tuple[int, ...] | None = None,
        group_size: int | None = None,
    ) -> "QuantizedTensor":
        """Quantize x by its own range: that of all of x, of each slice along `axis`, or of each group of a row.

        >>> QuantizedTensor.from_float(np.eye(64), INT4, group_size=32).nbytes  # 2048 of codes, 512 of scales, 4
        2564
        """
        x = as_real(x)
        shape = x.shape
        if group_size is not None:
            if axis not in (None, 0):
                raise ValueError(f"groups run along the columns of each row: leave axis out, got {axis}")
            x, axis = split_groups(x, group_size), (0, 1)
        qparams = choose_qparams(*value_range(x, axis), int_type, symmetric)
        return cls(quantize(x, qparams), qparams, shape)

    @property
    def q(self) -> NDArray[Any]:
        """The codes, unpacked: int8 or uint8, as quantized (with groups [rows, groups, group_size])."""
        int_type = self.qparams.int_type
        if int_type.bits == 8:
            return self.stored
        if int_type.bits == 4:
            return unpack_int4(self.stored, self._q_shape, int_type.signed)
        return unpack_bits(self.stored, int_type.bits, self._q_shape, int_type.signed)

    def dequantize(self) -> NDArray[np.float32]:
        """float32 [shape]."""
        x = dequantize(self.q, self.qparams)
        if x.shape == self.shape:
            return x
        rows, columns = self.shape
        return x.reshape(rows, x.shape[1] * x.shape[2])[:, :columns]

    @property
    def nbytes(self) -> int:
        """Bytes held: codes and parameters."""
        return self.stored.nbytes + self.qparams.nbytes

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a state dict saves: the stored codes, the scale and the zero point."""
        return {"q": self.stored, **self.qparams.arrays()}

    @property
    def state_type(self) -> str:
        """What a state dict tells beyond the arrays: the integer type, and the shape that packed codes do not show."""
        codes = "" if self._q_shape == self.shape else f" in codes {list(self._q_shape)}"
        return f"{self.qparams.int_type} {list(self.shape)}{codes}"

    def with_arrays(self, arrays: dict[str, NDArray[Any]]) -> "QuantizedTensor":
        """The same kind of tensor, holding other arrays."""
        if arrays["q"].shape != self.stored.shape or arrays["q"].dtype != self.stored.dtype:
            wanted, got = (f"{a.dtype} {a.shape}" for a in (self.stored, arrays["q"]))
            raise ValueError(f"codes must be {wanted}, got {got}: is the saved model quantized in another way?")
        new = copy(self)
        new.stored, new.qparams = arrays["q"], self.qparams.with_arrays(arrays)
        return QuantizedTensor(new.q, new.qparams, self.shape)  # which checks the codes


# %%
w = rng.normal(size=(256, 256)).astype(np.float32) * np.geomspace(0.1, 1, 256, dtype=np.float32)[:, None]
for name, how in {"tensor": {}, "row": {"axis": 0}, "group of 32": {"group_size": 32}}.items():
    for int_type in (INT8, INT4):
        t = QuantizedTensor.from_float(w, int_type, **how)
        print(f"{int_type} per {name:<12} {w.nbytes / t.nbytes:5.2f} x smaller   {sqnr_db(w, t.dequantize()):5.1f} dB")

# %% [markdown]
# > **Takeaway.** 4 bits are 8 times smaller until you count the scales. Always count the scales.

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

    def observe(self, x: ArrayLike) -> None:
        raise NotImplementedError

    def range(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """(lo, hi). ValueError before anything was observed."""
        raise NotImplementedError

    def qparams(self, int_type: IntType = INT8, symmetric: bool = False) -> QParams:
        """The quantization parameters for `range()`."""
        return choose_qparams(*self.range(), int_type, symmetric)

    def _require(self, seen: Any) -> None:
        if not seen:
            raise ValueError(f"{type(self).__name__} has seen no numbers: call observe(x) with calibration data first")


class Histogram:
    """Counts in `bins` equal cells over [-limit, limit], limit a power of two, for any number of batches.

    A value beyond the limit doubles it: neighbouring cells are added, so every count stays exact.
    A cell is at most 4 / bins of the largest |x| wide.
    """

    def __init__(self, bins: int = 4096) -> None:
        bins = whole_number("Histogram", "bins", bins)
        if bins % 4:
            raise ValueError(f"bins must be a multiple of 4, got {bins}: cells are added in pairs, on both sides of 0")
        self.counts = np.zeros(bins, np.int64)
        self.limit = float(np.finfo(np.float32).tiny)
        self.lo, self.hi = np.inf, -np.inf

    def add(self, x: ArrayLike) -> None:
        x = as_real(x)
        if x.size == 0:
            return
        lo, hi = as_range(x.min(), x.max())
        while self.limit < max(-lo, hi):
            quarter = self.counts.size // 4
            self.counts = np.pad(self.counts.reshape(-1, 2).sum(1), quarter)
            self.limit *= 2
        self.counts += np.histogram(x.astype(np.float64), self.counts.size, (-self.limit, self.limit))[0]
        self.lo, self.hi = min(self.lo, float(lo)), max(self.hi, float(hi))

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def cell(self) -> float:
        """The width of a cell, in units of x."""
        return 2 * self.limit / self.counts.size

    @property
    def centers(self) -> NDArray[np.float64]:
        return np.asarray((np.arange(self.counts.size) + 0.5) * self.cell - self.limit, np.float64)


# %% [markdown]
# Three observers, from trusting to sceptical:
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
        self.axis = axis
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
    """The range that holds `percentile` % of the magnitudes |x|: [-t, t], but never wider than what was seen.

    t is the upper edge of the first cell at which the share of magnitudes counted so far reaches percentile / 100, so
    it is exact to one cell of the histogram.

    >>> observer = PercentileObserver(99.0)
    >>> observer.observe(np.append(np.linspace(0, 1, 199), 100))
    >>> [round(float(v), 1) for v in observer.range()]
    [0.0, 1.0]
    """

    def __init__(self, percentile: float = 99.9) -> None:
        if not 0 < real_number("percentile", percentile) <= 100:
            raise ValueError(f"percentile must be in (0, 100], got {percentile}: 99.9 keeps all but one in a thousand")
        self.percentile, self.histogram = float(percentile), Histogram()

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
def as_counts(name: str, counts: NDArray[Any]) -> NDArray[Any]:
    """counts as an array. ValueError unless something was counted, and nothing less than never."""
    counts = real_array(name, counts)
    if not (np.all((counts >= 0) & np.isfinite(counts)) and np.any(counts)):
        raise ValueError(f"{name} must be >= 0 and finite, and not all 0: of nothing there is no mean")
    return counts


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
    (counts > 0) the mean count of the occupied cells that share its code, divided by counts.sum(); where that is 0, use
    1e-9, so that mass on an empty cell costs much, not infinity.

    >>> codes = np.array([0, 0, 1, 1])
    >>> kl_divergence(np.array([4, 4, 8, 0]), codes, np.array([4, 4, 8, 0]))  # even within each code: nothing lost
    0.0
    """
    check_same_shape(counts=counts, codes=codes, clipped=clipped)
    counts, codes, clipped = real_array("counts", counts), as_integers("codes", codes), as_counts("clipped", clipped)
    code_index = codes.astype(np.int64) - int(codes.min())
    occupied = counts > 0
    # About 5 lines. np.bincount(code_index, weights=...) sums over the cells of each code.
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
            raise ValueError(f"objective must be one of {self.objectives}, got {objective!r}")
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
plt.figure(figsize=(7, 3.5))
plt.hist(x, 400, log=True, color="0.8")
for (name, observer), color in zip(watchers.items(), ["C0", "C1", "C2", "C3"], strict=True):
    observer.observe(x)
    p = observer.qparams(INT4)
    ends = dequantize(np.array([INT4.qmin, INT4.qmax], np.int8), p)
    plt.axvspan(*ends, fill=False, edgecolor=color, lw=2, label=f"{name}: {sqnr_db(x, dequantize(quantize(x, p), p)):.1f} dB")
plt.legend()
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
def as_zero_points(name: str, zero_point: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Zero points that broadcast to `shape` and against their operand: one, or one for each row of a, or column of b.

    [M] for a stands for [M, 1], as in ONNX. TypeError for what is no integer, ValueError for no code, or another shape.
    """
    z = np.asarray(zero_point)
    if z.dtype.kind not in "iu":
        raise TypeError(f"{name} must be an integer, got {z.dtype}: it is a code")
    if z.size and (z.min() < -128 or z.max() > 255):
        far = z.min() if z.min() < -128 else z.max()
        raise ValueError(f"{name} must be an integer in [-128, 255], got {far}: it is a code")
    z = z.reshape(-1, 1) if z.ndim == 1 and shape[-1] == 1 else z
    if z.size == 1:
        return z.reshape(()).astype(np.float64)
    check_fits(name, z.shape, shape)
    return z.astype(np.float64)


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
# $[2^{30}, 2^{31})$. Three ways to round are in use, and they differ in a few codes of 100 000:
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
    # About 5 lines.
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


def as_sums(acc: ArrayLike) -> NDArray[np.int64]:
    """int32 sums as int64. TypeError for what is no integer, OverflowError for what int32 cannot hold."""
    return as_integers("acc", acc).astype(np.int64)


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
        raise ValueError(f"rounding must be one of {ROUNDINGS}, got {rounding!r}")
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
# ## 10. A layer in integers
#
# All the parts are there. A `Linear` layer in INT8:
#
# 1. int8 weights, a scale a row; the float32 weights are let go.
# 2. Input to codes: with a scale and zero point from calibration (**static**), or from this very input (**dynamic**).
# 3. `integer_matmul`, int32.
# 4. The bias, as int32 at scale $s_x s_w$: then it is just one more addend (static). A dynamic layer does not know $s_x$
#    ahead, and adds its bias in float.
# 5. Out: requantized codes for the next layer, or float32.
#
# Dynamic quantization follows the ONNX rule, in float32 and uint8:

# %%
#| export
@np.errstate(over="ignore")  # hi - lo may overflow to infinity, which is looked for
def dynamic_quantize(x: ArrayLike) -> tuple[NDArray[np.uint8], QParams]:
    """uint8 codes of x and the quantization parameters of its own range, all in float32.

    Source: ONNX DynamicQuantizeLinear.
    `scale = (max(0, hi) - min(0, lo)) / 255`, `zero_point = rint(clip(-lo / scale, 0, 255))`.

    >>> codes, p = dynamic_quantize([-1, 0, 0.5, 2])
    >>> codes.tolist(), int(p.zero_point)
    ([0, 85, 127, 255], 85)
    """
    x = as_real(x)
    lo, hi = np.float32(np.min(x, initial=0)), np.float32(np.max(x, initial=0))
    as_range(lo, hi)
    if np.float32(hi - lo) == np.inf or hi - lo < 255 * np.finfo(np.float32).tiny:  # float32 cannot hold this range
        qparams = choose_qparams(lo, hi, UINT8)
    else:
        scale = np.float32((hi - lo) / np.float32(255))
        qparams = QParams(scale, np.rint(np.clip(-lo / scale, 0, 255)), UINT8)
    return quantize(x, qparams), qparams


def quantize_bias(bias: NDArray[np.float32], scale: NDArray[np.float32], weight_q: NDArray[Any]) -> NDArray[np.int32]:
    """The bias as int32 codes of zero point 0: `rint(bias / scale)`, scale = s_x * s_w, [N] each.

    OverflowError, naming the channel, if bias plus the largest possible sum of products might not fit int32.
    weight_q: the layer's codes [N, K].
    """
    q, reach = bias_steps(bias, scale), largest_sums(weight_q)
    if np.any(np.abs(q) + reach >= 2**31):
        n = int((np.abs(q) + reach).argmax())
        raise OverflowError(
            f"channel {n}: its sum of K = {weight_q.shape[1]} products may reach {reach[n]:.3g}, its bias is "
            f"{q[n]:.3g} steps, together beyond int32: split K, or leave this layer in float"
        )
    return q.astype(np.int32)


def bias_steps(bias: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float64]:
    """rint(bias / scale), float64 [N]; infinite where the scale is too small for a number to say."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.rint(np.divide(bias, scale, out=np.zeros(bias.shape), where=bias != 0, dtype=np.float64))


def largest_sums(weight_q: NDArray[Any]) -> NDArray[np.float64]:
    """The largest |sum of products| that codes of 8 bits can make with each row of weight_q [N, K]: float64 [N]."""
    return 255.0 * np.abs(weight_q.astype(np.int64)).sum(1)


def with_room_for_bias(weight: QuantizedTensor, bias: NDArray[Any], input_scale: NDArray[Any]) -> QuantizedTensor:
    """The weight [N, K], its scale larger in rows that say less than their bias, which there becomes 2**30 steps.

    These are rows of zeros, where nothing else chooses the scale, and rows so small that the bias does not fit int32.
    All others stay as they are.
    """
    q, scale = weight.q, np.broadcast_to(weight.qparams.scale.ravel(), bias.shape)
    needed = np.maximum(np.abs(bias) / (2.0**30 * input_scale.astype(np.float64)), np.finfo(np.float32).tiny)
    zeros = ~q.any(1) & (bias != 0) & (weight.qparams.scale.shape != () or not q.any())
    small = (np.abs(bias_steps(bias, input_scale * scale)) + largest_sums(q) >= 2**31) & (needed > scale)
    if not np.any(zeros | small):
        return weight
    larger = QParams(np.where(zeros | small, needed, scale)[:, None], 0, weight.qparams.int_type)
    return QuantizedTensor(np.where(small[:, None], quantize(weight.dequantize(), larger), q), larger)


def as_bias(bias: ArrayLike | None, outputs: int) -> NDArray[np.float32]:
    """The bias as float32 [outputs], zeros for None: a copy, for a view would keep the float layer alive."""
    real = np.zeros(outputs, np.float32) if bias is None else as_real(bias).copy()
    if real.shape != (outputs,) or not np.all(np.isfinite(real)):
        raise ValueError(f"bias must be {outputs} finite numbers, one for each output, got shape {real.shape}")
    return real


def one_scale(name: str, qparams: QParams | None) -> QParams | None:
    """qparams as they are. ValueError if they have a scale for each slice: a product of codes needs one for all."""
    if qparams is not None and as_qparams(qparams).scale.shape != ():
        raise ValueError(f"{name} must have one scale for all numbers, got shape {qparams.scale.shape}")
    return qparams


def symmetric_codes(weight: ArrayLike | QuantizedTensor, int_type: IntType, axis: int | None) -> QuantizedTensor:
    """A weight [out, ...] as codes: as they come, or quantized.

    ValueError unless they have zero point 0 and one scale, or one for each output.
    """
    if not isinstance(weight, QuantizedTensor):
        weight = QuantizedTensor.from_float(weight, int_type, symmetric=True, axis=axis)
    p, each = weight.qparams, weight.shape[:1] + (1,) * (len(weight.shape) - 1)
    if p.zero_point.any():
        got = int(p.zero_point.flat[np.abs(p.zero_point).argmax()])
        raise ValueError(f"weight codes must have zero point 0, got {got}: quantize the weight with symmetric=True")
    if p.scale.shape not in ((), each):
        raise ValueError(
            f"a weight has one scale (axis None), or one for each output (axis 0) of shape {each}, got {p.scale.shape}"
        )
    return weight


def codes_of(x: Any, qparams: QParams | None) -> tuple[NDArray[Any], QParams]:
    """The codes of x and their parameters: as they come, or quantized by those given, or (None) dynamically.

    ValueError for codes of another scale than the one given.
    """
    if not isinstance(x, QuantizedTensor):
        if not isinstance(x, Tensor):
            raise TypeError(f"a layer on codes takes a QuantizedTensor, a Tensor or an array, got {type(x).__name__}")
        return dynamic_quantize(x.data) if qparams is None else (quantize(x.data, qparams), qparams)
    one_scale("an input of codes", x.qparams)
    if qparams is not None and x.qparams.scale != qparams.scale:
        raise ValueError("the codes are of another scale than this layer was calibrated for: dequantize first")
    return x.q, x.qparams


def gives(layer: Any) -> str:
    """What a layer hands out, for its explanation."""
    return ", gives float" if layer.output_qparams is None else f", gives {layer.output_qparams.int_type} codes"


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
    float32 Tensor. int_type: of the weights. axis: 0 a scale for each output channel, None one for all.
    """

    def __init__(
        self,
        weight: ArrayLike | QuantizedTensor,
        bias: ArrayLike | None = None,
        input_qparams: QParams | None = None,
        output_qparams: QParams | None = None,
        int_type: IntType = INT8,
        axis: int | None = 0,
    ) -> None:
        super().__init__()
        self.weight = symmetric_codes(weight, int_type, axis)
        if len(self.weight.shape) != 2:
            raise ValueError(f"weight must be [out, in], got shape {self.weight.shape}")
        self.input_qparams = one_scale("input_qparams", input_qparams)
        self.output_qparams = one_scale("output_qparams", output_qparams)
        self.bias: NDArray[Any] = as_bias(bias, self.weight.shape[0])
        if input_qparams is not None:
            self.weight = with_room_for_bias(self.weight, self.bias, input_qparams.scale)
            self.bias = quantize_bias(self.bias, self._scale(input_qparams), self.weight.q)

    def explanation(self) -> str:
        return f"{self.weight.qparams.int_type} weights, {'static' if self.input_qparams else 'dynamic'}{gives(self)}"

    def _scale(self, input_qparams: QParams) -> NDArray[np.float32]:
        """s_x * s_w, float32 [out]: what one unit of each int32 sum is worth."""
        scale = input_qparams.scale * self.weight.qparams.scale.ravel()
        return np.broadcast_to(scale, self.weight.shape[:1])

    def _codes(self, x: Tensor | QuantizedTensor) -> tuple[NDArray[Any], QParams]:
        """The input's codes [..., in] and their quantization parameters: as they come, by calibration, or dynamic."""
        return codes_of(x, self.input_qparams)

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        q, qparams = self._codes(x)
        if q.shape[-1:] != self.weight.shape[1:]:
            raise ValueError(f"wanted input [..., {self.weight.shape[1]}], got shape {q.shape}")
        rows = q.reshape(int(np.prod(q.shape[:-1])), q.shape[-1])
        # About 10 lines. 1. integer_matmul(rows, self.weight.q.T, the input's zero point). 2. Dynamic: y = acc * scale +
        # bias, quantized if codes are wanted. Static: acc + bias, then requantize(acc, scale / s_y, ...) or acc * scale.
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
layer = Linear(4, 3, rng=rng)
exact = layer(four[None]).data
for name, input_qparams in {"dynamic": None, "static": choose_qparams(-1, 2)}.items():
    got = QuantizedLinear(layer.weight.data, layer.bias.data, input_qparams)(four[None]).data
    assert np.abs(got - exact).max() < 0.02, f"{name}: {got} is not near {exact}: check zero point, scale and bias"

# %% [markdown]
# > **Takeaway.** Codes in, codes out. No weight and no activation is stored in float32.

# %% [markdown]
# **Given: the layers of an image network.** A convolution is your layer, slid over the image: each window is a row of
# codes. What lies beyond the edge is 0.0, whose code is the zero point. Max pooling and flattening work on codes as they
# are, for a larger number has a larger code.

# %%
#| export
class QuantizedConv2d(Module):
    """`Conv2d` in integers: for each group of channels a QuantizedLinear over the windows. Source: ONNX QLinearConv.

    weight: float [out, in / groups, kh, kw], or ready codes; everything else as in QuantizedLinear and Conv2d.
    """

    def __init__(
        self,
        weight: ArrayLike | QuantizedTensor,
        bias: ArrayLike | None = None,
        input_qparams: QParams | None = None,
        output_qparams: QParams | None = None,
        int_type: IntType = INT8,
        axis: int | None = 0,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
    ) -> None:
        stride, groups = (whole_number("QuantizedConv2d", *n) for n in (("stride", stride), ("groups", groups)))
        padding = whole_number("QuantizedConv2d", "padding", padding, 0)
        weight = symmetric_codes(weight, int_type, axis)
        if len(weight.shape) != 4 or 0 in weight.shape or weight.shape[0] % groups:
            raise ValueError(f"weight must be [out, in / groups, kh, kw], {groups} dividing out, got {weight.shape}")
        self.kernel, self.stride, self.padding = (weight.shape[2], weight.shape[3]), stride, padding
        parts = zip(_row_blocks(weight, groups), np.split(as_bias(bias, weight.shape[0]), groups), strict=True)
        self.products = [QuantizedLinear(w, b, input_qparams, output_qparams) for w, b in parts]

    @property
    def state_type(self) -> str:
        """The weights are saved as matrices, which do not show the windows."""
        return f"kernel {self.kernel}, stride {self.stride}, padding {self.padding}"

    @property
    def input_qparams(self) -> QParams | None:
        return self.products[0].input_qparams

    @property
    def output_qparams(self) -> QParams | None:
        return self.products[0].output_qparams

    @output_qparams.setter
    def output_qparams(self, qparams: QParams | None) -> None:
        for product in self.products:
            product.output_qparams = qparams

    def explanation(self) -> str:
        return self.products[0].explanation()

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        """[N, in, H, W] -> [N, out, rows, columns]."""
        q, qparams = codes_of(x, self.input_qparams)
        channels = sum(p.weight.shape[1] for p in self.products) // (self.kernel[0] * self.kernel[1])
        if q.ndim != 4 or q.shape[1] != channels:
            raise ValueError(f"wanted images (N, {channels}, height, width), got shape {q.shape}")
        n, image = len(q), padded(q, self.padding, int(qparams.zero_point))
        rows, columns = (count_windows(s, k, self.stride) for s, k in zip(image.shape[2:], self.kernel, strict=True))
        if rows < 1 or columns < 1:
            raise ValueError(f"wanted images of at least {self.kernel} with the padding, got shape {q.shape}")
        windows = patches(image, self.kernel, self.stride)  # [N, in, kh * kw, rows, columns]
        outs = []
        for part, product in zip(np.split(windows, len(self.products), axis=1), self.products, strict=True):
            flat = part.transpose(0, 3, 4, 1, 2).reshape(n, rows * columns, product.weight.shape[1])
            outs.append(product(QuantizedTensor(flat, qparams)))
        gives_codes = isinstance(outs[0], QuantizedTensor)
        y = np.concatenate([out.q if gives_codes else out.data for out in outs], axis=-1).transpose(0, 2, 1)
        y = y.reshape(n, y.shape[1], rows, columns)
        return QuantizedTensor(y, outs[0].qparams) if gives_codes else Tensor(y)


def _row_blocks(weight: QuantizedTensor, blocks: int) -> list[QuantizedTensor]:
    """[out, ...] codes as `blocks` matrices [out / blocks, values a filter], with their share of the scales."""
    q, p = weight.q.reshape(weight.shape[0], -1), weight.qparams
    scales = [p.scale.reshape(())] * blocks if p.scale.size == 1 else np.split(p.scale.reshape(-1, 1), blocks)
    pairs = zip(np.split(q, blocks), scales, strict=True)
    return [QuantizedTensor(rows, QParams(scale, 0, p.int_type)) for rows, scale in pairs]


# %% [markdown]
# A function of one number, such as GELU, needs no arithmetic at all: there are 256 codes, so a **table** of 256 answers is
# the function. And a sum of two tensors, as in a residual block, is two multiplications and one rounding.

# %%
#| export
class Lookup(Module):
    """An elementwise function on codes: a table with an entry for each code of `input_qparams`.

    function: a module such as GELU(); it is asked once for each code. output_qparams: it gives codes; None: float32.
    """

    def __init__(self, function: Module, input_qparams: QParams, output_qparams: QParams | None = None) -> None:
        one_scale("input_qparams", as_qparams(input_qparams))
        int_type = input_qparams.int_type
        codes = np.arange(int_type.qmin, int_type.qmax + 1).astype(int_type.storage)
        self.input_qparams, self.values = input_qparams, function(dequantize(codes, input_qparams)).data
        check_same_shape(codes=codes, answers=self.values)
        self.output_qparams = one_scale("output_qparams", output_qparams)

    def explanation(self) -> str:
        return f"a table of {len(self.values)} answers{gives(self)}"

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        q, p = codes_of(x, self.input_qparams)
        if p.zero_point != self.input_qparams.zero_point or p.int_type != self.input_qparams.int_type:
            raise ValueError("the codes are not those that this table was made for: dequantize first")
        index = q.astype(np.int32) - p.int_type.qmin
        if self.output_qparams is None:
            return Tensor(self.values[index])
        return QuantizedTensor(quantize(self.values, self.output_qparams)[index], self.output_qparams)


def quantized_add(a: QuantizedTensor, b: QuantizedTensor, output_qparams: QParams) -> QuantizedTensor:
    """a + b as codes of `output_qparams`: both differences from zero times their scale / s_y, added, rounded once."""
    for t in (a, b):
        if not isinstance(t, QuantizedTensor):
            raise TypeError(f"quantized_add takes two QuantizedTensors, got {type(t).__name__}: quantize it first")
    check_same_shape(a=a.q, b=b.q)

    def units(t: QuantizedTensor) -> NDArray[np.float32]:
        steps = (t.q.astype(np.int32) - t.qparams.zero_point).astype(np.float32)
        return steps * (t.qparams.scale / output_qparams.scale)

    int_type = output_qparams.int_type
    q = np.rint(units(a) + units(b)) + output_qparams.zero_point.astype(np.float32)
    return QuantizedTensor(np.clip(q, int_type.qmin, int_type.qmax).astype(int_type.storage), output_qparams)


class QuantizedResidual(Module):
    """x + block(x) on codes. The block must take and hand out codes; the sum is float32 if output_qparams is None."""

    def __init__(self, block: Module, input_qparams: QParams, output_qparams: QParams | None = None) -> None:
        self.block, self.input_qparams = as_module(block), one_scale("input_qparams", as_qparams(input_qparams))
        self.output_qparams = one_scale("output_qparams", output_qparams)

    def explanation(self) -> str:
        return f"adds codes{gives(self)}"

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        codes = QuantizedTensor(*codes_of(x, self.input_qparams))
        y = self.block(codes)
        if not isinstance(y, QuantizedTensor):
            raise TypeError(f"the block must return codes, got {type(y).__name__}: give its last layer output_qparams")
        check_same_shape(block=y.q, x=codes.q)
        if self.output_qparams is None:
            return Tensor(codes.dequantize() + y.dequantize())
        return quantized_add(codes, y, self.output_qparams)


class OnCodes(Module):
    """MaxPool2d, Flatten or ReLU on codes as they are: a larger number has a larger code, and 0.0 is the zero point."""

    kinds: ClassVar[tuple[type[Module], ...]] = (MaxPool2d, Flatten, ReLU)

    def __init__(self, layer: Module) -> None:
        if type(layer) not in self.kinds:
            raise TypeError(f"only MaxPool2d, Flatten and ReLU work on codes as they are, got {layer!r}")
        self.layer = layer

    def explanation(self) -> str:
        return f"{type(self.layer).__name__} on codes"

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        """On codes the layer is given their steps from zero, whole numbers that float32 holds exactly."""
        if not isinstance(x, QuantizedTensor):
            return self.layer(x)
        q, p = codes_of(x, None)
        steps = self.layer(Tensor((q.astype(np.int32) - p.zero_point).astype(np.float32))).data
        return QuantizedTensor((steps + p.zero_point).astype(q.dtype), p)


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
class WeightOnlyLinear(Module):
    """`Linear` with stored codes and float arithmetic: for memory, not speed. Weights are dequantized at each call."""

    of_one_tensor = True

    def __init__(self, weight: QuantizedTensor, bias: ArrayLike | None = None) -> None:
        self.weight, self.bias = weight, None if bias is None else as_bias(bias, weight.shape[0])

    def explanation(self) -> str:
        return f"{self.weight.qparams.int_type} weights, float arithmetic"

    @property
    def state_type(self) -> str:
        """Its codes may have any zero point, those of a QuantizedLinear have none: neither loads the other's state."""
        return "float arithmetic"

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != self.weight.shape[1:]:
            raise ValueError(f"wanted input [..., in] for a weight [out, in] {self.weight.shape}, got shape {x.shape}")
        y = x.data @ self.weight.dequantize().T
        return Tensor(y if self.bias is None else y + self.bias)


class Wrapped(Module):
    """A layer within another module that watches or rounds what passes. Such a layer is not quantized where it is."""

    layer: Any


class Observed(Wrapped):
    """A layer whose inputs are watched on their way in, and the type its weights will have; None: it has none.

    result: watches what the layer, the block of a Residual, gives out.
    """

    def __init__(
        self, layer: Module, observer: Observer, int_type: IntType | None = None, result: Observer | None = None
    ) -> None:
        self.layer, self.observer, self.int_type, self.result = layer, observer, int_type, result

    def forward(self, x: Tensor) -> Tensor:
        self.observer.observe(x.data)
        y = self.layer(x)
        if self.result is not None:
            self.result.observe(y.data)
        return y


def as_module(model: Any) -> Module:
    """model, if it is a Module. TypeError for anything else, such as another library's network."""
    if not isinstance(model, Module):
        kind = type(model)
        raise TypeError(f"wanted a Module of tinytorch.core, got a {kind.__module__}.{kind.__qualname__}")
    return model


Replace = Callable[[str, Module], Module | None]


def map_modules(module: Module, replace: Replace, name: str = "") -> Module:
    """A new tree: `replace(name, m)` for each module m where that is not None, else a copy with its children mapped.

    name: the dotted name, as in `named_modules()`: "layers.0", and "" for the whole. A module that is used twice
    becomes two: each place may get a type, scales and a ReLU of its own. Other modules keep their class, attributes and
    `forward`. TypeError for modules in a tuple, dict or set, where none is found, and for a `forward` that was put onto
    a module: it would go on with the module, and the parts, that it was made for.
    """
    if "forward" in vars(as_module(module)):
        layer = f"{name or 'the model'}, a {type(module).__name__}"
        raise TypeError(f"a forward was put onto {layer}, and is lost in a copy: make a subclass")
    replacement = replace(name, module)
    if replacement is not None:
        return replacement

    def mapped(value: Any, name: str) -> Any:
        if isinstance(value, Module):
            return map_modules(value, replace, name)
        held = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, set)) else ()
        if any(isinstance(v, Module) for v in held):
            raise TypeError(f"{name} holds modules in a {type(value).__name__}, where they are not found: use a list")
        return [mapped(v, f"{name}.{i}") for i, v in enumerate(value)] if isinstance(value, list) else value

    new = copy(module)
    for key, value in vars(module).items():
        setattr(new, key, mapped(value, f"{name}.{key}" if name else key))
    return new


def bias_of(layer: Linear | Conv2d) -> NDArray[Any] | None:
    """The layer's bias as an array, or None."""
    return None if layer.bias is None else layer.bias.data


def is_quantizable(module: Module) -> TypeGuard[Linear | Conv2d]:
    """Whether the module is a product of weights that has an integer form here: a Linear or Conv2d.

    A subclass is neither: what its `forward` computes is not known.
    """
    return type(module) in (Linear, Conv2d)


TABLED = (GELU, Sigmoid, Tanh)  # functions of one number: a table of their 256 answers is all there is to them
Rules = Mapping[str, IntType | None]


def check_rules(model: Module, rules: Rules | None, default: IntType | None = INT8) -> None:
    """Refuses what cannot be quantized as it is asked.

    TypeError for what is no Module, ValueError where no layer can be quantized, or is to be, or where one is prepared
    for training, KeyError for a rule whose name is not that of a layer that can be quantized.
    """
    if not isinstance(rules, Mapping | None):
        raise TypeError(f"rules must be a mapping from names of layers to types, got {rules!r}")
    modules = dict(as_module(model).named_modules())
    wrapped = [name for name, m in modules.items() if isinstance(m, Wrapped)]
    if wrapped:
        raise ValueError(f"layer {wrapped[0]!r} is prepared for training: convert(model) makes its integer form")
    names = [name for name, m in modules.items() if is_quantizable(m)]
    if not names:
        raise ValueError("nothing to quantize: the model holds no Linear or Conv2d, subclasses aside")
    if default is None and not any((rules or {}).values()):
        raise ValueError("nothing to quantize: the type is None, and no rule gives one to a layer")
    for name in rules or ():
        if name not in names:
            raise KeyError(f"a rule names {name!r}, but the layers that can be quantized are {', '.join(names)}")


def inputs_of(batches: Iterable[Any]) -> Iterator[NDArray[Any] | Tensor]:
    """The inputs of calibration batches: arrays as they are, of pairs (x, y) the x. TypeError for anything else."""
    if isinstance(batches, (np.ndarray, Tensor)):
        shape = batches.shape
        raise TypeError(f"wanted several batches, got one array of shape {shape}: its rows are not batches; pass [x]")
    return (_input_of(batch) for batch in batches)


def _input_of(batch: Any) -> NDArray[Any] | Tensor:
    x = batch[0] if isinstance(batch, (tuple, list)) and len(batch) == 2 else batch
    if not isinstance(x, (np.ndarray, Tensor)):
        raise TypeError(f"a batch is an array or a pair (x, y) of arrays, got {type(x).__name__}")
    return x


def rule_for(name: str, module: Module, default: IntType | None, rules: Rules | None) -> IntType | None:
    """The weight type for this module: by its rule, else the default; None: leave it in float."""
    wanted = (rules or {}).get(name, default) if is_quantizable(module) else None
    return None if wanted is None else as_int_type(wanted)


def quantized_layer(
    layer: Module,
    weight: QuantizedTensor | IntType = INT8,
    input_qparams: QParams | None = None,
    axis: int | None = 0,
) -> "QuantizedLinear | QuantizedConv2d":
    """The integer form of a Linear or Conv2d; without input_qparams dynamic. TypeError for another layer.

    weight: ready codes, or the type to quantize the layer's weight to, with a scale for each slice along `axis`.
    """
    if not is_quantizable(layer):
        kind = type(layer).__name__
        raise TypeError(f"only Linear and Conv2d themselves have an integer form, got a {kind}: leave it as it is")
    if not isinstance(weight, QuantizedTensor):
        weight = QuantizedTensor.from_float(layer.weight.data, weight, symmetric=True, axis=axis)
    if isinstance(layer, Conv2d):
        return QuantizedConv2d(
            weight, bias_of(layer), input_qparams, stride=layer.stride, padding=layer.padding, groups=layer.groups
        )
    return QuantizedLinear(weight, bias_of(layer), input_qparams)


def quantize_weight_only(
    model: Module,
    int_type: IntType | None = INT4,
    group_size: int | None = 32,
    axis: int | None = 0,
    rules: Rules | None = None,
) -> Module:
    """A new model whose `Linear` weights are stored as codes: one scale a group of `group_size` weights of a row.

    group_size None: one scale for each slice along `axis` (0: a row), or for the whole matrix (axis None).
    rules: other types by layer name, None: stays in float. A Conv2d stays in float. ValueError for a rule that gives it
    a type, and for a model that holds no Linear.
    """
    check_rules(model, rules, int_type)
    if not any(type(m) is Linear for _, m in model.named_modules()):
        raise ValueError("nothing to quantize: of a Conv2d the weights alone cannot be; quantize_dynamic takes it")

    def replace(name: str, m: Module) -> Module | None:
        wanted = rule_for(name, m, int_type, rules)
        if isinstance(m, Conv2d) and (rules or {}).get(name) is not None:
            raise ValueError(f"a rule gives {name!r} a type, but a Conv2d has no weight-only form, only a dynamic one")
        if wanted is None or not isinstance(m, Linear):
            return None
        weight = QuantizedTensor.from_float(m.weight.data, wanted, axis=axis, group_size=group_size)
        return WeightOnlyLinear(weight, bias_of(m))

    return map_modules(model, replace)


# %% [markdown]
# `observe_layers`, `quantize_observed` and `fuse_chain` are given. The last drops the ReLUs that clipping replaces, and tells each layer
# its `output_qparams`.

# %%
#| export
def fuse_chain(module: Module) -> None:
    """In every Sequential, let a layer that can hand out codes do so, if the next one that computes takes them.

    Between the two, MaxPool2d and Flatten work on codes, and a ReLU is clipping's work where the range begins at 0.
    """
    for _, m in module.named_modules():
        if type(m) is Sequential:
            m.layers = list(_fused(m.layers))


def _fused(layers: list[Module]) -> Iterator[Module]:
    i = 0
    while i < len(layers):
        layer, start = layers[i], i + 1
        yield layer
        i = start
        if not hasattr(layer, "output_qparams") or getattr(layer, "input_qparams", None) is None:
            continue
        while i < len(layers) and type(layers[i]) in OnCodes.kinds:
            i += 1
        qparams = getattr(layers[i], "input_qparams", None) if i < len(layers) else None
        if qparams is None:
            i = start  # the next layer wants numbers
            continue
        layer.output_qparams = qparams
        clips = bool(qparams.zero_point == qparams.int_type.qmin)  # the lowest code stands for 0
        yield from (OnCodes(m) for m in layers[start:i] if not (clips and isinstance(m, ReLU)))


def observe_layers(
    model: Module, observer: Callable[[], Observer], int_type: IntType | None, rules: Rules | None
) -> Module:
    """A new model in which every layer that will be quantized is Observed, and so is the block of a Residual."""
    if not callable(observer):
        raise TypeError(f"wanted what makes an observer, such as MinMaxObserver, got {observer!r}: pass the class")

    def replace(name: str, m: Module) -> Module | None:
        wanted = rule_for(name, m, int_type, rules)
        if wanted is not None or type(m) in TABLED:
            return Observed(m, observer(), wanted)
        if type(m) is Residual and m.shortcut is None:
            block = map_modules(m.block, replace, f"{name}.block" if name else "block")
            return Residual(Observed(block, observer(), None, observer()))
        return None

    return map_modules(model, replace)


def is_of_zeros(qparams: QParams, observer: Observer) -> bool:
    """Whether the scale is 1 because all that was observed is 0, or too small for a scale, and not a range of 255."""
    return bool(np.all(qparams.scale == 1)) and float(np.ptp(observer.range())) < 1


def seen_by(observer: Observer, name: str) -> QParams | None:
    """The parameters of what a layer is given; None if that was always 0, which does not tell how large it may become.

    ValueError, naming the layer, if nothing was seen, or slice by slice.
    """
    try:
        qparams = observer.qparams(INT8)
    except ValueError as error:
        raise ValueError(f"layer {name!r} was not calibrated: {error}") from error
    if qparams.scale.shape != ():
        got = f"{type(observer).__name__} gives {qparams.scale.size}"
        raise ValueError(f"layer {name!r} needs one scale for all its numbers, but {got}: leave the axis out")
    return None if is_of_zeros(qparams, observer) else qparams


def ends(block: Any) -> tuple[Any, Any]:
    """The first and the last layer of a block: of a Sequential, what an input meets first and last."""
    first = last = block
    while type(first) is Sequential and first.layers:
        first = first.layers[0]
    while type(last) is Sequential and last.layers:
        last = last.layers[-1]
    return first, last


def quantize_observed(model: Module, axis: int | None) -> Module:
    """A new model in which everything Observed has become integers, with the qparams of its observer."""

    def replace(name: str, m: Module) -> Module | None:
        if type(m) is Residual and isinstance(m.block, Observed) and m.block.result is not None:
            return added(m.block, f"{name}.block" if name else "block")
        if not isinstance(m, Observed):
            return None
        input_qparams = seen_by(m.observer, name)
        if m.int_type is None:
            return m.layer if input_qparams is None else Lookup(m.layer, input_qparams)
        return quantized_layer(m.layer, m.int_type, input_qparams, axis)

    def added(m: Observed, name: str) -> Module:
        block = map_modules(m.layer, replace, name)
        takes_in, hands_out = ends(block)
        on_codes = all(getattr(layer, "input_qparams", None) is not None for layer in (takes_in, hands_out))
        assert m.result is not None
        input_qparams, result_qparams = seen_by(m.observer, name), seen_by(m.result, name)
        if not on_codes or input_qparams is None or result_qparams is None:
            return Residual(block)  # its block takes or gives numbers, not codes: added in float
        hands_out.output_qparams = result_qparams
        return QuantizedResidual(block, input_qparams)

    return map_modules(model, replace)


# %% [markdown]
# ### Exercise 11: `quantize_dynamic`, `quantize_static`

# %%
#| export
#| exercise: quantize_model
def quantize_dynamic(
    model: Module, int_type: IntType | None = INT8, axis: int | None = 0, rules: Rules | None = None
) -> Module:
    """A new model whose every `Linear` and `Conv2d` is quantized dynamically: int8 weights, inputs by their own range.

    The new model holds no float32 weight of theirs; drop the old one and they are gone. rules: other types by layer
    name, None: stays in float. int_type None: only layers that rules give a type. `explain(model)` tells what became of
    each layer.
    """
    check_rules(model, rules, int_type)

    def replace(name: str, m: Module) -> Module | None:
        wanted = rule_for(name, m, int_type, rules)
        # About 3 lines: no type wanted: None leaves the module as it is. Else quantized_layer(m, type, None, axis).
        ### BEGIN SOLUTION
        if wanted is None:
            return None
        return quantized_layer(m, wanted, None, axis)
        ### END SOLUTION

    return map_modules(model, replace)


# %%
#| export
#| exercise: quantize_model
def quantize_static(
    model: Module,
    batches: Iterable[Any],
    observer: Callable[[], Observer] = MinMaxObserver,
    int_type: IntType | None = INT8,
    axis: int | None = 0,
    rules: Rules | None = None,
) -> Module:
    """A new model whose every `Linear` and `Conv2d` is quantized statically: int8 weights, int8 codes between layers.

    batches: calibration inputs, [batch, ...] each, or pairs (x, y). observer: called without arguments, makes one.
    int_type, axis: of the weights. rules: other weight types by layer name, None: stays in float. GELU, Tanh, Sigmoid
    become tables, a Residual adds codes. A layer whose input was always 0 in the batches is quantized dynamically, for
    they do not tell its range. `explain(model)` tells what became of each layer. ValueError without batches.
    """
    check_rules(model, rules, int_type)
    batches = inputs_of(batches)
    # About 6 lines: observe_layers(model, observer, int_type, rules), run every batch through it inside evaluating(...),
    # quantize_observed(..., axis), fuse_chain(...), return.
    ### BEGIN SOLUTION
    observed = observe_layers(model, observer, int_type, rules)
    with evaluating(observed):
        for batch in batches:
            observed(batch)
    quantized = quantize_observed(observed, axis)
    fuse_chain(quantized)
    return quantized
    ### END SOLUTION


# %%
#| export
WHY_FLOAT: dict[type[Module], str] = {
    BatchNorm2d: "fold_batch_norms(model) makes it part of a convolution right before it",
    LayerNorm: "its mean and variance are taken of each input, in float",
    Embedding: "it looks rows up and multiplies nothing",
    AvgPool2d: "a mean of codes is no code; the next layer quantizes it again",
    GlobalAvgPool2d: "a mean of codes is no code; the next layer quantizes it again",
    Residual: "its sum is taken in float: a shortcut of its own, or a block that takes or gives numbers",
    Linear: "not quantized",
    Conv2d: "not quantized",
}


def why_float(m: Module) -> str | None:
    """Why a module is in float; None for one that only holds others."""
    if type(m) in WHY_FLOAT:
        return WHY_FLOAT[type(m)]
    if isinstance(m, (Linear, Conv2d)):
        return "a subclass of Linear or Conv2d, whose forward may be any function"
    if any(isinstance(v, Tensor) for v in vars(m).values()):
        return "parameters of its own"
    return None if any(isinstance(v, (Module, list)) for v in vars(m).values()) else "nothing to quantize"


def explain(model: Module) -> list[tuple[str, str, str]]:
    """What became of each layer of a quantized model, as (name, layer, how or why not). Names are the new model's.

    A module with a method `explanation()` says so itself, for itself and its parts.

    >>> for row in explain(quantize_dynamic(Sequential(Linear(8, 4), ReLU(), Linear(4, 2)), rules={"layers.2": None})):
    ...     print(*row, sep=" | ")
    layers.0 | QuantizedLinear | int8 weights, dynamic, gives float
    layers.1 | ReLU | in float: nothing to quantize
    layers.2 | Linear | in float: not quantized
    """
    rows: list[tuple[str, str, str]] = []
    told: list[str] = []
    for name, m in as_module(model).named_modules():
        if any(name.startswith(prefix) for prefix in told):
            continue  # a part of a layer that is told already
        if hasattr(m, "explanation"):
            rows.append((name, type(m).__name__, m.explanation()))
            told += [] if isinstance(m, QuantizedResidual) else [f"{name}." if name else ""]
        elif (why := why_float(m)) is not None:
            rows.append((name, type(m).__name__, f"in float: {why}"))
    return rows


# %%
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

# %% [markdown]
# **Look.** INT8 loses nothing here. So take bits away, with one scale for each matrix and with one for each row. This
# is where a lesson on quantization begins, and where `qat_dev.py` goes on.

# %%
bits = np.arange(2, 9)
curves = {axis: [accuracy(quantize_dynamic(model, IntType(int(b)), axis), digits.x_test, digits.y_test) for b in bits] for axis in (None, 0)}
plt.figure(figsize=(7, 3))
for axis, curve in curves.items():
    plt.plot(bits, curve, "o-", label="per tensor" if axis is None else "per channel")
plt.axhline(accuracy(model, digits.x_test, digits.y_test), color="0.7", label="float32")
plt.xlabel("bits of a weight")
plt.ylabel("accuracy")
plt.legend()
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
#
# ### Exercise 12: `model_nbytes`, `accuracy_interval`, `speedup`

# %%
#| export
def model_arrays(model: Module) -> dict[str, NDArray[Any]]:
    """Every array the model keeps, by dotted name: weights, gradients, codes, scales, zero points, biases."""
    arrays: dict[str, NDArray[Any]] = {}

    def collect(name: str, value: Any) -> None:
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, Tensor):
            collect(name, value.data)
            collect(f"{name}.grad", value.grad)
        elif isinstance(value, (QuantizedTensor, QParams)):
            for part, array in value.arrays().items():
                collect(f"{name}.{part}", array)
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                collect(f"{name}.{i}", item)

    for prefix, m in as_module(model).named_modules():
        for attribute, value in vars(m).items():
            collect(f"{prefix}.{attribute}".lstrip("."), value)
    return arrays


def owner(array: NDArray[Any]) -> NDArray[Any]:
    """The array that owns the memory `array` is a view of: it stays alive, whole, as long as the view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


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
            raise ValueError(f"{name} must be seconds > 0, at least one, got {seconds!r}")
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

    rounds = whole_number("time_interleaved", "rounds", rounds)
    seconds, order = np.empty((len(models), rounds)), np.random.default_rng(0)
    for i in range(rounds):
        for j in order.permutation(len(models)):
            models[j](x)
            start = perf_counter()
            models[j](x)
            seconds[j, i] = perf_counter() - start
    return seconds


# %%
check("quantized_linear")  # these two tests also count bytes, with model_arrays
check("quantize_model")
check("measure")
wide = np.zeros(1000, np.float32)
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
for (name, m), own in zip(candidates.items(), seconds, strict=True):
    lo, hi = accuracy_interval(round(accuracy(m, digits.x_test, digits.y_test) * 500), 500)
    print(f"{name:<31} {model_nbytes(m):>9} bytes   {lo:6.1%} to {hi:6.1%}   {speedup(seconds[0], own):5.2f} x float32's speed")

# %% [markdown]
# Smaller: yes. As accurate: yes. Faster: **no**. Why not? Take the time apart, over the size of the layer: quantize the
# input, multiply, go back to float32.

# %%
sizes, shares = [64, 128, 256, 512, 1024], []
for n in sizes:
    x, w = rng.normal(size=(128, n)).astype(np.float32), rng.normal(size=(n, n)).astype(np.float32)
    codes, x_qparams = dynamic_quantize(x)
    wq = QuantizedTensor.from_float(w, axis=0)
    acc = integer_matmul(codes, wq.q.T, x_qparams.zero_point)
    steps = [lambda v: v @ w.T, dynamic_quantize, lambda v: integer_matmul(codes, wq.q.T, x_qparams.zero_point), lambda v: acc.astype(np.float32) * x_qparams.scale]
    shares.append(np.median(time_interleaved(steps, x, 9), axis=1))
times = np.array(shares)
plt.figure(figsize=(7, 3.5))
plt.stackplot(sizes, (times[:, 1:] / times[:, :1]).T, labels=["quantize", "product", "dequantize"], alpha=0.7)
plt.axhline(1, color="k", ls="--", label="float32 layer")
plt.xscale("log", base=2)
plt.xlabel("layer n x n, batch of 128")
plt.ylabel("time, float32 = 1")
plt.legend()
plt.show()

# %% [markdown]
# NumPy multiplies codes no faster than floats, and quantizing comes on top. Bytes are saved at once; **time is saved only
# by a product that works on bytes**: one processor instruction that multiplies 64 pairs of them. What you wrote is the
# definition such a kernel must agree with, bit for bit.
#
# **Given: the kernel.** `tinytorch.acceleration` compiles such products (with numba; without it, NumPy's serve).
# `accelerate(model)` puts them in place of your layers' products. **Predict**: from which width on does INT8 win, with one
# input, and with 128?

# %%
from tinytorch.acceleration import accelerate, kernels, set_num_threads

set_num_threads(1)
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
plt.xlabel(f"layer n x n, dynamic INT8 on the kernel {kernels()[0]}")
plt.ylabel("times float32's speed")
plt.legend()
plt.show()

# %% [markdown]
# > **Takeaway.** Measure all three. A quantized model that nobody timed is a smaller model, not a faster one.

# %% [markdown]
# ## Reflect
#
# Answer before you measure; then measure.
#
# 1. **When is 1 % acceptable?** The two curves of section 11 fall at different bits. What would you have to know about
#    the use of this network before you accepted the loss at 4 bits, and what does the interval of 500 images let you say?
# 2. **Per tensor or per channel?** Multiply 8 hidden units of the first layer by 40, and divide the columns they feed
#    by 40. The float network computes the same. What happens to each curve, and why?
# 3. **Where does the time go?** From the last plot: if the product were four times faster, which sizes would win?

# %% [markdown]
# ### Answers
#
# ### BEGIN SOLUTION
# 1. Whoever uses it must say what an error costs. The interval of 500 images is about two points wide: too wide to see
#    one point. More images, or paired answers of both networks, can show it.
# 2. Per channel hardly moves: a row's scale grows with its row. Per tensor the 8 large rows stretch the one scale by 40,
#    and the other rows are left with a few codes. The function is the same, its quantization is not.
# 3. Take a quarter of the middle band: those sizes at which the stack then stays below 1. At small sizes quantizing the
#    input alone costs more than the whole float32 layer.
# ### END SOLUTION
