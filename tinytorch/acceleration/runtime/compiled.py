"""The little of Numba that the drivers use: compile once and keep on disk, call an address, count atomically.

Import it (and `gemm`, `threads`) only when a compiled kernel is wanted: it imports numba.
"""

import hashlib
import inspect
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import llvmlite.binding as llvm
import numba
import numpy.ma  # noqa: F401  Numba asks for it in a call, where a fork of another thread could catch its import
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import NullCache
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from . import disk
from .once import once

F = TypeVar("F", bound=Callable[..., Any])
Array = NDArray[Any]
I64 = ir.IntType(64)


class _OnDisk(NullCache):  # type: ignore[misc]
    """Where Numba keeps what it compiled of one function: a file for each signature and processor."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"

    def _file(self, signature: Any, codegen: Any) -> str:
        digest = hashlib.sha256(f"{signature} {codegen.magic_tuple()}".encode()).hexdigest()[:16]
        return f"{self._name}-{digest}.numba"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        data = disk.read(self._file(signature, target_context.codegen()))
        if data is None:
            return None
        with suppress(Exception):  # whatever cannot be read is made again
            return CompileResult._rebuild(target_context, *pickle.loads(data))
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        disk.write(self._file(signature, result.codegen), dumps(result._reduce()))


class Entry:
    """A function called from Python: compiled for one signature when it is first called, kept on disk, run without the
    GIL."""

    __slots__ = ("_function", "_made", "_signature", "_whole_numbers")

    def __init__(self, function: Callable[..., Any], signature: str, whole_numbers: bool = False) -> None:
        """whole_numbers: it computes with nothing else, and the floating-point mode does not matter."""
        self._function, self._signature, self._whole_numbers, self._made = function, signature, whole_numbers, None

    @property
    def made(self) -> Any:
        """Numba's dispatcher."""
        if self._made is None:
            self._made = _dispatcher(self._function, self._signature, self._whole_numbers)
        return self._made

    def __call__(self, *arguments: Any) -> Any:
        return (self._made or self.made)(*arguments)


def _in_default_mode(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which computes in the processor's default floating-point mode, whatever its caller has set.

    That mode rounds to nearest, ties to even, keeps subnormal numbers and raises no signal. If another library has set
    another one for this thread, it gets it back. A worker of the pool stays in the default mode for its life.
    """
    names = ", ".join(inspect.signature(function).parameters)
    scope = {"call_in_default_mode": call_in_default_mode, "body": inlined(function), "__name__": function.__module__}
    made: Callable[..., Any] = eval(f"lambda {names}: call_in_default_mode(body, ({names},))", scope)
    return made


@once
def _dispatcher(function: Callable[..., Any], signature: str, whole_numbers: bool) -> Any:
    made = numba.njit(nogil=True, boundscheck=False)(function if whole_numbers else _in_default_mode(function))
    made._cache = _OnDisk(function)
    made.compile(signature)
    made.disable_compile()
    return made


def compiled(signature: str) -> Callable[[Callable[..., Any]], Entry]:
    """Make an Entry: what nobody calls costs nothing, which counts when all is new and nothing is on disk."""
    return lambda function: Entry(function, signature)


# For compiled code alone: the wrappers by which Python and C would call such functions take long to compile. Without
# them a call from Python has nowhere to go, and ends the process.
inlined: Callable[[F], F] = numba.njit(boundscheck=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)


class Task:
    """A function that compiled code calls by address, from any thread; compiled when its address is first wanted."""

    __slots__ = ("_address", "_function", "_signature")

    def __init__(self, function: Callable[..., Any], signature: str) -> None:
        self._function, self._signature, self._address = function, signature, 0

    @property
    def address(self) -> int:
        """Of the machine code, which stays as long as the process."""
        if self._address == 0:
            self._address = int(_callback(self._function, self._signature).address)
        return self._address


@once
def _callback(function: Callable[..., Any], signature: str) -> Any:
    made: Any = CFunc(function, normalize_signature(signature), locals={}, options={})
    made._cache = _OnDisk(function)
    made.compile()
    return made


def task(function: Callable[[Any, int, int], None]) -> Task:
    """`function(args: pointer to int64, index, thread)` as a Task; see `threads.run`."""
    return Task(function, "void(CPointer(int64), int64, int64)")


def matrix_pass(function: Callable[[int, int, int, int, int, int, int, int], int]) -> Task:
    """`function(x, ldx, rows, cols, y, ldy, u, v)` as a Task: a pass over a matrix, as those of `sweeps`."""
    return Task(function, f"int64({', '.join(['int64'] * 8)})")


def _intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = intrinsic(function)
    return made


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, I64.as_pointer())


@dataclass(frozen=True)
class ModeRegister:
    """A processor's floating-point mode: instructions that move it to and from a pointer's place, and its default."""

    read: str
    write: str
    default: int
    flags: int = 0  # bits that say what has happened


MODES = {
    "x86_64": ModeRegister("stmxcsr ($0)", "ldmxcsr ($0)", 0x1F80, 0x3F),
    "aarch64": ModeRegister("mrs x9, fpcr\nstr x9, [$0]", "ldr x9, [$0]\nmsr fpcr, x9", 0),
}
MODES["arm64"] = MODES["aarch64"]
llvm.initialize_native_asmparser()  # these are assembly text
MODE = MODES.get(llvm.get_process_triple().partition("-")[0])


def _move_mode(builder: Any, instructions: str, place: Any) -> None:
    """The clobbered memory keeps LLVM from moving loads and stores, and so arithmetic, across."""
    clobbered = "~{memory},~{x9}" if "x9" in instructions else "~{memory}"
    kind = ir.FunctionType(ir.VoidType(), [I64.as_pointer()])
    builder.call(ir.InlineAsm(kind, instructions, f"r,{clobbered}", side_effect=True), [place])


def _is_other(builder: Any, register: ModeRegister, mode: Any) -> Any:
    return builder.icmp_unsigned("!=", builder.and_(mode, I64(~register.flags)), I64(register.default))


def _enter_default_mode(builder: Any) -> Any:
    """Set the default floating-point mode; returns the one before."""
    if MODE is None:
        return I64(0)
    place = cgutils.alloca_once(builder, I64)
    _move_mode(builder, MODE.read, place)
    half = builder.bitcast(place, ir.IntType(32).as_pointer())  # all that x86 has written; arm64's upper half is 0
    before = builder.zext(builder.load(half), I64)
    with builder.if_then(_is_other(builder, MODE, before), likely=False):
        builder.store(I64(MODE.default), place)
        _move_mode(builder, MODE.write, place)
    return before


def _leave_default_mode(builder: Any, before: Any) -> None:
    """Set the mode that `_enter_default_mode` returned."""
    if MODE is not None:
        with builder.if_then(_is_other(builder, MODE, before), likely=False):
            _move_mode(builder, MODE.write, cgutils.alloca_once_value(builder, before))


@_intrinsic
def call_in_default_mode(typing: Any, function: Any, arguments: Any) -> Any:
    """function(*arguments), where the function is `inlined`. If it raises, the mode is set back, too."""
    inner = function.get_call_type(typing, tuple(arguments), {})

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        made = function.dispatcher.get_compile_result(inner)
        context.add_linking_libs([made.library])
        before = _enter_default_mode(builder)
        unpacked = cgutils.unpack_tuple(builder, values[1], len(inner.args))
        status, result = context.call_internal_no_propagate(builder, made.fndesc, inner, unpacked)
        _leave_default_mode(builder, before)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return result

    return inner.return_type(function, arguments), generate


@_intrinsic
def at(typing: Any, array: Any) -> Any:
    """The address of an array's first element, signed as all our integers: `keep` the array until it was used.

    Intrinsic, as it is used on many types: Numba would compile a function for each.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = values[0]
        if isinstance(signature.args[0], types.Array):
            pointer = context.make_array(signature.args[0])(context, builder, pointer).data
        return builder.ptrtoint(pointer, I64)

    return types.int64(array), generate


@_intrinsic
def call(typing: Any, address: Any, arguments: Any) -> Any:
    """call(address, (int64, ...)) -> int64: the function at `address`, in the C convention."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        integers = [builder.extract_value(values[1], i) for i in range(len(signature.args[1]))]
        kind = ir.FunctionType(I64, [I64] * len(integers))
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), integers)

    return types.int64(types.int64, arguments), generate


@_intrinsic
def add(typing: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at `address` in one step that no other thread can split; returns what it held before."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, values[0]), values[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@_intrinsic
def peek(typing: Any, address: Any) -> Any:
    """The int64 at `address` as all threads see it."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_pointer(builder, values[0]), "seq_cst", 8)

    return types.int64(types.int64), generate


@_intrinsic
def poke(typing: Any, address: Any, value: Any) -> Any:
    """Store an int64 at `address` for all threads to see."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store_atomic(values[1], _pointer(builder, values[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@_intrinsic
def relax(typing: Any) -> Any:
    """Tell the processor that this thread waits in a loop."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        triple = llvm.get_process_triple()
        if triple.startswith(("x86_64", "i686")):
            pause = builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), ir.FunctionType(ir.VoidType(), []))
            builder.call(pause, [])
        return context.get_dummy_value()

    return types.void(), generate


@_intrinsic
def keep(typing: Any, array: Any) -> Any:
    """Use `array` here, so that Numba does not free it before: an address of it is good up to this line."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_dummy_value()

    return types.void(array), generate


@_intrinsic
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


def _numbers(kind: Any) -> Any:
    """An intrinsic: the numbers of one kind from an address on, to be read and written as an array's."""

    @_intrinsic
    def numbers(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(kind).as_pointer())

        return types.CPointer(kind)(types.int64), generate

    return numbers


words, ints, reals = _numbers(types.int64), _numbers(types.int32), _numbers(types.float32)
