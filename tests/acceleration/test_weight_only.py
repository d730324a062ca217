"""Weight-only layers, accelerated: the layer's own float32 weights, and sums within a bound that is derived."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinytorch.acceleration import accelerate, use_kernel
from tinytorch.acceleration.models.weight_only import AcceleratedWeightOnly
from tinytorch.core import Embedding, Linear, Module, ReLU, Sequential, Tensor
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT4,
    IntType,
    QuantizedTensor,
    WeightOnlyLinear,
    explain,
    model_nbytes,
    quantize_weight_only,
)

SHAPES = [(1, 30, 7), (3, 70, 40), (9, 64, 16), (13, 784, 70), (1, 300, 100)]
KINDS = [
    (INT8, 32),
    (INT8, None),
    (INT4, 32),
    (INT4, 48),
    (INT4, 128),
    (UINT4, 16),
    (IntType(2), 32),
    (IntType(3), None),
]
RNG = np.random.default_rng(0)


def made(n: int, k: int, int_type: IntType, group: int | None, bias: bool = True) -> WeightOnlyLinear:
    weight = QuantizedTensor.from_float(RNG.normal(size=(n, k)), int_type, axis=None if group else 0, group_size=group)
    return WeightOnlyLinear(weight, RNG.normal(size=n) if bias else None)


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def bound_and_exact(layer: WeightOnlyLinear, x: NDArray[np.float32]) -> tuple[Any, Any]:
    """(the largest error of an order of 64 + K / 64 additions and the bias's, the sums in float64)."""
    weights, bias = layer.weight.dequantize().astype(np.float64), 0 if layer.bias is None else layer.bias
    k, reals = weights.shape[1], x.astype(np.float64)
    roundings = (min(k, 64) + -(-k // 64) + 1) * 2.0**-24
    largest = np.abs(reals) @ np.abs(weights).T + np.abs(bias)
    return roundings / (1 - roundings) * largest, reals @ weights.T + bias


@pytest.mark.parametrize("int_type, group", KINDS, ids=lambda v: str(v))
def test_each_result_is_within_the_derived_bound_of_the_exact_sum(
    on_kernel: str, int_type: IntType, group: int | None
) -> None:
    for m, k, n in SHAPES:
        layer, x = made(n, k, int_type, group, bias=n % 2 == 0), floats(m, k)
        bound, exact = bound_and_exact(layer, x)
        fast = accelerate(layer)
        assert isinstance(fast, AcceleratedWeightOnly)
        assert (np.abs(fast(x).data - exact) <= bound).all(), f"{m} x {k} x {n}"
        assert fast(x).data.dtype == np.float32


@pytest.mark.parametrize("int_type, group", KINDS, ids=lambda v: str(v))
def test_the_weights_are_the_layers_to_the_bit(int_type: IntType, group: int | None) -> None:
    layer = made(20, 150, int_type, group)
    fast: Any = accelerate(layer)
    np.testing.assert_array_equal(fast.weights(), layer.weight.dequantize())


def test_numpy_gives_the_bits_of_the_layer_and_all_compiled_kernels_those_of_each_other(on_kernel: str) -> None:
    for (m, k, n), (int_type, group) in zip(SHAPES, KINDS, strict=False):
        layer, x = made(n, k, int_type, group), floats(m, k)
        fast = accelerate(layer)
        with use_kernel("numpy" if on_kernel == "numpy" else "generic"):
            wanted = layer(Tensor(x)).data if on_kernel == "numpy" else fast(x).data
        np.testing.assert_array_equal(fast(x).data, wanted)


def test_a_row_has_the_same_bits_alone_and_in_any_batch(on_kernel: str) -> None:
    if on_kernel == "numpy":
        return  # BLAS adds up a row alone in another order
    layer, x = made(130, 200, INT4, 32), floats(40, 200)
    fast = accelerate(layer)
    y = fast(x).data
    for rows in (slice(0, 1), slice(7, 14), slice(31, 40)):
        np.testing.assert_array_equal(fast(x[rows]).data, y[rows])
    np.testing.assert_array_equal(fast(x.reshape(2, 20, 200)).data, y.reshape(2, 20, 130))
    np.testing.assert_array_equal(fast(x[0]).data, y[0])


def test_threads_change_no_bit(two_threads: None) -> None:
    layer, x = made(700, 600, INT4, 32), floats(20, 600)
    with use_kernel("generic"):
        wanted = accelerate(layer)(x).data
    np.testing.assert_array_equal(accelerate(layer)(x).data, wanted)


def test_the_error_is_not_numpys_own_but_smaller_where_sums_are_long(on_kernel: str) -> None:
    """The root mean square over a batch of sums of 4096 products: NumPy adds them up in pieces of its own."""
    layer, x = made(64, 4096, INT4, 128, bias=False), floats(16, 4096)
    _, exact = bound_and_exact(layer, x)
    errors = [float(np.sqrt(np.mean((y - exact) ** 2))) for y in (accelerate(layer)(x).data, layer(Tensor(x)).data)]
    assert errors[0] <= errors[1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_goes_where_it_goes_in_numpy(on_kernel: str, value: float) -> None:
    layer, x = made(5, 70, INT4, 32), floats(3, 70)
    x[1, 3] = value
    with np.errstate(invalid="ignore"):
        wanted, got = layer(Tensor(x)).data, accelerate(layer)(x).data
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))


def test_a_model_keeps_the_codes_that_the_layers_kept() -> None:
    model = Sequential(Linear(256, 512), ReLU(), Linear(512, 256))
    for int_type, group in ((INT4, 32), (INT8, None), (UINT4, 64)):
        quantized = quantize_weight_only(model, int_type, group)
        fast = accelerate(quantized)
        assert [how for _, kind, how in explain(fast) if kind == "AcceleratedWeightOnly"] == [
            f"{int_type} weights, float arithmetic, compiled"
        ] * 2
        to_align = 2 * 64
        assert model_nbytes(fast) <= model_nbytes(quantized) + to_align
        x = floats(4, 256)
        np.testing.assert_allclose(fast(x).data, quantized(x).data, rtol=0, atol=1e-4)


def test_layers_that_cannot_be_packed_stay_what_they_are() -> None:
    class Doubled(WeightOnlyLinear):
        def forward(self, x: Any) -> Any:
            return Tensor(2 * super().forward(x).data)

    odd, subclass = made(5, 70, INT4, 20), Doubled(made(70, 70, INT4, 32).weight)
    model = accelerate(Sequential(made(70, 70, INT4, 32), subclass, odd))
    kinds = [type(m) for m in model.layers]  # type: ignore[attr-defined]
    assert kinds == [AcceleratedWeightOnly, Doubled, WeightOnlyLinear]
    tokens: Module = quantize_weight_only(Sequential(Embedding(9, 64), Linear(64, 3)))
    np.testing.assert_allclose(accelerate(tokens)(np.arange(5)).data, tokens(np.arange(5)).data, rtol=0, atol=1e-4)


def test_what_the_layer_refuses_it_refuses_and_what_is_empty_stays_empty(on_kernel: str) -> None:
    layer = made(5, 70, INT4, 32)
    with pytest.raises(ValueError, match=r"wanted input \[\.\.\., in\] for a weight \[out, in\] \(5, 70\), got shape"):
        accelerate(layer)(floats(2, 71))
    assert accelerate(layer)(floats(0, 70)).data.shape == (0, 5)


def test_a_copy_or_a_pickle_computes_the_same() -> None:
    fast, x = accelerate(made(20, 70, INT4, 32)), floats(3, 70)
    wanted = fast(x).data
    for twin in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        np.testing.assert_array_equal(twin(x).data, wanted)
