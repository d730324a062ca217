"""A quantized layer in one call: quantize, product, scale, bias, ReLU or requantize, without a pass in between."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, NDArray

from ..runtime.features import kernel
from ..runtime.once import load
from . import fallback
from .arrays import FLOAT32, filled, readable, room, rows_of
from .dispatch import compiled_kernel
from .elementwise import choose_dynamic, quantize_plain
from .int8 import check
from .pack import PackedInt8
from .qparams import DYNAMIC, Ruler, bias_of, check_scales, refuse, ruler_of

NO_FLOATS, NO_INTS = np.zeros(0, np.float32), np.zeros(0, np.int32)
TO_FLOAT, TO_FLOAT_RELU, TO_CODES = 1, 2, 3  # passes, counted from gemm.FINISH


@dataclass(frozen=True, eq=False)
class Int8Linear:
    """A quantized layer, checked once and called many times: [..., K] -> float32 [..., N], or codes.

    weights: [K, N], by `pack_int8`. scale: of the weights, float32 [N] or one for all. bias: float32 [N], added to the
    result, or int32 [N], added to the sums. input_qparams: the ruler that x is quantized by, or whose codes it holds;
    None: x's own range, at each call (ONNX DynamicQuantizeLinear). output_qparams: the ruler of the codes to return;
    it needs input_qparams, and an int32 bias or none. relu: results below 0 become 0. per_row: without input_qparams,
    the range of each row of x, not of all.

    Reals out are `sums * (s_x * scale) + bias`, codes `clip(rint(sums * (s_x * scale / s_y)) + zero_point)`, each step
    rounded to float32: the bits of `QuantizedLinear`. ValueError for what does not fit together; OverflowError if the
    largest possible sum, bias included, does not fit int32.
    """

    weights: PackedInt8
    scale: ArrayLike  # kept as float32 [N] or [1]
    bias: InitVar[ArrayLike | None] = None
    input_qparams: Ruler | None = None
    output_qparams: Ruler | None = None
    relu: bool = False
    per_row: bool = False
    floats: NDArray[np.float32] = field(init=False)  # the bias, as one of the two; the other is empty
    integers: NDArray[np.int32] = field(init=False)
    largest_bias: int = field(init=False)  # of the sums
    ruler_in: tuple[int, int, int, np.float32] = field(init=False)
    ruler_out: NDArray[np.float32] = field(init=False)  # zero point, lowest, highest code, scale
    target: np.dtype[Any] = field(init=False)  # of the result
    ruler: NDArray[np.float32] = field(init=False)  # ruler_in
    after: tuple[Any, ...] = field(init=False)  # what the drivers take of a layer
    columns: NDArray[np.float32] = field(init=False)  # what `sweeps.sweeps_by_rows` take, if per_row
    plans: dict[tuple[str, str, bool], Any] = field(init=False)  # of small calls: see find_plan

    def __post_init__(self, bias: ArrayLike | None) -> None:
        (_, n), bias = self.weights.shape, bias_of(bias, self.weights.shape[1])
        scale, whole = np.array(self.scale, np.float32).reshape(-1), bias.dtype == np.int32
        if scale.size not in (1, n):
            raise ValueError(f"scale must have 1 or {n} values, one a column of the weights, got {scale.size}")
        check_scales(scale)
        if self.output_qparams is not None and (self.input_qparams is None or (bias.size and not whole)):
            raise ValueError("codes out need input_qparams and an int32 bias: or quantize the float32 result")
        if self.per_row and self.input_qparams is not None:
            raise ValueError("input_qparams are one scale for all rows: leave them out, or per_row")
        ruler = DYNAMIC if self.input_qparams is None else ruler_of(self.input_qparams, "input_qparams")
        out = (
            (0, 0, 0, np.float32(1)) if self.output_qparams is None else ruler_of(self.output_qparams, "output_qparams")
        )
        floats, integers = (NO_FLOATS, bias) if whole else (bias, NO_INTS)
        lowest = max(out[0], out[1]) if self.relu else out[1]  # the code of 0
        for name, value in {
            "scale": scale, "floats": floats, "integers": integers,
            "largest_bias": int(np.abs(integers.astype(np.int64)).max(initial=0)), "ruler_in": ruler,
            "ruler_out": np.array([out[0], lowest, *out[2:]], np.float32), "ruler": np.array(ruler, np.float32),
            "target": np.dtype(np.float32 if self.output_qparams is None else self.output_qparams.int_type.storage),
        }.items():  # fmt: skip
            object.__setattr__(self, name, value)
        b, finish = self.weights, TO_CODES if self.output_qparams is not None else TO_FLOAT + self.relu
        after = b.data, b.panel, b.column_sums, self.scale, self.floats, self.integers, self.ruler_out, finish
        object.__setattr__(self, "after", after)
        object.__setattr__(self, "columns", self._columns() if self.per_row else NO_FLOATS)
        object.__setattr__(self, "plans", {})
        self.check_reach(ruler[0])

    def __repr__(self) -> str:
        (k, n), dynamic = self.weights.shape, "dynamic per row" if self.per_row else "dynamic"
        said = [f"{k} -> {n}", dynamic if self.input_qparams is None else f"input {self.input_qparams!r}"]
        said += [] if self.output_qparams is None else [f"output {self.output_qparams!r}"]
        return f"{type(self).__name__}({', '.join(said + ['ReLU'] * self.relu)})"

    def _columns(self) -> NDArray[np.float32]:
        """For 16 columns each their scales, biases, and column sums, which are int32; filled up with zeros."""
        n = self.weights.shape[1]
        columns = np.zeros((-(-n // 16), 3, 16), np.float32)
        biases = self.floats if self.floats.size else np.float32(0)
        for i, values in enumerate((self.scale, biases, self.weights.column_sums.astype(np.int32).view(np.float32))):
            padded = np.zeros(len(columns) * 16, np.float32)
            padded[:n] = values
            columns[:, i] = padded.reshape(-1, 16)
        return columns.reshape(-1)

    def check_reach(self, zero_point: int) -> None:
        """Refuse codes of a zero point with which a sum might not fit int32."""
        reach = (255 + abs(zero_point)) * self.weights.reach + self.largest_bias
        if reach >= 2**31:
            k = self.weights.shape[0]
            raise OverflowError(f"the sums of K = {k} products and their bias may reach {reach}, beyond int32: split K")

    def find_plan(self, name: str, kind: str, few: bool) -> Any:
        """The plan (see `plans`) of small inputs of type `kind` on rung `name`; None where there is none."""
        if name == "numpy" or kind not in ("f" if self.input_qparams is None else "fbB"):
            return None
        self.plans[name, kind, few] = load("loops.plans").of_layer(self, compiled_kernel(name, few), kind)
        return self.plans[name, kind, few]

    def __getstate__(self) -> dict[str, Any]:
        """Plans hold addresses of this process: a copy or a pickle goes without."""
        return {**self.__dict__, "plans": {}}

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        # Numba tells types apart by their letters, which float32 of another byte order shares: that goes the long way.
        if type(x) is ndarray and x.ndim == 2 and (x.dtype is FLOAT32 or x.dtype.itemsize == 1):
            name, kind, m = kernel(), x.dtype.char, len(x)
            few = m <= self.weights.few
            plan = self.plans.get((name, kind, few)) or self.find_plan(name, kind, few)
            if plan is not None and 0 < m <= plan.most:
                out, status = np.empty((m, plan.columns), self.target), 1
                try:
                    if m <= plan.rows:
                        status = (plan.run or plan.compiled())(plan.words, x, out)
                    else:
                        pool = plan.pool()
                        status = plan.large.made(pool.address, pool.threads, plan.words, x, out)
                except TypeError:  # reals that are not `readable`
                    x = readable(x)
                if status == 0:
                    return out
                refuse(x, status)
        x = np.asarray(x)
        check(x, self.weights)
        kind = x.dtype.char
        codes = kind in "bB"
        if codes and self.input_qparams is None:
            raise ValueError(
                f"x holds {x.dtype} codes, and their qparams are not known: make the layer with input_qparams"
            )
        if kind != "f" and not codes:
            raise TypeError(f"x must be a float32 array, or int8 or uint8 codes, got {x.dtype}: x.astype(np.float32)")
        return self._general(x, self.ruler_in)

    def of_codes(self, q: NDArray[Any], qparams: Ruler) -> NDArray[Any]:
        """The same for codes of other quantization parameters, such as a dynamic layer before gave them."""
        check(q, self.weights)
        if self.per_row and np.ndim(qparams.scale):
            return self._of_codes_by_rows(q, qparams)
        ruler = ruler_of(qparams, "qparams")
        self.check_reach(ruler[0])
        return self._general(q, ruler)

    def _of_codes_by_rows(self, q: NDArray[Any], qparams: Ruler) -> NDArray[Any]:
        """For codes with a scale and zero point for each row, which no layer hands to the next: in NumPy."""
        one_each = (*q.shape[:-1], 1)
        scale, zero_point = (np.broadcast_to(a, one_each).reshape(-1, 1) for a in (qparams.scale, qparams.zero_point))
        self.check_reach(int(np.abs(zero_point).max(initial=0)))
        k, n = self.weights.shape
        return self.from_codes(rows_of(q, k), zero_point, scale).reshape(*q.shape[:-1], n)

    def _general(self, x: NDArray[Any], ruler: tuple[int, int, int, np.float32]) -> NDArray[Any]:
        """For any shape and strides. x: float32, or codes of `ruler`."""
        (k, n), codes = self.weights.shape, x.dtype.char != "f"
        rows = rows_of(x if codes else np.ascontiguousarray(readable(x)), k)
        name, m = kernel(), rows.shape[0]
        if name == "numpy" or 0 in (m, k, n):
            y = self.from_codes(rows, ruler[0], ruler[3]) if codes else self._plain(rows)
            return y.reshape(*x.shape[:-1], n)
        run, target = compiled_kernel(name, m <= self.weights.few), self.target
        nbytes = m * n * target.itemsize
        out = room(nbytes, np.uint8, 1)
        if codes:
            skip = self._of_codes(run, rows, ruler, out)
        else:
            skip = (self._of_rows if self.per_row else self._of_reals)(run, rows, out)
        if skip < 0:
            refuse(x, skip)
        return filled(out, skip, nbytes).view(target).reshape(x.shape[:-1] + (n,))

    def _of_codes(self, run: Any, rows: NDArray[Any], ruler: tuple[Any, ...], out: NDArray[np.uint8]) -> int:
        flip, shift = run.conversion(rows.dtype.char == "b")
        driver, codes = load("loops.fused").linear_codes, rows.view(np.uint8)
        return int(driver(*run.pool(), run.addresses, codes, flip, ruler[0] + shift, ruler[3], *self.after, out))

    def _of_reals(self, run: Any, rows: NDArray[Any], out: NDArray[np.uint8]) -> int:
        flip, shift = run.conversion(self.ruler_in[1] < 0)
        driver = load("loops.fused").linear
        return int(driver(*run.pool(), run.addresses, run.extremes, rows, self.ruler, flip, shift, *self.after, out))

    def _of_rows(self, run: Any, rows: NDArray[np.float32], out: NDArray[np.uint8]) -> int:
        """Each row by its own range. Returns the first byte of the result, or what is wrong."""
        name, few, (m, n) = kernel(), len(rows) <= self.weights.few, (len(rows), self.weights.shape[1])
        plan = self.plans.get((name, "f", few)) or self.find_plan(name, "f", few)
        skip = -out.ctypes.data % 64 if out.size > 4 * m * n else 0
        result = out[skip : skip + 4 * m * n].view(np.float32).reshape(m, n)
        status = int(plan.large.made(*run.pool(), plan.words, rows.ravel().reshape(rows.shape), result))
        return skip if status == 0 else status

    def _plain(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        """The definition, in NumPy."""
        zero_point, lo, hi, scale_in = self.ruler_in
        is_dynamic = self.input_qparams is None
        if is_dynamic:
            scale_in, zero_point = choose_dynamic(rows, by_rows=self.per_row)
        return self.from_codes(quantize_plain(rows, scale_in, np.float32(zero_point), lo, hi), zero_point, scale_in)

    def from_codes(self, rows: NDArray[Any], zero_point: Any, scale_in: Any) -> NDArray[Any]:
        """The definition in NumPy, from codes [M, K] on. zero_point, scale_in: one, or [M, 1]."""
        fallback.tell_cost()
        acc = fallback.matmul(rows, self.weights) - zero_point * self.weights.column_sums
        if self.integers.size:
            acc += self.integers
        scale = np.broadcast_to(np.multiply(scale_in, self.scale), np.shape(scale_in)[:1] + self.weights.shape[1:])
        if self.output_qparams is not None:
            zero, lowest, highest, step = self.ruler_out
            q = np.rint(acc.astype(np.float32) * (scale / step)) + zero
            return np.asarray(np.clip(q, lowest, highest)).astype(self.target)
        y = scale * acc.astype(np.float32) + (self.floats if self.floats.size else np.float32(0))  # no -0.0 stays
        return np.where(y > 0, y, np.float32(0)) if self.relu else y


def int8_linear(
    x: NDArray[Any], b: PackedInt8, scale: ArrayLike, bias: ArrayLike | None = None, input_qparams: Ruler | None = None,
    output_qparams: Ruler | None = None, relu: bool = False,
) -> NDArray[Any]:  # fmt: skip
    """`Int8Linear(b, scale, bias, input_qparams, output_qparams, relu)(x)`; make the layer once if you call it often.

    >>> from tinytorch.acceleration import pack_int8
    >>> int8_linear(np.array([[0.0, 255.0]], np.float32), pack_int8(np.array([[3], [4]], np.int8)), 0.5).tolist()
    [[510.0]]
    """
    return Int8Linear(b, np.asarray(scale, np.float32), bias, input_qparams, output_qparams, relu)(x)
