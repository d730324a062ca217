"""Random networks, whose forms are held to each other: float, prepared, converted, quantized, accelerated, loaded.

The networks are those of random_networks.py. Observers, integer types, axes and rules are random, too. A call returns
what does not hold, in words:

  to the bit   the accelerated network gives what NumPy gives; a state that is loaded into another network of the same
               structure, quantized with other data, makes it this one; the float network stays as it was
  alone        a network whose rows have scales of their own gives each input the bits that it gets alone, whoever else
               is in the batch
  close        weights to those that are rounded here, in plain NumPy, and the network to the float one that has them;
               the converted network to the prepared one
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import tinytorch.core as tc
import tinytorch.quantization as tq
from tinytorch.acceleration import accelerate, kernels
from tinytorch.core import Module
from tinytorch.quantization import INT8, UINT8, IntType
from tinytorch.quantization.layers import WindowedProducts

from .fuzz_given import Array, Call, Rng, chance
from .random_networks import Network, a_network, arrays_in, some_rows, with_row

TYPES = [IntType(bits, narrow=narrow) for bits in range(2, 9) for narrow in (False, True)]
OBSERVERS: list[Callable[[], Any]] = [
    tq.MinMaxObserver, tq.MovingAverageObserver, lambda: tq.PercentileObserver(99.99), tq.HistogramObserver,
    lambda: tq.HistogramObserver("entropy"),
]  # fmt: skip
PRODUCTS = (tc.Linear, tc.Conv1d, tc.Conv2d)
STORED = (tc.Linear, tc.Embedding)


def folded(network: Network) -> Module:
    return tq.fold_batch_norms(network.model, [network.x])


def reals(model: Module, x: Any) -> Array:
    """What the model gives in evaluation mode; of several outputs, one beside the other."""
    with tc.evaluating(model):
        given = model(x)
    return np.concatenate([each.data for each in given.values()], axis=1) if isinstance(given, dict) else given.data


def db(wanted: Array, got: Array) -> float:
    """Signal over noise."""
    noise = np.sum((wanted.astype(np.float64) - got) ** 2)
    return float(10 * np.log10(np.sum(wanted.astype(np.float64) ** 2) / max(noise, 1e-30) + 1e-30))


def weights_of(model: Module, kinds: tuple[type[Module], ...]) -> list[Array]:
    """The weights of every layer of these kinds, in order, float or as their codes stand for them: rows each."""
    weights, convolution = list[Array](), "-"
    for name, m in model.named_modules():
        layer: Any = m
        if isinstance(m, WindowedProducts):
            convolution = f"{name}."
            weights.append(np.concatenate([product.weight.dequantize() for product in layer.products]))
        elif isinstance(getattr(m, "weight", None), tq.QuantizedTensor) and not name.startswith(convolution):
            weights.append(layer.weight.dequantize())
        elif type(m) in kinds:
            weights.append(layer.weight.data.reshape(len(layer.weight.data), -1))
    return weights


def by_steps(w: Array, int_type: IntType) -> Array:
    """Numbers [rows, n] as codes stand for them, a scale a row: symmetric for signed types, else by range and 0.

    Scale and quotient are float32, which tells where the nearest code of a number halfway between two is.
    """
    lo, hi = np.minimum(w.min(1, keepdims=True), 0), np.maximum(w.max(1, keepdims=True), 0)
    steps = int_type.qmax if int_type.signed else int_type.qmax - int_type.qmin
    step = (np.maximum(-lo, hi) if int_type.signed else hi - lo) / steps
    step = np.where(step == 0, 1, step).astype(np.float32)
    zero = 0 if int_type.signed else np.rint(int_type.qmin - lo / step)
    q = np.clip(np.rint(w.astype(np.float32) / step) + zero, int_type.qmin, int_type.qmax)
    return np.asarray((q - zero) * step.astype(np.float64))


@dataclass(frozen=True)
class Weights:
    """How weights are rounded: their type; a scale a row (axis 0), for all (None), or for each group of a row."""

    int_type: IntType
    axis: int | None
    group_size: int | None = None
    rules: Mapping[Any, Any] = field(default_factory=dict)  # at most one

    def rule(self, name: str, m: Module) -> Any:
        """What the rule says of a layer; its own type if none does."""
        for key, value in self.rules.items():
            if type(m) is key if isinstance(key, type) else re.fullmatch(re.escape(key).replace(r"\*", ".*"), name):
                return value
        return self.int_type

    def of(self, name: str, m: Module) -> Weights | None:
        """How the weights of a layer are rounded; None: they stay in float."""
        rule = self.rule(name, m)
        if rule in ("float", None):
            return None
        return self if rule == "dynamic" else replace(self, int_type=rule)

    def rounded(self, weight: Array) -> Array:
        rows = weight.reshape(1 if self.axis is None and self.group_size is None else len(weight), -1)
        size = self.group_size or rows.shape[1]
        groups = np.pad(rows, ((0, 0), (0, -rows.shape[1] % size))).reshape(-1, size)
        return by_steps(groups, self.int_type).reshape(len(rows), -1)[:, : rows.shape[1]].reshape(weight.shape)


def with_rules(rng: Rng, how: Weights, model: Module, kinds: tuple[type[Module], ...], *words: str) -> Weights:
    """how, sometimes with a rule for a name, a pattern or a class; but never one that leaves nothing to quantize."""
    layers = [(name, m) for name, m in model.named_modules() if type(m) in kinds]
    name, m = layers[int(rng.integers(len(layers)))]
    key = [name, re.sub(r"[^.]*$", "*", name), f"*{name[-1:]}", type(m)][int(rng.integers(4))]
    value = [TYPES[int(rng.integers(len(TYPES)))], "float", *words][int(rng.integers(2 + len(words)))]
    ruled = replace(how, rules={key: value})
    return ruled if chance(rng, 0.6) and any(ruled.of(*layer) is not None for layer in layers) else how


def rounded(network: Network, how: Weights, fold: bool, kinds: tuple[type[Module], ...]) -> Module:
    """The float network with weights as their codes stand for them, by plain NumPy."""
    model = folded(network) if fold else network.model
    layers: list[tuple[str, Any]] = [(name, m) for name, m in model.named_modules() if type(m) in kinds]
    for name, layer in layers:
        if (its := how.of(name, layer)) is not None:
            layer.weight.data = its.rounded(layer.weight.data.astype(np.float64)).astype(np.float32)
    return model


def differs(name: str, wanted: Array, got: Array) -> list[str]:
    return [] if np.array_equal(wanted, got, equal_nan=True) else [f"{name} differs by {np.abs(wanted - got).max():g}"]


def is_far(name: str, wanted: Array, got: Array, least: float) -> list[str]:
    noise = db(wanted, got)
    return [] if noise >= least or np.abs(wanted).max() < 1e-3 else [f"{name}: {noise:.1f} dB, wanted {least}"]


def beyond_steps(prepared: Array, converted: Array, last: Any) -> list[str]:
    """Whether a prepared network and its converted form differ by more than codes that round the other way explain.

    Each input of the last layer may be a step away, which moves an output by the sum of |weight| * step; a bias counts
    in whole steps of the sums.
    """
    if last.input_qparams is None:
        return []
    reach = np.abs(last.weight.dequantize()).sum(1) + last.weight.qparams.scale.ravel() / 2
    reach = reach * last.input_qparams.scale
    apart = np.sqrt(np.mean((prepared.astype(np.float64) - converted) ** 2, axis=0))
    return (
        [] if np.all(apart <= reach + 1e-5) else [f"prepared and converted are {(apart / reach).max():.2f} steps apart"]
    )


def same_forms(model: Module, another: Module, x: Any) -> list[str]:
    """What of the integer network `model` is not so to the bit in its accelerated form, and in `another`, loaded."""
    wanted, wrong = reals(model, x), list[str]()
    if len(kernels()) > 1 and any(isinstance(m, tq.QuantizedLinear) for _, m in model.named_modules()):
        wrong += differs("accelerated", wanted, reals(accelerate(model), x))
        one = some_rows(x, slice(1))
        wrong += differs("one row, accelerated", reals(model, one), reals(accelerate(model), one))
    if model.state_dict().keys() == another.state_dict().keys():  # else one has seen only zeros where the other has not
        with tempfile.TemporaryDirectory() as folder:
            tc.save_state(model, Path(folder, "state.npz"))
            tc.load_state(another, Path(folder, "state.npz"))
        wrong += differs("loaded", wanted, reals(another, x))
    return wrong + [f"its repr has a line too many: {m!r}" for _, m in model.named_modules() if "\n" in repr(m)]


def depends(model: Module, network: Network, i: int) -> list[str]:
    """Whether what a network gives for input i depends on the others: where they are, how many, how large."""
    forms = {"": model} | ({", accelerated": accelerate(model)} if len(kernels()) > 1 else {})
    x, wrong = network.x, list[str]()
    louder = with_row(network.loud, x, i)
    for name, form in forms.items():
        wanted = reals(form, some_rows(x, slice(i, i + 1)))[0]
        for what, got in {
            "a batch": reals(form, x)[i],
            "the batch backwards": reals(form, some_rows(x, slice(None, None, -1)))[-1 - i],
            "a batch 100 times as large": reals(form, louder)[i],
            "a pair": reals(form, some_rows(x, [0, i]))[1],
        }.items():
            wrong += differs(f"input {i} in {what}{name}", wanted, got)
    return wrong


Quantizer = Callable[[Module, Any, Weights], Module]


@dataclass(frozen=True)
class Way:
    """A way to quantize. ways: draws how weights are rounded. words: of rules that it knows. least: decibels to the
    network of rounded weights. kinds: of the layers that it quantizes. exact: equal to that network within 1e-4.
    alone: no input's answer depends on the others."""

    quantizer: Quantizer
    ways: Callable[[Rng], Weights]
    words: tuple[str, ...] = ()
    least: float = 12.0
    kinds: tuple[type[Module], ...] = PRODUCTS
    exact: bool = False
    alone: bool = False

    def __call__(self, rng: Rng) -> Call:
        seed, fold, i = int(rng.integers(2**31)), chance(rng, 0.7), int(rng.integers(24))
        network, other = a_network(seed), a_network(seed)
        if self.exact and not any(type(m) in self.kinds for _, m in network.model.named_modules()):
            return self(rng)
        how = with_rules(rng, self.ways(rng), network.model, self.kinds, *self.words)
        for p in other.model.parameters():
            p.data = p.data * np.float32(0.5)

        def run() -> list[str]:
            before = network.model.state_dict()
            floats, others = (folded(each) if fold else each.model for each in (network, other))
            quantized = self.quantizer(floats, network.x, how)
            wrong = same_forms(quantized, self.quantizer(others, other.other, how), network.x)
            if self.alone and "float" not in how.rules.values():  # BLAS adds a row alone in another order
                wrong += depends(quantized, network, i)
            wrong += self.not_as_asked(rounded(a_network(seed), how, fold, self.kinds), quantized, network.x, how)
            wrong += self.not_ruled(floats, quantized, how)
            after = network.model.state_dict()
            wrong += [f"{name} was changed" for name, a in before.items() if not np.array_equal(a, after[name])]
            return [*wrong, f"seed {seed}, {how}, {quantized!r}"] if wrong else []

        return Call(run, [], arrays_in(network.x))

    def not_as_asked(self, by_hand: Module, quantized: Module, x: Any, how: Weights) -> list[str]:
        pairs = zip(weights_of(by_hand, self.kinds), weights_of(quantized, self.kinds), strict=True)
        wrong = [f"weight {i}" for i, (a, b) in enumerate(pairs) if not np.allclose(a, b, rtol=1e-5, atol=1e-6)]
        oracle, got = reals(by_hand, x), reals(quantized, x)
        if self.exact and not np.allclose(got, oracle, rtol=1e-4, atol=1e-4 * np.abs(oracle).max()):
            wrong.append("not the products of the stored weights")
        types = [how.int_type, *(value for value in how.rules.values() if isinstance(value, IntType))]
        if all(int_type.bits >= 7 for int_type in types):  # with fewer, what was calibrated in float says little
            wrong += is_far("the network of rounded weights", oracle, got, self.least)
        return wrong

    def not_ruled(self, floats: Module, quantized: Module, how: Weights) -> list[str]:
        """Layers that are not what a rule says: in float, or dynamic."""
        there, wrong = dict(quantized.named_modules()), list[str]()
        for name, m in floats.named_modules():
            rule = how.rule(name, m) if type(m) in self.kinds else how.int_type
            if (rule == "float") != (type(there.get(name)) is type(m)) and type(m) in self.kinds:
                wrong.append(f"{name}: {rule}, got {there.get(name)!r}")
            if rule == "dynamic" and there[name].input_qparams is not None:  # type: ignore[attr-defined]
                wrong.append(f"{name}: not dynamic, {there[name]!r}")
        return wrong


def signed(rng: Rng) -> Weights:
    return Weights(TYPES[int(rng.integers(len(TYPES)))], [0, 0, None][int(rng.integers(3))])


def stored(rng: Rng) -> Weights:
    """Also asymmetric types, and groups."""
    int_type = [*TYPES, *(IntType(bits, signed=False) for bits in range(2, 9))][int(rng.integers(len(TYPES) + 7))]
    return Weights(int_type, 0, [None, 2, 5, 8, 32][int(rng.integers(5))])


def dynamic(model: Module, x: Any, how: Weights) -> Module:
    return tq.quantize_dynamic(model, how.int_type, how.axis, rules=how.rules)


def dynamic_per_row(model: Module, x: Any, how: Weights) -> Module:
    return tq.quantize_dynamic(model, how.int_type, how.axis, rules=how.rules, per_row=True)


def weight_only(model: Module, x: Any, how: Weights) -> Module:
    return tq.quantize_weight_only(model, how.int_type, how.group_size, how.axis, rules=how.rules)


def static_network(rng: Rng) -> Call:
    """quantize_static, by any observer."""
    chosen, activations = int(rng.integers(len(OBSERVERS))), [INT8, UINT8][int(rng.integers(2))]

    def static(model: Module, x: Any, how: Weights) -> Module:
        batches, observer = [some_rows(x, slice(12)), some_rows(x, slice(12, None))], OBSERVERS[chosen]
        options: dict[str, Any] = {"activation_type": activations, "rules": how.rules}
        return tq.quantize_static(model, batches, observer, how.int_type, how.axis, **options)

    return Way(static, signed, ("dynamic",))(rng)


def a_little_trained(prepared: Module, x: Any, y: Array) -> None:
    """Six steps, by rows of eight."""
    optimizer, loss = tc.SGD(prepared.parameters(), 1e-3), tc.CrossEntropyLoss()
    for part in 2 * [slice(0, 8), slice(8, 16), slice(16, 24)]:
        given = prepared(some_rows(x, part))
        optimizer.zero_grad()
        loss(given["answer"] if isinstance(given, dict) else given, y[part]).backward()
        optimizer.step()


def trained_network(rng: Rng) -> Call:
    """prepare_qat, some steps of training, convert; and both once more from a saved state."""
    seed, learned, axis = int(rng.integers(2**31)), chance(rng, 0.4), [0, None][int(rng.integers(2))]
    network, frozen = a_network(seed), chance(rng, 0.5)
    x, y = network.x, rng.integers(0, 3, 24)
    how = with_rules(rng, Weights(TYPES[int(rng.integers(len(TYPES)))], axis), network.model, PRODUCTS)

    def prepare(given: Any) -> Module:
        floats = folded(a_network(seed))
        return tq.prepare_qat(floats, [given], how.int_type, axis=axis, learned=learned, rules=how.rules)

    def run() -> list[str]:
        prepared, before = prepare(x), network.model.state_dict()
        a_little_trained(prepared, x, y)
        prepared = tq.freeze(prepared) if frozen else prepared
        wanted, converted = reals(prepared.eval(), x), tq.convert(prepared)
        last, wrong = converted.get(network.last), list[str]()
        if isinstance(last, tq.QuantizedLinear):
            wrong += beyond_steps(wanted[:, :3], reals(converted, x)[:, :3], last)
        another = prepare(network.other).eval()
        another.load_state_dict(prepared.state_dict())
        wrong += differs("prepared, loaded", wanted, reals(another, x))
        wrong += differs("converted from what was loaded", reals(converted, x), reals(tq.convert(another), x))
        wrong += same_forms(converted, tq.convert(prepare(network.other)), x)
        after = network.model.state_dict()
        wrong += [f"{name} was changed" for name, a in before.items() if not np.array_equal(a, after[name])]
        return [*wrong, f"seed {seed}, {how}, learned {learned}, {prepared!r}"] if wrong else []

    return Call(run, [], arrays_in(x))


CALLS: dict[str, Callable[[Rng], Call]] = {
    "a random network, dynamic": Way(dynamic, signed, ("dynamic",)),
    "a random network, dynamic per row": Way(dynamic_per_row, signed, ("dynamic",), alone=True),
    "a random network, static": static_network,
    "a random network, weight-only": Way(weight_only, stored, least=60.0, kinds=STORED, exact=True),
    "a random network, trained": trained_network,
}
