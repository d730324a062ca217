"""Convolution and pooling: loops in plain Python say what the results are, measured slopes what the gradients are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.core import (
    AvgPool2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Module,
    Sequential,
    Tensor,
    computing_in,
    conv2d,
    convolution,
    no_grad,
)
from tinytorch.core.windows import add_patches, padded, patches

Check = Callable[..., None]
LAYOUTS = [  # n_in, n_out, kernel, stride, padding, groups
    (1, 2, 3, 1, 0, 1),
    (2, 3, 3, 1, 1, 1),
    (3, 2, 2, 2, 0, 1),
    (2, 4, 3, 2, 1, 2),
    (4, 4, 3, 1, 1, 4),
    (3, 6, 1, 1, 0, 3),
    (2, 2, 5, 3, 2, 1),
    (2, 1, 1, 2, 1, 1),
]


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def distinct(*shape: int) -> Any:
    """Values 0.1 apart in a shuffled order: no two of a window are within a step of each other."""
    return np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape) / 10


def by_loops(x: Any, weight: Any, bias: Any, stride: int, padding: int, groups: int) -> Any:
    """The definition, one multiplication at a time, in float64."""
    (n, _, height, width), (n_out, n_in, k, _) = x.shape, weight.shape
    rows, columns = ((size + 2 * padding - k) // stride + 1 for size in (height, width))
    out = np.zeros((n, n_out, rows, columns))
    for image, o, r, s in np.ndindex(out.shape):
        total = float(bias[o])
        for c, i, j in np.ndindex(n_in, k, k):
            row, column = r * stride + i - padding, s * stride + j - padding
            if 0 <= row < height and 0 <= column < width:
                channel = o // (n_out // groups) * n_in + c
                total += float(x[image, channel, row, column]) * float(weight[o, c, i, j])
        out[image, o, r, s] = total
    return out


def layer_of(layout: tuple[int, ...], bias: bool = True) -> Conv2d:
    n_in, n_out, kernel, stride, padding, groups = layout
    return Conv2d(n_in, n_out, kernel, stride, padding, bias, np.random.default_rng(1), groups)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_convolution_is_its_definition(layout: tuple[int, ...], dtype: Any) -> None:
    _, _, kernel, stride, padding, groups = layout
    layer = layer_of(layout)
    x = normal(2, layout[0], 6, 7).astype(dtype)
    assert layer.bias is not None
    layer.weight.data, layer.bias.data = layer.weight.data.astype(dtype), layer.bias.data.astype(dtype)
    expected = by_loops(x, layer.weight.data, layer.bias.data, stride, padding, groups)
    got = layer(x)
    assert got.dtype == dtype and got.shape == expected.shape
    # Each product and sum is rounded in float32 at least, the result once more in its dtype; all values are below 16.
    terms = layer.weight.data[0].size + 1
    wide = np.result_type(dtype, np.float32)
    bound = 2 * terms * np.spacing(np.array(16, wide)) / 2 + np.spacing(np.array(16, dtype)) / 2
    assert np.abs(got.data - expected).max() <= bound, f"{layer!r} differs by {np.abs(got.data - expected).max()}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_convolution_gradients_reach_images_weight_and_bias(layout: tuple[int, ...], check_gradients: Check) -> None:
    n_in, n_out, kernel, stride, padding, groups = layout
    check_gradients(
        lambda x, weight, bias: conv2d(x, weight, bias, stride, padding, groups),
        normal(2, n_in, 5, 6),
        normal(n_out, n_in // groups, kernel, kernel, seed=1),
        normal(n_out, seed=2),
    )


def test_a_batch_in_many_parts_gives_what_it_gives_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for limit in (1, 200, 1 << 30):
        monkeypatch.setattr(convolution, "COLUMN_VALUES", limit)
        monkeypatch.setattr(convolution, "ONE_CORE", limit)
        layer, x = layer_of((2, 4, 3, 1, 1, 2)), Tensor(normal(5, 2, 6, 6), requires_grad=True)
        out = layer(x)
        out.backward(normal(*out.shape, seed=3))
        assert layer.bias is not None
        results.append((out.data, x.grad, layer.weight.grad, layer.bias.grad))
    for part in results[:2]:
        for one, whole in zip(part, results[2], strict=True):
            assert one is not None and np.allclose(one, whole, rtol=0, atol=1e-5), "float32 sums of 180 values below 8"


def test_a_rectangular_kernel_and_no_images_work() -> None:
    x, weight = normal(2, 1, 4, 5), normal(3, 1, 1, 3, seed=1)
    got = conv2d(Tensor(x), Tensor(weight)).data
    expected = [[np.correlate(row, weight[o, 0, 0]) for row in x[1, 0]] for o in range(3)]
    assert np.allclose(got[1], expected, rtol=0, atol=1e-14)
    assert Conv2d(1, 2, 3)(np.ones((0, 1, 8, 8), np.float32)).shape == (0, 2, 6, 6)


def test_nothing_is_computed_for_images_that_want_no_gradient() -> None:
    layer, x = Conv2d(1, 2, 3), Tensor(normal(1, 1, 4, 4))
    layer(x).sum().backward()
    assert x.grad is None and layer.weight.grad is not None
    with no_grad():
        assert not layer(x).requires_grad


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (3, 8, 8), (1, 3, 2, 8), (1, 3, 8, 2), (192,)])
def test_convolution_refuses_other_images_in_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as caught:
        Conv2d(3, 4, 3)(np.ones(shape))
    assert str(caught.value) == (
        "Conv2d(3, 4, 3) wants images of shape (N, 3, height, width), at least 3 pixels with the padding, "
        f"got {shape}: reshape the input"
    )


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"n_in": 0}, "n_in as one integer >= 1, got 0"),
        ({"kernel_size": (3, 0)}, "kernel_size as one integer >= 1, got 0"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size as one integer, or as two \(down, right\), got \(3, 3, 3\)"),
        ({"dilation": 0}, "dilation as one integer >= 1, got 0"),
        ({"stride": 0}, "stride as one integer >= 1, got 0"),
        ({"padding": -1}, "padding as one integer >= 0, got -1"),
        ({"padding": "same"}, "padding as one integer >= 0, got 'same'"),
        ({"groups": 3}, "groups must divide n_in and n_out, got 3 for 4 and 6"),
    ],
)
def test_what_convolution_cannot_do_is_refused_by_name(change: Any, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        Conv2d(**{"n_in": 4, "n_out": 6, "kernel_size": 3, **change})


def test_first_filters_come_from_the_generator_within_their_bound() -> None:
    a, b = (Conv2d(4, 50, 5, rng=np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(a.weight.data, b.weight.data) and a.bias is not None
    assert a.weight.shape == (50, 4, 5, 5)
    for tensor in (a.weight, a.bias):
        assert tensor.dtype == np.float32 and tensor.requires_grad
        # Uniform in +-1/sqrt(4 * 25): none beyond 0.1 (float32 may round up), and of 50 or more some beyond 0.08.
        assert 0.08 < np.abs(tensor.data).max() <= np.float32(0.1)
    assert Conv2d(4, 50, 5, bias=False).bias is None


def test_layers_of_images_read_like_the_code_that_made_them() -> None:
    model = Sequential(
        Conv2d(2, 4, 3),
        Conv2d(4, 4, 3, stride=2, padding=1, groups=4, bias=False),
        MaxPool2d(2),
        AvgPool2d(3, stride=1),
    )
    assert repr(model) == (
        "Sequential(Conv2d(2, 4, 3), Conv2d(4, 4, 3, stride=2, padding=1, groups=4, bias=False), "
        "MaxPool2d(2), AvgPool2d(3, stride=1))"
    )


# --- windows


@pytest.mark.parametrize(("kernel", "stride"), [((2, 3), 1), ((3, 3), 2), ((1, 1), 3)])
def test_adding_patches_is_the_transpose_of_taking_them(kernel: tuple[int, int], stride: int) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, 6, 7))
    columns = patches(x, kernel, stride)
    other = np.random.default_rng(1).integers(-9, 9, columns.shape)
    back = np.zeros_like(x)
    add_patches(other, back, kernel, stride)
    assert columns.dtype == x.dtype
    assert (columns * other).sum() == (x * back).sum()


def test_padding_has_the_value_it_is_given_and_the_dtype_of_the_image() -> None:
    x = np.array([[[[1, 2]]]], np.int8)
    got = padded(x, 1, value=-5)
    assert got.dtype == np.int8 and got[0, 0].tolist() == [[-5] * 4, [-5, 1, 2, -5], [-5] * 4]
    assert padded(x, 0) is x


# --- pooling

POOLS = [(2, None), (3, None), (3, 1), (3, 2), (2, 3), (1, None)]


@pytest.mark.parametrize(("size", "stride"), POOLS)
@pytest.mark.parametrize(("layer", "reduce"), [(MaxPool2d, max), (AvgPool2d, lambda v: sum(v) / len(v))])
def test_pooling_reduces_every_window(layer: Any, reduce: Any, size: int, stride: int | None) -> None:
    x, step = normal(2, 3, 7, 8), stride or size
    got = layer(size, stride)(Tensor(x)).data
    rows, columns = (7 - size) // step + 1, (8 - size) // step + 1
    assert got.shape == (2, 3, rows, columns)
    for n, c, r, s in np.ndindex(got.shape):
        window = x[n, c, r * step : r * step + size, s * step : s * step + size]
        assert got[n, c, r, s] == pytest.approx(reduce(window.ravel().tolist()), abs=1e-15)


@pytest.mark.parametrize(("size", "stride"), POOLS)
@pytest.mark.parametrize("layer", [MaxPool2d, AvgPool2d])
def test_pooling_gradients(layer: Any, size: int, stride: int | None, check_gradients: Check) -> None:
    check_gradients(layer(size, stride), distinct(2, 2, 5, 6))


@pytest.mark.parametrize("stride", [1, 2])
def test_of_equal_maxima_the_first_gets_the_gradient(stride: int) -> None:
    x = Tensor(np.zeros((1, 1, 2, 2)), requires_grad=True)
    MaxPool2d(2, stride)(x).sum().backward()
    assert x.grad is not None and x.grad[0, 0].tolist() == [[1, 0], [0, 0]], "as PyTorch does"


def test_the_mean_of_float16_pixels_does_not_overflow() -> None:
    x = np.full((1, 1, 4, 4), 60000, np.float16)
    assert AvgPool2d(4)(x).data.item() == GlobalAvgPool2d()(x).data.item() == 60000
    assert AvgPool2d(4)(x).dtype == np.float16


def test_global_pooling_and_flatten(check_gradients: Check) -> None:
    x = normal(2, 3, 4, 5)
    assert np.allclose(GlobalAvgPool2d()(x).data[:, :, 0, 0], x.mean(axis=(2, 3)), rtol=0, atol=1e-15)
    assert Flatten()(x).data.tolist() == x.reshape(2, 60).tolist()
    assert Flatten()(np.ones((0, 3, 4, 4), np.float32)).shape == (0, 48)
    check_gradients(Sequential(GlobalAvgPool2d(), Flatten()), x)


@pytest.mark.parametrize("layer", [MaxPool2d(3), AvgPool2d(3)])
@pytest.mark.parametrize("shape", [(1, 1, 2, 9), (1, 9, 9), (9,)])
def test_pooling_refuses_images_below_its_window(layer: Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"Pool2d\(3\) wants images of shape \(N, channels, height, width\), at least 3"
    ):
        layer(np.ones(shape))
    with pytest.raises(ValueError, match="needs size as one integer >= 1, got 0"):
        type(layer)(0, 2)  # type: ignore[call-arg]


def test_a_float16_sum_beyond_its_range_is_infinity_without_a_warning() -> None:
    layer = Conv2d(1, 1, 3, bias=False)
    layer.weight.data = np.full((1, 1, 3, 3), 100, np.float16)
    with np.errstate(over="raise"):
        assert np.isinf(layer(np.full((1, 1, 3, 3), 100, np.float16)).data)


@pytest.mark.parametrize("layer", [Linear(3, 2), Conv2d(3, 2, 1)], ids=["linear", "convolution"])
def test_a_layer_passes_its_operands_and_its_bias_through_the_cast(layer: Linear | Conv2d) -> None:
    x = np.ones((1, 3) if isinstance(layer, Linear) else (1, 3, 2, 2), np.float32)
    cast = list[Tensor]()

    def keep(operand: Tensor) -> Tensor:
        cast.append(operand)
        return operand

    with computing_in(keep, np.matmul):
        layer(x)
    assert len(cast) == 3 and any(operand is layer.bias for operand in cast)
