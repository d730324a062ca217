"""Given: which batch norm can become part of the layer before it. In a Sequential the order tells; among the attributes
of an own module a run does: the norm's input is that layer's output, and with the two folded the answers stay. Of a
Linear, too, a run tells what the order does not: the BatchNorm1d behind it takes axis 1 for the channels, which is the
Linear's own, the last, only where it gives rows [N, n]."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinytorch.core import (
    GELU,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    LayerNorm,
    LeakyReLU,
    Linear,
    Module,
    ReLU,
    ReLU6,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
    Tensor,
    evaluating,
)
from tinytorch.core.layers import Remaining, is_exactly, names_in
from tinytorch.quantization.tensors import QuantizedTensor
from tinytorch.quantization.trees import inputs_of, map_modules

__all__: list[str] = []  # `fold_batch_norms` of the notebook is what people call

Fold = Callable[[Conv2d, BatchNorm2d], Conv2d]

# What rows pass as rows.
OF_ROWS = (BatchNorm1d, Dropout, GELU, Identity, LayerNorm, LeakyReLU, Linear, ReLU, ReLU6, Sigmoid, SiLU, Tanh)

TOLERANCE = 1e-4  # of the largest answer: folding changes roundings, another function changes more


def foldable(layer: Any, bn: Any) -> bool:
    """Whether bn can become part of this layer: both are themselves, no subclasses, and have equally many channels."""
    fits = is_exactly(layer, Conv2d) if is_exactly(bn, BatchNorm2d) else is_exactly(layer, Conv1d, Linear)
    return fits and is_exactly(bn, BatchNorm1d, BatchNorm2d) and len(layer.weight) == len(bn.running_mean)


def fold_pair(layer: Any, bn: Any, fold: Fold) -> Module:
    """The layer with bn in it, by `fold`, for which a Conv1d or Linear becomes a Conv2d of windows one pixel high."""
    if isinstance(layer, Conv2d):
        return fold(layer, bn)
    outputs, rest = len(layer.weight), layer.weight.shape[1:]
    conv, norm = Conv2d(rest[0], outputs, (1, rest[1] if len(rest) > 1 else 1)), BatchNorm2d(outputs)
    conv.weight, conv.bias = Tensor(layer.weight.data.reshape(conv.weight.shape)), layer.bias
    vars(norm).update(vars(bn))
    made, folded = fold(conv, norm), copy(layer)
    folded.weight, folded.bias = Tensor(made.weight.data.reshape(layer.weight.shape), requires_grad=True), made.bias
    return folded


class Traced(Module):
    """A layer that keeps what it was last given and gave, and how often it ran."""

    def __init__(self, layer: Module) -> None:
        self.layer, self.runs = layer, 0
        self.given: Any = None
        self.gave: Any = None

    def __getattr__(self, name: str) -> Any:
        """What a model's own forward asks of the layer, such as its weight."""
        return getattr(vars(self)["layer"], name)

    def forward(self, x: Any) -> Any:
        self.given, self.runs = x, self.runs + 1
        self.gave = self.layer(x)
        return self.gave


def folded_siblings(model: Module, batches: Iterable[Any], fold: Fold) -> Module:
    """A new model in which every batch norm is folded that a run of the first batch finds right behind its layer.

    Each pair is folded only if the model's answers in evaluation mode stay what they were.
    """
    batch = next(iter(inputs_of(batches, model)), None)
    if batch is None:
        raise ValueError("fold_batch_norms needs one batch to find what feeds what, got none")
    wanted = answers(model, batch)
    pairs = list(neighbours(model, batch))
    together = folded_at(model, pairs, fold)
    if not pairs or same_answers(answers(together, batch), wanted):
        return together
    for pair in pairs:
        one = folded_at(model, [pair], fold)
        if same_answers(answers(one, batch), wanted):
            model = one
    return model


def neighbours(model: Module, batch: Any) -> Iterator[tuple[str, str]]:
    """Names of a layer and of the batch norm whose input is its output, each of which ran once."""
    kinds = (Linear, Conv1d, Conv2d, BatchNorm1d, BatchNorm2d)
    traced = map_modules(model, lambda name, m: Traced(m) if is_exactly(m, *kinds) else None)
    answers(traced, batch)
    once = {name: m for name, m in traced.named_modules() if isinstance(m, Traced) and m.runs == 1}
    for name, norm in once.items():
        for before, m in once.items():
            if m.gave is norm.given and foldable(m.layer, norm.layer):
                yield before, name


def folded_at(model: Module, pairs: list[tuple[str, str]], fold: Fold) -> Module:
    """A new model in which these pairs are folded. Where the batch norm was an attribute, an Identity stands."""
    norms = {before: model.get(name) for before, name in pairs}
    names = {name for _, name in pairs}

    def replace(name: str, m: Module) -> Module | None:
        if name in names:
            return Identity()
        return fold_pair(m, norms[name], fold) if name in norms else None

    made = map_modules(model, replace)
    for prefix, m in made.named_modules():
        if type(m) is Sequential:
            where = f"{prefix}.layers".lstrip(".")
            parts = dict(zip(names_in(m.layers), m.layers, strict=True))
            left = {key: part for key, part in parts.items() if f"{where}.{key}" not in names}
            m.layers = Remaining(left.values(), left)
    return made


def answers(model: Module, batch: Any) -> list[NDArray[Any]]:
    """The arrays of what the model gives, in evaluation mode."""
    with evaluating(model):
        return list(arrays_of(model(batch)))


def arrays_of(given: Any) -> Iterator[NDArray[Any]]:
    """The arrays in a result: a Tensor, an array, codes, or several of them in a tuple, list or dict."""
    if isinstance(given, (tuple, list, dict)):
        for each in given.values() if isinstance(given, dict) else given:
            yield from arrays_of(each)
    elif isinstance(given, QuantizedTensor):
        yield given.dequantize()
    elif isinstance(given, (Tensor, np.ndarray)):
        yield given.data if isinstance(given, Tensor) else given


def same_answers(got: list[NDArray[Any]], wanted: list[NDArray[Any]]) -> bool:
    """Whether all arrays agree but for rounding. No arrays agree with nothing."""
    pairs = list(zip(got, wanted, strict=True)) if len(got) == len(wanted) else []
    return bool(pairs) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max(initial=0)) for a, b in pairs
    )


def batch_norms_in(model: Module) -> list[str]:
    """The names of a model's batch norms, subclasses among them."""
    return [name or "the model" for name, m in model.named_modules() if isinstance(m, BatchNorm2d)]


def tell_unfolded(model: Module, folded: Module, has_batches: bool) -> None:
    """One warning that names the batch norms that are left, and says why, or that the model has none."""
    left = batch_norms_in(folded)
    why = "right before each, no convolution, or Linear that gives rows, was found whose output nothing else takes"
    fix = "" if has_batches else "; in own modules, and of a Linear, a run finds it: fold_batch_norms(model, batches)"
    if left:
        warnings.warn(f"not folded, in float: {', '.join(left)}: {why}{fix}", UserWarning, stacklevel=3)
    elif not batch_norms_in(model):
        warnings.warn("nothing to fold: the model holds no batch norm", UserWarning, stacklevel=3)


Pair = TypeVar("Pair")


def told_pairs(pairs: list[Pair]) -> list[Pair]:
    """The pairs of layers that can be equalized; one warning if there are none."""
    if not pairs:
        wanted = "two layers of a Sequential with nothing but ReLU, pooling, Dropout or Flatten between them"
        warnings.warn(f"nothing to equalize: the model holds no {wanted}", UserWarning, stacklevel=3)
    return pairs


def folded_chain(layers: list[Module], names: list[str], fold: Fold) -> Remaining:
    """The layers of a Sequential, each batch norm folded into the layer right before it where that can take it.

    Behind a Linear that is where a Flatten stood before, and nothing since that might give anything but rows.
    """
    folded: list[Module] = []
    kept: list[str] = []
    rows = False
    for name, layer in zip(names, layers, strict=True):
        if folded and foldable(folded[-1], layer) and (rows or not isinstance(folded[-1], Linear)):
            folded[-1] = fold_pair(folded[-1], layer, fold)
        else:
            folded, kept = [*folded, layer], [*kept, name]
        rows = is_exactly(layer, Flatten) or (rows and is_exactly(layer, *OF_ROWS))
    return Remaining(folded, kept)
