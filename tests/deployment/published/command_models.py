"""Small float models as somebody else would have written them, for the tests of `tito quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

Shape = tuple[int | str, ...]


def save(path: Path, nodes: list[Any], inputs: dict[str, Shape], outputs: list[str], **weights: Any) -> Path:
    """A model of opset 17, in float32 but inputs and outputs whose names end in "ids", which are int64."""
    import onnx
    from onnx import helper

    kinds = {name: 7 if name.endswith("ids") else 1 for name in (*inputs, *outputs)}
    graph = helper.make_graph(
        nodes,
        "somebody's",
        [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kinds[name], None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def convolutional(path: Path, shape: Shape = ("N", 3, 8, 8), head: str = "second") -> Path:
    """Images to four scores; with channels last, a Transpose comes before."""
    from onnx.helper import make_node

    rng = np.random.default_rng(0)
    last = shape[1] not in (1, 3)
    channels = shape[3] if last else shape[1]
    assert isinstance(channels, int)
    nodes = [make_node("Transpose", ["images"], ["x"], perm=[0, 3, 1, 2])] if last else []
    nodes += [
        make_node("Conv", ["x" if last else "images", "filters"], ["a"], name="first", pads=[1, 1, 1, 1]),
        make_node("Relu", ["a"], ["b"]),
        make_node("GlobalAveragePool", ["b"], ["c"]),
        make_node("Flatten", ["c"], ["d"]),
        make_node("Gemm", ["d", "w"], ["scores"], name=head),
    ]
    filters, w = rng.normal(size=(16, channels, 3, 3)), rng.normal(size=(16, 4))
    weights = {"filters": filters.astype(np.float32), "w": w.astype(np.float32)}
    return save(path, nodes, {"images": shape}, ["scores"], **weights)


def linear(path: Path, layers: int = 2, rows: int | str = "N", width: int = 16) -> Path:
    """x [rows, width] through layers of as many."""
    from onnx.helper import make_node

    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.normal(size=(width, width)).astype(np.float32) / 4 for i in range(layers)}
    names = ["x", *(f"h{i}" for i in range(layers - 1)), "y"]
    nodes = [make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], name=f"layer.{i}") for i in range(layers)]
    return save(path, nodes, {"x": (rows, width)}, ["y"], **weights)


def recurrent(path: Path) -> Path:
    """x [1, 16] and a state [2, 1, 16], whose first axis is not the batch: both through matrices, and added."""
    from onnx.helper import make_node

    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(16, 16)).astype(np.float32) / 4 for name in ("u", "w")}
    nodes = [
        make_node("MatMul", ["x", "w"], ["a"], name="of_x"),
        make_node("MatMul", ["state", "u"], ["b"], name="of_state"),
        make_node("Add", ["a", "b"], ["y"]),
    ]
    return save(path, nodes, {"x": (1, 16), "state": (2, 1, 16)}, ["y"], **weights)
