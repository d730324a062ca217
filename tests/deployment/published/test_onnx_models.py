"""The float models of the onnx package's own backend tests, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.deployment import quantize_onnx
from tinytorch.deployment.extras import library

pytestmark = pytest.mark.engines
PRODUCTS = {"Conv", "Gemm", "MatMul", "ConvTranspose", "Gather"}


def has_products(model: Any) -> bool:
    return bool(PRODUCTS.intersection(node.op_type for node in model.graph.node))


def data() -> Path:
    return Path(str(library("onnx").__file__)).parent / "backend" / "test" / "data"


def quantized_in_every_way(model: Any, batches: list[Any]) -> list[float]:
    """The outputs' SQNR, dB: static, dynamic, of weights alone, per tensor; none without constant weights."""
    ways: list[dict[str, Any]] = [{}, {"activations": "dynamic"}, {"activations": "float"}, {"axis": None}]
    try:
        made = [quantize_onnx(model, batches, **way) for way in ways]
    except ValueError as error:
        assert "there is nothing to quantize" in str(error), error
        return []
    return [float("nan") if each.output_sqnr_db is None else each.output_sqnr_db for each in made]


def test_models_converted_from_pytorch() -> None:
    onnx, measured = library("onnx"), 0
    for path in sorted(data().glob("pytorch-*/*/model.onnx")):
        if has_products(onnx.load(path)):
            inputs = [onnx.TensorProto.FromString(pb.read_bytes()) for pb in sorted(path.parent.rglob("input_*.pb"))]
            decibels = quantized_in_every_way(path, [[onnx.numpy_helper.to_array(pb) for pb in inputs]])
            assert all(each > 25 for each in decibels), (path, decibels)
            measured += len(decibels)
    assert measured >= 80


@pytest.mark.nightly
def test_single_nodes_with_all_inputs_but_one_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytorch.deployment.published.products.LEAST", 1)
    onnx, measured = library("onnx"), 0
    cases = library("onnx.backend.test.case.node").collect_testcases(None)
    for case in (case for case in cases if case.model and has_products(case.model)):
        inputs = [np.asarray(array) for array in case.data_sets[0][0]]
        for kept in range(min(2, len(inputs))):
            model = onnx.ModelProto()
            model.CopyFrom(case.model)
            names = [value.name for value in model.graph.input]
            constants = [(n, a) for i, (n, a) in enumerate(zip(names, inputs, strict=False)) if i != kept]
            model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants)
            only = [model.graph.input[kept]]
            del model.graph.input[:]
            model.graph.input.extend(only)
            if not runs(model):
                continue
            decibels = quantized_in_every_way(model, [[inputs[kept]]])
            poisoned = "poison" in case.name  # numbers of 1e4 and more, which a mask hides, beside numbers below 1
            assert poisoned or all(each > 20 for each in decibels), (case.name, kept, decibels)
            measured += len(decibels)
    assert measured >= 900


def runs(model: Any) -> bool:
    """Whether ONNX Runtime runs the float model: it does not know all types."""
    try:
        library("onnxruntime").InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50"])
def test_whole_networks(name: str) -> None:
    onnx, path = library("onnx"), data() / "light" / f"light_{name}.onnx"
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    (x,) = (value for value in model.graph.input if value.name not in weights)
    shape = [dim.dim_value for dim in x.type.tensor_type.shape.dim]
    made = quantize_onnx(path, [np.random.default_rng(0).normal(size=shape).astype(np.float32)])
    assert len(made.products) > 5 and made.output_sqnr_db is not None and made.output_sqnr_db > 30
    assert made.nbytes < 0.32 * made.nbytes_before
