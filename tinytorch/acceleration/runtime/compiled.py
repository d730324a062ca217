"""Functions that Numba compiles once and keeps on disk: for Python to call, for compiled code, and as tasks of threads.

Import it (and what imports it) only when a compiled kernel is wanted: it imports numba, which takes a moment.
"""

import hashlib
import inspect
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numba
import numpy.ma  # noqa: F401  Numba asks for it in a call, where a fork of another thread could catch its import
from numba.core.caching import NullCache
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numpy.typing import NDArray

from . import disk
from .float_mode import call_in_default_mode
from .once import once

F = TypeVar("F", bound=Callable[..., Any])
Array = NDArray[Any]


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

    __slots__ = ("_function", "_made", "_signature", "_integers_only")

    def __init__(self, function: Callable[..., Any], signature: str, integers_only: bool = False) -> None:
        """integers_only: it computes with nothing else, so the floating-point mode does not matter."""
        self._function, self._signature, self._integers_only, self._made = function, signature, integers_only, None

    @property
    def made(self) -> Any:
        """Numba's dispatcher."""
        if self._made is None:
            self._made = _dispatcher(self._function, self._signature, self._integers_only)
        return self._made

    def __call__(self, *arguments: Any) -> Any:
        return (self._made or self.made)(*arguments)


def _in_default_mode(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, computing in the default floating-point mode (see `float_mode`); its caller's is restored. A
    worker of the pool stays in the default mode for its life."""
    names = ", ".join(inspect.signature(function).parameters)
    scope = {"call_in_default_mode": call_in_default_mode, "body": inlined(function), "__name__": function.__module__}
    made: Callable[..., Any] = eval(f"lambda {names}: call_in_default_mode(body, ({names},))", scope)
    return made


@once
def _dispatcher(function: Callable[..., Any], signature: str, integers_only: bool) -> Any:
    made = numba.njit(nogil=True, boundscheck=False)(function if integers_only else _in_default_mode(function))
    made._cache = _OnDisk(function)
    made.compile(signature)
    made.disable_compile()
    return made


def compiled(signature: str) -> Callable[[Callable[..., Any]], Entry]:
    """Make an Entry: what nobody calls costs nothing, which counts when all is new and nothing is on disk."""
    return lambda function: Entry(function, signature)


# For compiled code alone: the wrappers by which Python and C would call such functions take long to compile. Without
# them a call from Python has nowhere to go, and ends the process.
ALONE = {"boundscheck": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inlined: Callable[[F], F] = numba.njit(**ALONE)
always_inlined: Callable[[F], F] = numba.njit(**ALONE, forceinline=True)  # also where LLVM thinks it too long


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
    """`function(x, ldx, rows, cols, y, ldy, u, v)` as a Task: a loop over a matrix, see `codegen.matrix_loop`."""
    return Task(function, f"int64({', '.join(['int64'] * 8)})")
