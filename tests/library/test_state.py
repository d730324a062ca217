"""States of quantized models: what was saved comes back, and a state of other integers is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinytorch.acceleration import accelerate
from tinytorch.core import Conv2d, Flatten, Linear, Module, ReLU, Sequential, load_state, save_state
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
