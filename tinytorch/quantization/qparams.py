"""Given: integer types, quantization parameters, and the checks that refuse what is neither, in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, NDArray

from tinytorch.core.checks import check_fits, checked_axis, float32_array, real_array, said, true_or_false, whole_number
from tinytorch.quantization.reprs import repr_of_int_type, repr_of_qparams

__all__ = [
    "INT4",
    "INT8",
    "UINT4",
    "UINT8",
    "IntType",
    "QParams",
]


def check_same_shape(**arrays: ArrayLike) -> None:
    """ValueError unless all arrays have one shape: unequal ones would broadcast."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"wanted equal shapes, got {', '.join(f'{name} {shape}' for name, shape in shapes.items())}")


@dataclass(frozen=True, repr=False)
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
        is_whole = isinstance(self.bits, (int, np.integer)) and not isinstance(self.bits, bool)
        if not is_whole or not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be an integer from 2 to 8, got {said(self.bits)}: codes are stored in bytes")
        object.__setattr__(self, "bits", int(self.bits))
        for name in ("signed", "narrow"):
            object.__setattr__(self, name, true_or_false(name, getattr(self, name)))
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

    __repr__ = repr_of_int_type

    def __str__(self) -> str:
        return f"{'int' if self.signed else 'uint'}{self.bits}{' narrow' if self.narrow else ''}"


INT8, UINT8 = IntType(8), IntType(8, signed=False)


INT4, UINT4 = IntType(4), IntType(4, signed=False)


def as_int_type(value: Any) -> IntType:
    """value, if it is an IntType. TypeError for anything else, such as a number of bits."""
    if not isinstance(value, IntType):
        raise TypeError(f"wanted an integer type such as INT8 or IntType(4), got {said(value)}")
    return value


def check_codes(q: NDArray[Any], int_type: IntType) -> None:
    """TypeError unless q is stored as codes of this type are, ValueError unless every code is one of its codes."""
    if q.dtype != int_type.storage:
        raise TypeError(f"codes of {int_type} are stored as {int_type.storage}, got {q.dtype}: quantize first")
    if q.size and (q.min() < int_type.qmin or q.max() > int_type.qmax):
        wanted = f"[{int_type.qmin}, {int_type.qmax}]"
        raise ValueError(f"codes of {int_type} lie in {wanted}, got {q.min()} to {q.max()}: quantize clips")


def packed_size(packed: NDArray[Any], bits: int, shape: tuple[int, ...]) -> int:
    """How many codes of `bits` bits this shape has. TypeError or ValueError unless `packed` are exactly their bytes."""
    if not isinstance(packed, np.ndarray) or packed.dtype != np.uint8:
        raise TypeError(f"packed codes are an array of uint8, got {getattr(packed, 'dtype', type(packed).__name__)}")
    size = int(np.prod([whole_number("a shape", "each size", n, 0) for n in np.atleast_1d(shape)], dtype=np.int64))
    if packed.size != (size * bits + 7) // 8:
        raise ValueError(f"shape {shape} takes {(size * bits + 7) // 8} bytes, got {packed.size}")
    return size


@dataclass(frozen=True, eq=False, init=False, repr=False)
class QParams:
    """Quantization parameters: `x ~ scale * (q - zero_point)`.

    scale: float32, > 0, units of x per step. zero_point: int32, the code of 0.0, within the codes of `int_type`.
    Their shapes broadcast against x: () per tensor, (rows, 1) per channel, (rows, groups, 1) per group; one zero point
    () may serve all scales. Raises ValueError for anything else. Equal are those that give every number the same code.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    int_type: IntType

    def __init__(self, scale: ArrayLike, zero_point: ArrayLike, int_type: IntType = INT8) -> None:
        given, zero_point = real_array("scale", scale), real_array("zero_point", zero_point)
        scale, int_type = float32_array("scale", given).copy(), as_int_type(int_type)
        usable = np.isfinite(scale) & (scale > 0)
        if not np.all(usable):
            bad, held = given[~usable].flat[0], scale[~usable].flat[0]
            got = f"{bad:g}" if bad == held or np.isnan(bad) else f"{bad:g}, which is {held:g} in float32"
            raise ValueError(f"scale must be > 0 and finite, got {got}: choose_qparams makes one for any range")
        if np.any(np.isnan(zero_point)):
            raise ValueError("zero_point must not be NaN: a step of 0 was divided by; as_scale(step) comes first")
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

    __repr__ = repr_of_qparams

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QParams) or (self.int_type, self.scale.shape) != (other.int_type, other.scale.shape):
            return False
        return bool(np.all(self.scale == other.scale) and np.all(self.zero_point == other.zero_point))

    def __hash__(self) -> int:
        return hash((self.int_type, self.scale.shape, self.scale.tobytes()))

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

    def with_arrays(self, arrays: dict[str, NDArray[Any]]) -> QParams:
        """Quantization parameters for the same integer type, of other arrays."""
        return QParams(arrays["scale"], arrays["zero_point"], self.int_type)


def as_qparams(value: Any) -> QParams:
    """value, if it is QParams. TypeError for anything else, such as a scale alone."""
    if not hasattr(value, "int_type"):
        raise TypeError(f"wanted QParams(scale, zero_point, int_type), got {said(value)}")
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


def as_codes(q: ArrayLike, int_type: IntType) -> NDArray[Any]:
    """q as an array of codes, from which a zero point can be taken in int32.

    TypeError or ValueError for codes in bytes that this type does not have. Wider integers, such as int32 sums, count
    steps of the scale and may be any.
    """
    q = as_integers("codes", q, room=256)
    if q.dtype.itemsize == 1:
        check_codes(q, int_type)
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


def each_slice(
    measure: Callable[[Any, Any], float], x: ArrayLike, x_hat: ArrayLike, axis: int | tuple[int, ...]
) -> NDArray[np.float64]:
    """measure(x, x_hat) of each slice along the axes that are kept: float64, of their sizes. AxisError for no axis."""
    x, x_hat = real_array("x", x), real_array("x_hat", x_hat)
    check_same_shape(x=x, x_hat=x_hat)
    checked_axis(axis)
    kept = normalize_axis_tuple(axis, x.ndim)
    x, x_hat = (np.moveaxis(a, kept, range(len(kept))) for a in (x, x_hat))
    sizes = x.shape[: len(kept)]
    return np.array([measure(x[i], x_hat[i]) for i in np.ndindex(sizes)], np.float64).reshape(sizes)


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


def as_sums(acc: ArrayLike) -> NDArray[np.int64]:
    """int32 sums as int64. TypeError for what is no integer, OverflowError for what int32 cannot hold."""
    return as_integers("acc", acc).astype(np.int64)
