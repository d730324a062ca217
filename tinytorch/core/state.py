"""A model's state in a file, or all that a training goes on from: .npz, plain arrays under their dotted names.

Nothing in such a file can run.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, Protocol
from zipfile import ZipFile

import numpy as np

from .checks import kind_of
from .files import written_whole
from .layers import Module, as_module, join
from .resuming import Stateful
from .tensor import Array

FORMAT = b"tinytorch state 2"  # the archive's comment; format 1 had none, and did not tell integer types


def save_state(model: Module, path: str | Path) -> None:
    """Write model.state_dict() to `path`, whole or not at all. The same state gives the same bytes; np.load reads it.

    Raises OSError if the folder is missing or full, ValueError for arrays of Python objects, TypeError for an
    accelerated model.
    """
    path = _as_path(path)
    _write(as_module(model).state_dict(), path)


def _as_path(path: Any) -> Path:
    """The path of a file. TypeError for anything else, such as the model, which save_state takes first."""
    if not isinstance(path, (str, PathLike)):
        order = "save_state(model, path), load_state(model, path), save_checkpoint(path, model=model)"
        raise TypeError(f"wanted the path of a file, got {kind_of(path)}: the order is {order}")
    return Path(path)


def _write(state: Mapping[str, Array], path: Path) -> None:
    with written_whole(path) as out, ZipFile(out, "w") as file:
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


def _read_file(path: str | Path) -> dict[str, Array]:
    content = _as_path(path).read_bytes()
    try:
        return _read(content)
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for damaged bytes
        said = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} must be a whole .npz file of arrays, got {said}: save_state writes one") from error


def load_state(model: Module, path: str | Path) -> None:
    """Load what `save_state` wrote from a model made by the same steps, folded and quantized alike: all or nothing.

    Raises OSError if the file cannot be read; ValueError for one that is no .npz of arrays or is damaged, or that holds
    another model's state: a name too many or too few, another shape, integer type or format, a dtype that will not do.
    """
    state = _read_file(path)
    try:
        as_module(model).load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


class HasState(Protocol):
    """A model, an optimizer, a GradScaler: whatever gives its state and takes it back."""

    def state_dict(self) -> dict[str, Array]: ...

    def load_state_dict(self, state: Mapping[str, Array]) -> None: ...


class _Held(Stateful):
    """A generator of random numbers, whose state is set where it is: others hold it."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator


DRAWN = "generator:"  # then the generator's name, and a colon: no attribute's name holds one


class _Model:
    """A model's state, and the generators that its modules draw from, such as a Dropout's, which is no state of it."""

    def __init__(self, model: Module) -> None:
        named = ((join(prefix, name), value) for prefix, m in model.named_modules() for name, value in vars(m).items())
        self.model = model
        self.held = {name: _Held(value) for name, value in named if isinstance(value, np.random.Generator)}

    def state_dict(self) -> dict[str, Array]:
        drawn = [(name, held.state_dict()) for name, held in self.held.items()]
        return self.model.state_dict() | {
            f"{DRAWN}{name}:{key}": a for name, state in drawn for key, a in state.items()
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        drawn: dict[str, dict[str, Array]] = {}
        for full in (full for full in state if full.startswith(DRAWN)):
            _, name, key = full.split(":", 2)
            drawn.setdefault(name, {})[key] = state[full]
        if drawn.keys() != self.held.keys():
            here, there = (", ".join(names) or "none" for names in (self.held, drawn))
            raise ValueError(f"the model draws from the generators {here}; the state is of {there}")
        self.model.load_state_dict({full: a for full, a in state.items() if not full.startswith(DRAWN)})
        for name, held in self.held.items():
            held.load_state_dict(drawn[name])


def _with_state(part: Any) -> Any:
    if isinstance(part, np.random.Generator):
        return _Held(part)
    return _Model(part) if isinstance(part, Module) else part


def _parts(parts: Mapping[str, Any]) -> dict[str, HasState]:
    """The parts by name. TypeError for one that has no state, or none that is named."""
    held = {name: _with_state(part) for name, part in parts.items()}
    for name, part in held.items():
        if not hasattr(part, "state_dict") or isinstance(part, type):
            raise TypeError(
                f"{name} must be a model, an optimizer, a scaler or a Generator, got {part!r}: no state_dict"
            )
    if not held:
        raise TypeError("a checkpoint needs its parts by name: save_checkpoint(path, model=model, optimizer=optimizer)")
    return held


def save_checkpoint(path: str | Path, /, **parts: HasState | np.random.Generator) -> None:
    """Write all that a training goes on from to `path`, whole or not at all: each part under its name.

        save_checkpoint("run.npz", model=model, optimizer=adam, scaler=scaler, rng=rng)

    parts: models, with the generators that their Dropouts and own modules draw from; optimizers, GradScalers, NumPy's
    Generators, and whatever has `state_dict` and `load_state_dict`.
    """
    path, held = _as_path(path), _parts(parts)
    _write({f"{name}.{key}": a for name, part in held.items() for key, a in part.state_dict().items()}, path)


def load_checkpoint(path: str | Path, /, **parts: HasState | np.random.Generator) -> None:
    """Load what `save_checkpoint` wrote, into parts of the same names, made as those were: all of it or nothing.

    From there on, training goes on to the same bits. Raises OSError if the file cannot be read, ValueError for one that
    is damaged or of other parts.
    """
    held, states = _parts(parts), dict[str, dict[str, Array]]()
    for full, array in _read_file(path).items():
        name, _, key = full.partition(".")
        states.setdefault(name, {})[key] = array
    if states.keys() != held.keys():
        raise ValueError(f"{path} holds {', '.join(states) or 'nothing'}; wanted {', '.join(held)}, each by its name")
    before = {name: part.state_dict() for name, part in held.items()}
    for name, part in held.items():
        try:
            part.load_state_dict(states[name])
        except ValueError as error:
            for done in held:
                held[done].load_state_dict(before[done])
            raise ValueError(f"{path}: {name}: {error}") from error
