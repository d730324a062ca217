"""A network as jobs: what its layers have to do for images of one size, with all memory placed beforehand.

    jobs = Jobs(kernel name, threads)
    y = layer.plan(jobs, x)      a layer adds its jobs and says what comes out, a Value; None: it cannot be planned
    place(jobs.buffers(y))       every Buffer gets its place: two may share one if they are never in use together

A job names, for each address that its record holds, the Buffer that lies there. See `running` for the run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.layout import ALIGNMENT


@dataclass(eq=False)
class Buffer:
    """Bytes that jobs write and read. offset: in the arena, once it is placed."""

    nbytes: int
    offset: int = 0
    first: int = -1  # the first job that uses it, and the last
    last: int = -1


@dataclass(frozen=True)
class Value:
    """An array between two layers: reals, or codes of `qparams`, which a tensor of class `kind` holds outside.

    shape: as the layers see it. is_channels_last: whether images of it lie with channels innermost.
    """

    buffer: Buffer
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    qparams: Any = None
    kind: Any = None
    is_channels_last: bool = True

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def is_one_way(self) -> bool:
        """Whether its images lie the same way, wherever the channels are: one channel, one pixel, or no images."""
        return len(self.shape) < 3 or self.shape[1] == 1 or prod(self.shape[2:]) == 1

    @property
    def lies_otherwise(self) -> bool:
        """Whether its channels come first as the layers see it, and last in memory."""
        return len(self.shape) > 2 and self.is_channels_last

    @property
    def has_channels_last(self) -> bool:
        return self.is_channels_last or self.is_one_way

    @property
    def has_channels_first(self) -> bool:
        """Whether it lies as NumPy lays it out."""
        return not self.is_channels_last or self.is_one_way

    def as_images(self) -> Value:
        """Signals [N, channels, length] as images one row high."""
        n, channels, length = self.shape
        return self.reshaped(n, channels, 1, length)

    def as_signals(self) -> Value:
        """Images one row high as signals."""
        n, channels, _, length = self.shape
        return self.reshaped(n, channels, length)

    def reshaped(self, *shape: int) -> Value:
        return replace(self, shape=shape)


@dataclass(eq=False)
class Job:
    """A task over a record, of which `buffers` says which Buffer each address is; or a way, whose x and y they are.

    way: the address of one (see `calls.convolution`), 0 for a task. operand: its fourth argument.
    """

    record: NDArray[Any]
    buffers: dict[str, Buffer]
    task: int = 0
    tasks: int = 0
    threads: int = 1
    is_long: bool = False
    nan_count: str = ""  # the field of the record that counts NaNs, if there is one
    way: int = 0
    operand: int = 0
    weight_bytes: int = 0  # that it reads
    owners: tuple[Any, ...] = ()  # what other addresses belong to


@dataclass(eq=False)
class Jobs:
    """The jobs of a network on one kernel. x, y: what it is given and what it gives lie outside the arena."""

    kernel: str
    threads: int
    x: Buffer
    made: list[Job] = field(default_factory=list)

    def add(self, job: Job) -> None:
        for buffer in job.buffers.values():
            buffer.last = len(self.made)
            buffer.first = buffer.last if buffer.first < 0 else buffer.first
        self.made.append(job)

    def buffers(self, y: Buffer) -> list[Buffer]:
        """Those that lie in the arena."""
        every = {id(b): b for job in self.made for b in job.buffers.values()}
        return [b for b in every.values() if b is not self.x and b is not y]


def place(buffers: Iterable[Buffer]) -> int:
    """Give each Buffer an offset, large ones first, the lowest where no other one lies meanwhile. Returns how many
    bytes the arena needs."""
    placed: list[Buffer] = []
    end = 0
    for buffer in sorted(buffers, key=lambda b: -b.nbytes):
        offset = 0
        for other in placed:  # in the order of their offsets
            meanwhile = other.first <= buffer.last and buffer.first <= other.last
            if meanwhile and other.offset < offset + buffer.nbytes:
                offset = max(offset, other.offset + rounded(other.nbytes))
        buffer.offset = offset
        placed.append(buffer)
        placed.sort(key=lambda b: b.offset)
        end = max(end, offset + rounded(buffer.nbytes))
    return end


def rounded(nbytes: int) -> int:
    """So that what comes behind begins on a cache line, and whole vectors may be read beyond the end."""
    return -(-(nbytes + ALIGNMENT) // ALIGNMENT) * ALIGNMENT
