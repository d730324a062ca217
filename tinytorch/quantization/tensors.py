"""Given: a tensor of codes, and dynamic quantization. A student's own functions do the arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, NoReturn

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple
from numpy.typing import ArrayLike, DTypeLike, NDArray

from tinytorch.core import Tensor
from tinytorch.core.checks import check_fits, checked_axis, real_array, said, true_or_false, whole_number
from tinytorch.quantization.packing import pack_bits, unpack_bits
from tinytorch.quantization.qparams import (
    INT8,
    UINT8,
    IntType,
    QParams,
    as_int_type,
    as_qparams,
    as_range,
    as_real,
    check_codes,
)
from tinytorch.quantization.quantize import (
    choose_qparams,
    dequantize,
    quantize,
    split_groups,
    value_range,
)
from tinytorch.quantization.reprs import html_of_tensor, repr_of_tensor

__all__ = [
    "QuantizedTensor",
    "dynamic_quantize",
]


@dataclass(frozen=True, eq=False)
class StoredQParams:
    """Quantization parameters as a tensor stores them: a scale in 4 or 2 bytes, a zero point of a slice in one.

    One zero point for all takes 4 bytes. `unpacked()` is what arithmetic takes: float32 and int32.
    """

    scale: NDArray[Any]
    zero_point: NDArray[Any]
    int_type: IntType

    @classmethod
    def of(cls, qparams: QParams, scale_dtype: DTypeLike = np.float32) -> StoredQParams:
        """ValueError for scales that `scale_dtype` does not hold exactly."""
        with np.errstate(over="ignore"):
            scale = qparams.scale.astype(as_scale_dtype(scale_dtype), copy=False)
        if not np.array_equal(scale, qparams.scale):
            raise ValueError(f"scales of {scale.dtype} must hold the given ones exactly: from_float rounds them up")
        zero_point = qparams.zero_point
        return cls(
            scale, zero_point.astype(qparams.int_type.storage) if zero_point.ndim else zero_point, qparams.int_type
        )

    def unpacked(self) -> QParams:
        return QParams(self.scale, self.zero_point, self.int_type)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a state dict saves."""
        return {"scale": self.scale, "zero_point": self.zero_point}


def as_scale_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """dtype as np.dtype. TypeError unless it is float32 or float16."""
    if dtype is None or np.dtype(dtype) not in (np.float32, np.float16):
        raise TypeError(f"scales are stored as np.float32 or np.float16, got {said(dtype)}")
    return np.dtype(dtype)


def rounded_up(qparams: QParams, lo: NDArray[Any], hi: NDArray[Any], scale_dtype: DTypeLike) -> QParams:
    """qparams with scales that `scale_dtype` holds: the next larger ones, so that nothing from lo to hi is clipped.

    OverflowError for a scale beyond 65504, the largest float16. ValueError where rounding up would make the largest
    scale, of which the others are parts, coarser by more than a quarter, as below 2**-22.
    """
    if as_scale_dtype(scale_dtype) == np.float32:
        return qparams
    with np.errstate(over="ignore", under="ignore"):
        scale = qparams.scale.astype(np.float16)
        scale = np.where(scale < qparams.scale, np.nextafter(scale, np.float16(np.inf)), scale).astype(np.float32)
    if np.any(np.isinf(scale)):
        raise OverflowError(f"float16 scales reach 65504, got {qparams.scale.max():g}: store them as float32")
    own = (lo != 0) | (hi != 0)  # zeros have a scale of 1, which says nothing
    if np.any(own) and scale[own].max() > 1.25 * qparams.scale[own].max():
        got = qparams.scale[own].max()
        raise ValueError(f"float16 scales are multiples of 6e-08, got {got:.3g}: store them as float32")
    if not qparams.zero_point.ndim and not qparams.zero_point:  # symmetric
        return QParams(scale, 0, qparams.int_type)
    qmin, qmax = qparams.int_type.qmin, qparams.int_type.qmax
    zero_point = np.clip(np.rint(qmin - np.minimum(lo, 0) / scale.astype(np.float64)), qmin, qmax)
    return QParams(scale, zero_point, qparams.int_type)


class QuantizedTensor:
    """Codes and their quantization parameters: `x ~ dequantize()`. Stored as int8 or uint8, packed below 8 bits.

    q: codes, of dtype `qparams.int_type.storage`. shape: of the real tensor, where it differs from that of q: with
    groups q is [..., groups, group_size] and shape (..., columns). scale_dtype: of the scales as they are stored.

    >>> cache = QuantizedTensor.from_float([[1.0, 2.0]], INT8, axis=0)
    >>> cache = QuantizedTensor.concatenate([cache, QuantizedTensor.from_float([[-50.0, 100.0]], INT8, axis=0)])
    >>> cache.shape, cache[1:].dequantize().round().tolist()
    ((2, 2), [[-50.0, 100.0]])
    """

    def __init__(
        self,
        q: NDArray[Any],
        qparams: QParams,
        shape: tuple[int, ...] | None = None,
        scale_dtype: DTypeLike = np.float32,
    ) -> None:
        q, int_type = real_array("codes", q), as_qparams(qparams).int_type
        check_codes(q, int_type)
        check_fits("a scale", qparams.scale.shape, q.shape)
        self._qparams: QParams | StoredQParams = qparams
        if qparams.zero_point.ndim or as_scale_dtype(scale_dtype) != np.float32:
            self._qparams = StoredQParams.of(qparams, scale_dtype)
        sizes = q.shape if shape is None else np.atleast_1d(shape)
        self.shape = tuple(whole_number("a shape", "each size", n, 0) for n in sizes)
        if self.shape != q.shape and not self._has_groups(q.shape):
            raise ValueError(f"codes of shape {q.shape} are no tensor of shape {self.shape}, nor its rows in groups")
        self._q_shape = q.shape
        self.stored = np.array(q, order="C")
        if int_type.bits < 8:
            self.stored = pack_bits(q, int_type.bits)

    __repr__ = repr_of_tensor
    _repr_html_ = html_of_tensor

    def _has_groups(self, q_shape: tuple[int, ...]) -> bool:
        """Whether q [..., groups, group_size] are this shape (..., columns), each row cut as `split_groups` does."""
        if len(q_shape) != len(self.shape) + 1 or q_shape[:-2] != self.shape[:-1]:
            return False
        groups, group_size = q_shape[-2:]
        return (groups - 1) * group_size < self.shape[-1] <= groups * group_size

    @classmethod
    def from_float(
        cls,
        x: ArrayLike,
        int_type: IntType = INT8,
        symmetric: bool | None = None,
        axis: int | tuple[int, ...] | None = None,
        group_size: int | None = None,
        scale_dtype: DTypeLike = np.float32,
    ) -> QuantizedTensor:
        """Quantize x by its own range: that of all of x, of each slice along `axis`, or of each group of a row.

        symmetric None: for signed types. Groups are runs of group_size values along the last axis, or rows where these
        are shorter. scale_dtype: float16 scales are rounded up, so that nothing is clipped.

        >>> QuantizedTensor.from_float(np.eye(64), IntType(4), group_size=32).nbytes  # 2048 of codes, 512 of scales, 4
        2564
        """
        x, symmetric = as_real(x), as_int_type(int_type).signed if symmetric is None else symmetric
        true_or_false("symmetric", symmetric)
        shape = x.shape
        if group_size is not None:
            if axis not in (None, 0):
                raise ValueError(f"groups run along the last axis: leave axis out, got {axis}")
            group_size = whole_number("from_float", "group_size", group_size)
            x = in_groups(x, min(group_size, max(1, *shape[-1:])))
            axis = tuple(range(x.ndim - 1))
        lo, hi = value_range(x, axis)
        qparams = rounded_up(choose_qparams(lo, hi, int_type, symmetric), lo, hi, scale_dtype)
        return cls(quantize(x, qparams), qparams, shape, scale_dtype)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same codes and parameters, stored alike."""
        if not isinstance(other, QuantizedTensor) or self.state_type != other.state_type:
            return False
        return self.qparams == other.qparams and np.array_equal(self.stored, other.stored)

    def __hash__(self) -> int:
        return hash((self.state_type, self.qparams))

    @property
    def qparams(self) -> QParams:
        """The quantization parameters, as arithmetic takes them."""
        return self._qparams.unpacked() if isinstance(self._qparams, StoredQParams) else self._qparams

    @property
    def scale_dtype(self) -> np.dtype[Any]:
        """float32 or float16: how the scales are stored."""
        return self._qparams.scale.dtype

    @property
    def group_size(self) -> int | None:
        """How many values of a row share a scale; None where the tensor has no groups."""
        return None if self._q_shape == self.shape else self._q_shape[-1]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a QuantizedTensor of shape () has no length")
        return self.shape[0]

    def __getattr__(self, name: str) -> NoReturn:
        """What only a Tensor has, a forward of one's own looks for in a layer's weight."""
        kind, fix = f"a QuantizedTensor {list(vars(self).get('shape', ()))}", ""
        if hasattr(Tensor, name) or name in ("data", "grad"):
            fix = ': dequantize() it, or leave a layer whose weight a forward uses in float, by the rule "float"'
        raise AttributeError(f"{kind} holds codes and has no {name!r}{fix}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        """NumPy would take it for a sequence of its slices."""
        raise TypeError("x must be real numbers, got a QuantizedTensor: its dequantize() are some, its q are its codes")

    @property
    def q(self) -> NDArray[Any]:
        """The codes, unpacked: int8 or uint8, as quantized (with groups [..., groups, group_size])."""
        int_type = self._qparams.int_type
        if int_type.bits == 8:
            return self.stored
        return unpack_bits(self.stored, int_type.bits, self._q_shape, int_type.signed)

    def dequantize(self) -> NDArray[np.float32]:
        """float32 [shape]."""
        x = dequantize(self.q, self.qparams)
        if x.shape == self.shape:
            return x
        return x.reshape(*self.shape[:-1], x.shape[-2] * x.shape[-1])[..., : self.shape[-1]]

    @property
    def nbytes(self) -> int:
        """Bytes held: codes and parameters."""
        return sum(array.nbytes for array in self.arrays().values())

    def __getitem__(self, at: Any) -> QuantizedTensor:
        """The codes there with their parameters, not quantized again: by integers and slices, or by an array of rows.

        With groups a slice of the last axis must begin and end where groups do. IndexError for an index beyond the
        shape, ValueError for a slice through a group.
        """
        at = as_index(at, self.shape)
        columns = self.shape[-1:]
        if self.group_size is not None:
            last, columns = whole_groups(at, self.shape, self.group_size)
            at = (*at[: self.ndim - 1], last, slice(None))
        p, q = self._qparams, self.q[at]
        scale, zero_point = (
            of_slices(array, self._q_shape, at) if array.ndim else array for array in (p.scale, p.zero_point)
        )
        shape = q.shape if self.group_size is None else (*q.shape[:-2], *columns)
        return QuantizedTensor(q, QParams(scale, zero_point, p.int_type), shape, self.scale_dtype)

    @classmethod
    def concatenate(cls, tensors: Iterable[QuantizedTensor], axis: int = 0) -> QuantizedTensor:
        """The tensors one behind the other along `axis`; no code changes, and no number is quantized again.

        Where they have other parameters than each other, every slice along the axis gets its own. ValueError for
        tensors of different types, groups or shapes: `astype` changes the first.
        """
        tensors = list(tensors)
        first, axis = checked_parts(tensors, axis)
        shapes, p = [t.shape for t in tensors], [t._qparams for t in tensors]
        shape = list(first.shape)
        shape[axis] = sum(each[axis] for each in shapes)
        if first.group_size is not None and axis == first.ndim - 1:
            broken = [each[axis] for each in shapes[:-1] if each[axis] % first.group_size]
            if broken:
                raise ValueError(
                    f"{broken[0]} values are no whole groups of {first.group_size}: quantize them together"
                )
        q_shapes = [t._q_shape for t in tensors]
        scale = joined([each.scale for each in p], q_shapes, axis)
        zero_point = joined([each.zero_point for each in p], q_shapes, axis)
        if zero_point.ndim and zero_point.shape != scale.shape:  # one of the two was the same for all
            both = np.broadcast_shapes(scale.shape, zero_point.shape)
            scale, zero_point = np.broadcast_to(scale, both), np.broadcast_to(zero_point, both)
        q = np.concatenate([t.q for t in tensors], axis)
        dtype = np.result_type(*(t.scale_dtype for t in tensors))
        return cls(q, QParams(scale, zero_point, first.qparams.int_type), tuple(shape), dtype)

    def astype(self, int_type: IntType) -> QuantizedTensor:
        """The tensor in another integer type: the same values where it has a code for each of the old one's codes.

        Else they are quantized again, each slice or group by its own range, symmetric where all zero points are 0.
        """
        old, new, qparams = self._qparams.int_type, as_int_type(int_type), self.qparams
        shift = 0 if new.qmin <= old.qmin and old.qmax <= new.qmax else new.qmin - old.qmin
        if old.qmax + shift <= new.qmax:
            q = (self.q.astype(np.int16) + shift).astype(new.storage)
            moved = QParams(qparams.scale, qparams.zero_point + shift, new)
            return QuantizedTensor(q, moved, self.shape, self.scale_dtype)
        symmetric = new.signed and not qparams.zero_point.any()
        kept = tuple(axis for axis, n in enumerate(qparams.scale.shape) if n > 1) or None
        return QuantizedTensor.from_float(
            self.dequantize(), new, symmetric, None if self.group_size else kept, self.group_size, self.scale_dtype
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a state dict saves: the stored codes, the scale and the zero point."""
        return {"q": self.stored, **self._qparams.arrays()}

    @property
    def state_type(self) -> str:
        """What a state dict tells beyond the arrays: the integer type, and the shape that packed codes do not show."""
        codes = "" if self._q_shape == self.shape else f" in codes {list(self._q_shape)}"
        scales = "" if self.scale_dtype == np.float32 else f", {self.scale_dtype} scales"
        return f"{self._qparams.int_type} {list(self.shape)}{codes}{scales}"

    @property
    def other_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of a matrix with one scale: a scale for each row, and the other way round. A bias may ask for its own."""
        shape = self._qparams.scale.shape
        if self._q_shape != self.shape or self.ndim != 2 or shape not in ((), (self.shape[0], 1)):
            return {}
        return dict.fromkeys(("scale", "zero_point"), () if shape else (self.shape[0], 1))

    def with_arrays(self, arrays: dict[str, NDArray[Any]]) -> QuantizedTensor:
        """The same kind of tensor, holding other arrays."""
        stored, int_type = arrays["q"], self._qparams.int_type
        if stored.shape != self.stored.shape or stored.dtype != self.stored.dtype:
            wanted, got = (f"{a.dtype} {a.shape}" for a in (self.stored, stored))
            raise ValueError(f"codes must be {wanted}, got {got}: is the saved model quantized in another way?")
        q = stored if int_type.bits == 8 else unpack_bits(stored, int_type.bits, self._q_shape, int_type.signed)
        qparams = QParams(arrays["scale"], arrays["zero_point"], int_type)
        return QuantizedTensor(q, qparams, self.shape, self.scale_dtype)  # which checks the codes


def in_groups(x: NDArray[Any], group_size: int) -> NDArray[Any]:
    """[..., columns] -> [..., groups, group_size], by `split_groups`; the last group filled up with zeros."""
    if x.ndim == 0:
        raise ValueError("groups run along the last axis, got one number")
    rows = split_groups(x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1]), group_size)
    return rows.reshape(*x.shape[:-1], *rows.shape[1:])


def as_index(at: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An index with an integer or slice for every axis, or one array of integers or of truth values for the first.

    TypeError for anything else, IndexError for more axes than the shape has.
    """
    if isinstance(at, (list, np.ndarray)) and np.ndim(at):
        rows = np.asarray(at)
        if rows.dtype.kind not in "iub":
            raise TypeError(f"rows are picked by integers or truth values, got {rows.dtype}")
        return (rows, *(slice(None),) * (len(shape) - 1))
    parts = list(at) if isinstance(at, tuple) else [at]
    dots = [i for i, part in enumerate(parts) if part is Ellipsis] or [len(parts)]
    missing = len(shape) - sum(part is not Ellipsis for part in parts)
    if missing < 0 or len(dots) > 1:
        raise IndexError(f"{len(parts)} indices are too many for a QuantizedTensor of shape {shape}")
    parts[dots[0] : dots[0] + 1] = [slice(None)] * missing
    if any(isinstance(part, (bool, np.bool)) for part in parts):
        raise TypeError("a QuantizedTensor is indexed by integers, slices, or an array of rows, got a truth value")
    try:
        return tuple(part if isinstance(part, slice) else index(part) for part in parts)
    except TypeError:
        got = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(f"a QuantizedTensor is indexed by integers, slices, or an array of rows, got {got}") from None


def whole_groups(at: tuple[Any, ...], shape: tuple[int, ...], group_size: int) -> tuple[slice, tuple[int]]:
    """The groups, and how many columns they hold, that an index picks of the last axis. ValueError for parts of one."""
    columns, last = shape[-1], at[-1]
    if isinstance(last, np.ndarray):  # of a tensor of one axis, whose rows are numbers
        raise ValueError(f"single values have no scale of their own in groups of {group_size}: dequantize first")
    start, stop, step = last.indices(columns) if isinstance(last, slice) else (last, last + 1, 1)
    stop = max(start, stop)
    is_whole = isinstance(last, slice) and start % group_size == 0 and (stop == columns or stop % group_size == 0)
    if step != 1 or not is_whole:
        raise ValueError(
            f"a slice of the last axis must begin and end with a group of {group_size}, got {last}: dequantize first"
        )
    return slice(start // group_size, -(-stop // group_size)), (stop - start,)


def of_slices(parameter: NDArray[Any], q_shape: tuple[int, ...], at: tuple[Any, ...]) -> NDArray[Any]:
    """The scales or zero points that belong to q[at]: of each slice still one, and one where there was one for all."""
    each = parameter.reshape((1,) * (len(q_shape) - parameter.ndim) + parameter.shape)
    parts: list[Any] = []
    for part, n, size in zip(at, each.shape, q_shape, strict=True):
        if n == size and n != 1:
            parts.append(part)
        elif isinstance(part, slice):
            parts.append(slice(0, 1))
        else:  # an axis that an integer takes away, or that an array of rows replaces by its own axes
            parts.append(np.zeros((1,) * np.ndim(np.arange(size)[part]), np.intp))
    return np.asarray(each[tuple(parts)])


def checked_parts(tensors: Sequence[QuantizedTensor], axis: int) -> tuple[QuantizedTensor, int]:
    """The first of the tensors, and the axis counted from the front. Refuses what cannot be put side by side."""
    if not tensors or not all(isinstance(t, QuantizedTensor) for t in tensors):
        kinds = ", ".join(type(t).__name__ for t in tensors) or "none"
        raise TypeError(f"concatenate takes QuantizedTensors, at least one, got {kinds}")
    first = tensors[0]
    axis = normalize_axis_index(axis, first.ndim)
    for t in tensors:
        if t.qparams.int_type != first.qparams.int_type or t.group_size != first.group_size:
            got = " and ".join(f"{u.qparams.int_type} in groups of {u.group_size}" for u in (first, t))
            raise ValueError(f"wanted tensors of one type and one size of groups, got {got}: astype makes them alike")
        if t.shape[:axis] + t.shape[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :]:
            raise ValueError(f"wanted equal shapes but for axis {axis}, got {first.shape} and {t.shape}")
    return first, axis


def joined(parameters: list[NDArray[Any]], q_shapes: list[tuple[int, ...]], axis: int) -> NDArray[Any]:
    """Scales or zero points of tensors that stand side by side along `axis`: as they are where all are the same."""
    first, ndim = parameters[0], len(q_shapes[0])
    if first.size == 1 and all(np.array_equal(each, first) for each in parameters):
        return first
    full = [each.reshape((1,) * (ndim - each.ndim) + each.shape) for each in parameters]
    if full[0].shape[axis] == 1 and all(np.array_equal(each, full[0]) for each in full):
        return full[0]
    common = np.broadcast_shapes(*(each.shape[:axis] + (1,) + each.shape[axis + 1 :] for each in full))
    wanted = [common[:axis] + (shape[axis],) + common[axis + 1 :] for shape in q_shapes]
    return np.concatenate([np.broadcast_to(*pair) for pair in zip(full, wanted, strict=True)], axis)


def dynamic_quantize(x: ArrayLike, axis: int | tuple[int, ...] | None = None) -> tuple[NDArray[np.uint8], QParams]:
    """uint8 codes of x and the quantization parameters of its own range, all in float32.

    axis: None: one range for all of x, which is ONNX DynamicQuantizeLinear; else one for each slice along these axes,
    whose codes do not depend on the other slices: (0, 1) quantizes the rows of an x [batch, tokens, channels] each.
    `scale = (max(0, hi) - min(0, lo)) / 255`, `zero_point = rint(clip(-lo / scale, 0, 255))`.

    >>> codes, p = dynamic_quantize([-1, 0, 0.5, 2])
    >>> codes.tolist(), int(p.zero_point)
    ([0, 85, 127, 255], 85)
    """
    x, axis = as_real(x), checked_axis(axis)
    kept = () if axis is None else normalize_axis_tuple(axis, x.ndim)
    reduced, keepdims = tuple(i for i in range(x.ndim) if i not in kept), axis is not None
    qparams = dynamic_qparams(*(np.asarray(f(x, reduced, keepdims=keepdims, initial=0)) for f in (np.min, np.max)))
    return quantize(x, qparams), qparams


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # of the ranges that choose_qparams takes
def dynamic_qparams(lo: NDArray[np.float32], hi: NDArray[np.float32]) -> QParams:
    """The quantization parameters of dynamic uint8 codes for the ranges from lo to hi, each of which holds 0."""
    as_range(lo, hi)
    length = hi - lo
    scale = length / np.float32(255)
    zero_point = np.rint(np.clip(-lo / scale, 0, 255))
    beyond = np.isinf(length) | (length < 255 * np.finfo(np.float32).tiny)  # float32 cannot hold this range
    if np.any(beyond):
        wide = choose_qparams(lo, hi, UINT8)
        scale, zero_point = np.where(beyond, wide.scale, scale), np.where(beyond, wide.zero_point, zero_point)
    return QParams(scale, zero_point, UINT8)
