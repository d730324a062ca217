"""States of quantized models: what was saved comes back, and a state of other integers is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinytorch.acceleration import accelerate
from tinytorch.core import (
    Adam,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    Module,
    ReLU,
    Sequential,
    fit,
    load_checkpoint,
    load_state,
    save_checkpoint,
    save_state,
)
from tinytorch.core.layers import indices
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT4,
    IntType,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedTensor,
    WeightOnlyLinear,
    convert,
    fold_batch_norms,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
)

X = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
NARROW = IntType(8, narrow=True)


def mlp(seed: int = 0) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential(Linear(8, 16, rng=rng), ReLU(), Linear(16, 4, rng=rng))


def qat(weights: IntType = INT8, activations: IntType = INT8, learned: bool = False) -> Callable[[int], Module]:
    return lambda seed: prepare_qat(mlp(seed), [X], weights, activations, learned=learned)


def trained(weights: IntType = INT8, activations: IntType = INT8) -> Callable[[int], Module]:
    return lambda seed: convert(qat(weights, activations)(seed))


def rows_by_columns(rows: int, columns: int, **how: object) -> Callable[[int], Module]:
    """Weight-only, [rows, columns]."""

    def make(seed: int) -> Module:
        weight = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
        return WeightOnlyLinear(QuantizedTensor.from_float(weight, **how))  # type: ignore[arg-type]

    return make


def conv(kernel: tuple[int, int], stride: int = 1) -> Callable[[int], Module]:
    return lambda seed: QuantizedConv2d(np.random.default_rng(seed).normal(size=(2, 2, *kernel)), stride=stride)


def bare(kind: type[Module], seed: int) -> Sequential:
    """A layer whose weights are too small for its bias, wholly (a Linear) or in some groups (a convolution)."""
    rng = np.random.default_rng(seed)
    layer: Conv2d | Linear = Conv2d(2, 6, 3, groups=2, rng=rng) if kind is Conv2d else Linear(8, 3, rng=rng)
    layer.weight.data[:3] *= 1e-9
    layer.weight.data[1] = 0
    assert layer.bias is not None
    layer.bias.data[:] = 0.45
    return Sequential(layer)


@pytest.mark.parametrize("kind", [Linear, Conv2d])
@pytest.mark.parametrize("how", ["static", "trained"])
def test_rows_whose_bias_chose_their_scale_load_into_a_model_with_one_scale_and_back(
    kind: type[Module], how: str, tmp_path: Path
) -> None:
    shape = (8, 2, 5, 5) if kind is Conv2d else (8, 8)
    x = np.random.default_rng(3).uniform(0, 255, shape).astype(np.float32)
    make = {
        "static": lambda model: quantize_static(model, [x], axis=None),
        "trained": lambda model: convert(prepare_qat(model, [x], axis=None)),
    }[how]
    saved = make(bare(kind, 0))
    plain = Sequential(Conv2d(2, 6, 3, groups=2) if kind is Conv2d else Linear(8, 3))
    fresh = make(plain)
    states = [model.state_dict() for model in (saved, fresh)]
    differ = [name for name in states[0] if states[0][name].shape != states[1][name].shape]
    assert differ and all(name.endswith(("weight.scale", "weight.zero_point")) for name in differ)
    save_state(saved, tmp_path / "model.npz")
    load_state(fresh, tmp_path / "model.npz")
    assert np.array_equal(fresh(x).data, saved(x).data) and np.abs(saved(x).data - 0.45).min() < 0.01
    assert np.array_equal(accelerate(fresh)(x).data, saved(x).data)
    saved.load_state_dict(states[1])
    assert np.array_equal(saved(x).data, make(plain)(x).data)


def test_scales_of_any_other_shape_are_refused() -> None:
    model = QuantizedLinear(np.ones((4, 8)), None, axis=None)
    state = model.state_dict()
    for shape in ((4,), (1, 8), (3, 1), (1, 1)):
        with pytest.raises(ValueError, match=r"weight\.scale must have shape \(\), got"):
            model.load_state_dict({**state, "weight.scale": np.ones(shape, np.float32)})
    grouped = quantize_weight_only(Linear(64, 4))
    with pytest.raises(ValueError, match=r"weight\.scale must have shape \(4, 2, 1\), got \(\)"):
        grouped.load_state_dict({**grouped.state_dict(), "weight.scale": np.array(1, np.float32)})


SAVED: dict[str, Callable[[int], Module]] = {
    "static": lambda seed: quantize_static(mlp(seed), [X]),
    "dynamic": lambda seed: quantize_dynamic(mlp(seed)),
    "3 bits": lambda seed: quantize_dynamic(mlp(seed), IntType(3)),
    "groups": lambda seed: quantize_weight_only(mlp(seed), INT4, 4),
    "4-bit activations": trained(INT8, INT4),
    "prepared": qat(INT4),
    "learned": qat(INT4, learned=True),
    "conv": lambda seed: quantize_static(
        Sequential(Conv2d(1, 4, 3, rng=np.random.default_rng(seed)), ReLU(), Flatten(), Linear(64, 3)),
        [X[:4].repeat(9, 1)[:, :36].reshape(4, 1, 6, 6)],
    ),
}


@pytest.mark.parametrize("make", SAVED.values(), ids=SAVED.keys())
def test_a_quantized_model_comes_back_with_every_answer(make: Callable[[int], Module], tmp_path: Path) -> None:
    model, other = make(0).eval(), make(1).eval()
    save_state(model, tmp_path / "model.npz")
    load_state(other, tmp_path / "model.npz")
    state, again = model.state_dict(), other.state_dict()
    assert state.keys() == again.keys() and all(np.array_equal(state[name], again[name]) for name in state)
    x = (
        X[:4].repeat(9, 1)[:, :36].reshape(4, 1, 6, 6)
        if any(isinstance(m, QuantizedConv2d) for m in parts(model))
        else X
    )
    assert np.array_equal(model(x).data, other(x).data)


def parts(model: Module) -> list[Module]:
    return [m for _, m in model.named_modules()]


@pytest.mark.parametrize(
    ("saved", "loading", "said"),
    [
        (trained(INT8, INT4), trained(), r"layers\.0\.input_qparams must be int8, got int4"),
        (trained(INT8, IntType(7)), trained(), "must be int8, got int7"),
        (trained(INT8, NARROW), trained(), "must be int8, got int8 narrow"),
        (trained(NARROW), trained(), r"weight must be int8 \[16, 8\], got int8 narrow \[16, 8\]"),
        (qat(INT4), qat(), "must be int8, symmetric True, axis 0, got int4"),
        (qat(INT8, INT4), qat(), "must be int8, symmetric False, axis None, got int4"),
        (qat(INT4, learned=True), qat(learned=True), "must be int8, axis 0, got int4"),
        (rows_by_columns(4, 8, int_type=INT4), rows_by_columns(8, 4, int_type=INT4), r"\[8, 4\], got int4 \[4, 8\]"),
        (
            rows_by_columns(4, 60, int_type=INT4, group_size=32),
            rows_by_columns(4, 64, int_type=INT4, group_size=32),
            r"must be int4 \[4, 64\] in codes \[4, 2, 32\], got int4 \[4, 60\]",
        ),
        (rows_by_columns(4, 8, int_type=INT4), rows_by_columns(4, 8, int_type=UINT4, symmetric=False), "uint4"),
        (conv((1, 9)), conv((3, 3)), r"must be kernel \(3, 3\), stride 1, padding 0, got kernel \(1, 9\)"),
        (conv((3, 3), stride=2), conv((3, 3)), "stride 1, padding 0, got kernel .* stride 2"),
        (
            rows_by_columns(4, 8, symmetric=False),
            lambda seed: QuantizedLinear(np.ones((4, 8)), axis=None),
            r"another model: missing \['bias'\], unexpected \['state_type'\]",
        ),
    ],
    ids=[
        "4-bit activations", "7-bit activations", "narrow activations", "narrow weights", "prepared weights",
        "prepared activations", "learned steps", "transposed", "padded groups", "signs", "kernels", "strides",
        "zero points",
    ],
)  # fmt: skip
def test_a_state_of_other_integers_is_refused_and_changes_nothing(
    saved: Callable[[int], Module], loading: Callable[[int], Module], said: str, tmp_path: Path
) -> None:
    """All of these have arrays of the same names, shapes and dtypes."""
    model = loading(1)
    before = model.state_dict()
    save_state(saved(0), tmp_path / "model.npz")
    with pytest.raises(ValueError, match=said):
        load_state(model, tmp_path / "model.npz")
    after = model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_state_of_before_loads_into_a_float_model_and_is_refused_where_it_is_ambiguous(tmp_path: Path) -> None:
    path = tmp_path / "old.npz"
    for make, quantized in ((mlp, False), (trained(), True)):
        arrays = {name: a for name, a in make(0).state_dict().items() if not name.endswith("state_type")}
        np.savez(path, **arrays)  # type: ignore[arg-type]
        if quantized:
            with pytest.raises(ValueError, match="does not tell the integer types of its codes"):
                load_state(make(1), path)
        else:
            model = make(1)
            load_state(model, path)
            assert np.array_equal(model(X).data, make(0)(X).data)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("layers.0.input_qparams.scale", np.float32(np.nan), "scale must be > 0 and finite, got nan"),
        ("layers.0.input_qparams.scale", np.float32(-1), "scale must be > 0 and finite, got -1"),
        ("layers.0.input_qparams.zero_point", np.int32(300), r"zero_point must lie in \[-128, 127\]"),
        ("layers.0.weight.q", np.full((16, 8), -128, np.int8), r"codes of int8 narrow lie in \[-127, 127\]"),
    ],
)
def test_a_state_that_no_quantized_model_has_is_refused(name: str, value: np.ndarray, said: str) -> None:
    model = trained(NARROW)(0)
    with pytest.raises(ValueError, match=said):
        model.load_state_dict({**model.state_dict(), name: np.asarray(value)})


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "inside a Sequential"])
def test_an_accelerated_model_says_what_to_save_instead(wrapped: bool, tmp_path: Path) -> None:
    fast = accelerate(quantize_static(mlp(), [X]))
    fast = Sequential(ReLU(), fast) if wrapped else fast
    path = tmp_path / "model.npz"
    with pytest.raises(TypeError, match=r"save and load the model that was given to accelerate\(\)"):
        save_state(fast, path)
    assert not path.exists()
    save_state(quantize_static(mlp(), [X]), path)
    with pytest.raises(TypeError, match="has no state"):
        load_state(fast, path)


# Names

IMAGES = np.random.default_rng(1).normal(size=(8, 1, 4, 4)).astype(np.float32)


def images(seed: int) -> Module:
    rng = np.random.default_rng(seed)
    inner = Sequential(Conv2d(2, 2, 3, padding=1, rng=rng), BatchNorm2d(2), ReLU(), Conv2d(2, 2, 3, padding=1, rng=rng))
    layers = Conv2d(1, 2, 3, rng=rng), BatchNorm2d(2), ReLU(), inner, BatchNorm2d(2), Flatten()
    return fold_batch_norms(Sequential(*layers, Linear(8, 3, rng=rng)).eval())


SHORTENED: dict[str, tuple[Callable[[int], Module], np.ndarray]] = {
    "static": (SAVED["static"], X),
    "folded": (images, IMAGES),
    "folded and quantized": (lambda seed: quantize_static(images(seed), [IMAGES]), IMAGES),
    "folded and dynamic": (lambda seed: quantize_dynamic(images(seed)), IMAGES),
    "prepared": (lambda seed: prepare_qat(images(seed), [IMAGES]), IMAGES),
    "converted": (lambda seed: convert(prepare_qat(mlp(seed), [X], INT4)), X),
}


def of_before(model: Module) -> dict[str, np.ndarray]:
    """The state as it was stored once: what is in a list under its index, although its name was kept."""
    state = model.state_dict()
    by_name = {name: index for (name, _), (index, _) in zip(model.named_modules(), model._walk(indices), strict=True)}
    owners = {
        key: max((n for n in by_name if key == n or key.startswith(f"{n}.")), key=len, default="") for key in state
    }
    return {
        f"{by_name[o]}{key[len(o) :]}": array for (key, array), o in zip(state.items(), owners.values(), strict=True)
    }


@pytest.mark.parametrize("name", SHORTENED)
def test_state_has_the_names_of_the_modules(name: str) -> None:
    """Those of get(), explain and rules, where layers before them were folded or fused away."""
    make, _ = SHORTENED[name]
    model = make(0)
    shorter = [n for n, _ in model.named_modules()] != [n for n, _ in model._walk(indices)]
    assert shorter, "some layer is gone"
    for key in (*model.state_dict(), *(key for key, _ in model.named_parameters())):
        owner = key
        while owner and owner not in dict(model.named_modules()):
            owner = owner.rpartition(".")[0]
        assert owner and hasattr(model.get(owner), key[len(owner) + 1 :].split(".")[0]), key


@pytest.mark.parametrize("name", SHORTENED)
def test_a_state_stored_by_indices_loads_as_it_did(name: str, tmp_path: Path) -> None:
    make, x = SHORTENED[name]
    model, by_state, by_file = make(0).eval(), make(1).eval(), make(2).eval()
    old = of_before(model)
    assert old.keys() != model.state_dict().keys()
    by_state.load_state_dict(old)
    with (tmp_path / "old.npz").open("wb") as file:
        np.savez(file, **old)  # type: ignore[arg-type]
    load_state(by_file, tmp_path / "old.npz")
    for loaded in (by_state, by_file):
        state = loaded.state_dict()
        assert all(np.array_equal(state[key], array) for key, array in model.state_dict().items())
        assert np.array_equal(loaded(x).data, model(x).data)


def test_a_checkpoint_of_before_goes_on_as_it_did(tmp_path: Path) -> None:
    class Before:
        """Gives the state as it was stored once."""

        def __init__(self, model: Module) -> None:
            self.model = model

        def state_dict(self) -> dict[str, np.ndarray]:
            return of_before(self.model)

        def load_state_dict(self, state: object) -> None:
            raise NotImplementedError

    model, again = (prepare_qat(images(seed), [IMAGES]) for seed in (0, 1))
    adam, loaded = Adam(model.parameters()), Adam(again.parameters())
    fit(model, IMAGES, np.arange(8) % 3, 2, adam)
    save_checkpoint(tmp_path / "run.npz", model=Before(model), optimizer=adam)
    load_checkpoint(tmp_path / "run.npz", model=again, optimizer=loaded)
    losses = [fit(m, IMAGES, np.arange(8) % 3, range(2, 4), o) for m, o in ((model, adam), (again, loaded))]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "layers",
    [lambda a, b: [a, b], lambda a, b: [a, b, ReLU()], lambda a, b: [ReLU(), a, ReLU(), b]],
    ids=["no ReLU", "ReLU behind", "a layer before"],
)
def test_a_network_with_other_layers_between_is_another_model(layers: Callable[..., list[Module]]) -> None:
    saved = quantize_static(mlp(), [X]).state_dict()
    other = quantize_static(Sequential(*layers(Linear(8, 16), Linear(16, 4))), [X])
    with pytest.raises(
        ValueError, match=r"of another model: missing \[.*, unexpected \[.*: make this one as that one was"
    ):
        other.load_state_dict(saved)


@pytest.mark.parametrize(
    ("saved", "loading"), [(INT4, INT8), (INT8, INT4), (IntType(3), INT8)], ids=["int4 to int8", "int8 to int4", "int3"]
)
def test_codes_of_another_type_are_refused_by_their_type_not_by_their_packed_shape(
    saved: IntType, loading: IntType
) -> None:
    def make(weight_type: IntType) -> Module:
        return quantize_weight_only(mlp(), weight_type)

    with pytest.raises(ValueError, match=rf"layers\.0\.weight must be {loading} .*, got {saved} "):
        make(loading).load_state_dict(make(saved).state_dict())
