"""PyTorch's gradients of fake quantization and of learned steps, frozen by make_torch_gradients.py, are ours."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tinytorch.core import Tensor
from tinytorch.quantization import IntType, QParams, fake_quantize, learned_step_quantize

from .counting import Array


@cache
def frozen() -> dict[str, Array]:
    with np.load(Path(__file__).with_name("torch_gradients.npz")) as answers:
        return dict(answers)


def rows(kind: str) -> Iterator[dict[str, Array]]:
    """What was asked, and answered, for each scale and zero point."""
    named = {name.removeprefix(f"{kind}_"): a for name, a in frozen().items() if name.startswith(f"{kind}_")}
    for i in range(len(named["bits"])):
        yield {name: a[i] for name, a in named.items()}


def test_fake_quantize_has_torchs_values_and_gradient() -> None:
    compared = stopped = 0
    for row in rows("fake"):
        x, p = Tensor(row["x"], requires_grad=True), QParams(row["scale"], row["zero_point"], IntType(int(row["bits"])))
        out = fake_quantize(x, p)
        out.backward(row["grad"])
        assert x.grad is not None
        assert np.array_equal(out.data, row["out"]), f"values, scale {p.scale:g}"
        assert np.array_equal(x.grad, row["slope"]), (
            f"gradient, scale {p.scale:g}: {np.sum(x.grad != row['slope'])} differ"
        )
        compared, stopped = compared + x.grad.size, stopped + int((x.grad == 0).sum())
    assert compared >= 1900 and 400 < stopped < compared - 400, "both kinds must be there: passed and stopped"


@pytest.mark.parametrize("kind", ["learned", "channel"])
def test_learned_steps_have_torchs_values_and_gradients(kind: str) -> None:
    """The gradient of scale is a sum of rint(x / s) - x / s inside. torch takes it from (x_hat - x) / s, which is off
    by a few roundings, 2**-24 each, of x / s; and a sum of N numbers in float32 by N roundings at most."""
    compared = 0
    for row in rows(kind):
        shape = (-1, 1) if kind == "channel" else (1,)
        x, scale = Tensor(row["x"], requires_grad=True), Tensor(row["scale"].reshape(shape), requires_grad=True)
        int_type, zero_point = IntType(int(row["bits"])), int(row["zero_point"])
        reach = int_type.qmax - zero_point
        if reach == 0:
            continue  # no code above zero: our damping 1 / sqrt(N (qmax - z)) has no value there
        out = learned_step_quantize(x, scale, zero_point, int_type, count=1 / (float(row["factor"]) ** 2 * reach))
        out.backward(row["grad"])
        assert x.grad is not None and scale.grad is not None
        assert np.array_equal(out.data, row["out"]), f"values, scale {row['scale']}"
        assert np.array_equal(x.grad, row["slope"]), f"gradient of x, scale {row['scale']}"
        sizes = np.abs(row["grad"]) * (np.abs(row["x"] / scale.data) + 1 + 2**int_type.bits)
        bound = (4 + x.data.shape[-1]) * 2.0**-24 * sizes.sum(-1) * row["factor"]
        difference = np.abs(scale.grad.reshape(row["scale_slope"].shape) - row["scale_slope"])
        assert np.all(difference <= bound), f"scale {row['scale']}: {scale.grad.ravel()}, torch {row['scale_slope']}"
        compared += scale.grad.size
    assert compared == (42 if kind == "channel" else 8), "of the channels, those of zero point 127 were left out"
