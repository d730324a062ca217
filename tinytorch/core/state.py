"""A model's state in a file: .npz, plain arrays under their dotted names. Nothing in it can run."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from .files import written_whole
from .layers import Module
from .tensor import Array

FORMAT = b"tinytorch state 2"  # the archive's comment; format 1 had none, and did not tell integer types


def save_state(model: Module, path: str | Path) -> None:
    """Write model.state_dict() to `path`, whole or not at all. The same state gives the same bytes; np.load reads it.

    Raises OSError if the folder is missing or full, ValueError for arrays of Python objects, TypeError for an
    accelerated model.
    """
    state = model.state_dict()
    with written_whole(Path(path)) as out, ZipFile(out, "w") as file:
        file.comment = FORMAT
        for name, array in state.items():  # np.savez would have no place for a parameter named "file"
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _read(content: bytes) -> dict[str, Array]:
    with ZipFile(BytesIO(content)) as file:
        if file.comment not in (b"", FORMAT):
            raise ValueError(f"format {file.comment!r}, where this version knows {FORMAT!r}")
        out: dict[str, Array] = {}
        for info in file.infolist():
            name = info.filename.removesuffix(".npy")
            if name in out:
                raise ValueError(f"two arrays named {name!r}")
            with file.open(info) as entry:
                out[name] = np.lib.format.read_array(entry, allow_pickle=False)
                if entry.read(1):
                    raise ValueError(f"bytes behind the array {name!r}")
        return out


def load_state(model: Module, path: str | Path) -> None:
    """Load what `save_state` wrote from a model of the same structure: all of it or nothing.

    Raises OSError if the file cannot be read; ValueError for one that is no .npz of arrays or is damaged, or that holds
    another model's state: a name too many or too few, another shape, integer type or format, a dtype that will not do.
    """
    content = Path(path).read_bytes()
    try:
        state = _read(content)
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for damaged bytes
        said = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} must be a whole .npz file of arrays, got {said}: save_state writes one") from error
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
