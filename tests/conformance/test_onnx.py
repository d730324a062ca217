"""ONNX's own operator cases, which the onnx package carries."""

from __future__ import annotations

import numpy as np
import pytest

from tinytorch.quantization import INT4, UINT4, IntType, pack_int4

from .operators import OPERATORS, beyond, onnx_operator
from .peers import NAMES, int_type, onnx_cases, require

pytestmark = pytest.mark.peers

# Of the types of a case, the first that is no IntType. Cases of types that ONNX adds later are left out as well,
# without a name here: `beyond` sees their type.
LEFT_OUT = {
    "test_dequantizelinear_e4m3fn": "FLOAT8E4M3FN",
    "test_dequantizelinear_e4m3fn_float16": "FLOAT8E4M3FN",
    "test_dequantizelinear_e4m3fn_zero_point": "FLOAT8E4M3FN",
    "test_dequantizelinear_e5m2": "FLOAT8E5M2",
    "test_dequantizelinear_float4e2m1": "FLOAT4E2M1",
    "test_dequantizelinear_int16": "INT16",
    "test_dequantizelinear_uint16": "UINT16",
    "test_quantizelinear_blocked_symmetric": "INT16",
    "test_quantizelinear_e4m3fn": "FLOAT8E4M3FN",
    "test_quantizelinear_e5m2": "FLOAT8E5M2",
    "test_quantizelinear_float4e2m1": "FLOAT4E2M1",
    "test_quantizelinear_int16": "INT16",
    "test_quantizelinear_uint16": "UINT16",
}
COMPARED = {
    "test_dequantizelinear",
    "test_dequantizelinear_axis",
    "test_dequantizelinear_blocked",
    "test_dequantizelinear_int2",
    "test_dequantizelinear_int4",
    "test_dequantizelinear_uint2",
    "test_dequantizelinear_uint4",
    "test_dynamicquantizelinear",
    "test_dynamicquantizelinear_max_adjusted",
    "test_dynamicquantizelinear_min_adjusted",
    "test_matmulinteger",
    "test_qlinearmatmul_2D_int8_float16",
    "test_qlinearmatmul_2D_int8_float32",
    "test_qlinearmatmul_2D_uint8_float16",
    "test_qlinearmatmul_2D_uint8_float32",
    "test_qlinearmatmul_3D_int8_float16",
    "test_qlinearmatmul_3D_int8_float32",
    "test_qlinearmatmul_3D_uint8_float16",
    "test_qlinearmatmul_3D_uint8_float32",
    "test_quantizelinear",
    "test_quantizelinear_axis",
    "test_quantizelinear_blocked_asymmetric",
    "test_quantizelinear_int2",
    "test_quantizelinear_int4",
    "test_quantizelinear_uint2",
    "test_quantizelinear_uint4",
}


@pytest.mark.parametrize("op", OPERATORS)
def test_every_case_of_an_operator_comes_out_bit_for_bit(op: str) -> None:
    counted = onnx_operator(op)
    assert counted.mismatches == 0, f"{counted.mismatches} of {counted.compared} values differ; {counted.first}"


def test_every_known_case_of_our_types_is_among_those_compared() -> None:
    compared = {case.name for case in onnx_cases(tuple(OPERATORS)) if beyond(case) is None}
    lost = sorted(COMPARED - compared)
    assert not lost, f"these were compared once, and the installed onnx package no longer has them as they were: {lost}"


def test_a_case_is_left_out_only_for_a_type_that_is_no_int_type() -> None:
    reasons = {case.name: beyond(case) for case in onnx_cases(tuple(OPERATORS)) if beyond(case)}
    ours = {name: reason for name, reason in reasons.items() if reason and int_type(reason)}
    assert not ours, f"left out, though an IntType has these codes: {ours}"
    found = {name: reasons.get(name) for name in LEFT_OUT}
    assert found == LEFT_OUT, "a case that was left out by name changed: compare it, or correct its line in LEFT_OUT"


@pytest.mark.parametrize("codes", [INT4, UINT4], ids=str)
def test_onnx_unpacks_our_packed_codes(codes: IntType) -> None:
    onnx = require("onnx")
    every = np.arange(codes.qmin, codes.qmax + 1).astype(codes.storage)
    for length in range(every.size + 1):  # odd ones end in half a byte
        q = every[:length]
        packed = pack_int4(q).tobytes()
        data_type = onnx.TensorProto.DataType.Value(NAMES[codes])
        tensor = onnx.TensorProto(data_type=data_type, dims=[length], raw_data=packed)
        read = onnx.numpy_helper.to_array(tensor).astype(codes.storage)
        assert read.tolist() == q.tolist(), f"onnx reads {packed.hex(' ')} as {read.tolist()}, packed was {q.tolist()}"
