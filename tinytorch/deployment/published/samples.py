"""Calibration data as batches of a model's inputs: arrays of a file, and arrays by chance. One batch is in memory."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.published.model_files import Input

DAMAGE = (zipfile.BadZipFile, zlib.error, tokenize.TokenError, EOFError, OSError, OverflowError, RuntimeError)
"""What zipfile and NumPy raise for files that are not what they were."""

Feed: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Samples:
    """batches: gives all of them, one after the other; count: how many there are; rows: samples in the first of them.

    told: what was done, in a line.
    """

    batches: Callable[[], Iterator[Feed]]
    count: int
    rows: int
    told: str


def rows_of_a_batch(inputs: Iterable[Input], wanted: int) -> int:
    """How many samples go into a batch: what the model fixes for its inputs' first axis, or as many as are wanted."""
    fixed = {each.dims[0] for each in inputs if each.dims} - {None}
    if len(fixed) > 1:
        sizes = ", ".join(map(str, inputs))
        raise ValueError(f"the first axis of {sizes} is not the same: give each array an axis of samples before it")
    return next((size for size in fixed if size), wanted)


def in_words(samples: int) -> str:
    return "1 sample" if samples == 1 else f"{samples:,} samples"


# Arrays of a file


@dataclass(frozen=True)
class Stored:
    """An array in a .npy file or a member of an .npz: what its header says. open: gives its bytes from the first on."""

    name: str
    open: Callable[[], BinaryIO]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool

    def pieces(self, rows: int) -> Iterator[NDArray[Any]]:
        """The array from its first row to its last, so many at a time."""
        with self.open() as stream:
            if self.is_fortran or not self.shape:  # rows do not lie together, or there are none
                array = np.lib.format.read_array(stream, allow_pickle=False)
                yield from (array[first : first + rows] for first in range(0, len(array), rows))
                return
            _header(stream)
            row = self.dtype.itemsize * int(np.prod(self.shape[1:]))
            for first in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - first)
                content = stream.read(count * row)
                if len(content) < count * row:
                    raise ValueError(f"{self.name} ends after {first} of {self.shape[0]} samples: it is damaged")
                yield np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])

    def whole(self) -> NDArray[Any]:
        with self.open() as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def stored(path: Path, inputs: tuple[Input, ...]) -> dict[str, Stored]:
    """The arrays of a file by the names of the inputs. ValueError for a file that is no array's, or lacks one."""
    if path.suffix == ".npy":
        if len(inputs) != 1:
            told = ", ".join(each.name for each in inputs)
            raise ValueError(f"a .npy holds one array, and the model has the inputs {told}: save them as an .npz")
        return {inputs[0].name: _stored(path.name, lambda: path.open("rb"))}
    try:
        with zipfile.ZipFile(path) as members:
            names = [name.removesuffix(".npy") for name in members.namelist()]
    except DAMAGE:
        raise ValueError(f"{path.name} is no .npz: wanted what numpy.savez writes") from None
    missing = [each.name for each in inputs if each.name not in names]
    if missing:
        raise ValueError(f"{path.name} has no array for the input {missing[0]}: it holds {', '.join(names)}")
    return {each.name: _stored(f"{path.name}: {each.name}", _opener(path, each.name)) for each in inputs}


def _opener(path: Path, name: str) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, zipfile.ZipFile(path).open(f"{name}.npy"))


def _stored(name: str, opened: Callable[[], BinaryIO]) -> Stored:
    try:
        with opened() as stream:
            shape, is_fortran, dtype = _header(stream)
    except (ValueError, *DAMAGE):
        raise ValueError(f"{name} is no array: wanted what numpy.save writes") from None
    if dtype.hasobject or dtype.names:
        raise ValueError(f"{name} holds {dtype}: wanted numbers")
    return Stored(name, opened, shape, dtype, is_fortran)


def array_samples(path: Path, inputs: tuple[Input, ...], batch: int, limit: int | None) -> Samples:
    """The samples of a file, along the first axis of each array.

    An array with an axis more than its input holds a whole input for each sample, which then run one by one. A single
    number for an input that is one is the same for all.
    """
    arrays = stored(path, inputs)
    for each in inputs:
        _check(each, arrays[each.name])
    sampled = [each for each in inputs if arrays[each.name].shape]
    single = {each.name for each in sampled if len(arrays[each.name].shape) > len(each.dims)}
    rows = 1 if single else rows_of_a_batch(sampled, batch)
    held = _samples_in(path, {each.name: arrays[each.name].shape[0] for each in sampled})
    used = min(held, limit or held)
    if any(each.name not in single and each.dims[0] is not None for each in sampled):
        used -= used % rows  # the model takes whole batches alone
    if not used:
        raise ValueError(f"{path.name} holds {in_words(held)}, and the model takes {rows} at a time")

    def batches() -> Iterator[Feed]:
        streams = {each.name: _pieces(each, arrays[each.name], rows, each.name in single) for each in inputs}
        cut = {each.name for each in sampled} - single
        for first in range(0, used, rows):
            feed = {name: next(stream) for name, stream in streams.items()}
            yield {name: array[: used - first] if name in cut else array for name, array in feed.items()}

    return Samples(batches, -(-used // rows), min(rows, used), _told(path, inputs, arrays, used, rows))


def _samples_in(path: Path, counts: dict[str, int]) -> int:
    """How many samples each array holds, by its name; all must hold as many."""
    if len(set(counts.values())) != 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items()) or "no axis of samples"
        raise ValueError(f"the arrays of {path.name} hold different numbers of samples: {told}")
    return next(iter(counts.values()))


def _told(path: Path, inputs: tuple[Input, ...], arrays: dict[str, Stored], samples: int, rows: int) -> str:
    parts = ", ".join(f"{n} {a.dtype} {[*a.shape[1:]]}" for n, a in arrays.items())
    converted = [n for n, a in arrays.items() if a.dtype != next(each.dtype for each in inputs if each.name == n)]
    as_they_are = f"converted to the model's type: {', '.join(converted)}" if converted else "given as they are"
    return f"calibration: {in_words(samples)} of {path.name}, {rows} at a time ({parts}), {as_they_are}"


def _check(wanted: Input, got: Stored) -> None:
    if not np.can_cast(got.dtype, wanted.dtype, "same_kind"):
        raise ValueError(f"input {wanted.name} wants {wanted.dtype}, {got.name} holds {got.dtype}: convert it before")
    sizes = got.shape[1:] if len(got.shape) > len(wanted.dims) else got.shape
    fits = len(sizes) == len(wanted.dims)
    first = 0 if sizes is not got.shape else 1  # the axis of samples is longer than the batch that a model wants
    if not fits or any(n not in (None, size) for n, size in zip(wanted.dims[first:], sizes[first:], strict=True)):
        raise ValueError(
            f"input {wanted} wants arrays of that shape with samples along the first axis, or along one axis more: "
            f"{got.name} has the shape {[*got.shape]}"
        )


def _pieces(wanted: Input, array: Stored, rows: int, is_single: bool) -> Iterator[NDArray[Any]]:
    if not array.shape:
        same = array.whole().astype(wanted.dtype)
        while True:
            yield same
    try:
        for number, piece in enumerate(array.pieces(rows)):
            if piece.dtype.kind == "f" and not np.isfinite(piece).all():
                bad = number * rows + int(np.argmin(np.isfinite(piece).reshape(len(piece), -1).all(1)))
                raise ValueError(f"{array.name}: sample {bad} holds a NaN or an infinity, which no range covers")
            yield np.ascontiguousarray(piece[0] if is_single else piece, wanted.dtype)
    except DAMAGE as error:
        raise ValueError(f"{array.name} is damaged: {error}") from None


# Arrays by chance


def with_shapes(inputs: tuple[Input, ...], shapes: dict[str, tuple[int, ...]]) -> tuple[Input, ...]:
    """The inputs with the sizes that a person stated. ValueError for an unknown input, or one of other sizes."""
    for name in shapes:
        if name not in {each.name for each in inputs}:
            raise ValueError(f"--shape names {name}, and the model has the inputs {', '.join(map(str, inputs))}")
    for each in inputs:
        stated = shapes.get(each.name)
        if stated is None or each.shape is None:
            continue
        fits = len(stated) == len(each.shape)
        if not fits or any(n not in (None, size) for n, size in zip(each.shape, stated, strict=True)):
            raise ValueError(f"--shape {each.name}={','.join(map(str, stated))} does not fit the input {each}")
    return tuple(replace(each, shape=shapes.get(each.name, each.shape)) for each in inputs)


def random_samples(inputs: tuple[Input, ...], count: int, batch: int, seed: int = 0) -> Samples:
    """Normal numbers where the model takes floats; elsewhere 0 and 1, which are valid in nearly every table."""
    for each in inputs:
        if None in each.dims[1:]:
            raise ValueError(f"--random needs all sizes of {each}: state them, as in --shape {_example(each, batch)}")
    first = next((each.dims[0] for each in inputs if each.dims and each.dims[0]), batch)
    runs = -(-count // first)

    def batches() -> Iterator[Feed]:
        rng = np.random.default_rng(seed)
        for _ in range(runs):
            yield {each.name: _random(rng, each, batch) for each in inputs}

    drawn = ", ".join(f"{each.name}: {'normal numbers' if each.dtype.kind == 'f' else '0 or 1'}" for each in inputs)
    return Samples(
        batches, runs, first, f"calibration: {in_words(runs * first)} by chance, {first} at a time ({drawn})"
    )


def _example(wanted: Input, batch: int) -> str:
    sizes = [batch if axis == 0 else 224 for axis in range(len(wanted.dims))]
    return f"{wanted.name}={','.join(str(n or m) for n, m in zip(wanted.dims, sizes, strict=True))}"


def _random(rng: np.random.Generator, wanted: Input, batch: int) -> NDArray[Any]:
    shape = tuple(batch if size is None else size for size in wanted.dims)
    if wanted.dtype.kind == "f":
        return rng.normal(size=shape).astype(wanted.dtype)
    return rng.integers(0, 2, shape).astype(wanted.dtype)
