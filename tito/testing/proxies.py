"""The one door between tests and judged code, and the rule of what may pass it.

A test talks to a `Student`. Behind it stands a `Backend`: here the same process, elsewhere a sandbox. Through the door
pass None, bool, int, float, str, bytes, NumPy arrays and scalars, and tuples, lists and dicts of these. Everything else
that judged code returns stays on its side, and the test holds an `Opaque` handle to it. Arrays pass as copies, in both
directions.
"""

from __future__ import annotations

import builtins
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType, TracebackType
from typing import Any, NoReturn, Protocol, cast

import numpy as np

from tito.testing.arguments import Argument, ArgumentChanged, Given

SCALARS = (bool, int, float, str, bytes)
MODULE = "<module>"  # what Python calls the code of a module, outside of its functions
MOST_UNWRITTEN = 20  # that are kept of one test
NUMBER_KINDS = "biufc"  # what an array may hold: bool, int, unsigned, float, complex


@dataclass(frozen=True)
class Ref:
    """An object that stays on the student's side, by number; 0 is the judged module."""

    number: int
    type_name: str
    label: str = ""
    kind: int = 0  # the number of its class, where a backend counts classes
    may_change: bool = field(default=False, compare=False)  # by the call whose argument it is


@dataclass(frozen=True)
class Method(Ref):
    """A method, named but not yet looked up: `number` is the object whose method it is, `label` the method's name."""


class Backend(Protocol):
    """Where judged code runs. Values are as the module's docstring says, with `Ref` for what stays there.

    An exception of the student's arrives as the nearest builtin one, with its message; its attribute `student_frames`
    lists the (file, line) that it came through, outermost first.

    unwritten: each NotImplementedError that came from there, so that a test which swallows one is not taken for passed.
    """

    unwritten: deque[NotImplementedError]

    def get(self, target: Ref, name: str) -> Any: ...

    def call(self, target: Ref, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    def release(self, target: Ref) -> None: ...


CAUGHT: tuple[type[BaseException], ...] = (Exception, SystemExit)
"""What judged code raises and the test is told, with its line: exit() too. See `catch_every_end`."""


class Opaque:
    """A handle to an object of the student's: read its attributes, call it or its methods, pass it as an argument.

    Two handles are equal when they hold the same object. What comes back is again a plain value or a handle.
    """

    __slots__ = ("_backend", "_ref")

    def __init__(self, backend: Backend, ref: Ref) -> None:
        object.__setattr__(self, "_backend", backend)
        object.__setattr__(self, "_ref", ref)

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name in Opaque.__slots__:
            raise AttributeError(name)  # of a handle that was never made
        try:
            return _wrap(self._backend, self._backend.get(self._ref, name))
        except NotImplementedError as error:
            self._backend.unwritten.append(error)
            raise

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(f"a test cannot set .{name} of {self!r}: call a function of the judged module instead")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        sent = tuple(_unwrap(self._backend, arg) for arg in args)
        named = {name: _unwrap(self._backend, arg) for name, arg in kwargs.items()}
        try:
            return _wrap(self._backend, self._backend.call(self._ref, sent, named))
        except NotImplementedError as error:
            self._backend.unwritten.append(error)
            raise

    def _special(self, name: str) -> Any:
        try:
            return self.__getattr__(name)
        except AttributeError:
            raise TypeError(f"{self!r} has no {name}") from None

    def __len__(self) -> int:
        return int(self._special("__len__")())

    def __getitem__(self, key: Any) -> Any:
        return self._special("__getitem__")(key)

    def __iter__(self) -> Iterator[Any]:
        step = self._special("__iter__")()._special("__next__")
        while True:
            try:
                value = step()
            except StopIteration:
                return
            yield value

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and self._backend is other._backend and self._ref == other._ref

    def __hash__(self) -> int:
        return hash(self._ref.number)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be copied or pickled")

    def __repr__(self) -> str:
        return f"<{self._ref.label or self._ref.type_name} of the student's>"

    def __del__(self) -> None:
        self._backend.release(self._ref)


class Student(Opaque):
    """The judged module: `student.quantize(x, qparams)`. Every name it defines or imports can be asked for."""

    __slots__ = ()

    def __init__(self, backend: Backend, name: str) -> None:
        super().__init__(backend, Ref(0, "module", name))


@dataclass(frozen=True)
class Changing:
    """An argument of one call whose arrays that call changes on purpose."""

    handle: Opaque


def may_change(handle: Opaque) -> Changing:
    """Pass an object whose arrays a call is to change: `scaler.step(may_change(optimizer))`."""
    return Changing(handle)


def take_unwritten(handle: Opaque) -> list[NotImplementedError]:
    """What of the student's was called and is not written yet, since this was asked last."""
    waiting = handle._backend.unwritten
    return [waiting.popleft() for _ in range(len(waiting))]


def type_name(handle: Opaque) -> str:
    """The class name of the object behind a handle: `type_name(student.MinMaxObserver())` is 'MinMaxObserver'."""
    return str(handle._ref.type_name)


def _unwrap(backend: Backend, value: Any) -> Any:
    """What a test sends, checked."""
    if isinstance(value, Opaque):
        if value._backend is not backend:
            raise TypeError(f"{value!r} belongs to another student: handles cannot be exchanged")
        return value._ref
    if isinstance(value, Changing):
        return replace(_unwrap(backend, value.handle), may_change=True)
    if value is None or isinstance(value, SCALARS):
        return value
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in NUMBER_KINDS:
            raise TypeError(f"a test may send arrays of numbers only, got dtype {value.dtype}")
        return value
    if type(value) in (tuple, list):
        return type(value)(_unwrap(backend, item) for item in value)
    if type(value) is dict:
        return {_unwrap(backend, key): _unwrap(backend, item) for key, item in value.items()}
    raise TypeError(
        f"a test may send None, numbers, strings, bytes, arrays, tuples, lists, dicts and the student's own objects, "
        f"got {type(value).__name__}: between test and judged code may later stand a wall"
    )


def _wrap(backend: Backend, value: Any) -> Any:
    if isinstance(value, Ref):
        return Opaque(backend, value)
    if type(value) in (tuple, list):
        return type(value)(_wrap(backend, item) for item in value)
    if type(value) is dict:
        return {_wrap(backend, key): _wrap(backend, item) for key, item in value.items()}
    return value


def plain(value: Any, keep: Callable[[Any], Ref]) -> Any:
    """What judged code returned, as it may pass the door; `keep` takes what must stay and numbers it.

    Arrays become new base arrays with the same dtype. Raises TypeError for an array that does not hold numbers.
    """
    if value is None or type(value) in SCALARS:
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in NUMBER_KINDS:
            raise TypeError(f"expected an array of numbers, got one of dtype {value.dtype}")
        return np.array(value, copy=True, subok=False)
    if isinstance(value, np.generic):
        if value.dtype.kind not in NUMBER_KINDS:
            raise TypeError(f"expected a number, got a NumPy scalar of dtype {value.dtype}")
        return value.dtype.type(value)
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, type):
        if issubclass(value, np.generic):
            return np.dtype(value).name
        return value.__name__ if value in SCALARS else keep(value)
    if isinstance(value, SCALARS):  # an IntEnum's member is an int
        base: Any = next(base for base in SCALARS if isinstance(value, base))
        return base(value)
    if isinstance(value, tuple | list):
        items = [plain(item, keep) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        return {plain(key, keep): plain(item, keep) for key, item in value.items()}
    return keep(value)


class InProcess:
    """The backend of a student's own machine: the judged module is loaded into the test's process."""

    def __init__(self, module: ModuleType, if_missing: str = "was its cell deleted, or renamed?") -> None:
        """if_missing: what to say of a name that the module does not define."""
        self._if_missing = if_missing
        self._kept: dict[int, tuple[Any, int]] = {0: (module, 1)}  # number -> the object, how many handles hold it
        self._numbers: dict[int, int] = {}  # id of a kept object -> its number: the same object has the same handle
        self._next = itertools.count(1)
        self.unwritten: deque[NotImplementedError] = deque(maxlen=MOST_UNWRITTEN)

    def get(self, target: Ref, name: str) -> Any:
        __tracebackhide__ = True
        owner = self._kept[target.number][0]
        if target.number == 0 and not hasattr(owner, name):
            raise AttributeError(f"'{name}' is not defined in {target.label}: {self._if_missing}")
        return self._run(getattr, owner, name)

    def call(self, target: Ref, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        function, given = self._object(target), Given()
        own = [self._own(value, given, place) for place, value in enumerate(args)]
        named = {name: self._own(value, given, name) for name, value in kwargs.items()}
        result = self._run(function, *own, **named)
        try:
            given.check(function)
        except ArgumentChanged as error:
            raise as_builtin(error) from None
        return result

    def release(self, target: Ref) -> None:
        if target.number == 0 or target.number not in self._kept:
            return
        value, count = self._kept.pop(target.number)
        if count > 1:
            self._kept[target.number] = (value, count - 1)
        else:
            del self._numbers[id(value)]

    def _keep(self, value: Any) -> Ref:
        number = self._numbers.setdefault(id(value), next(self._next))
        self._kept[number] = (value, self._kept.get(number, (value, 0))[1] + 1)
        return Ref(number, type(value).__name__, getattr(value, "__name__", ""))

    def _object(self, ref: Ref) -> Any:
        held = self._kept[ref.number][0]
        return getattr(held, ref.label) if isinstance(ref, Method) else held

    def _own(self, value: Any, given: Given, argument: Argument) -> Any:
        """What judged code gets for a part of an argument."""
        if isinstance(value, np.ndarray):
            return given.array(argument, value)
        if isinstance(value, Ref):
            held = self._object(value)
            if not value.may_change:
                given.object(argument, held)
            return held
        if type(value) is tuple:
            return tuple(self._own(item, given, argument) for item in value)
        if type(value) is list:
            return given.collection(argument, [self._own(item, given, argument) for item in value])
        if type(value) is dict:
            pairs = value.items()
            own = {self._own(key, given, argument): self._own(item, given, argument) for key, item in pairs}
            return given.collection(argument, own)
        return value

    def _run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            return plain(function(*args, **kwargs), self._keep)
        except CAUGHT as error:
            raise as_builtin(error) from None


def catch_every_end() -> None:
    """In a process for tests alone, which no Ctrl-C reaches: tell the line where judged code would end it.

    KeyboardInterrupt is an exception like others, and os._exit and os.abort raise SystemExit.
    """
    global CAUGHT
    CAUGHT = (Exception, SystemExit, KeyboardInterrupt)
    own, end = os.getpid(), os._exit

    def exit_(status: int) -> NoReturn:
        if os.getpid() != own:  # a forked process, which must not go on as this one
            end(status)
        raise SystemExit(f"os._exit({status})")

    def abort() -> NoReturn:
        raise SystemExit("os.abort()")

    os._exit, os.abort = exit_, abort


def as_builtin(error: BaseException) -> BaseException:
    """The exception as itself, or as the builtin one it descends from, carrying its place in the judged code."""
    kind = next(kind for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind)
    shown: Any = error if kind is type(error) else kind(str(error)).with_traceback(error.__traceback__)
    if kind is KeyboardInterrupt and kind in CAUGHT:  # raised in a test it would end pytest
        shown = RuntimeError(f"KeyboardInterrupt: {error}".rstrip(": ")).with_traceback(error.__traceback__)
    shown.student_frames = error.student_frames if isinstance(error, ArgumentChanged) else _frames(error.__traceback__)
    return cast(BaseException, shown)


def _frames(traceback: TracebackType | None) -> list[tuple[str, int]]:
    """(file, line) of the traceback's steps outside of this file, outermost first."""
    steps = []
    while traceback is not None:
        steps.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    return [(file, line) for file, line in steps if file != __file__]
