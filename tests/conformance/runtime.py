"""ONNX Runtime, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from tinytorch.quantization import (
    INT8,
    UINT8,
    IntType,
    QParams,
    QuantizedTensor,
    choose_qparams,
    dequantize,
    dynamic_quantize,
    integer_matmul,
    quantize,
    requantize,
)

from .counting import Answer, Array, Count, count
from .peers import NAMES, Constant, Node, operator, require, session, version
from .sweeps import arrays, multipliers, operands, pairs, scales, sums, told

RUNTIME = "onnxruntime"


# Choosing parameters


def calibration() -> Count:
    """`choose_qparams` against the tool with which ONNX Runtime calibrates: scale and zero point of 20 000 ranges.

    Its scale is asked for in float64 and rounded to float32 here: before 1.25 it subtracted in the type of the range.
    """
    theirs = require("onnxruntime.quantization.quant_utils").compute_scale_zp
    rng = np.random.default_rng(17)
    ranges = np.sort((rng.normal(size=(20_000, 2)) * 10.0 ** rng.integers(-6, 7, (20_000, 1))).astype(np.float32))

    def answers() -> Iterator[Answer]:
        for i, (lo, hi) in enumerate(ranges.astype(np.float64)):
            int_type, symmetric = [(INT8, False), (UINT8, False), (INT8, True)][i % 3]
            p = choose_qparams(lo, hi, int_type, symmetric)
            qmin = np.array(-127 if symmetric else int_type.qmin)
            z, scale = theirs(np.array(lo), np.array(hi), qmin, np.array(int_type.qmax), symmetric)
            asked = f"[{lo:g}, {hi:g}] as {int_type}{', symmetric' * symmetric}"
            yield asked, p.scale, np.asarray(scale, np.float32)
            yield asked, p.zero_point, np.asarray(z, np.int32)

    return count("choose_qparams", "INT8, UINT8", version(RUNTIME) + " calibration", answers())


# QuantizeLinear, DequantizeLinear


def quantize_linear(int_type: IntType) -> Count:
    """One scale and zero point a tensor."""
    name = NAMES[int_type]
    theirs = operator("QuantizeLinear", {"x": "FLOAT", "scale": "FLOAT", "z": name}, {"y": name})
    answers = (
        (told(p), quantize(x, p), theirs(x=x, scale=p.scale, z=p.zero_point.astype(int_type.storage))[0])
        for p, x in pairs(int_type)
    )
    return count("QuantizeLinear", name, version(RUNTIME), answers)


def quantize_linear_axis(int_type: IntType) -> Count:
    """One scale and zero point a row. Codes of 4 bits come back as floats, through DequantizeLinear with scale 1."""
    name, asked = NAMES[int_type], list(pairs(int_type))
    scale, zero_point = (np.stack([getattr(p, field) for p, _ in asked]) for field in ("scale", "zero_point"))
    x = np.stack([x for _, x in asked])
    nodes = [
        Node("QuantizeLinear", ["x", "scale", "z"], ["q"], {"axis": 0}),
        Node("DequantizeLinear", ["q", "ones", "z"], ["y"], {"axis": 0}),
    ]
    constants = {
        "z": Constant(zero_point.astype(int_type.storage), name),
        "ones": Constant(np.ones_like(scale), "FLOAT"),
    }
    steps = session(nodes, {"x": "FLOAT", "scale": "FLOAT"}, {"y": "FLOAT"}, constants)(x=x, scale=scale)[0]
    theirs = (steps + zero_point[:, None]).astype(int_type.storage)
    ours = quantize(x, QParams(scale[:, None], zero_point[:, None], int_type))
    answers = ((told(p), mine, other) for (p, _), mine, other in zip(asked, ours, theirs, strict=True))
    return count("QuantizeLinear, axis", name, version(RUNTIME), answers)


@np.errstate(over="ignore")
def dequantize_linear(int_type: IntType) -> Count:
    """Every code with every zero point and a hundred scales: a row for each zero point."""
    name, rng = NAMES[int_type], np.random.default_rng(17)
    codes = np.arange(int_type.qmin, int_type.qmax + 1).astype(int_type.storage)
    square = np.tile(codes, (codes.size, 1))
    node = Node("DequantizeLinear", ["q", "scale", "z"], ["y"], {"axis": 0})
    constants = {"q": Constant(square, name), "z": Constant(codes, name)}
    theirs = session([node], {"scale": "FLOAT"}, {"y": "FLOAT"}, constants)

    def answers() -> Iterator[Answer]:
        for scale in scales(100, rng):
            qparams = QParams(np.full((codes.size, 1), scale), codes[:, None], int_type)
            yield f"scale {scale:g}", dequantize(square, qparams), theirs(scale=np.full(codes.size, scale))[0]

    return count("DequantizeLinear", name, version(RUNTIME), answers())


def weight_only(int_type: IntType) -> Count:
    """A weight that `QuantizedTensor` stores in groups of 32 columns: its codes, packed, read by ONNX Runtime."""
    name, rng = NAMES[int_type], np.random.default_rng(17)
    node = Node("DequantizeLinear", ["q", "scale", "z"], ["y"], {"axis": 1, "block_size": 32})

    def answers() -> Iterator[Answer]:
        for rows, columns in [(1, 32), (3, 64), (64, 96), (128, 256), (7, 50), (33, 1)]:
            weight = rng.normal(size=(rows, columns)).astype(np.float32)
            ours = QuantizedTensor.from_float(weight, int_type, symmetric=False, group_size=32)
            p = ours.qparams
            constants = {
                "q": Constant(ours.q.reshape(rows, -1), name),  # with the zeros that fill up the last group
                "scale": Constant(p.scale.reshape(rows, -1), "FLOAT"),
                "z": Constant(p.zero_point.reshape(rows, -1).astype(int_type.storage), name),
            }
            theirs = session([node], {}, {"y": "FLOAT"}, constants)()[0]
            yield f"weight [{rows}, {columns}]", ours.dequantize(), theirs[:, :columns]

    return count("DequantizeLinear, blocks", name, version(RUNTIME), answers())


# DynamicQuantizeLinear


def dynamic_quantize_session() -> Callable[..., list[Array]]:
    return operator("DynamicQuantizeLinear", {"x": "FLOAT"}, {"y": "UINT8", "scale": "FLOAT", "z": "UINT8"})


def dynamic_quantize_linear() -> Count:
    """Codes, scale and zero point."""
    theirs = dynamic_quantize_session()

    def answers() -> Iterator[Answer]:
        for x in arrays():
            codes, p = dynamic_quantize(x)
            asked = f"range [{x.min(initial=0):g}, {x.max(initial=0):g}]"
            ours: list[Array] = [codes, p.scale, p.zero_point.astype(np.uint8)]
            yield from ((asked, mine, other) for mine, other in zip(ours, theirs(x=x), strict=True))

    return count("DynamicQuantizeLinear", "UINT8", version(RUNTIME), answers())


# MatMulInteger, QLinearMatMul


def matmul_integer_session(a: IntType, b: IntType) -> Callable[..., list[Array]]:
    inputs = {"a": NAMES[a], "b": NAMES[b], "za": NAMES[a], "zb": NAMES[b]}
    return operator("MatMulInteger", inputs, {"y": "INT32"})


@cache
def saturates() -> bool:
    """Whether ONNX Runtime's sums of UINT8 by INT8 are wrong on this processor.

    x86 processors without VNNI add two products in int16 (PMADDUBSW), and 2 * 255 * 127 does not fit: it saturates.
    """
    a, b = np.full((1, 64), 255, np.uint8), np.full((64, 1), 127, np.int8)
    y = matmul_integer_session(UINT8, INT8)(a=a, b=b, za=np.uint8(0), zb=np.int8(0))[0]
    return bool(y[0, 0] != 64 * 255 * 127)


def b_limits(a: IntType, b: IntType) -> tuple[int, int]:
    """The codes of b that ONNX Runtime multiplies rightly: all; 7 bits (2 * 255 * 64 < 2**15) where it saturates."""
    return (-64, 63) if (a, b) == (UINT8, INT8) and saturates() else (b.qmin, b.qmax)


def matmul_integer(a: IntType, b: IntType) -> Count:
    theirs = matmul_integer_session(a, b)
    answers = (
        (
            f"{x.shape} by {w.shape}, zero points {za} and {zb.flat[0]}",
            integer_matmul(x, w, za, zb),
            theirs(a=x, b=w, za=za, zb=zb)[0],
        )
        for x, w, za, zb in operands(a, b, b_limits(a, b))
    )
    return count("MatMulInteger", f"{NAMES[a]} x {NAMES[b]}", version(RUNTIME), answers)


def qlinear_matmul(a: IntType, b: IntType) -> Count:
    """integer_matmul, then requantize. Every second time all scales are powers of two, so that many sums are ties."""
    rng = np.random.default_rng(17)
    inputs = {"a": NAMES[a], "sa": "FLOAT", "za": NAMES[a], "b": NAMES[b], "sb": "FLOAT", "zb": NAMES[b]}
    inputs |= {"sy": "FLOAT", "zy": NAMES[a]}
    theirs = operator("QLinearMatMul", inputs, {"y": NAMES[a]})

    def answers() -> Iterator[Answer]:
        for i, (x, w, za, zb) in enumerate(operands(a, b, b_limits(a, b))):
            acc = integer_matmul(x, w, za, zb)
            sa, sb = (np.asarray(10 ** rng.uniform(-4, 1, shape), np.float32) for shape in ((), zb.shape))
            sy = np.asarray(np.abs(acc * (sa * sb)).max() / rng.uniform(50, 400) + 1e-9, np.float32)  # some saturate
            if i % 2:
                sa, sb, sy = (np.exp2(np.rint(np.log2(v))) for v in (sa, sb, sy))
            zy = np.asarray(rng.integers(a.qmin, a.qmax, dtype=a.storage, endpoint=True))
            ours = requantize(acc, sa * sb / sy, QParams(1.0, zy, a))
            answer = theirs(a=x, sa=sa, za=za, b=w, sb=sb, zb=zb, sy=sy, zy=zy)[0]
            yield f"{x.shape} by {w.shape}, scales {sa:g}, {sb.flat[0]:g}, {sy:g}", ours, answer

    return count("QLinearMatMul", f"{NAMES[a]} x {NAMES[b]}", version(RUNTIME), answers())


def requantize_float(int_type: IntType) -> Count:
    """Single sums, against QGemm: its product is 0 here, and its int32 bias is the sum, so that any sum can be had."""
    rng, name, size = np.random.default_rng(17), NAMES[int_type], 4000
    inputs = {"a": name, "m": "FLOAT", "za": name, "b": "INT8", "sb": "FLOAT", "zb": "INT8", "acc": "INT32"}
    inputs |= {"sy": "FLOAT", "zy": name}
    theirs = session([Node("QGemm", list(inputs), ["y"], domain="com.microsoft")], inputs, {"y": name})
    one, nothing = np.float32(1), np.zeros((), int_type.storage)
    feed = {"a": nothing.reshape(1, 1), "za": nothing, "b": np.zeros((1, size), np.int8), "sb": one, "zb": np.int8(0)}

    def answers() -> Iterator[Answer]:
        for m in multipliers(300, rng).astype(np.float32):
            acc = sums(float(m), size, rng)
            zy = np.asarray(rng.integers(int_type.qmin, int_type.qmax, dtype=int_type.storage, endpoint=True))
            ours = requantize(acc[None], m, QParams(1.0, zy, int_type))
            yield f"m {m:g}, zero point {zy}", ours, theirs(**feed, m=m, acc=acc, sy=one, zy=zy)[0]

    return count('requantize "float"', name, version(RUNTIME) + " QGemm", answers())
