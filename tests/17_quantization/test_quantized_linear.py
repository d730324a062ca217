"""QuantizedLinear. From simplest to hardest; the first that fails is the one you are shown."""

from fractions import Fraction

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, returned, works

STEPS = (
    "integer_matmul of the codes with the input's zero point (a float product of dequantized numbers rounds "
    "otherwise), then times s_x * s_w, then the bias"
)
WEIGHT = np.array([[0.5, -0.25, 1.0], [0.125, 0.0625, -0.03], [-2.0, 1.0, 0.75]], np.float32)
BIAS = np.array([0.5, -1.25, 2.0], np.float32)
X = np.array([[1.0, 0.25, 0.5], [-0.75, 0.375, 2.0]], np.float32)


def layer(student, *args, **options):
    return student.QuantizedLinear(WEIGHT, *args, **options)


def forward(linear, x):
    with works(f"forward(x {np.shape(x) if isinstance(x, np.ndarray) else x})", STEPS):
        return linear(x)


def values(linear, x):
    """The result as an array; a QuantizedTensor or None in place of a Tensor is told."""
    y = forward(linear, x)
    returned("forward, without output_qparams,", y, "Tensor")
    return y.data


class Parts:
    """What the layer should compute: integer sums, what one unit of each is worth, and what goes wrong on the way.

    scale None: dynamic, in uint8. Else static, in int8.
    """

    def __init__(self, x, scale=None, zero_point=0, weight=WEIGHT):
        ends = (-128, 127)
        if scale is None:
            (scale, zero_point), ends = oracle.dynamic_qparams(x.ravel().tolist()), (0, 255)
        q = [[oracle.code(v, scale, zero_point, *ends) for v in row] for row in x.tolist()]
        s_w, w = oracle.symmetric_rows(weight.tolist())
        self.s_x, self.s_w = scale, np.array(s_w)
        self.scale = self.s_x * self.s_w
        self.acc, self.plain = (np.array(oracle.sums(q, z, w)) for z in (zero_point, 0))
        self.turned = np.array(oracle.sums(q, zero_point, np.array(w).T.tolist()))
        self.float, self.half_float = x @ weight.T, x @ (np.array(w) * self.s_w[:, None]).T

    def within(self, bias=0.0):
        """float32 rounds the scale (twice), the product and the sum."""
        return 4 * 2.0**-24 * (np.abs(self.acc * self.scale) + np.abs(bias))

    def slips(self, bias=0.0):
        zero = "the input's zero point is missing: integer_matmul(rows, self.weight.q.T, qparams.zero_point)"
        integers = "the *codes* must be multiplied, by integer_matmul"
        worth = "a sum is worth s_x * s_w, self._scale(qparams)"
        return {
            zero: self.plain * self.scale + bias,
            f"this is the float layer: {integers}": self.float + bias,
            f"this is a float product with dequantized weights: {integers}": self.half_float + bias,
            "the weights were not transposed: they are [out, in]": self.turned * self.scale + bias,
            f"s_w is missing: {worth}": self.acc * self.s_x + bias,
            f"s_x is missing: {worth}": self.acc * self.s_w + bias,
            f"the scale is missing: {worth}": self.acc + bias,
            f"the first row's scale was used for every row: {worth}": self.acc * self.scale[0] + bias,
        }


def test_a_dynamic_layer_multiplies_codes_and_returns_reals(student):
    x = np.abs(X)
    parts = Parts(x)
    y = values(layer(student), x)
    check(
        "a dynamic layer of positive inputs",
        y,
        parts.acc * parts.scale,
        STEPS,
        slips=parts.slips(),
        within=parts.within(),
    )


def test_the_zero_point_of_the_input_is_taken_off(student):
    parts = Parts(X)
    y = values(layer(student), X)
    check(
        "a dynamic layer of mixed inputs", y, parts.acc * parts.scale, STEPS, slips=parts.slips(), within=parts.within()
    )


def test_a_dynamic_layer_adds_its_bias_in_float(student):
    parts = Parts(X)
    y = values(layer(student, BIAS), X)
    slips = {
        "the bias is missing": parts.acc * parts.scale,
        "the bias was added twice": parts.acc * parts.scale + 2 * BIAS,
        "a dynamic layer's bias is float: add it after acc * scale, not to acc": (parts.acc + BIAS) * parts.scale,
        "the bias was subtracted": parts.acc * parts.scale - BIAS,
    } | parts.slips(BIAS)
    wanted = parts.acc * parts.scale + BIAS
    check("a dynamic layer with a bias", y, wanted, STEPS, slips=slips, within=parts.within(BIAS))


def test_every_output_has_its_own_scale(student):
    weight = WEIGHT * np.array([[100], [1], [0.01]], np.float32)
    parts = Parts(X, weight=weight)
    y = values(student.QuantizedLinear(weight), X)
    each = "scale [out] broadcasts along the last axis of acc [rows, out]"
    check("rows of very different size", y, parts.acc * parts.scale, each, slips=parts.slips(), within=parts.within())


def test_a_static_layer_quantizes_its_input_by_the_calibrated_scale(student):
    parts, own = Parts(X, 1 / 64, -20), Parts(X)
    y = values(layer(student, None, student.QParams(1 / 64, -20)), X)
    slips = {"the calibrated input_qparams were ignored: self._codes(x) has chosen the right one": own.acc * own.scale}
    slips |= parts.slips()
    check("a static layer", y, parts.acc * parts.scale, STEPS, slips=slips, within=parts.within())


def test_a_static_layer_adds_its_bias_to_the_integer_sums(student):
    parts = Parts(X, 1 / 64, -20)
    bias = np.rint(BIAS / parts.scale)
    y = values(layer(student, BIAS, student.QParams(1 / 64, -20)), X)
    slips = {
        "the bias is missing": parts.acc * parts.scale,
        "a static layer's bias is int32, in units of s_x * s_w: add it to acc, before the scale": parts.acc
        * parts.scale
        + bias,
        "the bias was added twice, as int32 and again after the scale": (parts.acc + bias) * parts.scale + bias,
        "the bias was added twice": (parts.acc + 2 * bias) * parts.scale,
    }
    wanted = (parts.acc + bias) * parts.scale
    check("a static layer with a bias", y, wanted, STEPS, slips=slips, within=parts.within(BIAS))


def test_reals_come_out_as_float32(student):
    y = values(layer(student, BIAS), X)
    check(
        "a dynamic layer's result",
        y,
        y,
        "int32 * float32 is float64 in NumPy: acc.astype(np.float32) first",
        dtype="float32",
    )
    y = values(layer(student, BIAS, student.QParams(1 / 64, 0)), X)
    check(
        "a static layer's result",
        y,
        y,
        "int32 * float32 is float64 in NumPy: acc.astype(np.float32) first",
        dtype="float32",
    )


def test_another_calibration_gives_another_answer(student):
    fine, coarse = (values(layer(student, BIAS, student.QParams(s, 0)), X) for s in (1 / 60, 1 / 6))
    assert (fine != coarse).any(), (
        "two scales, ten times apart, gave the same answer: the calibration is stored, but not used"
    )
    short = values(layer(student, BIAS, student.QParams(1 / 256, 0)), X * 100)
    end = values(layer(student, BIAS, student.QParams(1 / 256, 0)), X * 1000)
    kept = "inputs beyond the range must saturate, so that 100 * x and 1000 * x give the same"
    assert (short == end).all(), f"{kept}: got {short.tolist()} and {end.tolist()}"


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 3, 3), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("static", [False, True])
def test_every_leading_axis_is_kept(student, shape, static):
    x = np.resize(X, shape).astype(np.float32)
    linear = layer(student, BIAS, student.QParams(1 / 64, 0) if static else None)
    got = values(linear, x)
    flat = values(linear, x.reshape(-1, 3)).reshape(shape)
    check(f"a {'static' if static else 'dynamic'} layer of input {shape}", got, flat, "reshape to (*q.shape[:-1], out)")


def test_a_static_layer_can_hand_on_codes(student):
    parts = Parts(X, 1 / 64, -20)
    s_y, z_y = 1 / 32, 10
    bias = np.rint(BIAS / parts.scale).astype(int)
    linear = layer(student, BIAS, student.QParams(1 / 64, -20), student.QParams(s_y, z_y))
    y = forward(linear, X)
    assert hasattr(y, "qparams"), "with output_qparams the result is a QuantizedTensor of those, got a Tensor of reals"

    def codes(acc, m, zero_point=z_y):
        return [[oracle.requantized(int(a), f, zero_point, -128, 127) for a, f in zip(r, m, strict=True)] for r in acc]

    slips = {
        "the multiplier is s_x * s_w / s_y; the division by s_y is missing": codes(parts.acc + bias, parts.scale),
        "the bias is missing": codes(parts.acc, parts.scale / s_y),
        "the multiplier is s_x * s_w / s_y: s_y divides": codes(parts.acc + bias, parts.scale * s_y),
        "s_x is missing from the multiplier s_x * s_w / s_y": codes(parts.acc + bias, parts.s_w / s_y),
        "the input's zero point is missing in integer_matmul": codes(parts.plain + bias, parts.scale / s_y),
    }
    hint = "requantize(acc + bias, scale / s_y, output_qparams)"
    check(
        "the codes a static layer hands on",
        y.q,
        codes(parts.acc + bias, parts.scale / s_y),
        hint,
        slips=slips,
        dtype="int8",
    )
    check("the scale it hands on", y.qparams.scale, s_y, "QuantizedTensor(codes, self.output_qparams)")
    check("the zero point it hands on", y.qparams.zero_point, z_y, "QuantizedTensor(codes, self.output_qparams)")


def test_a_sum_on_a_tie_is_requantized_by_one_multiplier(student):
    """s_x * s_w / s_y is exactly 1/2, so that every odd sum lies on a tie; 0.21 and 0.42 are no float32 numbers."""
    s_x, s_y = float(np.float32(0.21)), float(np.float32(0.42))
    weight = student.QuantizedTensor(np.array([[1], [3]], np.int8), student.QParams(1.0, 0))
    p, p_y = student.QParams(s_x, 0), student.QParams(s_y, 0)
    codes = np.arange(-41, 42, dtype=np.int8)[:, None]
    y = forward(student.QuantizedLinear(weight, None, p, p_y), student.QuantizedTensor(codes, p))
    wanted = [[round(Fraction(int(q) * w, 2)) for w in (1, 3)] for q in codes.ravel()]
    twice = (
        "dequantized and quantized again a sum is rounded twice: requantize(acc, scale / s_y, ...), by its default "
        "rounding, ties to even"
    )
    check("the codes of sums on a tie", y.q, wanted, twice, dtype="int8")


def test_codes_that_come_in_are_used_as_they_are(student):
    p = student.QParams(1 / 64, -20)
    codes = np.array([[44, -4, 12], [-68, 4, 108]], np.int8)
    linear = layer(student, BIAS, p)
    got = values(linear, student.QuantizedTensor(codes, p))
    check("a layer that is given codes", got, values(linear, (codes + 20.0).astype(np.float32) / 64), "q, not x")
    stack = student.QuantizedTensor(np.stack([codes, codes]), p)
    y = forward(layer(student, BIAS, p, student.QParams(1 / 32, 0)), stack)
    check("the shape of codes handed on", y.shape, (2, 2, 3), "reshape to (*q.shape[:-1], out)")


def test_a_dynamic_layer_can_hand_on_codes_too(student):
    parts = Parts(X)
    y = forward(layer(student, BIAS, None, student.QParams(1 / 32, 10)), X)
    assert hasattr(y, "qparams"), (
        "with output_qparams the result is a QuantizedTensor, got a Tensor: quantize(y, output_qparams)"
    )
    wanted = np.clip(np.rint((parts.acc * parts.scale + BIAS) * 32) + 10, -128, 127)
    check(
        "the codes a dynamic layer hands on",
        y.q,
        wanted,
        "quantize(y, self.output_qparams), bias included",
        dtype="int8",
    )


def test_weights_of_4_bits_and_one_scale_for_all_rows_work_too(student):
    for bits, axis, steps in ((4, 0, 7), (8, None, 127), (2, None, 1)):
        linear = layer(student, BIAS, None, None, student.IntType(bits), axis)
        top = np.abs(WEIGHT).max(None if axis is None else 1, keepdims=True)
        weight = linear.weight.dequantize()
        x = np.array([[255.0, 0, 128], [1, 2, 3]], np.float32)  # codes themselves: dynamic scale 1, zero point 0
        got = values(linear, x)
        call = f"a layer with weights of {bits} bits, axis {axis}"
        near = 4 * 2.0**-24 * (np.abs(x) @ np.abs(weight).T + np.abs(BIAS))
        check(call, got, x @ weight.T + BIAS, "x is exact here, so y = x @ dequantized weights + bias", within=near)
        check(f"{call}: its weights", weight, WEIGHT, "half a step at most", within=top / steps / 2 + 1e-6)


def test_only_integers_are_kept(student):
    linear = layer(student, BIAS, student.QParams(1 / 64, 0))
    check("the weights kept", linear.weight.stored, linear.weight.stored, "int8 codes", dtype="int8")
    check("the bias of a static layer", linear.bias, linear.bias, "int32 at scale s_x * s_w", dtype="int32")
    arrays = student.model_arrays(linear)
    floats = [name for name, a in arrays.items() if a.dtype.kind == "f" and a.size >= WEIGHT.size]
    assert not floats, f"float arrays as large as the weight are still kept: {floats}"


def test_an_input_of_another_width_is_refused(student):
    with pytest.raises(ValueError, match="wanted input"):
        layer(student)(np.zeros((2, 4), np.float32))


def test_a_dynamic_layer_looks_at_each_input_anew(student):
    linear = layer(student, BIAS)
    for x in (X, 10 * X, np.abs(X)):
        parts = Parts(x)
        again = "the scale and zero point of an earlier input were used: a dynamic layer takes those of this one"
        wanted = parts.acc * parts.scale + BIAS
        check("a dynamic layer, asked again", values(linear, x), wanted, again, within=parts.within(BIAS))


def test_a_static_layer_gives_the_same_answer_twice(student):
    linear = layer(student, BIAS, student.QParams(1 / 64, -20))
    first = values(linear, X)
    changed = "the layer changed itself: acc = acc + self.bias makes a new array, self.bias must stay"
    check("a static layer, asked the same again", values(linear, X), first, changed)


def test_sums_beyond_what_float32_holds_are_exact(student):
    """1025 * 127 * 129 is odd and above 2**24: no float32 number. A bias leaves 575 of it."""
    p, p_w = student.QParams(1.0, -2), student.QParams(1.0, 0)
    weight = student.QuantizedTensor(np.full((1, 1025), 127, np.int8), p_w)
    linear = student.QuantizedLinear(weight, np.array([-16_792_000.0], np.float32), p)
    y = values(linear, student.QuantizedTensor(np.full((1, 1025), 127, np.int8), p))
    exact = "float32 cannot hold this sum: integer_matmul, and the int32 bias added to its int32 sums"
    check("a sum of 16792575, less 16792000", y, [[575.0]], exact)


def test_inputs_below_0_have_a_zero_point_beyond_int8(student):
    x = -np.abs(X)
    parts = Parts(x)
    beyond = "the zero point of a dynamic input is a uint8, here 255, and int8 ends at 127: hand it on as it is"
    y = values(layer(student), x)
    check("a dynamic layer of negative inputs", y, parts.acc * parts.scale, beyond, within=parts.within())


def test_a_bias_keeps_its_digits(student):
    parts, bias = Parts(X), np.array([0.1, 1000.1, -1e5], np.float32)
    wanted = parts.acc * parts.scale + bias
    digits = "float16 holds three digits, and nothing beyond 65504: the bias stays float32"
    y = values(layer(student, bias), X)
    check("a dynamic layer with a bias of [0.1, 1000.1, -1e5]", y, wanted, digits, within=parts.within(bias))


@pytest.mark.parametrize("static", [False, True])
def test_codes_handed_on_in_uint8_go_beyond_127_and_are_those_of_float32(student, static):
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    given = (1 / 64, -20) if static else ()
    parts, scale = Parts(x, *given), 1 / 32
    uint8 = student.QParams(scale, 100, student.IntType(8, signed=False))
    y = forward(layer(student, BIAS, student.QParams(*given) if static else None, uint8), x)
    returned("forward, with output_qparams,", y, "QuantizedTensor")
    if static:
        bias = np.rint(BIAS / parts.scale).astype(int)
        m = parts.scale / scale
        wanted = [
            [oracle.requantized(int(a), f, 100, 0, 255) for a, f in zip(row, m, strict=True)]
            for row in parts.acc + bias
        ]
    else:
        wanted = np.clip(np.rint((parts.acc * parts.scale + BIAS) / scale) + 100, 0, 255)
    what = f"the codes in UINT8 that a {'static' if static else 'dynamic'} layer hands on"
    check(what, y.q, wanted, "they come from float32 as `quantize` and `requantize` give them", dtype="uint8")
