"""Fashion-MNIST: 70 000 grey images of clothes, 28 x 28 pixels, 10 kinds. Xiao, Rasul, Vollgraf 2017; MIT licence."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

import numpy as np

from .data import Dataset
from .download import Progress, cache_dir, fetch, show_progress
from .tensor import Array

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist
MIRRORS = [
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
]
SHA256 = {  # of the uncompressed files
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CHOICES = (
    "install Debian's package dataset-fashion-mnist, or put the four IDX files in a folder and pass it as path "
    "or in TINYTORCH_DATA"
)
AGAIN = "copy or download it again"


def _gunzipped(path: Path) -> bytes:
    import gzip
    import zlib

    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} must be whole gzip, got {error}: {AGAIN}") from error


def read_idx(path: Path) -> Array:
    """The uint8 array of an IDX file, gzipped or not: magic 0 0 8 ndim, then ndim big-endian sizes, then the bytes.

    Raises ValueError for another format or a file that is not whole.
    """
    content = _gunzipped(path)
    if content[:3] != b"\0\0\x08" or len(content) < 4 or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path} must be an IDX file of bytes, starting 00 00 08, got {content[:4].hex(' ')}: {AGAIN}")
    ndim = content[3]
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", ndim, offset=4))
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * ndim)
    if values.size != prod(shape):
        raise ValueError(f"{path} must hold {prod(shape)} values, got {values.size}: {AGAIN}")
    return values.reshape(shape)


def _named_folder(path: str | Path | None) -> Path | None:
    """The folder that was asked for, by argument or environment. It is the only one searched."""
    name = path or os.environ.get("TINYTORCH_DATA")
    return Path(name) if name else None


def _cache() -> Path:
    return cache_dir() / "fashion-mnist"


def _find(folder: Path, name: str) -> Path:
    plain, zipped = folder / name, folder / f"{name}.gz"
    return plain if plain.is_file() else zipped


def _missing(folder: Path) -> list[str]:
    return [name for name in SHA256 if not _find(folder, name).is_file()]


def fashion_mnist_available(path: str | Path | None = None) -> bool:
    """Whether `load_fashion_mnist(path)` would find its files without downloading."""
    folder = _named_folder(path)
    if folder or not _missing(DEBIAN_FOLDER):
        return not _missing(folder or DEBIAN_FOLDER)
    try:
        return not _missing(_cache())
    except FileNotFoundError:  # a user without a home
        return False


def _download(names: list[str], folder: Path, progress: Progress) -> None:
    for name in names:
        try:
            fetch([f"{mirror}{name}.gz" for mirror in MIRRORS], folder / f"{name}.gz", SHA256[name], progress)
        except OSError as error:
            raise FileNotFoundError(f"Fashion-MNIST could not be downloaded ({error}): {CHOICES}") from error


def _pair(images: Array, labels: Array, folder: Path) -> tuple[Array, Array]:
    """Images [N, height, width] -> float32 [N, pixels] in [0, 1]; labels [N] -> int64."""
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{folder}: wanted N images and N labels, got shapes {images.shape} and {labels.shape}: {AGAIN}"
        )
    x = images.reshape(len(images), -1).astype(np.float32)
    x /= 255
    return x, labels.astype(np.int64)


def load_fashion_mnist(path: str | Path | None = None, progress: Progress = show_progress) -> Dataset:
    """60 000 images to train and 10 000 to test, x float32 [N, 784] in [0, 1].

    The four IDX files, with or without .gz, are read from `path`; else from the folder in TINYTORCH_DATA; else from
    where Debian's package dataset-fashion-mnist puts them; else from the cache, which is filled by downloading 31 MB.

    Raises FileNotFoundError if a file is missing and cannot be downloaded, ValueError for a file that is damaged.
    """
    folder = _named_folder(path)
    if folder is None:
        folder = _cache() if _missing(DEBIAN_FOLDER) else DEBIAN_FOLDER
        _download(_missing(folder), folder, progress)
    elif missing := _missing(folder):
        raise FileNotFoundError(f"Fashion-MNIST needs {', '.join(missing)} (or .gz) in {folder}: {CHOICES}")
    x_train, y_train, x_test, y_test = (read_idx(_find(folder, name)) for name in SHA256)
    return Dataset(*_pair(x_train, y_train, folder), *_pair(x_test, y_test, folder), "fashion-mnist")
