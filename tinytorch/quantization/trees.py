"""Given: walks over a network, a tree of modules: which layers are quantized, watched, joined, replaced, explained."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from tinytorch.core import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Embedding,
    GlobalAvgPool2d,
    LayerNorm,
    Linear,
    Module,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
    Tensor,
)
from tinytorch.quantization.layers import Lookup, OnCodes, QuantizedResidual, WeightOnlyLinear, as_module
from tinytorch.quantization.qparams import INT4, INT8, IntType, QParams, as_int_type
from tinytorch.quantization.quantize import Observer
from tinytorch.quantization.tensors import QuantizedTensor

__all__ = [
    "TABLED",
    "WHY_FLOAT",
    "Observed",
    "Replace",
    "Rules",
    "Wrapped",
    "bias_of",
    "check_rules",
    "ends",
    "explain",
    "fuse_chain",
    "inputs_of",
    "is_of_zeros",
    "is_quantizable",
    "map_modules",
    "model_arrays",
    "observe_layers",
    "owner",
    "quantize_weight_only",
    "replace_observed",
    "rule_for",
    "seen_by",
    "why_float",
]


Replace = Callable[[str, Module], Module | None]


def map_modules(module: Module, replace: Replace, name: str = "") -> Module:
    """A new tree: `replace(name, m)` for each module m where that is not None, else a copy with its children mapped.

    name: the dotted name, as in `named_modules()`: "layers.0", and "" for the whole. A module that is used twice
    becomes two: each place may get a type, scales and a ReLU of its own. Other modules keep their class, attributes and
    `forward`. TypeError for modules in a tuple, dict or set, where none is found, and for a `forward` that was put onto
    a module: it would go on with the module, and the parts, that it was made for.
    """
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
        return [mapped(v, f"{name}.{i}") for i, v in enumerate(value)] if isinstance(value, list) else value

    new = copy(module)
    for key, value in vars(module).items():
        setattr(new, key, mapped(value, f"{name}.{key}" if name else key))
    return new


class Wrapped(Module):
    """A layer within another module that watches or rounds what passes. Such a layer is not quantized where it is."""

    layer: Any


class Observed(Wrapped):
    """A layer whose inputs are watched on their way in, and the type its weights will have; None: it has none.

    result: watches what the layer, the block of a Residual, gives out.
    """

    def __init__(
        self, layer: Module, observer: Observer, int_type: IntType | None = None, result: Observer | None = None
    ) -> None:
        self.layer, self.observer, self.int_type, self.result = layer, observer, int_type, result

    def forward(self, x: Tensor) -> Tensor:
        self.observer.observe(x.data)
        y = self.layer(x)
        if self.result is not None:
            self.result.observe(y.data)
        return y


def bias_of(layer: Linear | Conv2d) -> NDArray[Any] | None:
    """The layer's bias as an array, or None."""
    return None if layer.bias is None else layer.bias.data


def is_quantizable(module: Module) -> TypeGuard[Linear | Conv2d]:
    """Whether the module is a product of weights that has an integer form here: a Linear or Conv2d.

    A subclass is neither: what its `forward` computes is not known.
    """
    return type(module) in (Linear, Conv2d)


TABLED = (GELU, Sigmoid, Tanh)  # functions of one number: a table of their 256 answers is all there is to them


Rules = Mapping[str, IntType | None]


def rule_for(name: str, module: Module, default: IntType | None, rules: Rules | None) -> IntType | None:
    """The weight type for this module: by its rule, else the default; None: leave it in float."""
    wanted = (rules or {}).get(name, default) if is_quantizable(module) else None
    return None if wanted is None else as_int_type(wanted)


def check_rules(model: Module, rules: Rules | None, default: IntType | None = INT8) -> None:
    """Refuses what cannot be quantized as it is asked.

    TypeError for what is no Module, ValueError where no layer can be quantized, or is to be, or where one is prepared
    for training, KeyError for a rule whose name is not that of a layer that can be quantized.
    """
    if not isinstance(rules, Mapping | None):
        raise TypeError(f"rules must be a mapping from names of layers to types, got {rules!r}")
    modules = dict(as_module(model).named_modules())
    wrapped = [name for name, m in modules.items() if isinstance(m, Wrapped)]
    if wrapped:
        raise ValueError(f"layer {wrapped[0]!r} is prepared for training: convert(model) makes its integer form")
    names = [name for name, m in modules.items() if is_quantizable(m)]
    if not names:
        raise ValueError("nothing to quantize: the model holds no Linear or Conv2d, subclasses aside")
    if default is None and not any((rules or {}).values()):
        raise ValueError("nothing to quantize: the type is None, and no rule gives one to a layer")
    for name in rules or ():
        if name not in names:
            raise KeyError(f"a rule names {name!r}, but the layers that can be quantized are {', '.join(names)}")


def inputs_of(batches: Iterable[Any]) -> Iterator[NDArray[Any] | Tensor]:
    """The inputs of calibration batches: arrays as they are, of pairs (x, y) the x. TypeError for anything else."""
    if isinstance(batches, (np.ndarray, Tensor)):
        shape = batches.shape
        raise TypeError(f"wanted several batches, got one array of shape {shape}: its rows are not batches; pass [x]")
    return (_input_of(batch) for batch in batches)


def _input_of(batch: Any) -> NDArray[Any] | Tensor:
    x = batch[0] if isinstance(batch, (tuple, list)) and len(batch) == 2 else batch
    if not isinstance(x, (np.ndarray, Tensor)):
        raise TypeError(f"a batch is an array or a pair (x, y) of arrays, got {type(x).__name__}")
    return x


def quantize_weight_only(
    model: Module,
    int_type: IntType | None = INT4,
    group_size: int | None = 32,
    axis: int | None = 0,
    rules: Rules | None = None,
) -> Module:
    """A new model whose `Linear` weights are stored as codes: one scale a group of `group_size` weights of a row.

    group_size None: one scale for each slice along `axis` (0: a row), or for the whole matrix (axis None).
    rules: other types by layer name, None: stays in float. A Conv2d stays in float. ValueError for a rule that gives it
    a type, and for a model that holds no Linear.
    """
    check_rules(model, rules, int_type)
    if not any(type(m) is Linear for _, m in model.named_modules()):
        raise ValueError("nothing to quantize: of a Conv2d the weights alone cannot be; quantize_dynamic takes it")

    def replace(name: str, m: Module) -> Module | None:
        wanted = rule_for(name, m, int_type, rules)
        if isinstance(m, Conv2d) and (rules or {}).get(name) is not None:
            raise ValueError(f"a rule gives {name!r} a type, but a Conv2d has no weight-only form, only a dynamic one")
        if wanted is None or not isinstance(m, Linear):
            return None
        weight = QuantizedTensor.from_float(m.weight.data, wanted, axis=axis, group_size=group_size)
        return WeightOnlyLinear(weight, bias_of(m))

    return map_modules(model, replace)


def observe_layers(
    model: Module, observer: Callable[[], Observer], int_type: IntType | None, rules: Rules | None
) -> Module:
    """A new model in which every layer that will be quantized is Observed, and so is the block of a Residual."""
    if not callable(observer):
        raise TypeError(f"wanted what makes an observer, such as MinMaxObserver, got {observer!r}: pass the class")

    def replace(name: str, m: Module) -> Module | None:
        wanted = rule_for(name, m, int_type, rules)
        if wanted is not None or type(m) in TABLED:
            return Observed(m, observer(), wanted)
        if type(m) is Residual and m.shortcut is None:
            block = map_modules(m.block, replace, f"{name}.block" if name else "block")
            return Residual(Observed(block, observer(), None, observer()))
        return None

    return map_modules(model, replace)


def is_of_zeros(qparams: QParams, observer: Observer) -> bool:
    """Whether the scale is 1 because all that was observed is 0, or too small for a scale, and not a range of 255."""
    return bool(np.all(qparams.scale == 1)) and float(np.ptp(observer.range())) < 1


def seen_by(observer: Observer, name: str) -> QParams | None:
    """The parameters of what a layer is given; None if that was always 0, which does not tell how large it may become.

    ValueError, naming the layer, if nothing was seen, or slice by slice.
    """
    try:
        qparams = observer.qparams(INT8)
    except ValueError as error:
        raise ValueError(f"layer {name!r} was not calibrated: {error}") from error
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

    make(layer, int_type, input_qparams): the integer form of a Linear or Conv2d; without input_qparams dynamic.
    """

    def replace(name: str, m: Module) -> Module | None:
        if type(m) is Residual and isinstance(m.block, Observed) and m.block.result is not None:
            return added(m.block, f"{name}.block" if name else "block")
        if not isinstance(m, Observed):
            return None
        input_qparams = seen_by(m.observer, name)
        if m.int_type is None:
            return m.layer if input_qparams is None else Lookup(m.layer, input_qparams)
        return make(m.layer, m.int_type, input_qparams)

    def added(m: Observed, name: str) -> Module:
        block = map_modules(m.layer, replace, name)
        takes_in, hands_out = ends(block)
        on_codes = all(getattr(layer, "input_qparams", None) is not None for layer in (takes_in, hands_out))
        assert m.result is not None
        input_qparams, result_qparams = seen_by(m.observer, name), seen_by(m.result, name)
        if not on_codes or input_qparams is None or result_qparams is None:
            return Residual(block)  # its block takes or gives numbers, not codes: added in float
        hands_out.output_qparams = result_qparams
        return QuantizedResidual(block, input_qparams)

    return map_modules(model, replace)


def fuse_chain(module: Module) -> None:
    """In every Sequential, let a layer that can hand out codes do so, if the next one that computes takes them.

    Between the two, MaxPool2d and Flatten work on codes, and a ReLU is clipping's work where the range begins at 0.
    """
    for _, m in module.named_modules():
        if type(m) is Sequential:
            m.layers = list(_fused(m.layers))


def _fused(layers: list[Module]) -> Iterator[Module]:
    i = 0
    while i < len(layers):
        layer, start = layers[i], i + 1
        yield layer
        i = start
        if not hasattr(layer, "output_qparams") or getattr(layer, "input_qparams", None) is None:
            continue
        while i < len(layers) and type(layers[i]) in OnCodes.kinds:
            i += 1
        qparams = getattr(layers[i], "input_qparams", None) if i < len(layers) else None
        if qparams is None:
            i = start  # the next layer wants numbers
            continue
        layer.output_qparams = qparams
        clips = bool(qparams.zero_point == qparams.int_type.qmin)  # the lowest code stands for 0
        yield from (OnCodes(m) for m in layers[start:i] if not (clips and isinstance(m, ReLU)))


WHY_FLOAT: dict[type[Module], str] = {
    BatchNorm2d: "fold_batch_norms(model) makes it part of a convolution right before it",
    LayerNorm: "its mean and variance are taken of each input, in float",
    Embedding: "it looks rows up and multiplies nothing",
    AvgPool2d: "a mean of codes is no code; the next layer quantizes it again",
    GlobalAvgPool2d: "a mean of codes is no code; the next layer quantizes it again",
    Residual: "its sum is taken in float: a shortcut of its own, or a block that takes or gives numbers",
    Linear: "not quantized",
    Conv2d: "not quantized",
}


def why_float(m: Module) -> str | None:
    """Why a module is in float; None for one that only holds others."""
    if type(m) in WHY_FLOAT:
        return WHY_FLOAT[type(m)]
    if isinstance(m, (Linear, Conv2d)):
        return "a subclass of Linear or Conv2d, whose forward may be any function"
    if any(isinstance(v, Tensor) for v in vars(m).values()):
        return "parameters of its own"
    return None if any(isinstance(v, (Module, list)) for v in vars(m).values()) else "nothing to quantize"


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
    for name, m in as_module(model).named_modules():
        if any(name.startswith(prefix) for prefix in told):
            continue  # a part of a layer that is told already
        if hasattr(m, "explanation"):
            rows.append((name, type(m).__name__, m.explanation()))
            told += [] if isinstance(m, QuantizedResidual) else [f"{name}." if name else ""]
        elif (why := why_float(m)) is not None:
            rows.append((name, type(m).__name__, f"in float: {why}"))
    return rows


def model_arrays(model: Module) -> dict[str, NDArray[Any]]:
    """Every array the model keeps, by dotted name: weights, gradients, codes, scales, zero points, biases."""
    arrays: dict[str, NDArray[Any]] = {}

    def collect(name: str, value: Any) -> None:
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, Tensor):
            collect(name, value.data)
            collect(f"{name}.grad", value.grad)
        elif isinstance(value, (QuantizedTensor, QParams)):
            for part, array in value.arrays().items():
                collect(f"{name}.{part}", array)
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                collect(f"{name}.{i}", item)

    for prefix, m in as_module(model).named_modules():
        for attribute, value in vars(m).items():
            collect(f"{prefix}.{attribute}".lstrip("."), value)
    return arrays


def owner(array: NDArray[Any]) -> NDArray[Any]:
    """The array that owns the memory `array` is a view of: it stays alive, whole, as long as the view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
