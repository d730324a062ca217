"""Models as people build them: nested Sequentials, several inputs and outputs, signals, norms in own modules."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinytorch.acceleration import accelerate
from tinytorch.core import (
    GELU,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    Identity,
    Inputs,
    Linear,
    MaxPool1d,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tensor,
    load_state,
    save_state,
)
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT4,
    WeightOnlyEmbedding,
    convert,
    equalize,
    explain,
    fold_batch_norms,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    sqnr_db,
)


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def nothing_said() -> Any:
    """A block in which a warning fails."""
    return warnings.catch_warnings(action="error")


class Doubled(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def settled(model: Module, x: Any) -> Module:
    """In evaluation mode, its batch norms with statistics of x."""
    model(x)
    return model.eval()


def signals() -> Sequential:
    """For [N, 3, 23]."""
    rng = np.random.default_rng(1)
    return Sequential(
        Conv1d(3, 8, 5, stride=2, padding=3, dilation=2, rng=rng), BatchNorm1d(8), ReLU(), MaxPool1d(3, 2, 1),
        Dropout(0.3), Conv1d(8, 6, 3, groups=2, rng=rng), ReLU(), Flatten(),
        Linear(24, 16, rng=rng), BatchNorm1d(16), ReLU(), Linear(16, 4, rng=rng),
    )  # fmt: skip


def uneven() -> Sequential:
    """For [N, 4, 13, 14]."""
    rng = np.random.default_rng(2)
    return Sequential(
        Conv2d(4, 8, (3, 5), stride=(2, 1), padding=(0, 2), dilation=(1, 3), rng=rng), BatchNorm2d(8), ReLU(),
        MaxPool2d((2, 3), (1, 1), (1, 0)), Conv2d(8, 6, (1, 2), dilation=2, rng=rng, groups=2), Dropout(),
    )  # fmt: skip


CASES: dict[str, tuple[Callable[[], Sequential], NDArray[np.float32]]] = {
    "signals": (signals, numbers(9, 3, 23)),
    "uneven": (uneven, numbers(9, 4, 13, 14)),
}
BY_CASE = pytest.mark.parametrize(("make", "x"), CASES.values(), ids=list(CASES))


@BY_CASE
@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_every_kind_of_window_is_quantized_and_compiled_to_the_same_bits(
    make: Callable[[], Sequential], x: NDArray[np.float32], how: str
) -> None:
    model = settled(make(), x)
    folded = fold_batch_norms(model)
    assert np.allclose(folded(x).data, model(x).data, atol=1e-5)
    quantized = quantize_static(folded, [x]) if how == "static" else quantize_dynamic(folded)
    assert sqnr_db(model(x).data, quantized.eval()(x).data) > 30
    assert not any("in float: not quantized" in said for _, _, said in explain(quantized))
    assert np.array_equal(accelerate(quantized)(x).data, quantized(x).data)


@BY_CASE
def test_what_was_trained_and_saved_comes_back(
    make: Callable[[], Sequential], x: NDArray[np.float32], tmp_path: Any
) -> None:
    def made(seed: int) -> Module:
        return convert(prepare_qat(fold_batch_norms(settled(make(), x + seed)), [x + seed]))

    saved, other = made(0), made(1)
    save_state(saved, tmp_path / "model.npz")
    load_state(other, tmp_path / "model.npz")
    assert np.array_equal(other(x).data, saved(x).data)


def test_a_state_of_other_windows_is_refused(tmp_path: Any) -> None:
    x = numbers(2, 3, 9)
    save_state(quantize_static(Conv1d(3, 4, 3, dilation=2), [x]), tmp_path / "model.npz")
    with pytest.raises(ValueError, match="dilation"):
        load_state(quantize_static(Conv1d(3, 4, 3), [x]), tmp_path / "model.npz")


def test_equalizing_signals_changes_no_answer() -> None:
    x = numbers(4, 3, 23)
    model = fold_batch_norms(settled(signals(), x))
    conv = model.get("layers.5")
    assert isinstance(conv, Conv1d)
    conv.weight.data[0] *= 30
    equal = equalize(model)
    assert np.allclose(equal(x).data, model(x).data, rtol=1e-4, atol=1e-4)
    largest = np.abs(equal.get("layers.5").weight.data).max((1, 2))  # type: ignore[attr-defined]
    assert largest[0] < 10 * largest[1], "its first channel is as large as the others again"


# Sequentials in Sequentials


def flat(rng: np.random.Generator) -> list[Module]:
    return [
        Conv2d(2, 4, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2), Conv2d(4, 3, 3, rng=rng), ReLU(), Flatten(),
        Linear(12, 8, rng=rng), ReLU(), Linear(8, 3, rng=rng),
    ]  # fmt: skip


NESTED: dict[str, Callable[[list[Module]], Sequential]] = {
    "blocks": lambda m: Sequential(Sequential(*m[:3]), Sequential(*m[3:6]), Sequential(*m[6:])),
    "deep": lambda m: Sequential(Sequential(m[0], Sequential(m[1], Sequential(m[2], m[3]))), *m[4:8], Sequential(m[8])),
    "a ReLU of its own": lambda m: Sequential(m[0], Sequential(m[1]), *m[2:7], Sequential(), *m[7:]),
    "left out": lambda m: Sequential(m[0], Dropout(), Sequential(Identity(), *m[1:]), Dropout()),
}


@pytest.mark.parametrize("nest", NESTED.values(), ids=list(NESTED))
def test_codes_pass_between_sequentials_as_within_one(nest: Callable[[list[Module]], Sequential]) -> None:
    x = numbers(5, 2, 8, 8)
    model = nest(flat(np.random.default_rng(3)))
    got = quantize_static(model.eval(), [x])
    wanted = quantize_static(Sequential(*flat(np.random.default_rng(3))), [x])
    kinds = [[type(m).__name__ for _, m in each.named_modules() if hasattr(m, "explanation")] for each in (got, wanted)]
    assert kinds[0] == kinds[1] and "ReLU" not in [type(m).__name__ for _, m in got.named_modules()]
    assert np.array_equal(got(x).data, wanted(x).data)
    assert np.array_equal(accelerate(got)(x).data, wanted(x).data)
    assert len([1 for _, _, said in explain(got) if said.endswith("gives float")]) == 1, "only the last gives float"


# Several inputs and outputs


class Towers(Module):
    """Two inputs, each through layers of its own, and two outputs in a dict."""

    def __init__(self) -> None:
        rng = np.random.default_rng(4)
        self.image = Sequential(Linear(8, 16, rng=rng), ReLU(), Linear(16, 6, rng=rng))
        self.text = Linear(5, 6, rng=rng)
        self.head = Linear(6, 3, rng=rng)

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        both = self.image(image) + self.text(text)
        return {"both": both, "answer": self.head(both.relu())}


@pytest.mark.parametrize(
    "batch",
    [
        {"text": numbers(7, 5), "image": numbers(7, 8)},
        Inputs(numbers(7, 8), text=numbers(7, 5)),
        ((numbers(7, 8), numbers(7, 5)), np.zeros(7, np.int64)),
        ({"image": numbers(7, 8), "text": numbers(7, 5)}, np.zeros(7, np.int64)),
    ],
    ids=["a dict", "Inputs", "a pair", "a pair with a dict"],
)
@pytest.mark.parametrize("how", ["static", "qat"])
def test_a_model_of_several_inputs_is_calibrated(batch: Any, how: str) -> None:
    model, inputs = Towers(), (numbers(7, 8), numbers(7, 5))
    got = quantize_static(model, [batch]) if how == "static" else convert(prepare_qat(model, [batch]))
    for name, wanted in model(*inputs).items():
        assert sqnr_db(wanted.data, got(*inputs)[name].data) > 30
        assert np.array_equal(accelerate(got)(*inputs)[name].data, got(*inputs)[name].data)


def test_three_arrays_are_no_batch_and_the_sentence_says_what_is() -> None:
    with pytest.raises(TypeError, match="of a model with several inputs a dict of its arguments by name, got tuple"):
        quantize_static(Towers(), [(numbers(7, 8), numbers(7, 5), numbers(7, 5))])


# Batch norms in own modules


class Block(Module):
    """As torchvision writes one: the norm is an attribute beside its convolution."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.bn1, self.conv1 = BatchNorm2d(4), Conv2d(4, 4, 3, padding=1, rng=rng)
        self.layers = [Conv2d(4, 4, 1, rng=rng), BatchNorm2d(4)]
        self.fc, self.norm = Linear(4, 5, rng=rng), BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.layers[1](self.layers[0](y)) + x
        return self.norm(self.fc(y.mean(axis=(2, 3))))  # type: ignore[no-any-return]


class ReadTwice(Module):
    """What the first convolution gives is read by the norm and by the sum: it cannot be folded; the second can."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.conv, self.norm = Conv2d(4, 4, 3, padding=1, rng=rng), BatchNorm2d(4)
        self.other, self.second = Conv2d(4, 4, 3, padding=1, rng=rng), BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.second(self.other(self.norm(y) + y)) * float(self.conv.weight.shape[0])  # type: ignore[no-any-return]


class RunTwice(Module):
    def __init__(self, rng: np.random.Generator) -> None:
        self.conv, self.norm = Conv2d(4, 4, 3, padding=1, rng=rng), BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.conv(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "left"),
    [(Block, []), (ReadTwice, ["0.norm"]), (RunTwice, ["0.norm"])],
    ids=["block", "read twice", "run twice"],
)
def test_norms_of_own_modules_are_folded_where_a_run_shows_that_it_changes_nothing(make: Any, left: list[str]) -> None:
    x = numbers(6, 4, 6, 6)
    model = settled(Sequential(make(np.random.default_rng(5))), x)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        folded = fold_batch_norms(model, [x])
    names = [name.removeprefix("layers.") for name, m in folded.named_modules() if isinstance(m, BatchNorm2d)]
    assert names == left
    assert np.allclose(folded(x).data, model(x).data, rtol=1e-4, atol=1e-4 * np.abs(model(x).data).max())
    assert [all(f"layers.{name}" in str(w.message) for name in left) for w in told] == [True] * bool(left)


def test_norms_of_own_modules_are_named_where_no_batch_shows_what_feeds_them() -> None:
    model = Sequential(Block(np.random.default_rng(5)))
    with pytest.warns(UserWarning, match=r"not folded, in float: layers\.0\.bn1, .*fold_batch_norms\(model, batches\)"):
        fold_batch_norms(model)
    with pytest.raises(ValueError, match="needs one batch"):
        fold_batch_norms(model, [])


def test_a_chain_whose_norms_are_all_folded_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fold_batch_norms(Sequential(Conv2d(2, 3, 3), BatchNorm2d(3), Flatten(), Linear(12, 4), BatchNorm1d(4)))


def test_a_norm_behind_a_linear_is_folded_only_where_its_outputs_are_surely_rows() -> None:
    """Of [N, T, C] with T = C the norm takes T for the channels: folded, it would take C."""
    rng = np.random.default_rng(0)
    model = settled(Sequential(Linear(5, 4, rng=rng), BatchNorm1d(4), ReLU(), Linear(4, 2, rng=rng)), numbers(9, 4, 5))
    tokens, rows = numbers(7, 4, 5, seed=1), numbers(7, 5, seed=2)
    for batches, x in ((None, tokens), ([tokens], tokens), ([rows], rows)):
        with pytest.warns(UserWarning, match=r"layers\.1: .*Linear that gives rows") if x is tokens else nothing_said():
            folded = fold_batch_norms(model, batches)
        assert np.allclose(folded(x).data, model(x).data, rtol=1e-4, atol=1e-4)
        assert [name for name, _ in folded.named_modules()].count("layers.1") == (x is tokens)


@pytest.mark.parametrize(
    ("between", "is_folded"),
    [
        ([], True), ([Dropout(0.1), ReLU()], True), ([Linear(6, 6), GELU()], True), ([Sequential(ReLU())], False),
        ([Residual(Linear(6, 6))], False), ([Doubled()], False),
    ],
    ids=["Flatten", "ReLU", "Linear", "a Sequential", "a Residual", "an own module"],
)  # fmt: skip
def test_what_stands_since_a_flatten_tells_whether_a_linear_gives_rows(between: list[Module], is_folded: bool) -> None:
    x = numbers(9, 2, 3)
    model = settled(Sequential(Flatten(), *between, Linear(6, 6), BatchNorm1d(6)), x)
    with nothing_said() if is_folded else pytest.warns(UserWarning, match="Linear that gives rows"):
        folded = fold_batch_norms(model)
    assert ("BatchNorm1d" not in repr(folded)) == is_folded
    assert np.allclose(folded(x).data, model(x).data, rtol=1e-4, atol=1e-4)
    assert "BatchNorm1d" not in repr(fold_batch_norms(model, [x])), "a run shows it"


def test_a_call_that_finds_nothing_to_do_says_so() -> None:
    model = Sequential(Linear(4, 3), Sigmoid(), Linear(3, 2))
    for nothing in (model, ReLU(), Sequential()):
        for batches in (None, [numbers(2, 4)]):
            with pytest.warns(UserWarning, match="nothing to fold: the model holds no batch norm"):
                fold_batch_norms(nothing, batches)
        with pytest.warns(UserWarning, match="nothing to equalize: the model holds no two layers of a Sequential"):
            assert repr(equalize(nothing)) == repr(nothing)
    with nothing_said():
        equalize(Sequential(Linear(4, 3), ReLU(), Linear(3, 2)))


def test_a_linear_does_not_swallow_a_norm_of_another_width() -> None:
    model = settled(Sequential(Linear(4, 6), BatchNorm1d(5)), numbers(3, 5, 4))
    with pytest.warns(UserWarning, match=r"layers\.1"):
        folded = fold_batch_norms(model)
    x = numbers(3, 5, 4)
    assert np.array_equal(folded(x).data, model(x).data)


# Embeddings


@pytest.mark.parametrize("weight_type", [INT4, UINT4, INT8], ids=str)
@pytest.mark.parametrize("group_size", [None, 8])
def test_an_embedding_gives_the_rows_of_its_codes(weight_type: Any, group_size: int | None) -> None:
    layer = Embedding(11, 20, rng=np.random.default_rng(6))
    got = quantize_weight_only(Sequential(layer, Linear(20, 3)), weight_type, group_size).get("layers.0")
    assert isinstance(got, WeightOnlyEmbedding)
    tokens = np.array([[0, 10, 3], [3, 3, 7]])
    assert np.array_equal(got(tokens).data, got.weight.dequantize()[tokens])
    steps = np.repeat(got.weight.qparams.scale.reshape(11, -1), group_size or 20, axis=1)[:, :20]
    off = np.abs(got.weight.dequantize() - layer.weight.data)
    assert (off <= steps * (0.5 if weight_type.signed else 1) * (1 + 1e-6)).all()
    assert got.weight.nbytes < layer.weight.data.nbytes / 2


def test_a_rule_leaves_an_embedding_in_float_and_tokens_are_checked() -> None:
    model = Sequential(Embedding(5, 8), Linear(8, 2))
    kept = quantize_weight_only(model, rules={"layers.0": None})
    assert type(kept.get("layers.0")) is Embedding
    alone = quantize_weight_only(Embedding(5, 8))
    for tokens in ([5], [-1], [0.5]):
        with pytest.raises(ValueError, match=r"whole numbers in 0 \.\. 4"):
            alone(np.array(tokens))
    with pytest.raises(KeyError, match=r"layers\.9"):
        quantize_weight_only(model, rules={"layers.9": None})
