"""What of a module is its state, and what of a state fits a module: arrays, under dotted names."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from .tensor import Array, Tensor


@runtime_checkable
class Stored(Protocol):
    """An object made of arrays, such as codes and their scale: a module's state if it is a module's attribute.

    It may have a `state_type`, as a Module: a string that tells what its arrays do not, such as their integer type. And
    `other_shapes`: name -> the other shape that an array may have when it is loaded.
    """

    def arrays(self) -> dict[str, Array]:
        """Name -> array, in a fixed order."""
        ...

    def with_arrays(self, arrays: dict[str, Array]) -> Self:
        """Another object like this one, made of arrays of the same names, shapes and dtypes."""
        ...


STATE_TYPE = "state_type"


def arrays_of(value: Any) -> dict[str, Array]:
    """What of an attribute is state: name -> array, the name "" where there is only one."""
    if isinstance(value, Stored) and not isinstance(value, type):
        return value.arrays()
    array = value.data if isinstance(value, Tensor) else value
    return {"": array} if isinstance(array, np.ndarray) else {}


def type_of(value: Any) -> dict[str, Array]:
    """The `state_type` of a module or an attribute, as state; nothing if it has none."""
    said = getattr(value, STATE_TYPE, "")
    return {STATE_TYPE: np.array(said)} if said else {}


def is_type(name: str) -> bool:
    return name.rpartition(".")[2] == STATE_TYPE


def checked_array(name: str, new: Array, old: Array, other_shape: tuple[int, ...] | None = None) -> Array:
    """A copy of `new` in place of `old`: of its shape, or the other one, in its dtype."""
    if is_type(name) and str(new) != str(old):
        owner = name.rpartition(".")[0] or "the model"
        raise ValueError(f"{owner} must be {old}, got {new}: the state is of a model quantized in another way")
    if new.shape not in (old.shape, other_shape):
        raise ValueError(f"{name} must have shape {old.shape}, got {new.shape}")
    if new.dtype != old.dtype and (old.dtype.kind != "f" or new.dtype.kind not in "fiub"):
        raise ValueError(f"{name} must have dtype {old.dtype}, got {new.dtype}: a conversion would change codes")
    with np.errstate(over="ignore"):
        copied = np.array(new, dtype=old.dtype, order="C")
    if old.dtype.kind == "f" and np.isinf(copied).sum() > np.isinf(new).sum():
        raise ValueError(f"{name} must fit {old.dtype}, got {new.dtype} numbers up to {np.abs(new).max():g}")
    return copied


def _some(names: Set[str]) -> str:
    """The names in a list, of many the first."""
    first = sorted(names)[:6]
    return f"{first}" + (f" and {len(names) - len(first)} more" if len(names) > len(first) else "")


def check_names(got: Set[str], wanted: Set[str]) -> None:
    """ValueError unless the names of a state are those of the model."""
    types = {name for name in wanted if is_type(name)}
    if types and got == wanted - types:
        raise ValueError(
            "the state does not tell the integer types of its codes, as none saved by an earlier version does: "
            "quantize the model again and save it"
        )
    if got != wanted and all(map(is_type, odd := sorted(got ^ wanted))):
        owner = odd[0].rpartition(".")[0] or "the model"
        how = "such as with a scale for each row (per_row)"
        raise ValueError(
            f"the state is of a model in which {owner} is quantized in another way, {how}, than in this one"
        )
    if got != wanted:
        differ = f"missing {_some(wanted - got)}, unexpected {_some(got - wanted)}"
        raise ValueError(f"the state is of another model: {differ}: make this one as that one was made")
