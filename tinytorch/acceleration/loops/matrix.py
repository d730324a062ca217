"""A prologue or an epilogue over a whole matrix, alone: blocks of rows are tasks for the threads."""

from typing import Any

import numpy as np

from ..runtime.compiled import Array, inlined, task
from ..runtime.intrinsics import address_of, call, keep_alive
from ..runtime.records import atomic_add
from ..runtime.threads import EVERYBODY, run
from .memory import aligned, ceil_div
from .records import MATRIX, kernel_at, matrix_at

CHUNK = 1 << 14  # elements that make a task
MANY = 1 << 20  # elements for which a sleeping thread is woken


@task
def matrix_task(record: Any, index: int, thread: int) -> None:
    """Some rows of a MATRIX. The NaNs that it met are added to its nan_count."""
    matrix = matrix_at(address_of(record))
    first = index * matrix.block_rows
    rows, x, y = min(matrix.block_rows, matrix.rows - first), first * matrix.x_stride, first * matrix.y_stride
    x, y, v = matrix.x + x, matrix.y + y, matrix.v + first * matrix.row_v
    seen = call(matrix.function, (x, matrix.x_stride, rows, matrix.columns, y, matrix.y_stride, matrix.u, v))
    if seen != 0:
        atomic_add(matrix, "nan_count", seen)


@inlined
def run_matrix(pool: int, kernel: int, matrix: Any) -> int:
    """All rows of a MATRIX, in tasks of about CHUNK elements; returns not 0 if it met a NaN."""
    matrix.block_rows, matrix.nan_count = max(1, CHUNK // max(matrix.columns, 1)), 0
    tasks, is_long = ceil_div(matrix.rows, matrix.block_rows), matrix.rows * matrix.columns >= MANY
    run(pool, kernel_at(kernel).matrix_task, address_of(matrix), tasks, EVERYBODY, is_long)
    seen: int = matrix.nan_count
    return seen


@inlined
def read_all_rows(pool: int, p: Any, stride: int) -> Array:
    """All rows of a PRODUCT's A through its prologue, which writes them `stride` bytes apart. They are its A from then
    on, and it has no prologue any more. Returns what must be kept as long as they are read."""
    block, address = aligned(p.m * stride)
    record = np.empty(1, MATRIX)
    matrix = record[0]
    matrix.function, matrix.x, matrix.x_stride, matrix.rows, matrix.columns = p.prologue, p.a, p.a_stride, p.m, p.k
    matrix.y, matrix.y_stride, matrix.u, matrix.v, matrix.row_v = address, stride, p.prologue_u, p.prologue_v, p.row_v
    p.nan_count = run_matrix(pool, p.kernel, matrix)
    keep_alive(record)
    p.a, p.a_stride, p.a_itemsize, p.prologue = address, stride, 1, 0
    return block
