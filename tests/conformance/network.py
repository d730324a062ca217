"""ONNX Runtime on a whole network: a trained Linear/ReLU chain, quantized by `quantize_static`, as two graphs.

The integer graph does what our layers do. The QDQ graph is the form in which quantized networks are exchanged: float
operators, the ReLUs among them, between QuantizeLinear and DequantizeLinear. ONNX Runtime can run it as it stands, in
float32, or fuse it into integer operators first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from tinytorch.core import Adam, Linear, ReLU, Sequential, Tensor, fit, load_digits
from tinytorch.quantization import (
    QParams,
    QuantizedLinear,
    QuantizedTensor,
    integer_matmul,
    quantize_static,
)

from .counting import Answer, Array, Count, count
from .peers import Constant, Node, session, version

Graph = Callable[[int], list[Node]]  # of the number of layers


@cache
def network(axis: int | None) -> tuple[list[Any], Array]:
    """The quantized layers, and all the images to run them on: float32 [1797, 64]. axis: of the weights' scales."""
    data, rng = load_digits(), np.random.default_rng(17)
    model = Sequential(Linear(64, 48, rng=rng), ReLU(), Linear(48, 32, rng=rng), ReLU(), Linear(32, 10, rng=rng))
    fit(model, data.x_train, data.y_train, epochs=3, optimizer=Adam(model.parameters(), lr=3e-3))
    quantized: Any = quantize_static(model, np.array_split(data.x_train[:256], 4), axis=axis)
    return quantized.layers, np.concatenate([data.x_train, data.x_test])


def constants(layers: list[Any]) -> dict[str, Constant]:
    """What the layers hold, by name: of layer 0 the input's s0, z0; weight w0, sw0, zw0; bias b0, sb0."""
    named: dict[str, Constant] = {}
    for i, layer in enumerate(layers):
        channels = layer.weight.shape[0]
        scale = np.broadcast_to(layer.weight.qparams.scale.ravel(), channels).copy()
        named |= {
            f"s{i}": Constant(layer.input_qparams.scale, "FLOAT"),
            f"z{i}": Constant(layer.input_qparams.zero_point.astype(np.int8), "INT8"),
            f"w{i}": Constant(layer.weight.q, "INT8"),
            f"sw{i}": Constant(scale, "FLOAT"),
            f"zw{i}": Constant(np.zeros(channels, np.int8), "INT8"),
            f"b{i}": Constant(layer.bias, "INT32"),
            f"sb{i}": Constant(layer.input_qparams.scale * scale, "FLOAT"),
        }
    return named


def integer_graph(layers: int) -> list[Node]:
    """QuantizeLinear, then a QGemm a layer: int8 product, int32 bias, requantization; the last one gives floats."""
    nodes = [Node("QuantizeLinear", ["x", "s0", "z0"], ["q0"])]
    for i in range(layers):
        last = i == layers - 1
        inputs = [f"q{i}", f"s{i}", f"z{i}", f"w{i}", f"sw{i}", f"zw{i}", f"b{i}"]
        inputs += [] if last else [f"s{i + 1}", f"z{i + 1}"]
        nodes.append(Node("QGemm", inputs, ["y" if last else f"q{i + 1}"], {"transB": 1}, "com.microsoft"))
    return nodes


def qdq_graph(layers: int) -> list[Node]:
    """QuantizeLinear, then for each layer DequantizeLinear of input, weight and bias, Gemm, Relu, QuantizeLinear."""
    nodes = [Node("QuantizeLinear", ["x", "s0", "z0"], ["q0"])]
    for i in range(layers):
        last = i == layers - 1
        nodes += [
            Node("DequantizeLinear", [f"q{i}", f"s{i}", f"z{i}"], [f"x{i}"]),
            Node("DequantizeLinear", [f"w{i}", f"sw{i}", f"zw{i}"], [f"weight{i}"], {"axis": 0}),
            Node("DequantizeLinear", [f"b{i}", f"sb{i}"], [f"bias{i}"], {"axis": 0}),
            Node("Gemm", [f"x{i}", f"weight{i}", f"bias{i}"], ["y" if last else f"sum{i}"], {"transB": 1}),
        ]
        if not last:
            nodes.append(Node("Relu", [f"sum{i}"], [f"relu{i}"]))
            nodes.append(Node("QuantizeLinear", [f"relu{i}", f"s{i + 1}", f"z{i + 1}"], [f"q{i + 1}"]))
    return nodes


def outputs(graph: Graph, axis: int | None, optimize: bool) -> Iterator[tuple[Any, Any, Array, Array]]:
    """(layer, its input, our output, theirs) of each layer: codes, and of the last layer float32.

    Our layer is given the codes that theirs was given, so that one difference is counted once.
    """
    layers, x = network(axis)
    types = {f"q{i}": "INT8" for i in range(len(layers))} | {"y": "FLOAT"}
    _, *theirs = session(graph(len(layers)), {"x": "FLOAT"}, types, constants(layers), optimize)(x=x)
    given: Any = Tensor(x)
    for layer, answer in zip(layers, theirs, strict=True):
        ours = layer(given)
        yield layer, given, ours.data if layer.output_qparams is None else ours.q, answer
        given = None if layer.output_qparams is None else QuantizedTensor(answer, layer.output_qparams)


def whole_network(name: str, graph: Graph, axis: int | None, optimize: bool, floats: bool) -> Count:
    """floats: compare the float32 results of the last layer too, not only the codes between the layers."""

    def answers() -> Iterator[Answer]:
        for i, (layer, _, ours, theirs) in enumerate(outputs(graph, axis, optimize)):
            if floats or layer.output_qparams is not None:
                yield f"layer {i}", ours, theirs

    types = "INT8, weights per " + ("tensor" if axis is None else "channel")
    return count(name, types, version("onnxruntime"), answers())


def integer_network(axis: int | None) -> Count:
    return whole_network("network, integer graph", integer_graph, axis, optimize=False, floats=True)


def fused_network(axis: int | None) -> Count:
    """Its floats are ours to the last bit only if ONNX Runtime did fuse it."""
    return whole_network("network, QDQ graph, fused", qdq_graph, axis, optimize=True, floats=True)


def float_network(axis: int | None) -> Count:
    return whole_network("network, QDQ graph, in floats", qdq_graph, axis, optimize=False, floats=False)


def next_to_ties(number: int = 50, channels: int = 4000) -> Count:
    """Static layers whose sums are their biases (the weights meet the code of 0), chosen so that the result lies next
    to a tie: there it shows in which order, and how exactly, the three scales are combined."""
    rng = np.random.default_rng(17)
    zero = Tensor(np.zeros((1, 1), np.float32))

    def answers() -> Iterator[Answer]:
        for i in range(number):
            s_x, s_y = (np.float32(2 ** rng.uniform(-8, 0)) for _ in range(2))
            weight = np.exp2(rng.uniform(-18, -16, (channels, 1))) * s_y / s_x * 127  # s_x s_w / s_y about 2**-17
            bias = (rng.integers(-100, 100, channels) + 0.5) * s_y
            given, result = QParams(s_x, rng.integers(-128, 128)), QParams(s_y, 0)
            layer = QuantizedLinear(weight.astype(np.float32), bias.astype(np.float32), given, result)
            named = constants([layer]) | {
                "s1": Constant(result.scale, "FLOAT"),
                "z1": Constant(np.zeros((), np.int8), "INT8"),
            }
            theirs = session(integer_graph(2)[:2], {"x": "FLOAT"}, {"q1": "INT8"}, named)(x=zero.data)[0]
            ours: Any = layer(zero)
            yield f"layer {i}", ours.q, theirs

    return count("QuantizedLinear, next to ties", "INT8", version("onnxruntime") + " QGemm", answers())


def distance_to_tie(layer: QuantizedLinear, given: Any) -> tuple[Array, Array]:
    """(how far the exact output of a hidden layer is from the next tie, how far float32 may move it): both in codes.

    float64 [rows, channels]. The float graph rounds each dequantized number, each product and each of the K + 1 sums to
    float32, and divides by the scale: K + 6 relative errors of 2**-24 on the sum of all magnitudes. Ours rounds the
    sum, the three scales and the product: 5 on the result.
    """
    assert layer.input_qparams is not None and layer.output_qparams is not None
    p, w = layer.input_qparams, layer.weight.q
    codes = given.q if isinstance(given, QuantizedTensor) else layer._codes(given)[0]
    m = layer.weight.qparams.scale.ravel().astype(np.float64) * p.scale / layer.output_qparams.scale
    exact = (integer_matmul(codes, w.T, p.zero_point) + layer.bias.astype(np.int64)) * m
    magnitude = np.abs(codes.astype(np.float64) - p.zero_point) @ np.abs(w.T.astype(np.float64)) + np.abs(layer.bias)
    slack = 2.0**-24 * ((w.shape[1] + 6) * magnitude * m + 5 * np.abs(exact)) * (1 + 2.0**-10)
    return np.abs(exact - np.floor(exact) - 0.5), slack
