"""The drivers of the bfloat16 product: two conversions and the walk over tiles of `gemm`."""

from typing import Any

import numpy as np

from ..loops.blocking import ALONE
from ..loops.gemm import product
from ..loops.matrix import MANY
from ..loops.memory import aligned, row_bytes
from ..loops.memory import round_up as up
from ..loops.records import DIRECT, PRODUCT
from ..runtime.compiled import Array, compiled, inlined, task
from ..runtime.intrinsics import address_of, call, keep_alive
from ..runtime.threads import EVERYBODY, run


@task
def convert_task(w: Any, index: int, thread: int) -> None:
    """A strip of a conversion, of 128 steps or of 64 columns, along which x lies in memory; 32 steps x 16 columns at a
    time."""
    block, ldx, k, n, ldy, along_n = w[0], w[4], w[5], w[6], w[10], w[3] == 4
    k_first, k_last = (index * 128, min(k, index * 128 + 128)) if along_n else (0, k)
    n_first, n_last = (0, n) if along_n else (index * 64, min(n, index * 64 + 64))
    ks, ns = up(k_last - k_first, 32) // 32, up(n_last - n_first, 16) // 16
    for i in range(ks * ns):
        step = k_first + 32 * (i // ns if along_n else i % ks)
        first = n_first + 16 * (i % ns if along_n else i // ks)
        x, y = w[1] + step * w[2] + first * w[3], w[7] + step // 32 * w[8] + first // 16 * w[9]
        call(block, (x, ldx, min(32, k - step), min(16, n - first), y, ldy))


@inlined
def convert(
    pool: int, function: int, block: int, x: int, k_step: int, n_step: int, ldx: int, k: int, n: int, y: int,
    y_k: int, y_n: int, ldy: int,
) -> None:  # fmt: skip
    """float32 [k, n] at x, with steps of k_step and n_step bytes, to y: y_k bytes for 32 of k, y_n for 16 of n."""
    w = np.empty(11, np.int64)
    w[0], w[1], w[2], w[3], w[4], w[5], w[6] = block, x, k_step, n_step, ldx, k, n
    w[7], w[8], w[9], w[10] = y, y_k, y_n, ldy
    strips = up(k, 128) // 128 if n_step == 4 else up(n, 64) // 64
    run(pool if k * n > ALONE // 64 else 0, function, address_of(w), strips, EVERYBODY, k * n >= MANY // 2)
    keep_alive(w)


BYTES = "Array(uint8, 1, 'C', readonly=True)"
FLOATS = "Array(float32, 2, 'A', readonly=True)"


@compiled(f"void(int64, int64, int64, {FLOATS}, int64, uint8[::1])")
def pack(pool: int, function: int, block: int, b: Array, panel: int, out: Array) -> None:
    """b [K, N] into panels. block: for elements side by side along N, if they are, else along K, where they must be."""
    (k, n), (k_step, n_step) = b.shape, b.strides
    ldx = k_step if n_step == 4 else n_step
    convert(pool, function, block, address_of(b), k_step, n_step, ldx, k, n, address_of(out), 1024, panel, 64)


@compiled(f"void(int64, int64, int64, int64, int64, {FLOATS}, {BYTES}, int64, float32[:, ::1])")
def matmul(
    pool: int, threads: int, kernel: int, function: int, block: int, a: Array, weights: Array, panel: int, out: Array,
) -> None:  # fmt: skip
    """a [M, K] @ weights into `out`. block: as in `pack`, along K first."""
    (m, k), (m_step, k_step), n = a.shape, a.strides, out.shape[1]
    ld = row_bytes(2 * k)
    rows, address = aligned(up(m, 16) * ld)
    ldx = m_step if k_step == 4 else k_step
    convert(pool, function, block, address_of(a), k_step, m_step, ldx, k, m, address, 64, 16 * ld, ld)
    start, record = np.zeros(up(n, 16) + 16, np.float32), np.zeros(1, PRODUCT)
    p = record[0]
    p.kernel, p.a, p.a_stride, p.a_itemsize, p.m, p.k = kernel, address, ld, 1, m, 2 * k
    p.b, p.panel_bytes, p.n, p.start, p.epilogue = address_of(weights), panel, n, address_of(start), DIRECT
    p.c, p.c_stride, p.c_itemsize = address_of(out), n * 4, 4
    product(pool, threads, p)
    keep_alive(record)
    keep_alive(rows)
    keep_alive(start)
