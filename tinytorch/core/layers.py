"""Modules: functions with parameters, that can be listed, saved, and replaced by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from typing import Any, ClassVar, Self, TypeGuard, TypeVar, overload

import numpy as np

from .checks import kind_of, whole_number
from .products import operand
from .stored import Stored, arrays_of, check_names, checked_array, is_type, type_of
from .tensor import Array, Tensor, no_grad

LINE = 120  # characters that a printed line may have


def join(*names: str) -> str:
    return ".".join(filter(None, names))


class Remaining(list[Any]):
    """What is left of a list of layers, each under the name that it had there: "0", "3", ...

    A list that has grown or shrunk since counts its items again.
    """

    def __init__(self, items: Iterable[Any], names: Iterable[str]) -> None:
        super().__init__(items)
        self.names = list(names)


def indices(items: list[Any]) -> list[str]:
    return [str(i) for i in range(len(items))]


def names_in(items: list[Any]) -> list[str]:
    """The names of a list's items: their indices, or, of what Remaining keeps, those that they had."""
    names: list[str] = getattr(items, "names", [])
    return names if names and len(names) == len(items) else indices(items)


def _flatten(name: str, value: Any, names: Callable[[list[Any]], list[str]]) -> Iterator[tuple[str, Any]]:
    """A list's items under the names "layers.0", "layers.1", ...; anything else under its own."""
    if isinstance(value, list):
        for key, item in zip(names(value), value, strict=True):
            yield from _flatten(f"{name}.{key}", item, names)
    else:
        yield name, value


def _hidden(value: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    """(the container's class, item) of what is in dicts, tuples and sets, where no module and no Tensor is found."""
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        within = within if isinstance(value, list) else type(value).__name__
        for item in value.values() if isinstance(value, dict) else value:
            yield from _hidden(item, within)
    elif within:
        yield within, value


def _is_parameter(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad and value._backward is None


_evaluating: ContextVar[bool] = ContextVar("evaluating", default=False)


def _made_again(kept: Iterable[tuple[str, Module, dict[str, Array]]]) -> Iterator[tuple[Module, dict[str, Any]]]:
    """Each module with the attributes that it makes of its arrays. ValueError, naming it, where one will not do."""
    for name, module, arrays in kept:
        try:
            yield module, module.restored(arrays)
        except ValueError as error:
            raise ValueError(f"{name or 'the model'}: {error}") from error


class Inputs:
    """The arguments of a model that takes several, as one: `model(Inputs(a, b=b))` is `model(a, b=b)`.

    So a batch of them passes where a batch is one array, as in calibration.
    """

    def __init__(self, *positional: Any, **named: Any) -> None:
        self.positional, self.named = positional, named

    def __len__(self) -> int:
        """The rows of the batch: of the first of them that has rows."""
        arrays = (*self.positional, *self.named.values())
        return next((len(a) for a in arrays if isinstance(a, (np.ndarray, Tensor)) and a.ndim), 0)

    def __repr__(self) -> str:
        def shown(value: Any) -> str:
            return f"{value.dtype} {list(value.shape)}" if isinstance(value, (np.ndarray, Tensor)) else repr(value)

        named = (f"{name}={shown(value)}" for name, value in self.named.items())
        return f"Inputs({', '.join([*map(shown, self.positional), *named])})"


def _as_tensor(x: Any) -> Any:
    """An ndarray as a Tensor, anything else as it is."""
    return Tensor(x) if isinstance(x, np.ndarray) else x


class Module:
    """A function whose Tensors and Modules are found through its attributes and lists.

    A subclass sets attributes in `__init__` and defines `forward`. Nothing is registered: a Tensor that requires a
    gradient is a parameter; any Tensor, array or `Stored` object is state; any Module is a child. Order is the order of
    definition. In a dict, a tuple or a set none is found: TypeError where a model with parameters or Modules in such a
    place is trained, saved or loaded, unless they are found elsewhere, too.

    keeps: names of attributes that `kept` saves and `restored` makes again, such as those that are None at first.
    ignores: names that a state may have and that are not loaded, such as a count that PyTorch keeps.
    """

    keeps: ClassVar[tuple[str, ...]] = ()
    ignores: ClassVar[tuple[str, ...]] = ()

    of_one_tensor: bool = False
    _training: bool = True

    @property
    def training(self) -> bool:
        """Whether the module trains, as `train()` and `eval()` say; inside `evaluating` none does."""
        return self._training and not _evaluating.get()

    @training.setter
    def training(self, mode: bool) -> None:
        self._training = mode

    @property
    def state_type(self) -> str:
        """What a state must tell of this module beyond its arrays, such as an integer type; "" if nothing.

        It is saved with the state, and a state of another is refused.
        """
        return ""

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """`forward` of the inputs; an ndarray is first wrapped in a Tensor, anything else passes as it is.

        One `Inputs` stands for several. TypeError for what is neither array nor Tensor, if the module is of_one_tensor.
        """
        if len(inputs) == 1 and isinstance(inputs[0], Inputs):
            inputs, named = inputs[0].positional, inputs[0].named | named
        if self.of_one_tensor and len(inputs) == 1:
            x = _as_tensor(inputs[0])
            if not isinstance(x, Tensor):
                raise TypeError(f"{type(self).__name__} takes a Tensor or an array, got {kind_of(x)}")
        return self.forward(*map(_as_tensor, inputs), **{name: _as_tensor(x) for name, x in named.items()})

    def forward(self, *inputs: Any, **named: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define forward(x)")

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of self, whose name is "", and of everything below. A module used twice comes twice."""
        yield from self._walk(names_in, prefix)

    def _walk(self, names: Callable[[list[Any]], list[str]], prefix: str = "") -> Iterator[tuple[str, Module]]:
        """named_modules, by the names that a list's items have, or, as states were stored once, by their indices."""
        yield prefix, self
        for name, value in self._named_attributes(names):
            if isinstance(value, Module):
                yield from value._walk(names, join(prefix, name))

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, tensor) of all state."""
        for prefix, module in self.named_modules():
            for name, value in module._named_attributes():
                if isinstance(value, Tensor):
                    yield join(prefix, name), value

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, tensor) of what an optimizer may change; a shared tensor comes once, under its first name."""
        self._check_found()
        seen: set[Tensor] = set()
        for name, tensor in self.named_tensors():
            if tensor.requires_grad and tensor not in seen:
                seen.add(tensor)
                yield name, tensor

    def parameters(self) -> list[Tensor]:
        return [tensor for _, tensor in self.named_parameters()]

    def _check_found(self) -> None:
        """TypeError for modules and parameters in dicts, tuples or sets, unless they are found elsewhere, too."""
        modules = list(self.named_modules())
        found = {id(x) for _, x in (*modules, *self.named_tensors())}
        for prefix, module in modules:
            for name, value in vars(module).items():
                for kind, item in _hidden(value):
                    if (isinstance(item, Module) or _is_parameter(item)) and id(item) not in found:
                        what = f"{join(prefix, name)} holds {'modules' if isinstance(item, Module) else 'parameters'}"
                        raise TypeError(
                            f"{what} in a {kind}, where they are not found: use a list, or an attribute each"
                        )

    def train(self, mode: bool = True) -> Self:
        self._check_found()
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
            holder = holder[names_in(holder).index(part)] if isinstance(holder, list) else getattr(holder, part)
        if isinstance(holder, list):
            holder[names_in(holder).index(last)] = new
        else:
            setattr(holder, last, new)

    def kept(self) -> dict[str, Array]:
        """The arrays that the attributes named in `keeps` are made of: "NAME", or "NAME.anything"."""
        return {}

    def restored(self, kept: dict[str, Array]) -> dict[str, Any]:
        """The attributes named in `keeps`, made of what `kept` gave. ValueError for what it did not give."""
        return {}

    def _named_state(self) -> Iterator[tuple[str, Module, str, Any]]:
        """(dotted name, the module that holds it, its name there, value) of every attribute that is state."""
        for prefix, module in self.named_modules():
            for name, value in module._named_attributes():
                if name not in module.keeps and arrays_of(value):
                    yield join(prefix, name), module, name, value

    def _kept_in(self, state: Mapping[str, Array]) -> Iterator[tuple[str, Module, dict[str, Array]]]:
        """(dotted name, module, what `state` holds of the attributes it `keeps`) of every module that keeps some."""
        for prefix, module in self.named_modules():
            owned = tuple(join(prefix, name) for name in module.keeps)
            names = [name for name in state if name in owned or name.startswith(tuple(f"{o}." for o in owned))]
            if owned:
                yield prefix, module, {name[len(prefix) + bool(prefix) :]: np.asarray(state[name]) for name in names}

    def _named_arrays(self) -> dict[str, Array]:
        arrays = {join(prefix, key): a for prefix, m in self.named_modules() for key, a in type_of(m).items()}
        for name, _, _, value in self._named_state():
            arrays |= {join(name, key): a for key, a in (arrays_of(value) | type_of(value)).items()}
        return arrays

    def _named_kept(self) -> dict[str, Array]:
        return {join(prefix, key): a for prefix, m in self.named_modules() for key, a in m.kept().items()}

    def _names_to_load(self, state: Mapping[str, Array]) -> set[str]:
        """The names in a state less those that are ignored, and those of attributes that modules keep."""
        kept = {join(prefix, key) for prefix, _, arrays in self._kept_in(state) for key in arrays}
        ignored = {join(prefix, name) for prefix, m in self.named_modules() for name in m.ignores}
        return state.keys() - kept - ignored

    def _by_names(self, state: Mapping[str, Array]) -> dict[str, Array]:
        """A state in which lists' items have their indices, as all had once, by the names that they have here."""
        names = dict(zip(dict(self._walk(indices)), dict(self.named_modules()), strict=True))

        def renamed(name: str) -> str:
            prefix = name
            while prefix not in names:  # the model itself is there: ""
                prefix = prefix.rpartition(".")[0]
            return join(names[prefix], name[len(prefix) :].lstrip("."))

        return {renamed(name): array for name, array in state.items()}

    def state_dict(self) -> dict[str, Array]:
        """Dotted name -> a copy of the array: of Tensors, arrays, and objects made of arrays (`Stored`).

        Where a module or such an object has a `state_type`, it is there, too, as an array of text.
        """
        self._check_found()
        return {name: array.copy() for name, array in (self._named_arrays() | self._named_kept()).items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy the arrays in: floats in the dtype the model has, anything else only of that dtype.

        All or nothing: ValueError for a missing or unexpected name, another shape or `state_type`, or a dtype that
        will not do.
        """
        self._check_found()
        for module, at, value, replacement in self._replacements(self._named_as_here(state)):
            if isinstance(value, Tensor) and replacement is not None:  # the tensor stays: an optimizer holds it
                value.data = replacement.data if isinstance(replacement, Tensor) else replacement
            else:
                module._put(at, replacement)

    def _named_as_here(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """The state by the names that its arrays have here. ValueError for a name too many or too few."""
        wanted = self._named_arrays().keys()
        if self._names_to_load(state) != wanted and self._names_to_load(self._by_names(state)) == wanted:
            return self._by_names(state)
        check_names(self._names_to_load(state), wanted)
        return state

    def _replacements(self, state: Mapping[str, Array]) -> list[tuple[Module, str, Any, Any]]:
        """(module, its attribute's name, value, what the state puts in its place), all made before one is put in."""
        here, new, ready = self._named_arrays(), dict[str, Array](), list[tuple[Module, str, Any, Any]]()
        other = {
            join(name, key): shape
            for name, _, _, value in self._named_state()
            for key, shape in getattr(value, "other_shapes", {}).items()
        }
        for name in sorted(here, key=lambda name: not is_type(name)):  # types first: they say why shapes differ
            new[name] = checked_array(name, np.asarray(state[name]), here[name], other.get(name))
        for name, module, at, value in self._named_state():
            arrays = {key: new[join(name, key)] for key in arrays_of(value)}
            ready.append((module, at, value, value.with_arrays(arrays) if isinstance(value, Stored) else arrays[""]))
        made_again = _made_again(self._kept_in(state))
        return ready + [(m, at, vars(m).get(at), v) for m, made in made_again for at, v in made.items()]

    def _named_attributes(self, names: Callable[[list[Any]], list[str]] | None = None) -> Iterator[tuple[str, Any]]:
        for name, value in vars(self).items():
            yield from _flatten(name, value, names or names_in)

    def __repr__(self) -> str:
        children = (repr(value) for _, value in self._named_attributes() if isinstance(value, Module))
        return f"{type(self).__name__}({', '.join(children)})"

    def __str__(self) -> str:
        """What `print` shows: the repr, or where that is long, a line for each part."""
        parts = [(name, str(m)) for name, m in self._named_attributes() if isinstance(m, Module)]
        if not parts or type(self).__repr__ is not Module.__repr__ or len(repr(self)) <= LINE:
            return repr(self)
        lines = (f"{name}: {said}".replace("\n", "\n  ") for name, said in parts)
        return f"{type(self).__name__}(\n  " + ",\n  ".join(lines) + ",\n)"

    def _repr_html_(self) -> str:
        """What a notebook shows: a row for each layer that says itself what it is, with the bytes of its arrays."""
        rows = "".join(
            f"<tr><td>{name}</td><td><code>{escape(repr(m))}</code></td><td>{m._nbytes():,}</td></tr>"
            for name, m in self._lines()
        )
        return f"<table><tr><th>name</th><th>layer</th><th>bytes</th></tr>{rows}</table>"

    def _lines(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of every module below whose repr is more than the list of its parts."""
        parts = [(join(prefix, name), m) for name, m in self._named_attributes() if isinstance(m, Module)]
        if not parts or type(self).__repr__ is not Module.__repr__:
            yield prefix, self
        else:
            for name, m in parts:
                yield from m._lines(name)

    def _nbytes(self) -> int:
        return sum(a.nbytes for _, _, _, value in self._named_state() for a in arrays_of(value).values())


def as_module(model: Any) -> Module:
    """model, if it is a Module. TypeError for anything else, such as another library's network."""
    if not isinstance(model, Module):
        raise TypeError(f"wanted a Module of tinytorch.core, got {kind_of(model)}")
    return model


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Eval mode and no_grad inside the block, for the model and whatever else this thread runs in it.

    Nothing of the model is changed, so other threads may evaluate or train it meanwhile.
    """
    as_module(model)
    token = _evaluating.set(True)
    try:
        with no_grad():
            yield
    finally:
        _evaluating.reset(token)


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


class Identity(Module):
    """x, as it is: what stands where a layer was taken out."""

    def forward(self, x: Any) -> Any:
        return x


def _check_is_layer(layer: Any) -> None:
    """TypeError for the class of a layer."""
    if isinstance(layer, type):
        raise TypeError(f"Sequential takes layers, got the class {layer.__name__}: write {layer.__name__}(...)")


class Sequential(Module):
    """Layers one after the other; they are named "layers.0", "layers.1", ...

    Also a sequence of them: `len(model)`, `model[0]`, `model[:-1]` (the same layers under the same names),
    `for layer in model`, `model.append(layer)`.
    """

    def __init__(self, *layers: Module) -> None:
        if any(isinstance(layer, (list, tuple)) for layer in layers):
            raise TypeError("Sequential takes its layers one by one, got a list of them: write Sequential(*layers)")
        for layer in layers:
            _check_is_layer(layer)
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __bool__(self) -> bool:
        return True  # also one without layers is a model

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    @overload
    def __getitem__(self, at: int) -> Module: ...

    @overload
    def __getitem__(self, at: slice) -> Sequential: ...

    def __getitem__(self, at: int | slice) -> Module:
        if not isinstance(at, slice):
            return self.layers[at]
        part = Sequential()
        part.layers = Remaining(self.layers[at], names_in(self.layers)[at])
        return part

    def append(self, layer: Module) -> Self:
        """Put a layer behind the others, which keep their names; returns this model."""
        _check_is_layer(layer)
        names = names_in(self.layers)
        self.layers = Remaining([*self.layers, layer], [*names, str(int(names[-1]) + 1 if names else 0)])
        return self


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
