"""What explain says is so of the very model that it is given: float, folded, prepared, quantized or accelerated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import accelerate
from tinytorch.core import (
    GELU,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    Module,
    ReLU,
    Residual,
    SelfAttention,
    Sequential,
    Tanh,
    Tensor,
)
from tinytorch.quantization import (
    INT4,
    QuantizedTensor,
    convert,
    explain,
    fold_batch_norms,
    model_nbytes,
    outputs,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    sensitivity,
)

IMAGES = np.random.default_rng(0).normal(size=(4, 1, 6, 6)).astype(np.float32)
X = np.random.default_rng(1).normal(size=(9, 8)).astype(np.float32)
FOLDABLE = "in float: fold_batch_norms(model) makes it part of the convolution before it"
TOO_LATE = "in float: fold_batch_norms, before the model is quantized, makes it part of the convolution before it"
NO_CONV = "in float: there is no Conv2d right before it in its Sequential, into which it could be folded"


def told(model: Module) -> dict[str, str]:
    return {name: how for name, _, how in explain(model)}


def norms() -> Sequential:
    """One norm behind a convolution, one behind a ReLU."""
    return Sequential(Conv2d(1, 2, 3), BatchNorm2d(2), ReLU(), BatchNorm2d(2), Flatten(), Linear(32, 3)).eval()


@pytest.mark.parametrize(
    ("made", "behind_convolution", "behind_relu"),
    [
        (lambda m: m, FOLDABLE, NO_CONV),
        (fold_batch_norms, None, NO_CONV),
        (lambda m: quantize_static(m, [IMAGES]), TOO_LATE, NO_CONV),
        (lambda m: quantize_dynamic(fold_batch_norms(m)), None, NO_CONV),
        (lambda m: accelerate(quantize_dynamic(m)), TOO_LATE, NO_CONV),
        (lambda m: accelerate(quantize_dynamic(fold_batch_norms(m))), None, NO_CONV),
        (lambda m: prepare_qat(m, [IMAGES]), TOO_LATE, NO_CONV),
        (lambda m: convert(prepare_qat(m, [IMAGES])), TOO_LATE, NO_CONV),
        (lambda m: quantize_dynamic(m, rules={"layers.0": None}), FOLDABLE, NO_CONV),
    ],
)
def test_folding_is_advised_where_it_is_possible_and_when(
    made: Callable[[Module], Module], behind_convolution: str | None, behind_relu: str
) -> None:
    """ "fold" was said after folding; relatives: too late, not behind a convolution, within an accelerated model."""
    norms_told = [how for _, kind, how in explain(made(norms())) if kind == "BatchNorm2d"]
    assert norms_told == [how for how in (behind_convolution, behind_relu) if how is not None]


class Holding(Module):
    """A layer, and what was given, outside of it."""

    def __init__(self, held: Any) -> None:
        self.fc, self.held = Linear(8, 2), held

    def forward(self, x: Tensor) -> Any:
        return self.fc(x)


BIG = np.zeros((1000, 8), np.float32)


@pytest.mark.parametrize(
    "held",
    [Tensor(BIG, True), [Tensor(BIG)], BIG, (Tensor(BIG),), {"a": BIG}, [[BIG[:500]], BIG[500:]]],
    ids=["tensor", "list", "array", "tuple", "dict", "nested"],
)
@pytest.mark.parametrize(
    "made",
    [quantize_dynamic, lambda m: accelerate(quantize_dynamic(m)), quantize_weight_only],
    ids=["dynamic", "accelerated", "weight-only"],
)
def test_parameters_outside_of_layers_have_a_row_with_their_bytes(held: Any, made: Callable[[Module], Module]) -> None:
    """99 % of the bytes had no row."""
    for model, name in ((made(Holding(held)), ""), (made(Sequential(Holding(held))), "layers.0")):
        assert told(model)[name] == "in float: parameters of its own, 32.0 kB"


def test_codes_outside_of_layers_are_not_called_floats() -> None:
    model = quantize_dynamic(Holding(QuantizedTensor.from_float(BIG)))
    assert told(model)[""] == "codes of its own, 8.0 kB" and "fc" in told(model)


def test_arrays_in_dicts_are_counted_among_the_models_bytes() -> None:
    assert model_nbytes(Holding({"a": BIG})) == model_nbytes(Holding(BIG))


def test_every_layer_of_an_accelerated_model_is_compiled_and_has_a_row() -> None:
    block = Residual(Sequential(Linear(8, 8), ReLU(), Linear(8, 8)))
    model = Sequential(Linear(8, 8), GELU(), block, Linear(8, 3))
    for made in (quantize_static(model, [X]), quantize_dynamic(model)):
        fast = accelerate(made)
        kinds = {name: type(m).__name__ for name, m in fast.named_modules() if type(m).__name__.startswith("Accel")}
        compiled = {name for name, how in told(fast).items() if how.endswith(", compiled")}
        assert compiled == set(kinds) and list(kinds.values()).count("AcceleratedLinear") == 4
        assert "layers.2" in compiled, "the sum of the two paths"


def test_no_rule_is_blamed_where_there_is_none() -> None:
    model = Sequential(Conv2d(1, 2, 3), Flatten(), Linear(32, 3))
    assert told(quantize_weight_only(model))["layers.0"] == "in float: not quantized"
    assert told(model) == {
        "layers.0": "in float: not quantized",
        "layers.1": "in float: nothing to quantize",
        "layers.2": "in float: not quantized",
    }


def test_what_computes_in_float_between_layers_says_so() -> None:
    model = Sequential(Linear(8, 8), Tanh(), SelfAttention(8, 2))
    how = told(quantize_dynamic(model))
    assert how["layers.1"] == "in float: a table of its answers is made by quantize_static alone"
    assert how["layers.2"] == "in float: it multiplies its queries, keys and values in float"
    assert how["layers.2.query"].startswith("int8 weights")


def named(model: Module) -> set[str]:
    return {name for name, m in model.named_modules() if type(m).__name__.endswith(("Linear", "Conv2d"))} - {""}


@pytest.mark.parametrize(
    "made",
    [
        fold_batch_norms,
        lambda m: quantize_static(fold_batch_norms(m), [IMAGES]),
        lambda m: quantize_dynamic(fold_batch_norms(m)),
        lambda m: accelerate(quantize_static(fold_batch_norms(m), [IMAGES])),
        lambda m: accelerate(quantize_dynamic(fold_batch_norms(m))),
        lambda m: convert(prepare_qat(fold_batch_norms(m), [IMAGES])),
        lambda m: fold_batch_norms(fold_batch_norms(m)),
    ],
)
def test_names_are_the_same_before_and_after_folding_quantizing_and_accelerating(made: Any) -> None:
    """Also within a nested Sequential, and for rules, get, replace and the rows of sensitivity."""
    rng = np.random.default_rng(0)
    inner = Sequential(Conv2d(2, 2, 3, padding=1, rng=rng), BatchNorm2d(2), ReLU(), Conv2d(2, 2, 3, rng=rng), ReLU())
    head = Flatten(), Linear(8, 8, rng=rng), ReLU(), Linear(8, 3, rng=rng)
    model = Sequential(Conv2d(1, 2, 3, rng=rng), BatchNorm2d(2), ReLU(), inner, *head).eval()
    wanted = {"layers.0", "layers.3.layers.0", "layers.3.layers.3", "layers.5", "layers.7"}
    assert named(model) == wanted
    new = made(model)
    products = {name for name in named(new) if ".products" not in name}
    assert products == wanted
    for name in wanted:
        assert new.get(name) is dict(new.named_modules())[name]
    last = new.layers[-1]
    new.replace("layers.7", Flatten())
    assert type(new.layers[-1]) is Flatten and type(new.get("layers.7")) is Flatten
    new.replace("layers.7", last)
    assert outputs(new, IMAGES).shape == (4, 3)


def test_a_folded_model_is_measured_and_ruled_under_the_old_names() -> None:
    model = norms()
    folded = fold_batch_norms(model)
    rows = sensitivity(folded, IMAGES, np.zeros(4, int), [INT4])
    assert [row.layer for row in rows] == ["layers.0", "layers.5"]
    made = quantize_dynamic(folded, rules={"layers.5": INT4})
    assert told(made)["layers.5"].startswith("int4") and told(made)["layers.0"].startswith("int8")
    again = quantize_dynamic(folded, rules={"layers.5": INT4})
    again.load_state_dict(made.state_dict())
    assert np.array_equal(outputs(again, IMAGES), outputs(made, IMAGES))
    assert any(name.startswith("layers.5.") for name in made.state_dict()), "and saved under them"
    folded.layers.append(ReLU())  # type: ignore[attr-defined]
    assert [name for name, _ in folded.named_modules()][-1] == "layers.5", "a list that was changed is counted again"
