"""A process forks while its other threads rest, compute, start threads, or compile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # a child runs this file alone
    from .conftest import Run, Size

pytestmark = [
    pytest.mark.compiler,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]


def fork_while_others(do: str, forks: int, seconds: int) -> None:
    """Fork again and again; each child makes calls old and new, and leaves, or says after so many seconds where it
    hangs."""
    import faulthandler
    import os
    import threading
    import time

    import numpy as np

    from tinytorch.acceleration import Int8Linear, int4_matmul, int8_matmul, prepack_int4, prepack_int8, set_num_threads

    a, ones = np.full((300, 300), 2, np.uint8), np.ones((300, 300), np.int8)
    packed, packed4, layer = prepack_int8(ones), prepack_int4(ones), Int8Linear(prepack_int8(ones), np.float32(1))
    ended = threading.Event()

    def compute() -> None:
        while not ended.is_set():
            assert (int8_matmul(a, packed) == 600).all()

    def resize() -> None:
        while not ended.is_set():
            for threads in (3, 1, 2):
                set_num_threads(threads)

    def compile() -> None:
        x = a.astype(np.float32)
        for operation in (lambda: int8_matmul(a, packed), lambda: int4_matmul(a, packed4), lambda: layer(x)):
            operation()

    work = {"rest": lambda: None, "compute": compute, "resize": resize, "compile": compile}[do]
    if do != "compile":
        assert (int8_matmul(a, packed) == 600).all()
    others = [threading.Thread(target=work) for _ in range(2)]
    for other in others:
        other.start()
    for number in range(forks):
        time.sleep(0.01 * (number % 7))
        child = os.fork()
        if child == 0:
            faulthandler.dump_traceback_later(seconds, exit=True)
            right = bool((int8_matmul(a, packed) == 600).all() and (int4_matmul(a, packed4) == 600).all())
            os._exit(0 if right else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, f"child {number} ended with {status}"
    ended.set()
    for other in others:
        other.join()
    assert (int8_matmul(a, packed) == 600).all()


@pytest.mark.parametrize("do", ["rest", "compute", "resize", "compile"])
def test_a_child_computes_whatever_other_threads_did_at_the_fork(do: str, in_child: Run, size: Size) -> None:
    for _ in range(size(short=1, long=50)):
        in_child(fork_while_others, do, size(short=5, long=40), 250)


def fork_by_multiprocessing() -> None:
    """Forked processes, as loaders of data have them, made while a thread computes; one forks again."""
    import multiprocessing
    import threading

    import numpy as np

    from tinytorch.acceleration import int8_matmul, prepack_int8

    a, packed, ended = np.full((300, 300), 2, np.uint8), prepack_int8(np.ones((300, 300), np.int8)), threading.Event()

    def compute() -> None:
        while not ended.is_set():
            int8_matmul(a, packed)

    other = threading.Thread(target=compute)
    other.start()

    def process(generation: int) -> None:
        assert (int8_matmul(a, packed) == 600).all()
        if generation < 3:
            run(generation + 1, 1)

    def run(generation: int, count: int) -> None:
        children = [
            multiprocessing.get_context("fork").Process(target=process, args=(generation,)) for _ in range(count)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(120)
            assert child.exitcode == 0, child.exitcode

    run(1, 4)
    ended.set()
    other.join()


def test_forked_processes_of_multiprocessing_compute(in_child: Run, size: Size) -> None:
    for _ in range(size(short=1, long=50)):
        in_child(fork_by_multiprocessing)


def import_under_the_lock() -> None:
    """All that calls import is seen, and whether a fork waits for it: a child could not import what it has half."""
    import sys

    import numpy as np
    import numpy.random

    from tinytorch.acceleration import Int8Linear, int4_linear, int8_matmul, prepack_int4, prepack_int8, quantize
    from tinytorch.acceleration.runtime.once import MAKING
    from tinytorch.quantization import INT8, QParams

    seen: list[str] = []

    class Spy:
        def find_spec(self, name: str, *_: Any) -> None:
            if not MAKING._is_owned():  # type: ignore[attr-defined]
                seen.append(name)

    x, ones = np.ones((300, 300), np.float32), np.ones((300, 300), np.int8)
    packed, packed4, layer = prepack_int8(ones), prepack_int4(ones), Int8Linear(prepack_int8(ones), np.float32(1))
    sys.meta_path.insert(0, Spy())
    int8_matmul(ones, packed)
    layer(x)
    int4_linear(x, packed4)
    quantize(x, QParams(np.float32(0.5), np.int32(1), INT8))
    assert not seen, seen


def test_what_a_call_imports_is_imported_while_no_fork_can_happen(in_child: Run) -> None:
    in_child(import_under_the_lock)
