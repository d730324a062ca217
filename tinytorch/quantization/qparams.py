"""Given: integer types, quantization parameters, and the checks that refuse what is neither, in one sentence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.core.checks import float32_array, real_array, true_or_false, whole_number

__all__ = [
    "INT4",
    "INT8",
    "UINT4",
    "UINT8",
    "IntType",
    "QParams",
    "as_int_type",
    "as_integers",
    "as_qparams",
    "as_range",
    "as_real",
    "as_scale",
    "as_signals",
    "as_sums",
    "as_zero_points",
    "check_codes",
    "check_fits",
    "check_same_shape",
]


def check_same_shape(**arrays: ArrayLike) -> None:
    """ValueError unless all arrays have one shape: unequal ones would broadcast."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"wanted equal shapes, got {', '.join(f'{name} {shape}' for name, shape in shapes.items())}")


def check_fits(name: str, shape: tuple[int, ...], into: tuple[int, ...]) -> None:
    """ValueError unless an array of `shape` broadcasts against one of shape `into` without making it larger."""
    if len(shape) > len(into) or any(n not in (1, m) for n, m in zip(shape[::-1], into[::-1], strict=False)):
        raise ValueError(f"{name} of shape {shape} does not fit an array of shape {into}: it would enlarge the result")


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
