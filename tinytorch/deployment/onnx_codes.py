"""Steps on codes as ONNX nodes, in each of the three forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinytorch.deployment.onnx_graph import MICROSOFT, Graph
from tinytorch.deployment.steps import (
    Add,
    Convolution,
    Dequantize,
    FlattenCodes,
    MaxPool,
    Product,
    Quantize,
    ReluOnCodes,
    Step,
    Table,
    Value,
)


def _quantize(graph: Graph, step: Quantize) -> None:
    graph.quantized(step.x.name, step.y)


def _dequantize(graph: Graph, step: Dequantize) -> None:
    graph.dequantized(step.x, step.y.name)


def _product(graph: Graph, step: Product) -> None:
    """Of arrays with more than two axes all but the last become one."""
    x, y, deep = step.x, step.y, len(step.x.shape) > 1
    if deep:
        shape = graph.constant(f"{y.name}.rows", np.array([-1, x.shape[-1]]))
        x = Value(graph.node("Reshape", [x.name, shape], f"{y.name}.x.rows"), x.shape[-1:], x.qparams)
        y = Value(f"{y.name}.of_rows", y.shape[-1:], y.qparams)
    _rows(graph, step, x, y)
    if deep:
        shape = graph.constant(f"{step.y.name}.shape", np.array([-1, *step.y.shape]))
        graph.node("Reshape", [y.name, shape], step.y.name)


def _rows(graph: Graph, step: Product, x: Value, y: Value) -> None:
    """The product of rows of codes [N, in]."""
    if y.qparams is None and graph.form == "standard":
        graph.summed(step, "MatMulInteger", x.name, y.name)
    elif graph.form == "qdq":
        if y.qparams is None:
            graph.in_floats(step, "Gemm", x, y.name, transB=1)
        else:
            graph.quantized(graph.in_floats(step, "Gemm", x, f"{y.name}.float", transB=1), y)
    elif graph.form == "qoperator":
        weight, _, _ = graph.weights(step)
        assert x.qparams is not None
        inputs = [x.name, *graph.params(step.x.name, x.qparams), *weight, graph.bias(step)]
        if y.qparams is None:
            graph.node("QGemm", inputs, y.name, MICROSOFT, transB=1)
        else:
            out = graph.params(y.name, y.qparams)
            graph.clipped(y, lambda name: graph.node("QGemm", inputs + out, name, MICROSOFT, transB=1))
    else:  # the standard has no product of integers with a bias but the convolution with a window of one pixel
        weight, _, _ = graph.weights(step)
        graph.constant(weight[0], step.weight.q.astype(np.int8)[:, :, None, None])
        four = graph.constant(f"{y.name}.axes", np.array([2, 3]))
        x = Value(graph.node("Unsqueeze", [x.name, four], f"{y.name}.x.pixels"), x.shape, x.qparams)
        pixels = Value(f"{y.name}.of_pixels", y.shape, y.qparams)
        _on_codes(graph, step, x, pixels, weight)
        graph.node("Squeeze", [pixels.name, four], y.name)


def _on_codes(graph: Graph, step: Product | Convolution, x: Value, y: Value, weight: list[str], **windows: Any) -> None:
    """A convolution that takes and gives codes."""
    assert step.x.qparams is not None and y.qparams is not None
    inputs = [x.name, *graph.params(step.x.name, step.x.qparams), *weight, *graph.params(step.y.name, y.qparams)]
    inputs.append(graph.bias(step))
    graph.clipped(y, lambda name: graph.node("QLinearConv", inputs, name, **windows))


def _convolution(graph: Graph, step: Convolution) -> None:
    windows = graph.windows(step)
    if step.y.qparams is None:  # no engine's fused convolution gives floats: the sums are left as they are
        graph.summed(step, "ConvInteger", step.x.name, step.y.name, **windows)
    elif graph.form == "qdq":
        graph.quantized(graph.in_floats(step, "Conv", step.x, f"{step.y.name}.float", **windows), step.y)
    else:
        _on_codes(graph, step, step.x, step.y, graph.weights(step)[0], **windows)


def _max_pool(graph: Graph, step: MaxPool) -> None:
    windows: dict[str, Any] = {"kernel_shape": step.size, "strides": step.stride, "pads": step.padding * 2}
    if graph.form == "qdq":  # so that what looks for pairs around an operator finds them
        assert step.y.qparams is not None
        floats = graph.dequantized(step.x, f"{step.y.name}.x")
        graph.quantized(graph.node("MaxPool", [floats], f"{step.y.name}.float", **windows), step.y)
    else:
        graph.node("MaxPool", [step.x.name], step.y.name, **windows)


def _relu(graph: Graph, step: ReluOnCodes) -> None:
    assert step.x.qparams is not None
    if graph.form == "qdq":
        floats = graph.dequantized(step.x, f"{step.y.name}.x")
        graph.quantized(graph.node("Relu", [floats], f"{step.y.name}.float"), step.y)
    else:
        graph.node("Max", [step.x.name, graph.params(step.x.name, step.x.qparams)[1]], step.y.name)


def _flatten(graph: Graph, step: FlattenCodes) -> None:
    graph.node("Flatten", [step.x.name], step.y.name)


def _table(graph: Graph, step: Table) -> None:
    """The answers in the order of the stored codes, looked up one by one."""
    assert step.x.qparams is not None
    int_type = step.x.qparams.int_type
    lowest = int(graph.stored(np.array(int_type.qmin), int_type))
    answers = step.answers if step.y.qparams is None else graph.stored(step.answers, step.y.qparams.int_type)
    index = graph.node("Cast", [step.x.name], f"{step.y.name}.code", to=6)
    if lowest:
        start = graph.constant(f"{step.y.name}.start", np.array(lowest, np.int32))
        index = graph.node("Sub", [index, start], f"{step.y.name}.index")
    graph.node("Gather", [graph.constant(f"{step.y.name}.answers", answers), index], step.y.name)


def _add(graph: Graph, step: Add) -> None:
    x, other, y = step.x, step.other, step.y
    if y.qparams is None:
        graph.node("Add", [other.name, x.name], y.name)
        return
    assert x.qparams is not None and other.qparams is not None
    if graph.form == "qdq":
        both = [graph.dequantized(v, f"{y.name}.{side}") for v, side in ((x, "x"), (other, "other"))]
        graph.quantized(graph.node("Add", both, f"{y.name}.float"), y)
    elif graph.form == "qoperator":
        p = [name for v in (x, other) for name in (v.name, *graph.params(v.name, v.qparams))]  # type: ignore[arg-type]
        out = graph.params(y.name, y.qparams)
        graph.clipped(y, lambda name: graph.node("QLinearAdd", p + out, name, MICROSOFT))
    else:
        _add_of_steps(graph, step)


def _add_of_steps(graph: Graph, step: Add) -> None:
    """As `quantized_add` does: both steps from zero in units of the result, added, rounded once."""
    y = step.y
    assert y.qparams is not None
    units = []
    for v, side in ((step.x, "x"), (step.other, "other")):
        assert v.qparams is not None
        one = graph.constant(f"{y.name}.{side}.one", np.array(1, np.float32))
        zero = graph.params(v.name, v.qparams)[1]
        steps = graph.node("DequantizeLinear", [v.name, one, zero], f"{y.name}.{side}.steps")
        ratio = graph.constant(f"{y.name}.{side}.ratio", v.qparams.scale / y.qparams.scale)
        units.append(graph.node("Mul", [steps, ratio], f"{y.name}.{side}.units"))
    total = graph.node("Add", units, f"{y.name}.units")
    one = graph.constant(f"{y.name}.one", np.array(1, np.float32))
    zero = graph.params(y.name, y.qparams)[1]
    graph.clipped(y, lambda name: graph.node("QuantizeLinear", [total, one, zero], name))


CODE_WRITERS: Mapping[type[Step], Callable[[Graph, Any], None]] = {
    Add: _add,
    Convolution: _convolution,
    Dequantize: _dequantize,
    FlattenCodes: _flatten,
    MaxPool: _max_pool,
    Product: _product,
    Quantize: _quantize,
    ReluOnCodes: _relu,
    Table: _table,
}
