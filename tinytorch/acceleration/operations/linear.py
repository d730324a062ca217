"""A quantized layer in one call: quantize, product, scale, bias, ReLU or requantize, with no array in between.

layer(x)             a short call of a plain matrix: one look-up of a plan, one call of compiled code
  _any_input         batches, strides, large results, and every refusal
    _general         compiled, from reals or codes
    from_codes       NumPy: what the layer is defined as
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, NDArray

from ..runtime.features import kernel
from ..runtime.once import load
from .arrays import FLOAT32, empty_aligned, readable, rows_of
from .dispatch import compiled_kernel, exact_product, tell_cost
from .elementwise import choose_dynamic, quantize_plain
from .int8 import PackedInt8, check
from .prepared import Prepared, remember, values_of
from .qparams import DYNAMIC, QParamsLike, TensorQParams, bias_of, check_scales, refuse, tensor_qparams

NO_FLOATS, NO_INTS = np.zeros(0, np.float32), np.zeros(0, np.int32)
NO_OUTPUT_QPARAMS = TensorQParams(0, 0, 0, np.float32(1))  # of a layer whose results are reals


@dataclass(frozen=True, eq=False)
class Int8Linear:
    """A quantized layer, checked once and called many times: [..., K] -> float32 [..., N], or codes.

    weights: [K, N], by `prepack_int8`. scale: of the weights, float32 [N] or one for all. bias: float32 [N], added to
    the result, or int32 [N], added to the sums. input_qparams: the quantization parameters that x is quantized with, or
    whose codes it holds; None: those of x's own range, found at each call (ONNX DynamicQuantizeLinear). output_qparams:
    those of the codes to return; they need input_qparams, and an int32 bias or none. relu: results below 0 become 0.
    per_row: without input_qparams, each row of x is quantized by its own range.

    Reals out are `sums * (s_x * scale) + bias`, codes `clip(rint(sums * (s_x * scale / s_y)) + zero_point)`, each step
    rounded to float32: the bits of `QuantizedLinear`. ValueError for what does not fit together; OverflowError if the
    largest possible sum, bias included, does not fit int32.
    """

    weights: PackedInt8
    scale: ArrayLike  # kept as float32 [N] or [1]
    bias: InitVar[ArrayLike | None] = None
    input_qparams: QParamsLike | None = None
    output_qparams: QParamsLike | None = None
    relu: bool = False
    per_row: bool = False
    float_bias: NDArray[np.float32] = field(init=False)  # the bias is one of these two; the other one is empty
    int_bias: NDArray[np.int32] = field(init=False)
    largest_bias: int = field(init=False)  # the largest |int_bias|
    qparams_in: TensorQParams = field(init=False)
    qparams_in_floats: NDArray[np.float32] = field(init=False)  # zero point, lowest and highest code, scale
    qparams_out_floats: NDArray[np.float32] = field(init=False)  # likewise
    result_dtype: np.dtype[Any] = field(init=False)
    column_constants: NDArray[np.float32] = field(init=False)  # what `modules.epilogues_by_rows` read, if per_row
    plans: dict[tuple[str, str, bool], Any] = field(init=False)  # of small calls: see find_plan

    def __post_init__(self, bias: ArrayLike | None) -> None:
        (_, n), bias = self.weights.shape, bias_of(bias, self.weights.shape[1])
        scale, bias_is_int = np.array(self.scale, np.float32).reshape(-1), bias.dtype == np.int32
        if scale.size not in (1, n):
            raise ValueError(f"scale must have 1 or {n} values, one a column of the weights, got {scale.size}")
        check_scales(scale)
        if self.output_qparams is not None and (self.input_qparams is None or (bias.size and not bias_is_int)):
            raise ValueError("codes out need input_qparams and an int32 bias: or quantize the float32 result")
        if self.per_row and self.input_qparams is not None:
            raise ValueError("input_qparams are one scale for all rows: leave them out, or per_row")
        float_bias, int_bias = (NO_FLOATS, bias) if bias_is_int else (bias, NO_INTS)
        self._set(scale=scale, float_bias=float_bias, int_bias=int_bias, plans={})
        self._set(largest_bias=int(np.abs(int_bias.astype(np.int64)).max(initial=0)))
        self._set_qparams()
        self._set(column_constants=self._column_constants() if self.per_row else NO_FLOATS)
        self.check_overflow(self.qparams_in.zero_point)

    def _set(self, **values: Any) -> None:
        """Fields that are found when the layer is made; nothing changes afterwards."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _set_qparams(self) -> None:
        """What depends on the quantization parameters of the input and of the result."""
        of_input, of_result = DYNAMIC, NO_OUTPUT_QPARAMS
        if self.input_qparams is not None:
            of_input = tensor_qparams(self.input_qparams, "input_qparams")
        dtype = np.dtype(np.float32)
        if self.output_qparams is not None:
            of_result = tensor_qparams(self.output_qparams, "output_qparams")
            dtype = np.dtype(self.output_qparams.int_type.storage)
        if self.relu:
            of_result = of_result._replace(qmin=max(of_result.zero_point, of_result.qmin))  # the code of 0
        self._set(qparams_in=of_input, qparams_in_floats=np.array(of_input, np.float32), result_dtype=dtype)
        self._set(qparams_out_floats=np.array(of_result, np.float32))

    def __repr__(self) -> str:
        (k, n), dynamic = self.weights.shape, "dynamic per row" if self.per_row else "dynamic"
        said = [f"{k} -> {n}", dynamic if self.input_qparams is None else f"input {self.input_qparams!r}"]
        said += [] if self.output_qparams is None else [f"output {self.output_qparams!r}"]
        return f"{type(self).__name__}({', '.join(said + ['ReLU'] * self.relu)})"

    def _column_constants(self) -> NDArray[np.float32]:
        """For 16 columns each their scales, biases, and column sums, which are int32; filled up with zeros."""
        n = self.weights.shape[1]
        columns = np.zeros((-(-n // 16), 3, 16), np.float32)
        biases = self.float_bias if self.float_bias.size else np.float32(0)
        for i, values in enumerate((self.scale, biases, self.weights.column_sums.astype(np.int32).view(np.float32))):
            padded = np.zeros(len(columns) * 16, np.float32)
            padded[:n] = values
            columns[:, i] = padded.reshape(-1, 16)
        return columns.reshape(-1)

    def check_overflow(self, zero_point: int) -> None:
        """Refuse codes of a zero point with which a sum might not fit int32."""
        reach = (255 + abs(zero_point)) * self.weights.max_abs_sum + self.largest_bias
        if reach >= 2**31:
            k = self.weights.shape[0]
            raise OverflowError(f"the sums of K = {k} products and their bias may reach {reach}, beyond int32: split K")

    def find_plan(self, name: str, kind: str, few_rows: bool) -> Any:
        """The plan (see `calls.plans`) for inputs of type `kind` on kernel `name`; None where there is none."""
        if name == "numpy" or kind not in ("f" if self.input_qparams is None else "fbB"):
            return None
        self.plans[name, kind, few_rows] = load("calls.plans").of_layer(self, compiled_kernel(name, few_rows), kind)
        return self.plans[name, kind, few_rows]

    def __getstate__(self) -> dict[str, Any]:
        """Plans hold addresses of this process: a copy or a pickle goes without."""
        return {**self.__dict__, "plans": {}}

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        # Numba tells types apart by their letters, which float32 of another byte order shares: that goes the long way.
        if type(x) is ndarray and x.ndim == 2 and (x.dtype is FLOAT32 or x.dtype.itemsize == 1):
            name, kind, m = kernel(), x.dtype.char, len(x)
            few_rows = m <= self.weights.few_rows
            plan = self.plans.get((name, kind, few_rows)) or self.find_plan(name, kind, few_rows)
            if plan is not None and 0 < m <= plan.max_rows_unaligned:
                out, status = np.empty((m, plan.columns), self.result_dtype), 1
                try:
                    if m <= plan.max_small_rows:
                        status = (plan.run or plan.compiled())(plan.words, x, out)
                    else:
                        status = plan.run_large(plan.words, x, out)
                except TypeError:  # reals that are not `readable`
                    x = readable(x)
                if status == 0:
                    return out
                refuse(x, status)
        return self._any_input(np.asarray(x))

    def _any_input(self, x: NDArray[Any]) -> NDArray[Any]:
        """A call for every shape and stride, after all checks."""
        check(x, self.weights)
        kind = x.dtype.char
        codes = kind in "bB"
        if codes and self.input_qparams is None:
            raise ValueError(
                f"x holds {x.dtype} codes, and their qparams are not known: make the layer with input_qparams"
            )
        if kind != "f" and not codes:
            raise TypeError(f"x must be a float32 array, or int8 or uint8 codes, got {x.dtype}: x.astype(np.float32)")
        return self._general(x, self.qparams_in)

    def of_codes(self, q: NDArray[Any], qparams: QParamsLike) -> NDArray[Any]:
        """The same for codes of other quantization parameters, such as a dynamic layer before gave them."""
        check(q, self.weights)
        if self.per_row and np.ndim(qparams.scale):
            return self._of_codes_by_rows(q, qparams)
        of_tensor = tensor_qparams(qparams, "qparams")
        self.check_overflow(of_tensor.zero_point)
        return self._general(q, of_tensor)

    def _of_codes_by_rows(self, q: NDArray[Any], qparams: QParamsLike) -> NDArray[Any]:
        """For codes with a scale and zero point for each row, which no layer hands to the next: in NumPy."""
        one_each = (*q.shape[:-1], 1)
        scale, zero_point = (np.broadcast_to(a, one_each).reshape(-1, 1) for a in (qparams.scale, qparams.zero_point))
        self.check_overflow(int(np.abs(zero_point).max(initial=0)))
        k, n = self.weights.shape
        return self.from_codes(rows_of(q, k), zero_point, scale).reshape(*q.shape[:-1], n)

    def _general(self, x: NDArray[Any], qparams: TensorQParams) -> NDArray[Any]:
        """x: float32, or codes of these quantization parameters; any shape and strides."""
        (k, n), codes = self.weights.shape, x.dtype.char != "f"
        rows = rows_of(x if codes else np.ascontiguousarray(readable(x)), k)
        name, m = kernel(), rows.shape[0]
        if name == "numpy" or 0 in (m, k, n):
            y = self.from_codes(rows, qparams.zero_point, qparams.scale) if codes else self._plain(rows)
            return y.reshape(*x.shape[:-1], n)
        out, few_rows = empty_aligned((m, n), self.result_dtype), m <= self.weights.few_rows
        if codes:
            self._fill_from_codes(name, rows, qparams, out)
        else:
            plan = self.plans.get((name, "f", few_rows)) or self.find_plan(name, "f", few_rows)
            refuse(x, plan.run_large(plan.words, rows, out))
        return out.reshape(x.shape[:-1] + (n,))

    def _fill_from_codes(self, name: str, rows: NDArray[Any], qparams: TensorQParams, out: NDArray[Any]) -> None:
        """The layer, on kernel `name`, for rows of codes of any quantization parameters, into out."""
        kind, few_rows = rows.dtype.char, len(rows) <= self.weights.few_rows
        key = name, f"any {kind}", few_rows  # apart from the plan of codes of input_qparams
        plan = self.plans.get(key)
        if plan is None:
            plan = self.plans[key] = load("calls.plans").of_layer(self, compiled_kernel(name, few_rows), kind)
        driver, pool = load("calls.layer").OF_CODES[kind, self.result_dtype.char], plan.pool()
        driver(pool.address, pool.threads, plan.words, rows, qparams.zero_point, qparams.scale, out)

    def _plain(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        """The definition, in NumPy."""
        zero_point, lo, hi, scale_in = self.qparams_in
        is_dynamic = self.input_qparams is None
        if is_dynamic:
            scale_in, zero_point = choose_dynamic(rows, per_row=self.per_row)
        return self.from_codes(quantize_plain(rows, scale_in, np.float32(zero_point), lo, hi), zero_point, scale_in)

    def from_codes(self, rows: NDArray[Any], zero_point: Any, scale_in: Any) -> NDArray[Any]:
        """The definition in NumPy, from codes [M, K] on. zero_point, scale_in: one, or [M, 1]."""
        return self.from_sums(exact_product(rows, self.weights.unpack()), zero_point, scale_in)

    def from_sums(self, sums: NDArray[np.int64], zero_point: Any, scale_in: Any) -> NDArray[Any]:
        """The definition from the sums of products on: int64 [..., N]. zero_point, scale_in: one, or [..., 1]."""
        tell_cost()
        acc = sums - zero_point * self.weights.column_sums
        if self.int_bias.size:
            acc += self.int_bias
        scale = np.broadcast_to(np.multiply(scale_in, self.scale), np.shape(scale_in)[:-1] + self.weights.shape[1:])
        if self.output_qparams is not None:
            zero, lowest, highest, step = self.qparams_out_floats
            q = np.rint(acc.astype(np.float32) * (scale / step)) + zero
            return np.asarray(np.clip(q, lowest, highest)).astype(self.result_dtype)
        bias = self.float_bias if self.float_bias.size else np.float32(0)  # added also where it is 0: no -0.0 stays
        y = scale * acc.astype(np.float32) + bias
        return np.where(y > 0, y, np.float32(0)) if self.relu else y


def int8_linear(
    x: NDArray[Any], b: PackedInt8, scale: ArrayLike, bias: ArrayLike | None = None,
    input_qparams: QParamsLike | None = None, output_qparams: QParamsLike | None = None, relu: bool = False,
) -> NDArray[Any]:  # fmt: skip
    """`Int8Linear(b, scale, bias, input_qparams, output_qparams, relu)(x)`, without making the layer at each call.

    The pack remembers its last layers. Whether one fits is found by comparing the values of scale and bias, which an
    array may have got since the last call: about 0.1 us for 1000 of them. Lists, and qparams that can change, are not
    remembered; their layer is made anew, which takes some 20 us. A layer that you make yourself saves both.

    >>> from tinytorch.acceleration import prepack_int8
    >>> int8_linear(np.array([[0.0, 255.0]], np.float32), prepack_int8(np.array([[3], [4]], np.int8)), 0.5).tolist()
    [[510.0]]
    """
    values = values_of(scale), values_of(bias), (relu,)
    if type(b) is PackedInt8:
        for prepared in b.prepared:
            if (
                prepared.values == values
                and prepared.input_qparams is input_qparams
                and prepared.output_qparams is output_qparams
            ):
                layer: Int8Linear = prepared.made
                return layer(x)
        alone = b.without_memory()  # a layer that the pack remembers may not refer to it
        layer = Int8Linear(alone, np.asarray(scale, np.float32), bias, input_qparams, output_qparams, relu)
        remember(b.prepared, Prepared(values, input_qparams, output_qparams, layer))
        return layer(x)
    return Int8Linear(b, np.asarray(scale, np.float32), bias, input_qparams, output_qparams, relu)(x)
