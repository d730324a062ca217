"""ONNX models of quantized networks, in ONNX Runtime and in the standard's own evaluator, against the networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from tinytorch.acceleration import accelerate
from tinytorch.core import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool1d,
    MaxPool2d,
    Module,
    ReLU,
    ReLU6,
    Residual,
    SelfAttention,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
    Tensor,
)
from tinytorch.deployment import compare, to_onnx, trace
from tinytorch.deployment.onnx_graph import Codes, Form
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT4,
    UINT8,
    IntType,
    QParams,
    QuantizedLinear,
    QuantizedTensor,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
)

from .networks import case

pytestmark = pytest.mark.engines
RNG = np.random.default_rng(17)
IMAGES = RNG.normal(size=(32, 1, 12, 12)).astype(np.float32)
FORMS, CODES = get_args(Form), get_args(Codes)
# Float products in ONNX Runtime where it fuses no integer one: int8 codes between float operators.
EXACT = [(form, codes) for form in FORMS for codes in CODES if (form, codes) != ("qdq", "int8")]


def of_images() -> Sequential:
    """Convolutions of several strides and groups, pooling, a table and two products."""
    rng = np.random.default_rng(1)
    return Sequential(
        *(Conv2d(1, 6, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2)),
        *(Conv2d(6, 12, (3, 2), stride=(2, 1), groups=3, rng=rng), GELU()),
        *(Flatten(), Linear(12 * 2 * 5, 20, rng=rng), ReLU(), Linear(20, 10, rng=rng)),
    )


def with_residual() -> Sequential:
    rng = np.random.default_rng(2)
    block = Sequential(Conv2d(4, 4, 3, padding=1, rng=rng), ReLU(), Conv2d(4, 4, 1, rng=rng))
    last = (Flatten(), Linear(4 * 12 * 12, 5, rng=rng))
    return Sequential(Conv2d(1, 4, 3, padding=1, rng=rng), ReLU(), Residual(block), ReLU(), *last)


def quantized(model: Module, x: NDArray[np.float32] = IMAGES, **how: Any) -> Module:
    return quantize_static(model, [x], **how)


@pytest.mark.parametrize("axis", [0, None])
@pytest.mark.parametrize(("form", "codes"), EXACT)
def test_every_code_and_every_float_is_the_same_in_onnxruntime(form: Form, codes: Codes, axis: int | None) -> None:
    model = quantized(of_images(), axis=axis)
    found = compare(model, to_onnx(model, (1, 12, 12), form, codes), IMAGES)
    assert [layer.kind for layer in found.layers].count("Convolution") == 2
    assert found.differing == 0, found


@pytest.mark.parametrize("codes", CODES)
def test_the_standards_own_evaluator_gives_the_same(codes: Codes) -> None:
    model = quantized(with_residual())
    assert compare(model, to_onnx(model, (1, 12, 12), "standard", codes), IMAGES[:8], "reference").differing == 0


@pytest.mark.parametrize(("form", "codes"), [("standard", "uint8"), ("standard", "int8")])
def test_a_sum_of_two_paths_is_exact_in_the_standard_form(form: Form, codes: Codes) -> None:
    model = quantized(with_residual())
    assert compare(model, to_onnx(model, (1, 12, 12), form, codes), IMAGES).differing == 0


def test_int8_codes_between_float_operators_are_at_most_one_step_apart() -> None:
    """ONNX Runtime leaves them in float, whose sums round otherwise; floats at the end differ in their last bits."""
    model = quantized(of_images())
    found = compare(model, to_onnx(model, (1, 12, 12), "qdq", "int8"), IMAGES)
    assert max(layer.largest for layer in found.layers[:-1]) <= 1
    assert found.output is not None and found.output.largest < 0.1


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed: int) -> None:
    """Sums of two paths may be added in another order: at most one step, in a share that the fuzz counts."""
    random = case(seed)
    sums = any(type(step).__name__ == "Add" for step in trace(random.model, random.x).steps)
    for form, codes in EXACT:
        found = compare(random.model, to_onnx(random.model, random.x.shape[1:], form, codes), random.x)
        assert found.differing == 0 or (sums and form != "standard"), f"seed {seed}, {form}, {codes}: {found.first}"


def test_a_batch_of_any_size_runs() -> None:
    model = quantized(of_images())
    file = to_onnx(model, (1, 12, 12)).SerializeToString()
    for n in (1, 2, 7):
        assert compare(model, file, IMAGES[:n]).differing == 0


def test_tokens_keep_their_axes() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 5, 8)).astype(np.float32)
    model = quantized(Sequential(Linear(8, 16, rng=rng), GELU(), Linear(16, 4, rng=rng)), x)
    for form, codes in EXACT:
        assert compare(model, to_onnx(model, (5, 8), form, codes), x).differing == 0


def test_signals() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6, 3, 30)).astype(np.float32)
    layers = (Conv1d(3, 8, 5, stride=2, padding=2, rng=rng), ReLU(), MaxPool1d(2), Conv1d(8, 4, 3, dilation=2, rng=rng))
    model = quantized(Sequential(*layers, ReLU(), Flatten(), Linear(12, 3, rng=rng)), x)
    for form, codes in EXACT:
        assert compare(model, to_onnx(model, (3, 30), form, codes), x).differing == 0


def test_codes_of_fewer_bits_are_clipped_where_a_byte_holds_more() -> None:
    model = quantized(of_images(), activation_type=INT4, weight_type=IntType(3))
    wild = IMAGES * 50
    for form, codes in EXACT:
        assert compare(model, to_onnx(model, (1, 12, 12), form, codes), wild).differing == 0


def test_a_model_that_ends_in_codes_gives_their_floats() -> None:
    model = quantized(Sequential(Linear(4, 4, rng=RNG), ReLU(), Linear(4, 4, rng=RNG)), IMAGES[:, 0, 0, :4])
    model.layers[-1].output_qparams = model.layers[0].output_qparams  # type: ignore[attr-defined]
    x = IMAGES[:, 0, 0, :4]
    found = compare(model, to_onnx(model, (4,)), x)
    assert found.differing == 0
    assert trace(model, x).arrays["output"].dtype == np.float32


# Layers in float


def floats() -> dict[str, tuple[Module, tuple[int, ...]]]:
    rng = np.random.default_rng(5)
    norm = BatchNorm2d(3)
    norm.running_mean, norm.running_var = rng.normal(size=3).astype(np.float32), np.array([0.5, 1, 2], np.float32)
    return {
        "linear": (Linear(6, 4, rng=rng), (6,)),
        "linear without bias": (Linear(6, 4, bias=False, rng=rng), (2, 6)),
        "conv1d": (Conv1d(3, 6, 3, stride=2, padding=1, groups=3, rng=rng), (3, 9)),
        "conv2d": (Conv2d(3, 4, (3, 2), dilation=(1, 2), padding=(1, 0), rng=rng), (3, 8, 7)),
        "batch norm": (norm, (3, 4, 4)),
        "layer norm": (LayerNorm(7), (5, 7)),
        "average": (AvgPool2d(3, 2, padding=1), (3, 8, 8)),
        "average of what is there": (AvgPool2d(3, 2, padding=1, count_include_pad=False), (3, 8, 8)),
        "global average": (GlobalAvgPool2d(), (3, 8, 8)),
        "max": (MaxPool2d(3, 2, padding=1), (3, 8, 8)),
        "flatten": (Flatten(), (3, 4, 4)),
        "dropout": (Sequential(Dropout(0.5), ReLU()), (9,)),
        "residual": (Residual(Linear(6, 6, rng=rng)), (6,)),
        "shortcut": (Residual(Linear(6, 4, rng=rng), Linear(6, 4, rng=rng)), (6,)),
        **{type(m).__name__: (m, (3, 5)) for m in (GELU(), LeakyReLU(0.2), ReLU6(), SiLU(), Sigmoid(), Tanh())},
    }


@pytest.mark.parametrize("name", floats())
def test_layers_in_float_are_written_as_floats(name: str) -> None:
    model, shape = floats()[name]
    x = np.random.default_rng(6).normal(size=(4, *shape)).astype(np.float32) * 4
    found = compare(model, to_onnx(model, shape), x)
    steps = trace(model, x)
    assert found.output is not None and found.output.largest <= 2e-6 * max(1, np.abs(steps.arrays[steps.y.name]).max())


def test_an_embedding_takes_whole_numbers() -> None:
    model = Embedding(20, 8)
    tokens = np.random.default_rng(7).integers(0, 20, (3, 5)).astype(np.float32)
    assert compare(model, to_onnx(model, (5,)), tokens).differing == 0


@pytest.mark.parametrize(
    "how",
    [
        {"weight_type": INT4, "group_size": 32},
        {"weight_type": UINT4, "group_size": 16},
        {"weight_type": INT4, "group_size": None},
        {"weight_type": INT4, "group_size": None, "axis": 1},
        {"weight_type": INT8, "group_size": None, "axis": None},
        {"weight_type": IntType(3), "group_size": 20},
    ],
    ids=str,
)
def test_weights_alone_are_stored_in_blocks(how: dict[str, Any]) -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(16, 100)).astype(np.float32)
    model = quantize_weight_only(Sequential(Linear(100, 64, rng=rng), GELU(), Linear(64, 8, rng=rng)), **how)
    file = to_onnx(model, (100,))
    found = compare(model, file, x)
    assert found.output is not None and found.output.largest <= 1e-4 * np.abs(trace(model, x).arrays["layers.2"]).max()
    if how["weight_type"].bits <= 4:
        stored = sum(len(t.raw_data) for t in file.graph.initializer if t.name.endswith("weight.codes"))
        assert stored == (100 * 64 + 64 * 8) // 2


@pytest.mark.parametrize("axis", [0, None])
def test_dynamic_layers_choose_their_scales_as_onnx_does(axis: int | None) -> None:
    """ONNX Runtime fuses what comes after the sums, and rounds it in another order: to the last bits of a float."""
    rng = np.random.default_rng(9)
    signals = (Conv1d(3, 4, 3, padding=1, rng=rng), ReLU(), Flatten(), Linear(4 * 20, 5, rng=rng))
    tokens = (Linear(20, 16, rng=rng), GELU(), Linear(16, 4, rng=rng))
    for model, shape in ((of_images(), (1, 12, 12)), (Sequential(*signals), (3, 20)), (Sequential(*tokens), (3, 20))):
        x = rng.normal(size=(1, *shape)).astype(np.float32)  # one scale for a batch: of one sample, nobody shares it
        dynamic = quantize_dynamic(model, axis=axis)
        for engine in ("onnxruntime", "reference"):
            found = compare(dynamic, to_onnx(dynamic, shape), x, engine)
            largest = np.abs(dynamic(x).data).max()
            assert found.output is not None and found.output.largest <= 2e-6 * max(1, largest), engine


# What is refused


class Own(Module):
    def __init__(self) -> None:
        self.part = Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.part(x)
        return y * 2


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Sequential(ReLU(), Own()), "layers.1, a Own, has no counterpart in ONNX: its forward may be any"),
        (lambda: Sequential(SelfAttention(4, 2)), "layers.0, a SelfAttention, has no counterpart in ONNX"),
        (
            lambda: quantize_dynamic(Sequential(Linear(4, 4)), per_row=True),
            "layers.0 quantizes row by row, ONNX's DynamicQuantizeLinear all at once",
        ),
    ],
)
def test_what_has_no_counterpart_is_named(make: Callable[[], Module], sentence: str) -> None:
    with pytest.raises(TypeError) as told:
        to_onnx(make(), (3, 4))
    assert sentence in str(told.value)


def test_weights_beyond_int8_are_refused() -> None:
    layer = QuantizedLinear(
        QuantizedTensor(np.full((2, 4), 200, np.uint8), QParams(0.1, 0, UINT8)), None, QParams(0.1, 0)
    )
    with pytest.raises(TypeError, match="the model has uint8 weights, and files hold int8 ones: quantize them to int8"):
        to_onnx(layer, (4,))


@pytest.mark.compiler
def test_an_accelerated_model_is_refused() -> None:
    model = quantized(Sequential(Linear(12, 4, rng=RNG), ReLU(), Linear(4, 2, rng=RNG)), IMAGES[:, 0, 0])
    with pytest.raises(TypeError, match=r"write the model that accelerate\(\) was given"):
        to_onnx(accelerate(model), (12,))


def test_other_forms_and_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="form must be one of qdq, qoperator, standard, got 'qop'"):
        to_onnx(Linear(2, 2), (2,), form="qop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="codes must be one of uint8, int8, got 'int4'"):
        to_onnx(Linear(2, 2), (2,), codes="int4")  # type: ignore[arg-type]


def test_the_file_says_what_it_is() -> None:
    file = to_onnx(quantized(of_images()), (1, 12, 12), "qoperator")
    assert (file.producer_name, {p.key: p.value for p in file.metadata_props}["quantization"]) == (
        "tinytorch",
        "qoperator, activations stored as uint8",
    )
    assert file.opset_import[0].version == 13, "the lowest opset that has the operators"
    assert [d.dim_param or d.dim_value for d in file.graph.input[0].type.tensor_type.shape.dim] == ["N", 1, 12, 12]
