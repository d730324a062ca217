"""A model's state in a file: .npz, plain arrays under their dotted names. Nothing in it can run."""

from __future__ import annotations

import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from .layers import Module
from .tensor import Array


def save_state(model: Module, path: str | Path) -> None:
    """Write model.state_dict() to `path`, whole or not at all. The same state gives the same bytes; np.load reads it.

    Raises OSError if the folder is missing or full, ValueError for arrays of Python objects.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with ZipFile(part, "w") as file:  # np.savez would have no place for a parameter named "file"
            for name, array in model.state_dict().items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Array]:
    with ZipFile(path) as file:
        out = {}
        for name in file.namelist():
            with file.open(name) as entry:
                out[name.removesuffix(".npy")] = np.lib.format.read_array(entry, allow_pickle=False)
        return out


def load_state(model: Module, path: str | Path) -> None:
    """Load what `save_state` wrote from a model of the same structure: all of it or nothing.

    Raises FileNotFoundError; ValueError for a file that is no .npz of arrays or is damaged, or that holds another
    model's state: a name too many or too few, another shape, a dtype that will not do.
    """
    try:
        state = _read(Path(path))
    except (BadZipFile, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} must be a whole .npz file of arrays, got {error}: save_state writes one") from error
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
