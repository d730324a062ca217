"""Training adds the biases that the integer network adds: whole steps of s_x s_w, and not what they were in float."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytorch.core import (
    SGD,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    Tensor,
    no_grad,
    train_step,
)
from tinytorch.quantization import (
    INT8,
    IntType,
    QuantizedLinear,
    convert,
    correct_bias,
    freeze,
    prepare_qat,
    sqnr_db,
)

IMAGES = np.random.default_rng(0).normal(size=(64, 2, 6, 6)).astype(np.float32)
ROWS = IMAGES[:, 0].reshape(64, 36)
LABELS = np.random.default_rng(1).integers(0, 5, 64)


def mlp() -> Module:
    rng = np.random.default_rng(0)
    return Sequential(Linear(36, 16, rng=rng), ReLU(), Linear(16, 16, rng=rng), ReLU(), Linear(16, 5, rng=rng))


def cnn() -> Module:
    rng = np.random.default_rng(0)
    return Sequential(
        Conv2d(2, 6, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2),
        Conv2d(6, 6, 2, groups=3, rng=rng), ReLU(), Flatten(), Linear(24, 5, bias=False, rng=rng),
    )  # fmt: skip


def residual() -> Module:
    rng = np.random.default_rng(0)
    block = Sequential(Linear(36, 8, rng=rng), ReLU(), Linear(8, 36, rng=rng))
    return Sequential(Residual(block), ReLU(), Linear(36, 5, rng=rng))


def trained(model: Module, x: np.ndarray, **how: Any) -> Module:
    """Prepared, and trained for four steps with biases as large as outputs; its ranges frozen; in evaluation mode."""
    for param in model.parameters():
        if param.ndim == 1:
            param.data += np.random.default_rng(2).normal(size=param.shape).astype(np.float32)
    prepared = prepare_qat(model, [x], **how)
    optimizer = SGD(prepared.parameters(), lr=0.05)
    for _ in range(4):
        train_step(prepared, optimizer, x, LABELS)
    return freeze(prepared).eval()


def outputs(model: Module, x: np.ndarray) -> np.ndarray:
    with no_grad():
        return np.asarray(model(x).data)


@pytest.mark.parametrize("axis", [0, None], ids=["per channel", "per tensor"])
@pytest.mark.parametrize("learned", [False, True], ids=["ranges", "learned steps"])
@pytest.mark.parametrize(("bits", "activation_bits"), [(8, 8), (4, 4), (3, 8), (2, 8)])
@pytest.mark.parametrize("make", [mlp, cnn, residual])
def test_the_trained_network_and_the_converted_one_are_the_same(
    make: Any, bits: int, activation_bits: int, learned: bool, axis: int | None
) -> None:
    """To float32's rounding, but for codes next to a tie, of which one in a thousand numbers may be one."""
    x = ROWS if make is not cnn else IMAGES
    prepared = trained(
        make(), x, weight_type=IntType(bits), activation_type=IntType(activation_bits), learned=learned, axis=axis
    )
    ours, integer = outputs(prepared, x), outputs(convert(prepared), x)
    same = np.abs(ours - integer).max(1) <= 1e-4 * np.abs(ours).max()
    if make is residual:  # whose sum is rounded once more when it is converted
        assert np.mean(ours.argmax(1) == integer.argmax(1)) > 0.9
        return
    assert same.mean() >= 0.97 and sqnr_db(ours[same], integer[same]) > 110


def test_one_layer_is_the_same_to_the_rounding_of_float32() -> None:
    """Every number, and the bias that was added is a whole number of steps: computed here from the saved parts."""
    prepared: Any = trained(Sequential(Linear(36, 5, rng=np.random.default_rng(0))), ROWS, weight_type=IntType(2))
    layer = prepared.layers[0]
    added = outputs(prepared, np.zeros((1, 36), np.float32))[0]
    step = layer.weight.qparams.scale.ravel().astype(np.float64) * layer.input.qparams.scale
    assert np.allclose(added, np.rint(layer.layer.bias.data / step) * step, rtol=2**-20)
    assert np.abs(added - layer.layer.bias.data).max() > 1e-3, "steps of 2-bit weights are large"
    assert sqnr_db(outputs(prepared, ROWS), outputs(convert(prepared), ROWS)) > 120


@pytest.mark.parametrize("tiny", [0.0, 1e-9, 1e-30])
def test_a_dead_row_is_trained_with_the_bias_that_it_will_have(tiny: float) -> None:
    """Where the bias chooses its own scale it is not rounded to whole steps of the input's, in training either."""
    layer = Linear(36, 4, rng=np.random.default_rng(0))
    layer.weight.data[1] *= np.float32(tiny)
    layer.bias.data[1] = 0.45  # type: ignore[union-attr]
    prepared = prepare_qat(Sequential(layer), [100 * ROWS]).eval()
    ours, integer = outputs(prepared, 100 * ROWS), outputs(convert(prepared), 100 * ROWS)
    assert np.allclose(ours[:, 1], 0.45, rtol=1e-4) and np.allclose(integer[:, 1], 0.45, rtol=1e-4)
    assert sqnr_db(ours, integer) > 120


@pytest.mark.parametrize("seed", range(12))
def test_every_bias_is_added_as_the_integer_layer_holds_it(seed: int) -> None:
    """To the bit: its int32 steps times their size, for rows and biases from next to nothing to too large."""
    rng = np.random.default_rng(seed)
    axis, bits = (None, 0)[seed % 2], int(rng.integers(2, 9))
    layer: Any = Conv2d(2, 6, 3, groups=2, rng=rng) if seed % 3 == 0 else Linear(36, 6, rng=rng)
    rows = (6, *(1,) * (layer.weight.ndim - 1))
    layer.weight.data[:] *= (10.0 ** rng.integers(-12, 3, rows)).astype(np.float32)
    layer.bias.data[:] = rng.normal(size=6) * 10.0 ** rng.integers(-9, 9, 6)
    x = IMAGES if isinstance(layer, Conv2d) else ROWS
    prepared: Any = prepare_qat(Sequential(layer), [x], IntType(bits), axis=axis, learned=seed % 4 == 1).eval()
    outputs(prepared, x)
    made: Any = convert(prepared).layers[0]  # type: ignore[attr-defined]
    parts = getattr(made, "products", [made])
    held = [p.bias.astype(np.float32) * (p.input_qparams.scale * p.weight.qparams.scale.ravel()) for p in parts]
    assert np.array_equal(prepared.layers[0].running_bias(), np.concatenate(held))


def test_a_layer_that_will_be_dynamic_keeps_its_bias_in_float() -> None:
    prepared: Any = prepare_qat(Sequential(Linear(36, 4, rng=np.random.default_rng(0))), [0 * ROWS], IntType(2)).eval()
    bias = prepared.layers[0].layer.bias.data
    assert np.array_equal(outputs(prepared, 0 * ROWS)[0], bias)
    made: Any = convert(prepared)
    assert isinstance(made.layers[0], QuantizedLinear) and np.array_equal(outputs(made, 0 * ROWS)[0], bias)


def test_the_float_bias_is_trained_with_an_unchanged_gradient() -> None:
    prepared: Any = prepare_qat(Sequential(Linear(36, 5, rng=np.random.default_rng(0))), [ROWS], IntType(2))
    grad = np.random.default_rng(3).normal(size=(64, 5)).astype(np.float32)
    prepared(Tensor(ROWS)).backward(grad)
    assert np.allclose(prepared.layers[0].layer.bias.grad, grad.sum(0), atol=1e-4)
    conv: Any = prepare_qat(Sequential(Conv2d(2, 3, 3, rng=np.random.default_rng(0))), [IMAGES], IntType(2))
    y = conv(Tensor(IMAGES))
    y.backward(np.ones(y.shape, np.float32))
    assert np.allclose(conv.layers[0].layer.bias.grad, 64 * 16)


def test_a_corrected_bias_brings_the_mean_back_to_half_a_step() -> None:
    """Of the network that runs: its bias is rounded, once, behind the correction."""
    model = Sequential(Linear(36, 5, rng=np.random.default_rng(0)))
    prepared: Any = correct_bias(prepare_qat(model, [ROWS], IntType(2), INT8), [ROWS])
    layer = prepared.layers[0]
    step = layer.weight.qparams.scale.ravel() * layer.input.qparams.scale
    moved = outputs(convert(prepared), ROWS).mean(0) - outputs(model, ROWS).mean(0)
    assert (np.abs(moved) <= step / 2 + 1e-5).all(), f"{moved / step} steps"


def test_a_layer_that_convert_refuses_is_still_trained() -> None:
    """Its sums may go beyond int32, so no integer bias has room: convert says so, training goes on in float."""
    layer = Linear(70_000, 1, rng=np.random.default_rng(0))
    layer.weight.data[:] = 1
    prepared = prepare_qat(Sequential(layer), [np.ones((2, 70_000), np.float32)])
    assert np.isfinite(outputs(prepared, np.ones((1, 70_000), np.float32))).all()
    with pytest.raises(OverflowError, match="split K"):
        convert(prepared)
