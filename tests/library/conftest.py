"""Networks trained once, and a peer that is not installed fails its test with one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from tinytorch.core import (
    Adam,
    BatchNorm2d,
    Conv2d,
    Dataset,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    fit,
    load_digits,
)

from ..conformance.conftest import pytest_runtest_call

__all__ = ["pytest_runtest_call"]


def mlp(seed: int = 0) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential(Linear(64, 64, rng=rng), ReLU(), Linear(64, 32, rng=rng), ReLU(), Linear(32, 10, rng=rng))


def cnn(seed: int = 0) -> Sequential:
    """For images [N, 1, 8, 8]."""
    rng = np.random.default_rng(seed)
    return Sequential(
        Conv2d(1, 8, 3, padding=1, rng=rng), BatchNorm2d(8), ReLU(), MaxPool2d(2),
        Conv2d(8, 12, 3, padding=1, rng=rng, groups=2), BatchNorm2d(12), ReLU(),
        Flatten(), Linear(192, 10, rng=rng),
    )  # fmt: skip


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_digits()


@pytest.fixture(scope="session")
def images(digits: Dataset) -> Dataset:
    return digits.images()


@pytest.fixture(scope="session")
def trained_mlp(digits: Dataset) -> Sequential:
    model = mlp()
    fit(model, digits.x_train, digits.y_train, 30, Adam(model.parameters(), lr=2e-3))
    return model.eval()


@pytest.fixture(scope="session")
def trained_cnn(images: Dataset) -> Sequential:
    model = cnn()
    fit(model, images.x_train, images.y_train, 4, Adam(model.parameters(), lr=3e-3))
    return model.eval()
