"""The layers' conventions are PyTorch's: results, gradients and running statistics, frozen by make_torch_answers.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.core import (
    GELU,
    AvgPool1d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    LayerNorm,
    MaxPool1d,
    MaxPool2d,
    Module,
    Tensor,
)

LAYERS: dict[str, Module] = {
    "conv": Conv2d(4, 6, 3, stride=2, padding=1),
    "conv_groups": Conv2d(4, 6, 3, padding=2, groups=2),
    "conv_depthwise": Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
    "batch_norm": BatchNorm2d(3),
    "layer_norm": LayerNorm(5),
    "max_pool": MaxPool2d(3, stride=2),
    "max_pool_ties": MaxPool2d(2),
    "avg_pool": AvgPool2d(2),
    "gelu": GELU(),
    "conv_uneven": Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(0, 3), dilation=(2, 1), groups=2),
    "conv_dilated": Conv2d(2, 3, 3, padding=2, dilation=2, bias=False),
    "conv1d": Conv1d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2),
    "batch_norm1d_rows": BatchNorm1d(3),
    "batch_norm1d_signals": BatchNorm1d(3),
    "max_pool_padded": MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0)),
    "avg_pool_padded": AvgPool2d(3, stride=2, padding=1),
    "avg_pool_uncounted": AvgPool2d((2, 3), stride=1, padding=1, count_include_pad=False),
    "max_pool1d": MaxPool1d(4, stride=3, padding=2),
    "avg_pool1d": AvgPool1d(2, padding=1),
}


def answers(name: str) -> dict[str, Any]:
    with np.load(Path(__file__).with_name("torch_answers.npz")) as file:
        return {key.split(".")[1]: file[key] for key in file.files if key.split(".")[0] == name}


@pytest.mark.parametrize("name", LAYERS)
def test_results_and_gradients_are_pytorchs(name: str) -> None:
    layer, theirs = LAYERS[name], answers(name)
    for key, parameter in layer.named_parameters():
        parameter.data, parameter.grad = theirs[key], None
    x = Tensor(theirs["x"], requires_grad=True)
    out = layer(x)
    out.backward(theirs["grad"])
    ours = {"out": out.data, "x_grad": x.grad, **layer.state_dict()}
    ours |= {f"{key}_grad": parameter.grad for key, parameter in layer.named_parameters()}
    assert ours.keys() == theirs.keys() - {"x", "grad", "eval_out"}, "the names are PyTorch's"
    for key, value in ours.items():
        assert value.dtype == np.float32 and value.shape == theirs[key].shape
        # Both sum up to 240 float32 products, each in its own order: a few roundings of sums below 64.
        assert np.abs(value - theirs[key]).max() <= 4 * np.spacing(np.float32(32)), key


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("batch_norm", BatchNorm2d(3)),
        ("batch_norm1d_rows", BatchNorm1d(3)),
        ("batch_norm1d_signals", BatchNorm1d(3)),
    ],
)
def test_batch_norm_evaluates_with_pytorchs_running_statistics(name: str, layer: BatchNorm2d) -> None:
    theirs = answers(name)
    layer.load_state_dict({key: theirs[key] for key in layer.state_dict()})
    got = layer.eval()(theirs["x"]).data
    assert np.abs(got - theirs["eval_out"]).max() <= 8 * np.spacing(np.float32(16))
