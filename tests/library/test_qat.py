"""Training with the error in the loop, and in half precision: what must agree, counted, and what it is worth."""

from __future__ import annotations

from copy import copy
from itertools import product
from typing import Any, TypeVar

import numpy as np
import pytest

from tinytorch.core import (
    SGD,
    Adam,
    BatchNorm2d,
    Conv2d,
    Dataset,
    Linear,
    Module,
    Optimizer,
    ReLU,
    Residual,
    SelfAttention,
    Sequential,
    Tensor,
    accuracy,
    batches,
    clip_grad_norm_,
    fit,
    no_grad,
)
from tinytorch.quantization import (
    INT4,
    INT8,
    FakeQuantize,
    FakeQuantized,
    GradScaler,
    IntType,
    LearnedStepSize,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedTensor,
    convert,
    correct_bias,
    equalize,
    fold_batch_norms,
    freeze,
    mixed_step,
    prepare_qat,
    quantize,
    quantize_static,
)
from tinytorch.quantization.trees import map_modules

from .conftest import cnn, mlp

ULP = 2.0**-24  # the largest relative error of one float32 rounding


M = TypeVar("M", bound=Module)


def of_type(model: Module, kind: type[M]) -> list[M]:
    return [m for _, m in model.named_modules() if isinstance(m, kind)]


def weighted(model: Module) -> list[Linear | Conv2d]:
    return [*of_type(model, Linear), *of_type(model, Conv2d)]


def half_a_step(prepared: Module) -> float:
    """By how much the bias of the last layer is rounded at most: half of s_x s_w, of the largest channel."""
    last = of_type(prepared, FakeQuantized)[-1]
    return float((last.input.qparams.scale * last.weight.qparams.scale).max() / 2)


# The converted network


def prepared(model: Module, x: np.ndarray, y: np.ndarray, int_type: IntType, axis: int | None, learned: bool) -> Module:
    """Trained for an epoch, its ranges frozen, in evaluation mode."""
    qat = prepare_qat(model, [x[:256]], int_type, INT8, axis=axis, learned=learned)
    fit(qat, x[:512], y[:512], 1, Adam(qat.parameters(), lr=1e-3))
    return freeze(qat).eval()


def sums_of_magnitudes(m: FakeQuantized, x_hat: np.ndarray) -> np.ndarray:
    """Of each output, the sum of |x| |w| over its products, plus |bias|: what float32's errors are relative to."""
    layer = copy(m.layer)
    layer.weight = Tensor(np.abs(m.weight(m.layer.weight).data))
    layer.bias = Tensor(np.abs(m.layer.bias.data))
    return np.asarray(layer(Tensor(np.abs(x_hat))).data)


@pytest.mark.parametrize("learned", [False, True], ids=["ranges", "learned"])
@pytest.mark.parametrize(("int_type", "axis"), [*product([INT8, INT4], [None, 0])], ids=str)
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_the_integer_network_has_the_codes_that_training_saw(
    network: str, int_type: IntType, axis: int | None, learned: bool, request: pytest.FixtureRequest
) -> None:
    """Layer by layer, from the same codes in: those that go out are equal, but for ties.

    Both compute the same sum; the integer one exactly, with the bias rounded to a step s_x s_w (by half of it at most),
    times a float32 multiplier (3 roundings); the float one with a rounding a term. So the float value before rounding,
    in steps of the next scale, lies within that of a tie wherever the codes differ, and they differ by 1.
    """
    data: Dataset = request.getfixturevalue("digits" if network == "mlp" else "images")
    model = request.getfixturevalue(f"trained_{network}")
    model = fold_batch_norms(model) if network == "cnn" else model
    qat = prepared(model, data.x_train, data.y_train, int_type, axis, learned)
    integer, fake = convert(qat), list(qat.layers)  # type: ignore[attr-defined]
    chain = [m for m in integer.layers if isinstance(m, (QuantizedLinear, QuantizedConv2d))]  # type: ignore[attr-defined]
    places = [i for i, m in enumerate(fake) if isinstance(m, FakeQuantized)]
    assert len(chain) == len(places) == 3
    x: Any = QuantizedTensor(quantize(data.x_test, fake[0].input.qparams), fake[0].input.qparams)
    compared = different = 0
    expected = 0.0
    remaining = list(integer.layers)  # type: ignore[attr-defined]
    for here, there in zip(places, places[1:], strict=False):
        m, following = fake[here], fake[there].input.qparams
        given, real = x.dequantize(), Tensor(x.dequantize())
        with no_grad():
            for layer in fake[here:there]:
                real = layer(real)
        while remaining:  # the layer, and the pooling or flattening behind it
            x = remaining.pop(0)(x)
            if isinstance(remaining[0], (QuantizedLinear, QuantizedConv2d)):
                break
        assert x.qparams is chain[places.index(there)].input_qparams or x.qparams.scale == following.scale
        steps = real.data.astype(np.float64) / following.scale
        unit = float((m.input.qparams.scale * m.weight.qparams.scale).max() / following.scale)
        terms = m.layer.weight.data[0].size + 8
        bound = unit / 2 + terms * ULP * sums_of_magnitudes(m, given).max() / following.scale
        bound += 4 * ULP * np.abs(steps).max()
        codes = quantize(real.data, following).astype(int)
        wrong = codes != x.q
        from_tie = np.abs(steps - np.floor(steps) - 0.5)
        assert np.abs(codes - x.q)[wrong].max(initial=1) == 1, "a code differs by more than one step"
        assert (from_tie[wrong] <= bound).all(), (
            f"a code differs {from_tie[wrong].max():.3g} steps from a tie, bound {bound:.3g}"
        )
        compared, different = compared + wrong.size, different + int(wrong.sum())
        expected += 2 * bound * wrong.size  # of numbers that lie anywhere between two ties
    assert compared >= 500 * 96
    assert different <= expected < 0.4 * compared, (
        f"{different} of {compared} codes differ, expected {expected:.0f} at most"
    )


@pytest.mark.parametrize("learned", [False, True], ids=["ranges", "learned"])
def test_both_networks_give_the_same_answers(trained_mlp: Module, digits: Dataset, learned: bool) -> None:
    qat = prepared(trained_mlp, digits.x_train, digits.y_train, INT4, 0, learned)
    ours, integer = (m(digits.x_test).data for m in (qat, convert(qat)))
    agreeing = (ours.argmax(1) == integer.argmax(1)).mean()
    assert agreeing >= 0.99, f"only {agreeing:.1%} of the answers agree"


# Preparing, observing, freezing


def test_frozen_ranges_stay_and_others_follow(trained_mlp: Module, digits: Dataset) -> None:
    qat = prepare_qat(trained_mlp, [digits.x_train[:64]])

    def scales() -> list[float]:
        return [float(m.input.qparams.scale) for m in of_type(qat, FakeQuantized)]

    before = scales()
    with no_grad():
        qat(10 * digits.x_train[64:128])
        moved = scales()
        assert all(a < b for a, b in zip(before, moved, strict=True)), "in training mode observers follow"
        qat.eval()(100 * digits.x_train[:64])
        assert scales() == moved, "in evaluation mode they stay"
        freeze(qat.train())(100 * digits.x_train[:64])
        assert scales() == moved, "frozen ones stay"
    weights = [m for m in of_type(qat, FakeQuantize) if m.observer is None]
    assert len(weights) == 3 and not any(m.frozen for m in weights), "a weight's scale follows its weight to the end"


def test_a_prepared_network_shares_nothing_with_the_float_one(images: Dataset) -> None:
    """Neither what is quantized nor what is left in float, by a rule or because it is a batch norm."""
    model = cnn()
    before = model.state_dict()
    qat = prepare_qat(model, [images.x_train[:64]], rules={"layers.0": None})
    fit(qat, images.x_train[:128], images.y_train[:128], 1, Adam(qat.parameters(), lr=0.01))
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())
    assert not np.array_equal(qat.state_dict()["layers.0.weight"], before["layers.0.weight"]), "it was trained"


def test_every_learned_step_is_trained_per_tensor_and_per_row(trained_mlp: Module, digits: Dataset) -> None:
    for axis in (None, 0):
        qat = prepare_qat(trained_mlp, [digits.x_train[:64]], INT4, INT4, axis=axis, learned=True)
        scales = [scale for m in of_type(qat, LearnedStepSize) if (scale := m.scale) is not None]
        before = [scale.data.copy() for scale in scales]
        fit(qat, digits.x_train[:128], digits.y_train[:128], 1, Adam(qat.parameters(), lr=1e-3))
        moved = [bool((scale.data != old).any()) for scale, old in zip(scales, before, strict=True)]
        assert moved == [True] * 6, f"axis {axis}: steps moved {moved}"


def test_a_network_without_calibration_cannot_be_converted(trained_mlp: Module) -> None:
    with pytest.raises(ValueError, match=r"layers\.0.*batches"):
        convert(prepare_qat(trained_mlp, []))


def test_attention_and_residual_blocks_are_trained_and_converted() -> None:
    rng = np.random.default_rng(0)
    model = Sequential(Residual(SelfAttention(8, 2, rng=rng)), Linear(8, 3, rng=rng)).eval()
    x = rng.normal(size=(10, 5, 8)).astype(np.float32)
    qat = prepare_qat(model, [x])
    assert len(of_type(qat, FakeQuantized)) == 5
    integer = convert(qat)
    assert len(of_type(integer, QuantizedLinear)) == 5
    assert np.abs(integer(x).data - model(x).data).max() < 0.1 * np.abs(model(x).data).max()
    corrected = correct_bias(prepare_qat(model, [x], INT4), [x])
    moved = corrected(x).data.mean((0, 1)) - model(x).data.mean((0, 1))
    assert np.abs(moved).max() <= half_a_step(corrected) + 1e-5, "channels are the last axis"


# Repairs without training


def rescaled(model: Module, units: int = 8, factor: float = 40.0) -> Module:
    """The same function: 8 hidden units grown by 40, what they feed shrunk by it."""
    twin = map_modules(model, lambda name, m: copy(m) if isinstance(m, Linear) else None)
    first, second = twin.layers[0], twin.layers[2]  # type: ignore[attr-defined]
    grow = np.where(np.arange(len(first.weight.data)) < units, factor, 1).astype(np.float32)
    first.weight, first.bias = Tensor(first.weight.data * grow[:, None]), Tensor(first.bias.data * grow)
    second.weight = Tensor(second.weight.data / grow)
    return twin


def magnitudes(model: Module, x: np.ndarray) -> np.ndarray:
    """The network of |weights|, |biases| for |x|: what a relative error in each weight can move the result by."""
    for layer in model.layers:  # type: ignore[attr-defined]
        if isinstance(layer, (Linear, Conv2d)):
            positive = copy(layer)
            positive.weight = Tensor(np.abs(layer.weight.data))
            positive.bias = None if layer.bias is None else Tensor(np.abs(layer.bias.data))
            x = positive(np.abs(x)).data
        elif not isinstance(layer, ReLU):
            x = layer(Tensor(x)).data
    return x


def test_equalizing_keeps_the_float_function(
    trained_mlp: Module, trained_cnn: Module, digits: Dataset, images: Dataset
) -> None:
    """Of 20 sweeps each rounds a weight at most twice, times s and divided by it; so 40 roundings a layer, and one for
    each of its products and sums."""
    for model, x in ((rescaled(trained_mlp), digits.x_test), (fold_batch_norms(trained_cnn), images.x_test)):
        equalized = equalize(model)
        roundings = sum(2 * (40 + m.weight.data[0].size + 2) for m in weighted(model))
        bound = roundings * ULP * magnitudes(model, x)
        assert (np.abs(equalized(x).data - model(x).data) <= bound).all()
        assert bound.max() < 0.02 * np.abs(model(x).data).max(), "the bound must mean something"


def test_equalized_layers_are_equally_large_channel_by_channel(trained_mlp: Module) -> None:
    first, second = (m.weight.data for m in of_type(equalize(rescaled(trained_mlp)), Linear)[:2])
    rows, columns = np.abs(first).max(1), np.abs(second).max(0)
    used = (rows > 0) & (columns > 0)
    assert used.sum() > 60
    assert np.allclose(rows[used], columns[used], rtol=0.02)


def test_equalizing_restores_the_rescaled_network(trained_mlp: Module, digits: Dataset) -> None:
    test, calibration = (digits.x_test, digits.y_test), [digits.x_train[:256]]
    twin = rescaled(trained_mlp)
    whole = accuracy(trained_mlp, *test)
    broken, restored = (accuracy(quantize_static(m, calibration, axis=None), *test) for m in (twin, equalize(twin)))
    assert accuracy(twin, *test) == pytest.approx(whole, abs=0.004), "in float32 the twin computes the same"
    assert broken < whole - 0.01, f"the twin must suffer at int8 per tensor: {broken:.1%} of {whole:.1%}"
    assert restored >= whole - 0.005, f"equalized it is {restored:.1%}, float32 {whole:.1%}"


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_corrected_biases_bring_the_mean_outputs_back(network: str, request: pytest.FixtureRequest) -> None:
    """On the batches it was made with: to half a step of the last bias, which is added in whole steps of s_x s_w; on
    others: the mean error falls by half or more."""
    data: Dataset = request.getfixturevalue("digits" if network == "mlp" else "images")
    model = fold_batch_norms(request.getfixturevalue(f"trained_{network}"))
    seen, unseen = [data.x_train[:200], data.x_train[200:400]], data.x_test
    rounded = prepare_qat(model, seen, IntType(3), axis=None).eval()
    corrected = correct_bias(prepare_qat(model, seen, IntType(3), axis=None), seen)

    def mean_error(other: Module, x: np.ndarray) -> float:
        return float(np.abs((other(x).data - model(x).data).mean(0)).max())

    seen_at_once = np.concatenate(seen)
    before, after = mean_error(rounded, seen_at_once), mean_error(corrected, seen_at_once)
    assert half_a_step(corrected) + 1e-5 * np.abs(model(seen_at_once).data).max() >= after
    assert after < before / 5
    assert mean_error(corrected, unseen) < mean_error(rounded, unseen) / 2
    assert not any(m.seen is not None or not m.enabled for m in of_type(corrected, FakeQuantized)), "all is put back"


def test_folded_batch_norms_compute_the_same(trained_cnn: Module, images: Dataset) -> None:
    """A few roundings a product: of g, the weight, the bias, and of the batch norm's own division and product."""
    folded = fold_batch_norms(trained_cnn)
    assert len(of_type(trained_cnn, BatchNorm2d)) == 2 and of_type(folded, BatchNorm2d) == []
    wanted, got = (m(images.x_test).data for m in (trained_cnn, folded))
    roundings = sum(m.weight.data[0].size + 16 for m in weighted(folded))
    assert (np.abs(got - wanted) <= 2 * roundings * ULP * magnitudes(folded, images.x_test)).all()
    assert np.abs(got - wanted).max() < 1e-3


def test_a_batch_norm_with_nothing_to_fold_into_stays() -> None:
    model = Sequential(BatchNorm2d(1), Conv2d(1, 2, 3), ReLU(), BatchNorm2d(2)).eval()
    assert len(of_type(fold_batch_norms(model), BatchNorm2d)) == 2


# What it is worth: quick claims on the digits, one seed; benchmarks/accuracy.py has the whole table


def test_two_bit_weights_come_back_with_training(trained_mlp: Module, digits: Dataset) -> None:
    whole = accuracy(trained_mlp, digits.x_test, digits.y_test)
    for learned in (False, True):
        qat = prepare_qat(trained_mlp, [digits.x_train[:256]], IntType(2), axis=None, learned=learned)
        after = accuracy(convert(qat), digits.x_test, digits.y_test)
        fit(qat, digits.x_train, digits.y_train, 20, Adam(qat.parameters(), lr=1e-3))
        trained = accuracy(convert(freeze(qat)), digits.x_test, digits.y_test)
        assert after < 0.9 * whole <= trained, (
            f"learned {learned}: {after:.1%}, trained {trained:.1%}, float32 {whole:.1%}"
        )


def test_four_bits_for_weights_and_activations_cost_a_point_at_most(trained_mlp: Module, digits: Dataset) -> None:
    whole = accuracy(trained_mlp, digits.x_test, digits.y_test)
    qat = prepare_qat(trained_mlp, [digits.x_train[:256]], INT4, INT4, axis=None)
    fit(qat, digits.x_train, digits.y_train, 12, Adam(qat.parameters(), lr=1e-3))
    assert accuracy(convert(freeze(qat)), digits.x_test, digits.y_test) >= whole - 0.01


# Half precision


def train(data: Dataset, step: Any, epochs: int = 6) -> float:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=2e-3, eps=1e-16)
    fit(model, data.x_train, data.y_train, epochs, optimizer, step=step)
    return accuracy(model, data.x_test, data.y_test)


def test_half_precision_learns_as_float32_does(digits: Dataset) -> None:
    whole = train(digits, mixed_step("bfloat16", loss_weight=1.0))
    scaled = train(digits, mixed_step("float16", GradScaler()))
    model = mlp()
    fit(model, digits.x_train, digits.y_train, 6, Adam(model.parameters(), lr=2e-3, eps=1e-16))
    exact = accuracy(model, digits.x_test, digits.y_test)
    assert exact > 0.9
    assert min(whole, scaled) >= exact - 0.02, f"float32 {exact:.1%}, bfloat16 {whole:.1%}, float16 {scaled:.1%}"


def test_without_loss_scaling_small_gradients_vanish_and_with_it_they_learn(digits: Dataset) -> None:
    """A loss of 1e-8 times its size, as a mean over so many outputs: its gradients are below float16's smallest."""
    unscaled = train(digits, mixed_step("float16", None, 1e-8))
    scaler = GradScaler(2.0**50, growth_interval=100)
    scaled = train(digits, mixed_step("float16", scaler, 1e-8))
    assert unscaled < 0.3, f"it must fail visibly, got {unscaled:.1%}"
    assert scaled > 0.9, f"scaled it must learn, got {scaled:.1%}"
    assert sum(event[1] == "skip" for event in scaler.events) >= 1, "the scale began too high, and backed off"


def test_an_injected_overflow_skips_exactly_one_step(digits: Dataset) -> None:
    """The ninth batch holds 1e6, which is infinite in float16."""
    model, scaler = mlp(), GradScaler()
    optimizer, step = Adam(model.parameters(), lr=2e-3), mixed_step("float16", scaler)
    for i, (x, y) in enumerate(batches(digits.x_train, digits.y_train, 64, seed=0)):
        before = model.state_dict()
        step(model, optimizer, np.where(i == 8, np.float32(1e6), x), y)
        moved = any(not np.array_equal(a, before[name]) for name, a in model.state_dict().items())
        assert moved == (i != 8), f"step {i}: weights moved: {moved}"
    assert scaler.events == [(9, "skip", 32768.0)]
    assert (optimizer.steps, scaler.updates, scaler.good_steps) == (20, 21, 12)
    assert all(np.isfinite(a).all() and a.dtype == np.float32 for a in model.state_dict().values())


# What the loss scaler, bias correction and learned steps are given


def scaled_rounds(scaler: GradScaler, optimizer: Optimizer, *grads: float) -> None:
    for value in grads:
        optimizer.params[0].grad = np.full(3, value, np.float32)
        scaler.step(optimizer)
        scaler.update()


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.1, 0.9), Adam], ids=["SGD", "Adam"])
def test_after_200_overflows_finite_gradients_train_again(make: Any) -> None:
    """0.5**200 is 0 in float32, and 0 / 0 is NaN: the scale stops where dividing by it is safe."""
    p = Tensor(np.ones(3, np.float32), requires_grad=True)
    scaler, optimizer = GradScaler(), make([p])
    scaled_rounds(scaler, optimizer, *[np.inf] * 200)
    assert p.data.tolist() == [1, 1, 1] and scaler.loss_scale == 2.0**-32
    true = np.array([0.5, -2.0, 1e-20], np.float32)
    p.grad = true * np.float32(scaler.loss_scale)
    assert scaler.step(optimizer) and np.isfinite(p.data).all()
    assert np.array_equal(p.grad, true), "the gradients are divided back exactly"


def test_the_scale_never_becomes_infinite() -> None:
    """2.0**128 is infinite in float32, and so would be every loss: it would skip for ever."""
    p = Tensor(np.ones(3, np.float32), requires_grad=True)
    scaler, optimizer = GradScaler(growth_interval=1), SGD([p], 1e-3)
    scaled_rounds(scaler, optimizer, *[1.0] * 300)
    assert scaler.loss_scale == 2.0**127 and optimizer.steps == 300
    scaled_rounds(scaler, optimizer, np.inf)
    assert scaler.loss_scale == 2.0**126


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"init_scale": np.inf}, ValueError, "init_scale must be above .* got inf"),
        ({"init_scale": np.nan}, ValueError, "got nan"),
        ({"init_scale": 0}, ValueError, "got 0"),
        ({"init_scale": 1e300}, ValueError, r"got 1e\+300"),
        ({"init_scale": "65536"}, TypeError, "init_scale must be a number, got '65536'"),
        ({"growth_factor": 1}, ValueError, "growth_factor must be above 1"),
        ({"growth_factor": np.inf}, ValueError, "growth_factor must be above 1 and below inf, got inf"),
        ({"backoff_factor": 1.0}, ValueError, "backoff_factor must be above 0 and below 1, got 1"),
        ({"backoff_factor": -0.5}, ValueError, "got -0.5"),
        ({"growth_interval": 2.5}, ValueError, "growth_interval must be an integer, got 2.5"),
        ({"growth_interval": 0}, ValueError, "growth_interval must be above 0"),
        ({"growth_interval": True}, TypeError, "growth_interval must be a number, got True"),
        ({"growth_interval": None}, TypeError, "got None"),
    ],
)
def test_a_scaler_refuses_arguments_that_are_none(arguments: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        GradScaler(**arguments)


def test_numpy_numbers_make_the_same_scaler() -> None:
    numbers: list[Any] = [np.float32(8), np.float64(4), np.float16(0.25), np.uint8(3)]
    scaler = GradScaler(*numbers)
    assert (scaler.loss_scale, scaler.growth_factor, scaler.backoff_factor, scaler.growth_interval) == (8, 4, 0.25, 3)


def test_an_overflow_in_one_of_two_optimizers_backs_off() -> None:
    """The first overflows, the second steps: five rounds halve the scale five times, in either order."""
    for order in (0, 1):
        params = [Tensor(np.ones(1, np.float32), requires_grad=True) for _ in "ab"]
        optimizers = [SGD([p], 0.1) for p in params]
        scaler = GradScaler(1024.0)
        for _ in range(5):
            params[0].grad, params[1].grad = np.full(1, np.inf, np.float32), np.ones(1, np.float32)
            stepped = [scaler.step(optimizer) for optimizer in (optimizers if order == 0 else optimizers[::-1])]
            assert sorted(stepped) == [False, True]
            scaler.update()
        assert scaler.loss_scale == 32 and optimizers[1].steps == 5 and optimizers[0].steps == 0


def test_a_second_step_or_an_update_without_one_is_refused() -> None:
    p = Tensor(np.ones(1, np.float32), requires_grad=True)
    optimizer, scaler = SGD([p], 0.1), GradScaler(8.0)
    with pytest.raises(RuntimeError, match="comes after step"):
        scaler.update()
    p.grad = np.full(1, 8, np.float32)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="divided already"):
        scaler.step(optimizer)
    assert p.grad == 1 and optimizer.steps == 1


# Dividing gradients ahead of the step, to clip them


def clipped_rounds(scale: float, *grads: float) -> tuple[GradScaler, SGD]:
    """The rounds of one parameter, whose gradients are clipped to a norm of 1 after unscale_."""
    p = Tensor(np.zeros(4, np.float32), requires_grad=True)
    scaler, optimizer = GradScaler(scale, growth_interval=100), SGD([p], 1.0)
    for grad in grads:
        p.grad = np.full(4, grad, np.float32)
        scaler.unscale_(optimizer)
        clip_grad_norm_([p], 1.0)
        scaler.step(optimizer)
        scaler.update()
    return scaler, optimizer


def test_gradients_are_clipped_as_they_are_without_a_scale() -> None:
    """The norm of four times 3 is 6: with any scale, each number of the step is 3 / 6."""
    for scale in (2.0**-20, 1.0, 2.0**20):
        scaler, optimizer = clipped_rounds(scale, 3 * scale)
        assert optimizer.params[0].data.tolist() == [-0.5] * 4 and scaler.loss_scale == scale
        assert clipped_rounds(scale, 0.25 * scale)[1].params[0].data.tolist() == [-0.25] * 4, (
            "of a norm of 0.5 all stays"
        )


def test_unscaling_alone_changes_no_step() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(5, 3)).astype(np.float32)
    ends = []
    for ahead in (False, True):
        p = Tensor(np.ones(3, np.float32), requires_grad=True)
        scaler, optimizer = GradScaler(growth_interval=2), Adam([p], 0.1)
        for grad in true:
            p.grad = grad * np.float32(scaler.loss_scale)
            if ahead:
                scaler.unscale_(optimizer)
                assert np.array_equal(p.grad, grad)
            assert scaler.step(optimizer)
            scaler.update()
        ends.append((p.data.tolist(), scaler.events))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_an_overflow_seen_by_unscale_skips_the_step_even_if_it_is_clipped_away(bad: float) -> None:
    scaler, optimizer = clipped_rounds(1024.0, bad, bad)
    assert optimizer.steps == 0 and scaler.loss_scale == 256
    p = optimizer.params[0]
    p.grad = np.full(4, bad, np.float32)
    scaler.unscale_(optimizer)
    p.grad = np.zeros(4, np.float32)
    assert not scaler.step(optimizer)
    scaler.update()
    assert scaler.loss_scale == 128 and not p.data.any()


def test_a_gradient_that_clipping_makes_infinite_is_not_stepped_with() -> None:
    p = Tensor(np.zeros(2, np.float32), requires_grad=True)
    scaler, optimizer = GradScaler(8.0), SGD([p], 1.0)
    p.grad = np.ones(2, np.float32)
    scaler.unscale_(optimizer)
    p.grad = np.array([np.inf, 0], np.float32)
    assert not scaler.step(optimizer) and not p.data.any()


def test_an_overflow_is_not_forgotten_by_what_other_optimizers_do() -> None:
    """In any order of unscale_ and step, and where the one that overflowed is never stepped."""
    calls = ("u0", "s0", "u1", "s1"), ("u0", "u1", "s1", "s0"), ("s1", "u0", "s0"), ("u0", "s1"), ("s0", "u1", "s1")
    for order in calls:
        params = [Tensor(np.ones(1, np.float32), requires_grad=True) for _ in "ab"]
        optimizers, scaler = [SGD([p], 0.1) for p in params], GradScaler(1024.0)
        for _ in range(5):
            params[0].grad, params[1].grad = np.full(1, np.inf, np.float32), np.ones(1, np.float32)
            for call in order:
                (scaler.unscale_ if call[0] == "u" else scaler.step)(optimizers[int(call[1])])
            scaler.update()
        assert (scaler.loss_scale, optimizers[0].steps, optimizers[1].steps) == (32, 0, 5), order


def test_gradients_are_never_divided_twice() -> None:
    p, q = (Tensor(np.zeros(1, np.float32), requires_grad=True) for _ in "pq")
    optimizer, sharing, scaler = SGD([p], 1.0), SGD([q, p], 1.0), GradScaler(8.0)
    p.grad = q.grad = np.full(1, 8, np.float32)
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="divided already: unscale_ once"):
        scaler.unscale_(optimizer)
    for call in (scaler.step, scaler.unscale_):
        with pytest.raises(RuntimeError, match="share a parameter"):
            call(sharing)
    scaler.step(optimizer)
    for call in (scaler.step, scaler.unscale_):
        with pytest.raises(RuntimeError, match="has stepped since the last update"):
            call(optimizer)
    assert p.grad == 1 and p.data == -1 and q.grad == 8
    scaler.update()
    assert scaler.step(sharing), "the next round is another"


def test_half_precision_trains_with_clipped_gradients(digits: Dataset) -> None:
    """After a step, no parameter has moved by more than lr times the norm, in all."""
    model = Sequential(Linear(64, 10, rng=np.random.default_rng(0)))
    for scaler in (None, GradScaler()):
        before = [p.data.copy() for p in model.parameters()]
        step = mixed_step("float16", scaler, max_norm=1e-3)
        step(model, SGD(model.parameters(), 1.0), digits.x_train[:64], digits.y_train[:64])
        moved = np.sqrt(sum(((p.data - b) ** 2).sum() for p, b in zip(model.parameters(), before, strict=True)))
        assert 0.99e-3 < moved < 1.01e-3


def corrected(batches: list[np.ndarray], bits: int = 3) -> np.ndarray:
    model = Sequential(Linear(8, 4, rng=np.random.default_rng(0)))
    whole = np.concatenate(batches)
    (fake,) = of_type(correct_bias(prepare_qat(model, [whole], IntType(bits)), batches), FakeQuantized)
    return np.asarray(fake.layer.bias.data)


def test_bias_correction_weighs_samples_not_batches() -> None:
    """Batches of 32, 1 and 0 samples give the bias of one batch of 33; the last sample lies far off."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(33, 8)).astype(np.float32)
    x[32] += 10
    wanted = corrected([x])
    for cut in ([x[:32], x[32:]], [x[:0], x[:32], x[:0], x[32:]], [x[:1], x[1:]]):
        assert np.allclose(corrected(cut), wanted, rtol=0, atol=1e-6), [len(batch) for batch in cut]


@pytest.mark.parametrize("batches", [[], [np.zeros((0, 8), np.float32)]], ids=["no batch", "an empty batch"])
def test_bias_correction_without_a_sample_is_refused(batches: list[np.ndarray]) -> None:
    qat = prepare_qat(Sequential(Linear(8, 4)), [np.ones((2, 8), np.float32)])
    before = qat.state_dict()
    with pytest.raises(ValueError, match="needs at least one sample, got none"):
        correct_bias(qat, batches)
    assert all(np.array_equal(a, before[name]) for name, a in qat.state_dict().items())
    with pytest.raises(ValueError, match="wanted a model from prepare_qat"):
        correct_bias(Sequential(Linear(8, 4)), [np.ones((2, 8), np.float32)])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("first", ["zeros", "not negative", "tiny", "empty", "one sample"])
def test_a_learned_step_is_started_by_all_calibration_batches(first: str, bits: int) -> None:
    """The same batches in another order start the same step; one of zeros alone starts none."""
    x = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    batch = {
        "zeros": np.zeros_like(x), "not negative": np.abs(x), "tiny": x * np.float32(1e-6), "empty": x[:0],
        "one sample": x[:1],
    }[first]  # fmt: skip
    model = Sequential(Linear(32, 16, rng=np.random.default_rng(1)))

    def started(*batches: np.ndarray) -> tuple[np.ndarray, int]:
        """The scale and zero point of the input."""
        (fake,) = of_type(prepare_qat(model, batches, activation_type=IntType(bits), learned=True), FakeQuantized)
        assert isinstance(fake.input, LearnedStepSize) and fake.input.scale is not None
        return fake.input.scale.data, int(fake.input.zero_point)

    (one, one_zero), (other, other_zero) = started(batch, x), started(x, batch)
    assert np.allclose(one, other, rtol=1e-6) and one_zero == other_zero == 0
    seen = np.append(np.abs(x), np.abs(batch) if batch.any() else [])
    wanted = 2 * seen.mean() / np.sqrt(2 ** (bits - 1) - 1)
    assert np.allclose(one, wanted, rtol=1e-5), "2 mean |x| / sqrt(qmax), of everything seen"


@pytest.mark.parametrize("learned", [False, True], ids=["ranges", "learned"])
def test_unsigned_weights_are_refused_before_training(learned: bool) -> None:
    with pytest.raises(ValueError, match="need a signed type, whose zero point is 0, got uint4: int4"):
        prepare_qat(Sequential(Linear(8, 4)), [np.ones((2, 8), np.float32)], IntType(4, signed=False), learned=learned)


def test_unsigned_activations_keep_their_negative_numbers() -> None:
    x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    step = LearnedStepSize(IntType(8, signed=False), batched=True)
    error = np.abs(step(Tensor(x)).data - x).max()
    assert step.scale is not None and error <= float(step.scale.data) / 2 * (1 + 1e-5)
    assert step.zero_point == 128


def test_a_dead_layer_is_trained_and_converted() -> None:
    """The second layer is given nothing but 0: nothing of its bias is lost."""
    rng = np.random.default_rng(0)
    first = Linear(8, 4, rng=rng)
    model = Sequential(first, ReLU(), Linear(4, 2, rng=rng))
    assert first.bias is not None
    first.weight.data[:], first.bias.data[:] = 0, 0
    x = np.ones((4, 8), np.float32)
    for learned in (False, True):
        integer = convert(prepare_qat(model, [x], learned=learned))
        assert np.array_equal(integer(x).data, model(x).data)
