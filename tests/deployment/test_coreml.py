"""Core ML programs of quantized networks: they load again, hold the codes, and MIL folds them to the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.core import GELU, Conv2d, Flatten, LayerNorm, Linear, MaxPool2d, Module, ReLU, Residual, Sequential
from tinytorch.deployment import Quantize, to_coreml, trace
from tinytorch.deployment.stored import int8_zero_point
from tinytorch.quantization import INT4, UINT4, UINT8, IntType, quantize_static, quantize_weight_only

pytestmark = pytest.mark.coreml
X = np.random.default_rng(17).normal(0.5, 1, (16, 2, 12, 12)).astype(np.float32)


def network() -> Sequential:
    rng = np.random.default_rng(1)
    block = Sequential(Conv2d(6, 6, 3, padding=1, groups=6, rng=rng), ReLU(), Conv2d(6, 6, 1, rng=rng))
    return Sequential(
        *(Conv2d(2, 6, 3, padding=1, rng=rng), ReLU(), Residual(block), MaxPool2d(2), Conv2d(6, 4, 3, rng=rng)),
        *(GELU(), Flatten(), Linear(4 * 4 * 4, 20, rng=rng), ReLU(), Linear(20, 10, rng=rng)),
    )


def operations(model: Any) -> list[Any]:
    functions = model.get_spec().mlProgram.functions
    return [op for f in functions.values() for block in f.block_specializations.values() for op in block.operations]


@pytest.mark.parametrize("axis", [0, None])
def test_a_package_loads_again_and_holds_what_was_written(tmp_path: Path, axis: int | None) -> None:
    import coremltools

    made = to_coreml(quantize_static(network(), [X], axis=axis), X.shape[1:])
    made.save(str(tmp_path / "net.mlpackage"))
    again = coremltools.models.MLModel(str(tmp_path / "net.mlpackage"), skip_model_load=True)
    kinds = [op.type for op in operations(again)]
    assert kinds == [op.type for op in operations(made)]
    assert kinds.count("constexpr_affine_dequantize") == 6
    assert kinds.count("conv") == 4 and kinds.count("linear") == 2
    assert kinds.count("quantize") >= 6


@pytest.mark.parametrize("activation_type", [IntType(8), UINT8], ids=str)
def test_mil_folds_codes_to_the_same_numbers(activation_type: IntType) -> None:
    """MIL computes what stands between constants while it builds: its quantize, dequantize and weights are ours."""
    from coremltools.converters.mil import Builder as mb

    from tinytorch.deployment.coreml_file import rounded

    steps = trace(quantize_static(network(), [X], activation_type=activation_type), X)
    first = next(step for step in steps.steps if isinstance(step, Quantize))
    p = first.y.qparams
    assert p is not None
    x = np.concatenate([X.ravel(), np.linspace(-9, 9, 40_000)]).astype(np.float32)
    found: dict[str, Any] = {}

    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))])  # type: ignore[untyped-decorator]
    def main(input: Any) -> Any:
        y = rounded(mb, mb.const(val=x), first.y)
        found["floats"] = y.op.materialized_val_inference()
        return input

    from tinytorch.quantization import dequantize, quantize

    assert int8_zero_point(p) in range(-128, 128)
    np.testing.assert_array_equal(found["floats"], dequantize(quantize(x, p), p))


@pytest.mark.parametrize(
    "how",
    [
        {"weight_type": INT4, "group_size": 32},
        {"weight_type": UINT4, "group_size": 16},
        {"weight_type": IntType(8), "group_size": None},
        {"weight_type": IntType(8), "group_size": None, "axis": None},
    ],
    ids=str,
)
def test_weights_alone_are_stored_in_blocks(tmp_path: Path, how: dict[str, Any]) -> None:
    rng = np.random.default_rng(8)
    model = quantize_weight_only(
        Sequential(Linear(64, 32, rng=rng), GELU(), LayerNorm(32), Linear(32, 8, rng=rng)), **how
    )
    made = to_coreml(model, (64,))
    assert [op.type for op in operations(made)].count("constexpr_blockwise_shift_scale") == 2
    made.save(str(tmp_path / "net.mlpackage"))
    size = sum(file.stat().st_size for file in (tmp_path / "net.mlpackage").rglob("*") if file.is_file())
    assert size < 20_000


class Own(Module):
    def forward(self, x: Any) -> Any:
        return x


def test_what_has_no_counterpart_is_named() -> None:
    with pytest.raises(TypeError, match=r"layers\.1, a Own, has no counterpart in Core ML"):
        to_coreml(Sequential(Linear(4, 4), Own()), (4,))


@pytest.mark.parametrize("group_size", [24])
def test_groups_that_do_not_fill_a_row_are_refused(group_size: int) -> None:
    with pytest.raises(TypeError, match="Core ML takes groups that fill a row, got 24 of 64 columns"):
        to_coreml(quantize_weight_only(Linear(64, 4), INT4, group_size), (64,))
