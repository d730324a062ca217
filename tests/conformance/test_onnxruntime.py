"""ONNX Runtime, on values made to part conventions."""

from __future__ import annotations

import numpy as np
import pytest

from tinytorch.quantization import (
    INT4,
    INT8,
    UINT4,
    UINT8,
    IntType,
    QParams,
    choose_qparams,
    dequantize,
    dynamic_quantize,
    quantize,
)

from . import network, runtime
from .cases import PAIRS, QLINEAR_PAIRS
from .conventions import CONVENTIONS, convention
from .counting import Array, Count
from .peers import operator
from .sweeps import TINY, operands

pytestmark = pytest.mark.peers
MILLION = 1_000_000


def no_mismatch(counted: Count, at_least: int = 0) -> None:
    assert counted.mismatches == 0, (
        f"{counted.operator} {counted.types}: {counted.mismatches} of {counted.compared} values differ from "
        f"{counted.peer}; {counted.first}"
    )
    assert counted.compared >= at_least, f"wanted {at_least} values or more, compared {counted.compared}"


# Scales and zero points


def test_a_range_gets_the_qparams_of_the_runtimes_own_calibration() -> None:
    no_mismatch(runtime.calibration(), at_least=40_000)


@pytest.mark.parametrize("codes", [INT8, UINT8], ids=str)
def test_a_million_numbers_get_the_same_codes(codes: IntType) -> None:
    no_mismatch(runtime.quantize_linear(codes), at_least=MILLION)


@pytest.mark.parametrize("codes", [INT8, UINT8, INT4, UINT4], ids=str)
def test_a_million_numbers_get_the_same_codes_with_a_scale_a_row(codes: IntType) -> None:
    no_mismatch(runtime.quantize_linear_axis(codes), at_least=MILLION)


@pytest.mark.parametrize("codes", [INT8, UINT8, INT4, UINT4], ids=str)
def test_every_code_with_every_zero_point_stands_for_the_same_number(codes: IntType) -> None:
    no_mismatch(runtime.dequantize_linear(codes), at_least=100 * 4**codes.bits)


@pytest.mark.parametrize("codes", [INT8, INT4, UINT4], ids=str)
def test_a_weight_stored_in_groups_is_read_from_its_own_bytes(codes: IntType) -> None:
    no_mismatch(runtime.weight_only(codes), at_least=30_000)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_sweep_would_find_any_other_convention(name: str) -> None:
    assert convention(name, INT8).mismatches > 0, f"no value of the sweep tells {name!r} from ours: it shows nothing"


@pytest.mark.parametrize("codes", [INT8, UINT8], ids=str)
@pytest.mark.parametrize("name", CONVENTIONS)
def test_other_conventions_part_from_ours_on_ties_and_next_to_them_only(name: str, codes: IntType) -> None:
    no_mismatch(convention(name, codes, away_from_ties=True), at_least=100_000)


def test_not_a_number_gets_the_lowest_code_there_and_a_refusal_here() -> None:
    nan = np.full(40, np.nan, np.float32)  # 40: past the vector instructions too
    theirs = operator("QuantizeLinear", {"x": "FLOAT", "scale": "FLOAT", "z": "INT8"}, {"y": "INT8"})
    assert set(theirs(x=nan, scale=np.float32(1), z=np.int8(5))[0].tolist()) == {-128}
    with pytest.raises(ValueError, match="NaN"):
        quantize(nan, QParams(1.0, 5))


# Dynamic quantization


def test_ten_thousand_arrays_get_the_same_dynamic_qparams_and_codes() -> None:
    no_mismatch(runtime.dynamic_quantize_linear(), at_least=200_000)


def test_where_its_zero_point_is_a_tie_the_even_one_is_chosen() -> None:
    codes, qparams = dynamic_quantize([-253.0, 257.0])
    theirs = runtime.dynamic_quantize_session()(x=np.array([-253, 257], np.float32))
    assert (float(qparams.scale), int(qparams.zero_point)) == (2, 126), "253 / 2 = 126.5 is a tie, and 126 is even"
    assert [codes.tolist(), 2, 126] == [v.tolist() for v in theirs]


@pytest.mark.parametrize("largest", [1e-45, 1e-40, 254 * float(TINY)])
def test_below_255_of_the_smallest_normal_numbers_our_scale_is_1_and_theirs_is_subnormal_or_0(largest: float) -> None:
    x = np.array([-largest / 4, largest * 3 / 4], np.float32)
    assert x.any()
    _, scale, _ = runtime.dynamic_quantize_session()(x=x)
    assert scale < TINY, "a step that has lost bits: dividing by it is inexact, and 0 / 0 where it vanished"
    codes, qparams = dynamic_quantize(x)
    assert qparams.scale == 1
    assert not dequantize(codes, qparams).any(), "numbers this small are indistinguishable from 0"


def test_a_range_wider_than_float32_breaks_their_scale_and_not_ours() -> None:
    x = np.array([-3e38, 0, 3e38], np.float32)
    codes, scale, _ = runtime.dynamic_quantize_session()(x=x)
    assert scale == np.inf, "3e38 - (-3e38) overflows float32"
    assert codes.tolist() == [codes[0]] * 3, "and every number gets one code"
    ours, qparams = dynamic_quantize(x)
    error = np.abs(dequantize(ours, qparams) - x)
    assert error.max() <= qparams.scale / 2 + 4 * np.spacing(x.max()), (
        "half a step, and float32's rounding of scale and x"
    )


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_an_array_without_a_finite_range_is_refused_here_and_answered_there(bad: float) -> None:
    x = np.array([1, bad], np.float32)
    assert runtime.dynamic_quantize_session()(x=x)[0].shape == (2,)
    with pytest.raises(ValueError, match="finite|NaN"):
        dynamic_quantize(x)


def test_a_range_of_nothing_has_scale_1() -> None:
    codes, scale, zero_point = runtime.dynamic_quantize_session()(x=np.zeros(3, np.float32))
    assert (codes.tolist(), float(scale), int(zero_point)) == ([0, 0, 0], 1, 0)
    qparams = choose_qparams(0, 0, UINT8)
    assert (float(qparams.scale), int(qparams.zero_point)) == (1, 0)


# Integer products


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=lambda t: str(t))
def test_a_million_sums_of_products_are_exact(a: IntType, b: IntType) -> None:
    no_mismatch(runtime.matmul_integer(a, b), at_least=MILLION)


def saturated(a: Array, b: Array) -> Array:
    """a @ b, where neighbouring products are added in int16: int32 [..., M, N]. What PMADDUBSW does."""
    even = a.shape[-1] % 2
    a = np.pad(a.astype(np.int32), [(0, 0)] * (a.ndim - 1) + [(0, even)])
    b = np.pad(b.astype(np.int32), [(0, 0)] * (b.ndim - 2) + [(0, even), (0, 0)])
    two = a[..., 0::2, None] * b[..., None, 0::2, :] + a[..., 1::2, None] * b[..., None, 1::2, :]
    return np.asarray(np.clip(two, -(2**15), 2**15 - 1).sum(-2, np.int32))


def test_uint8_by_int8_is_exact_there_or_saturates_by_pairs_where_the_processor_has_no_vnni() -> None:
    theirs = runtime.matmul_integer_session(UINT8, INT8)
    for a, b, _, _ in operands(UINT8, INT8):
        if a.size * b.shape[-1] > 200_000:
            continue
        answer = theirs(a=a, b=b, za=np.uint8(0), zb=np.int8(0))[0]
        expected = saturated(a, b) if runtime.saturates() else a.astype(np.int32) @ b.astype(np.int32)
        assert np.array_equal(answer, expected), f"neither exact nor saturated by pairs: {a.shape} by {b.shape}"


@pytest.mark.parametrize(("a", "b"), QLINEAR_PAIRS, ids=lambda t: str(t))
def test_a_million_requantized_products_get_the_same_codes(a: IntType, b: IntType) -> None:
    no_mismatch(runtime.qlinear_matmul(a, b), at_least=MILLION)


@pytest.mark.parametrize("codes", [INT8, UINT8], ids=str)
def test_a_million_sums_from_all_of_int32_requantize_to_the_same_codes(codes: IntType) -> None:
    no_mismatch(runtime.requantize_float(codes), at_least=MILLION)


# A layer, a network


def test_two_hundred_thousand_results_of_a_layer_next_to_a_tie_get_the_same_codes() -> None:
    no_mismatch(network.next_to_ties(), at_least=200_000)


AXES = pytest.mark.parametrize("axis", [0, None], ids=["per channel", "per tensor"])


@AXES
def test_the_static_network_as_an_integer_graph_gives_the_same_codes_and_results(axis: int | None) -> None:
    no_mismatch(network.integer_network(axis), at_least=100_000)


@AXES
def test_the_static_network_as_a_qdq_graph_fused_by_the_runtime_gives_the_same_codes_and_results(
    axis: int | None,
) -> None:
    no_mismatch(network.fused_network(axis), at_least=100_000)


@AXES
def test_run_in_floats_the_qdq_graph_parts_from_the_integers_next_to_a_tie_only(axis: int | None) -> None:
    for layer, given, ours, theirs in network.outputs(network.qdq_graph, axis, optimize=False):
        if layer.output_qparams is None:
            continue
        part = ours != theirs
        distance, slack = network.distance_to_tie(layer, given)
        assert np.all(np.abs(ours.astype(int) - theirs) <= 1)
        assert np.all(distance[part] <= slack[part]), "a code differs far from a tie: that is not rounding"
