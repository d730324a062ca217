"""What quantize_onnx does not take is refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.deployment import Scheme, quantize_onnx
from tinytorch.deployment.extras import library
from tinytorch.quantization import INT4, UINT8, IntType

from .models import model_of, numbers

pytestmark = pytest.mark.engines
MATRIX = {"w": numbers(16, 8), "b": numbers(8, seed=1)}


def gemm() -> Any:
    return model_of("y = Gemm(x, w, b)", MATRIX, ("N", 16))


def custom() -> Any:
    model = gemm()
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(library("onnx").helper.make_opsetid("com.example", 1))
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"no protobuf at all", "the model is not an ONNX model: wanted a file that torch.onnx.export"),
        (b"", "the model is not an ONNX model"),
        ("text.onnx", "text.onnx is not an ONNX model"),
        (custom, r"ONNX Runtime cannot run the model: it does not have the custom operator com\.example:Gemm"),
        (lambda: model_of("y = Relu(x)", {}, ("N", 16)), "the model has no constant weights of Conv"),
        (lambda: quantize_onnx(gemm(), [numbers(4, 16)]).model, "quantized already, as (De)?[qQ]uantizeLinear shows"),
        (lambda: quantize_onnx(gemm(), activations="dynamic").model, "quantized already, as DynamicQuantizeLinear"),
    ],
)
def test_what_is_no_float_model_is_named(model: Any, message: str, tmp_path: Path) -> None:
    if isinstance(model, str):
        model = tmp_path / model
        model.write_text("hello, I am not a model", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        quantize_onnx(model() if callable(model) else model, [numbers(4, 16)])


def test_what_is_no_model_at_all() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.onnx: there is no such file"):
        quantize_onnx("nowhere.onnx", [])
    with pytest.raises(TypeError, match=r"wanted a path, bytes or an onnx.ModelProto, got int"):
        quantize_onnx(3, [])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "there was no calibration batch"),
        (None, 'static quantization needs batches of inputs: pass some, or activations="dynamic"'),
        ([numbers(4, 15)], r"input x wants shape \['any', 16\], got \[4, 15\]"),
        ([numbers(16)], r"input x wants shape \['any', 16\], got \[16\]"),
        ([np.array([["a"] * 16])], r"input x wants float32, got <U1"),
        ([{"z": numbers(4, 16)}], "the model has the inputs x: a batch held z"),
        ([(numbers(4, 16), numbers(4))], "the model has the inputs x: a batch held 2 arrays"),
        ([numbers(4, 16), np.full((4, 16), np.nan)], "calibration batch 1, x: "),
    ],
)
def test_batches_that_the_model_does_not_take(batches: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize_onnx(gemm(), batches)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scheme(UINT8), "weights are symmetric, so their type is signed: IntType"),
        (lambda: Scheme(activations="codes"), "activations must be one of static, dynamic, float, got 'codes'"),  # type: ignore[arg-type]
        (lambda: Scheme(INT4), 'no engine multiplies int4 weights by codes: activations="float"'),
        (
            lambda: Scheme(INT4, "float", 24),
            r"groups are of weights of 4 bits, 16, 32, 64, \.\.\. numbers each, got 24",
        ),
        (lambda: Scheme(IntType(8), "float", 32), "groups are of weights of 4 bits"),
        (
            lambda: quantize_onnx(gemm(), budget=0.1, activations="dynamic"),
            "errors of the outputs are measured on batches",
        ),
        (lambda: quantize_onnx(gemm(), [numbers(4, 16)], budget=-1), "budget"),
        (lambda: quantize_onnx(gemm(), [numbers(4, 16)], budget=float("nan")), "budget"),
    ],
)
def test_schemes_and_budgets_that_are_none(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
