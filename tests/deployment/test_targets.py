"""The written rules of engines that cannot run here: what keeps them passes, and a breach of each is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.core import GELU, Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential
from tinytorch.deployment import (
    compare,
    edgetpu_faults,
    micro_faults,
    tensorrt_faults,
    to_onnx,
    to_tflite,
    with_output_codes,
)
from tinytorch.quantization import INT4, UINT8, convert, prepare_qat, quantize_static

pytestmark = pytest.mark.engines
X = np.random.default_rng(17).normal(0.5, 1, (16, 2, 12, 12)).astype(np.float32)


def network(function: type[Module] = ReLU, groups: int = 1) -> Sequential:
    rng = np.random.default_rng(1)
    return Sequential(
        *(Conv2d(2, 6, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2), Conv2d(6, 6, 3, groups=groups, rng=rng)),
        *(function(), Flatten(), Linear(6 * 4 * 4, 20, rng=rng), ReLU(), Linear(20, 10, rng=rng)),
    )


def symmetric(**how: Any) -> Module:
    return quantize_static(network(), [X], symmetric=True, **how)


# Symmetric activations


def test_symmetric_activations_have_zero_point_0_everywhere() -> None:
    for model in (symmetric(), symmetric(axis=None), convert(prepare_qat(network(), [X], symmetric=True))):
        qparams = [p for _, m in model.named_modules() if (p := getattr(m, "input_qparams", None)) is not None]
        assert len(qparams) >= 4
        assert all(p.zero_point == 0 for p in qparams)


def test_symmetric_activations_cost_little() -> None:
    floats = network()(X).data
    for how in (False, True):
        answers = quantize_static(network(), [X], symmetric=how)(X).data
        assert np.abs(answers - floats).max() < 0.1 * np.abs(floats).max()


def test_what_has_no_sign_is_not_symmetric() -> None:
    with pytest.raises(ValueError, match="symmetric activations need a signed type, got uint8: use int8"):
        symmetric(activation_type=UINT8)
    with pytest.raises(ValueError, match="learned steps choose their zero points"):
        prepare_qat(network(), [X], learned=True, symmetric=True)
    with pytest.raises(TypeError, match="symmetric"):
        quantize_static(network(), [X], symmetric="yes")  # type: ignore[arg-type]


# TensorRT


def test_a_file_for_tensorrt_keeps_its_rules_and_runs_elsewhere() -> None:
    model = symmetric()
    file = to_onnx(model, X.shape[1:], target="tensorrt")
    assert tensorrt_faults(file) == []
    biases = [node for node in file.graph.node if any("bias" in name for name in node.output)]
    assert biases == [], "biases are floats"
    found = compare(model, file, X)
    assert max(layer.largest for layer in found.layers[:-1]) <= 1, "ONNX Runtime computes it in float"


def test_other_zero_points_are_refused() -> None:
    with pytest.raises(ValueError, match="TensorRT takes no zero point but 0, as .* has: quantize with symmetric"):
        to_onnx(quantize_static(network(), [X]), X.shape[1:], target="tensorrt")


def no_zero_points(file: Any) -> None:
    for node in file.graph.node:
        if node.op_type == "QuantizeLinear":
            (constant,) = (t for t in file.graph.initializer if t.name == node.input[2])
            constant.raw_data = b"\x05"
            return


def another_axis(file: Any) -> None:
    node = next(
        n for n in file.graph.node if n.op_type == "DequantizeLinear" and any(a.name == "axis" for a in n.attribute)
    )
    next(a for a in node.attribute if a.name == "axis").i = 1


def old(file: Any) -> None:
    file.opset_import[0].version = 12


@pytest.mark.parametrize(
    ("edit", "said"),
    [(no_zero_points, "zero point but 0"), (another_axis, "scales along axis 1"), (old, "opset 12")],
    ids=["zero points", "an axis", "an old opset"],
)
def test_a_breach_of_tensorrts_rules_is_named(edit: Callable[[Any], None], said: str) -> None:
    file = to_onnx(symmetric(), X.shape[1:], target="tensorrt")
    edit(file)
    assert [fault for fault in tensorrt_faults(file) if fault.startswith(said)]


@pytest.mark.parametrize(
    ("form", "said"),
    [("qdq", "quantized bias"), ("qdq", "uint8"), ("qoperator", "QLinearConv"), ("standard", "QLinearConv")],
)
def test_other_forms_break_tensorrts_rules(form: Any, said: str) -> None:
    assert [fault for fault in tensorrt_faults(to_onnx(symmetric(), X.shape[1:], form)) if fault.startswith(said)]


# Edge TPU and TFLite Micro


def codes(model: Module) -> Module:
    return with_output_codes(quantize_static(model, [X]), [X])


def test_a_file_of_codes_keeps_the_rules_of_edge_tpu_and_micro() -> None:
    file = to_tflite(codes(network()), X.shape[1:], "int8")
    assert edgetpu_faults(file) == micro_faults(file) == []


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda: to_tflite(codes(network()), X.shape[1:]), "input is float32: codes go in and come out"),
        (
            lambda: to_tflite(codes(network()), X.shape[1:], "int8", batch=4),
            "has four axes above 1: write it with batch=1",
        ),
        (lambda: to_tflite(codes(network(GELU)), X.shape[1:], "int8"), "the Edge TPU has no such operator"),
    ],
    ids=["floats", "a batch", "a table"],
)
def test_a_breach_of_edge_tpus_rules_is_named(write: Callable[[], bytes], said: str) -> None:
    assert [fault for fault in edgetpu_faults(write()) if said in fault]


def test_groups_are_no_operator_of_tflite_micro() -> None:
    file = to_tflite(codes(network(groups=2)), X.shape[1:], "int8")
    (fault,) = micro_faults(file)
    assert fault.startswith("groups of channels at layers.3: TFLite Micro")
    assert micro_faults(to_tflite(codes(network(groups=6)), X.shape[1:], "int8")) == [], "each channel by itself is one"


@pytest.mark.micro
def test_arms_compiler_puts_every_operator_on_its_npu(tmp_path: Path) -> None:
    mlp = Sequential(Linear(24, 20, rng=np.random.default_rng(2)), ReLU(), Linear(20, 10, rng=np.random.default_rng(3)))
    rows = X.reshape(-1, 24)
    for name, model, shape in (
        ("cnn", codes(network()), X.shape[1:]),
        ("mlp", with_output_codes(quantize_static(mlp, [rows]), [rows]), (24,)),
        ("int4", codes_of_int4(), X.shape[1:]),
    ):
        (tmp_path / f"{name}.tflite").write_bytes(to_tflite(model, shape, "int8"))
        command = [sys.executable, "-m", "ethosu.vela", "--output-dir", str(tmp_path), f"{name}.tflite"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "CPU operators = 0 (0.0%)" in done.stdout
        assert (tmp_path / f"{name}_vela.tflite").stat().st_size > 1000


def codes_of_int4() -> Module:
    return with_output_codes(quantize_static(network(), [X], weight_type=INT4), [X])
