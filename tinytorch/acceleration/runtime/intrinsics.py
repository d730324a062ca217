"""Single instructions for compiled code: addresses, calls of an address, prefetching.

All addresses are int64 here, as all our integers. An address keeps nothing alive: `keep_alive(array)` behind its last
use does.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba.extending
from llvmlite import ir
from numba import types

I64 = ir.IntType(64)


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """numba.extending.intrinsic: the function says types, and returns what writes the instructions for a call."""
    made: Callable[..., Any] = numba.extending.intrinsic(function)
    return made


@intrinsic
def address_of(typing: Any, array: Any) -> Any:
    """The address of an array's first element, signed as all our integers: `keep_alive` the array until it was used.

    Intrinsic, as it is used on many types: Numba would compile a function for each.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = values[0]
        if isinstance(signature.args[0], types.Array):
            pointer = context.make_array(signature.args[0])(context, builder, pointer).data
        return builder.ptrtoint(pointer, I64)

    return types.int64(array), generate


@intrinsic
def call(typing: Any, address: Any, arguments: Any) -> Any:
    """call(address, (int64, ...)) -> int64: the function at `address`, in the C convention."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        integers = [builder.extract_value(values[1], i) for i in range(len(signature.args[1]))]
        kind = ir.FunctionType(I64, [I64] * len(integers))
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), integers)

    return types.int64(types.int64, arguments), generate


@intrinsic
def spin_pause(typing: Any) -> Any:
    """Tell the processor that this thread waits in a loop."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        triple = llvm.get_process_triple()
        if triple.startswith(("x86_64", "i686")):
            pause = builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), ir.FunctionType(ir.VoidType(), []))
            builder.call(pause, [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def keep_alive(typing: Any, array: Any) -> Any:
    """Use `array` here, so that Numba does not free it before: an address of it is good up to this line."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_dummy_value()

    return types.void(array), generate


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Tell the processor that this cache line will be wanted."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        to_read, near, data = number(0), number(3), number(1)
        builder.call(function, [builder.inttoptr(values[0], byte), to_read, near, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _array_at(kind: Any) -> Any:
    """An intrinsic: the numbers of this type from an address on, to be read and written as an array's: a[i] = 0."""

    @intrinsic
    def array_at(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(kind).as_pointer())

        return types.CPointer(kind)(types.int64), generate

    return array_at


int64s_at, int32s_at, float32s_at = _array_at(types.int64), _array_at(types.int32), _array_at(types.float32)
int8s_at, uint8s_at = _array_at(types.int8), _array_at(types.uint8)
