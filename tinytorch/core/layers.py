"""Modules: functions with parameters, that can be listed, saved, and replaced by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any, Protocol, Self, TypeGuard, TypeVar, runtime_checkable

import numpy as np

from .checks import whole_number
from .products import operand
from .tensor import Array, Tensor


@runtime_checkable
class Stored(Protocol):
    """An object made of arrays, such as codes and their scale: a module's state if it is a module's attribute.

    It may have a `state_type`, as a Module: a string that tells what its arrays do not, such as their integer type.
    """

    def arrays(self) -> dict[str, Array]:
        """Name -> array, in a fixed order."""
        ...

    def with_arrays(self, arrays: dict[str, Array]) -> Self:
        """Another object like this one, made of arrays of the same names, shapes and dtypes."""
        ...


STATE_TYPE = "state_type"


def _join(*names: str) -> str:
    return ".".join(filter(None, names))


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A list's items under the names "layers.0", "layers.1", ...; anything else under its own."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from _flatten(f"{name}.{i}", item)
    else:
        yield name, value


def _arrays_of(value: Any) -> dict[str, Array]:
    """What of an attribute is state: name -> array, the name "" where there is only one."""
    if isinstance(value, Stored) and not isinstance(value, type):
        return value.arrays()
    array = value.data if isinstance(value, Tensor) else value
    return {"": array} if isinstance(array, np.ndarray) else {}


def _type_of(value: Any) -> dict[str, Array]:
    """The `state_type` of a module or an attribute, as state; nothing if it has none."""
    said = getattr(value, STATE_TYPE, "")
    return {STATE_TYPE: np.array(said)} if said else {}


def _checked(name: str, new: Array, old: Array) -> Array:
    """A copy of `new` in place of `old`: of its shape, in its dtype."""
    if name.rpartition(".")[2] == STATE_TYPE and str(new) != str(old):
        owner = name.rpartition(".")[0] or "the model"
        raise ValueError(f"{owner} must be {old}, got {new}: the state is of a model quantized in another way")
    if new.shape != old.shape:
        raise ValueError(f"{name} must have shape {old.shape}, got {new.shape}")
    if new.dtype != old.dtype and (old.dtype.kind != "f" or new.dtype.kind not in "fiub"):
        raise ValueError(f"{name} must have dtype {old.dtype}, got {new.dtype}: a conversion would change codes")
    with np.errstate(over="ignore"):
        copied = np.array(new, dtype=old.dtype, order="C")
    if old.dtype.kind == "f" and np.isinf(copied).sum() > np.isinf(new).sum():
        raise ValueError(f"{name} must fit {old.dtype}, got {new.dtype} numbers up to {np.abs(new).max():g}")
    return copied


def _check_names(got: Set[str], wanted: Set[str]) -> None:
    """ValueError unless the names of a state are those of the model."""
    missing, unexpected = sorted(wanted - got), sorted(got - wanted)
    types = {name for name in wanted if name.rpartition(".")[2] == STATE_TYPE}
    if types and got == wanted - types:
        raise ValueError(
            "the state does not tell the integer types of its codes, as none saved by an earlier version does: "
            "quantize the model again and save it"
        )
    if missing or unexpected:
        raise ValueError(f"the state is of another model: missing {missing}, unexpected {unexpected}")


class Module:
    """A function of one argument whose Tensors and Modules are found through its attributes and lists.

    A subclass sets attributes in `__init__` and defines `forward`. Nothing is registered: a Tensor that requires a
    gradient is a parameter; any Tensor, array or `Stored` object is state; any Module is a child. Order is the order of
    definition.
    """

    training: bool = True
    of_one_tensor: bool = False

    @property
    def state_type(self) -> str:
        """What a state must tell of this module beyond its arrays, such as an integer type; "" if nothing.

        It is saved with the state, and a state of another is refused.
        """
        return ""

    def __call__(self, x: Any) -> Any:
        """`forward(x)`; an ndarray is first wrapped in a Tensor, anything else passes as it is.

        TypeError for what is neither array nor Tensor, if the module is of_one_tensor.
        """
        x = Tensor(x) if isinstance(x, np.ndarray) else x
        if self.of_one_tensor and not isinstance(x, Tensor):
            raise TypeError(f"{type(self).__name__} takes a Tensor or an array, got {type(x).__name__}")
        return self.forward(x)

    def forward(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define forward(x)")

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of self, whose name is "", and of everything below. A module used twice comes twice."""
        yield prefix, self
        for name, value in self._named_attributes():
            if isinstance(value, Module):
                yield from value.named_modules(_join(prefix, name))

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, tensor) of all state."""
        for prefix, module in self.named_modules():
            for name, value in module._named_attributes():
                if isinstance(value, Tensor):
                    yield _join(prefix, name), value

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, tensor) of what an optimizer may change; a shared tensor comes once, under its first name."""
        seen: set[Tensor] = set()
        for name, tensor in self.named_tensors():
            if tensor.requires_grad and tensor not in seen:
                seen.add(tensor)
                yield name, tensor

    def parameters(self) -> list[Tensor]:
        return [tensor for _, tensor in self.named_parameters()]

    def train(self, mode: bool = True) -> Self:
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        return self.train(False)

    def get(self, name: str) -> Module:
        """The module of that dotted name; KeyError if there is none."""
        modules = dict(self.named_modules())
        if name not in modules:
            raise KeyError(f"no module is named {name!r}: the names are {', '.join(map(repr, modules))}")
        return modules[name]

    def replace(self, name: str, new: Module) -> None:
        """Put `new` where the module of that dotted name is; KeyError if there is none.

        >>> model = Sequential(Linear(4, 3), ReLU())
        >>> model.replace("layers.1", Linear(3, 2))
        >>> model
        Sequential(Linear(4, 3), Linear(3, 2))
        """
        if self.get(name) is self:
            raise ValueError("the model itself has no name to replace it by: use the new module in its place")
        self._put(name, new)

    def _put(self, name: str, new: Any) -> None:
        """Make `new` the attribute or list item of that dotted name."""
        *path, last = name.split(".")
        holder: Any = self
        for part in path:
            holder = holder[int(part)] if isinstance(holder, list) else getattr(holder, part)
        if isinstance(holder, list):
            holder[int(last)] = new
        else:
            setattr(holder, last, new)

    def _named_state(self) -> Iterator[tuple[str, Module, str, Any]]:
        """(dotted name, the module that holds it, its name there, value) of every attribute that is state."""
        for prefix, module in self.named_modules():
            for name, value in module._named_attributes():
                if _arrays_of(value):
                    yield _join(prefix, name), module, name, value

    def _named_arrays(self) -> dict[str, Array]:
        arrays = {
            _join(prefix, key): a for prefix, module in self.named_modules() for key, a in _type_of(module).items()
        }
        for name, _, _, value in self._named_state():
            arrays |= {_join(name, key): a for key, a in (_arrays_of(value) | _type_of(value)).items()}
        return arrays

    def state_dict(self) -> dict[str, Array]:
        """Dotted name -> a copy of the array: of Tensors, arrays, and objects made of arrays (`Stored`).

        Where a module or such an object has a `state_type`, it is there, too, as an array of text.
        """
        return {name: array.copy() for name, array in self._named_arrays().items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy the arrays in: floats in the dtype the model has, anything else only of that dtype.

        All or nothing: ValueError for a missing or unexpected name, another shape or `state_type`, or a dtype that
        will not do.
        """
        here = self._named_arrays()
        _check_names(state.keys(), here.keys())
        new = {name: _checked(name, np.asarray(state[name]), array) for name, array in here.items()}
        ready: list[tuple[Module, str, Any, Any]] = []  # all are made before one is put in: a Stored may refuse
        for name, module, at, value in self._named_state():
            arrays = {key: new[_join(name, key)] for key in _arrays_of(value)}
            ready.append((module, at, value, value.with_arrays(arrays) if isinstance(value, Stored) else arrays[""]))
        for module, at, value, replacement in ready:
            if isinstance(value, Tensor):
                value.data = replacement  # the tensor stays: an optimizer holds it
            else:
                module._put(at, replacement)

    def _named_attributes(self) -> Iterator[tuple[str, Any]]:
        for name, value in vars(self).items():
            yield from _flatten(name, value)

    def __repr__(self) -> str:
        children = (repr(value) for _, value in self._named_attributes() if isinstance(value, Module))
        return f"{type(self).__name__}({', '.join(children)})"


Kind = TypeVar("Kind", bound=Module)


def is_exactly(module: Any, *kinds: type[Kind]) -> TypeGuard[Kind]:
    """Whether the module computes what one of these classes does: it is no subclass, and has no forward of its own."""
    return type(module) in kinds and "forward" not in vars(module)


class Linear(Module):
    """y = x @ weight.T + bias

    weight  float32 [n_out, n_in], uniform in +-1/sqrt(n_in)
    bias    float32 [n_out], likewise; or None
    rng     where the first weights come from; None: another start at every call
    """

    of_one_tensor = True

    def __init__(self, n_in: int, n_out: int, bias: bool = True, rng: np.random.Generator | None = None) -> None:
        n_in, n_out = whole_number("Linear", "n_in", n_in), whole_number("Linear", "n_out", n_out)
        rng = np.random.default_rng(rng)  # a Generator passes as it is
        bound = 1 / np.sqrt(n_in)
        self.weight = Tensor(rng.uniform(-bound, bound, (n_out, n_in)).astype(np.float32), requires_grad=True)
        self.bias = Tensor(rng.uniform(-bound, bound, n_out).astype(np.float32), requires_grad=True) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., n_in] -> [..., n_out]; ValueError for another width."""
        n_out, n_in = self.weight.shape
        if x.ndim == 0 or x.shape[-1] != n_in:
            raise ValueError(f"{self!r} wants input of shape (..., {n_in}), got {x.shape}: reshape the input")
        y = x @ self.weight.T
        return y if self.bias is None else y + operand(self.bias)

    def __repr__(self) -> str:
        n_out, n_in = self.weight.shape
        return f"Linear({n_in}, {n_out}{', bias=False' if self.bias is None else ''})"


class ReLU(Module):
    """max(x, 0), element by element."""

    of_one_tensor = True

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


class Sequential(Module):
    """Layers one after the other; they are named "layers.0", "layers.1", ..."""

    def __init__(self, *layers: Module) -> None:
        if any(isinstance(layer, (list, tuple)) for layer in layers):
            raise TypeError("Sequential takes its layers one by one, got a list of them: write Sequential(*layers)")
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


class Residual(Module):
    """y = block(x) + shortcut(x): a path around the block. Without a shortcut, x itself. He et al. 2015."""

    def __init__(self, block: Module, shortcut: Module | None = None) -> None:
        self.block, self.shortcut = block, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """ValueError if the two differ in shape: they would broadcast in silence."""
        y: Tensor = self.block(x)
        around: Tensor = x if self.shortcut is None else self.shortcut(x)
        if y.shape != around.shape:
            raise ValueError(
                f"{self!r} adds equal shapes, got {y.shape} and {around.shape}: give it a shortcut that fits"
            )
        return y + around
