"""What an optimizer, an observer or a generator of random numbers must keep so that training goes on to the same bits.

`object_state` turns the attributes of an object into named arrays, as a model's `state_dict` is made of: each array
under its own name, and all that is no array in one text. `restored` turns them back. Nothing in them can run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, ClassVar

import numpy as np

from .tensor import Array, Tensor

ATTRIBUTES = "attributes"  # the text: JSON, in which {"array": name} stands for an array
PLAIN = (bool, int, float, str, type(None))


class Stateful:
    """An object whose attributes are its state: numbers, text, arrays, Tensors, generators, and what is made of those.

    not_state: names of attributes that are none, such as an optimizer's parameters, which are the model's state.
    """

    not_state: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        """`Adam(lr=0.001, steps=12, betas=(0.9, 0.999), eps=1e-08)`: the numbers and text among its attributes."""
        shown = [f"{k}={v!r}" for k, v in vars(self).items() if type(v) in (*PLAIN, tuple) and not k.startswith("_")]
        return f"{type(self).__name__}({', '.join(shown)})"

    def state_dict(self) -> dict[str, Array]:
        """Name -> a copy of the array, for `load_state_dict` of another object of this class, in any process."""
        return {name: array.copy() for name, array in object_state(self).items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Go on as the object that gave this state would have; all or nothing.

        ValueError for the state of another class, or of arrays of other shapes or types.
        """
        _adopt(self, restored(self, state))


def object_state(owner: Any) -> dict[str, Array]:
    """The attributes of an object as arrays. TypeError, naming it, for one that is not made of numbers and arrays."""
    arrays: dict[str, Array] = {}
    said = json.dumps(_encode(owner, "", arrays))
    return {ATTRIBUTES: np.array(said), **arrays}


def restored(owner: Any, state: Mapping[str, Array]) -> Any:
    """A copy of `owner` with the attributes of a state that `object_state` gave; `owner` stays as it is.

    ValueError for the state of another class, or of arrays of other shapes or types.
    """
    name = type(owner).__name__
    if ATTRIBUTES not in state:
        raise ValueError(f"wanted the state of {name}, got {sorted(state)}: object_state or state_dict makes one")
    try:
        return _decode(json.loads(str(state[ATTRIBUTES])), owner, "", state)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the state of {name} is damaged: {type(error).__name__} {error}") from error


def _join(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _attributes(value: Any) -> dict[str, Any]:
    left_out = getattr(value, "not_state", ())
    return {key: v for key, v in vars(value).items() if key not in left_out}


def _encode(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    def each(items: Iterable[Any]) -> list[Any]:
        return [_encode(v, _join(name, i), arrays) for i, v in enumerate(items)]

    if type(value) in PLAIN:
        return value
    if isinstance(value, np.random.Generator):
        return {"generator": _encode(value.bit_generator.state, name, arrays)}
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        kind = "array" if isinstance(value, np.ndarray) else "number" if isinstance(value, np.generic) else "tensor"
        arrays[name] = value.data if isinstance(value, Tensor) else np.asarray(value)
        if arrays[name].dtype.kind not in "biufcSU":
            raise TypeError(f"{name} is an array of {arrays[name].dtype}, which is not saved: keep numbers")
        return {kind: name, "trained": True} if isinstance(value, Tensor) and value.requires_grad else {kind: name}
    if type(value) is list:
        return each(value)
    if type(value) is tuple:
        return {"tuple": each(value)}
    if type(value) is dict:
        return {"keys": each(value), "values": [_encode(v, _join(name, k), arrays) for k, v in value.items()]}
    if callable(value) or not hasattr(value, "__dict__"):
        kind = type(value).__name__
        raise TypeError(
            f"{name or 'the object'} is a {kind}, which is not saved: keep numbers and arrays in attributes"
        )
    said = {key: _encode(v, _join(name, key), arrays) for key, v in _attributes(value).items()}
    return {"object": type(value).__name__, "of": said}


def _decode(said: Any, old: Any, name: str, state: Mapping[str, Array]) -> Any:
    """old: what is there now, None if nothing: an object is made from it, and an array has its shape and dtype."""
    if type(said) in PLAIN:
        return said
    if isinstance(said, list):
        here = old if isinstance(old, (list, tuple)) else []
        if len(here) != len(said) and any(isinstance(v, (np.ndarray, Tensor)) for v in here):
            raise ValueError(f"{name} must be {len(here)} arrays, got {len(said)}: of other parameters")
        pairs = zip(said, [*here, *[None] * len(said)], strict=False)
        return [_decode(v, o, _join(name, i), state) for i, (v, o) in enumerate(pairs)]
    if "tuple" in said:
        return tuple(_decode(said["tuple"], old, name, state))
    if "keys" in said:
        keys = _decode(said["keys"], None, name, state)
        known = old if isinstance(old, dict) else {}
        return {k: _decode(v, known.get(k), _join(name, k), state) for k, v in zip(keys, said["values"], strict=True)}
    if "generator" in said:
        return _generator(_decode(said["generator"], None, name, state))
    if "object" in said:
        return _object(said, old, name, state)
    kind = next(k for k in ("array", "number", "tensor") if k in said)
    array = _checked(name, state[said[kind]], old.data if isinstance(old, Tensor) else old)
    if kind == "number":
        return array[()]
    return Tensor(array, requires_grad="trained" in said) if kind == "tensor" else array


def _checked(name: str, new: Array, old: Any) -> Array:
    """A copy of `new`, of the shape and dtype of the array that is there."""
    new = np.asarray(new)
    if isinstance(old, np.ndarray) and (new.shape, new.dtype) != (old.shape, old.dtype):
        raise ValueError(f"{name} must be {old.dtype} {old.shape}, got {new.dtype} {new.shape}")
    return new.copy()


def _object(said: Any, old: Any, name: str, state: Mapping[str, Array]) -> Any:
    if old is None or type(old).__name__ != said["object"]:
        here = "nothing" if old is None else type(old).__name__
        raise ValueError(f"{name or 'the state'} is of {said['object']}, here is {here}: make the same kind first")
    kept = {key: v for key, v in vars(old).items() if key in getattr(old, "not_state", ())}
    new = copy(old)
    vars(new).clear()
    vars(new).update({key: _decode(v, vars(old).get(key), _join(name, key), state) for key, v in said["of"].items()})
    vars(new).update(kept)
    return new


def _generator(said: dict[str, Any]) -> np.random.Generator:
    kind = getattr(np.random, str(said["bit_generator"]), None)
    if not (isinstance(kind, type) and issubclass(kind, np.random.BitGenerator)):
        raise ValueError(f"wanted the state of one of NumPy's bit generators, got {said['bit_generator']!r}")
    bits = kind(0)
    bits.state = said
    return np.random.Generator(bits)


def _adopt(old: Any, new: Any) -> Any:
    """`new`; but Tensors, generators and Stateful objects that are there stay, with what was saved."""
    if isinstance(old, np.random.Generator):
        old.bit_generator.state = new.bit_generator.state
        return old
    if isinstance(old, Tensor) and isinstance(new, Tensor):
        old.data = new.data
        return old
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [_adopt(o, n) for o, n in zip(old, new, strict=True)]
    if isinstance(old, Stateful):
        attributes = {key: _adopt(vars(old).get(key), v) for key, v in vars(new).items()}
        vars(old).clear()
        vars(old).update(attributes)
        return old
    return new
