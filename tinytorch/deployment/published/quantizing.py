"""Anybody's ONNX model, quantized by the functions of the module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from tinytorch.core.checks import real_number
from tinytorch.deployment.published.budget import OnnxSensitivity, mended, sensitivities, within_budget
from tinytorch.deployment.published.calibrating import Calibration, Feed, Runner, calibrated, output_sqnr_db
from tinytorch.deployment.published.correcting import corrected, watched_for_means
from tinytorch.deployment.published.equalizing import equalized
from tinytorch.deployment.published.planning import arrays_in_codes, planned
from tinytorch.deployment.published.products import OPERATORS, FloatGraph, Product
from tinytorch.deployment.published.reading import LOWEST_OPSET, OPSET_OF_4_BITS, read_onnx, write_onnx
from tinytorch.deployment.published.schemes import Activations, Scheme, Told, schemes_of, stated
from tinytorch.deployment.published.writing import Plan, Writer
from tinytorch.quantization import INT8, IntType, MinMaxObserver, Observer, dequantize, quantize, sqnr_db

FLOATS = (0, 1, 10, 11, 16)  # of ONNX: not said, float32, float16, float64, bfloat16

__all__ = ["ProductReport", "QuantizedOnnx", "quantize_onnx"]


def how_of(scheme: Scheme | None) -> str:
    """A scheme in words."""
    if scheme is None:
        return "float32"
    groups = f", groups of {scheme.group_size}" if scheme.group_size else ""
    inputs = {"static": "static", "dynamic": "dynamic", "float": "inputs in float"}[scheme.activations]
    return f"{scheme.weight_type} weights{groups}, {inputs}"


@dataclass(frozen=True)
class ProductReport:
    """What became of one product. lo, hi: the range of its input that was seen; None where none was needed.

    clipped: the share of its input's numbers beyond the range of the codes. input_sqnr_db, weight_sqnr_db: signal to
    quantization noise of both, in decibels; infinite where they stay in float. note: what was not done as asked.
    """

    name: str
    operator: str
    scheme: Scheme | None
    lo: float | None
    hi: float | None
    clipped: float
    input_sqnr_db: float
    weight_sqnr_db: float
    note: str = ""

    @property
    def how(self) -> str:
        return how_of(self.scheme)


@dataclass(frozen=True)
class QuantizedOnnx:
    """A quantized model and what was found about it.

    model: `onnx.ModelProto`. nbytes_before, nbytes: of the float model, as ONNX Runtime folds it, and of this one.
    output_sqnr_db: signal to noise of all outputs on the first calibration batches; None where there were none, or no
    float outputs.
    passed_over: names of nodes with graphs of their own, in which nothing was quantized. sensitivities: what single
    products do to the outputs, if that was measured.
    """

    model: Any
    products: tuple[ProductReport, ...]
    passed_over: tuple[str, ...]
    nbytes_before: int
    nbytes: int
    output_sqnr_db: float | None
    sensitivities: tuple[OnnxSensitivity, ...] = ()

    @property
    def output_error(self) -> float | None:
        """The error of the outputs relative to them: 0.01 is 1 %, which is 40 dB."""
        return None if self.output_sqnr_db is None else float(10 ** (-self.output_sqnr_db / 20))

    def save(self, path: str | Path) -> None:
        """Writes the file; the weights of a model above 64 MB go to `path`.data."""
        write_onnx(self.model, Path(path))


def quantize_onnx(
    source: Any,
    batches: Iterable[Any] | None = None,
    observer: Callable[[], Observer] = MinMaxObserver,
    axis: int | None = 0,
    rules: Mapping[str, Any] | None = None,
    int_type: IntType = INT8,
    activations: Activations | None = None,
    group_size: int | None = None,
    equalize: bool = False,
    correct_bias: bool = False,
    budget: float | None = None,
    sensitivity: bool = False,
    told: Told = lambda what, done, of: None,
) -> QuantizedOnnx:
    """Somebody's float model with the weights, and what goes into its products, in codes.

    source: a path, bytes or an `onnx.ModelProto`, of any opset and in float32 or float16. batches: calibration inputs,
    each a dict of arrays by the model's input names, or arrays in their order; one at a time is in memory. Only static
    products need them, and the errors that are reported. observer: called without arguments, makes one for each array.
    axis 0: a scale for each output channel of a weight, None: one for all. int_type: of the weights; of 4 bits and
    fewer they are stored packed, and multiplied in float. activations "static", "dynamic" or "float"; None: "static"
    for weights of 8 bits, and where that costs the outputs too much finer inputs for the products that cost most.
    group_size: of 4-bit weights, how many numbers of a row share a scale. rules: other schemes by the name of a node, a
    pattern, or an operator; see `Scheme`.

    equalize: even out ranges between one product and the next, which helps where one scale serves a whole weight.
    correct_bias: take from biases what rounding the weights adds on average, by the mean of each input channel.
    sensitivity: measure what each product alone does to the outputs. budget: below 1 the error of the outputs relative
    to them, from 1 on bytes; what is most sensitive then gets its inputs, or all of it, in float, or with a budget of
    bytes the least sensitive 4 bits in groups. told: is called with what is being done, how much, and of how much.

    Conv, Gemm and MatMul with constant weights are quantized; of ConvTranspose the weight; of Gather the table in which
    it looks up; of LSTM, GRU and RNN the weights where a rule or activations "float" ask for it, for it costs time.
    ValueError for a model without any, and for what `read_onnx` refuses.
    """
    if budget is not None and not real_number("budget", budget) > 0:
        raise ValueError(f"budget is an error of the outputs, such as 0.01, or a number of bytes, got {budget}")
    few = int_type.bits <= 4
    default = Scheme(int_type, activations or ("float" if few else "static"), group_size)
    fewest = min([int_type.bits, *(scheme.weight_type.bits for scheme in stated(rules, default))])
    small = fewest <= 4 or (budget is not None and budget >= 1)
    graph = FloatGraph(read_onnx(source, OPSET_OF_4_BITS if small else LOWEST_OPSET))
    graph = equalized(graph) if equalize else graph
    if not graph.products:
        wanted = f"constant weights of {', '.join(OPERATORS)}"
        nodes = f" outside of {', '.join(graph.passed_over[:3])}, which hold graphs" if graph.passed_over else ""
        raise ValueError(f"the model has no {wanted}{nodes}: there is nothing to quantize")
    schemes = {name: s for name, s in schemes_of(graph.products, default, rules).items() if s is not None}
    names, _ = arrays_in_codes(graph, schemes)
    if batches is None and names:
        raise ValueError('static quantization needs batches of inputs: pass some, or activations="dynamic"')
    no_floats = all(value.type.tensor_type.elem_type not in FLOATS for value in graph.graph.output)
    if no_floats and (sensitivity or budget is not None):
        raise ValueError("the model gives whole numbers alone, whose error is not measured: no budget, no sensitivity")
    if batches is not None and not isinstance(batches, Iterable):
        raise TypeError(f"batches are calibration inputs, one after the other, got {type(batches).__name__}")
    means = watched_for_means(graph) if correct_bias else {}
    if batches is None:
        seen = Calibration()
    else:
        seen = calibrated(graph.model, dict.fromkeys(names, observer), batches, told, means)
    if means and seen.batches:
        graph = corrected(graph, schemes, axis, means)
    rows: list[OnnxSensitivity] = []
    changes: dict[str, str] = {}
    if sensitivity or budget is not None:
        if not seen.feeds:
            raise ValueError("errors of the outputs are measured on batches of inputs: pass some")
        rows = sensitivities(graph, schemes, seen, axis, budget is not None and budget >= 1, told)
    if budget is not None:
        schemes = within_budget(graph, rows, budget, seen, axis)
    elif activations is None and seen.feeds:
        free = [name for name, scheme in schemes.items() if scheme == default]
        schemes, changes = mended(graph, schemes, free, seen, axis, told)
    plan, notes = planned(graph, schemes, seen.observers, axis)
    return _result(graph, plan, {**changes, **notes}, seen, tuple(rows))


def _result(
    graph: FloatGraph,
    plan: Plan,
    notes: Mapping[str, str],
    seen: Calibration,
    rows: tuple[OnnxSensitivity, ...],
) -> QuantizedOnnx:
    model = Writer(graph, plan).written()
    measured = output_sqnr_db(model, seen) if seen.feeds else float("nan")
    return QuantizedOnnx(
        model,
        tuple(_reports(graph, plan, notes, seen)),
        tuple(graph.passed_over),
        graph.model.ByteSize(),
        model.ByteSize(),
        None if isnan(measured) else measured,
        rows,
    )


def _reports(graph: FloatGraph, plan: Plan, notes: Mapping[str, str], seen: Calibration) -> list[ProductReport]:
    names = [name for name in plan.codes if name in {product.x for product in graph.products}]
    shown = Runner(graph.model, names)(seen.feeds[0]) if seen.feeds and names else {}
    return [_report(graph, plan, product, notes.get(product.name, ""), seen, shown) for product in graph.products]


def _report(
    graph: FloatGraph, plan: Plan, product: Product, note: str, seen: Calibration, shown: Feed
) -> ProductReport:
    scheme, weight = plan.schemes.get(product.name), plan.weights.get(product.name)
    lo = hi = None
    clipped, of_input, of_weight = 0.0, float("inf"), float("inf")
    if scheme is not None and scheme.activations == "static" and shown.get(product.x, np.empty(0)).size:
        qparams, x = plan.codes[product.x], shown[product.x].astype(np.float32)
        lo, hi = (float(end) for end in seen.observers[product.x].range())
        steps = np.rint(x / qparams.scale) + qparams.zero_point
        clipped = float(np.mean((steps < qparams.int_type.qmin) | (steps > qparams.int_type.qmax)))
        of_input = float(sqnr_db(x, dequantize(quantize(x, qparams), qparams)))
    if weight is not None:
        of_weight = float(sqnr_db(graph.array(product.weight), weight.dequantized))
        if weight.rescaled:
            many = "channel" if len(weight.rescaled) == 1 else "channels"
            note = f"{len(weight.rescaled)} {many} with a scale chosen by the bias"
    return ProductReport(product.name, product.operator, scheme, lo, hi, clipped, of_input, of_weight, note)
