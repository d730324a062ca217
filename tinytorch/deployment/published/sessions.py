"""Sessions of ONNX Runtime on one thread, and whether its sums are exact on this machine."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np

from tinytorch.deployment.extras import library


def in_onnxruntime(content: Any, name: str, options: Any = None) -> Any:
    """A session on one thread of the file, or the bytes, of a model. ValueError for what ONNX Runtime cannot run."""
    onnxruntime = library("onnxruntime")
    options = options or quiet_options()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise ValueError(f"ONNX Runtime cannot run {name}: {_cause(error)}") from None


def quiet_options() -> Any:
    options = library("onnxruntime").SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1  # an error is raised as well
    return options


def _cause(error: Exception) -> str:
    if custom := re.search(r"Fatal error: (\S+?)(\(-?\d+\))? is not a registered function", str(error)):
        return f"it does not have the custom operator {custom[1]}"
    lines = re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", str(error)).splitlines() or [str(error)]
    return lines[0][:300]


@cache
def saturates() -> bool:
    """Whether ONNX Runtime adds products of uint8 and int8 in 16 bits here, as on x86 without VNNI: it is tried.

    Codes of 7 bits do not reach so far. Its option "session.x64quantprecision" makes sums of 8 bits exact, too, but
    takes most of what they gain.
    """
    onnx = library("onnx")
    helper, rows, w = onnx.helper, 64, np.full((64, 16), 127, np.int8)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "sums",
        [value("x", onnx.TensorProto.UINT8, [1, rows])],
        [value("y", onnx.TensorProto.INT32, [1, 16])],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = in_onnxruntime(model.SerializeToString(), "a sum", quiet_options())
    (sums,) = session.run(["y"], {"x": np.full((1, rows), 255, np.uint8)})
    return bool((sums != 255 * 127 * rows).any())
