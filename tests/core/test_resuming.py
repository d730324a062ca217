"""What goes on to the same bits: optimizers, generators and other objects of numbers, saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.core import (
    SGD,
    Adam,
    Linear,
    Optimizer,
    ReLU,
    Sequential,
    Stateful,
    Tensor,
    fit,
    load_checkpoint,
    save_checkpoint,
)
from tinytorch.core.resuming import ATTRIBUTES, object_state, restored

Make = Callable[[list[Tensor]], Optimizer]


class Lion(Optimizer):
    """An optimizer of somebody's own, which makes its arrays when it first needs them, and keeps a count of its own."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.mean: dict[int, np.ndarray] = {}
        self.largest = np.float32(0)

    def update(self, i: int, w: Any, grad: Any, scratch: Any) -> None:
        m = self.mean.setdefault(i, np.zeros_like(w))
        w -= np.float32(self.lr) * np.sign(0.9 * m + 0.1 * grad)
        self.mean[i] = 0.99 * m + 0.01 * grad
        self.largest = max(self.largest, np.abs(grad).max())


OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda p: SGD(p, 0.1),
    "SGD, momentum, weight decay": lambda p: SGD(p, 0.1, 0.9, 0.01),
    "Adam": lambda p: Adam(p, 0.01),
    "Adam, other betas": lambda p: Adam(p, 0.01, (0.5, 0.7), 1e-4),
    "own": lambda p: Lion(p, 0.01),
}


def parameters(seed: int = 0) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    return [Tensor(rng.normal(size=shape).astype(np.float32), True) for shape in ((3, 4), (4,))]


def steps(optimizer: Optimizer, first: int, last: int) -> None:
    for i in range(first, last):
        for param in optimizer.params:
            param.grad = np.random.default_rng(i).normal(size=param.shape).astype(np.float32)
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_as_if_it_had_not_stopped(name: str) -> None:
    straight = OPTIMIZERS[name](parameters())
    steps(straight, 0, 10)
    state, weights = straight.state_dict(), [p.data.copy() for p in straight.params]
    steps(straight, 10, 20)
    again = OPTIMIZERS[name](parameters(1))
    again.lr = 77.0
    steps(again, 50, 53)
    again.load_state_dict(state)
    for param, weight in zip(again.params, weights, strict=True):
        param.data[...] = weight
    steps(again, 10, 20)
    assert again.lr == straight.lr and again.steps == 20
    assert all(np.array_equal(p.data, q.data) for p, q in zip(again.params, straight.params, strict=True))


def test_a_state_shares_no_memory_and_is_not_changed_by_what_follows() -> None:
    optimizer = Adam(parameters())
    steps(optimizer, 0, 3)
    state = optimizer.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    steps(optimizer, 3, 6)
    optimizer.load_state_dict(state)
    steps(optimizer, 6, 9)
    assert all(np.array_equal(state[name], before[name]) for name in before)


def test_a_state_of_another_optimizer_is_refused_and_changes_nothing() -> None:
    optimizer = Adam(parameters())
    steps(optimizer, 0, 2)
    before = optimizer.state_dict()
    fewer, other_shape = Adam(parameters()[:1]), Adam([*parameters()[:1], Tensor(np.ones(5, np.float32), True)])
    damaged = {**before, ATTRIBUTES: np.array("{")}
    for state, said in (
        (SGD(parameters(), 0.1).state_dict(), "the state is of SGD, here is Adam"),
        (fewer.state_dict(), r"_mean must be 2 arrays, got 1"),
        (other_shape.state_dict(), r"_mean\.1 must be float32 \(4,\), got float32 \(5,\)"),
        ({}, "wanted the state of Adam"),
        (damaged, "Expecting"),
        ({name: a for name, a in before.items() if name != "_mean.0"}, "damaged: KeyError"),
    ):
        with pytest.raises(ValueError, match=said):
            optimizer.load_state_dict(state)
        after = optimizer.state_dict()
        assert all(np.array_equal(after[name], before[name]) for name in before)


class Kept(Stateful):
    not_state = ("left_out",)

    def __init__(self, **attributes: Any) -> None:
        self.left_out = object()
        vars(self).update(attributes)


def test_every_kind_of_value_comes_back_as_it_was() -> None:
    inner = Kept(x=1)
    tensor = Tensor(np.ones(2, np.float32), requires_grad=True)
    values: dict[str, Any] = {
        "none": None, "yes": True, "whole": 2**100, "real": 0.1, "infinite": float("-inf"), "text": "é",
        "empty": [], "pair": (1, "a", (2.5, None)), "list": [1, [2, np.arange(3)]], "map": {"a": 1, 3: np.ones(2)},
        "scalar": np.float32(0.1), "whole_scalar": np.int64(7), "array": np.arange(6.0).reshape(2, 3),
        "bits": np.array([True, False]), "object": inner, "tensor": tensor,
    }  # fmt: skip
    other = Kept(**{name: None for name in values if name not in ("object", "tensor")})
    other.object, other.tensor = Kept(x=5), Tensor(np.zeros(2, np.float32))  # type: ignore[attr-defined]
    held, holder = other.tensor, other.object  # type: ignore[attr-defined]
    other.load_state_dict(Kept(**values).state_dict())
    for name, wanted in values.items():
        got = getattr(other, name)
        if name == "object":
            assert got is holder and got.x == 1
        elif name == "tensor":
            assert got is held and got.data.tolist() == [1, 1]
        else:
            assert type(got) is type(wanted) and repr(got) == repr(wanted), name


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_a_generator_goes_on_where_it_stopped(kind: str, tmp_path: Path) -> None:
    rng = np.random.Generator(getattr(np.random, kind)(1))
    rng.normal(size=3)
    rng.integers(0, 9, dtype=np.int8)  # leaves half a word behind
    save_checkpoint(tmp_path / "rng.npz", rng=rng)
    wanted = rng.normal(size=5), rng.integers(0, 2**31, 3, np.int32)
    other = np.random.Generator(getattr(np.random, kind)(2))
    load_checkpoint(tmp_path / "rng.npz", rng=other)
    assert np.array_equal(other.normal(size=5), wanted[0]) and np.array_equal(
        other.integers(0, 2**31, 3, np.int32), wanted[1]
    )
    held = Kept(rng=np.random.default_rng(3))
    state = held.state_dict()
    drawn = held.rng.normal()  # type: ignore[attr-defined]
    held.load_state_dict(state)
    assert held.rng.normal() == drawn  # type: ignore[attr-defined]


def test_a_generator_of_another_kind_is_refused_and_so_is_a_made_up_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "rng.npz", rng=np.random.default_rng(0))
    other = np.random.Generator(np.random.MT19937(0))
    before = other.bit_generator.state
    with pytest.raises(ValueError, match="PCG64|MT19937"):
        load_checkpoint(tmp_path / "rng.npz", rng=other)
    assert repr(other.bit_generator.state) == repr(before)
    held = Kept(rng=np.random.default_rng(0))
    said = json.loads(str(held.state_dict()[ATTRIBUTES]).replace("PCG64", "seterr"))
    with pytest.raises(ValueError, match="one of NumPy's bit generators"):
        held.load_state_dict({ATTRIBUTES: np.array(json.dumps(said))})


@pytest.mark.parametrize("value", [print, lambda: 0, {1, 2}, object(), np.array([object()])])
def test_what_is_not_saved_is_named(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^thing is .* not saved: keep numbers"):
        object_state(Kept(thing=value))


def test_restored_leaves_the_object_as_it_is() -> None:
    first: Any = Kept(a=np.ones(2), b=1)
    second = Kept(a=np.zeros(2), b=2)
    made = restored(first, object_state(second))
    assert (made.a.tolist(), made.b, first.a.tolist(), first.b) == ([0, 0], 2, [1, 1], 1)


# Checkpoints


def run(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    model = Sequential(Linear(4, 8, rng=rng), ReLU(), Linear(8, 3, rng=rng))
    return {"model": model, "optimizer": Adam(model.parameters(), lr=0.01 + seed), "rng": rng}


def test_epochs_go_on_where_they_stopped(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 3, 50)
    straight, half, loaded = run(0), run(0), run(1)
    losses = fit(straight["model"], x, y, 6, straight["optimizer"], 16)
    first = fit(half["model"], x, y, 3, half["optimizer"], 16)
    save_checkpoint(tmp_path / "run.npz", **half)
    load_checkpoint(tmp_path / "run.npz", **loaded)
    assert first + fit(loaded["model"], x, y, range(3, 6), loaded["optimizer"], 16) == losses
    wanted, got = (r["model"].state_dict() for r in (straight, loaded))
    assert all(np.array_equal(wanted[name], got[name]) for name in wanted)


def test_a_checkpoint_of_other_parts_is_refused_and_changes_none(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    saved, here = run(0), run(1)
    save_checkpoint(path, **saved)
    before = {name: part.state_dict() for name, part in here.items() if name != "rng"}
    with pytest.raises(ValueError, match="holds model, optimizer, rng; wanted model, each by its name"):
        load_checkpoint(path, model=here["model"])
    here["optimizer"] = SGD(here["model"].parameters(), 0.1)
    with pytest.raises(ValueError, match=r"run\.npz: optimizer: the state is of Adam, here is SGD"):
        load_checkpoint(path, **here)
    after = here["model"].state_dict()
    assert all(np.array_equal(after[name], before["model"][name]) for name in after)
    with pytest.raises(TypeError, match="step must be a model, an optimizer, a scaler or a Generator, got 3"):
        save_checkpoint(path, step=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs its parts by name"):
        save_checkpoint(path)
    load_checkpoint(path, **saved)
