"""The integer layers and the walkers, in this process: against ONNX Runtime, scalar arithmetic, and float layers."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest

from tinytorch.core import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Embedding,
    Flatten,
    LayerNorm,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    SelfAttention,
    Sequential,
    Sigmoid,
    Tanh,
    Tensor,
    load_state,
    save_state,
)
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT8,
    IntType,
    Lookup,
    OnCodes,
    QParams,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedResidual,
    QuantizedTensor,
    WeightOnlyLinear,
    choose_qparams,
    dequantize,
    dynamic_quantize,
    explain,
    model_arrays,
    prepare_qat,
    quantize,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    quantized_add,
    quantized_layer,
    sqnr_db,
)
from tinytorch.quantization.trees import fuse_chain

from ..conformance.peers import NAMES, Node, operator, session
from ..conformance.runtime import saturates

# Convolution against ONNX Runtime


class Asked(NamedTuple):
    """One convolution."""

    weight: tuple[int, ...]
    image: tuple[int, ...]
    stride: int
    padding: int
    groups: int


def shapes(rng: np.random.Generator) -> Asked:
    """Any convolution: groups from 1 to depthwise, strides, padding, kernels and images of every small size."""
    groups = int(rng.integers(1, 5))
    per_group = 1 if rng.random() < 0.4 else int(rng.integers(1, 4))  # 1: depthwise
    out = groups * int(rng.integers(1, 4))
    kernel = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    padding = int(rng.integers(0, 3))
    size = tuple(int(max(k - 2 * padding, 1) + rng.integers(0, 8)) for k in kernel)
    weight = (out, per_group, *kernel)
    image = (int(rng.integers(1, 4)), groups * per_group, *size)
    return Asked(weight, image, int(rng.integers(1, 4)), padding, groups)


def weight_codes(
    shape: tuple[int, ...], codes: IntType, per_channel: bool, rng: np.random.Generator
) -> QuantizedTensor:
    """Random int8 weights; of 7 bits where the runtime's processor would saturate uint8 by int8."""
    low, high = (-64, 63) if codes == UINT8 and saturates() else (-128, 127)
    q = rng.integers(low, high + 1, shape).astype(np.int8)
    scale = rng.uniform(1e-3, 1e-1, (shape[0], 1, 1, 1) if per_channel else ())
    return QuantizedTensor(q, QParams(scale, 0))


@pytest.mark.peers
def test_a_static_convolution_has_the_runtimes_codes() -> None:
    """QLinearConv: 240 convolutions, int8 and uint8, weights per tensor and per channel, with bias."""
    rng, configurations, compared, depthwise, mismatches = np.random.default_rng(17), 0, 0, 0, 0
    for i in range(240):
        asked, codes, per_channel = shapes(rng), (INT8, UINT8)[i % 2], bool(i // 2 % 2)
        weight = weight_codes(asked.weight, codes, per_channel, rng)
        p = QParams(rng.uniform(1e-3, 1), rng.integers(codes.qmin, codes.qmax + 1), codes)
        units = (p.scale * weight.qparams.scale).reshape(-1) * np.ones(asked.weight[0], np.float32)
        bias = (rng.integers(-5000, 5000, asked.weight[0]) * units.astype(np.float64)).astype(np.float32)
        reach = 74**2 * np.sqrt(np.prod(asked.weight[1:])) * units.max()  # of a sum of that many products
        out = QParams(reach / rng.uniform(20, 200), rng.integers(codes.qmin, codes.qmax + 1), codes)
        layer = QuantizedConv2d(weight, bias, p, out, stride=asked.stride, padding=asked.padding, groups=asked.groups)
        x = rng.integers(codes.qmin, codes.qmax + 1, asked.image).astype(codes.storage)
        ours = layer(QuantizedTensor(x, p)).q
        name = NAMES[codes]
        types = {
            "x": name,
            "xs": "FLOAT",
            "xz": name,
            "w": "INT8",
            "ws": "FLOAT",
            "wz": "INT8",
            "ys": "FLOAT",
            "yz": name,
            "b": "INT32",
        }
        theirs = operator(
            "QLinearConv",
            types,
            {"y": name},
            pads=[asked.padding] * 4,
            strides=[asked.stride] * 2,
            group=asked.groups,
        )
        answer = theirs(
            x=x, xs=p.scale, xz=p.zero_point.astype(codes.storage),
            w=weight.q, ws=weight.qparams.scale.reshape(-1) if per_channel else weight.qparams.scale,
            wz=np.zeros(weight.shape[0] if per_channel else (), np.int8),
            ys=out.scale, yz=out.zero_point.astype(codes.storage),
            b=np.concatenate([product.bias for product in layer.products]),
        )[0]  # fmt: skip
        assert ours.shape == answer.shape and ours.dtype == answer.dtype, (
            f"{asked}: {ours.shape}, wanted {answer.shape}"
        )
        configurations, compared = configurations + 1, compared + ours.size
        depthwise += asked.groups > 1 and asked.weight[1] == 1
        mismatches += int((ours != answer).sum())
    assert mismatches == 0, (
        f"{mismatches} of {compared} codes differ from ONNX Runtime's, in {configurations} convolutions"
    )
    assert configurations >= 200 and depthwise >= 50 and compared > 10_000


@pytest.mark.peers
def test_a_dynamic_convolution_has_the_runtimes_sums() -> None:
    """ConvInteger on the codes of DynamicQuantizeLinear, times s_x * s_w, plus the bias: bit for bit."""
    rng, configurations, compared, mismatches = np.random.default_rng(18), 0, 0, 0
    for i in range(120):
        asked, per_channel = shapes(rng), bool(i % 2)
        weight = weight_codes(asked.weight, UINT8, per_channel, rng)
        bias = rng.normal(size=asked.weight[0]).astype(np.float32)
        x = rng.normal(rng.normal(), 2, asked.image).astype(np.float32)
        ours = QuantizedConv2d(weight, bias, stride=asked.stride, padding=asked.padding, groups=asked.groups)(x).data
        codes, p = dynamic_quantize(x)
        types = {"x": "UINT8", "w": "INT8", "xz": "UINT8"}
        theirs = operator(
            "ConvInteger",
            types,
            {"y": "INT32"},
            pads=[asked.padding] * 4,
            strides=[asked.stride] * 2,
            group=asked.groups,
        )
        acc = theirs(x=codes, w=weight.q, xz=p.zero_point.astype(np.uint8))[0]
        scale = (p.scale * weight.qparams.scale.reshape(-1)).reshape(1, -1, 1, 1)
        answer = acc.astype(np.float32) * scale + bias.reshape(1, -1, 1, 1)
        assert ours.shape == answer.shape and ours.dtype == np.float32
        configurations, compared = configurations + 1, compared + ours.size
        mismatches += int((ours != answer).sum())
    assert mismatches == 0, (
        f"{mismatches} of {compared} sums differ from ONNX Runtime's, in {configurations} convolutions"
    )
    assert configurations >= 100 and compared > 5000


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_convolution_of_one_pixel_windows_is_a_linear_layer(bits: int) -> None:
    rng = np.random.default_rng(bits)
    weight, bias, x = (rng.normal(size=n).astype(np.float32) for n in ((5, 3), 5, (2, 3, 4, 6)))
    p = choose_qparams(x.min(), x.max())
    conv = QuantizedConv2d(weight[:, :, None, None], bias, p, weight_type=IntType(bits))(x).data
    linear = QuantizedLinear(weight, bias, p, weight_type=IntType(bits))(x.transpose(0, 2, 3, 1)).data
    assert np.array_equal(conv, linear.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"stride": (1, 2, 1)}, "stride"),
        ({"stride": 0}, "stride"),
        ({"padding": (1, 1, 0, 0)}, "padding"),
        ({"padding": -1}, "padding"),
        ({"padding": "same"}, "padding"),
        ({"groups": 0}, "groups"),
        ({"groups": 1.5}, "groups"),
        ({"dilation": 0}, "dilation"),
        ({"padding_mode": "reflect"}, "padding_mode"),
    ],
)
def test_what_a_convolution_does_not_support_is_refused_by_name(options: dict[str, object], named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=named):
        QuantizedConv2d(np.ones((2, 1, 3, 3)), **options)  # type: ignore[arg-type]


def test_weights_and_images_that_do_not_fit_are_refused_with_their_shape() -> None:
    for weight, groups in (((4, 3), 1), ((3, 1, 2, 2), 2)):
        with pytest.raises(ValueError, match="weight must be"):
            QuantizedConv2d(np.ones(weight), groups=groups)
    layer = QuantizedConv2d(np.ones((2, 3, 3, 3)))
    for image in ((1, 2, 5, 5), (3, 5, 5)):
        with pytest.raises(ValueError, match=r"wanted images \(N, 3, height, width\)"):
            layer(np.ones(image))
    with pytest.raises(ValueError, match=r"at least \(3, 3\)"):
        layer(np.ones((1, 3, 2, 5)))


def test_weight_codes_with_a_zero_point_are_refused_not_miscounted() -> None:
    codes = QuantizedTensor.from_float(np.arange(12.0).reshape(3, 4), symmetric=False)
    with pytest.raises(ValueError, match="zero point 0, got -128"):
        QuantizedLinear(codes)
    images = QuantizedTensor.from_float(np.arange(12.0).reshape(3, 4, 1, 1), symmetric=False)
    with pytest.raises(ValueError, match="zero point 0"):
        QuantizedConv2d(images)


def test_a_weight_of_uneven_rows_is_refused_in_a_sentence() -> None:
    rows: Any = [[1.0, 2.0], [3.0]]
    with pytest.raises(TypeError, match="weight must be real numbers, got rows of unequal length"):
        QuantizedLinear(rows)


def test_only_products_of_weights_have_an_integer_form() -> None:
    with pytest.raises(TypeError, match="LayerNorm"):
        quantized_layer(LayerNorm(4))


# Sums, pools and tables on codes


def add_by_hand(a: int, b: int, qparams: list[tuple[float, int]], qmin: int, qmax: int) -> int:
    """One code of the sum, each step rounded to float32: both scales over s_y, the products, the sum."""

    def f32(v: float) -> float:
        return float(np.float32(v))

    (s_a, z_a), (s_b, z_b), (s_y, z_y) = qparams
    terms = (f32((q - z) * f32(s / s_y)) for q, z, s in ((a, z_a, s_a), (b, z_b, s_b)))
    return min(max(round(f32(sum(terms))) + z_y, qmin), qmax)


def addition_qparams(rng: np.random.Generator, codes: IntType) -> list[QParams]:
    """For two addends and their sum; every third set gives many ties."""
    if rng.random() < 1 / 3:
        return [QParams(s, rng.integers(codes.qmin, codes.qmax + 1), codes) for s in (0.5, 1.0, 1.0)]
    scales = rng.uniform(0.01, 2, 3)
    return [QParams(s, rng.integers(codes.qmin, codes.qmax + 1), codes) for s in scales]


def every_pair(codes: IntType, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """5000 pairs of codes, with the ends."""
    q = rng.integers(codes.qmin, codes.qmax + 1, (2, 5000)).astype(codes.storage)
    q[:, :4] = np.array([[codes.qmin, codes.qmin, codes.qmax, codes.qmax], [codes.qmin, codes.qmax] * 2])
    return q[0], q[1]


@pytest.mark.parametrize("codes", [INT8, UINT8], ids=str)
def test_a_sum_of_codes_is_the_scalar_one(codes: IntType) -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        p = addition_qparams(rng, codes)
        a, b = (q[:500] for q in every_pair(codes, rng))
        got = quantized_add(QuantizedTensor(a, p[0]), QuantizedTensor(b, p[1]), p[2])
        told = [(float(r.scale), int(r.zero_point)) for r in p]
        wanted = [add_by_hand(int(i), int(j), told, codes.qmin, codes.qmax) for i, j in zip(a, b, strict=True)]
        assert got.q.tolist() == wanted, f"scales and zero points {told}"


@pytest.mark.peers
@pytest.mark.parametrize("codes", [INT8, UINT8], ids=str)
def test_a_sum_of_codes_parts_from_the_runtimes_at_ties_only(codes: IntType) -> None:
    """QLinearAdd adds all zero points, as reals, before it rounds: a tie goes to another even number where that of the
    sum is odd, and its terms are larger, so it rounds by up to 6 * 2**-24 of them."""
    rng, compared, parted = np.random.default_rng(2), 0, 0
    name = NAMES[codes]
    inputs = ["a", "as", "az", "b", "bs", "bz", "ys", "yz"]
    types = {i: "FLOAT" if i.endswith("s") else name for i in inputs}
    theirs = session([Node("QLinearAdd", inputs, ["y"], None, "com.microsoft")], types, {"y": name})
    for _ in range(60):
        p = addition_qparams(rng, codes)
        a, b = every_pair(codes, rng)
        ours = quantized_add(QuantizedTensor(a, p[0]), QuantizedTensor(b, p[1]), p[2]).q
        z = [r.zero_point.astype(codes.storage) for r in p]
        feed = {
            "a": a,
            "as": p[0].scale,
            "az": z[0],
            "b": b,
            "bs": p[1].scale,
            "bz": z[1],
            "ys": p[2].scale,
            "yz": z[2],
        }
        answer = theirs(**feed)[0]
        differ = ours != answer
        s = [float(r.scale) for r in p]
        exact = (
            sum((q.astype(float) - int(r.zero_point)) * r.scale.astype(float) for q, r in ((a, p[0]), (b, p[1]))) / s[2]
        )
        reach = 2 * 256 * (s[0] + s[1]) / s[2] + 256
        near = np.abs(exact - np.floor(exact) - 0.5) <= 6 * 2.0**-24 * reach
        assert not (differ & ~near).any(), f"{(differ & ~near).sum()} codes differ from QLinearAdd's away from a tie"
        assert np.abs(ours.astype(int) - answer.astype(int)).max() <= 1
        compared, parted = compared + differ.size, parted + int(differ.sum())
    assert compared == 300_000
    assert 0 < parted < compared / 5, f"{parted} of {compared}: with ties among them some must part, and only some"


@pytest.mark.parametrize("layer", [MaxPool2d(2), MaxPool2d(3, 2), MaxPool2d(2, 3), Flatten(), ReLU()], ids=repr)
@pytest.mark.parametrize(
    "p", [QParams(0.03, -20), QParams(0.03, 200, UINT8), QParams(0.2, 1, INT4)], ids=lambda p: str(p.int_type)
)
def test_on_codes_is_the_same_as_on_numbers_and_quantized_after(layer: Module, p: QParams) -> None:
    x = np.random.default_rng(3).normal(0, 2, (3, 2, 7, 5)).astype(np.float32)
    got = OnCodes(layer)(QuantizedTensor(quantize(x, p), p))
    assert np.array_equal(got.q, quantize(layer(x).data, p))
    assert got.qparams is p
    assert np.array_equal(OnCodes(layer)(Tensor(x)).data, layer(x).data), "numbers pass as numbers"


FUNCTIONS = {
    "GELU": (GELU(), lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2),
    "Tanh": (Tanh(), math.tanh),
    "Sigmoid": (Sigmoid(), lambda v: 1 / (1 + math.exp(-v))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("codes", "zero_point"), [(INT8, -43), (UINT8, 128), (INT4, 2)], ids=str)
def test_a_table_knows_the_answer_to_every_code(name: str, codes: IntType, zero_point: int) -> None:
    layer, by_hand = FUNCTIONS[name]
    p, out = QParams(0.05, zero_point, codes), QParams(0.01, 7)
    every = np.arange(codes.qmin, codes.qmax + 1).astype(codes.storage)
    reals = dequantize(every, p)
    exact = np.array([by_hand(float(v)) for v in reals])
    as_float, as_codes = Lookup(layer, p), Lookup(layer, p, out)
    given = QuantizedTensor(every, p)
    assert np.array_equal(as_float(given).data, layer(reals).data)
    assert np.array_equal(as_codes(given).q, quantize(layer(reals).data, out))
    assert np.abs(as_float(given).data - exact).max() <= 2.5e-7 * np.abs(reals).max() + 1e-6, "erf is good to 2.5e-7"
    far = np.abs(exact / 0.01 - np.floor(exact / 0.01) - 0.5) > 1e-3
    assert far.sum() >= 0.9 * far.size
    assert np.array_equal(as_codes(given).q[far], quantize(exact, out)[far])
    assert np.array_equal(as_codes(Tensor(reals)).q, as_codes(given).q), "numbers are quantized on their way in"


# Chains


def chain(zero_point: int, *between: Module) -> Sequential:
    """Two static layers with modules between, the second's input of that zero point."""
    rng = np.random.default_rng(4)
    first = QuantizedConv2d(rng.normal(size=(4, 2, 3, 3)), None, QParams(0.05, 3), padding=1)
    second = QuantizedConv2d(rng.normal(size=(3, 4, 1, 1)), None, QParams(0.1, zero_point))
    return Sequential(first, *between, second)


@pytest.mark.parametrize(
    ("zero_point", "between", "left"),
    [
        (-128, (ReLU(),), []),
        (-128, (ReLU(), MaxPool2d(2)), ["MaxPool2d"]),
        (-128, (MaxPool2d(2), ReLU()), ["MaxPool2d"]),
        (0, (ReLU(),), ["ReLU"]),
        (0, (MaxPool2d(2), ReLU()), ["MaxPool2d", "ReLU"]),
        (0, (), []),
    ],
)
def test_a_fused_chain_carries_codes_and_computes_the_same(
    zero_point: int, between: tuple[Module, ...], left: list[str]
) -> None:
    """Codes of numbers are pooled and clipped as the numbers are: to the last bit, but for how the sums are scaled."""
    x = np.random.default_rng(5).normal(0, 3, (2, 2, 6, 6)).astype(np.float32)
    loose, fused = chain(zero_point, *between), chain(zero_point, *between)
    fuse_chain(fused)
    *on_codes, last = fused.layers[1:]
    assert [type(m.layer).__name__ for m in on_codes if isinstance(m, OnCodes)] == left and len(on_codes) == len(left)
    hidden = fused.layers[0](x)
    assert isinstance(hidden, QuantizedTensor) and isinstance(last, QuantizedConv2d)
    assert hidden.qparams is last.input_qparams
    numbers = loose.layers[0](x)
    steps = numbers.data / np.float32(0.1)
    near = np.abs(steps - np.floor(steps) - 0.5) <= 4 * 2.0**-24 * np.abs(steps)
    assert np.array_equal(hidden.q[~near], quantize(numbers.data, hidden.qparams)[~near])
    if not near.any():
        assert np.array_equal(fused(x).data, loose(x).data)
    assert not isinstance(fused(x), QuantizedTensor)


def test_a_chain_is_broken_by_what_wants_numbers() -> None:
    for between in ((LayerNorm(6),), (AvgPool2d(2),), (ReLU(), AvgPool2d(2))):
        model = chain(-128, *between)
        fuse_chain(model)
        first = model.layers[0]
        assert isinstance(first, QuantizedConv2d) and first.output_qparams is None
        assert [type(m) for m in model.layers[1:-1]] == [type(m) for m in between]


# Whole models


def every_kind_of_layer(seed: int = 0) -> Sequential:
    """For images [N, 1, 8, 8]: what can be quantized, and what cannot."""
    rng = np.random.default_rng(seed)
    block = Sequential(Conv2d(6, 6, 3, padding=1, rng=rng), Tanh(), Conv2d(6, 6, 1, rng=rng))
    return Sequential(
        Conv2d(1, 4, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2),
        Conv2d(4, 6, 3, padding=1, groups=2, rng=rng), GELU(), Residual(block),
        AvgPool2d(2), Flatten(),
        Sequential(Linear(24, 12, rng=rng), LayerNorm(12), Sigmoid()), Linear(12, 10, rng=rng),
    ).eval()  # fmt: skip


def with_attention(seed: int = 0) -> Sequential:
    """For tokens [N, T] of 20 kinds."""
    rng = np.random.default_rng(seed)
    feed = Residual(Sequential(LayerNorm(8), Linear(8, 16, rng=rng), GELU(), Linear(16, 8, rng=rng)))
    attend = Residual(Sequential(LayerNorm(8), SelfAttention(8, 2, rng=rng)))
    return Sequential(Embedding(20, 8, rng=rng), attend, feed, Linear(8, 5, rng=rng)).eval()


IMAGES = np.random.default_rng(6).uniform(0, 1, (32, 1, 8, 8)).astype(np.float32)
TOKENS = np.random.default_rng(7).integers(0, 20, (16, 6))


def test_explain_tells_what_became_of_each_layer_and_why() -> None:
    rows = explain(quantize_static(every_kind_of_layer(), [IMAGES], rules={"layers.9": None}))
    assert rows == [
        ("layers.0", "QuantizedConv2d", "int8 weights, static, gives int8 codes"),
        ("layers.2", "OnCodes", "MaxPool2d on codes"),
        ("layers.3", "QuantizedConv2d", "int8 weights, static, gives int8 codes"),
        ("layers.4", "Lookup", "a table of 256 answers, gives int8 codes"),
        ("layers.5", "QuantizedResidual", "adds codes, gives float"),
        ("layers.5.block.layers.0", "QuantizedConv2d", "int8 weights, static, gives int8 codes"),
        ("layers.5.block.layers.1", "Lookup", "a table of 256 answers, gives int8 codes"),
        ("layers.5.block.layers.2", "QuantizedConv2d", "int8 weights, static, gives int8 codes"),
        ("layers.6", "AvgPool2d", "in float: a mean of codes is no code; the next layer quantizes it again"),
        ("layers.7", "Flatten", "in float: nothing to quantize"),
        ("layers.8.layers.0", "QuantizedLinear", "int8 weights, static, gives float"),
        ("layers.8.layers.1", "LayerNorm", "in float: its mean and variance are taken of each input, in float"),
        ("layers.8.layers.2", "Lookup", "a table of 256 answers, gives float"),
        ("layers.9", "Linear", "in float: not quantized"),
    ]


def test_explain_says_how_a_batch_norm_and_an_embedding_can_be_helped() -> None:
    model = Sequential(Conv2d(1, 2, 3), BatchNorm2d(2))
    assert explain(model)[1][:2] == ("layers.1", "BatchNorm2d") and "fold_batch_norms" in explain(model)[1][2]
    told = {kind: how for _, kind, how in explain(quantize_dynamic(with_attention()))}
    assert told["Embedding"] == "in float: it looks rows up and multiplies nothing"
    assert told["QuantizedLinear"] == "int8 weights, dynamic, gives float"
    shared = Sequential(Residual(Linear(4, 4), Linear(4, 4)))
    rows = explain(quantize_static(shared, [np.ones((2, 4), np.float32)]))
    assert rows[0][:2] == ("layers.0", "Residual") and "shortcut" in rows[0][2]
    weights = explain(quantize_weight_only(Sequential(Linear(4, 2))))
    assert weights == [("layers.0", "WeightOnlyLinear", "int4 weights, float arithmetic")]


def quantized(how: str, model: Module, x: np.ndarray, **options: object) -> Module:
    if how == "static":
        return quantize_static(model, [x], **options)  # type: ignore[arg-type]
    return (quantize_dynamic if how == "dynamic" else quantize_weight_only)(model, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["static", "dynamic", "weight-only"])
def test_rules_choose_a_type_for_each_layer_by_name(how: str) -> None:
    rng = np.random.default_rng(0)
    first = Linear(6, 5, rng=rng)
    model = Sequential(first, ReLU(), Linear(5, 4, rng=rng), Linear(4, 3, rng=rng))
    x = rng.normal(size=(9, 6)).astype(np.float32)
    got = quantized(how, model, x, rules={"layers.0": None, "layers.2": INT4}, weight_type=IntType(7))
    linear = [m for m in got.layers if not isinstance(m, (ReLU, OnCodes))]  # type: ignore[attr-defined]
    assert isinstance(linear[0], Linear) and linear[0].weight.data.tolist() == first.weight.data.tolist()
    assert [m.weight.qparams.int_type for m in linear[1:]] == [INT4, IntType(7)]
    for name in ("layers.9", "layers.1", ""):
        with pytest.raises(KeyError, match=r"layers\.0, layers\.2, layers\.3"):
            quantized(how, model, x, rules={name: INT8})


def test_rules_of_training_are_refused_alike() -> None:
    with pytest.raises(KeyError, match=r"layers\.1"):
        prepare_qat(Sequential(Linear(2, 2), ReLU()), [], rules={"layers.1": INT8})


@pytest.mark.parametrize("how", ["static", "dynamic"])
@pytest.mark.parametrize("make", [every_kind_of_layer, with_attention], ids=lambda f: f.__name__)
def test_every_product_of_weights_is_found_wherever_it_is(how: str, make: object) -> None:
    """A layer's int8 noise is about -40 dB of its output or better; a dozen layers add up."""
    model, x = make(), IMAGES if make is every_kind_of_layer else TOKENS  # type: ignore[operator]
    new = quantized(how, model, x)
    count = sum(isinstance(m, (Linear, Conv2d)) for _, m in model.named_modules())
    left = [name for name, m in new.named_modules() if isinstance(m, (Linear, Conv2d))]
    assert count >= 5 and left == [], f"still in float: {left}"
    integer = [m for _, m in new.named_modules() if isinstance(m, QuantizedLinear)]
    assert len(integer) >= count, "each became a QuantizedLinear, or one for each group"
    assert sqnr_db(model(x).data, new(x).data) > 20


def test_a_residual_adds_codes_only_where_its_block_gives_codes() -> None:
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    codes = quantize_static(Sequential(Residual(Linear(4, 4))), [x])
    assert isinstance(codes.layers[0], QuantizedResidual)  # type: ignore[attr-defined]
    for block in (Sequential(Linear(4, 4), ReLU()), LayerNorm(4), Sequential(Sequential(ReLU()), Linear(4, 4))):
        model = Sequential(Residual(block), Linear(4, 4))
        new = quantize_static(model, [x])
        assert type(new.layers[0]) is Residual  # type: ignore[attr-defined]
        assert sqnr_db(model(x).data, new(x).data) > 25


# State


def kinds_of_models(seed: int) -> Iterator[tuple[str, Module, np.ndarray]]:
    """Every kind of quantized model, and an input for it."""
    x = IMAGES * (1 + seed)
    for int_type, axis in product((INT8, INT4, IntType(3)), (0, None)):
        yield f"static {int_type}", quantize_static(every_kind_of_layer(seed), [x], weight_type=int_type, axis=axis), x
        yield f"dynamic {int_type}", quantize_dynamic(every_kind_of_layer(seed), int_type, axis), x
    yield "weight-only, groups", quantize_weight_only(with_attention(seed), INT4, 4), TOKENS
    yield "weight-only", quantize_weight_only(with_attention(seed), INT8, None), TOKENS
    yield "attention", quantize_static(with_attention(seed), [TOKENS]), TOKENS
    yield (
        "mixed",
        quantize_static(every_kind_of_layer(seed), [x], rules={"layers.0": None, "layers.8.layers.0": INT4}),
        x,
    )
    for learned in (False, True):
        prepared = prepare_qat(every_kind_of_layer(seed), [x], INT4, learned=learned)
        yield f"prepared, learned {learned}", prepared.eval(), x


def test_a_layer_that_is_used_twice_gets_scales_for_each_place() -> None:
    rng = np.random.default_rng(0)
    layer = Linear(8, 8, rng=rng)
    model = Sequential(layer, ReLU(), layer)
    x = rng.normal(0, 1, (64, 8)).astype(np.float32)
    quantized = quantize_static(model, [x])
    first, second = (m for _, m in quantized.named_modules() if isinstance(m, QuantizedLinear))
    assert first is not second and first.input_qparams and second.input_qparams
    assert float(first.input_qparams.scale) != float(second.input_qparams.scale)
    step = float(second.input_qparams.scale)
    assert np.abs(quantized(Tensor(x)).data - model(Tensor(x)).data).mean() < step, "each place computes what it did"


def test_every_kind_of_model_is_saved_and_loaded_exactly(tmp_path: object) -> None:
    compared = 0
    for (name, model, x), (_, other, _) in zip(kinds_of_models(0), kinds_of_models(1), strict=True):
        path = tmp_path / "model.npz"  # type: ignore[operator]
        before = model(x).data
        assert not np.array_equal(other(x).data, before), f"{name}: the other model must be another one"
        save_state(model, path)
        load_state(other, path)
        assert np.array_equal(other(x).data, before), f"{name}: the loaded model gives other answers"
        state, again = model.state_dict(), other.state_dict()
        assert state.keys() == again.keys()
        assert all(np.array_equal(state[key], again[key]) and state[key].dtype == again[key].dtype for key in state), (
            name
        )
        compared += 1
    assert compared >= 18


@pytest.mark.parametrize("how", ["static", "dynamic", "weight-only"])
def test_float_weights_are_dead_once_the_float_model_is(how: str) -> None:
    model, x = (with_attention(), TOKENS) if how == "weight-only" else (every_kind_of_layer(), IMAGES)
    wanted = [
        m for _, m in model.named_modules() if isinstance(m, Linear if how == "weight-only" else (Linear, Conv2d))
    ]
    alive = [weakref.ref(m.weight.data) for m in wanted] + [
        weakref.ref(m.bias.data) for m in wanted if m.bias is not None
    ]
    new = quantized(how, model, x)
    assert all(r() is not None for r in alive) and len(alive) >= 10
    del model, wanted
    gc.collect()
    dead = sum(r() is None for r in alive)
    assert dead == len(alive), f"{len(alive) - dead} float arrays of quantized layers are kept alive"
    kept = [name for name, a in model_arrays(new).items() if a.dtype.kind == "f" and a.size > 256]
    assert kept == [], f"large float arrays in the quantized model: {kept}"


def test_weight_only_layers_compute_with_their_dequantized_weight() -> None:
    model, x = Sequential(Linear(70, 5)), np.random.default_rng(0).normal(size=(3, 70)).astype(np.float32)
    layer = quantize_weight_only(model).layers[0]  # type: ignore[attr-defined]
    assert isinstance(layer, WeightOnlyLinear) and layer.weight.qparams.scale.shape == (5, 3, 1)
    assert np.array_equal(layer(x).data, x @ layer.weight.dequantize().T + model.layers[0].bias.data)  # type: ignore[attr-defined]
