"""from_torch and to_torch on 200 random networks of PyTorch: equal answers and gradients there and back, in float64.

Float64 makes the check sharp: what differs by more than rounding differs by far more than 1e-9.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tinytorch.core import Tensor, from_torch, to_torch

CASES, EACH = 200, 20
pytestmark = pytest.mark.torch
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Draw:
    """What draws a network's layers, and the shape that a layer is given, without the batch."""

    rng: np.random.Generator
    nn: Any
    shape: Shape

    def of(self, *values: Any) -> Any:
        return values[self.rng.integers(len(values))]

    def up_to(self, most: int) -> int:
        """1 .. most"""
        return int(self.rng.integers(1, most + 1))

    def yes(self) -> bool:
        return bool(self.rng.random() < 0.5)


def convolution(d: Draw) -> Any:
    channels, *sizes = d.shape
    kernel = tuple(d.up_to(min(3, size)) for size in sizes)
    reach = zip(sizes, kernel, strict=True)
    dilation = tuple(d.up_to(2) if 2 * (k - 1) < size else 1 for size, k in reach)
    odd = all(k % 2 for k in kernel)
    padding = d.of(0, "valid", tuple(int(d.rng.integers(0, 4)) for _ in sizes), "same" if odd else 1)
    stride = 1 if padding == "same" else tuple(d.up_to(3) for _ in sizes)
    groups = d.of(1, channels)
    made = d.nn.Conv1d if len(sizes) == 1 else d.nn.Conv2d
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": d.yes()}
    return made(channels, groups * d.up_to(3), kernel, **options)


def pooling(d: Draw) -> Any:
    sizes = d.shape[1:]
    kernel = tuple(d.up_to(min(3, size)) for size in sizes)
    options: dict[str, Any] = {
        "stride": d.of(None, tuple(d.up_to(3) for _ in sizes)),
        "padding": tuple(int(d.rng.integers(0, k // 2 + 1)) for k in kernel),
    }
    flat, mean = len(sizes) == 1, d.yes()
    if not flat and mean:
        options["count_include_pad"] = d.yes()
    kinds = (d.nn.AvgPool1d, d.nn.MaxPool1d) if flat else (d.nn.AvgPool2d, d.nn.MaxPool2d)
    return kinds[0 if mean else 1](kernel, **options)


def activation(d: Draw) -> Any:
    nn = d.nn
    return d.of(
        nn.ReLU(d.yes()), nn.ReLU6(), nn.LeakyReLU(d.of(0.0, 0.2, -0.5)), nn.SiLU(), nn.GELU(), nn.Sigmoid(), nn.Tanh(),
        nn.Identity(), nn.Dropout(0.5).eval(),
    )  # fmt: skip


def norm(d: Draw) -> Any:
    made = d.nn.BatchNorm2d if len(d.shape) == 3 else d.nn.BatchNorm1d
    if d.yes():
        return made(d.shape[0], eps=d.of(1e-5, 0.1), momentum=d.of(0.1, 1.0), affine=d.yes())
    return d.nn.LayerNorm(d.shape[-1], elementwise_affine=d.yes(), bias=d.yes())


def linear(d: Draw) -> Any:
    return d.nn.Linear(d.shape[-1], d.up_to(5), bias=d.yes())


def layers_for(shape: Shape) -> list[Callable[[Draw], Any]]:
    if len(shape) == 1:
        return [linear, activation, norm]
    ends = [lambda d: d.nn.Flatten(), *([lambda d: d.nn.AdaptiveAvgPool2d(d.of(1, (1, 1)))] if len(shape) == 3 else [])]
    return [convolution, convolution, pooling, activation, norm, linear, *ends]


def network(seed: int) -> tuple[Any, Any]:
    """A network of PyTorch in float64, trained a little, in a random mode; and an input."""
    torch = importlib.import_module("torch")
    torch.manual_seed(seed)
    rng, nn = np.random.default_rng(seed), torch.nn
    starts: list[Shape] = [(6,), (3, 9), (4, 7, 8), (2, 5, 9), (5, 4)]
    start = starts[seed % 5]
    tokens = torch.randint(0, 7, (4, 5))
    x = tokens if seed % 5 == 4 else torch.randn((4, *start), dtype=torch.float64)
    made = [nn.Embedding(7, 4, padding_idx=int(rng.integers(-1, 2)))] if seed % 5 == 4 else []
    for _ in range(int(rng.integers(1, 9))):
        shape = tuple(nn.Sequential(*made).double().eval()(x).shape[1:])
        draw = Draw(rng, nn, shape)
        made.append(draw.of(*layers_for(shape))(draw))
        if made[-1].__class__ is nn.Linear and made[-1].in_features == made[-1].out_features and draw.yes():
            made += [nn.Tanh(), made[-1]]  # one layer, twice
    cut = int(rng.integers(0, len(made) + 1))
    model = nn.Sequential(nn.Sequential(*made[:cut]), *made[cut:]).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
        parameter.requires_grad_(bool(rng.random() < 0.8))
    model(x)  # which sets the running statistics
    for module in model.modules():
        module.train(bool(rng.random() < 0.5) and not isinstance(module, nn.Dropout))
    return model, x


def close(ours: Any, theirs: Any) -> bool:
    """But for rounding: 1e-9 of the largest number."""
    same = ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return same and bool(np.abs(ours - theirs).max(initial=0) <= 1e-9 * (1 + np.abs(theirs).max(initial=0)))


def check(seed: int) -> None:
    model, x = network(seed)
    ours = from_torch(model)
    back = to_torch(ours)
    modes = {name: module.training for name, module in model.named_modules()}
    assert {name: module.training for name, module in back.named_modules()} == modes, (seed, model)
    state, kept = model.state_dict(), back.state_dict()
    for name in state.keys() - {each for each in state if each.endswith("num_batches_tracked")}:
        assert torch_equal(state[name], kept[name]), (seed, name, model)
    wanted = model(x)
    got, again = ours(x.numpy()), back(x)
    assert close(got.data, wanted.detach().numpy()), (seed, model)
    assert close(again.detach().numpy(), wanted.detach().numpy()), (seed, model)
    if not wanted.requires_grad:
        return
    slope = np.random.default_rng(seed).normal(size=got.shape)
    wanted.backward(importlib.import_module("torch").from_numpy(slope))
    got.backward(slope)
    theirs = [p.grad for p in model.parameters() if p.requires_grad]
    mine = ours.parameters()
    assert len(mine) == len(theirs), (seed, model)
    for tensor, grad in zip(mine, theirs, strict=True):
        if padded_embedding(model, tensor):
            continue
        assert tensor.grad is not None and grad is not None and close(tensor.grad, grad.numpy()), (seed, model)


def padded_embedding(model: Any, tensor: Tensor) -> bool:
    """The table of an Embedding, whose padding_idx is not kept: its row has a gradient here."""
    return tensor.shape == (7, 4) and any(hasattr(m, "padding_idx") for m in model.modules())


def torch_equal(a: Any, b: Any) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())


@pytest.mark.parametrize("first", range(0, CASES, EACH))
def test_random_networks_give_pytorchs_answers_and_gradients_there_and_back(first: int) -> None:
    for seed in range(first, first + EACH):
        check(seed)
