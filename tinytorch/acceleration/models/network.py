"""Layers that follow each other as one compiled call, for inputs of one shape: see `jobs`, and `running`.

    plans = Plans(layers)
    taken, y = plans.run(i, x)       from layer i on as many layers as one call can do; 0 where none can be planned, and
                                     where a NaN was met, of which the layers themselves tell better

A plan serves one call at a time, for its arena holds what lies between the layers. So calls of several threads take
several plans: those that nobody uses are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import Flatten, Tensor
from ...core.layers import is_exactly
from ..operations.arrays import empty_aligned
from ..runtime.features import kernel
from ..runtime.layout import ALIGNMENT
from ..runtime.once import load
from .codes import Codes, has_codes, same_qparams
from .jobs import Buffer, Jobs, Value, place
from .planning import FLOAT32, flattened

NEAR = 1 << 20  # bytes of what lies between layers that stay in the second cache: more images are taken in slices
LONG = 1 << 16  # bytes of input from which threads are woken for slices
MOST_KEPT = 16  # shapes of inputs, of which plans are kept for each layer


@dataclass(frozen=True, eq=False)
class Recorded:
    """The jobs of layers for one slice. result: what they make; taken: how many layers."""

    jobs: Jobs
    result: Value
    taken: int
    arena_bytes: int


def record(layers: Sequence[Any], name: str, threads: int, x: Value) -> Recorded | None:
    """The jobs of as many of the first layers as can be planned."""
    jobs, value, taken = Jobs(name, threads, x.buffer), x, 0
    for layer in layers:
        known = len(jobs.made)
        after = planning_of(layer, jobs, value)
        if after is None:
            del jobs.made[known:]
            break
        value, taken = after, taken + 1
    if not jobs.made:
        return None
    return Recorded(jobs, value, taken, place(jobs.buffers(value.buffer)))


def planning_of(layer: Any, jobs: Jobs, x: Value) -> Value | None:
    """What a layer plans: an accelerated one, or the library's own Flatten."""
    if hasattr(layer, "plan"):
        planned: Value | None = layer.plan(jobs, x)
        return planned
    return flattened(jobs, x) if is_exactly(layer, Flatten) and len(x.shape) > 1 else None


@dataclass(eq=False)
class Planned:
    """`taken` layers in one call. words: a SLICES record; shape: of the result as it lies. rest: what does the images
    that fill no slice."""

    words: NDArray[np.int64]
    slices: int
    threads: int
    result: Value
    taken: int
    shape: tuple[int, ...]
    owners: tuple[Any, ...]
    idle: list[Planned]  # where it waits for the next call
    run: Any  # `running.run_network`, compiled
    rest: Planned | None = None

    def __call__(self, pool: Any, x: NDArray[Any]) -> NDArray[Any] | None:
        """x: contiguous. None if it holds a NaN, or no memory was left."""
        y, full = empty_aligned((len(x), *self.shape[1:]), self.result.dtype), self.shape[0]
        if self.rest is None:
            failures = self.fill(pool, x, y)
        else:
            failures = self.fill(pool, x[:full], y[:full]) | self.rest.fill(pool, x[full:], y[full:])
        self.idle.append(self)
        if failures != 0:
            return None
        return np.moveaxis(y, -1, 1) if self.result.lies_otherwise else y

    def fill(self, pool: Any, x: NDArray[Any], y: NDArray[Any]) -> int:
        """The result for x, to y. Returns not 0 where it failed."""
        flat = x.reshape(-1).view(np.uint8), y.reshape(-1).view(np.uint8)
        return int(self.run(pool.address, pool.threads, self.words, *flat))


def planned(recorded: list[Recorded], slices: int, x: Value, idle: list[Planned]) -> Planned:
    """The plan of `slices` slices, of which each thread has `recorded` one."""
    loops, records, y = load("models.running"), load("calls.plans"), recorded[0].result
    networks, owners = np.zeros(len(recorded), loops.NETWORK), []
    for i, each in enumerate(recorded):
        block = np.zeros(each.arena_bytes + 2 * ALIGNMENT, np.uint8)
        base = -(-block.ctypes.data // ALIGNMENT) * ALIGNMENT
        networks[i], kept = _network(each, base)
        owners.append((block, kept))
    words = records.record_of(loops.SLICES, {
        "task": loops.slice_task.address, "networks": networks, "slices": slices, "threads": len(recorded),
        "is_long": x.size * slices >= LONG, "x_bytes": x.size * x.dtype.itemsize,
        "y_bytes": y.size * y.dtype.itemsize,
    })  # fmt: skip
    n, *rest = y.shape
    shape = (n * slices, *rest[1:], rest[0]) if y.lies_otherwise else (n * slices, *rest)
    return Planned(
        words.view(np.int64),
        slices,
        len(recorded),
        y,
        recorded[0].taken,
        shape,
        (networks, owners, recorded),
        idle,
        loops.run_network.made,
    )


def _network(recorded: Recorded, base: int) -> tuple[tuple[int, ...], Any]:
    """A NETWORK whose arena begins at `base`, and what it needs to be alive: every address in its records is set."""
    jobs, y = recorded.jobs, recorded.result.buffer
    table = np.zeros(len(jobs.made), load("models.running").JOB)
    inputs, outputs, nan_counts = [], [], []
    for i, job in enumerate(jobs.made):
        table[i] = (job.way, job.record.ctypes.data, job.operand, 0, 0, job.task, job.tasks, job.threads, job.is_long)
        holder = table[i : i + 1] if job.way else job.record
        for name, buffer in job.buffers.items():
            if buffer is jobs.x:
                inputs.append(address_of(holder, name))
            elif buffer is y:
                outputs.append(address_of(holder, name))
            else:
                holder[name] = base + buffer.offset
        if job.nan_count:
            nan_counts.append(address_of(job.record, job.nan_count))
    lists = [np.array(each, np.int64) for each in (inputs, outputs, nan_counts)]
    addresses = [number for each in lists for number in (each.ctypes.data, len(each))]
    return (table.ctypes.data, len(table), *addresses), (table, lists)


def address_of(record: NDArray[Any], name: str) -> int:
    """Of a field."""
    fields: Any = record.dtype.fields
    return int(record.ctypes.data + fields[name][1])


@dataclass(eq=False)
class Plans:
    """The plans of the layers of a chain, by the first layer of each and by what it is given."""

    layers: list[Any]
    idle: dict[Any, list[Planned] | None] = field(default_factory=dict)  # None: nothing can be planned

    def __getstate__(self) -> dict[str, Any]:
        """Plans hold addresses of this process: a copy or a pickle goes without."""
        return {"layers": self.layers, "idle": {}}

    def run(self, i: int, x: Any) -> tuple[int, Any]:
        """x through as many layers from layer i on as one call can do: (how many, what comes out); (0, x) for none."""
        given = _array_of(self.layers[i], x)
        if given is None or given.size == 0 or (name := kernel()) == "numpy":
            return 0, x
        pool = thread_pool()
        lying, channels_last = (given, False) if given.flags.carray else _lying(given)
        key = i, name, pool.threads, given.shape, given.dtype, channels_last
        idle = self.idle.get(key, ())
        plan = None if idle is None else _taken_from(idle) or self._made(key, x)
        if plan is None or (y := plan(pool, lying)) is None:
            return 0, x
        out = plan.result
        return plan.taken, Tensor(y) if out.qparams is None else Codes(y, out.qparams, out.kind)

    def _made(self, key: Any, x: Any) -> Planned | None:
        """A new plan; what cannot be planned is remembered, too."""
        i, name, most_threads, shape, dtype, channels_last = key
        qparams, kind = (x.qparams, getattr(x, "kind", type(x))) if has_codes(x) else (None, None)

        def recorded(n: int, on_threads: int) -> Recorded | None:
            value = Value(Buffer(0), (n, *shape[1:]), dtype, qparams, kind, channels_last)
            return record(self.layers[i:], name, on_threads, value)

        first = recorded(1, 1)
        if len(self.idle) >= MOST_KEPT * len(self.layers):
            self.idle.clear()
        if first is None:
            self.idle[key] = None
            return None
        idle = self.idle.get(key)
        if idle is None:
            idle = self.idle[key] = []
        size = _slice_size(shape[0], first, most_threads)

        def plan_of(slices: int, n: int) -> Planned:
            """Of so many slices of n images."""
            alone = 1 if slices > 1 else most_threads
            made = [recorded(n, alone) for _ in range(min(slices, most_threads) if slices > 1 else 1)]
            value = Value(Buffer(0), (n, *shape[1:]), dtype)
            return planned([each for each in made if each is not None], slices, value, idle)

        plan = plan_of(shape[0] // size, size)
        if shape[0] % size:
            plan.rest = plan_of(1, shape[0] % size)
        return plan


def _taken_from(idle: Any) -> Planned | None:
    """A plan that nobody uses; threads may ask at once."""
    try:
        plan: Planned | None = idle.pop() if idle else None
    except IndexError:
        plan = None
    return plan


def _slice_size(n: int, image: Recorded, threads: int) -> int:
    """How many of n images make a slice: what lies between layers stays near, but each slice reads all weights anew.
    image: the jobs of one image."""
    weights = sum(job.weight_bytes for job in image.jobs.made)
    most = max(1, max(NEAR, weights // 3) // max(image.arena_bytes, 1))
    slices = -(-n // most)
    if slices > 1:  # so that all threads have as many
        slices = -(-slices // threads) * threads
    return -(-n // slices)


def _lying(x: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """(x in the order in which it lies, contiguous; whether its channels are the last axis there and not here)."""
    if x.ndim > 2 and not x.flags.c_contiguous and (moved := np.moveaxis(x, 1, -1)).flags.c_contiguous:
        return np.require(moved, None, "A"), True
    return np.require(x, None, ["C", "A"]), False


def _array_of(layer: Any, x: Any) -> NDArray[Any] | None:
    """What a plan would be given: float32, or codes of the quantization parameters that the layer was made for."""
    of_input = getattr(layer, "input_qparams", None)
    if of_input is None:
        return None
    if type(x) is Tensor:
        return x.data if x.data.dtype is FLOAT32 and type(x.data) is np.ndarray else None
    fits = has_codes(x) and x.q.dtype.char in "bB" and same_qparams(x.qparams, of_input)
    return x.q if fits else None


def thread_pool() -> Any:
    """The thread pool; its module is loaded by name, as it needs Numba."""
    return load("runtime.threads").pool()
