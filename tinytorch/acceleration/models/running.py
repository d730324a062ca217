"""A whole network in one call: what its layers have to do lies ready as jobs, which this runs one after the other.

    x -> job 0 -> job 1 -> ... -> y            what lies between them is in one piece of memory that is used again
    many images: in slices, of which each goes through all jobs before the next one, so that what a layer has written
    still lies in the cache when the next layer reads it. Slices are tasks; each thread has a NETWORK of its own.

A job is a whole product or convolution (its `way`: see `convolution.way`), or a task over a record (`threads.run`).
"""

from typing import Any

from ..calls.convolution import way
from ..calls.layer import new_qparams, set_columns
from ..calls.matmul import new_product
from ..loops.gemm import product, prologue_of_codes
from ..loops.records import FLIP, kernel_at, plan_at, product_at
from ..runtime.compiled import Array, compiled, inlined, task
from ..runtime.intrinsics import address_of, call, float32s_at, int64s_at, keep_alive, uint8s_at
from ..runtime.records import atomic_add, fields, view_of
from ..runtime.threads import run

JOB = fields(
    "way record operand x y "  # see `convolution.way`; or 0, and
    "task tasks threads is_long"  # a task, its `record`, and how it is run
)
# jobs: of one slice. inputs, outputs: addresses of the fields of records that say where x begins, and y; as many as
# input_count, output_count. nan_counts: of the fields that count NaNs.
NETWORK = fields("jobs job_count inputs input_count outputs output_count nan_counts nan_count_count")
# networks: a NETWORK for each thread. slices: how many, each a task. x_bytes, y_bytes: of a slice.
SLICES = fields("task networks slices threads is_long x_bytes y_bytes x y failures")
# x: reals [images, channels, pixels]; y: codes [images, pixels, channels]. quantize, qparams, flip: see `codegen`. A
# task does `block` pixels of an image, which has `blocks` of them.
INTERLEAVED = fields("quantize x y channels pixels qparams flip block blocks scratch thread_scratch nan_count")
# y [images, channels, pixels] of x [images, pixels, channels]; itemsize: 1 or 4. A task does an image.
FLATTENED = fields("x y channels pixels itemsize")
job_at, network_at, slices_at, interleaved_at = map(view_of, (JOB, NETWORK, SLICES, INTERLEAVED))
flattened_at = view_of(FLATTENED)
JOB_BYTES, NETWORK_BYTES = JOB.itemsize, NETWORK.itemsize
NAN_SEEN = 1  # beside `convolution.NO_MEMORY`


@inlined
def set_fields(addresses: int, count: int, value: int) -> None:
    """Write a value to all fields of which the addresses lie here."""
    for i in range(count):
        int64s_at(int64s_at(addresses)[i])[0] = value


@inlined
def run_slice(pool: int, threads: int, network: Any, x: int, y: int) -> int:
    """All jobs of a NETWORK, from x to y. Returns not 0 if a NaN was met, or no memory was left."""
    set_fields(network.inputs, network.input_count, x)
    set_fields(network.outputs, network.output_count, y)
    set_fields(network.nan_counts, network.nan_count_count, 0)
    failures = 0
    for i in range(network.job_count):
        job = job_at(network.jobs + i * JOB_BYTES)
        if job.way != 0:
            failures |= call(job.way, (pool, threads, job.record, job.operand, job.x, job.y))
        else:
            run(pool if job.threads > 1 else 0, job.task, job.record, job.tasks, job.threads, job.is_long != 0)
    for i in range(network.nan_count_count):
        failures |= int64s_at(int64s_at(network.nan_counts)[i])[0]
    return failures


@task
def slice_task(record: Any, index: int, thread: int) -> None:
    """One slice of SLICES, on the NETWORK of this thread."""
    slices = slices_at(address_of(record))
    network = network_at(slices.networks + thread * NETWORK_BYTES)
    if run_slice(0, 1, network, slices.x + index * slices.x_bytes, slices.y + index * slices.y_bytes) != 0:
        atomic_add(slices, "failures", 1)


@compiled("int64(int64, int64, int64[::1], Array(uint8, 1, 'C', readonly=True), uint8[::1])")
def run_network(pool: int, threads: int, words: Array, x: Array, y: Array) -> int:
    """All of x through a network, to y. words: SLICES, in use by this call alone. Returns not 0 where a NaN was met, or
    no memory was left: then y holds nothing."""
    slices = slices_at(address_of(words))
    if slices.slices == 1:
        return int(run_slice(pool, threads, network_at(slices.networks), address_of(x), address_of(y)))
    slices.x, slices.y, slices.failures = address_of(x), address_of(y), 0
    together = pool if slices.threads > 1 else 0
    run(together, slices.task, address_of(words), slices.slices, slices.threads, slices.is_long != 0)
    return int(slices.failures)


@inlined
def set_layer(p: Any, plan: Any, rows: int, itemsize: int, x: int, y: int) -> None:
    """Operands of a layer: rows that lie side by side."""
    p.a, p.a_stride, p.a_itemsize, p.m = x, p.k * itemsize, itemsize, rows
    p.c, p.c_itemsize = y, 1 if plan.to_codes != 0 else 4
    p.c_stride = p.n * p.c_itemsize


@way
def layer_of_codes(pool: int, threads: int, record: int, rows: int, x: int, y: int) -> int:
    """An `Int8Linear` for rows of codes of its input_qparams. record: its PLAN."""
    plan = plan_at(record)
    block, address = new_product(plan, 0)
    p, flip = product_at(address), address_of(plan) + FLIP
    set_layer(p, plan, rows, 1, x, y)
    set_columns(plan, p, new_qparams(plan, address))
    p.prologue, p.prologue_u, p.prologue_v = prologue_of_codes(p, plan.flip), flip, 0
    product(pool, threads, p)
    keep_alive(block)
    return 0


@way
def layer_of_reals(pool: int, threads: int, record: int, rows: int, x: int, y: int) -> int:
    """The same for rows of reals, which the product's prologue quantizes."""
    plan = plan_at(record)
    block, address = new_product(plan, 0)
    p, qparams = product_at(address), new_qparams(plan, address)
    set_layer(p, plan, rows, 4, x, y)
    set_columns(plan, p, qparams)
    kernel, flip = kernel_at(p.kernel), address_of(plan) + FLIP
    p.prologue, p.prologue_u, p.prologue_v = kernel.quantize, address_of(qparams), flip
    seen = product(pool, threads, p)
    keep_alive(block)
    return NAN_SEEN if seen != 0 else 0


@task
def interleaved_task(record: Any, index: int, thread: int) -> None:
    """Some pixels of an image: each channel is quantized to scratch, and then its codes go where its pixels are."""
    job = interleaved_at(address_of(record))
    image, first = index // job.blocks, index % job.blocks * job.block
    count, seen = min(job.block, job.pixels - first), 0
    codes = job.scratch + thread * job.thread_scratch
    for c in range(job.channels):
        x = job.x + ((image * job.channels + c) * job.pixels + first) * 4
        seen += call(job.quantize, (x, 0, 1, count, codes + c * job.block, 0, job.qparams, job.flip))
    interleave(codes, job.block, job.channels, count, job.y + (image * job.pixels + first) * job.channels)
    if seen != 0:
        atomic_add(job, "nan_count", seen)


@inlined
def interleave(planes: int, plane: int, channels: int, count: int, to: int) -> None:
    """y[i, c] = x[c, i] of bytes, for `count` pixels; a plane of x takes `plane` bytes."""
    x, y = uint8s_at(planes), uint8s_at(to)
    if channels == 3:  # in vectors
        for i in range(count):
            y[3 * i], y[3 * i + 1], y[3 * i + 2] = x[i], x[plane + i], x[2 * plane + i]
        return
    for c in range(channels):
        for i in range(count):
            y[i * channels + c] = x[c * plane + i]


@inlined
def transpose(x: Any, y: Any, start: int, rows: int, columns: int) -> None:
    """y[start + j * rows + i] = x[start + i * columns + j]."""
    for j in range(columns):
        for i in range(rows):
            y[start + j * rows + i] = x[start + i * columns + j]


@task
def flattened_task(record: Any, index: int, thread: int) -> None:
    """One image, its channels outermost."""
    job = flattened_at(address_of(record))
    start = index * job.channels * job.pixels
    if job.itemsize == 1:
        transpose(uint8s_at(job.x), uint8s_at(job.y), start, job.pixels, job.channels)
    else:
        transpose(float32s_at(job.x), float32s_at(job.y), start, job.pixels, job.channels)
