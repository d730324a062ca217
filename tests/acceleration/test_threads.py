"""What threads share: the pool, the choice of a kernel, layers, and what is made once."""

import asyncio
import contextvars
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tinytorch.acceleration import (
    Int8Conv2d,
    Int8Linear,
    accelerate,
    int8_matmul,
    kernel,
    kernels,
    prepack_int8,
    quantize,
    use_kernel,
)
from tinytorch.acceleration.runtime.once import MAKING, once
from tinytorch.quantization import INT8, UINT8, QParams, QuantizedLinear, QuantizedTensor

CPUS = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 0
pytestmark = pytest.mark.compiler


@pytest.mark.skipif(CPUS < 2, reason="only Linux lets a thread be kept off a processor, and there must be another one")
def test_a_worker_may_run_anywhere_but_where_its_caller_is(two_threads: None) -> None:
    from tinytorch.acceleration.runtime.threads import pool

    everywhere, worker = os.sched_getaffinity(0), int(pool().workers["thread_id"][0])
    a, packed = np.ones((512, 512), np.uint8), prepack_int8(np.ones((512, 512), np.int8))
    for here in sorted(everywhere):
        try:
            os.sched_setaffinity(0, {here})
            assert (int8_matmul(a, packed) == 512).all()
        finally:
            os.sched_setaffinity(0, everywhere)
        assert os.sched_getaffinity(worker) == everywhere - {here}
    assert os.sched_getaffinity(threading.get_native_id()) == everywhere, "the caller itself is free"


def together(count: int, call: Callable[[int], None]) -> None:
    """call(0), call(1), ... in as many threads; what one of them raises is raised here."""
    with ThreadPoolExecutor(count) as executor:
        list(executor.map(call, range(count)))


def test_blocks_of_use_kernel_that_overlap_in_two_threads_keep_their_own_choice() -> None:
    first, last, barrier = kernels()[0], kernels()[-1], threading.Barrier(2, timeout=60)

    def call(number: int) -> None:
        before = kernel()
        if number == 0:
            with use_kernel(last):
                barrier.wait()  # the other one enters its block now
                barrier.wait()
                assert kernel() == last
        else:
            barrier.wait()
            with use_kernel(first):
                barrier.wait()
                assert kernel() == first
        assert kernel() == before

    together(2, call)


def test_tasks_of_asyncio_and_copied_contexts_keep_the_kernel_of_their_block() -> None:
    async def task(name: str) -> str:
        with use_kernel(name):
            await asyncio.sleep(0.001)
            return kernel()

    async def both() -> list[str]:
        return list(await asyncio.gather(task("numpy"), task(kernels()[0])))

    assert asyncio.run(both()) == ["numpy", kernels()[0]]
    with use_kernel("numpy"), ThreadPoolExecutor(1) as executor:
        assert executor.submit(contextvars.copy_context().run, kernel).result() == "numpy"
        assert executor.submit(kernel).result() == kernels()[0]


@pytest.mark.parametrize("static", [False, True])
def test_threads_give_one_accelerated_layer_codes_of_different_qparams(on_kernel: str, static: bool) -> None:
    rng = np.random.default_rng(0)
    one = QParams(np.float32(0.05), np.int32(0), INT8)
    weight = QuantizedTensor(rng.integers(-127, 128, (9, 30)).astype(np.int8), one)
    layer = QuantizedLinear(weight, None, one if static else None, None)
    fast, q = accelerate(layer), rng.integers(-128, 128, (4, 30)).astype(np.int8)
    inputs = [
        QuantizedTensor(q, QParams(np.float32(0.05 if static else 0.01 * (i + 1)), np.int32(i + 1), INT8))
        for i in range(4)
    ]
    wanted = [accelerate(layer)(x).data for x in inputs]

    def call(number: int) -> None:
        for _ in range(300):
            np.testing.assert_array_equal(fast(inputs[number]).data, wanted[number])

    together(4, call)


def test_what_threads_want_at_once_is_made_once_and_again_after_a_failure() -> None:
    made: list[int] = []

    @once
    def make(key: int) -> object:
        made.append(key)
        if len(made) == 1:
            raise OSError("the first time fails")
        return object()

    with pytest.raises(OSError, match="the first time fails"):
        make(1)
    found: list[object] = []
    together(8, lambda _: found.append(make(1)))
    assert len({id(one) for one in found}) == 1
    assert made == [1, 1]


def test_what_is_made_is_made_whole_though_the_main_thread_is_interrupted() -> None:
    ready, pressed = threading.Event(), threading.Event()

    @once
    def made() -> str:
        ready.set()
        pressed.wait()
        time.sleep(0.2)
        return "whole"

    def interrupt() -> None:
        ready.wait()
        signal.raise_signal(signal.SIGINT)
        pressed.set()

    presser = threading.Thread(target=interrupt)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        made()
    presser.join()
    ready.clear()
    assert made() == "whole"
    assert not ready.is_set(), "it was made a second time"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_waits_for_what_is_being_made() -> None:
    started = threading.Event()

    @once
    def made() -> str:
        started.set()
        time.sleep(0.2)
        return "whole"

    maker = threading.Thread(target=made)
    maker.start()
    started.wait()
    child = os.fork()
    if child == 0:
        started.clear()
        os._exit(0 if made() == "whole" and not started.is_set() else 1)
    maker.join()
    assert os.waitpid(child, 0)[1] == 0


def test_a_call_of_compiled_code_takes_no_lock() -> None:
    """Another thread holds the lock under which things are made; calls go on."""
    a, packed = np.ones((300, 300), np.uint8), prepack_int8(np.ones((300, 300), np.int8))
    layer, one = Int8Linear(packed, np.float32(1)), QParams(np.float32(1), np.int32(0), INT8)
    x = a.astype(np.float32)
    calls: list[Callable[[], object]] = [
        lambda: int8_matmul(a, packed),
        lambda: int8_matmul(a[:2], packed),
        lambda: layer(x),
        lambda: quantize(x, one),
    ]
    wanted = [call() for call in calls]
    with MAKING, ThreadPoolExecutor(1) as executor:
        for call, right in zip(calls, wanted, strict=True):
            np.testing.assert_array_equal(executor.submit(call).result(timeout=60), right)


def test_codes_whose_zero_point_could_wrap_a_sum_are_refused() -> None:
    wide = prepack_int8(np.full((60_000, 1), 127, np.int8))
    layer, far = Int8Linear(wide, np.float32(1)), QParams(np.float32(1), np.int32(255), UINT8)
    with pytest.raises(OverflowError, match="split K"):
        layer.of_codes(np.zeros((1, 60_000), np.uint8), far)
    conv = Int8Conv2d(np.full((1, 60_000, 1, 1), 127, np.int8), np.float32(1))
    with pytest.raises(OverflowError, match="split K"):
        conv.of_codes(np.zeros((1, 60_000, 1, 1), np.uint8), far)
