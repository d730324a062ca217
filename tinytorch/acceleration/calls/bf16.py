"""The bfloat16 product: conversions whose innermost blocks are machine code, and the walk over tiles of `gemm`."""

from typing import Any

import numpy as np

from ..loops.blocking import ALONE
from ..loops.gemm import product
from ..loops.matrix import MANY
from ..loops.memory import aligned, ceil_div, round_up, row_bytes
from ..loops.records import DIRECT, PRODUCT
from ..runtime.compiled import Array, compiled, inlined, task
from ..runtime.intrinsics import address_of, call, keep_alive
from ..runtime.records import fields, view_of
from ..runtime.threads import EVERYBODY, run

BF16 = fields("task block kernel panel_bytes")  # `convert_task`, a `modules.bf16_block`, a KERNEL, of the weights
CONVERSION = fields(  # float32 [k, n] at x, in any order, to bfloat16 at y: blocks of 32 of k x 16 of n
    "block x k_step n_step k n "  # from an element to the next one
    "y k_block n_block y_row"  # from a block to the next one along k and n, and from row to row of a block
)
bf16_at, conversion_at = view_of(BF16), view_of(CONVERSION)


@task
def convert_task(v: Any, index: int, thread: int) -> None:
    """A strip of a CONVERSION, of 128 steps or of 64 columns, along which x lies in memory."""
    job = conversion_at(address_of(v))
    along_n, x_row = job.n_step == 4, job.k_step if job.n_step == 4 else job.n_step
    k_first, k_last = (index * 128, min(job.k, index * 128 + 128)) if along_n else (0, job.k)
    n_first, n_last = (0, job.n) if along_n else (index * 64, min(job.n, index * 64 + 64))
    ks, ns = ceil_div(k_last - k_first, 32), ceil_div(n_last - n_first, 16)
    for i in range(ks * ns):
        k = k_first + 32 * (i // ns if along_n else i % ks)
        n = n_first + 16 * (i % ns if along_n else i // ks)
        x, y = job.x + k * job.k_step + n * job.n_step, job.y + k // 32 * job.k_block + n // 16 * job.n_block
        call(job.block, (x, x_row, min(32, job.k - k), min(16, job.n - n), y, job.y_row))


@inlined
def convert(pool: int, function: int, job: Any) -> None:
    """A whole CONVERSION. function: the address of `convert_task`."""
    strips, size = ceil_div(job.k, 128) if job.n_step == 4 else ceil_div(job.n, 64), job.k * job.n
    run(pool if size > ALONE // 64 else 0, function, address_of(job), strips, EVERYBODY, size >= MANY // 2)


BYTES = "Array(uint8, 1, 'C', readonly=True)"
FLOATS = "Array(float32, 2, 'A', readonly=True)"


@compiled(f"void(int64, int64[::1], {FLOATS}, uint8[::1])")
def pack(pool: int, words: Array, b: Array, out: Array) -> None:
    """b [K, N] into panels. words: a BF16 whose block reads along N if elements lie side by side there, else along K,
    where they must."""
    given, record = bf16_at(address_of(words)), np.empty(1, CONVERSION)
    job = record[0]
    job.block, job.x, (job.k, job.n), (job.k_step, job.n_step) = given.block, address_of(b), b.shape, b.strides
    job.y, job.k_block, job.n_block, job.y_row = address_of(out), 1024, given.panel_bytes, 64
    convert(pool, given.task, job)
    keep_alive(record)


@compiled(f"void(int64, int64, int64[::1], {FLOATS}, {BYTES}, float32[:, ::1])")
def matmul(pool: int, threads: int, words: Array, a: Array, weights: Array, out: Array) -> None:
    """a [M, K] @ weights into `out`. words: a BF16 whose block reads as in `pack`, along K first."""
    given, (m, k), n = bf16_at(address_of(words)), a.shape, out.shape[1]
    ld, record = row_bytes(2 * k), np.empty(1, CONVERSION)
    rows, address = aligned(round_up(m, 16) * ld)
    job = record[0]
    job.block, job.x, job.k, job.n, (job.n_step, job.k_step) = given.block, address_of(a), k, m, a.strides
    job.y, job.k_block, job.n_block, job.y_row = address, 64, 16 * ld, ld
    convert(pool, given.task, job)
    start, of_product = np.zeros(round_up(n, 16) + 16, np.float32), np.zeros(1, PRODUCT)
    p = of_product[0]
    p.kernel, p.a, p.a_stride, p.a_itemsize, p.m, p.k = given.kernel, address, ld, 1, m, 2 * k
    p.b, p.panel_bytes, p.n, p.start, p.epilogue = address_of(weights), given.panel_bytes, n, address_of(start), DIRECT
    p.c, p.c_stride, p.c_itemsize = address_of(out), n * 4, 4
    product(pool, threads, p)
    keep_alive(of_product)
    keep_alive(record)
    keep_alive(rows)
    keep_alive(start)
