"""The thread pool changes, is interrupted, or cannot be had, while it is used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # a child runs this file alone
    from .conftest import Run, Size

pytestmark = pytest.mark.compiler


def threads_beside_main() -> int:
    import _thread

    return _thread._count()


def wait_for_threads(count: int) -> None:
    """Until there are as many beside the main one: the last steps of a thread come after its join. One that is too much
    or missing is waited for until the child's time is over."""
    import time

    while threads_beside_main() != count:
        time.sleep(0.01)


def change_threads_and_kernels(seconds: float) -> None:
    """Four threads compute, each on a kernel that it changes, while another one sets other numbers of threads."""
    import random
    import threading
    import time

    import numpy as np
    from numpy.typing import NDArray

    from tinytorch.acceleration import (
        Int8Linear,
        get_num_threads,
        int4_linear,
        int8_matmul,
        kernels,
        prepack_int4,
        prepack_int8,
        quantize,
        set_num_threads,
        use_kernel,
    )
    from tinytorch.quantization import INT8, QParams

    rng = np.random.default_rng(0)
    x = rng.normal(size=(65, 1100)).astype(np.float32)
    codes, weights = rng.integers(0, 256, (65, 1100)).astype(np.uint8), rng.integers(-8, 8, (1100, 150)).astype(np.int8)
    packed, packed4, layer = (
        prepack_int8(weights),
        prepack_int4(weights),
        Int8Linear(prepack_int8(weights), np.float32(0.1)),
    )
    qparams = QParams(np.float32(0.02), np.int32(3), INT8)
    operations: list[Callable[[], NDArray[Any]]] = [
        lambda: int8_matmul(codes, packed, 7),
        lambda: layer(x),
        lambda: int4_linear(x, packed4),
        lambda: quantize(x, qparams),
    ]
    wanted, end, wrong = [operation() for operation in operations], time.monotonic() + seconds, list[str]()

    def call(number: int) -> None:
        choice = random.Random(number)
        while time.monotonic() < end and not wrong:
            which, name = choice.randrange(len(operations)), choice.choice(kernels()[:-1])
            with use_kernel(name):
                if not np.array_equal(operations[which](), wanted[which]):
                    wrong.append(f"operation {which} on {name}")

    def change() -> None:
        choice = random.Random(9)
        while time.monotonic() < end:
            set_num_threads(choice.randrange(1, 7))

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    callers.append(threading.Thread(target=change))
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong, wrong
    wait_for_threads(get_num_threads() - 1)


def test_calls_are_right_while_the_number_of_threads_and_the_kernels_change(in_child: Run, size: Size) -> None:
    in_child(change_threads_and_kernels, size(short=2, long=600), seconds=1200)


def make_one_pool() -> None:
    """Sixteen threads make the first call for the pool, at once; then the number is set."""
    import threading

    from tinytorch.acceleration import get_num_threads, set_num_threads
    from tinytorch.acceleration.runtime.threads import pool

    together, before, found = threading.Barrier(16), threads_beside_main(), list[object]()

    def call() -> None:
        together.wait()
        found.append(pool())

    callers = [threading.Thread(target=call) for _ in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len({id(one) for one in found}) == 1
    wait_for_threads(before + get_num_threads() - 1)
    set_num_threads(3)
    assert get_num_threads() == 3
    wait_for_threads(before + 2)
    set_num_threads(1)
    assert get_num_threads() == 1
    wait_for_threads(before)


def test_first_calls_at_once_make_one_pool_whose_size_can_be_set(in_child: Run, size: Size) -> None:
    for _ in range(size(short=1, long=100)):
        in_child(make_one_pool)


def start_refused(limit: int) -> None:
    """The system gives this process `limit` threads in all, and eight are wanted. Root has no limits: it becomes
    somebody else first, and before that imports what somebody else might not read."""
    import os
    import resource
    import warnings

    import numpy as np

    from tinytorch.acceleration import get_num_threads, int8_matmul, prepack_int8, set_num_threads
    from tinytorch.acceleration.runtime import threads

    a, packed = np.full((300, 300), 2, np.uint8), prepack_int8(np.full((300, 300), 3, np.int8))
    set_num_threads(1)
    assert (int8_matmul(a, packed) == 1800).all()
    assert threads.work.made and threads.end.made
    if os.getuid() == 0:
        os.setresuid(54321, 54321, 54321)
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, most))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            set_num_threads(8)
            for _ in range(20):
                assert (int8_matmul(a, packed) == 1800).all()
    assert [str(one.message).split(",")[0] for one in told] == ["8 threads were wanted"], [str(one) for one in told]
    assert 1 <= get_num_threads() <= max(limit, 1)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    set_num_threads(3)
    assert get_num_threads() == 3
    assert (int8_matmul(a, packed) == 1800).all()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a user's threads by RLIMIT_NPROC")
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_where_threads_cannot_be_started_there_are_fewer_and_it_is_said_once(limit: int, in_child: Run) -> None:
    in_child(start_refused, limit)


def late() -> None:
    """What an interrupted call of set_num_threads began may be finished after a later call: the later one holds."""
    from tinytorch.acceleration import get_num_threads
    from tinytorch.acceleration.runtime import threads

    threads.set_num_threads(2)
    earlier, later = next(threads._numbers), next(threads._numbers)
    threads._pool.resize_by(later, 3)
    threads._pool.resize_by(earlier, 7)
    assert get_num_threads() == 3
    threads.set_num_threads(4)
    assert get_num_threads() == 4


def test_of_two_sizes_the_one_asked_for_later_holds(in_child: Run) -> None:
    in_child(late)


def interrupted(interrupts: int, seed: int) -> None:
    """Ctrl-C again and again, in calls and while the pool starts and stops."""
    import os
    import random
    import signal
    import threading
    import time

    import numpy as np

    from tinytorch.acceleration import get_num_threads, int8_matmul, prepack_int8, set_num_threads

    a, packed = np.full((300, 300), 2, np.uint8), prepack_int8(np.full((300, 300), 3, np.int8))
    choice, armed, count = random.Random(seed), [False], [0]
    assert (int8_matmul(a, packed) == 1800).all()

    def interrupt(*_: Any) -> None:
        count[0] += 1
        if armed[0]:
            armed[0] = False
            raise KeyboardInterrupt

    def press() -> None:
        while count[0] < interrupts:
            time.sleep(random.random() * 0.004)
            os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, interrupt)
    presser = threading.Thread(target=press)
    presser.start()
    while count[0] < interrupts:
        armed[0] = True
        try:
            set_num_threads(choice.randrange(1, 9))
            assert (int8_matmul(a, packed) == 1800).all()
        except KeyboardInterrupt:
            pass
        armed[0] = False
    presser.join()
    for threads in (5, 1, 3):
        set_num_threads(threads)
        assert (int8_matmul(a, packed) == 1800).all()
        assert get_num_threads() == threads
        wait_for_threads(threads - 1)


def test_interrupts_of_calls_starts_and_stops_leave_the_pool_whole(in_child: Run, size: Size) -> None:
    for seed in range(size(short=1, long=10)):
        in_child(interrupted, size(short=150, long=1000), seed)


def interrupted_first_call(milliseconds: int) -> None:
    """Ctrl-C during the very first call; the next one is right."""
    import signal

    import numpy as np

    from tinytorch.acceleration import Int8Linear, int4_matmul, int8_matmul, prepack_int4, prepack_int8, quantize
    from tinytorch.quantization import INT8, QParams

    a, ones = np.full((300, 300), 2, np.uint8), np.ones((300, 300), np.int8)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
    try:
        int8_matmul(a, prepack_int8(ones))
        int4_matmul(a, prepack_int4(ones))
        signal.pause()
    except KeyboardInterrupt:
        pass
    assert (int8_matmul(a, prepack_int8(ones)) == 600).all()
    assert (int4_matmul(a, prepack_int4(ones)) == 600).all()
    x = a.astype(np.float32)
    layer = Int8Linear(prepack_int8(ones), np.float32(1), input_qparams=QParams(np.float32(1), np.int32(0), INT8))
    assert (layer(x) == 600).all()
    assert (quantize(x, QParams(np.float32(0.5), np.int32(1), INT8)) == 5).all()


def leave_first_call(milliseconds: int) -> None:
    """Ctrl-C during the very first call, and the process ends at once."""
    import signal
    from contextlib import suppress

    import numpy as np

    from tinytorch.acceleration import int8_matmul, prepack_int8

    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
    with suppress(KeyboardInterrupt):
        int8_matmul(np.ones((300, 300), np.uint8), prepack_int8(np.ones((300, 300), np.int8)))
        signal.pause()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no interval timers")
def test_python_ends_after_a_first_call_that_was_interrupted(in_child: Run, size: Size) -> None:
    for number in range(size(short=2, long=200)):
        in_child(leave_first_call, 1 + 397 * number % 2000)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no interval timers")
def test_a_first_call_that_is_interrupted_does_not_spoil_the_next(in_child: Run, size: Size) -> None:
    for number in range(size(short=2, long=200)):
        in_child(interrupted_first_call, 1 + 397 * number % 2000)


def leave_while_others_compute() -> None:
    """Python ends while daemon threads are in compiled code."""
    import threading
    import time

    import numpy as np

    from tinytorch.acceleration import int8_matmul, prepack_int8, set_num_threads

    a, packed = np.full((300, 300), 2, np.uint8), prepack_int8(np.full((300, 300), 3, np.int8))

    def call() -> None:
        while True:
            int8_matmul(a, packed)

    set_num_threads(3)
    int8_matmul(a, packed)
    for _ in range(4):
        threading.Thread(target=call, daemon=True).start()
    time.sleep(0.05)


def test_python_ends_while_daemon_threads_compute(in_child: Run, size: Size) -> None:
    for _ in range(size(short=1, long=100)):
        in_child(leave_while_others_compute)
