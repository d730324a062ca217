"""Records with named fields at an address: how compiled code hands many values to a task that takes one pointer.

MATRIX = fields("address stride rows columns")  # int64 each
matrix_at = view_of(MATRIX)

matrix = matrix_at(address)                     # in compiled code, where matrix.rows is one load
block = np.zeros(1, MATRIX); matrix = block[0]  # a new one there; `keep_alive(block)` where it was used last
atomic_add(matrix, "rows", 1)                   # in one step, though other threads write to the field, too
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .layout import ALIGNMENT

I64 = types.int64


def fields(names: str) -> np.dtype[Any]:
    """A dtype of int64 fields with these names."""
    return np.dtype([(name, np.int64) for name in names.split()])


def fields_on_lines(*lines: str) -> np.dtype[Any]:
    """The same, but the names of each string stand on a cache line of their own: a processor that writes to a line
    takes it from all others, so what different threads write should not share one."""
    places = {name: ALIGNMENT * i + 8 * j for i, line in enumerate(lines) for j, name in enumerate(line.split())}
    kinds, itemsize = [np.int64] * len(places), ALIGNMENT * len(lines)
    return np.dtype({"names": list(places), "formats": kinds, "offsets": list(places.values()), "itemsize": itemsize})


def view_of(dtype: np.dtype[Any]) -> Any:
    """An intrinsic for compiled code: the record of this dtype at an address, to be read and written by names."""
    record = numba.from_dtype(dtype)

    def view(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(record))

        return record(I64), generate

    return intrinsic(view)


def _field(builder: Any, signature: Any, values: Any) -> Any:
    """A pointer to the field of the record that the first two arguments name."""
    record, name = signature.args[:2]
    integer = ir.IntType(64)
    address = builder.add(builder.ptrtoint(values[0], integer), integer(record.offset(name.literal_value)))
    return builder.inttoptr(address, integer.as_pointer())


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def atomic_load(typing: Any, record: Any, name: Any) -> Any:
    """atomic_load(record, "field"): the field as all threads see it."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_field(builder, signature, values), "seq_cst", 8)

    return I64(record, name), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def atomic_store(typing: Any, record: Any, name: Any, value: Any) -> Any:
    """atomic_store(record, "field", value): write the field for all threads to see."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store_atomic(values[2], _field(builder, signature, values), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(record, name, I64), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def atomic_add(typing: Any, record: Any, name: Any, value: Any) -> Any:
    """atomic_add(record, "field", value): add in a step that no thread splits; returns what the field held before."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.atomic_rmw("add", _field(builder, signature, values), values[2], "seq_cst")

    return I64(record, name, I64), generate
