"""Models of PyTorch as models of this library, and back: the same weights, and the same answers but for rounding.

    model = from_torch(torch_model.eval())
    model = from_torch(net, {Block: lambda block, convert: Residual(convert("body"))})

PyTorch is imported when one of the two is called. A layer counts as itself, never as a class it was derived from. What
changes only gradients (an Embedding's padding_idx, sparse, scale_grad_by_freq) and what works in place is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from .activations import GELU, LeakyReLU, ReLU6, Sigmoid, SiLU, Tanh
from .attention import Embedding
from .checks import kind_of
from .convolution import Conv1d, Conv2d
from .dropout import Dropout
from .layers import Identity, Linear, Module, ReLU, Sequential, as_module, names_in
from .normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from .pooling import AvgPool1d, AvgPool2d, Flatten, GlobalAvgPool2d, MaxPool1d, MaxPool2d
from .tensor import Tensor

Convert = Callable[[str], Any]
"""From the name of a part, such as "body" or "layers.0", to its counterpart."""

Own = Mapping[type, Callable[[Any, Convert], Any]]
"""For each class of own modules, the function that makes the counterpart of one of them."""


def from_torch(module: Any, own: Own | None = None) -> Module:
    """The model that a torch.nn.Module is, in its mode, with copies of its weights; what is shared is shared.

    own: for classes of your own, function(module, convert), where convert("body") is the counterpart of module.body.
    TypeError for what is no module of PyTorch; ValueError that names every layer without a counterpart by its dotted
    path; ImportError where PyTorch is not installed. bfloat16 becomes float32.
    """
    torch = _torch()
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"wanted a torch.nn.Module, got {kind_of(module)}")
    table = {getattr(torch.nn, name): make for name, make in FROM_TORCH.items()}
    made: Module = _Walk(table, own, Module, Identity, "from_torch").whole(module)
    return made


def to_torch(model: Module, own: Own | None = None) -> Any:
    """The torch.nn.Module that a float model is: `from_torch` the other way round, with its arguments and errors."""
    torch = _torch()
    as_module(model)
    walk = _Walk(TO_TORCH, own, torch.nn.Module, torch.nn.Identity, "to_torch")
    return walk.whole(model)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError("PyTorch is not installed: pip install torch") from error
    return torch


class _NoCounterpart(Exception):
    """Of a layer: why, and what to do, or "" where a function in `own` would do."""

    def __init__(self, why: str = "", fix: str = "") -> None:
        super().__init__(why)
        self.why, self.fix = why, fix


def _refuse(why: str, fix: str = "") -> NoReturn:
    raise _NoCounterpart(why, fix)


_FLOAT = "convert the float model that it was made of"
FIXES = {
    "tinytorch.quantization.": _FLOAT,
    "tinytorch.acceleration.": _FLOAT,
    "torch.ao.": _FLOAT,
    "torch.jit.": "convert the model that it was made of",
    "torch.fx.": "convert the model that it was made of",
    "torch._dynamo.": "convert its _orig_mod",
    "torch.nn.parallel.": "convert its module",
    "torch.nn.utils.parametrize.": "make plain weights of it by torch.nn.utils.parametrize.remove_parametrizations",
    "torch.nn.modules.container.": "it has no forward: in `own`, convert its parts by names such as 'blocks.0'",
    "torch.nn.modules.linear.LazyLinear": "run the model once, which makes its weights",
    "torch.nn.modules.conv.Lazy": "run the model once, which makes its weights",
    "torch.nn.modules.batchnorm.Lazy": "run the model once, which makes its weights",
}
"""What to do about a class without a counterpart, by how its full name begins."""
HOOKS = "with a forward or hooks of its own"
NO_HOOKS = (
    "remove them, those of weight_norm, spectral_norm and prune by the functions of torch.nn.utils that undo these"
)


def _class_name(kind: type) -> str:
    """The name of a class, in full where it is one of PyTorch's outside torch.nn, which repeats names in there."""
    hidden = kind.__module__.startswith("torch.") and not kind.__module__.startswith("torch.nn.modules.")
    return f"{kind.__module__}.{kind.__qualname__}" if hidden else kind.__name__


def _join(*names: str) -> str:
    return ".".join(filter(None, names))


class _Walk:
    """One conversion of a tree: what was made of what, and which parts have no counterpart."""

    def __init__(self, table: Mapping[type, Any], own: Own | None, kind: type, identity: type, function: str) -> None:
        self.table, self.own, self.kind, self.identity, self.function = table, own or {}, kind, identity, function
        self.made: dict[int, tuple[Any, Any]] = {}  # id -> (part or parameter, what was made of it); both stay alive
        self.missing: list[str] = []
        self.fixed = True  # whether each that is missing says what to do
        functions = self.own.items() if isinstance(self.own, Mapping) else [(None, None)]
        if not all(isinstance(kind, type) and callable(function) for kind, function in functions):
            raise TypeError(f"own must map classes to functions, as {{Block: function}}, got {own!r}")

    def whole(self, module: Any) -> Any:
        made = self.convert(module, "")
        if self.missing:
            fix = f": give {self.function} a function for such a class as its second argument, `own`"
            raise ValueError(f"no counterpart for {', '.join(self.missing)}{'' if self.fixed else fix}")
        return made

    def convert(self, module: Any, name: str) -> Any:
        if id(module) not in self.made:
            try:
                made = self._make(module, name)
            except _NoCounterpart as missing:
                said = ", ".join(filter(None, (_class_name(type(module)), missing.why)))
                self.missing.append(f"{name or 'the whole'} ({': '.join(filter(None, (said, missing.fix)))})")
                self.fixed &= bool(missing.fix)
                made = self.identity()
            made.training = module.training
            self.made[id(module)] = module, made
        return self.made[id(module)][1]

    def _make(self, module: Any, name: str) -> Any:
        def part(child: str) -> Any:
            find = module.get if isinstance(module, Module) else module.get_submodule
            return self.convert(find(child), _join(name, child))

        kind = type(module)
        if kind not in self.own and kind not in self.table:
            full = f"{kind.__module__}.{kind.__qualname__}"
            _refuse("", next((fix for start, fix in FIXES.items() if full.startswith(start)), ""))
        if "forward" in vars(module) or any(getattr(module, f"_forward{each}hooks", None) for each in ("_", "_pre_")):
            _refuse(HOOKS, NO_HOOKS)
        if kind in self.own:
            return self._own(module, part)
        make = self.table[kind]
        if make in (_sequential, _sequential_back):  # which call functions of `own`, whose errors are nobody else's
            return make(module, part, self)
        try:
            return make(module, part, self)
        except (TypeError, ValueError) as error:  # of a constructor, which refuses some of what the other one takes
            _refuse("", str(error))

    def _own(self, module: Any, part: Convert) -> Any:
        made = self.own[type(module)](module, part)
        if not isinstance(made, self.kind):
            wanted = f"{self.kind.__module__}.{self.kind.__qualname__}"
            raise TypeError(f"the function for {type(module).__name__} must return a {wanted}, got {kind_of(made)}")
        return made

    def ours(self, name: str, parameter: Any) -> Tensor:
        """A parameter of PyTorch as a Tensor: one, where several layers share it."""
        if id(parameter) not in self.made:
            made = Tensor(_array(name, parameter), requires_grad=parameter.requires_grad)
            self.made[id(parameter)] = parameter, made
        shared: Tensor = self.made[id(parameter)][1]
        return shared

    def theirs(self, name: str, tensor: Tensor) -> Any:
        """A Tensor as a parameter of PyTorch: one, where several layers share it."""
        torch = _torch()
        if id(tensor) not in self.made:
            made = torch.nn.Parameter(torch.from_numpy(tensor.data.copy()), tensor.requires_grad)
            self.made[id(tensor)] = tensor, made
        return self.made[id(tensor)][1]

    def fill(self, made: Any, source: Any, *names: str) -> Any:
        """made, with the parameters of these names that source has, and with None where source has None."""
        exchange = self.ours if isinstance(made, Module) else self.theirs
        for name in names:
            given = getattr(source, name)
            setattr(made, name, None if given is None else exchange(name, given))
        return made


def _array(name: str, tensor: Any) -> Any:
    """A copy of a tensor's numbers; refused where it holds no array of them."""
    torch = _torch()
    if tensor is None or tensor.is_meta:
        _refuse(f"without a {name}" if tensor is None else f"whose {name} is on the meta device", "load its weights")
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        _refuse(f"with a {name} of {tensor.dtype}", "wanted float16, bfloat16, float32 or float64")
    if tensor.layout is not torch.strided:
        _refuse(f"with a {name} of layout {tensor.layout}", "make it dense by to_dense()")
    given = tensor.detach().cpu()
    return (given.float() if given.dtype == torch.bfloat16 else given).numpy().copy()


# From PyTorch. Each takes the layer, what converts a part of it, and the walk.


def _wanted(module: Any, **usual: Any) -> None:
    """Refuse a layer one of whose options is not the one that there is a counterpart for."""
    for name, value in usual.items():
        given = getattr(module, name)
        if given != value and not (isinstance(given, (tuple, list)) and all(each == value for each in given)):
            _refuse(f"with {name}={getattr(module, name)!r}")


def _both(value: Any) -> Any:
    """One integer, or two in a tuple."""
    return tuple(value) if isinstance(value, (tuple, list)) else value


def _linear(m: Any, convert: Convert, walk: _Walk) -> Module:
    made: Module = walk.fill(Linear(m.in_features, m.out_features), m, "weight", "bias")
    return made


def _convolution(kind: Any) -> Any:
    def make(m: Any, convert: Convert, walk: _Walk) -> Module:
        _wanted(m, padding_mode="zeros")
        padding = m.padding
        if isinstance(padding, str):
            reach = [d * (k - 1) for k, d in zip(m.kernel_size, m.dilation, strict=True)]
            if padding == "same" and any(r % 2 for r in reach):
                _refuse("with padding='same', which is uneven for this kernel")
            padding = tuple(r // 2 if padding == "same" else 0 for r in reach)
        sizes = m.kernel_size, m.stride, padding, m.dilation
        kernel, stride, padding, dilation = sizes if kind is Conv2d else (size[0] for size in sizes)
        made = kind(m.in_channels, m.out_channels, kernel, stride, padding, groups=m.groups, dilation=dilation)
        return walk.fill(made, m, "weight", "bias")  # type: ignore[no-any-return]

    return make


def _batch_norm(kind: Any) -> Any:
    def make(m: Any, convert: Convert, walk: _Walk) -> Module:
        _wanted(m, track_running_stats=True)
        if m.momentum is None:
            _refuse("with momentum=None")
        made: Module = kind(m.num_features, m.momentum, m.eps)
        for name in ("running_mean", "running_var"):
            setattr(made, name, _array(name, getattr(m, name)))
        return _norm(made, m, walk)

    return make


def _norm(made: Any, m: Any, walk: _Walk) -> Module:
    """The norm with the weight and bias that m has; where it has none, they stay 1 and 0, and are no parameters."""
    like = getattr(m, "running_mean", None) if m.weight is None else m.weight
    dtype = np.float32 if like is None else _array("weight", like).dtype
    made.weight, made.bias = Tensor(np.ones_like(made.weight.data, dtype)), Tensor(np.zeros_like(made.bias.data, dtype))
    given = [name for name in ("weight", "bias") if getattr(m, name) is not None]
    return walk.fill(made, m, *given)  # type: ignore[no-any-return]


def _layer_norm(m: Any, convert: Convert, walk: _Walk) -> Module:
    if len(m.normalized_shape) != 1:
        _refuse(f"over {len(m.normalized_shape)} axes")
    return _norm(LayerNorm(m.normalized_shape[0], m.eps), m, walk)


def _pooling(kind: Any, **usual: Any) -> Any:
    def make(m: Any, convert: Convert, walk: _Walk) -> Module:
        _wanted(m, ceil_mode=False, **usual)
        flat = kind in (MaxPool1d, AvgPool1d)
        sizes = [_both(size) for size in (m.kernel_size, m.stride, m.padding)]
        sizes = [size[0] if flat and isinstance(size, tuple) else size for size in sizes]
        counted = {"count_include_pad": m.count_include_pad} if kind is AvgPool2d else {}
        made: Module = kind(*sizes, **counted)
        return made

    return make


def _gelu(m: Any, convert: Convert, walk: _Walk) -> Module:
    _wanted(m, approximate="none")
    return GELU()


def _global_pooling(m: Any, convert: Convert, walk: _Walk) -> Module:
    _wanted(m, output_size=1)
    return GlobalAvgPool2d()


def _flatten(m: Any, convert: Convert, walk: _Walk) -> Module:
    _wanted(m, start_dim=1, end_dim=-1)
    return Flatten()


def _embedding(m: Any, convert: Convert, walk: _Walk) -> Module:
    _wanted(m, max_norm=None)
    made: Module = walk.fill(Embedding(m.num_embeddings, m.embedding_dim), m, "weight")
    return made


def _sequential(m: Any, convert: Convert, walk: _Walk) -> Module:
    return Sequential(*(convert(name) for name in m._modules))  # named_children() leaves out what comes twice


FROM_TORCH: dict[str, Any] = {
    "Linear": _linear,
    "Conv1d": _convolution(Conv1d),
    "Conv2d": _convolution(Conv2d),
    "BatchNorm1d": _batch_norm(BatchNorm1d),
    "BatchNorm2d": _batch_norm(BatchNorm2d),
    "LayerNorm": _layer_norm,
    "Embedding": _embedding,
    "ReLU": lambda m, convert, walk: ReLU(),
    "ReLU6": lambda m, convert, walk: ReLU6(),
    "LeakyReLU": lambda m, convert, walk: LeakyReLU(m.negative_slope),
    "SiLU": lambda m, convert, walk: SiLU(),
    "GELU": _gelu,
    "Sigmoid": lambda m, convert, walk: Sigmoid(),
    "Tanh": lambda m, convert, walk: Tanh(),
    "MaxPool1d": _pooling(MaxPool1d, dilation=1, return_indices=False),
    "MaxPool2d": _pooling(MaxPool2d, dilation=1, return_indices=False),
    "AvgPool1d": _pooling(AvgPool1d, count_include_pad=True),
    "AvgPool2d": _pooling(AvgPool2d, divisor_override=None),
    "AdaptiveAvgPool2d": _global_pooling,
    "Flatten": _flatten,
    "Dropout": lambda m, convert, walk: Dropout(m.p),
    "Identity": lambda m, convert, walk: Identity(),
    "Sequential": _sequential,
}


# To PyTorch.


def _nn() -> Any:
    return _torch().nn


def _linear_back(m: Linear, convert: Convert, walk: _Walk) -> Any:
    n_out, n_in = m.weight.shape
    return walk.fill(_nn().Linear(n_in, n_out, m.bias is not None), m, "weight", "bias")


def _convolution_back(m: Any, convert: Convert, walk: _Walk) -> Any:
    n_out, each, *kernel = m.weight.shape
    kind = getattr(_nn(), type(m).__name__)
    sizes = {"stride": m.stride, "padding": m.padding, "dilation": m.dilation, "groups": m.groups}
    made = kind(each * m.groups, n_out, tuple(kernel), bias=m.bias is not None, **sizes)
    return walk.fill(made, m, "weight", "bias")


def _batch_norm_back(m: Any, convert: Convert, walk: _Walk) -> Any:
    torch = _torch()
    affine = _affine(m)
    made = getattr(torch.nn, type(m).__name__)(len(m.running_mean), m.eps, m.momentum, affine)
    made.running_mean, made.running_var = (torch.from_numpy(a.copy()) for a in (m.running_mean, m.running_var))
    return walk.fill(made, m, "weight", "bias") if affine else made


def _layer_norm_back(m: LayerNorm, convert: Convert, walk: _Walk) -> Any:
    affine = _affine(m)
    made = _nn().LayerNorm(len(m.weight), m.eps, affine)
    return walk.fill(made, m, "weight", "bias") if affine else made


def _affine(m: Any) -> bool:
    """Whether the norm's weight and bias are parameters, or not 1 and 0."""
    return bool(m.weight.requires_grad or m.bias.requires_grad or np.any(m.weight.data != 1) or np.any(m.bias.data))


def _pooling_back(m: Any, convert: Convert, walk: _Walk) -> Any:
    counted = {"count_include_pad": m.count_include_pad} if isinstance(m, AvgPool2d) else {}
    return getattr(_nn(), type(m).__name__)(m.size, m.stride, m.padding, **counted)


def _sequential_back(m: Sequential, convert: Convert, walk: _Walk) -> Any:
    """Each layer under its name, which it keeps where others were folded away."""
    made = _nn().Sequential()
    for name in names_in(m.layers):
        made.add_module(name, convert(f"layers.{name}"))
    return made


TO_TORCH: dict[type, Any] = {
    Linear: _linear_back,
    Conv1d: _convolution_back,
    Conv2d: _convolution_back,
    BatchNorm1d: _batch_norm_back,
    BatchNorm2d: _batch_norm_back,
    LayerNorm: _layer_norm_back,
    Embedding: lambda m, convert, walk: walk.fill(_nn().Embedding(*m.weight.shape), m, "weight"),
    ReLU: lambda m, convert, walk: _nn().ReLU(),
    ReLU6: lambda m, convert, walk: _nn().ReLU6(),
    LeakyReLU: lambda m, convert, walk: _nn().LeakyReLU(m.slope),
    SiLU: lambda m, convert, walk: _nn().SiLU(),
    GELU: lambda m, convert, walk: _nn().GELU(),
    Sigmoid: lambda m, convert, walk: _nn().Sigmoid(),
    Tanh: lambda m, convert, walk: _nn().Tanh(),
    MaxPool1d: _pooling_back,
    MaxPool2d: _pooling_back,
    AvgPool1d: _pooling_back,
    AvgPool2d: _pooling_back,
    GlobalAvgPool2d: lambda m, convert, walk: _nn().AdaptiveAvgPool2d(1),
    Flatten: lambda m, convert, walk: _nn().Flatten(),
    Dropout: lambda m, convert, walk: _nn().Dropout(m.p),
    Identity: lambda m, convert, walk: _nn().Identity(),
    Sequential: _sequential_back,
}
