"""Random calls of the library's public functions, as people make them by intent and by mistake.

    python -m tests.library.fuzz --cases 200 --seed 0

Every call has an answer that is known beforehand: a value computed one number at a time in plain Python or in float64
loops, or that it must be refused. Arrays come as lists, in another byte order, out of line, read-only, as subclasses;
with no element or one; huge, tiny, NaN; and what is no array comes, too. A call is
  right     it gave that value, or refused what has none, in one sentence
  refused   it refused, in one sentence, what has a value but came in a form that need not be taken
  WRONG     another number; a raw error of NumPy or Python; a warning; an input that was changed
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from .fuzz_codes import CALLS as CODES
from .fuzz_given import REFUSED, Call, Rng
from .fuzz_gradients import CALLS as GRADIENTS
from .fuzz_layers import CALLS as LAYERS
from .fuzz_measures import CALLS as MEASURES
from .fuzz_models import CALLS as MODELS
from .fuzz_networks import CALLS as NETWORKS
from .fuzz_numbers import CALLS as NUMBERS

FUNCTIONS: dict[str, Callable[[Rng], Call]] = NUMBERS | CODES | MODELS | NETWORKS | MEASURES | LAYERS | GRADIENTS
KINDS = (TypeError, ValueError, OverflowError, IndexError, KeyError)
RAW = re.compile(  # how errors begin that nobody wrote for the reader
    r"cannot reshape|could not (be )?broadcast|operands could not|has no attribute|unsupported operand|not supported"
    r"|setting an array element|ufunc|not subscriptable|not iterable|must be real number, not|can't multiply"
    r"|only integer scalar arrays|only 0-dimensional|only length-1|invalid literal|bad operand|unexpected keyword"
    r"|required positional|truth value|zero-size array|shape mismatch|cannot convert|cannot cast|negative dimensions"
    r"|could not convert|cannot be interpreted|inhomogeneous|data type|must be a string or a|arguments? must be"
    r"|not understood|has no len|not callable|out of bounds for axis \d+ with size|matmul|math domain|slice indices",
    re.IGNORECASE,
)


def snapshot(given: Any) -> Any:
    """What can be compared later: an array's bytes, a list's items."""
    return given.tobytes() if isinstance(given, np.ndarray) else repr(given)


def equal(got: Any, wanted: Any, within: Any) -> bool:
    """Whether all numbers and shapes are those that were wanted; NaN is equal to NaN."""
    if isinstance(wanted, tuple):
        return isinstance(got, (tuple, list)) and len(got) == len(wanted) and all(
            equal(g, w, within) for g, w in zip(got, wanted, strict=True)
        )  # fmt: skip
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.shape != wanted.shape:
        return False
    with np.errstate(all="ignore"):
        apart = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
        return bool(np.all((got == wanted) | (apart <= within) | (np.isnan(got) & np.isnan(wanted))))


def problem(call: Call) -> tuple[str, str]:
    """("right" | "refused" | "WRONG", what is wrong)."""
    before = [snapshot(one) for one in call.given]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            on_purpose = "not folded, in float|nothing to fold|nothing to equalize"  # said by what was called
            warnings.filterwarnings("ignore", on_purpose)
            got = call.run()
    except KINDS as error:
        said = str(error)
        if RAW.search(said) or "\n" in said or len(said) < 10:
            return "WRONG", f"a raw error, {type(error).__name__}: {said}"
        if call.wanted is not REFUSED and not call.may_refuse:
            return "WRONG", f"refused what has a value: {said}"
        verdict = "right" if call.wanted is REFUSED else "refused"
    except Exception as error:
        return "WRONG", f"{type(error).__name__}: {error}"
    else:
        if call.wanted is REFUSED and not call.may_refuse:
            return "WRONG", f"wanted a refusal, got {got}"
        if call.wanted is not REFUSED and not equal(got, call.wanted, call.within):
            return "WRONG", f"wanted {call.wanted}, got {got}"
        verdict = "right"
    if [snapshot(one) for one in call.given] != before:
        return "WRONG", "an input was changed"
    return verdict, ""


def fuzz(name: str, cases: int, seed: int) -> tuple[Counter[str], list[str]]:
    """How the calls of one function ended, and a line for each that ended wrong."""
    counts: Counter[str] = Counter()
    wrongs = []
    for i in range(cases):
        call = FUNCTIONS[name](np.random.default_rng((seed, i)))
        verdict, what = problem(call)
        counts[verdict] += 1
        if verdict == "WRONG":
            given = ", ".join(" ".join(repr(one).split()) for one in call.given)
            wrongs.append(f"{name}, case {i}: {' '.join(what.split())[:300]}; given {given[:300]}")
    return counts, wrongs


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200, help="calls of each function")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="functions whose name holds this text")
    parser.add_argument("--show", type=int, default=3, help="wrong calls of each function to print")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}, {options.cases} calls of each function")
    print(f"{'':<40} {'right':>7} {'refused':>7} {'WRONG':>7}")
    wrong = []
    for name in (name for name in FUNCTIONS if options.only in name):
        counts, lines = fuzz(name, options.cases, options.seed)
        print(f"{name:<40} {counts['right']:>7} {counts['refused']:>7} {counts['WRONG']:>7}", flush=True)
        wrong += lines[: options.show]
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
