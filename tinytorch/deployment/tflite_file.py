"""A quantized network as a TFLite model of int8 codes, for LiteRT, TFLite Micro and Edge TPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.core import Module
from tinytorch.deployment.steps import (
    Add,
    Convolution,
    Dequantize,
    FlattenCodes,
    FloatLayer,
    MaxPool,
    Product,
    Quantize,
    ReluOnCodes,
    Step,
    Table,
    Trace,
    Value,
    computes_in_float,
    trace,
)
from tinytorch.deployment.stored import int8_limits, int8_zero_point, qparams_of, stored
from tinytorch.deployment.tflite_graph import Operator, TfliteGraph
from tinytorch.deployment.tflite_layout import Layout

__all__ = ["to_tflite"]

IO = ("float32", "int8")


def to_tflite(
    model: Module,
    input_shape: tuple[int, ...],
    io: str = "float32",
    batch: int = 1,
    per_channel: bool = True,
) -> bytes:
    """The model as the bytes of a .tflite file.

    input_shape: of one sample, as the model has it. Images and signals lie in the file with their channels last:
    (channels, height, width) becomes (height, width, channels). io "int8": the codes themselves go in and come out;
    "float32": it quantizes and dequantizes. batch: another can be had by resizing the input. per_channel False: refuse
    products with a scale for each row, which runtimes before 2.17 do not know.

    Every layer must give codes, the last one, too: see `with_output_codes`. TypeError for a layer that has no
    counterpart, ValueError for one that cannot be written as it is.
    """
    if io not in IO:
        raise ValueError(f"io must be one of {', '.join(IO)}, got {io!r}")
    steps = trace(model, np.zeros((1, *input_shape), np.float32))
    return _Writer(steps, batch, per_channel).written(io)


class _Writer:
    """Writes steps as operators. tensors: the index of every value's tensor."""

    def __init__(self, steps: Trace, batch: int, per_channel: bool) -> None:
        self.graph, self.layout = TfliteGraph(batch), Layout(steps)
        self.steps, self.per_channel = steps, per_channel
        self.tensors: dict[str, int] = {}

    def written(self, io: str) -> bytes:
        body = list(self.steps.steps)
        first = body.pop(0) if body else None
        if not isinstance(first, Quantize):
            called = computes_in_float(first) if isinstance(first, FloatLayer) else "the model computes in float"
            raise TypeError(f"{called}: a TFLite model of codes begins with a layer on codes")
        last = body.pop() if body else Step("", first.y, first.y)
        if not isinstance(last, Dequantize) or last.y.name != "output":
            raise TypeError(f"{last.layer or 'the model'} gives floats: use with_output_codes(model, batches) first")
        x = self.begun(first, io)
        if floats := [step for step in body if isinstance(step, FloatLayer)]:
            raise TypeError(f"{computes_in_float(floats[0])}, which a TFLite model of codes cannot: leave it out")
        for step in body:
            if step.y.qparams is None or step.x.qparams is None:
                raise TypeError(
                    f"{step.layer or 'the model'} gives or takes floats, which a TFLite model of codes cannot"
                )
        for step in body:
            self.tensors[step.y.name] = WRITERS[type(step)](self, step)
        return self.graph.packed(x, self.ended(last, io), f"tinytorch {version('tinytorch')}, {io} in and out")

    def begun(self, first: Quantize, io: str) -> int:
        """The tensor that goes in."""
        codes = self.codes(first.y)
        self.tensors[first.y.name] = codes
        if io == "int8":
            return codes
        x = self.graph.floats("input", self.layout.shape(first.x))
        self.graph.add(QUANTIZE, [x], codes)
        self.tensors[first.y.name] = self.within(first.y, codes)
        return x

    def ended(self, last: Dequantize, io: str) -> int:
        """The tensor that comes out."""
        codes = self.in_order(last.x)
        if io == "int8":
            return codes
        return self.graph.add(DEQUANTIZE, [codes], self.graph.floats("output", self.layout.shape(last.y)))

    def codes(self, y: Value, name: str | None = None, shape: tuple[int, ...] | None = None) -> int:
        """A new tensor of y's codes."""
        return self.graph.codes(name or y.name, shape or self.layout.shape(y), qparams_of(y))

    def within(self, y: Value, tensor: int) -> int:
        """The tensor, between the lowest and the highest code of y's type, where a byte holds more than these."""
        p = qparams_of(y)
        low, high = int8_limits(p)
        ends = [(op, code) for op, code, limit in ((MAXIMUM, low, -128), (MINIMUM, high, 127)) if code != limit]
        for operator, code in ends:
            constant = np.array(code, np.int8)
            end = self.graph.tensor(f"{y.name}/{operator.name}", (), "INT8", p.scale, int8_zero_point(p), data=constant)
            tensor = self.graph.add(operator, [tensor, end], self.codes(y, f"{y.name}/of {operator.name}"))
        if ends:  # what has the value's name is what the value is
            self.graph.rename(y.name, f"{y.name}/all")
            self.graph.rename(f"{y.name}/of {ends[-1][0].name}", y.name)
        return tensor

    def in_order(self, y: Value) -> int:
        """The tensor of a value whose elements lie as the network has them."""
        order = self.layout.orders.get(y.name)
        if order is None:
            return self.tensors[y.name]
        index = self.graph.integers(f"{y.name}/order", np.argsort(order))
        return self.graph.add(GATHER, [self.tensors[y.name], index], self.codes(y, f"{y.name}/ordered"), axis=1)


QUANTIZE, DEQUANTIZE = Operator("QUANTIZE", 1, "Quantize"), Operator("DEQUANTIZE", 2, "Dequantize")
MAXIMUM, MINIMUM = Operator("MAXIMUM", 2, "MaximumMinimum"), Operator("MINIMUM", 2, "MaximumMinimum")
GATHER, CAST = Operator("GATHER", 2, "Gather"), Operator("CAST", 1, "Cast")
RESHAPE, RELU, ADD = Operator("RESHAPE", 1, "Reshape"), Operator("RELU", 2), Operator("ADD", 2, "Add")
PAD, PADV2 = Operator("PAD", 2, "Pad"), Operator("PADV2", 2, "PadV2")


def _bias(writer: _Writer, step: Product | Convolution) -> int:
    scale = np.float32(qparams_of(step.x).scale) * step.weight.qparams.scale.reshape(-1)
    return writer.graph.tensor(f"{step.layer}/bias", step.bias.shape, "INT32", scale, data=step.bias)


def _weight(writer: _Writer, step: Product | Convolution, q: NDArray[Any], axis: int = 0) -> int:
    scale = step.weight.qparams.scale.reshape(-1)
    return writer.graph.tensor(f"{step.layer}/weight", q.shape, "INT8", scale, axis=axis, data=q.astype(np.int8))


def _product(writer: _Writer, step: Product) -> int:
    per_channel, order = step.weight.qparams.scale.ndim > 0, writer.layout.orders.get(step.x.name)
    if per_channel and not writer.per_channel:
        raise ValueError(f"{step.layer or 'the model'} has a scale for each row: quantize_static(..., axis=None)")
    if writer.layout.is_image(step.x):
        raise ValueError(f"{step.layer or 'the model'} multiplies the rows of an image: put a Flatten before it")
    q = step.weight.q if order is None else step.weight.q[:, order]
    operator = Operator("FULLY_CONNECTED", 12 if per_channel else 4, "FullyConnected")
    inputs, y = [writer.tensors[step.x.name], _weight(writer, step, q), _bias(writer, step)], writer.codes(step.y)
    writer.graph.add(operator, inputs, y, keepNumDims=len(step.x.shape) > 1)
    return writer.within(step.y, y)


@dataclass(frozen=True)
class Windows:
    """kernel, stride, padding, dilation of images, down and right; of signals the first is that of one row."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, *windows: tuple[int, ...]) -> Windows:
        pairs = [(none, *w) if len(w) == 1 else w for w, none in zip(windows, (1, 1, 0, 1), strict=False)]
        return cls(*pairs)  # type: ignore[arg-type]

    @property
    def same(self) -> bool:
        """Whether as many pixels are added at all sides as TFLite's SAME adds."""
        spans = (d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True))
        return self.stride == (1, 1) and all(2 * p == span for p, span in zip(self.padding, spans, strict=True))

    def options(self, writer: _Writer, same: bool) -> dict[str, Any]:
        paddings = writer.graph.schema.Padding
        return {
            "padding": paddings.SAME if same else paddings.VALID,
            "strideH": self.stride[0],
            "strideW": self.stride[1],
        }


def _padded(writer: _Writer, x: Value, windows: Windows, code: int | None = None) -> int:
    """The image with its padding: of zero points, or of a code. The tensor as it is where there is none."""
    tensor, (down, right) = writer.tensors[x.name], windows.padding
    if down == right == 0:
        return tensor
    height, width, channels = writer.layout.shape(x)
    name, p = f"{x.name}/padded{len(writer.graph.tensors)}", qparams_of(x)
    edges = writer.graph.integers(f"{name}/edges", [[0, 0], [down, down], [right, right], [0, 0]])
    y = writer.codes(x, name, (height + 2 * down, width + 2 * right, channels))
    if code is None:
        return writer.graph.add(PAD, [tensor, edges], y)
    value = writer.graph.tensor(
        f"{name}/code", (1,), "INT8", p.scale, int8_zero_point(p), data=np.array([code], np.int8)
    )
    return writer.graph.add(PADV2, [tensor, edges, value], y)


def _convolution(writer: _Writer, step: Convolution) -> int:
    windows = Windows.of(step.weight.shape[2:], step.stride, step.padding, step.dilation)
    x = writer.tensors[step.x.name] if windows.same else _padded(writer, step.x, windows)
    out, channels, y = len(step.bias), step.x.shape[0], writer.codes(step.y)
    q = step.weight.q.reshape(out, step.weight.shape[1], *windows.kernel)
    options = windows.options(writer, windows.same) | {
        "dilationHFactor": windows.dilation[0],
        "dilationWFactor": windows.dilation[1],
    }
    if step.groups == channels and channels > 1:  # [1, height, width, out]
        weight = _weight(writer, step, q.transpose(1, 2, 3, 0), axis=3)
        operator = Operator("DEPTHWISE_CONV_2D", 3, "DepthwiseConv2D")
        options["depthMultiplier"] = out // channels
    else:
        weight = _weight(writer, step, q.transpose(0, 2, 3, 1))
        operator = Operator("CONV_2D", 3, "Conv2D")
    writer.graph.add(operator, [x, weight, _bias(writer, step)], y, **options)
    return writer.within(step.y, y)


def _max_pool(writer: _Writer, step: MaxPool) -> int:
    windows, p = Windows.of(step.size, step.stride, step.padding), qparams_of(step.x)
    x = _padded(writer, step.x, windows, int8_limits(p)[0])
    height, width = windows.kernel
    options = windows.options(writer, same=False) | {"filterHeight": height, "filterWidth": width}
    return writer.graph.add(Operator("MAX_POOL_2D", 2, "Pool2D"), [x], writer.codes(step.y), **options)


def _relu(writer: _Writer, step: ReluOnCodes) -> int:
    return writer.graph.add(RELU, [writer.tensors[step.x.name]], writer.codes(step.y))


def _flatten(writer: _Writer, step: FlattenCodes) -> int:
    """The rows keep the file's order, which the next product's columns follow."""
    shape = [-1, *step.y.shape]
    inputs = [writer.tensors[step.x.name], writer.graph.integers(f"{step.y.name}/shape", shape)]
    return writer.graph.add(RESHAPE, inputs, writer.codes(step.y), newShape=shape)


def _table(writer: _Writer, step: Table) -> int:
    """The answers, looked up by the code: its distance from the lowest one, as int32."""
    graph, p, out, name = writer.graph, qparams_of(step.x), qparams_of(step.y), step.y.name
    shape, types = (graph.batch, *writer.layout.shape(step.x)), graph.schema.TensorType
    wide = graph.tensor(f"{name}/wide", shape, "INT32")
    graph.add(CAST, [writer.tensors[step.x.name]], wide, inDataType=types.INT8, outDataType=types.INT32)
    lowest = graph.integers(f"{name}/lowest", -int8_limits(p)[0])
    index = graph.add(ADD, [wide, lowest], graph.tensor(f"{name}/index", shape, "INT32"))
    codes = stored(step.answers, out)
    answers = graph.tensor(f"{name}/answers", codes.shape, "INT8", out.scale, int8_zero_point(out), data=codes)
    return graph.add(GATHER, [answers, index], writer.codes(step.y), axis=0)


def _add(writer: _Writer, step: Add) -> int:
    if writer.layout.same_order(step.x, step.other):
        both = [writer.tensors[value.name] for value in (step.x, step.other)]
    else:
        both = [writer.in_order(value) for value in (step.x, step.other)]
    return writer.within(step.y, writer.graph.add(ADD, both, writer.codes(step.y)))


WRITERS: Mapping[type[Step], Callable[[_Writer, Any], int]] = {
    Add: _add,
    Convolution: _convolution,
    FlattenCodes: _flatten,
    MaxPool: _max_pool,
    Product: _product,
    ReluOnCodes: _relu,
    Table: _table,
}
