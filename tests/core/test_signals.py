"""Layers of signals, uneven, dilated and padded windows, and values left out: gradients, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.core import (
    AvgPool1d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Dropout,
    Identity,
    Inputs,
    MaxPool1d,
    MaxPool2d,
    Module,
    Sequential,
    Tensor,
    conv2d,
)

Check = Callable[..., None]


def numbers(*shape: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """No two are equal, and none is near another: a maximum stays one when it is moved a little."""
    return np.random.default_rng(5).permutation(int(np.prod(shape))).reshape(shape) / 8 - 2


@pytest.mark.parametrize(
    "how",
    [
        {"dilation": (2, 1), "padding": (0, 3), "stride": (1, 2), "groups": 2},
        {"dilation": 2, "padding": 2},
        {"stride": (3, 1), "padding": (1, 0), "groups": 2},
    ],
    ids=str,
)
def test_uneven_and_dilated_convolution_gradients(how: dict[str, Any], check_gradients: Check) -> None:
    x, weight, bias = numbers(2, 4, 6, 5), numbers(4, 4 // how.get("groups", 1), 3, 2), numbers(4)
    check_gradients(lambda x, w, b: conv2d(x, w, b, **how), x, weight, bias)


def test_a_dilated_kernel_is_one_with_zeros_between() -> None:
    x, weight = Tensor(numbers(2, 3, 9, 8)), numbers(4, 3, 3, 2)
    spread = np.zeros((4, 3, 5, 4))
    spread[:, :, ::2, ::3] = weight
    got = conv2d(x, Tensor(weight), dilation=(2, 3)).data
    assert np.array_equal(got, conv2d(x, Tensor(spread)).data)


def test_a_signal_is_an_image_one_row_high() -> None:
    layer = Conv1d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2)
    image = Conv2d(4, 6, (1, 3), stride=(1, 2), padding=(0, 3), dilation=(1, 2), groups=2)
    image.load_state_dict({"weight": layer.weight.data[:, :, None], "bias": layer.state_dict()["bias"]})
    x = numbers(2, 4, 9).astype(np.float32)
    assert np.array_equal(layer(x).data, image(x[:, :, None]).data[:, :, 0])


def test_convolution_of_signals_has_its_gradients(check_gradients: Check) -> None:
    layer = Conv1d(2, 4, 3, padding=2, dilation=2)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        layer.weight, layer.bias = weight, bias
        return layer.forward(x)

    check_gradients(run, numbers(2, 2, 7), numbers(4, 2, 3), numbers(4))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0)), (2, 2, 6, 5)),
        (MaxPool2d(2, padding=1), (1, 2, 3, 3)),
        (AvgPool2d(3, stride=2, padding=1), (2, 2, 6, 5)),
        (AvgPool2d((2, 3), stride=1, padding=1, count_include_pad=False), (2, 2, 4, 5)),
        (MaxPool1d(4, stride=3, padding=2), (2, 2, 9)),
        (AvgPool1d(2, padding=1), (2, 2, 7)),
    ],
    ids=repr,
)
def test_padded_pooling_gradients(layer: Module, shape: tuple[int, ...], check_gradients: Check) -> None:
    check_gradients(layer.forward, numbers(*shape))


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 5)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_rows_and_signals_has_its_gradients(
    shape: tuple[int, ...], training: bool, check_gradients: Check
) -> None:
    layer = BatchNorm1d(3).train(training)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        layer.weight, layer.bias = weight, bias
        return layer.forward(x)

    check_gradients(run, numbers(*shape), numbers(3), numbers(3))


def test_batch_norm_of_signals_is_that_of_images_one_row_high() -> None:
    x = numbers(4, 3, 5).astype(np.float32)
    signals, images = BatchNorm1d(3), BatchNorm2d(3)
    assert np.array_equal(signals(x).data, images(x[:, :, None]).data[:, :, 0])
    assert np.array_equal(signals.running_var, images.running_var)


def test_dropout_leaves_out_its_share_and_keeps_the_mean() -> None:
    x = np.ones((400, 500), np.float32)
    y = Dropout(0.25, np.random.default_rng(0))(x).data
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    # Of 200 000 values each is left out with 0.25: five deviations are 5 * sqrt(0.25 * 0.75 / 200 000).
    assert abs(np.mean(y == 0) - 0.25) < 0.005
    assert Dropout(0.0)(x).data is x and not Dropout(1.0)(x).data.any()


def test_dropout_passes_the_gradient_of_what_it_keeps_and_nothing_in_evaluation() -> None:
    layer = Dropout(0.5, np.random.default_rng(1))
    x = Tensor(np.ones((4, 6), np.float32), requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert x.grad is not None and np.array_equal(x.grad, y.data)
    assert layer.eval()(x) is x


def test_the_same_generator_leaves_out_the_same_values() -> None:
    x = np.ones((8, 8), np.float32)
    a, b = (Dropout(0.5, np.random.default_rng(7))(x).data for _ in range(2))
    assert np.array_equal(a, b) and not np.array_equal(a, Dropout(0.5, np.random.default_rng(8))(x).data)


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: Dropout(1.5), r"p must be in \[0, 1\], got 1\.5"),
        (lambda: MaxPool2d(3, padding=2), "padding of at most half its size 3, got 2"),
        (lambda: AvgPool1d(2, padding=2), "padding of at most half its size 2, got 2"),
        (lambda: Conv1d(4, 6, 3, groups=3), "groups must divide n_in and n_out"),
        (lambda: Conv1d(4, 6, (3, 3)), "Conv1d needs kernel_size as one integer"),  # type: ignore[arg-type]
        (lambda: Conv2d(4, 6, 3, dilation=2)(np.zeros((1, 4, 4, 9))), "at least 5 pixels with the padding"),
        (lambda: Conv1d(4, 6, 3)(np.zeros((1, 3, 9))), r"wants signals of shape \(N, 4, length\)"),
        (lambda: Conv1d(4, 6, 3, dilation=2)(np.zeros((1, 4, 4))), "at least 5 values with the padding"),
        (lambda: MaxPool1d(3)(np.zeros((1, 4, 2))), "at least 3 values long"),
        (lambda: BatchNorm1d(3)(np.zeros((2, 3, 4, 4))), r"\(N, 3\) or \(N, 3, length\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(make: Callable[[], Any], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        make()


def test_layers_read_like_the_code_that_made_them() -> None:
    for code in (
        "Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(0, 3), groups=2, dilation=(2, 1))",
        "Conv1d(4, 6, 3, stride=2, padding=3, groups=2, dilation=2, bias=False)",
        "MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0))",
        "MaxPool1d(4, stride=3, padding=2)",
        "Dropout(0.25)",
        "BatchNorm1d(3)",
    ):
        assert repr(eval(code)) == code


class Two(Module):
    def forward(self, a: Tensor, b: Tensor, factor: float = 1.0) -> tuple[Tensor, Tensor]:
        return a + b * factor, a


def test_a_model_takes_several_inputs_and_gives_several_outputs() -> None:
    a, b = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    for got in (Two()(a, b), Two()(a, b=b), Two()(Inputs(a, b)), Two()(Inputs(b=b, a=a))):
        assert np.array_equal(got[0].data, a + b) and np.array_equal(got[1].data, a)
    assert np.array_equal(Two()(Inputs(a, b), factor=2.0)[0].data, a + 2 * b)
    assert len(Inputs(a, 3, b=b)) == 2 and len(Inputs(3)) == 0


def test_identity_gives_what_it_is_given() -> None:
    x = Tensor(np.ones(2))
    assert Identity()(x) is x and Sequential(Identity())("anything") == "anything"
