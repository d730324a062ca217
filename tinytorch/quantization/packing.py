"""Given: codes of 2 to 7 bits as one stream of bits, lowest bit first, as ONNX packs those of 4."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.core.checks import real_array, whole_number
from tinytorch.quantization.qparams import IntType, check_codes

__all__ = [
    "pack_bits",
    "packed_size",
    "unpack_bits",
]


def packed_size(packed: NDArray[Any], bits: int, shape: tuple[int, ...]) -> int:
    """How many codes of `bits` bits this shape has. TypeError or ValueError unless `packed` are exactly their bytes."""
    if not isinstance(packed, np.ndarray) or packed.dtype != np.uint8:
        raise TypeError(f"packed codes are an array of uint8, got {getattr(packed, 'dtype', type(packed).__name__)}")
    size = int(np.prod([whole_number("a shape", "each size", n, 0) for n in np.atleast_1d(shape)], dtype=np.int64))
    if packed.size != (size * bits + 7) // 8:
        raise ValueError(f"shape {shape} takes {(size * bits + 7) // 8} bytes, got {packed.size}")
    return size


def pack_bits(q: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Codes of `bits` bits [any shape] -> uint8 [ceil(size * bits / 8)]: a stream of bits, lowest first, filled with 0.

    >>> pack_bits(np.array([1, -2, 1, 0], np.int8), 2).tolist()  # 01, 10, 01, 00, from the right
    [25]
    """
    q = real_array("codes", q)
    int_type = IntType(bits, signed=q.dtype != np.uint8)
    check_codes(q, int_type)
    stream = (q.astype(np.uint8).reshape(-1, 1) >> np.arange(int_type.bits, dtype=np.uint8)) & 1
    return np.packbits(stream, bitorder="little")


@np.errstate(over="ignore")  # -128 wraps around to itself
def unpack_bits(packed: NDArray[np.uint8], bits: int, shape: tuple[int, ...], signed: bool = True) -> NDArray[Any]:
    """The inverse of `pack_bits`: int8 (signed) or uint8 codes [shape]. Refuses what `unpack_int4` refuses.

    >>> unpack_bits(np.array([25], np.uint8), 2, (4,)).tolist()
    [1, -2, 1, 0]
    """
    bits = IntType(bits).bits
    size = packed_size(packed, bits, shape)
    stream = np.unpackbits(packed, count=size * bits, bitorder="little").reshape(size, bits)
    q = (stream << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.uint8).reshape(shape)
    sign = np.uint8(1 << (bits - 1))
    return (q ^ sign).astype(np.int8) - sign.astype(np.int8) if signed else q
