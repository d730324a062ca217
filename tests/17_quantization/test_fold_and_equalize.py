"""fold_batch_norm and equalization_scales. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import pytest
from checks_17 import check, returned, works

S = "s = sqrt(r / r_next), 1 where either is 0"
G = "g = gamma / sqrt(running_var + eps), one number a channel"
BIAS = "(bias - running_mean) * g + beta"
WEIGHT = np.array([[[[1.0]], [[2.0]]], [[[-3.0]], [[0.5]]]], np.float32)  # [out, in, 1, 1]
NORM = {
    "weight": np.array([1.0, 4.0], np.float32),
    "bias": np.array([0.5, -1.0], np.float32),
    "running_mean": np.array([2.0, -3.0], np.float32),
    "running_var": np.array([3.75, 0.75], np.float32),
}  # with eps 0.25: roots of 4 and 1, so g is 0.5 and 4


def scales(student, r, r_next):
    with works(f"equalization_scales({r}, {r_next})", S):
        return student.equalization_scales(np.array(r), np.array(r_next))


def conv(student, weight, bias=None, **options):
    n_out, n_in, size, _ = weight.shape
    layer = student.Conv2d(n_in * options.get("groups", 1), n_out, size, bias=bias is not None, **options)
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return layer


def norm(student, state=NORM, eps=0.25):
    bn = student.BatchNorm2d(len(state["weight"]), eps=eps)
    bn.load_state_dict(state)
    return bn.eval()


def fold(student, layer, bn):
    with works(
        "fold_batch_norm(conv, bn)",
        f"gamma is bn.weight.data, beta is bn.bias.data; {G}; `bias` is there, of zeros where conv has none: {BIAS}",
    ):
        folded = student.fold_batch_norm(layer, bn)
    returned("fold_batch_norm", folded, "Conv2d")
    return folded


@pytest.mark.part("equalization_scales")
def test_a_channel_is_divided_by_the_root_of_the_ratio(student):
    slips = {
        "the ratio is upside down: r is divided by r_next": [0.5, 3.0],
        "the root is missing: np.sqrt(r / r_next)": [4.0, 1 / 9],
        "the ratio of both is wanted, not their product": [4.0, 3.0],
    }
    got = scales(student, [8.0, 1.0], [2.0, 9.0])
    check("equalization_scales([8, 1], [2, 9])", got, [2.0, 1 / 3], S, slips=slips, within=1e-7)


@pytest.mark.part("equalization_scales")
def test_afterwards_both_sides_are_equally_large(student):
    rng = np.random.default_rng(1)
    r, r_next = rng.lognormal(0, 3, (2, 20))
    s = scales(student, r, r_next)
    check("r / s, of 20 channels", r / s, r_next * s, S, within=1e-6 * r_next * s)


@pytest.mark.part("equalization_scales")
@pytest.mark.parametrize(("r", "r_next"), [(0.0, 3.0), (5.0, 0.0), (0.0, 0.0)])
def test_a_channel_without_weights_stays_as_it_is(student, r, r_next):
    got = scales(student, [8.0, r], [2.0, r_next])
    zero = (
        "where a side is 0 there is nothing to balance, and s must be 1: np.divide(..., where=(r > 0) & (r_next > 0))"
    )
    check(f"equalization_scales([8, {r:g}], [2, {r_next:g}])", got, [2.0, 1.0], zero, within=1e-7)


@pytest.mark.part("equalization_scales")
def test_scales_are_float32(student):
    r, r_next = np.array([4.0, 0.0], np.float32), np.array([1.0, 1.0], np.float32)
    with works("equalization_scales(float32, float32)", S):
        got = student.equalization_scales(r, r_next)
    check("equalization_scales(float32, float32)", got, [2.0, 1.0], "end with .astype(np.float32)", dtype="float32")


@pytest.mark.part("fold_batch_norm")
def test_a_batch_norm_scales_the_rows_of_the_weight(student):
    got = fold(student, conv(student, WEIGHT, np.zeros(2, np.float32)), norm(student)).weight.data
    g = np.array([0.5, 4.0])
    slips = {
        "eps was forgotten, or is not bn.eps: the root is of running_var + bn.eps": WEIGHT
        * (NORM["weight"] / np.sqrt([3.75, 0.75])).reshape(-1, 1, 1, 1),
        "the root is missing: divide by sqrt(running_var + eps)": WEIGHT * np.array([0.25, 4.0]).reshape(-1, 1, 1, 1),
        "eps belongs under the root": WEIGHT * (NORM["weight"] / (np.sqrt([3.75, 0.75]) + 0.25)).reshape(-1, 1, 1, 1),
        "gamma (bn.weight) is missing": WEIGHT * np.array([0.5, 1.0]).reshape(-1, 1, 1, 1),
        "the columns were scaled: g is one number an *output* channel, g[:, None, None, None]": WEIGHT
        * g.reshape(1, -1, 1, 1),
        "the weight is not scaled: weight * g": WEIGHT,
    }
    check("the folded weight", got, WEIGHT * g.reshape(-1, 1, 1, 1), G, slips=slips, within=1e-6)


@pytest.mark.part("fold_batch_norm")
def test_a_batch_norm_moves_the_bias(student):
    bias = np.array([1.0, 2.0], np.float32)
    got = fold(student, conv(student, WEIGHT, bias), norm(student)).bias.data
    slips = {
        "the sign of running_mean is wrong: it is taken off": (3 * 0.5 + 0.5, -1 * 4.0 - 1),
        "running_mean is in units of the input: take it off before multiplying by g": (0.5 - 2 + 0.5, 8.0 + 3 - 1),
        "beta (bn.bias) is added after multiplying by g": ((1 - 2 + 0.5) * 0.5, (2 + 3 - 1) * 4.0),
        "beta (bn.bias) is missing": (-1 * 0.5, 5 * 4.0),
        "the sign of beta (bn.bias) is wrong": (-1 * 0.5 - 0.5, 5 * 4.0 + 1),
        "the convolution's own bias is missing": (-2 * 0.5 + 0.5, 3 * 4.0 - 1),
        "the bias is not multiplied by g": (1 - 2 + 0.5, 2 + 3 - 1.0),
    }
    check("the folded bias", got, (0.0, 19.0), BIAS, slips=slips, within=1e-6)


@pytest.mark.part("fold_batch_norm")
def test_a_convolution_without_bias_gets_one(student):
    folded = fold(student, conv(student, WEIGHT), norm(student))
    assert folded.bias is not None, f"the folded layer has no bias, but batch normalization adds one: {BIAS}"
    check("the folded bias", folded.bias.data, (-0.5, 11.0), f"{BIAS}, with bias 0", within=1e-6)


@pytest.mark.part("fold_batch_norm")
def test_the_folded_layer_is_float32_and_can_be_trained(student):
    layer, bn = conv(student, WEIGHT, np.ones(2, np.float32)), norm(student)
    folded = fold(student, layer, bn)
    for name, got in (("weight", folded.weight.data), ("bias", folded.bias.data)):
        check(
            f"the folded {name}", got, got, "all arrays of the convolution are float32: compute in it", dtype="float32"
        )
    trained = folded.weight.requires_grad, folded.bias.requires_grad
    assert trained == (True, True), (
        f"weight and bias must require gradients, got {trained}: Tensor(..., requires_grad=True)"
    )


@pytest.mark.part("fold_batch_norm")
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_folded_layer_computes_what_both_did(student, groups):
    rng = np.random.default_rng(groups)
    weight, bias, x = (rng.normal(size=n).astype(np.float32) for n in ((4, 4 // groups, 3, 3), 4, (2, 4, 7, 6)))
    options = {"stride": 2, "padding": 1, "groups": groups}
    state = {name: rng.uniform(0.2, 2, 4).astype(np.float32) for name in NORM}
    layer, bn = conv(student, weight, bias, **options), norm(student, state, 1e-3)
    folded = fold(student, layer, bn)
    g = (state["weight"] / np.sqrt(state["running_var"] + 1e-3)).reshape(1, -1, 1, 1)
    sizes = conv(student, np.abs(weight), np.abs(bias), **options)(np.abs(x)).data + state["running_mean"].reshape(
        1, -1, 1, 1
    )
    within = (weight[0].size + 8) * 2.0**-24 * (sizes * g + state["bias"].reshape(1, -1, 1, 1))
    keep = "start from copy(conv): stride, padding and groups stay"
    with works("folded(x)", keep):
        got = folded(x).data
    check(f"folded(x), groups {groups}", got, bn(layer(x)).data, keep, within=within)


@pytest.mark.part("equalization_scales")
def test_equalizing_a_network_keeps_its_function(student):
    """A row and the column it feeds are scaled by s and 1 / s: each product of two weights is rounded 3 times more."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(3, 6)).astype(np.float32)
    weights[0][:] *= np.float32(10) ** np.array([[0], [2], [-2], [1], [0], [0]], np.float32)
    weights[0][5] = 0
    layers = [student.Linear(w.shape[1], w.shape[0], bias=False) for w in weights]
    for layer, weight in zip(layers, weights, strict=True):
        layer.load_state_dict({"weight": weight})
    model, x = student.Sequential(*layers), rng.normal(size=(5, 4)).astype(np.float32)
    with works("equalize(model)", S):
        new = student.equalize(model)
    within = (3 * 20 + 10) * 2.0**-24 * (np.abs(x) @ np.abs(weights[0]).T @ np.abs(weights[1]).T)
    check("equalize(model)(x)", new(x).data, model(x).data, f"{S}: dividing by it must lose nothing", within=within)
    rows, columns = (np.abs(layer.weight.data).max(axis) for layer, axis in zip(new.layers, (1, 0), strict=True))
    check("the largest weights of rows 0 to 4", rows[:5], columns[:5], S, within=1e-4 * columns[:5])


@pytest.mark.part("equalization_scales")
def test_no_channels_need_no_scales(student):
    check("equalization_scales of no channels", scales(student, [], []), np.zeros(0), S, dtype="float32")
