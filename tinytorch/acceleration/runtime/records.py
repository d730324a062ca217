"""Records with named fields at an address: how compiled code hands many values to a task that takes one pointer.

MATRIX = fields("address stride rows columns")  # int64 each
matrix_at = view_of(MATRIX)

matrix = matrix_at(address)                     # in compiled code, where matrix.rows is one load
block = np.zeros(1, MATRIX); matrix = block[0]  # a new one there; `keep(block)` where it was used last
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

I64 = types.int64


def fields(names: str) -> np.dtype[Any]:
    """A dtype of int64 fields with these names."""
    return np.dtype([(name, np.int64) for name in names.split()])


def view_of(dtype: np.dtype[Any]) -> Any:
    """An intrinsic for compiled code: the record of this dtype at an address, to be read and written by names."""
    record = numba.from_dtype(dtype)

    def view(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(record))

        return record(I64), generate

    return intrinsic(view)
