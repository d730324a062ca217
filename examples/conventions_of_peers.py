"""Codes of other libraries, bit for bit: ONNX Runtime's are ours, PyTorch's come out with its scale of 127.5."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper
from onnxruntime import InferenceSession

from tinytorch.quantization import INT8, MinMaxObserver, QParams, choose_qparams, quantize

x = np.random.default_rng(0).normal(size=100_000).astype(np.float32) * 3
p = choose_qparams(x.min(), x.max())
x[:20_000] = (np.arange(20_000) % 255 - 127.5).astype(np.float32) * p.scale  # ties, or a neighbour of one

nodes = [helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["q"])]
given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])
gives = helper.make_tensor_value_info("q", TensorProto.INT8, [None])
constants = [
    helper.make_tensor("scale", TensorProto.FLOAT, [], [float(p.scale)]),
    helper.make_tensor("zero_point", TensorProto.INT8, [], [int(p.zero_point)]),
]
graph = helper.make_graph(nodes, "codes", [given], [gives], constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
theirs = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
assert np.array_equal(quantize(x, p), theirs), "ONNX Runtime's codes"

# PyTorch's MinMaxObserver, symmetric qint8, as it answered for streams of batches: (largest |x|) / 127.5.
kept = np.load(Path(__file__).parents[1] / "tests" / "conformance" / "torch_answers.npz")
for batches, scale in zip(kept["range_batches"], kept["range_symmetric_scale"], strict=True):
    observer = MinMaxObserver()
    for batch in batches:
        observer.observe(batch)
    ours = observer.qparams(INT8, symmetric=True)
    assert scale == 2.0**-23 or abs(ours.scale * 127 / 127.5 - scale) < 1e-6 * scale, "its least scale, or 127.5"
half = np.array([0.9], np.float32)
assert quantize(half, QParams(1 / 127, 0)).tolist() == [114] and quantize(half, QParams(1 / 127.5, 0)).tolist() == [115]
print(f"{x.size:,} codes are ONNX Runtime's; PyTorch's symmetric scale is ours times 127 / 127.5")
