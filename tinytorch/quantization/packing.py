"""Given: codes of 2 to 7 bits as one stream of bits, lowest first; those of 4 by the exercise's own functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.core.checks import real_array
from tinytorch.quantization.qparams import IntType, check_codes, packed_size
from tinytorch.quantization.quantize import pack_int4, unpack_int4

__all__ = [
    "pack_bits",
    "unpack_bits",
]


def pack_bits(q: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Codes of `bits` bits [any shape] -> uint8 [ceil(size * bits / 8)]: a stream of bits, lowest first, filled with 0.

    >>> pack_bits(np.array([1, -2, 1, 0], np.int8), 2).tolist()  # 01, 10, 01, 00, from the right
    [25]
    """
    q = real_array("codes", q)
    int_type = IntType(bits, signed=q.dtype != np.uint8)
    check_codes(q, int_type)
    if int_type.bits == 4:
        return pack_int4(q)
    stream = (q.astype(np.uint8).reshape(-1, 1) >> np.arange(int_type.bits, dtype=np.uint8)) & 1
    return np.packbits(stream, bitorder="little")


@np.errstate(over="ignore")  # -128 wraps around to itself
def unpack_bits(packed: NDArray[np.uint8], bits: int, shape: tuple[int, ...], signed: bool = True) -> NDArray[Any]:
    """The inverse of `pack_bits`: int8 (signed) or uint8 codes [shape]. Refuses what `unpack_int4` refuses.

    >>> unpack_bits(np.array([25], np.uint8), 2, (4,)).tolist()
    [1, -2, 1, 0]
    """
    bits = IntType(bits).bits
    if bits == 4:
        return unpack_int4(packed, shape, signed)
    size = packed_size(packed, bits, shape)
    stream = np.unpackbits(packed, count=size * bits, bitorder="little").reshape(size, bits)
    q = (stream << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.uint8).reshape(shape)
    sign = np.uint8(1 << (bits - 1))
    return (q ^ sign).astype(np.int8) - sign.astype(np.int8) if signed else q
