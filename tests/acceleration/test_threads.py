"""The pool: who does which task, and where."""

import os
import sys
import threading

import numpy as np
import pytest

from tinytorch.acceleration import int8_matmul, kernels, pack_int8

CPUS = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 0
pytestmark = pytest.mark.skipif(kernels() == ("numpy",), reason="without a compiler there are no threads")


@pytest.mark.skipif(CPUS < 2, reason="only Linux lets a thread be kept off a processor, and there must be another one")
def test_a_worker_may_run_anywhere_but_where_its_caller_is(two_threads: None) -> None:
    from tinytorch.acceleration.threads import pool

    everywhere = os.sched_getaffinity(0)
    (worker,) = pool()._workers
    a, packed = np.ones((512, 512), np.uint8), pack_int8(np.ones((512, 512), np.int8))
    for here in sorted(everywhere):
        try:
            os.sched_setaffinity(0, {here})
            assert (int8_matmul(a, packed) == 512).all()
        finally:
            os.sched_setaffinity(0, everywhere)
        assert worker.native_id is not None
        assert os.sched_getaffinity(worker.native_id) == everywhere - {here}
    assert os.sched_getaffinity(threading.get_native_id()) == everywhere, "the caller itself is free"
