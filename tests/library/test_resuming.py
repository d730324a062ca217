"""Training with quantization that stops, is saved, and goes on in another process: to the same bits.

As a script, `python -m tests.library.test_resuming FOLDER`, it is that other process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.core import (
    SGD,
    Adam,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    Module,
    Optimizer,
    ReLU,
    Sequential,
    Tensor,
    load_checkpoint,
    load_state,
    no_grad,
    outputs,
    save_checkpoint,
    save_state,
    train_step,
)
from tinytorch.quantization import (
    INT8,
    UINT8,
    FakeQuantize,
    FakeQuantized,
    GradScaler,
    HistogramObserver,
    IntType,
    MasterWeights,
    MinMaxObserver,
    MovingAverageObserver,
    Observer,
    PercentileObserver,
    convert,
    freeze,
    mixed_step,
    prepare_qat,
)

ROOT = Path(__file__).parents[2]
IMAGES = np.random.default_rng(0).normal(size=(20, 8, 1, 6, 6)).astype(np.float32)
IMAGES[4] *= 3  # a range that would be forgotten
LABELS = np.random.default_rng(1).integers(0, 3, (20, 8))


class Loudest(Observer):
    """Somebody's own: it keeps a number, an array, and what it saw last."""

    def __init__(self) -> None:
        self.level, self.seen, self.last = 0.0, 0, np.float32(0)

    def observe(self, x: Any) -> None:
        self.last = np.abs(x).max()
        self.level, self.seen = 0.8 * self.level + 0.3 * float(self.last), self.seen + 1

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(-self.level), np.array(self.level)


def float_model(seed: int) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential(
        Conv2d(1, 4, 3, rng=rng), BatchNorm2d(4), ReLU(), Conv2d(4, 4, 3, groups=2, rng=rng), ReLU(),
        Flatten(), Linear(16, 3, rng=rng),
    )  # fmt: skip


Parts = dict[str, Any]


def qat(
    seed: int,
    observer: Callable[[], Observer] | None = None,
    frozen: bool = False,
    optimizer: Callable[..., Optimizer] = Adam,
    activations: IntType = UINT8,
    **how: Any,
) -> Parts:
    """A prepared model and its optimizer; `frozen`: before the first step."""
    model = prepare_qat(float_model(seed), [IMAGES[0]], IntType(4), **how)
    for m in [m for _, m in model.named_modules() if isinstance(m, FakeQuantized)] if observer else []:
        m.input = FakeQuantize(activations, observer=observer())  # type: ignore[misc]
    if observer:
        with no_grad():
            model(IMAGES[0])
    if frozen:
        freeze(model)
    return {"model": model, "optimizer": optimizer(model.parameters(), lr=3e-3)}


class Noise(Module):
    """Somebody's own: in training it adds what it draws."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rng.normal(0, 0.1, x.shape).astype(np.float32) if self.training else x


def dropped(seed: int, prepared: bool = True) -> Parts:
    """Two Dropouts that share a generator, one that has its own by itself, and a module that draws."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(seed + 7)
    model: Module = Sequential(
        Conv2d(1, 4, 3, rng=rng), ReLU(), Dropout(0.3, shared), Conv2d(4, 4, 3, rng=rng), Dropout(0.2),
        Flatten(), Sequential(Dropout(0.4, shared), Noise(np.random.Generator(np.random.MT19937(seed)))),
        Linear(16, 3, rng=rng),
    )  # fmt: skip
    model = prepare_qat(model, [IMAGES[0]], IntType(4)) if prepared else model
    return {"model": model, "optimizer": Adam(model.parameters(), lr=3e-3)}


def scaled(seed: int) -> Parts:
    return {**qat(seed), "scaler": GradScaler(2.0**30, growth_interval=3)}


def noisy(seed: int) -> Parts:
    return {**qat(seed), "rng": np.random.default_rng(seed)}


def half(seed: int) -> Parts:
    model = float_model(seed)
    for param in model.parameters():
        param.data = param.data.astype(np.float16)
    return {"model": model, "optimizer": MasterWeights(model.parameters(), partial(SGD, lr=0.1, momentum=0.9))}


OBSERVERS: dict[str, Callable[[], Observer]] = {
    "min-max": MinMaxObserver,
    "moving average": partial(MovingAverageObserver, 0.7),
    "percentile": partial(PercentileObserver, 99.0),
    "mse": HistogramObserver,
    "entropy": partial(HistogramObserver, "entropy", 32),
    "own": Loudest,
}
CASES: dict[str, Callable[[int], Parts]] = {
    **{f"{name}, {'frozen' if frozen else 'following'}": partial(qat, observer=o, frozen=frozen)
       for name, o in OBSERVERS.items() for frozen in (False, True)},
    "as prepared": qat,
    "as prepared, frozen": partial(qat, frozen=True),
    "learned steps": partial(qat, learned=True),
    "learned steps, one a tensor": partial(qat, learned=True, axis=None, optimizer=partial(SGD, momentum=0.9)),
    "SGD": partial(qat, optimizer=partial(SGD, momentum=0.9)),
    "scaler": scaled,
    "generator": noisy,
    "dropout": dropped,
    "dropout, in float": partial(dropped, prepared=False),
    "master weights": half,
}  # fmt: skip


def train(parts: Parts, first: int, last: int) -> None:
    model, optimizer = parts["model"], parts["optimizer"]
    model.train()
    step = mixed_step("float16", parts["scaler"]) if "scaler" in parts else train_step
    for i in range(first, last):
        x = IMAGES[i] + parts["rng"].normal(size=IMAGES[i].shape).astype(np.float32) if "rng" in parts else IMAGES[i]
        step(model, optimizer, x, LABELS[i])


def go_on(folder: Path) -> None:
    """Load each case's state after ten steps into parts made otherwise, and train ten more."""
    for i, (name, make) in enumerate(CASES.items()):
        parts = make(100)
        load_checkpoint(folder / f"{i}.half.npz", **parts)
        train(parts, 10, 20)
        save_checkpoint(folder / f"{i}.again.npz", **parts)
        print(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The states after 10 steps, after 20 steps straight, and after 10 more in another process."""
    folder = tmp_path_factory.mktemp("resuming")
    for i, make in enumerate(CASES.values()):
        parts = make(0)
        train(parts, 0, 10)
        save_checkpoint(folder / f"{i}.half.npz", **parts)
        train(parts, 10, 20)
        save_checkpoint(folder / f"{i}.straight.npz", **parts)
    other = [sys.executable, "-m", "tests.library.test_resuming", str(folder)]
    done = subprocess.run(other, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    yield folder


@pytest.mark.parametrize("name", CASES)
def test_twenty_steps_straight_are_ten_saved_and_ten_more_elsewhere(name: str, folder: Path) -> None:
    i = list(CASES).index(name)
    states = [dict(np.load(folder / f"{i}.{when}.npz")) for when in ("half", "straight", "again")]
    half, straight, again = states
    assert straight.keys() == again.keys()
    assert not [key for key in straight if not np.array_equal(straight[key], again[key])]
    assert any(not np.array_equal(half[key], straight[key]) for key in straight), "ten steps change something"


def test_the_cases_cover_what_they_should() -> None:
    """A scaler that skipped and grew; ranges that moved where they follow, and did not where they are frozen."""
    parts = scaled(0)
    train(parts, 0, 20)
    assert {kind for _, kind, _ in parts["scaler"].events} == {"skip", "grow"}
    for frozen in (False, True):
        parts = qat(0, MovingAverageObserver, frozen)
        before = convert(parts["model"]).state_dict()["layers.0.products.0.weight.scale"]
        scale = parts["model"].layers[0].input.qparams.scale.copy()
        train(parts, 0, 20)
        assert (parts["model"].layers[0].input.qparams.scale == scale) == frozen and before.size


def test_a_model_that_was_prepared_without_batches_takes_the_ranges_of_another(tmp_path: Path) -> None:
    for learned in (False, True):
        trained = qat(0, learned=learned)
        train(trained, 0, 5)
        save_state(trained["model"], tmp_path / "model.npz")
        with pytest.warns(UserWarning, match="got no batch with a sample in it: ranges come with a state"):
            fresh = prepare_qat(float_model(3), [], IntType(4), learned=learned)
        with pytest.raises(ValueError, match="has no (qparams|step) yet: give prepare_qat a batch"):
            outputs(fresh, IMAGES[0])
        load_state(fresh, tmp_path / "model.npz")
        resumed: Parts = {"model": fresh, "optimizer": SGD(fresh.parameters(), 0.1)}
        trained["optimizer"] = SGD(trained["model"].parameters(), 0.1)
        for parts in (trained, resumed):
            train(parts, 5, 9)
        wanted, got = (convert(p["model"].eval())(IMAGES[0]).data for p in (trained, resumed))
        assert np.array_equal(wanted, got)
        with pytest.warns(UserWarning, match="no batch with a sample"):
            empty = prepare_qat(float_model(3), [IMAGES[0][:0]], IntType(4), learned=learned)
        fresh.load_state_dict(empty.state_dict())
        with pytest.raises(ValueError, match="no qparams for its input"):
            convert(fresh)


def test_a_checkpoint_of_other_generators_is_refused_and_a_saved_state_has_none(tmp_path: Path) -> None:
    parts, path = dropped(0, prepared=False), tmp_path / "run.npz"
    save_checkpoint(path, **parts)
    parts["model"].layers[4] = Identity()
    before = parts["model"].state_dict()
    with pytest.raises(ValueError, match=r"the generators layers\.2\.rng, .*; the state is of .*layers\.4\.rng"):
        load_checkpoint(path, **parts)
    save_checkpoint(path, model=Linear(2, 2))
    with pytest.raises(ValueError, match=r"layers\.2\.rng, .*; the state is of none"):
        load_checkpoint(path, model=dropped(0, prepared=False)["model"])
    assert all(np.array_equal(before[key], array) for key, array in parts["model"].state_dict().items())
    assert not [key for key in before if "rng" in key], "what is served draws nothing"


def test_what_is_loaded_is_frozen_if_it_was_and_thaws_if_it_was_not() -> None:
    frozen, following = qat(0, frozen=True)["model"], qat(1)["model"]
    states = frozen.state_dict(), following.state_dict()
    for model, state, wanted in ((following, states[0], True), (frozen, states[1], False)):
        model.load_state_dict(state)
        inputs = [m.input for _, m in model.named_modules() if isinstance(m, FakeQuantized)]
        assert [m.frozen for m in inputs] == [wanted] * 3


def test_a_state_without_what_was_observed_or_of_another_observer_is_refused_and_changes_nothing() -> None:
    model: Module = qat(0)["model"]
    before = model.state_dict()
    earlier = {k: a for k, a in before.items() if ".observer." not in k and not k.endswith(".frozen")}
    other = qat(0, PercentileObserver, activations=INT8)["model"]
    damaged = {**before, "layers.0.input.qparams.scale": np.array(-1.0, np.float32)}
    shapes = {**before, "layers.0.weight.qparams.scale": np.ones((), np.float32)}
    lost = {k: a for k, a in before.items() if k != "layers.3.input.qparams.zero_point"}
    for state, said in (
        (earlier, r"layers\.0\.weight: the state does not tell what was observed"),
        (other.state_dict(), r"layers\.0\.input: the state is of PercentileObserver, here is MovingAverageObserver"),
        (damaged, r"layers\.0\.input: scale must be > 0"),
        (shapes, r"layers\.0\.weight: a scale must have shape \(4, 1, 1, 1\), got \(\)"),
        (lost, r"layers\.3\.input: qparams are a scale and a zero point"),
    ):
        with pytest.raises(ValueError, match=said):
            model.load_state_dict(state)
        after = model.state_dict()
        assert after.keys() == before.keys() and all(np.array_equal(after[k], before[k]) for k in before)


if __name__ == "__main__":
    go_on(Path(sys.argv[1]))
