"""What this module's tests say with: `check` and `works`, whose messages name the likely slip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike

from tito.testing.student_fixture import Opaque, type_name

SHOWN = 12  # arrays up to this size are shown whole

# What Python or NumPy says, and the slip behind it in whichever exercise; "" where that text alone says it best.
KNOWN = {
    r"truth value of an array": "np.minimum, np.maximum and np.where go element by element; min, max and `if` do not",
    r"object does not support item assignment": "of a number NumPy computes a number, into which nothing can be put: "
    "np.where(condition, this, that) serves numbers and arrays",
    r"only (length|size)-1 arrays|only 0-dimensional arrays can be converted": "float(...) and int(...) take one "
    "number; NumPy's functions go element by element",
    r"^AttributeError: module '.*' has no attribute": "",
    r"cannot reshape array of size 0": "where there is nothing, -1 could stand for any length: name every length",
}
# Of these, too, the text alone says what to mend: a name that does not exist is no slip in a formula.
SPEAK_FOR_THEMSELVES = (NameError, SyntaxError, ImportError)


def check(
    call: str,
    got: object,
    wanted: ArrayLike,
    hint: str = "",
    *,
    slips: Mapping[str, ArrayLike] | None = None,
    within: ArrayLike = 0.0,
    dtype: str = "",
) -> None:
    """Assert that `got`, the result of `call`, has the shape and values of `wanted`, to `within`, and the dtype.

    slips: what a wrong answer means -> the wrong answer. Where the student's is one of them, the message says which;
    one that is nearly the right answer means nothing.
    """
    __tracebackhide__ = True
    wanted = np.asarray(wanted)
    if got is None:
        raise AssertionError(f"{call}: expected {_shown(wanted)}, got None: is a `return` missing?")
    if not isinstance(got, np.ndarray | np.generic | int | float | list | tuple):
        raise AssertionError(f"{call}: expected {_shown(wanted)}, got {got!r}, which is not an array or a number")
    got_array = np.asarray(got)
    if got_array.shape != wanted.shape:
        message = f"{call}: expected shape {wanted.shape}, got shape {got_array.shape}"
    elif not _same(got_array, wanted, within):
        message = f"{call}: {_difference(got_array, wanted, within)}"
    elif dtype and got_array.dtype != np.dtype(dtype):
        message = f"{call}: expected dtype {dtype}, got {got_array.dtype}"
    else:
        return
    wrongs = ((slip, np.asarray(wrong)) for slip, wrong in (slips or {}).items())
    reason = next((slip for slip, wrong in wrongs if _means(wrong, got_array, wanted, within)), hint)
    raise AssertionError(f"{message}: {reason}" if reason else message)


def check_float(call: str, got: object) -> None:
    """Assert that `got` is a number by itself, not an array of one."""
    __tracebackhide__ = True
    assert isinstance(got, float), f"{call}: expected a float, got {type(got).__name__}: float(...) makes one"


def returned(function: str, got: object, wanted: str, hint: str = "") -> None:
    """Assert that a function gave an object of this class of the course; "layer" stands for any of its classes."""
    __tracebackhide__ = True
    assert got is not None, f"{function} returned None: is a `return` missing?"
    kind = type_name(got) if isinstance(got, Opaque) else type(got).__name__
    fits = isinstance(got, Opaque) if wanted == "layer" else kind == wanted
    message = f"{function} must return {_a(wanted)}, got {_a(kind.replace('ndarray', 'array'))}"
    assert fits, f"{message}: {hint}" if hint else message


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiouAEIO' else 'a'} {noun}"


def named(int_type: Opaque) -> str:
    """An integer type as a student writes it: UINT8, IntType(2, signed=False)."""
    bits, signed, narrow = int_type.bits, int_type.signed, int_type.narrow
    if bits in (4, 8) and not narrow:
        return f"{'' if signed else 'U'}INT{bits}"
    return f"IntType({bits}{'' if signed else ', signed=False'}{', narrow=True' if narrow else ''})"


def _means(wrong: np.ndarray, got: np.ndarray, wanted: np.ndarray, within: ArrayLike) -> bool:
    """Is this the wrong answer that came, though perhaps computed with other roundings?"""
    nearly = np.add(within, 1e-5 * np.abs(wrong))
    return _same(got, wrong, within) or (_same(got, wrong, nearly) and not _same(wanted, wrong, nearly))


def _same(got: np.ndarray, wanted: np.ndarray, within: ArrayLike) -> bool:
    if got.shape != wanted.shape:
        return False
    with np.errstate(invalid="ignore"):
        return bool(np.all((got == wanted) | (np.abs(got.astype(float) - wanted.astype(float)) <= within)))


def _difference(got: np.ndarray, wanted: np.ndarray, within: ArrayLike) -> str:
    if wanted.size <= SHOWN:
        return f"expected {_pair(wanted, got)}"
    with np.errstate(invalid="ignore"):
        wrong = (got != wanted) & ~(np.abs(got.astype(float) - wanted.astype(float)) <= within)
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = at[0] if len(at) == 1 else at
    return f"expected {_pair(wanted[at], got[at])} at index {where} ({wrong.sum()} of {wrong.size} are wrong)"


def _pair(wanted: np.ndarray, got: np.ndarray) -> str:
    """Both, with as many digits as it takes to see the difference."""
    texts = ((_shown(wanted, digits), _shown(got, digits)) for digits in (5, 9, 17))
    return next((f"{one}, got {other}" for one, other in texts if one != other), f"{wanted!r}, got {got!r}")


def _shown(values: ArrayLike, digits: int = 5) -> str:
    """Numbers as a person writes them, whole arrays only where they are small."""
    values = np.asarray(values)
    if values.size > SHOWN:
        return f"an array of shape {values.shape}"
    if values.ndim == 0:
        return f"{values.item():.{digits}g}" if values.dtype.kind == "f" else f"{values.item()}"
    return f"[{', '.join(_shown(value, digits) for value in values)}]"


@contextmanager
def works(call: str, hint: str) -> Iterator[None]:
    """An exception of the student's code becomes a message that names the likely slip."""
    __tracebackhide__ = True
    try:
        yield
    except (AssertionError, NotImplementedError):
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        otherwise = "" if isinstance(error, SPEAK_FOR_THEMSELVES) else hint
        slip = next((slip for pattern, slip in KNOWN.items() if re.search(pattern, said)), otherwise)
        likely = f"\nlikely: {slip}" if slip else ""
        failure = AssertionError(f"{call} should work, but raised {said}{likely}")
        failure.student_frames = getattr(error, "student_frames", ())  # type: ignore[attr-defined]
        raise failure from error
