"""concatenate and stack give NumPy's arrays, and each tensor its part of the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.core import Tensor, concatenate, stack

Check = Callable[..., None]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shapes", "axis"),
    [
        ([(3,)], 0),
        ([(3,), (0,), (2,)], 0),
        ([(2, 3), (2, 1), (2, 2)], 1),
        ([(2, 3, 4), (2, 5, 4)], -2),
        ([(2, 3)] * 2, -1),
    ],
    ids=str,
)
def test_what_is_concatenated_is_numpys_with_slopes(shapes: list[Any], axis: int, check_gradients: Check) -> None:
    arrays = [RNG.normal(size=shape) for shape in shapes]
    assert np.array_equal(concatenate([Tensor(a) for a in arrays], axis).data, np.concatenate(arrays, axis))
    check_gradients(lambda *parts: concatenate(list(parts), axis), *arrays)


@pytest.mark.parametrize(
    ("shape", "n", "axis"), [((), 3, 0), ((2,), 1, 1), ((2, 3), 4, -1), ((2, 3), 2, 1), ((2, 3), 2, -3)]
)
def test_what_is_stacked_is_numpys_with_slopes(shape: Any, n: int, axis: int, check_gradients: Check) -> None:
    arrays = [RNG.normal(size=shape) for _ in range(n)]
    assert np.array_equal(stack(tuple(Tensor(a) for a in arrays), axis).data, np.stack(arrays, axis))
    check_gradients(lambda *parts: stack(parts, axis), *arrays)


def test_one_tensor_in_two_places_gets_both_gradients() -> None:
    for join in (concatenate, stack):
        x = Tensor([1.0, 2.0], requires_grad=True)
        (join([x, x, Tensor([0.0, 0.0])]).reshape(-1) * np.arange(6.0)).sum().backward()
        assert x.grad is not None and x.grad.tolist() == [0 + 2, 1 + 3]


def test_arrays_may_be_among_them_and_dtypes_are_numpys() -> None:
    half = Tensor(np.ones(2, np.float16), requires_grad=True)
    for join in (concatenate, stack):
        joined = join([half, np.zeros(2, np.float32)])
        assert joined.dtype == np.float32 and joined.requires_grad
        joined.sum().backward()
        assert half.grad is not None and half.grad.dtype == np.float16
        assert join([half, half]).dtype == np.float16


def test_a_recurrence_of_ones_own_has_its_slopes(check_gradients: Check) -> None:
    """States are stacked over time, and each step sees the input beside the state."""

    def states(x: Tensor, w: Tensor) -> Tensor:
        h, seen = Tensor(np.zeros((2, 3))), []
        for t in range(x.shape[1]):
            h = (concatenate([x[:, t], h], axis=1) @ w).tanh()
            seen.append(h)
        return stack(seen, axis=1)

    x, w = RNG.normal(size=(2, 4, 2)), RNG.normal(size=(5, 3))
    assert states(Tensor(x), Tensor(w)).shape == (2, 4, 3)
    check_gradients(states, x, w)


@pytest.mark.parametrize("join", [concatenate, stack])
def test_what_cannot_be_joined_is_refused_in_a_sentence(join: Callable[..., Tensor]) -> None:
    x = Tensor(np.ones((2, 3)))
    cases: list[tuple[tuple[Any, ...], type[Exception], str]] = [
        ((x,), TypeError, f"{join.__name__} takes its tensors in a list, got a tinytorch.core.tensor.Tensor"),
        ((x, x), TypeError, "takes its tensors in a list"),
        (([],), ValueError, f"{join.__name__} needs at least one tensor, got none"),
        (([x, x], None), TypeError, "axis must be an integer, got None"),
        (([x, x], 1.0), TypeError, "axis must be an integer, got 1.0"),
        (([x, x], 3), np.exceptions.AxisError, "axis 3 is out of bounds"),
        (([x, Tensor(np.ones((3, 4)))],), ValueError, "must"),
        (([x, "text"],), TypeError, "real numbers"),
    ]
    for given, error, said in cases:
        with pytest.raises(error, match=said):
            join(*given)
