"""Given: walks over a network, a tree of modules: which layers are quantized, watched, joined, replaced, explained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from dis import get_instructions
from inspect import Parameter, signature
from itertools import pairwise
from types import FunctionType
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinytorch.core import (
    GELU,
    AvgPool1d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    GlobalAvgPool2d,
    Identity,
    Inputs,
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
from tinytorch.core.checks import kind_of, said, true_or_false
from tinytorch.core.layers import Remaining, as_module, names_in
from tinytorch.quantization.arguments import as_observer
from tinytorch.quantization.biases import holds_multipliers
from tinytorch.quantization.layers import (
    Lookup,
    OnCodes,
    QuantizedResidual,
    WeightOnlyEmbedding,
    WeightOnlyLinear,
)
from tinytorch.quantization.qparams import INT4, INT8, IntType, QParams, as_int_type
from tinytorch.quantization.quantize import Observer
from tinytorch.quantization.reprs import said_bytes
from tinytorch.quantization.rules import (
    QUANTIZABLE,
    Rules,
    Weighted,
    Wrapped,
    check_rules,
    is_per_row,
    rule_for,
    rule_of,
)
from tinytorch.quantization.tensors import QuantizedTensor

__all__ = [
    "explain",
    "model_arrays",
    "quantize_weight_only",
]


Replace = Callable[[str, Module], Module | None]


def check_finite(model: Module) -> None:
    """ValueError, naming it, for a Tensor of the model with NaN, or an infinite parameter: no code stands for it.

    Constants may be infinite, such as what a mask adds.
    """
    for name, tensor in model.named_tensors():
        if np.isnan(tensor.data).any() or (tensor.requires_grad and np.isinf(tensor.data).any()):
            raise ValueError(f"{name} must be finite, got NaN or infinity: load or train the model again")


def map_modules(module: Module, replace: Replace, name: str = "") -> Module:
    """A new tree: `replace(name, m)` for each module m where that is not None, else a copy with its children mapped.

    name: the dotted name, as in `named_modules()`: "layers.0", and "" for the whole. A module that is used twice
    becomes two: each place may get a type, scales and a ReLU of its own. Other modules keep their class, attributes and
    `forward`. ValueError for a weight that is not finite. TypeError for modules in a tuple, dict or set, where none is
    found, and for a `forward` that was put onto a module: it would go on with the module, and the parts, that it was
    made for.
    """
    if not name:
        check_finite(as_module(module))
    if "forward" in vars(as_module(module)):
        layer = f"{name or 'the model'}, a {type(module).__name__}"
        raise TypeError(f"a forward was put onto {layer}, and is lost in a copy: make a subclass")
    replacement = replace(name, module)
    if replacement is not None:
        return replacement

    def mapped(value: Any, name: str) -> Any:
        if isinstance(value, Module):
            return map_modules(value, replace, name)
        held = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, set)) else ()
        if any(isinstance(v, Module) for v in held):
            raise TypeError(f"{name} holds modules in a {type(value).__name__}, where they are not found: use a list")
        if not isinstance(value, list):
            return value
        names = names_in(value)
        return Remaining([mapped(v, f"{name}.{key}") for key, v in zip(names, value, strict=True)], names)

    new = copy(module)
    for key, value in vars(module).items():
        setattr(new, key, mapped(value, f"{name}.{key}" if name else key))
    return new


@dataclass(frozen=True)
class ObserversFor:
    """Makes what `observer` makes, for codes of `activation_type`, of zero point 0 if symmetric."""

    observer: Callable[[], Observer]
    activation_type: IntType
    symmetric: bool = False

    def __post_init__(self) -> None:
        if true_or_false("symmetric", self.symmetric) and not as_int_type(self.activation_type).signed:
            raise ValueError(f"symmetric activations need a signed type, got {self.activation_type}: use int8")
        as_int_type(self.activation_type)
        if not callable(self.observer):
            wanted = "what makes an observer, such as MinMaxObserver"
            raise TypeError(f"wanted {wanted}, got {said(self.observer)}: pass the class")

    def __call__(self) -> Observer:
        made = self.observer()
        try:
            return as_observer(made)
        except TypeError:
            wanted = "what makes an observer, such as MinMaxObserver"
            raise TypeError(f"wanted {wanted}, got {said(self.observer)}, which makes {kind_of(made)}") from None


class Observed(Wrapped):
    """A layer whose inputs are watched on their way in, and the type its weights will have; None: it has none.

    activation_type: of the codes that its inputs will have. result: watches what the layer, the block of a Residual,
    gives out. dynamic: what was seen of its inputs is not used. per_row: each row of them gets a scale of its own.
    """

    dynamic = per_row = False

    def __init__(
        self,
        layer: Module,
        observers: ObserversFor,
        weight_type: IntType | None = None,
        has_result: bool = False,
        name: str = "",
    ) -> None:
        self.name, self.layer, self.symmetric = name, layer, observers.symmetric
        self.weight_type, self.activation_type = weight_type, observers.activation_type
        self.observer, self.result = observers(), observers() if has_result else None

    def __getattr__(self, attribute: str) -> Any:
        """Of the layer's own nothing is reached: once quantized it has it no more."""
        if hasattr(vars(self).get("layer"), attribute):
            raise AttributeError(
                f"a forward of the model's own uses {attribute} of layer {self.name!r}, which is to be quantized: "
                f'leave the layer in float, rules={{{self.name!r}: "float"}}'
            )
        raise AttributeError(f"an observed layer has no {attribute!r}")

    def forward(self, x: Tensor) -> Tensor:
        self.observer.observe(x.data)
        y = self.layer(x)
        if self.result is not None:
            self.result.observe(y.data)
        return y


def bias_of(layer: Weighted) -> NDArray[Any] | None:
    """The layer's bias as an array, or None."""
    return None if layer.bias is None else layer.bias.data


POOLING = (AvgPool1d, AvgPool2d, GlobalAvgPool2d, MaxPool1d, MaxPool2d)

# Functions of one number: a table of their 256 answers is all there is to them.
TABLED = (GELU, LeakyReLU, ReLU6, Sigmoid, SiLU, Tanh)


def inputs_of(batches: Iterable[Any], model: Module | None = None) -> Iterator[NDArray[Any] | Tensor | Inputs]:
    """The inputs of calibration batches: arrays as they are, of pairs (x, y) the x. TypeError for anything else.

    For a model of several inputs a batch is a dict of its arguments by name, Inputs(a, b), or a pair ((a, b), y).
    TypeError for inputs that the model's forward does not take; a warning where it could take the y of a pair as well.
    """
    if isinstance(batches, (np.ndarray, Tensor)):
        shape = batches.shape
        raise TypeError(f"wanted several batches, got one array of shape {shape}: its rows are not batches; pass [x]")
    if not isinstance(batches, Iterable):
        raise TypeError(f"wanted several batches, such as a list of arrays, got {said(batches)}")
    axes = [getattr(batch, "ndim", 0) for batch in batches] if isinstance(batches, tuple) else []
    if len(axes) == 2 and axes[0] > axes[1]:
        raise TypeError("wanted several batches, got one pair (x, y), whose y is no input: pass [(x, y)]")
    return (_input_of(batch) for batch in batches) if model is None else _taken(batches, model)


def _taken(batches: Iterable[Any], model: Module) -> Iterator[NDArray[Any] | Tensor | Inputs]:
    """The inputs of the batches, each of which the model's forward takes."""
    forward, kind, is_told = signature(model.forward), type(model).__name__, False
    more = [name for name, p in forward.parameters.items() if p.kind == Parameter.POSITIONAL_OR_KEYWORD][1:]
    for batch in batches:
        x = _input_of(batch)
        given = x if isinstance(x, Inputs) else Inputs(x)
        try:
            forward.bind(*given.positional, **given.named)
        except TypeError as error:
            names = ", ".join(forward.parameters)
            got = f"{kind} takes {names}, but a batch gives it {_shown(given)} ({error})"
            raise TypeError(f"{got}: give it Inputs({names}), or a dict of them by name") from None
        if x is not batch and not isinstance(x, Inputs) and more and not is_told:
            is_told = True
            left = f"of a pair (x, y), y is left aside as labels, but {kind} takes {more[0]}, too"
            warn(f"{left}: Inputs(x, y) gives it both, and of x alone nothing is left", UserWarning, stacklevel=4)
        yield x


def _shown(given: Inputs) -> str:
    """How many inputs there are by position, and the names of the others."""
    return ", ".join([f"{len(given.positional)} by position"] * bool(given.positional) + list(given.named)) or "nothing"


def _input_of(batch: Any) -> NDArray[Any] | Tensor | Inputs:
    is_pair = isinstance(batch, (tuple, list)) and len(batch) == 2
    x = batch[0] if is_pair else batch
    if isinstance(x, Mapping) and any(isinstance(value, (np.ndarray, Tensor)) for value in x.values()):
        return Inputs(**x)
    if is_pair and isinstance(x, (tuple, list)) and any(isinstance(value, (np.ndarray, Tensor)) for value in x):
        return Inputs(*x)
    if not isinstance(x, (np.ndarray, Tensor, Inputs)):
        several = "; of a model with several inputs a dict of its arguments by name"
        raise TypeError(f"a batch is an array or a pair (x, y) of arrays{several}, got {type(x).__name__}")
    return x


def quantize_weight_only(
    model: Module,
    weight_type: IntType | None = INT4,
    group_size: int | None = 32,
    axis: int | None = 0,
    rules: Rules | None = None,
    symmetric: bool | None = None,
    scale_dtype: DTypeLike = np.float32,
) -> Module:
    """A new model whose `Linear` and `Embedding` weights are stored as codes: one scale a group of a row's weights.

    group_size None: one scale for each slice along `axis` (0: a row), or for the whole matrix (axis None).
    rules: other types by layer name, None: stays in float. symmetric None: for signed types; UINT4 gets a zero point
    for each scale, in one byte. scale_dtype: np.float16 stores the scales, rounded up, in two bytes. Convolutions
    stay in float. ValueError for a rule that gives it a type, and for a model that holds neither Linear nor Embedding.
    """
    kinds = (*QUANTIZABLE, Embedding)
    check_rules(model, rules, weight_type, kinds=kinds)
    if not any(type(m) in (Linear, Embedding) for _, m in model.named_modules()):
        raise ValueError("nothing to quantize: of a Conv2d the weights alone cannot be; quantize_dynamic takes it")

    def replace(name: str, m: Module) -> Module | None:
        wanted, kind = rule_for(name, m, weight_type, rules, kinds), type(m)
        if kind in (Conv1d, Conv2d) and wanted is not None and any(key in (rules or {}) for key in (name, kind)):
            said = f"a {kind.__name__} has no weight-only form, only a dynamic one"
            raise ValueError(f"a rule gives {name!r} a type, but {said}")
        if wanted is None or kind not in (Linear, Embedding):
            return None
        assert isinstance(m, (Linear, Embedding))
        weight = QuantizedTensor.from_float(m.weight.data, wanted, symmetric, axis, group_size, scale_dtype)
        return WeightOnlyLinear(weight, bias_of(m)) if isinstance(m, Linear) else WeightOnlyEmbedding(weight)

    return map_modules(model, replace).eval()


def with_rows(replace: Replace, rules: Rules | None, per_row: bool) -> Replace:
    """`replace`, whose dynamic layers choose a scale for each row of an input where their rule or the call says so."""
    true_or_false("per_row", per_row)

    def replace_by_rows(name: str, m: Module) -> Module | None:
        layer: Any = replace(name, m)
        if layer is not None and is_per_row(name, m, per_row, rules):
            layer.per_row = True
        return layer

    return replace_by_rows


def observe_layers(
    model: Module, observer: Callable[[], Observer], weight_type: IntType | None, rules: Rules | None
) -> Module:
    """A new model in which every layer that will be quantized is Observed, and so is the block of a Residual."""
    observers = observer if isinstance(observer, ObserversFor) else ObserversFor(observer, INT8)

    def observed_layer(name: str, m: Module) -> Module | None:
        rule = rule_of(name, m, weight_type, rules)
        if rule is not None:
            own = replace(observers, activation_type=rule.activation_type or observers.activation_type)
            observed = Observed(m, own, rule.weight_type, name=name)
            observed.dynamic, observed.per_row = rule.dynamic, bool(rule.per_row)
            return observed
        if type(m) in TABLED:
            return Observed(m, observers)
        if type(m) is Residual and m.shortcut is None:
            block = map_modules(m.block, observed_layer, f"{name}.block" if name else "block")
            return Residual(Observed(block, observers, has_result=True))
        return None

    return map_modules(model, observed_layer)


def is_of_zeros(qparams: QParams, observer: Observer) -> bool:
    """Whether the scale is 1 because all that was observed is 0, or too small for a scale, and not a range of 255."""
    return bool(np.all(qparams.scale == 1)) and float(np.ptp(observer.range())) < 1


def seen_by(observer: Observer, m: Observed, name: str) -> QParams | None:
    """The parameters of what a layer is given; None if that was always 0, which does not tell how large it may become.

    ValueError, naming the layer, if nothing was seen, or slice by slice, or if the observer gives no range.
    """
    try:
        qparams = observer.qparams(m.activation_type, True) if m.symmetric else observer.qparams(m.activation_type)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the observer of layer {name!r} gives no scale: {error}") from error
    if qparams.scale.shape != ():
        got = f"{type(observer).__name__} gives {qparams.scale.size}"
        raise ValueError(f"layer {name!r} needs one scale for all its numbers, but {got}: leave the axis out")
    return None if is_of_zeros(qparams, observer) else qparams


def ends(block: Any) -> tuple[Any, Any]:
    """The first and the last layer of a block: of a Sequential, what an input meets first and last."""
    first = last = block
    while type(first) is Sequential and first.layers:
        first = first.layers[0]
    while type(last) is Sequential and last.layers:
        last = last.layers[-1]
    return first, last


def replace_observed(model: Module, make: Callable[[Module, IntType, QParams | None], Module]) -> Module:
    """A new model in which everything Observed has become integers, with the qparams of its observer.

    make(layer, weight_type, input_qparams): the integer form of a Linear or Conv2d; without input_qparams dynamic.
    """

    def replace(name: str, m: Module) -> Module | None:
        if type(m) is Residual and isinstance(m.block, Observed) and m.block.result is not None:
            return added(m.block, f"{name}.block" if name else "block")
        if not isinstance(m, Observed):
            return None
        input_qparams = None if m.dynamic else seen_by(m.observer, m, name)
        if m.weight_type is None:
            return copy(m.layer) if input_qparams is None else Lookup(m.layer, input_qparams)
        made: Any = make(m.layer, m.weight_type, input_qparams)
        if m.per_row:
            made.per_row = True
        return made

    def added(m: Observed, name: str) -> Module:
        block = map_modules(m.layer, replace, name)
        takes_in, hands_out = ends(block)
        on_codes = all(getattr(layer, "input_qparams", None) is not None for layer in (takes_in, hands_out))
        assert m.result is not None
        input_qparams, result_qparams = (seen_by(each, m, name) for each in (m.observer, m.result))
        if not on_codes or input_qparams is None or result_qparams is None:
            return Residual(block)  # its block takes or gives numbers, not codes: added in float
        if not holds_multipliers(hands_out, result_qparams):
            return Residual(block)
        hands_out.output_qparams = result_qparams
        return QuantizedResidual(block, input_qparams)

    return map_modules(model, replace)


@dataclass
class Place:
    """Where a layer of a chain stands: in a Sequential, which may be in another, through which the chain runs."""

    holder: Sequential
    layer: Module


def fuse_chain(module: Module) -> None:
    """In every Sequential, let a layer that can hand out codes do so, if the next one that computes takes them.

    Between the two, max pooling and Flatten work on codes, and a ReLU is clipping's work where the range begins at 0:
    it goes, and the others keep their names. The next layer may be in another Sequential: inside this one, or behind
    the one that holds it. Dropout and Identity, which compute nothing here, go, too.
    """
    inner: set[int] = set()
    for _, m in module.named_modules():
        if type(m) is Sequential and id(m) not in inner:
            places = list(_places(m, inner))
            kept = list(_fused([each for each in places if type(each.layer) not in (Dropout, Identity)]))
            _put_back(m, kept)


def _places(m: Sequential, inner: set[int]) -> Iterator[Place]:
    """The layers in the order in which they run, those of Sequentials inside among them, which join `inner`."""
    for layer in m.layers:
        if isinstance(layer, Sequential) and type(layer) is Sequential:
            inner.add(id(layer))
            yield from _places(layer, inner)
        else:
            yield Place(m, layer)


def _put_back(m: Sequential, kept: list[Place]) -> None:
    """Give every Sequential its layers again, in place: those of `kept`, in their order, and the Sequentials inside."""
    layers: list[Module] = []
    names: list[str] = []
    for name, layer in zip(names_in(m.layers), m.layers, strict=True):
        if isinstance(layer, Sequential) and type(layer) is Sequential:
            _put_back(layer, kept)
        elif kept and kept[0].holder is m and _stands_for(kept[0].layer, layer):
            layer = kept.pop(0).layer
        else:
            continue
        layers, names = [*layers, layer], [*names, name]
    m.layers = Remaining(layers, names)


def _stands_for(new: Module, old: Module) -> bool:
    return new is old or (isinstance(new, OnCodes) and new.layer is old)


def _fused(chain: list[Place]) -> Iterator[Place]:
    i = 0
    while i < len(chain):
        layer, start = chain[i].layer, i + 1
        yield chain[i]
        i = start
        if not hasattr(layer, "output_qparams") or getattr(layer, "input_qparams", None) is None:
            continue
        while i < len(chain) and type(chain[i].layer) in OnCodes.kinds:
            i += 1
        qparams = getattr(chain[i].layer, "input_qparams", None) if i < len(chain) else None
        if qparams is None or not holds_multipliers(layer, qparams):
            i = start  # the next layer wants numbers, or its scale is out of this one's reach
            continue
        layer.output_qparams = qparams
        clips = bool(qparams.zero_point == qparams.int_type.qmin)  # the lowest code stands for 0
        for place in chain[start:i]:
            if not (clips and isinstance(place.layer, ReLU)):
                yield Place(place.holder, OnCodes(place.layer))


WHY_FLOAT: dict[type[Module], str] = {
    LayerNorm: "its mean and variance are taken of each input, in float",
    Embedding: "it looks rows up and multiplies nothing",
    SelfAttention: "it multiplies its queries, keys and values in float",
    **dict.fromkeys(TABLED, "a table of its answers is made by quantize_static alone"),
    AvgPool1d: "a mean of codes is no code; the next layer quantizes it again",
    AvgPool2d: "a mean of codes is no code; the next layer quantizes it again",
    GlobalAvgPool2d: "a mean of codes is no code; the next layer quantizes it again",
    Residual: "its sum is taken in float: a shortcut of its own, or a block that takes or gives numbers",
    Linear: "not quantized",
    Conv1d: "not quantized",
    Conv2d: "not quantized",
}


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of what an attribute holds: itself, or the items of a list, tuple or dict."""
    if not isinstance(value, (list, tuple, dict)):
        yield name, value
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _parts(f"{name}.{key}", item)


def _arrays_in(name: str, value: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """(dotted name, array) of what an attribute holds: arrays, tensors and their gradients, codes and their scales."""
    for at, part in _parts(name, value):
        if isinstance(part, np.ndarray):
            yield at, part
        elif isinstance(part, Tensor):
            yield from _arrays_in(at, part.data)
            yield from _arrays_in(f"{at}.grad", part.grad)
        elif isinstance(part, (QuantizedTensor, QParams)):
            yield from _arrays_in(at, part.arrays())


def why_float(m: Module, before: Module | None = None) -> str | None:
    """Why a module is in float; None for one that only holds others. before: what precedes it in its Sequential."""
    if type(m) in TAKES_NORM:
        return _why_not_folded(TAKES_NORM[type(m)], before)
    if type(m) in WHY_FLOAT:
        return WHY_FLOAT[type(m)]
    if isinstance(m, Weighted):
        return "a subclass of Linear, Conv1d or Conv2d, whose forward may be any function"
    if floats := _own(m, Tensor, np.ndarray):
        return f"parameters of its own, {said_bytes(sum(x.nbytes for x in floats))}"
    return None if any(isinstance(v, (Module, list)) for v in vars(m).values()) else "nothing to quantize"


def _own(m: Module, *kinds: type) -> list[Any]:
    """What of these kinds a module holds outside of its parts; of a Tensor its array."""
    held = [part for _, part in _parts("", vars(m)) if isinstance(part, kinds)]
    return [part.data if isinstance(part, Tensor) else part for part in held]


TAKES_NORM: dict[type[Module], tuple[str, ...]] = {BatchNorm2d: ("Conv2d",), BatchNorm1d: ("Conv1d", "Linear")}


def _why_not_folded(kinds: tuple[str, ...], before: Module | None) -> str:
    """kinds: the names of the layers that take this norm, each of which has a quantized and an accelerated form."""
    layer = before.layer if isinstance(before, Wrapped) else before
    what = "Linear" if "Linear" in type(layer).__name__ else "convolution"
    if type(before) in (Linear, Conv1d, Conv2d) and type(before).__name__ in kinds:
        if isinstance(before, Linear):
            return "fold_batch_norms(model, batches) makes it part of the Linear before it, if that gives rows"
        return f"fold_batch_norms(model) makes it part of the {what} before it"
    takes = type(layer).__name__.removeprefix("Quantized").removeprefix("Accelerated") in kinds
    if takes and "ReLU" not in getattr(layer, "explanation", str)():  # the norm stood behind that ReLU
        return f"fold_batch_norms, before the model is quantized, makes it part of the {what} before it"
    return f"there is no {' or '.join(kinds)} right before it in its Sequential, into which it could be folded"


def multiplies(m: Module) -> bool:
    """Whether a class from outside of this package takes matrix products by itself: a @ b, or a function for them."""
    kinds = [kind for kind in type(m).__mro__ if not kind.__module__.startswith(("tinytorch.", "builtins"))]
    own = {name: f for kind in reversed(kinds) for name, f in vars(kind).items()}  # those that are not overridden
    codes = [f.__code__ for f in own.values() if isinstance(f, FunctionType)]
    return any(
        (step.opname == "BINARY_OP" and step.argrepr in ("@", "@=")) or step.argval in ("matmul", "einsum", "dot")
        for code in codes
        for step in get_instructions(code)
    )


def explain(model: Module) -> list[tuple[str, str, str]]:
    """What became of each layer of a quantized model, as (name, layer, how or why not). Names are the new model's.

    A module with a method `explanation()` says so itself, for itself and its parts.

    >>> from tinytorch.quantization.networks import quantize_dynamic
    >>> model = quantize_dynamic(Sequential(Linear(8, 4), ReLU(), Linear(4, 2)), rules={"layers.2": None})
    >>> for row in explain(model):
    ...     print(*row, sep=" | ")
    layers.0 | QuantizedLinear | int8 weights, dynamic, gives float
    layers.1 | ReLU | in float: nothing to quantize
    layers.2 | Linear | in float: not quantized
    """
    rows: list[tuple[str, str, str]] = []
    told: list[str] = []
    before: dict[int, Module] = {}
    for name, m in as_module(model).named_modules():
        if any(name.startswith(prefix) for prefix in told):
            continue  # a part of a layer that is told already
        if isinstance(m, Sequential):
            before |= {id(second): first for first, second in pairwise(m.layers)}
        if hasattr(m, "explanation"):
            rows.append((name, type(m).__name__, m.explanation()))
            told += [] if isinstance(getattr(m, "block", None), Module) else [f"{name}." if name else ""]
            continue
        if multiplies(m):
            rows.append((name, type(m).__name__, "in float: matrix products of its own forward"))
        if codes := _own(m, QuantizedTensor):
            rows.append((name, type(m).__name__, f"codes of its own, {said_bytes(sum(t.nbytes for t in codes))}"))
        if (why := why_float(m, before.get(id(m)))) is not None:
            rows.append((name, type(m).__name__, f"in float: {why}"))
    return rows


def model_arrays(model: Module) -> dict[str, NDArray[Any]]:
    """Every array the model keeps, by dotted name: weights, gradients, codes, scales, zero points, biases."""
    arrays: dict[str, NDArray[Any]] = {}
    for prefix, m in as_module(model).named_modules():
        for attribute, value in vars(m).items():
            arrays |= dict(_arrays_in(f"{prefix}.{attribute}".lstrip("."), value))
    return arrays


def owner(array: NDArray[Any]) -> NDArray[Any]:
    """The array that owns the memory `array` is a view of: it stays alive, whole, as long as the view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
