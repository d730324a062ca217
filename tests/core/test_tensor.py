"""Tensor: the forward results are NumPy's, the gradients are the measured slopes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinytorch.core import Tensor, no_grad

Check = Callable[..., None]
some = settings(max_examples=40, deadline=None, derandomize=True)


def between(lo: float, hi: float, shape: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(lo, hi, shape)


def distinct(shape: tuple[int, ...]) -> np.ndarray:
    """Values 0.1 apart and off zero, in a shuffled order: no ties for max, no kink of relu within a step."""
    n = int(np.prod(shape))
    return (np.random.default_rng(0).permutation(n) - n / 2 + 0.25).reshape(shape) / 10


# --- dtypes and construction


@pytest.mark.parametrize("data", [2, 2.0, [1, 2], [[0.5]], True, np.arange(3), np.array([True]), np.int8(3)])
def test_numbers_lists_and_integers_become_float32(data: Any) -> None:
    tensor = Tensor(data)
    assert tensor.dtype == np.float32
    assert np.array_equal(tensor.numpy(), np.asarray(data))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_arrays_keep_their_dtype_and_memory(dtype: type) -> None:
    array: Any = np.ones(3, dtype)
    assert Tensor(array).dtype == dtype
    assert np.shares_memory(Tensor(array).numpy(), array)
    assert Tensor(array[0]).dtype == dtype


@pytest.mark.parametrize("data", [None, "text", [None, 1.0], 1j, np.array([object()])])
def test_what_is_not_real_numbers_is_refused(data: Any) -> None:
    with pytest.raises(TypeError, match="real numbers"):
        Tensor(data)
    with pytest.raises(TypeError, match="real numbers"):
        Tensor(1.0) + data


def test_a_tensor_shows_its_data_dtype_and_record() -> None:
    assert repr(Tensor([1.0, 2.0])) == "Tensor([1. 2.], dtype=float32)"
    assert repr(Tensor(1.0, requires_grad=True)) == "Tensor(1.0, dtype=float32, requires_grad=True)"


def test_numpy_functions_read_a_tensor_as_an_array() -> None:
    tensor = Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(tensor) == 2 and tensor.ndim == 2
    assert np.asarray(tensor) is tensor.data
    assert np.asarray(tensor, dtype=np.float64).dtype == np.float64
    assert Tensor([[3.5]]).item() == 3.5


# --- forward results

BINARY: dict[str, Callable[..., Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
UNARY: dict[
    str, tuple[Callable[..., Any], Callable[..., Any], float, float]
] = {  # the same operation on a Tensor and on an array, and where it is smooth
    "neg": (lambda x: -x, lambda x: -x, -2, 2),
    "exp": (lambda x: x.exp(), np.exp, -2, 2),
    "log": (lambda x: x.log(), np.log, 0.5, 3),
    "sqrt": (lambda x: x.sqrt(), np.sqrt, 0.5, 3),
    "tanh": (lambda x: x.tanh(), np.tanh, -2, 2),
    "relu above 0": (lambda x: x.relu(), lambda x: np.maximum(x, 0), 0.1, 2),
    "relu below 0": (lambda x: x.relu(), lambda x: np.maximum(x, 0), -2, -0.1),
    "**2": (lambda x: x**2, lambda x: x**2, -2, 2),
    "**3": (lambda x: x**3, lambda x: x**3, -2, 2),
    "**-1": (lambda x: x**-1, lambda x: 1 / x, 0.5, 2),
    "**0.5": (lambda x: x**0.5, np.sqrt, 0.5, 2),
    "**0": (lambda x: x**0, np.ones_like, -1, 1),
    "**np.int64": (lambda x: x ** np.int64(2), lambda x: x**2, -2, 2),
}


@pytest.mark.parametrize("name", BINARY)
def test_arithmetic_takes_numbers_and_arrays_on_either_side(name: str) -> None:
    op, x = BINARY[name], between(0.5, 2, (2, 3)).astype(np.float32)
    for other in (2, 2.5, np.float64(1.5), [1, 2, 4], np.array([1, 2, 4]), x[:1]):
        plain = np.asarray(other, dtype=np.float32)
        assert np.array_equal(op(Tensor(x), other).data, op(x, plain)), f"Tensor {name} {other!r}"
        assert np.array_equal(op(other, Tensor(x)).data, op(plain, x)), f"{other!r} {name} Tensor"


def test_division_is_rounded_once() -> None:
    a, b = between(1, 2, 10_000).astype(np.float32), between(1, 2, 10_000, seed=1).astype(np.float32)
    assert np.array_equal((Tensor(a) / Tensor(b)).data, a / b), (
        "x * (1 / y) moves ties by an ulp; quantizing needs x / y"
    )


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_element_are_numpys(name: str) -> None:
    op, plain, lo, hi = UNARY[name]
    x = between(lo, hi, (3, 4))
    assert np.allclose(op(Tensor(x)).data, plain(x), rtol=4e-16, atol=0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_operation_keeps_the_dtype_in_results_and_gradients(dtype: type) -> None:
    x = Tensor(between(0.5, 1, (2, 3)).astype(dtype), requires_grad=True)
    ops: dict[str, Callable[[Any], Any]] = {name: op for name, (op, *_) in UNARY.items()}
    ops |= {
        "x + x": lambda x: x + x,
        "x - 2": lambda x: x - 2,
        "2.0 * x": lambda x: 2.0 * x,
        "np.float64(2) / x": lambda x: np.float64(2) / x,
        "x / np.arange(1, 4)": lambda x: x / np.arange(1, 4),
        "sum": lambda x: x.sum(0),
        "mean": lambda x: x.mean(),
        "max": lambda x: x.max(1),
        "@": lambda x: x @ x.T,
        "reshape": lambda x: x.reshape(3, 2),
        "index": lambda x: x[:, 0],
    }
    for name, op in ops.items():
        x.grad = None
        out = op(x)
        assert out.dtype == dtype, name
        out.sum().backward()
        assert isinstance(x.grad, np.ndarray) and x.grad.dtype == dtype, name


def test_a_float16_mean_does_not_overflow_where_its_sum_would() -> None:
    x = Tensor(np.full(4, 40_000, np.float16), requires_grad=True)
    assert x.mean().item() == 40_000
    x.mean().backward()
    assert x.grad is not None and np.array_equal(x.grad, np.full(4, 0.25))


def test_a_vector_exponent_is_refused_with_the_way_out() -> None:
    with pytest.raises(TypeError, match=r"exponent must be a number, got Tensor: use \(x.log\(\) \* y\).exp\(\)"):
        Tensor([1.0]) ** Tensor([2.0])  # type: ignore[operator]


# --- gradients against measured slopes


@some
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), name=st.sampled_from([*BINARY]))
def test_arithmetic_gradients_undo_broadcasting(check_gradients: Check, shapes: Any, name: str) -> None:
    a, b = (between(0.5, 2, shape, seed) for seed, shape in enumerate(shapes.input_shapes))
    check_gradients(BINARY[name], a, b)


@pytest.mark.parametrize("name", BINARY)
def test_gradients_reach_a_tensor_beside_a_number(check_gradients: Check, name: str) -> None:
    check_gradients(lambda x: BINARY[name](x, 1.5), between(0.5, 2, 3))
    check_gradients(lambda x: BINARY[name](1.5, x), between(0.5, 2, 3))


@pytest.mark.parametrize("name", BINARY)
def test_a_tensor_used_twice_gets_both_gradients(check_gradients: Check, name: str) -> None:
    check_gradients(lambda x: BINARY[name](x, x * x), between(0.5, 2, 3))


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_gradients_of_functions_of_one_element(check_gradients: Check, name: str, shape: tuple[int, ...]) -> None:
    op, _, lo, hi = UNARY[name]
    check_gradients(op, between(lo, hi, shape))


@pytest.mark.parametrize("exponent, slope", [(0, 0), (1, 1), (2, 0)])
def test_powers_have_a_slope_at_zero(exponent: int, slope: float) -> None:
    x = Tensor([0.0], requires_grad=True)
    with np.errstate(all="raise"):
        (x**exponent).sum().backward()
    assert x.grad is not None and x.grad[0] == slope, "0 * 0**-1 is not the slope of a constant"


def test_the_slope_of_relu_at_zero_is_zero() -> None:
    x = Tensor([0.0, -0.0], requires_grad=True)
    x.relu().sum().backward()
    assert x.grad is not None and not x.grad.any()


@some
@given(shapes=hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3))
def test_matmul_takes_vectors_matrices_and_broadcast_batches(check_gradients: Check, shapes: Any) -> None:
    a, b = (between(0.5, 2, shape, seed) for seed, shape in enumerate(shapes.input_shapes))
    assert np.allclose((Tensor(a) @ Tensor(b)).data, a @ b, rtol=1e-14)
    check_gradients(lambda x, y: x @ y, a, b)


def test_an_array_on_the_left_of_matmul_is_lifted(check_gradients: Check) -> None:
    a = between(0, 1, (2, 3))
    check_gradients(lambda x: a @ x, between(0, 1, (3, 4)))


def test_an_axis_that_is_not_there_is_not_counted_around() -> None:
    """0, 3 of two axes was taken for 0, 1; and True, meant for keepdims, for axis 1."""
    x = Tensor(np.ones((2, 3)))
    for axes in ((0, 3), (0, 2), (-3, 1)):
        with pytest.raises(np.exceptions.AxisError):
            x.transpose(*axes)
    wrong: list[tuple[int, ...]] = [(0, 0), (1,), (0, 1, 0)]
    for order in wrong:
        with pytest.raises(ValueError, match="repeated axis|an order of all 2 axes"):
            x.transpose(*order)
    assert x.transpose((1, 0)).shape == x.transpose(-1, 0).shape == (3, 2)
    for reduce in (x.sum, x.mean, x.max):
        with pytest.raises(TypeError, match="axis must be an integer, several in a tuple, or None, got True"):
            reduce(True)


def test_an_array_is_no_parent_of_an_operation() -> None:
    with pytest.raises(TypeError, match=r"the parents of an operation are Tensors, got ndarray: wrap an array"):
        Tensor.from_op(np.ones(2), (np.ones(2),), lambda grad: (grad,))  # type: ignore[arg-type]


def test_matmul_of_numbers_is_refused_as_numpy_does() -> None:
    with pytest.raises(ValueError, match="matmul"):
        Tensor(1.0) @ Tensor([[1.0]])


@st.composite
def arrays_with_axes(draw: st.DrawFn) -> tuple[np.ndarray, Any]:
    shape = draw(hnp.array_shapes(max_dims=3, max_side=3))
    axis = draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1), hnp.valid_tuple_axes(len(shape))))
    return distinct(shape), axis


@some
@given(case=arrays_with_axes(), keepdims=st.booleans(), name=st.sampled_from(["sum", "mean", "max"]))
def test_reductions_over_any_axes(check_gradients: Check, case: Any, keepdims: bool, name: str) -> None:
    x, axis = case
    if axis != () or name != "max":  # NumPy's max over no axes is x itself: covered by the others
        expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
        out = getattr(Tensor(x), name)(axis, keepdims)
        assert out.shape == expected.shape and np.allclose(out.data, expected, rtol=1e-14)
        check_gradients(lambda t: getattr(t, name)(axis, keepdims), x)


def test_equal_maxima_share_the_gradient() -> None:
    x = Tensor([[3.0, 3.0, 1.0], [2.0, 0.0, 0.0]], requires_grad=True)
    x.max(axis=1).sum().backward()
    assert x.grad is not None and np.array_equal(x.grad, [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize("shape", [(6,), (3, 2), (-1, 3), (1, 6, 1)])
def test_reshape(check_gradients: Check, shape: tuple[int, ...]) -> None:
    x = between(-1, 1, (2, 3))
    assert np.array_equal(Tensor(x).reshape(*shape).data, x.reshape(shape))
    check_gradients(lambda t: t.reshape(*shape), x)
    assert np.array_equal(Tensor(x).reshape(shape).data, x.reshape(shape)), "one tuple says the same"


@pytest.mark.parametrize("axes", [(), (0, 1, 2), (1, 2, 0), (2, 0, 1), (-1, 0, 1)])
def test_transpose(check_gradients: Check, axes: tuple[int, ...]) -> None:
    x = between(-1, 1, (2, 3, 4))
    assert np.array_equal(Tensor(x).transpose(*axes).data, x.transpose(axes or None))
    check_gradients(lambda t: t.transpose(*axes), x)


def test_T_reverses_the_axes(check_gradients: Check) -> None:
    check_gradients(lambda t: t.T, between(-1, 1, (2, 3)))
    assert Tensor(np.ones((2, 3, 4))).T.shape == (4, 3, 2)


@some
@given(data=st.data())
def test_basic_indexing(check_gradients: Check, data: st.DataObject) -> None:
    x = between(-1, 1, data.draw(hnp.array_shapes(max_dims=3, max_side=4)))
    index = data.draw(hnp.basic_indices(x.shape, allow_newaxis=True))
    assert np.array_equal(Tensor(x)[index].data, x[index])
    check_gradients(lambda t: t[index], x)


@some
@given(data=st.data())
def test_integer_array_indexing_adds_up_repeated_picks(check_gradients: Check, data: st.DataObject) -> None:
    x = between(-1, 1, data.draw(hnp.array_shapes(max_dims=3, max_side=3)))
    index = data.draw(hnp.integer_array_indices(x.shape))
    assert np.array_equal(Tensor(x)[index].data, x[index])
    check_gradients(lambda t: t[index], x)


def test_boolean_indexing(check_gradients: Check) -> None:
    x = between(-1, 1, (3, 4))
    check_gradients(lambda t: t[x > 0], x)


def test_a_whole_network_has_the_measured_gradient(check_gradients: Check) -> None:
    def network(x: Tensor, w: Tensor, b: Tensor, v: Tensor) -> Tensor:
        h = ((x @ w.T + b).tanh() @ v.T).exp()
        return (h / h.sum(axis=1, keepdims=True)).log()[np.arange(3), np.array([0, 1, 1])].mean()

    check_gradients(network, *(between(-1, 1, s, i) for i, s in enumerate([(3, 4), (5, 4), (5,), (2, 5)])))


# --- the graph


def test_gradients_add_up_over_backward_calls() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        (x * 2).sum().backward()
    assert x.grad is not None and np.array_equal(x.grad, [6, 6])


def test_two_leaves_never_share_one_gradient_array() -> None:
    a, b = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    (a + b).sum().backward()
    assert a.grad is not None and b.grad is not None
    a.grad *= 2
    assert b.grad[0] == 1, "scaling one parameter's gradient in place changed another's"


def test_a_gradient_is_writable_and_row_by_row_in_memory() -> None:
    x = Tensor(np.ones((3, 4)), requires_grad=True)
    x.T.sum().backward()
    assert x.grad is not None and x.grad.flags.writeable and x.grad.flags.c_contiguous


def test_only_leaves_hold_gradients() -> None:
    x = Tensor([1.0], requires_grad=True)
    middle = x * 2
    out = middle.sum()
    out.backward()
    assert x.grad is not None and middle.grad is None and out.grad is None


def test_a_leaf_without_requires_grad_gets_none() -> None:
    x, fixed = Tensor([1.0], requires_grad=True), Tensor([2.0])
    (x * fixed).sum().backward()
    assert fixed.grad is None and x.grad is not None and x.grad[0] == 2


def test_a_shared_result_is_visited_once_after_all_that_use_it() -> None:
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(60):  # 2**60 paths: a walk along paths would never end
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_a_graph_deeper_than_pythons_stack() -> None:
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y + 1
    y.backward()
    assert x.grad == 1
    for _ in range(50_000):
        y = y + 1
    del y  # a graph that was never used is also freed without recursion


def test_backward_wants_one_number_or_a_gradient() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"one number, got shape \(2,\): use .mean\(\) or pass grad"):
        (x * 2).backward()
    (x * 2).backward([1.0, 10.0])
    assert x.grad is not None and np.array_equal(x.grad, [2, 20])
    Tensor([[1.0]], requires_grad=True).backward()


def test_backward_refuses_a_gradient_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(3,\)"):
        Tensor([1.0, 2.0], requires_grad=True).backward(np.ones(3))


@pytest.mark.parametrize(
    "grad", ["1", [[1.0, 2.0], [3.0]], np.ones((2, 2)) * 1j, [[None] * 2] * 2, np.ma.array(np.ones((2, 2)), mask=True)]
)
def test_backward_refuses_a_gradient_that_is_no_array_of_real_numbers(grad: Any) -> None:
    leaf = Tensor(np.ones((2, 2)), requires_grad=True)
    with pytest.raises(TypeError, match="grad must be real numbers"):
        (leaf * 2.0).backward(grad)
    assert leaf.grad is None


def test_backward_without_a_record_is_refused() -> None:
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        Tensor(1.0).backward()


def test_a_graph_is_forgotten_after_backward_and_says_so() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    middle = x * 2
    loss = middle.sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="already used"):
        loss.backward()
    with pytest.raises(RuntimeError, match="already used"):
        (middle * 3).sum().backward()


def test_backward_frees_what_the_graph_kept_alive() -> None:
    gc.disable()  # so that only reference counts free it
    try:
        x = Tensor(np.ones(3), requires_grad=True)
        big = np.ones(3)
        loss = (x * big).exp().sum()
        alive = weakref.ref(big)
        del big
        assert alive() is not None
        loss.backward()
        assert alive() is None
    finally:
        gc.enable()


def test_no_grad_records_nothing_and_ends_with_its_block() -> None:
    x = Tensor([1.0], requires_grad=True)
    with no_grad():
        out = x * 2
        with no_grad():
            pass
        assert not (x * 2).requires_grad, "an inner no_grad() must not end the outer one"
    assert not out.requires_grad and out._parents == () and out._backward is None
    with pytest.raises(ZeroDivisionError), no_grad():
        _ = 1 / 0
    assert (x * 2).requires_grad


def test_detach_cuts_the_record_and_shares_the_data() -> None:
    x = Tensor([3.0], requires_grad=True)
    (x * x.detach()).sum().backward()
    assert x.grad is not None and x.grad[0] == 3
    assert np.shares_memory(x.detach().data, x.data)


# --- operations defined outside


def test_an_operation_from_outside_may_choose_its_gradient() -> None:
    def round_straight_through(x: Tensor) -> Tensor:
        return Tensor.from_op(np.rint(x.data), (x,), lambda grad: (grad,))

    x = Tensor([0.4, 1.6], requires_grad=True)
    out = round_straight_through(x)
    (out * [2, 3]).sum().backward()
    assert np.array_equal(out.data, [0, 2])
    assert x.grad is not None and np.array_equal(x.grad, [2, 3])


def test_an_operation_may_leave_broadcasting_and_absent_gradients_to_backward() -> None:
    x, scale = Tensor(np.ones((2, 3)), requires_grad=True), Tensor([[2.0], [4.0]], requires_grad=True)
    out = Tensor.from_op(x.data * scale.data, (x, scale), lambda grad: (None, grad * x.data))
    out.sum().backward()
    assert x.grad is None
    assert scale.grad is not None and np.array_equal(scale.grad, [[3], [3]])
    assert scale.grad.dtype == np.float32, "a gradient has its tensor's dtype, here not the operation's float64"


@pytest.mark.parametrize("returned, got", [(lambda g: g, "ndarray"), (lambda g: (g, g), "a tuple of 2")])
def test_a_backward_must_return_one_gradient_a_parent(returned: Any, got: str) -> None:
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match=f"tuple of 1, one a parent, got {got}"):
        Tensor.from_op(x.data, (x,), returned).sum().backward()


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (2, 2)])
def test_a_backward_must_return_the_parents_shape_or_one_it_broadcasts_to(shape: tuple[int, ...]) -> None:
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        Tensor.from_op(x.data, (x,), lambda grad: (np.ones(shape),)).sum().backward()


def test_float16_products_are_summed_in_float32_and_rounded_once() -> None:
    a = np.full((2, 4096), 0.5, np.float16)
    x = Tensor(a, requires_grad=True)
    got = x @ np.ones((4096, 3), np.float16)
    assert got.dtype == np.float16
    assert np.all(got.data == 2048), "a float16 sum of halves stops growing at 1024"
    got.sum().backward()
    assert x.grad is not None and x.grad.dtype == np.float16 and np.all(x.grad == 3)


@pytest.mark.parametrize(("axis", "keepdims"), [(None, False), (0, False), (-1, True), ((0, 2), False), ((1,), True)])
def test_the_variance_is_numpys_with_slopes(axis: Any, keepdims: bool, check_gradients: Callable[..., None]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    assert np.allclose(Tensor(x).var(axis, keepdims).data, x.var(axis, keepdims=keepdims), rtol=1e-14)
    check_gradients(lambda t: t.var(axis, keepdims), x)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 3), ()])
def test_axes_of_length_one_are_squeezed_as_numpys(axis: Any, check_gradients: Callable[..., None]) -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 1))
    assert np.array_equal(Tensor(x).squeeze(axis).data, x.squeeze(axis))
    check_gradients(lambda t: t.squeeze(axis), x)
    for wrong, error in ((1, ValueError), (4, np.exceptions.AxisError), (True, TypeError)):
        with pytest.raises(error):
            Tensor(x).squeeze(wrong)


def test_one_number_is_true_or_false_and_several_are_neither() -> None:
    assert bool(Tensor(0.5)) and bool(Tensor([[2.0]])) and not Tensor([0.0]) and not Tensor(np.float16(0))
    for several in (Tensor([1.0, 2.0]), Tensor(np.zeros((2, 2))), Tensor(np.zeros(0))):
        with pytest.raises(ValueError, match=r"neither true nor false: use .data.any\(\) or .data.all\(\)"):
            bool(several)
        with pytest.raises(ValueError, match="neither true nor false"):
            assert several or several
