"""The processor's floating-point mode: compiled code computes in the default one, whatever its caller has set.

The default mode rounds to nearest, ties to even, keeps subnormal numbers and raises no signal. Another library may have
set another one for its thread, and gets it back.
"""

from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils

from .intrinsics import I64, intrinsic


@dataclass(frozen=True)
class ModeRegister:
    """The register of the floating-point mode: instructions that move it to and from an address, and its default."""

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


@intrinsic
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
