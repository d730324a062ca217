"""Batches and the digits."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.core import Dataset, batches, load_digits


@given(n=st.integers(0, 40), size=st.integers(1, 50), seed=st.one_of(st.none(), st.integers(0, 100)))
def test_batches_hold_every_pair_once(n: int, size: int, seed: int | None) -> None:
    x = np.arange(n)
    parts = list(batches(x, x * 10, size, seed))
    assert [len(a) for a, _ in parts[:-1]] == [size] * (len(parts) - 1) and len(parts) == -(-n // size)
    assert all(np.array_equal(b, a * 10) for a, b in parts)
    rows = np.concatenate([a for a, _ in parts]) if parts else x
    assert np.array_equal(rows if seed is None else np.sort(rows), x), "without a seed the order is kept"


def test_a_seed_is_an_order() -> None:
    x = np.arange(100)
    first, again, other = (next(iter(batches(x, x, 100, seed)))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first, x)


def test_wrong_batches_are_refused_at_the_call() -> None:
    with pytest.raises(ValueError, match="as many rows, got 3 and 2"):
        batches(np.ones(3), np.ones(2), 1)
    for x, y in (([1, 2], np.ones(2)), (np.ones(2), (1, 2))):
        with pytest.raises(TypeError, match="rows of arrays, got a list: use np.asarray"):
            batches(x, y, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batches needs size as one integer >= 1, got 0"):
        batches(np.ones(3), np.ones(3), 0)


def test_images_are_square_however_many_there_are() -> None:
    y = np.zeros(0, np.int64)
    empty = Dataset(np.zeros((0, 9), np.float32), y, np.zeros((2, 9), np.float32), y, "empty").images()
    assert empty.x_train.shape == (0, 1, 3, 3) and empty.x_test.shape == (2, 1, 3, 3)
    for shape in ((4, 10), (4, 0), (4, 3, 4)):
        with pytest.raises(ValueError, match=r"images are square, got \d+ pixels a sample"):
            Dataset(np.zeros(shape, np.float32), y, np.zeros(shape, np.float32), y, "none").images()


def test_the_digits_have_the_promised_shapes_and_range() -> None:
    digits = load_digits()
    assert digits.name == "digits"
    assert digits.x_train.shape == (1297, 64) and digits.x_test.shape == (500, 64)
    for x, y in ((digits.x_train, digits.y_train), (digits.x_test, digits.y_test)):
        assert x.dtype == np.float32 and y.dtype == np.int64 and y.shape == (len(x),)
        assert x.min() == 0 and x.max() == 1 and np.array_equal(np.unique(y), np.arange(10))
        assert np.array_equal(x * 16, np.rint(x * 16)), "a pixel is a count of 0 to 16 dots, divided by 16"


def test_the_digits_are_the_test_part_of_the_uci_set() -> None:
    digits = load_digits()
    counts = np.bincount(np.concatenate([digits.y_train, digits.y_test]))
    # The class distribution that optdigits.names gives for its 1 797 test images.
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    rows = np.concatenate([digits.x_train, digits.x_test]) * 16
    pixels = rows[np.lexsort(rows.T)].astype(np.uint8)
    assert (
        hashlib.sha256(pixels.tobytes()).hexdigest()
        == "3013ca2de9a064a8f3b0cd1f57c04dc521fef20303d1b6a8e0c8eb1350569fee"
    )


def test_the_split_is_a_seed_and_leaves_no_image_on_both_sides() -> None:
    a, b, c = load_digits(seed=0), load_digits(seed=0), load_digits(seed=1)
    assert np.array_equal(a.x_test, b.x_test) and np.array_equal(a.y_train, b.y_train)
    assert not np.array_equal(a.y_test, c.y_test)
    train, test = ({row.tobytes() for row in x} for x in (a.x_train, a.x_test))
    assert not train & test


def test_a_dataset_cannot_be_rewired() -> None:
    with pytest.raises(FrozenInstanceError):
        load_digits().name = "other"  # type: ignore[misc]
