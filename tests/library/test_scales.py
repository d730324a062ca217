"""Scales that the weights do not tell: rows of zeros or next to nothing, and products of scales beyond float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import accelerate
from tinytorch.core import Conv2d, Flatten, Linear, Module, ReLU, Residual, Sequential, load_state, save_state
from tinytorch.quantization import (
    INT4,
    INT8,
    QParams,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedTensor,
    convert,
    explain,
    prepare_qat,
    quantize_static,
    sqnr_db,
)
from tinytorch.quantization.trees import fuse_chain

Make = Callable[[Module, np.ndarray], Module]
HOW: dict[str, Make] = {
    "static": lambda model, x: quantize_static(model, [x]),
    "static, int4 weights": lambda model, x: quantize_static(model, [x], weight_type=INT4),
    "static, per tensor": lambda model, x: quantize_static(model, [x], axis=None),
    "converted": lambda model, x: convert(prepare_qat(model, [x])),
    "converted, learned steps": lambda model, x: convert(prepare_qat(model, [x], learned=True)),
}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def network(dead: float, tiny: float) -> tuple[Sequential, Sequential]:
    """A network of two layers a share of whose first channels are dead, and one without these weights at all."""
    rng = np.random.default_rng(3)
    with_dead, without = (
        Sequential(Linear(16, 40, rng=np.random.default_rng(1)), ReLU(), Linear(40, 8, rng=np.random.default_rng(2)))
        for _ in "ab"
    )
    rows = rng.permutation(40)[: int(40 * dead)]
    for model, size in ((with_dead, tiny), (without, 0.0)):
        first: Any = model.layers[0]
        first.weight.data[rows] *= np.float32(size)
        first.bias.data[rows] = rng.normal(size=len(rows)) if size else with_dead.layers[0].bias.data[rows]  # type: ignore[attr-defined]
    return with_dead, without


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("tiny", [1e-7, 1e-12, 1e-30, 1e-38])
def test_dead_channels_cost_no_more_than_channels_of_zeros(tiny: float, how: str) -> None:
    """30 % of the channels, with biases of order 1; inputs as large as pixels."""
    x = np.abs(numbers(64, 16)) * 100
    dead, zeros = network(0.3, tiny)
    made = HOW[how](dead, x)
    loss, without = (sqnr_db(m(x).data, HOW[how](m, x)(x).data) for m in (dead, zeros))
    assert loss > without - 0.1, f"{loss:.1f} dB with dead channels, {without:.1f} with zeros in their place"
    assert np.array_equal(accelerate(made)(x).data, made(x).data)


@pytest.mark.parametrize("axis", [0, None], ids=["per channel", "per tensor"])
@pytest.mark.parametrize("tiny", [0.0, 1e-9, 1e-30])
def test_every_other_channel_keeps_its_bits(tiny: float, axis: int | None) -> None:
    weight, bias = numbers(6, 16), numbers(6, seed=1)
    dead, kept = [1, 4], [0, 2, 3, 5]
    weight[dead] *= np.float32(tiny)
    bias[dead] = 1e6  # which, per tensor, is too much for the scale of all
    x = QParams(np.float32(1e-6), 0)
    layer = QuantizedLinear(weight, bias, x, axis=axis)
    alone = QuantizedLinear(weight[kept], bias[kept], x, axis=axis)
    assert np.array_equal(layer.weight.q[kept], alone.weight.q) and np.array_equal(layer.bias[kept], alone.bias)
    assert np.array_equal(
        layer.weight.qparams.scale[kept].ravel() * np.ones(4), alone.weight.qparams.scale.ravel() * np.ones(4)
    )
    given = numbers(5, 16) * 1e-4
    assert np.array_equal(layer(given).data[:, kept], alone(given).data)
    assert np.allclose(layer(given).data[:, dead], 1e6, rtol=2**-22)


def test_the_bias_chooses_the_smallest_scale_with_which_it_has_room() -> None:
    """In whole numbers: its steps and the largest sum together are 2**30 at most, and no less than half of that."""
    for bias in (1e-3, 0.45, -7.0, 1e5, -1e20):
        for tiny in (0.0, 1e-16, 1e-30):
            weight = numbers(1, 16) * np.float32(tiny * abs(bias))
            layer = QuantizedLinear(weight, [bias], QParams(1.0, 0))
            reach = sum(255 * abs(int(q)) for q in layer.weight.q[0])
            assert 2**29 <= abs(int(layer.bias[0])) + reach <= 2**30 + 64
            assert abs(float(layer.bias[0]) * float(layer.weight.qparams.scale[0, 0]) / bias - 1) < 2**-23


def test_a_long_row_leaves_room_for_its_bias() -> None:
    """Sums of 50 000 products reach three quarters of int32 before any bias."""
    weight = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (2, 50_000))
    layer = QuantizedLinear(weight, [1e9, 1.0], QParams(0.01, 0))
    assert np.all(np.abs(layer.weight.q.astype(np.int64)).sum(1) * 255 + np.abs(layer.bias.astype(np.int64)) < 2**31)
    assert np.all(layer.weight.q[1] == 127 * weight[1])


# Products of scales that float32 does not hold


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("size", [1e-28, 1e-32, 1e-36])
def test_a_product_of_scales_that_vanishes_gives_numbers_and_no_warning(size: float, how: str) -> None:
    """One row, and then all, of weights whose scale times that of the input is below float32."""
    x = numbers(32, 16) * 1e-9
    for rows in ([1], [0, 1, 2, 3, 4]):
        model = Sequential(
            Linear(16, 5, rng=np.random.default_rng(1)), ReLU(), Linear(5, 3, rng=np.random.default_rng(2))
        )
        first: Any = model.layers[0]
        first.weight.data[rows] *= np.float32(size)
        first.bias.data[rows] = 0
        for scale in (x, 1e6 * x):
            made = HOW[how](model, scale)
            y = made(scale).data
            assert np.isfinite(y).all() and sqnr_db(model(scale).data, y) > (12 if "int4" in how else 20)
            assert np.array_equal(accelerate(made)(scale).data, y)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("given", "wanted", "joined"), [(1.0, 1e-14, False), (1e-18, 1e30, False), (1e-18, 1e-20, True)]
)
def test_a_layer_gives_floats_where_the_next_ones_scale_is_beyond_a_multiplier(
    given: float, wanted: float, joined: bool
) -> None:
    """s_x s_w / s_y is above 2**30, or vanishes."""
    first = QuantizedLinear(numbers(4, 4), None, QParams(np.float32(given), 0))
    chain = Sequential(first, QuantizedLinear(numbers(2, 4), None, QParams(np.float32(wanted), 0)))
    fuse_chain(chain)
    assert (first.output_qparams is not None) == joined
    assert np.isfinite(chain(numbers(3, 4)).data).all()


def test_a_residual_block_beyond_a_multiplier_is_added_in_float() -> None:
    block = Sequential(Linear(4, 4, rng=np.random.default_rng(0)), Linear(4, 4, rng=np.random.default_rng(1)))
    x = np.array([[1e12, 0, 0, 0], [0, 1e12, 0, 0]], np.float32)
    last: Any = block.layers[1]
    last.weight.data[:] *= np.float32(1e-36)
    last.bias.data[:] = 0
    model = Sequential(Residual(block), Linear(4, 2, rng=np.random.default_rng(2)))
    assert sqnr_db(model(x).data, quantize_static(model, [x])(x).data) > 30


def test_a_bias_that_no_scale_makes_room_for_is_refused_by_its_channel() -> None:
    with pytest.raises(OverflowError, match=r"channel 1: .* leave this layer in float"):
        QuantizedLinear(np.ones((2, 3)), [0.0, 1e25], QParams(1e-30, 0))


# Explanations


def test_explain_names_the_channels_whose_scale_the_weights_did_not_choose(tmp_path: Path) -> None:
    model = Sequential(
        Linear(16, 24, rng=np.random.default_rng(0)), ReLU(), Linear(24, 3, rng=np.random.default_rng(1))
    )
    fresh = quantize_static(model, [numbers(8, 16) * 100])
    assert not any("chosen" in how for _, _, how in explain(fresh))
    first: Any = model.layers[0]
    first.weight.data[[2, 5]] *= np.array([0, 1e-12], np.float32).reshape(2, 1)
    made = quantize_static(model, [numbers(8, 16) * 100])
    told = "int8 weights, static, gives int8 codes, scale of channels 2, 5 chosen by the bias"
    assert explain(made)[0][2] == told
    assert explain(accelerate(made))[0][2] == f"{told}, compiled"
    save_state(made, tmp_path / "model.npz")
    load_state(fresh, tmp_path / "model.npz")
    assert explain(fresh) == explain(made), "what is told is of the numbers that were loaded"
    first.weight.data[:] = 0
    assert explain(quantize_static(model, [numbers(8, 16)]))[0][2].endswith(
        "scale of channels 0, 1, 2, 3, 4, 5, 6, 7 and 16 more chosen by the bias"
    )


def test_channels_of_a_grouped_convolution_are_counted_through() -> None:
    weight = numbers(6, 1, 3, 3)
    weight[[1, 4]] *= np.float32(1e-20)
    weight[5] *= np.float32(1e-36)
    bias = np.array([1, 1, 1, 1, 1, 0], np.float32)
    conv = QuantizedConv2d(weight, bias, QParams(np.float32(1e-5), 0), groups=3)
    assert conv.explanation() == (
        "int8 weights, static, gives float, scale of channels 1, 4 chosen by the bias, "
        "scale of channel 5 the smallest that float32 holds"
    )
    assert QuantizedConv2d(weight, bias, groups=3).explanation() == "int8 weights, dynamic, gives float"


def test_a_dead_channel_of_a_convolution_keeps_its_bias_in_a_chain() -> None:
    rng = np.random.default_rng(0)
    model = Sequential(Conv2d(2, 6, 3, groups=2, rng=rng), ReLU(), Flatten(), Linear(6 * 16, 3, rng=rng))
    first: Any = model.layers[0]
    first.weight.data[[0, 4]] *= np.array([1e-10, 0], np.float32).reshape(2, 1, 1, 1)
    first.bias.data[[0, 4]] = 0.3
    x = np.abs(numbers(8, 2, 6, 6)) * 100
    made = quantize_static(model, [x])
    assert "scale of channels 0, 4 chosen by the bias" in explain(made)[0][2]
    assert sqnr_db(model(x).data, made(x).data) > 35 and np.array_equal(accelerate(made)(x).data, made(x).data)


def test_ready_codes_with_a_scale_too_small_for_their_bias_are_taken() -> None:
    codes = QuantizedTensor(np.full((2, 3), 127, np.int8), QParams(np.array([[1e-30], [1.0]], np.float32), 0, INT8))
    layer = QuantizedLinear(codes, [0.5, 0.5], QParams(1.0, 0))
    assert np.allclose(layer(np.ones((1, 3), np.float32)).data, [[0.5, 381.5]], atol=0.5)
    assert layer.weight.q[0].tolist() == [0, 0, 0] and layer.weight.q[1].tolist() == [127] * 3
