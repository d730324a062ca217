"""Small float models as strangers' exporters write them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.extras import library

FLOAT, FLOAT16, INT64 = 1, 10, 7


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model_of(
    text: str,
    weights: dict[str, NDArray[Any]],
    x: tuple[int | str, ...],
    opset: int = 17,
    kind: int = FLOAT,
    attributes: dict[str, dict[str, Any]] | None = None,
) -> Any:
    """A model of lines such as "y = Relu(h)", from "x" to "y". attributes: of the nodes, by their output."""
    helper, tensor = library("onnx").helper, library("onnx").numpy_helper.from_array
    nodes = []
    for line in text.strip().splitlines():
        output, _, call = (part.strip() for part in line.partition("="))
        operator, _, rest = call.rstrip(")").partition("(")
        inputs = [name.strip() for name in rest.split(",")]
        nodes.append(helper.make_node(operator, inputs, output.split(", "), **(attributes or {}).get(output, {})))
    given = [helper.make_tensor_value_info("x", kind, list(x))]
    gives = [helper.make_tensor_value_info("y", kind, None)]
    graph = helper.make_graph(nodes, "g", given, gives, [tensor(array, name) for name, array in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def network(seed: int = 0) -> Any:
    """Convolution, BatchNormalization, Relu, pooling, a residual sum, a Gemm."""
    r = np.random.default_rng(seed)
    weights = {
        "w1": r.normal(0, 0.3, (8, 3, 3, 3)),
        "b1": r.normal(size=8),
        "gamma": r.uniform(0.5, 2, 8),
        "beta": r.normal(size=8),
        "mean": r.normal(size=8),
        "var": r.uniform(0.5, 2, 8),
        "w2": r.normal(0, 0.2, (8, 8, 3, 3)),
        "b2": r.normal(size=8),
        "w3": r.normal(0, 0.1, (8 * 4 * 4, 10)),
        "b3": r.normal(size=10),
    }
    text = """
        c = Conv(x, w1, b1)
        n = BatchNormalization(c, gamma, beta, mean, var)
        r = Relu(n)
        p = MaxPool(r)
        d = Conv(p, w2, b2)
        e = Relu(d)
        s = Add(p, e)
        f = Flatten(s)
        y = Gemm(f, w3, b3)
    """
    same = {"pads": [1, 1, 1, 1]}
    attributes = {"c": same, "d": same, "p": {"kernel_shape": [2, 2], "strides": [2, 2]}}
    arrays = {name: array.astype(np.float32) for name, array in weights.items()}
    return model_of(text, arrays, ("N", 3, 8, 8), attributes=attributes)


def answers(model: Any, *inputs: NDArray[Any]) -> NDArray[Any]:
    """The first output of a model in ONNX Runtime."""
    session = library("onnxruntime").InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return np.asarray(session.run(None, dict(zip(names, inputs, strict=True)))[0])


def operators_in(model: Any, tmp: Any) -> list[str]:
    """The operators that ONNX Runtime makes of a model."""
    onnx, ort = library("onnx"), library("onnxruntime")
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp / "optimized.onnx"), 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(tmp / "optimized.onnx").graph.node]


def constants_of(model: Any) -> dict[str, NDArray[Any]]:
    return {t.name: library("onnx").numpy_helper.to_array(t) for t in model.graph.initializer}
