"""Modules: what is found in them, in which order, under which name; and Linear, ReLU, Sequential."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.core import Linear, Module, ReLU, Residual, Sequential, Tensor


class Block(Module):
    """Attributes, a list, a nested list, and things that are none of a module's business."""

    def __init__(self) -> None:
        self.width = 3
        self.second = Linear(3, 3)
        self.branches = [Linear(3, 2), [ReLU(), Linear(3, 1)]]
        self.gain = Tensor(1.0, requires_grad=True)
        self.running = Tensor(0.0)
        self.name = "block"

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


def test_modules_are_named_in_the_order_of_definition() -> None:
    names = [name for name, _ in Sequential(Block(), ReLU()).named_modules()]
    assert names == [
        "",
        "layers.0",
        "layers.0.second",
        "layers.0.branches.0",
        "layers.0.branches.1.0",
        "layers.0.branches.1.1",
        "layers.1",
    ]


def test_parameters_are_the_tensors_that_require_a_gradient() -> None:
    names = [name for name, _ in Block().named_parameters()]
    assert names == [
        "gain",
        "second.weight",
        "second.bias",
        "branches.0.weight",
        "branches.0.bias",
        "branches.1.1.weight",
        "branches.1.1.bias",
    ]


def test_a_shared_parameter_comes_once_and_a_shared_module_at_each_place() -> None:
    layer = Linear(2, 2)
    model = Sequential(layer, ReLU(), layer)
    assert len(model.parameters()) == 2, "an optimizer would step a shared weight twice"
    assert [name for name, module in model.named_modules() if module is layer] == ["layers.0", "layers.2"]


def test_a_frozen_tensor_is_state_but_no_parameter() -> None:
    layer = Linear(2, 2)
    assert layer.bias is not None
    layer.bias.requires_grad = False
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_train_and_eval_reach_every_module() -> None:
    model = Sequential(Block(), ReLU())
    assert all(module.training for _, module in model.named_modules())
    assert model.eval() is model
    assert not any(module.training for _, module in model.named_modules())
    model.train()
    assert all(module.training for _, module in model.named_modules())


def test_arrays_are_wrapped_and_everything_else_passes_as_it_is() -> None:
    class Same(Module):
        def forward(self, x: object) -> object:
            return x

    token, tensor = object(), Tensor(1.0)
    assert isinstance(Same()(np.ones(2)), Tensor)
    assert Same()(tensor) is tensor
    assert Same()(token) is token


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Module must define forward\(x\)"):
        Module()(1)


@pytest.mark.parametrize("name", ["second", "branches.0", "branches.1.1"])
def test_a_module_is_found_and_replaced_by_its_dotted_name(name: str) -> None:
    model, new = Sequential(Block()), ReLU()
    names = [n for n, _ in model.named_modules()]
    model.replace(f"layers.0.{name}", new)
    assert model.get(f"layers.0.{name}") is new
    assert [n for n, _ in model.named_modules()] == names


def test_modules_can_be_replaced_while_walking() -> None:
    model = Sequential(Linear(2, 3), ReLU(), Sequential(Linear(3, 2)))
    for name, module in model.named_modules():
        if isinstance(module, Linear):
            model.replace(name, ReLU())
    assert repr(model) == "Sequential(ReLU(), ReLU(), Sequential(ReLU()))"


@pytest.mark.parametrize("name", ["layers.2", "layers", "weights", "layers.-1", "layers.0.weight"])
def test_an_unknown_name_is_refused_with_the_names_there_are(name: str) -> None:
    model = Sequential(Linear(2, 2), ReLU())
    with pytest.raises(KeyError, match="the names are '', 'layers.0', 'layers.1'"):
        model.get(name)
    with pytest.raises(KeyError, match="no module is named"):
        model.replace(name, ReLU())


def test_the_root_has_no_name_to_replace_it_by() -> None:
    with pytest.raises(ValueError, match="use the new module in its place"):
        Sequential().replace("", ReLU())


# --- saving and loading


def test_state_is_a_copy_and_comes_back_exactly() -> None:
    model, other = Block(), Block()
    state = model.state_dict()
    assert list(state) == [name for name, _ in model.named_tensors()]
    other.load_state_dict(state)
    for name, tensor in other.named_tensors():
        assert np.array_equal(tensor.data, dict(model.named_tensors())[name].data), name
    state["gain"][...] = 7
    assert model.gain.item() == other.gain.item() == 1, "the state shares memory with a model"


def test_loading_keeps_the_dtype_of_the_model() -> None:
    layer = Linear(2, 1)
    layer.load_state_dict({"weight": np.ones((1, 2), np.float64), "bias": np.zeros(1, np.int64)})
    assert layer.weight.dtype == np.float32 and np.array_equal(layer.weight.data, [[1, 1]])


def test_a_wrong_state_is_named_and_changes_nothing() -> None:
    model = Sequential(Linear(2, 3), Linear(3, 1))
    before, good = model.state_dict(), {k: v + 1 for k, v in model.state_dict().items()}
    renamed = {("layers.9.bias" if k == "layers.1.bias" else k): v for k, v in good.items()}
    with pytest.raises(ValueError, match=r"missing \['layers.1.bias'\], unexpected \['layers.9.bias'\]"):
        model.load_state_dict(renamed)
    with pytest.raises(ValueError, match=r"layers.1.weight must have shape \(1, 3\), got \(3, 1\)"):
        model.load_state_dict({**good, "layers.1.weight": good["layers.1.weight"].T})
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())


# --- Linear, ReLU, Sequential


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (4,), (2, 4), (0,)])
def test_linear_is_x_times_weight_transposed_plus_bias(bias: bool, batch: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    layer, x = Linear(3, 2, bias=bias, rng=rng), rng.normal(size=(*batch, 3)).astype(np.float32)
    expected = np.zeros((*batch, 2))
    for at in np.ndindex(expected.shape):
        terms = [float(x[(*at[:-1], k)]) * float(layer.weight.data[at[-1], k]) for k in range(3)]
        expected[at] = sum(terms) + (float(layer.bias.data[at[-1]]) if layer.bias is not None else 0.0)
    # Each of the three products and three sums may round by half an ulp of a value below 8.
    assert np.allclose(layer(x).data, expected, rtol=0, atol=6 * np.spacing(np.float32(8)) / 2)
    assert layer(x).dtype == np.float32 and layer(x).shape == (*batch, 2)


def test_linear_gradients_reach_input_weight_and_bias(check_gradients: Callable[..., None]) -> None:
    layer = Linear(3, 2)

    def f(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
        layer.weight, layer.bias = weight, bias
        return layer(x)

    rng = np.random.default_rng(0)
    check_gradients(f, rng.normal(size=(4, 3)), rng.normal(size=(2, 3)), rng.normal(size=2))


@pytest.mark.parametrize("shape", [(8, 63), (64, 8), (65,), ()])
def test_linear_refuses_another_width_in_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as caught:
        Linear(64, 8)(np.ones(shape))
    assert str(caught.value) == f"Linear(64, 8) wants input of shape (..., 64), got {shape}: reshape the input"


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 3)])
def test_linear_refuses_sizes_below_one(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="Linear needs n_(in|out) as one integer >= 1"):
        Linear(*sizes)


def test_first_weights_come_from_the_generator_within_their_bound() -> None:
    a, b = (Linear(100, 50, rng=np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(a.weight.data, b.weight.data)
    assert not np.array_equal(Linear(100, 50).weight.data, Linear(100, 50).weight.data)
    assert a.bias is not None
    for tensor in (a.weight, a.bias):
        assert tensor.dtype == np.float32 and tensor.requires_grad
        # Uniform in +-1/sqrt(100): none beyond 0.1 (float32 may round up), and of 50 values or more some beyond 0.08.
        assert 0.08 < np.abs(tensor.data).max() <= np.float32(0.1)


def test_sequential_is_each_layer_on_the_result_of_the_one_before() -> None:
    a, b = Linear(2, 3), Linear(3, 1)
    x = np.array([[1.0, -2.0]], np.float32)
    assert np.array_equal(Sequential(a, ReLU(), b)(x).data, b(a(x).relu()).data)
    assert np.array_equal(Sequential()(Tensor(x)).data, x)
    assert np.array_equal(ReLU()(x).data, [[1, 0]])


def test_a_model_reads_like_the_code_that_made_it() -> None:
    model = Sequential(Linear(4, 3), ReLU(), Linear(3, 2, bias=False))
    assert repr(model) == "Sequential(Linear(4, 3), ReLU(), Linear(3, 2, bias=False))"


def test_a_residual_adds_what_goes_around_the_block(check_gradients: Callable[..., None]) -> None:
    block, shortcut, x = Linear(3, 3), Linear(3, 3), np.ones((2, 3), np.float32)
    assert np.array_equal(Residual(block)(x).data, block(x).data + x)
    assert np.array_equal(Residual(block, shortcut)(x).data, block(x).data + shortcut(x).data)
    assert [name for name, _ in Residual(block, shortcut).named_modules()] == ["", "block", "shortcut"]
    check_gradients(Residual(Sequential(ReLU())), np.array([[0.5, -0.5]]))
    with pytest.raises(ValueError, match=r"adds equal shapes, got \(2, 1\) and \(2, 3\): give it a shortcut that fits"):
        Residual(Linear(3, 1))(x)


def test_a_list_of_layers_is_no_layer() -> None:
    for layers in ([ReLU()], (ReLU(), ReLU())):
        with pytest.raises(TypeError, match=r"one by one, got a list of them: write Sequential\(\*layers\)"):
            Sequential(layers)  # type: ignore[arg-type]


def test_a_sequential_is_a_sequence_of_its_layers() -> None:
    first, second, third = Linear(2, 3), ReLU(), Linear(3, 1)
    model = Sequential(first, second, third)
    assert len(model) == 3 and list(model) == [first, second, third] and model[0] is first and model[-1] is third
    with pytest.raises(IndexError):
        model[3]
    assert third in model and Linear(3, 1) not in model and Sequential(*model)[1] is second
    assert bool(Sequential()) and len(Sequential()) == 0, "one without layers is a model, too"


def test_a_part_of_a_sequential_keeps_its_layers_and_their_names() -> None:
    model = Sequential(Linear(2, 3), ReLU(), Linear(3, 1))
    head, x = model[2:], np.ones((1, 2), np.float32)
    assert head[0] is model[2] and [name for name, _ in head.named_modules()] == ["", "layers.2"]
    assert list(head.state_dict()) == ["layers.2.weight", "layers.2.bias"]
    assert np.array_equal(head(model[:2](x)).data, model(x).data)
    assert [name for name, _ in model[::2].named_modules()] == ["", "layers.0", "layers.2"]
    assert type(model[:1]) is Sequential and len(model) == 3


def test_a_layer_is_appended_behind_names_that_stay() -> None:
    model = Sequential().append(Linear(2, 3)).append(ReLU())
    assert [name for name, _ in model.named_modules()] == ["", "layers.0", "layers.1"]
    head = Sequential(Linear(2, 3), ReLU(), Linear(3, 1))[1:]
    assert head.append(Linear(1, 1)) is head
    assert [name for name, _ in head.named_modules()] == ["", "layers.1", "layers.2", "layers.3"]
    with pytest.raises(TypeError, match=r"got the class ReLU: write ReLU\(...\)"):
        model.append(ReLU)  # type: ignore[arg-type]
