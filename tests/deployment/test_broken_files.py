"""Files with one fault of a kind that exporters have had: `compare` finds each, and names the layer it is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinytorch.core import GELU, Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential
from tinytorch.deployment import compare, to_onnx
from tinytorch.quantization import quantize_static

pytestmark = pytest.mark.engines
X = np.random.default_rng(17).normal(0.7, 1, (16, 2, 12, 12)).astype(np.float32)
Edit = Callable[[Any], None]


@pytest.fixture(scope="module")
def model() -> Module:
    rng = np.random.default_rng(1)
    layers = (
        *(Conv2d(2, 6, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2)),
        *(Conv2d(6, 12, (3, 2), stride=(2, 1), groups=3, rng=rng), GELU()),
        *(Flatten(), Linear(12 * 2 * 5, 20, rng=rng), ReLU(), Linear(20, 10, rng=rng)),
    )
    return quantize_static(Sequential(*layers), [X])


def changes(name: str, change: Callable[[NDArray[Any]], Any]) -> Edit:
    """Another value for a constant."""

    def edit(file: Any) -> None:
        from onnx import numpy_helper

        (tensor,) = (t for t in file.graph.initializer if t.name == name)
        old = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(change(old)).astype(old.dtype), name))

    return edit


def node(file: Any, output: str) -> Any:
    return next(n for n in file.graph.node if output in n.output)


def attribute(output: str, name: str, values: list[int]) -> Edit:
    def edit(file: Any) -> None:
        (found,) = (a for a in node(file, output).attribute if a.name == name)
        found.ints[:] = values

    return edit


def pads_with_code_0(file: Any) -> None:
    """The padding as a node of its own, whose pixels are the code 0, and not the zero point."""
    from onnx import helper, numpy_helper

    convolution = node(file, "layers.0")
    (pads,) = (a for a in convolution.attribute if a.name == "pads")
    pads.ints[:] = [0, 0, 0, 0]
    file.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads"))
    added = helper.make_node("Pad", [convolution.input[0], "pads"], ["padded"])
    convolution.input[0] = "padded"
    file.graph.node.insert(list(file.graph.node).index(convolution), added)


def swaps_parameters(file: Any) -> None:
    """Scale and zero point of the input where those of the output belong."""
    inputs = node(file, "layers.3").input
    inputs[1], inputs[2], inputs[6], inputs[7] = inputs[6], inputs[7], inputs[1], inputs[2]


def swaps_images_and_rows(w: NDArray[Any]) -> NDArray[Any]:
    """The columns of a Linear behind Flatten, as if the channels had been innermost."""
    return w.reshape(20, 12, 2, 5).transpose(0, 2, 3, 1).reshape(w.shape)


FAULTS: dict[str, tuple[Edit, str]] = {
    "the input's zero point has the other sign": (
        changes("layers.0.input.zero_point", lambda z: -z),
        "layers.0.input",
    ),
    "the input's scale is of another calibration": (
        changes("layers.0.input.scale", lambda s: s * 1.01),
        "layers.0.input",
    ),
    "padding is the code 0": (pads_with_code_0, "layers.0"),
    "scales of weights lie along another axis": (changes("layers.0.weight.scale", lambda s: s[::-1]), "layers.0"),
    "the bias is in steps of twice the scale": (changes("layers.0.bias", lambda b: b // 2), "layers.0"),
    "filters are transposed": (changes("layers.0.weight", lambda w: w.swapaxes(2, 3)), "layers.0"),
    "a stale multiplier requantizes": (changes("layers.3.scale", lambda s: s * 1.02), "layers.3"),
    "channels of the groups are interleaved": (
        changes("layers.3.weight", lambda w: w.reshape(3, 4, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape)),
        "layers.3",
    ),
    "weights are cut to 4 bits": (changes("layers.3.weight", lambda w: w.clip(-8, 7)), "layers.3"),
    "parameters of input and output are swapped": (swaps_parameters, "layers.3"),
    "strides are swapped": (attribute("layers.3", "strides", [1, 2]), "layers.3"),
    "a table begins one code too late": (changes("layers.4.answers", lambda t: np.roll(t, 1)), "layers.4"),
    "the layout is not permuted": (changes("layers.6.weight", swaps_images_and_rows), "layers.6"),
    "one weight's lowest bit is flipped": (
        changes("layers.6.weight", lambda w: w ^ np.eye(*w.shape, dtype=w.dtype)),
        "layers.6",
    ),
    "the last scale is a little off": (changes("layers.8.weight.scale", lambda s: s * 1.0001), "layers.8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_file_is_found_and_its_layer_named(model: Module, fault: str) -> None:
    file = to_onnx(model, X.shape[1:], "qoperator")
    edit, layer = FAULTS[fault]
    edit(file)
    found = compare(model, file, X)
    assert found.first is not None
    assert found.first.layer == layer


def test_a_sound_file_has_no_fault(model: Module) -> None:
    assert compare(model, to_onnx(model, X.shape[1:], "qoperator"), X).first is None


def test_a_file_of_another_model_is_refused(model: Module) -> None:
    other = to_onnx(Sequential(Linear(4, 4)), (4,))
    with pytest.raises(ValueError, match="holds nothing named 'layers.0.input': it was written from another model"):
        compare(model, other, X)
