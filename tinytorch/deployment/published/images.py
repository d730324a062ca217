"""Calibration data from a folder of images, each brought to the size, the layout and the numbers that a model takes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.extras import library
from tinytorch.deployment.published.model_files import Input
from tinytorch.deployment.published.samples import Feed, Samples, rows_of_a_batch

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
Fit: TypeAlias = Literal["crop", "stretch", "pad"]
FITS = {
    "crop": "scaled to cover, cropped at the centre",
    "stretch": "stretched",
    "pad": "scaled to fit, padded black",
}
INTERVALS = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}


@dataclass(frozen=True)
class Pixels:
    """What a person says of a model's images. size: (height, width); None: what the model says.

    interval: what 0 and 255 become, a key of INTERVALS. Of this mean is subtracted, and std divides it: a number for
    each channel, or one for all; none: neither.
    """

    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    interval: str = "0..1"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    is_bgr: bool = False


@dataclass(frozen=True)
class Layout:
    """The axes of an input: [N, channels, height, width], or the channels last."""

    channels: int
    is_last: bool
    size: tuple[int, int]


def layout_of(wanted: Input, size: tuple[int, int] | None) -> Layout:
    """The axis of 1 or 3 channels, and the size. ValueError where there is none, or where no size is known."""
    dims = wanted.dims
    axis = next((axis for axis in (1, 3) if len(dims) == 4 and dims[axis] in (1, 3)), None)
    if axis is None:
        raise ValueError(f"input {wanted} is no image of 1 or 3 channels: give arrays as .npy, or its --shape")
    sides = dims[2:] if axis == 1 else dims[1:3]
    if size is None and None in sides:
        raise ValueError(f"input {wanted} takes images of any size: say which one, as in --size 224x224")
    height, width = (n or stated for n, stated in zip(sides, size or sides, strict=True))
    assert height and width
    if size is not None and size != (height, width):
        raise ValueError(f"--size {size[0]}x{size[1]} does not fit the input {wanted}")
    return Layout(dims[axis] or 0, axis == 3, (height, width))


def image_samples(folder: Path, inputs: tuple[Input, ...], batch: int, limit: int | None, pixels: Pixels) -> Samples:
    """The images of a folder and those below it, in the order of their names; of a limit, evenly spaced ones."""
    if len(inputs) != 1:
        raise ValueError(f"images fill one input, and the model has {', '.join(map(str, inputs))}: give an .npz")
    (wanted,) = inputs
    layout = layout_of(wanted, pixels.size)
    for name, numbers in (("--mean", pixels.mean), ("--std", pixels.std)):
        if len(numbers) not in (0, 1, layout.channels):
            raise ValueError(f"{name} has {len(numbers)} numbers, and the images {layout.channels} channels")
    if wanted.dtype.kind != "f" and (pixels.interval != "0..255" or pixels.mean or pixels.std):
        raise ValueError(f"input {wanted} takes whole numbers: --range 0..255, without --mean and --std")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    if limit is not None and limit < len(paths):
        paths = [paths[i * len(paths) // limit] for i in range(limit)]
    rows = rows_of_a_batch(inputs, batch)
    groups = [paths[first : first + rows] for first in range(0, len(paths), rows)]
    if wanted.dims[0] is not None and len(groups[-1]) < rows:
        groups.pop()
    if not groups:
        raise ValueError(f"{folder} holds {len(paths)} images, and the model takes {rows} at a time")

    def batches() -> Iterator[Feed]:
        for group in groups:
            yield {wanted.name: np.stack([prepared(path, layout, pixels) for path in group]).astype(wanted.dtype)}

    return Samples(batches, len(groups), len(groups[0]), _told(folder, sum(map(len, groups)), rows, layout, pixels))


def prepared(path: Path, layout: Layout, pixels: Pixels) -> NDArray[np.float32]:
    """An image as the model takes it, without the axis of the batch. ValueError for what does not decode."""
    image, ops = library("PIL.Image"), library("PIL.ImageOps")
    try:
        with image.open(path) as opened:
            upright = ops.exif_transpose(opened)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no image that Pillow can read: {error}") from None
    if upright.mode.startswith(("I", "F")):
        raise ValueError(f"{path} has pixels of more than 8 bits ({upright.mode}): convert it, or give a .npy")
    upright = upright.convert("L" if layout.channels == 1 else "RGB")
    rows = np.asarray(_fitted(upright, layout.size, pixels.fit), np.float32)
    return _numbers(rows.reshape(*layout.size, layout.channels), layout, pixels)


def _fitted(image: Any, size: tuple[int, int], fit: Fit) -> Any:
    bilinear, ops, (height, width) = library("PIL.Image").Resampling.BILINEAR, library("PIL.ImageOps"), size
    if fit == "stretch":
        return image.resize((width, height), bilinear)
    return (ops.fit if fit == "crop" else ops.pad)(image, (width, height), bilinear)


def _numbers(image: NDArray[np.float32], layout: Layout, pixels: Pixels) -> NDArray[np.float32]:
    """Bytes [height, width, channels] in the interval, without the mean, in units of std, and in the model's layout."""
    lo, hi = INTERVALS[pixels.interval]
    x = image[..., ::-1] if pixels.is_bgr else image
    x = x * np.float32((hi - lo) / 255) + np.float32(lo)
    mean, std = np.asarray(pixels.mean or 0, np.float32), np.asarray(pixels.std or 1, np.float32)
    x = (x - mean) / std
    return np.ascontiguousarray(x if layout.is_last else np.moveaxis(x, -1, 0), np.float32)


def _told(folder: Path, count: int, rows: int, layout: Layout, pixels: Pixels) -> str:
    height, width = layout.size
    colours = "grey" if layout.channels == 1 else "BGR" if pixels.is_bgr else "RGB"
    parts = [f"{FITS[pixels.fit]} to {height} x {width}", colours, f"channels {'last' if layout.is_last else 'first'}"]
    parts.append(f"pixels {pixels.interval}")
    for name, numbers in (("minus", pixels.mean), ("divided by", pixels.std)):
        if numbers:
            parts.append(f"{name} {', '.join(f'{n:g}' for n in numbers)}")
    images = "1 image" if count == 1 else f"{count:,} images"
    return f"calibration: {images} of {folder}, {rows} at a time: {'; '.join(parts)}"
