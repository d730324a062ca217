"""What is done to whole networks: never to a layer whose function is not known, and never along another axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import accelerate
from tinytorch.core import (
    GELU,
    Adam,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    LayerNorm,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    SelfAttention,
    Sequential,
    Tanh,
    Tensor,
    batches,
    fit,
)
from tinytorch.quantization import (
    INT4,
    INT8,
    LearnedStepSize,
    Lookup,
    MinMaxObserver,
    OnCodes,
    QParams,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedTensor,
    WeightOnlyLinear,
    choose_qparams,
    convert,
    correct_bias,
    equalize,
    explain,
    fold_batch_norm,
    fold_batch_norms,
    freeze,
    learned_step_quantize,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    quantize_weights,
    quantized_add,
    sensitivity,
    sqnr_db,
)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# Equalization keeps the function


def in_float64(model: Module) -> Module:
    """A copy that computes in float64: Tensors of NumPy arrays keep their dtype."""
    new = copy(model)
    for key, value in vars(model).items():
        if isinstance(value, Tensor):
            setattr(new, key, Tensor(value.data.astype(np.float64)))
        elif isinstance(value, Module):
            setattr(new, key, in_float64(value))
        elif isinstance(value, list):
            setattr(new, key, [in_float64(v) if isinstance(v, Module) else v for v in value])
    return new


def changed(model: Module, x: np.ndarray) -> float:
    """The largest change by equalization, relative to the largest output, both computed in float64."""
    before, after = (in_float64(m)(x.astype(np.float64)).data for m in (model, equalize(model)))
    return float(np.abs(before - after).max() / max(np.abs(before).max(), 1e-300))


def uneven(layer: Any, factor: float = 100.0) -> Any:
    """The layer with its first output channel made larger."""
    layer.weight.data[0] *= factor
    return layer


def test_channels_that_a_layer_mixes_are_not_rescaled() -> None:
    """Each of these lies along another axis than it looks; the two of the report, and others of the kind."""
    rng = np.random.default_rng(0)
    tokens, images = numbers(5, 3, 4), numbers(5, 3, 6, 6)
    cases = {
        "Linear, Flatten, Linear": (
            Sequential(uneven(Linear(4, 8, rng=rng)), ReLU(), Flatten(), Linear(24, 3, rng=rng)), tokens),
        "Conv2d, Linear": (Sequential(uneven(Conv2d(3, 4, 3, rng=rng)), ReLU(), Linear(4, 5, rng=rng)), images),
        "Linear, Conv2d": (Sequential(uneven(Linear(6, 3, rng=rng)), ReLU(), Conv2d(3, 4, 3, rng=rng)), images),
        "Linear, MaxPool2d, Linear": (
            Sequential(uneven(Linear(6, 6, rng=rng)), MaxPool2d(2, 1), Linear(5, 5, rng=rng)), images),
        "Linear, AvgPool2d, Linear": (
            Sequential(uneven(Linear(6, 6, rng=rng)), AvgPool2d(2), Linear(3, 3, rng=rng)), images),
        "Linear, Flatten, Linear of as many": (
            Sequential(uneven(Linear(6, 6, rng=rng)), Flatten(), Linear(108, 3, rng=rng)), images),
        "Conv2d, Linear, Flatten, Linear": (
            Sequential(Conv2d(3, 4, 3, rng=rng), uneven(Linear(4, 4, rng=rng)), Flatten(), Linear(64, 3, rng=rng)),
            images),
        "Conv2d, GlobalAvgPool2d, Linear": (
            Sequential(uneven(Conv2d(3, 1, 3, rng=rng)), GlobalAvgPool2d(), Linear(1, 5, rng=rng)), images),
        "Conv2d, Conv2d of groups": (
            Sequential(uneven(Conv2d(3, 4, 3, rng=rng)), ReLU(), Conv2d(4, 4, 3, groups=2, rng=rng)), images),
        "a bend between": (Sequential(uneven(Linear(4, 8, rng=rng)), Tanh(), Linear(8, 3, rng=rng)), tokens),
    }  # fmt: skip
    for name, (model, x) in cases.items():
        assert changed(model, x) <= 1e-5, name


def a_network(rng: np.random.Generator) -> tuple[Sequential, np.ndarray]:
    """Any chain that runs: each next layer fits the shape before it; channels of very different size."""
    shape = tuple(int(n) for n in rng.integers(1, 7, rng.integers(2, 5)))
    x, layers = rng.normal(size=shape).astype(np.float32), list[Module]()

    def a_linear(columns: int) -> Linear:
        return Linear(columns, int(rng.integers(1, 7)), rng=rng)

    for _ in range(int(rng.integers(2, 7))):
        y = Sequential(*layers)(x).data
        choices: list[Callable[[], Module]] = [
            ReLU,
            Flatten,
            partial(a_linear, y.shape[-1]),
        ]
        if y.ndim == 4:
            size = int(min(2, *y.shape[2:]))
            pools = [lambda s=size, k=kind: k(s, 1) for kind in (MaxPool2d, AvgPool2d)]
            choices += [*pools, GlobalAvgPool2d]
            choices += 2 * [lambda n=y.shape[1], s=size: Conv2d(n, int(rng.integers(1, 7)), s, rng=rng)]
        layers.append(choices[rng.integers(len(choices))]())
        if isinstance(layers[-1], (Linear, Conv2d)):
            weight = layers[-1].weight.data
            weight *= (10.0 ** rng.uniform(-4, 4, len(weight)) * (rng.random(len(weight)) < 0.9)).reshape(
                -1, *[1] * (weight.ndim - 1)
            )
    return Sequential(*layers), x


def test_no_network_computes_anything_else_once_it_is_equalized() -> None:
    moved = 0
    for seed in range(300):
        model, x = a_network(np.random.default_rng(seed))
        if any(isinstance(m, (Linear, Conv2d)) for m in model.layers):
            before, after = (in_float64(m)(x.astype(np.float64)).data for m in (model, equalize(model)))
            bound = 1e-4 * np.abs(in_float64(magnitudes(model))(np.abs(x).astype(np.float64)).data) + 1e-30
            assert (np.abs(before - after) <= bound).all(), f"seed {seed}: {model}"
            moved += any(
                not np.array_equal(a, b)
                for a, b in zip(*(m.state_dict().values() for m in (model, equalize(model))), strict=True)
            )
    assert moved >= 60, "most networks with neighbours must be changed, or nothing was tested"


def magnitudes(model: Sequential) -> Sequential:
    """The network of |weights| and |biases|: what a relative error of each weight may move an output by."""
    new = in_float64(model)
    for tensor in new.parameters() + [t for _, t in new.named_tensors()]:
        tensor.data = np.abs(tensor.data)
    return new  # type: ignore[return-value]


def test_neighbours_whose_channels_are_known_are_equalized() -> None:
    rng = np.random.default_rng(0)
    for model in (
        Sequential(uneven(Linear(4, 8, rng=rng)), ReLU(), Linear(8, 3, rng=rng)),
        Sequential(uneven(Conv2d(3, 4, 3, rng=rng)), MaxPool2d(2), ReLU(), Conv2d(4, 2, 1, rng=rng)),
        Sequential(uneven(Conv2d(3, 4, 3, rng=rng)), AvgPool2d(2), Flatten(), ReLU(), Linear(16, 3, rng=rng)),
    ):
        first, last = equalize(model).layers[0], equalize(model).layers[-1]  # type: ignore[attr-defined]
        rows = np.abs(first.weight.data).reshape(len(first.weight.data), -1).max(1)
        fed = np.abs(last.weight.data.reshape(len(last.weight.data), len(rows), -1)).max((0, 2))
        assert np.allclose(rows, fed, rtol=1e-3)


def test_a_bias_beside_weights_of_next_to_nothing_stays_finite() -> None:
    first, last = Linear(2, 2), Linear(2, 2)
    first.weight.data[0] = 1e-38
    last.weight.data[:, 0] = 1e38
    model = Sequential(first, last)
    assert all(np.isfinite(a).all() for a in equalize(model).state_dict().values())


# Subclasses, and modules of one's own


class Doubled(Sequential):
    def forward(self, x: Any) -> Any:
        return super().forward(x) * 2


class Shifted(Linear):
    def forward(self, x: Any) -> Any:
        return super().forward(x) + 1


class Padded(Conv2d):
    def forward(self, x: Any) -> Any:
        return super().forward(x) * 3


class Steep(GELU):
    def forward(self, x: Any) -> Any:
        return x * 5


class Leaky(ReLU):
    def forward(self, x: Any) -> Any:
        return x.relu() - (-x).relu() * 0.5


class Half(Residual):
    def forward(self, x: Any) -> Any:
        return self.block(x) * 0.5 + x


class Biased(BatchNorm2d):
    def forward(self, x: Any) -> Any:
        return super().forward(x) + 1


def with_subclasses() -> Sequential:
    """For images [N, 3, 6, 6]: each layer with a function of its own, among layers that are quantized."""
    rng = np.random.default_rng(0)
    return Sequential(
        Conv2d(3, 4, 3, padding=1, rng=rng), Biased(4), Conv2d(4, 4, 1, rng=rng), BatchNorm2d(4), Leaky(),
        Padded(4, 4, 1, rng=rng), BatchNorm2d(4), Doubled(Conv2d(4, 4, 1, rng=rng), BatchNorm2d(4), Steep()),
        Residual(Doubled(Conv2d(4, 4, 1, rng=rng), ReLU())), Half(Conv2d(4, 4, 1, rng=rng)),
        Residual(Sequential()), Flatten(), Linear(144, 8, rng=rng), Leaky(), Shifted(8, 6, rng=rng),
        Linear(6, 5, rng=rng),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("how", ["fold", "equalize", "static", "dynamic", "weight-only", "prepare", "convert", "all"])
def test_a_layer_with_a_function_of_its_own_keeps_it(how: str) -> None:
    """Whatever is done to the network around them; int8 moves this network's outputs by about -30 dB."""
    x = numbers(16, 3, 6, 6)
    model = with_subclasses()
    for name, m in model.named_modules():
        if isinstance(m, BatchNorm2d):
            n = len(m.running_mean)
            m.running_mean, m.running_var = numbers(n, seed=len(name)), np.abs(numbers(n, seed=1)) + 1
    made = {
        "fold": lambda: fold_batch_norms(model),
        "equalize": lambda: equalize(model),
        "static": lambda: quantize_static(model, [x]),
        "dynamic": lambda: quantize_dynamic(model),
        "weight-only": lambda: quantize_weight_only(model, INT8),
        "prepare": lambda: prepare_qat(model, [x]).eval(),
        "convert": lambda: convert(prepare_qat(model, [x])),
        "all": lambda: quantize_static(equalize(fold_batch_norms(model)), [x]),
    }[how]()
    if how not in ("prepare", "convert"):  # running a batch in training mode moves the batch norms
        assert sqnr_db(model(x).data, made(x).data) > (100 if how in ("fold", "equalize") else 20)
    own = (Doubled, Shifted, Padded, Steep, Leaky, Half, Biased)
    of_own = [[type(m) for _, m in net.named_modules() if type(m) in own] for net in (model, made)]
    assert of_own[0] == of_own[1] and len(of_own[0]) == 9


def test_attributes_of_a_sequential_and_its_mode_are_kept() -> None:
    model = Doubled(Sequential(Conv2d(1, 2, 1), BatchNorm2d(2)).eval())
    model.note, model.layers[0].note = "outer", "inner"  # type: ignore[attr-defined]
    for new in (fold_batch_norms(model), quantize_dynamic(model), equalize(model)):
        assert (new.note, new.layers[0].note, new.layers[0].training) == ("outer", "inner", False)  # type: ignore[attr-defined]


def test_only_the_layers_themselves_have_an_integer_form() -> None:
    with pytest.raises(KeyError, match=r"'layers\.0', but the layers that can be quantized are layers\.1"):
        quantize_dynamic(Sequential(Shifted(2, 2), Linear(2, 2)), rules={"layers.0": INT8})
    with pytest.raises(ValueError, match="nothing to quantize: .* subclasses aside"):
        quantize_dynamic(Sequential(Shifted(2, 2)))
    for wrong in (Leaky(), GELU(), AvgPool2d(2)):
        with pytest.raises(TypeError, match="only max pooling, Flatten and ReLU work on codes"):
            OnCodes(wrong)


@pytest.mark.parametrize("kind", [tuple, set, lambda layers: dict(enumerate(layers))])
def test_layers_where_none_are_found_are_not_left_in_silence(kind: Any) -> None:
    class Branches(Module):
        def __init__(self) -> None:
            self.fc, self.others = Linear(2, 2), kind([Linear(2, 2), Linear(2, 2)])

    with pytest.raises(
        TypeError, match="others holds modules in a (tuple|set|dict), where they are not found: use a list"
    ):
        quantize_dynamic(Branches())


def test_what_is_no_module_is_refused() -> None:
    for wrong in (np.ones(3), "model", Linear, None):
        for call in (
            *(quantize_dynamic, quantize_weight_only, equalize, fold_batch_norms, explain, convert, freeze),
            lambda m: quantize_static(m, []),
            lambda m: prepare_qat(m, []),
            lambda m: correct_bias(m, []),
            lambda m: sensitivity(m, np.ones((1, 3)), np.zeros(1, int), [INT8]),
        ):
            with pytest.raises(TypeError, match=r"wanted a Module of tinytorch\.core, got (a |the class |None)"):
                call(wrong)  # type: ignore[arg-type]


# Weight parameters along another axis


@pytest.mark.parametrize("axis", [1, 2, 3, (0, 1), -1])
def test_a_weight_has_a_scale_for_each_output_or_one(axis: Any) -> None:
    """3 inputs, 3 outputs and kernels of 3: the count alone would do. Every way to a quantized layer."""
    x, conv, linear = numbers(2, 3, 5, 5), Conv2d(3, 3, 3), Linear(3, 3)
    codes = QuantizedTensor.from_float(conv.weight.data, axis=axis)
    calls: list[Callable[[], object]] = [
        lambda: QuantizedConv2d(conv.weight.data, axis=axis),
        lambda: QuantizedConv2d(codes),
        lambda: QuantizedConv2d(codes, input_qparams=QParams(1, 0)),
        lambda: quantize_dynamic(Sequential(conv), axis=axis),
        lambda: quantize_static(Sequential(conv), [x], axis=axis),
        lambda: prepare_qat(Sequential(conv), [x], axis=axis),
        lambda: prepare_qat(Sequential(conv), [x], axis=axis, learned=True),
    ]
    if axis in (1, (0, 1), -1):
        calls += [
            lambda: QuantizedLinear(linear.weight.data, axis=axis),
            lambda: QuantizedLinear(QuantizedTensor.from_float(linear.weight.data, axis=axis)),
            lambda: quantize_dynamic(Sequential(linear), axis=axis),
        ]
    for i, call in enumerate(calls):
        if axis == -1 and i >= 5:
            continue
        with pytest.raises(ValueError, match="axis"):
            call()
    groups = QuantizedTensor.from_float(numbers(3, 4), INT4, group_size=4)
    with pytest.raises(ValueError, match="one for each output"):
        QuantizedLinear(groups)


def test_a_learned_step_counts_axes_as_numpy_does() -> None:
    for axis, shape in ((-1, (1, 4)), (1, (1, 4)), (-2, (3, 1))):
        step = LearnedStepSize(INT8, axis)
        step(Tensor(numbers(3, 4)))
        assert step.scale is not None and step.scale.shape == shape
    with pytest.raises(np.exceptions.AxisError):
        LearnedStepSize(INT8, 2)(Tensor(numbers(3, 4)))


def test_axes_that_count_from_the_end_and_reach_the_outputs_are_taken() -> None:
    w, x = numbers(3, 3, 3, 3), numbers(2, 3, 5, 5)
    wanted = QuantizedConv2d(w, axis=0)(x).data
    assert np.array_equal(QuantizedConv2d(QuantizedTensor.from_float(w, axis=-4))(x).data, wanted)
    assert np.array_equal(
        QuantizedLinear(w[0, 0], axis=-2)(x[0, 0, :, :3]).data, QuantizedLinear(w[0, 0])(x[0, 0, :, :3]).data
    )


# Shapes and parameters of layers


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: QuantizedLinear(np.eye(3), np.ones((3, 1))), r"bias must be 3 finite numbers.*\(3, 1\)"),
        (lambda: QuantizedLinear(np.eye(3), np.ones((3, 1)), QParams(1, 0)), "bias must be"),
        (lambda: QuantizedLinear(np.eye(3), 0.5), "bias must be"),
        (lambda: QuantizedLinear(np.eye(3), [1, np.inf, 2]), "bias must be 3 finite"),
        (lambda: QuantizedConv2d(np.ones((2, 1, 3, 3)), np.ones((2, 1))), "bias must be"),
        (lambda: WeightOnlyLinear(QuantizedTensor.from_float(np.eye(3)), np.ones((3, 1))), "bias must be"),
        (lambda: QuantizedLinear(np.eye(3), None, QParams(np.ones(3), 0)), "input_qparams must have one scale"),
        (lambda: QuantizedLinear(np.eye(3), None, QParams(1, 0), QParams(np.ones(3), 0)), "output_qparams must have"),
        (lambda: QuantizedConv2d(np.ones((2, 1, 3, 3)), None, QParams(np.ones(2), 0)), "input_qparams must have"),
        (lambda: Lookup(GELU(), QParams(np.ones(256), 0)), "input_qparams must have one scale"),
        (
            lambda: QuantizedLinear(np.eye(3))(QuantizedTensor.from_float(np.eye(3), axis=1)),
            "an input of codes must have",
        ),
        (
            lambda: QuantizedLinear(np.eye(3))(QuantizedTensor.from_float(np.eye(3), axis=0)),
            "an input of codes must have",
        ),
        (
            lambda: OnCodes(ReLU())(QuantizedTensor.from_float(np.eye(3), axis=0)),
            "an input of codes must have one scale for all numbers",
        ),
        (
            lambda: Lookup(GELU(), QParams(1, 0))(QuantizedTensor(np.zeros(3, np.int8), QParams(1, 5))),
            "not those that this table was made for",
        ),
        (
            lambda: Lookup(GELU(), QParams(1, 0))(QuantizedTensor(np.zeros(3, np.int8), QParams(2, 0))),
            "of another scale",
        ),
        (lambda: OnCodes(MaxPool2d(3))(QuantizedTensor(np.zeros((1, 1, 2, 2), np.int8), QParams(1, 0))), "at least 3"),
        (
            lambda: quantized_add(
                QuantizedTensor(np.zeros(3, np.int8), QParams(1, 0)),
                QuantizedTensor(np.zeros(1, np.int8), QParams(1, 0)),
                QParams(1, 0),
            ),
            "wanted equal shapes",
        ),
        (lambda: quantize_static(Residual(Linear(6, 1)), [numbers(4, 6)]), "adds equal shapes"),
        (lambda: fold_batch_norm(Conv2d(1, 4, 1), BatchNorm2d(1)), "wanted equal shapes"),
        (lambda: Lookup(Sequential(Linear(256, 1)), QParams(1, 0)), "wanted equal shapes, got codes"),
        (lambda: WeightOnlyLinear(QuantizedTensor.from_float(np.ones(3))), r"weight must be \[out, in\]"),
        (
            lambda: WeightOnlyLinear(QuantizedTensor.from_float(np.eye(3)))(np.ones((2, 1))),
            r"\(3, 3\), got shape \(2, 1\)",
        ),
        (
            lambda: learned_step_quantize(Tensor(numbers(1, 3)), Tensor(np.ones((5, 1), np.float32)), 0, INT8, 1),
            "would enlarge the result",
        ),
    ],
)
def test_what_would_broadcast_in_a_layer_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_a_quantized_residual_refuses_what_a_float_one_does() -> None:
    model = quantize_static(Residual(Linear(1, 1)), [numbers(4, 1)])
    wide = QuantizedTensor(np.zeros((4, 1), np.int8), model.input_qparams)  # type: ignore[attr-defined]
    model.block = OnCodes(Flatten())  # type: ignore[attr-defined]
    assert model(wide).data.shape == (4, 1)
    with pytest.raises(ValueError, match="wanted equal shapes"):
        model(np.zeros((4, 1, 1), np.float32))


# Rows without information


@pytest.mark.parametrize("axis", [0, None])
@pytest.mark.parametrize("tiny", [0.0, 1e-7, 1e-9, 1e-30])
@pytest.mark.parametrize("layer", ["linear", "conv"])
def test_a_dead_row_keeps_its_bias(layer: str, tiny: float, axis: int | None) -> None:
    """Inputs 0..255, a pruned or dying row, bias .45; static and converted, alone and with all rows dying."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (8, 16)).astype(np.float32)
    x[0] = 255
    for rows in ([1], [0, 1, 2, 3]):
        net: Any = Linear(16, 4, rng=rng) if layer == "linear" else Conv2d(1, 4, 4, rng=rng)
        net.weight.data[rows] *= tiny
        net.bias.data[:] = [0.45, 0.45, -3.0, 0.0]
        given = x if layer == "linear" else x.reshape(8, 1, 4, 4)
        exact = net(given).data.reshape(8, 4)
        step = np.abs(net.weight.data.reshape(4, -1)).max(1) / 127
        step = step if axis == 0 else np.full(4, step.max())
        bound = 16 * (255 * step / 2 + 0.5 * 16 * step) + 255 / 255 * np.abs(net.weight.data.reshape(4, -1)).sum(1) / 2
        for made in (
            quantize_static(Sequential(net), [given], axis=axis),
            convert(prepare_qat(Sequential(net), [given], axis=axis)),
        ):
            got = made(given).data.reshape(8, 4)
            assert (np.abs(got - exact) <= bound + 1e-6 * np.abs(exact) + 1e-7).all(), f"{tiny}, {axis}: {got - exact}"


def test_long_sums_are_blamed_on_their_length() -> None:
    with pytest.raises(OverflowError, match=r"its sum of K = 70000 products may reach .* split K"):
        QuantizedLinear(np.ones((1, 70_000)), [0.5], QParams(1, 0))


# Empty batches


@pytest.mark.parametrize("how", ["static", "dynamic", "weight-only", "prepared", "converted", "folded"])
def test_an_empty_batch_gives_an_empty_result(how: str) -> None:
    rng = np.random.default_rng(0)
    x = numbers(8, 2, 8, 8)
    model = Sequential(
        Conv2d(2, 4, 3, padding=1, groups=2, rng=rng), BatchNorm2d(4), ReLU(), MaxPool2d(2),
        Conv2d(4, 4, 1, rng=rng), GELU(),
        Residual(Sequential(Conv2d(4, 4, 3, padding=1, rng=rng), Tanh(), Conv2d(4, 4, 1, rng=rng))),
        ReLU(), MaxPool2d(2), Flatten(), Linear(16, 6, rng=rng), ReLU(), Linear(6, 3, rng=rng),
    ).eval()  # fmt: skip
    made = {
        "static": lambda: quantize_static(model, [x]),
        "dynamic": lambda: quantize_dynamic(model),
        "weight-only": lambda: quantize_weight_only(model),
        "prepared": lambda: prepare_qat(model, [x]).eval(),
        "converted": lambda: convert(prepare_qat(model, [x])),
        "folded": lambda: quantize_static(fold_batch_norms(model), [x]),
    }[how]()
    y = made(x[:0])
    assert y.data.shape == model(x[:0]).data.shape == (0, 3) and y.data.dtype == np.float32
    for codes in (
        QuantizedConv2d(numbers(3, 2, 1, 1), None, QParams(1, 0), QParams(1, 0)),
        OnCodes(Flatten()),
        OnCodes(ReLU()),
    ):
        empty = QuantizedTensor(np.zeros((0, 2, 8, 8), np.int8), QParams(1, 0))
        assert codes(empty).shape[0] == 0


def test_an_empty_batch_of_tokens_passes_attention() -> None:
    model = Sequential(Residual(SelfAttention(8, 2)), LayerNorm(8), Linear(8, 3)).eval()
    x = numbers(4, 5, 8)
    for made in (model, quantize_dynamic(model), quantize_static(model, [x])):
        assert made(x[:0]).data.shape == (0, 5, 3)


# Explanations


def test_a_rule_that_cannot_be_kept_is_refused_and_no_reason_is_made_up() -> None:
    model = Sequential(Conv2d(1, 2, 1), Flatten(), Linear(8, 2))
    with pytest.raises(ValueError, match=r"a rule gives 'layers\.0' a type, but a Conv2d has no weight-only form"):
        quantize_weight_only(model, rules={"layers.0": INT8})
    rows = explain(quantize_weight_only(model, rules={"layers.0": None}))
    assert rows[0] == ("layers.0", "Conv2d", "in float: not quantized")
    assert rows[2] == ("layers.2", "WeightOnlyLinear", "int4 weights, float arithmetic")


class Fast(Module):
    def __init__(self) -> None:
        self.part = Linear(2, 2)

    def explanation(self) -> str:
        return "int8 weights, by a kernel"


class Scaled(Module):
    """A parameter outside of layers."""

    def __init__(self) -> None:
        self.scale, self.fc = Tensor(np.ones(2), True), Linear(2, 2)


def test_explain_asks_the_layer_and_says_only_what_is_so() -> None:
    assert explain(Fast()) == [("", "Fast", "int8 weights, by a kernel")]
    told = {
        name: how
        for name, _, how in explain(Sequential(Shifted(2, 2), Scaled(), BatchNorm2d(2), Embedding(2, 2), Fast()))
    }
    assert told == {
        "layers.0": "in float: a subclass of Linear, Conv1d or Conv2d, whose forward may be any function",
        "layers.1": "in float: parameters of its own, 16 bytes",
        "layers.1.fc": "in float: not quantized",
        "layers.2": "in float: there is no Conv2d right before it in its Sequential, into which it could be folded",
        "layers.3": "in float: it looks rows up and multiplies nothing",
        "layers.4": "int8 weights, by a kernel",
    }
    prepared = prepare_qat(Sequential(Linear(2, 2)), [numbers(3, 2)])
    assert explain(prepared) == [
        ("layers.0", "PreparedLayer", "Linear with int8 weights, rounded in float for training")
    ]
    assert [row[0] for row in explain(QuantizedConv2d(np.ones((2, 1, 1, 1))))] == [""]


# Calibration, preparing, tied tensors


def test_pairs_of_inputs_and_labels_calibrate_as_the_inputs_do() -> None:
    x, y = numbers(32, 4), np.zeros(32, np.int64)
    model = Sequential(Linear(4, 3), ReLU(), Linear(3, 2))
    wanted = quantize_static(model, np.array_split(x, 4)).state_dict()
    for given in (batches(x, y, 8), [(x, y)], [[x, y]], iter([Tensor(x)])):
        got = quantize_static(model, given).state_dict()
        assert all(np.array_equal(got[name], wanted[name]) for name in wanted)
    prepared = prepare_qat(model, batches(x, y, 8))
    assert all(np.isfinite(p.data).all() for p in correct_bias(prepared, batches(x, y, 8)).parameters())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (numbers(6, 4), r"got one array of shape \(6, 4\): its rows are not batches"),
        (Tensor(numbers(6, 4)), "got one array"),
        ([{"x": 1}], "a batch is an array or a pair"),
        ([1.5], "got float"),
        ([(numbers(6, 4),) * 3], "got tuple"),
        (["a batch"], "got str"),
    ],
)
def test_what_is_no_batch_is_refused_in_one_sentence(given: Any, said: str) -> None:
    for call in (quantize_static, prepare_qat):
        with pytest.raises(TypeError, match=said):
            call(Sequential(Linear(4, 2)), given)


def test_a_layer_that_saw_nothing_is_named() -> None:
    class Chosen(Module):
        def __init__(self) -> None:
            self.used, self.unused = Linear(4, 2), Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    for observed, name in (([], "layers.0.used"), ([numbers(3, 4)], "layers.0.unused")):
        with pytest.raises(ValueError, match=f"layer '{name}' gives no scale: MinMaxObserver has seen no numbers"):
            quantize_static(Sequential(Chosen()), observed)
    with pytest.raises(ValueError, match=r"layer 'layers\.0\.unused' has no qparams for its input"):
        convert(prepare_qat(Sequential(Chosen()), [numbers(3, 4)]))
    with pytest.raises(TypeError, match="what makes an observer, such as MinMaxObserver"):
        quantize_static(Sequential(Linear(4, 2)), [numbers(3, 4)], MinMaxObserver())  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [4, "int4", 4.0, True])
def test_a_number_of_bits_is_no_type_wherever_a_type_is_wanted(value: Any) -> None:
    model, x = Sequential(Linear(4, 2)), numbers(3, 4)
    for call in (
        lambda: quantize_dynamic(model, value),
        lambda: quantize_dynamic(model, rules={"layers.0": value}),
        lambda: quantize_static(model, [x], weight_type=value),
        lambda: quantize_weight_only(model, value),
        lambda: prepare_qat(model, [x], value),
        lambda: prepare_qat(model, [x], INT8, value),
        lambda: QuantizedLinear(numbers(2, 4), weight_type=value),
    ):
        with pytest.raises(TypeError, match=r"wanted an integer type such as INT8 or IntType\(4\)(, Rule.*)?, got"):
            call()


def test_what_is_prepared_is_not_prepared_or_quantized_again() -> None:
    x = numbers(6, 4)
    prepared = prepare_qat(Sequential(Linear(4, 2)), [x])
    for call in (
        quantize_dynamic,
        quantize_weight_only,
        lambda m: quantize_static(m, [x]),
        lambda m: prepare_qat(m, [x]),
    ):
        with pytest.raises(ValueError, match=r"layer 'layers\.0' is prepared for training: convert\(model\)"):
            call(prepared)
    with pytest.raises(ValueError, match="nothing to quantize"):
        quantize_dynamic(quantize_dynamic(Sequential(Linear(4, 2))))


def test_a_forward_put_onto_a_layer_is_not_lost_in_silence() -> None:
    """People put one there to record activations, or to try something. A copy would go on with the first's weights."""
    x, rng = numbers(16, 3, 4, 4), np.random.default_rng(0)

    def times(factor: float, layer: Any) -> Any:
        layer.forward = lambda x, forward=layer.forward: forward(x) * factor
        return layer

    def conv() -> Conv2d:
        return Conv2d(3, 3, 1, rng=rng)

    patched = [times(3, m) for m in (conv(), BatchNorm2d(3), ReLU(), GELU(), Residual(conv()), Sequential(conv()))]
    calls: list[Callable[[Module], Any]] = [
        quantize_dynamic,
        fold_batch_norms,
        equalize,
        lambda m: quantize_static(m, [x]),
    ]
    for layer in patched:
        model = Sequential(conv(), layer, conv())
        for call in (*calls, lambda m: prepare_qat(m, [x])):
            with pytest.raises(TypeError, match=r"a forward was put onto layers\.1, a \w+, and is lost in a copy"):
                call(model)
    with pytest.raises(TypeError, match="whose function is known, got Conv2d and BatchNorm2d"):
        fold_batch_norm(times(3, conv()), BatchNorm2d(3))
    for place in (0, 1, 2):
        made: Any = quantize_dynamic(Sequential(conv(), ReLU(), conv()))
        times(-2, made.layers[place])
        assert np.array_equal(accelerate(made)(x).data, made(x).data), place


def test_where_nothing_can_be_done_the_float_model_does_not_come_back() -> None:
    """What quantizes refuses a model without a layer for it, what takes a prepared model any other one."""
    x, y = numbers(2, 3, 4, 4), np.zeros(2, int)
    without: list[Module] = [Sequential(), Sequential(ReLU(), Flatten()), Sequential(Shifted(4, 2), Padded(3, 2, 1))]
    for model in without:
        for call in (
            quantize_dynamic,
            quantize_weight_only,
            lambda m: quantize_static(m, [x]),
            lambda m: prepare_qat(m, [x]),
            lambda m: sensitivity(m, x, y, [INT8]),
        ):
            with pytest.raises(ValueError, match="nothing to quantize: the model holds no Linear, "):
                call(model)
    with pytest.raises(ValueError, match="nothing to quantize: of a Conv2d .* quantize_dynamic takes it"):
        quantize_weight_only(Sequential(Conv2d(3, 2, 1), ReLU()))
    with pytest.raises(ValueError, match="nothing to quantize: rules leave all in float"):
        quantize_weight_only(Sequential(Conv2d(3, 2, 1), ReLU()), rules={"layers.0": None})
    model = Sequential(Linear(4, 2))
    for types in (None, {}, {"layers.0": None}):
        for call in (
            lambda m, types=types: quantize_dynamic(m, None, rules=types),
            lambda m, types=types: quantize_static(m, [numbers(3, 4)], weight_type=None, rules=types),
            lambda m, types=types: quantize_weight_only(m, None, rules=types),
            lambda m, types=types: prepare_qat(m, [numbers(3, 4)], None, rules=types),  # type: ignore[arg-type]
            lambda m, types=types: quantize_weights(m, types or {}),
        ):
            with pytest.raises(ValueError, match="nothing to quantize: the type is None"):
                call(model)
    for not_prepared in (*without, Sequential(Linear(4, 2)), quantize_dynamic(Sequential(Linear(4, 2)))):
        for call in (convert, freeze, lambda m: correct_bias(m, [x])):
            with pytest.raises(ValueError, match="wanted a model from prepare_qat"):
                call(not_prepared)


class Tied(Module):
    """Tokens in and out by one weight."""

    def __init__(self) -> None:
        self.embedding, self.out = Embedding(5, 4), Linear(4, 5, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x: Any) -> Any:
        return self.out(self.embedding(x))


def shared() -> Iterator[tuple[Module, np.ndarray, str, str]]:
    """Models whose two named tensors are one."""
    yield Tied(), np.arange(5), "embedding.weight", "out.layer.weight"
    layer, other = Linear(4, 4), Linear(4, 4)
    yield Sequential(layer, ReLU(), layer), numbers(5, 4), "layers.0.layer.weight", "layers.2.layer.weight"
    other.bias = layer.bias
    yield Sequential(layer, other), numbers(5, 4), "layers.0.layer.bias", "layers.1.layer.bias"


def test_tensors_that_are_tied_stay_tied_and_are_trained_as_one() -> None:
    for model, x, first, second in shared():
        prepared = prepare_qat(model, [x])
        tensors = dict(prepared.named_tensors())
        assert tensors[first] is tensors[second], first
        before = model.state_dict()
        fit(prepared, x, np.arange(5) % 4, 1, Adam(prepared.parameters(), lr=0.1))
        trained = dict(prepared.named_tensors())
        assert np.array_equal(trained[first].data, trained[second].data)
        assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())
        assert len(prepared.parameters()) == len(model.parameters())


def test_layers_that_share_a_tensor_are_not_equalized() -> None:
    layer = uneven(Linear(4, 4))
    model = Sequential(layer, ReLU(), layer, ReLU(), Linear(4, 2))
    made = equalize(model)
    assert all(np.array_equal(a, made.state_dict()[name]) for name, a in model.state_dict().items())


def test_numpys_small_integers_are_sizes_like_others() -> None:
    small = np.int8
    x = numbers(1, 2, 200, 3)
    conv = Conv2d(small(2), small(2), small(3), small(1), small(100))  # type: ignore[arg-type]
    quantized = QuantizedConv2d(conv.weight.data, conv.bias.data, stride=small(1), padding=small(100))  # type: ignore[arg-type, union-attr]
    assert conv(x).shape == quantized(x).shape == (1, 2, 398, 201)
    assert MaxPool2d(small(3), small(2))(Tensor(x)).shape == (1, 2, 99, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size as one integer >= 1"):
        MaxPool2d(2.5)  # type: ignore[arg-type]


def test_codes_for_chains_are_still_made() -> None:
    x = numbers(8, 4)
    made = quantize_static(Sequential(Linear(4, 4), ReLU(), Linear(4, 2)), [x])
    assert [type(m) for m in made.layers] == [QuantizedLinear, QuantizedLinear]  # type: ignore[attr-defined]
    assert choose_qparams(0, 1).int_type == INT8
