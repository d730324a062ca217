"""state_dict, and the file it is saved in: everything comes back as it was, and nothing else is let in."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from tinytorch.core import (
    Adam,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Linear,
    Module,
    Sequential,
    Tensor,
    fit,
    load_checkpoint,
    load_state,
    save_checkpoint,
    save_state,
)

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Codes:
    """As a quantized tensor: immutable, made of arrays, with a rule of its own."""

    q: Array
    scale: Array

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ValueError("scale must be > 0")

    def arrays(self) -> dict[str, Array]:
        return {"q": self.q, "scale": self.scale}

    def with_arrays(self, arrays: dict[str, Array]) -> Self:
        return type(self)(**arrays)


class Quantized(Module):
    """Every kind of state: a tensor, arrays of four dtypes, one in a list, an object made of arrays."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.file = Tensor(rng.normal(size=2).astype(np.float16), requires_grad=True)  # np.savez would trip over it
        self.bias = rng.integers(-9, 9, 3).astype(np.int32)
        self.steps = np.array(seed, np.uint8)
        self.luts = [rng.normal(size=2), None, [rng.integers(0, 2, 4) > 0]]
        self.weight = Codes(rng.integers(-128, 127, (2, 3)).astype(np.int8), np.array(0.5 + seed, np.float32))
        self.inner = Sequential(Conv2d(1, 2, 3, rng=rng), BatchNorm2d(2))
        self.bits, self.name = 8, "not state"


NAMES = [
    "file",
    "bias",
    "steps",
    "luts.0",
    "luts.2.0",
    "weight.q",
    "weight.scale",
    "inner.layers.0.weight",
    "inner.layers.0.bias",
    "inner.layers.1.weight",
    "inner.layers.1.bias",
    "inner.layers.1.running_mean",
    "inner.layers.1.running_var",
]


def same(a: dict[str, Array], b: dict[str, Array]) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


def test_state_is_every_array_under_its_dotted_name() -> None:
    state = Quantized(0).state_dict()
    assert sorted(state) == sorted(NAMES)
    assert {str(array.dtype) for array in state.values()} == {
        "float16",
        "float32",
        "float64",
        "int8",
        "uint8",
        "int32",
        "bool",
    }


def test_arrays_are_no_parameters() -> None:
    names = [name for name, _ in Quantized(0).named_parameters()]
    assert names == [n for n in NAMES if n == "file" or (n.startswith("inner") and "running" not in n)]


def test_a_saved_model_comes_back_exactly(tmp_path: Path) -> None:
    model, other, path = Quantized(1), Quantized(2), tmp_path / "model.npz"
    parameter, codes = other.file, other.weight
    save_state(model, path)
    load_state(other, path)
    assert same(other.state_dict(), model.state_dict())
    assert other.file is parameter, "an optimizer holds the tensor"
    assert other.weight is not codes and codes.scale == 2.5, "an immutable object is replaced, not changed"
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_the_state_shares_no_memory_with_the_model() -> None:
    model, other = Quantized(1), Quantized(2)
    state = model.state_dict()
    other.load_state_dict(state)
    before = other.state_dict()
    for array in state.values():
        array[...] = 1
    assert same(other.state_dict(), before) and not same(model.state_dict(), state)


def test_the_same_state_gives_the_same_bytes_which_numpy_reads(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_state(Quantized(1), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with np.load(tmp_path / "a", allow_pickle=False) as file:
        assert same(dict(file), Quantized(1).state_dict())


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    model, path = Sequential(Linear(2, 1)), tmp_path / "model.npz"
    save_state(model, path)
    before = path.read_bytes()
    model.extra = np.array([object()])  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save_state(model, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["model.npz"]


@pytest.mark.parametrize(
    ("name", "new", "wanted"),
    [
        ("weight.q", np.zeros((3, 2), np.int8), r"weight.q must have shape \(2, 3\), got \(3, 2\)"),
        ("weight.q", np.zeros((2, 3), np.float32), "weight.q must have dtype int8, got float32"),
        ("weight.q", np.zeros((2, 3), np.int64), "weight.q must have dtype int8, got int64"),
        ("bias", np.zeros(3, np.uint32), "bias must have dtype int32, got uint32"),
        ("file", np.zeros(2, np.complex64), "file must have dtype float16, got complex64"),
        ("weight.scale", np.float32(-1), "scale must be > 0"),
    ],
)
def test_a_wrong_array_is_named_and_changes_nothing(tmp_path: Path, name: str, new: Any, wanted: str) -> None:
    model, path = Quantized(0), tmp_path / "wrong.npz"
    before = model.state_dict()
    np.savez(path, **{f"{k}": v for k, v in {**Quantized(1).state_dict(), name: new}.items() if k != "file"})
    with zipfile.ZipFile(path, "a") as file, file.open("file.npy", "w") as entry:
        np.lib.format.write_array(entry, np.asarray(new if name == "file" else Quantized(1).file.data))
    with pytest.raises(ValueError, match=wanted) as caught:
        load_state(model, path)
    assert str(caught.value).startswith(str(path))
    assert same(model.state_dict(), before)


def test_another_models_state_is_refused_by_its_names(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    save_state(Sequential(Linear(2, 1, bias=False)), path)
    with pytest.raises(
        ValueError, match=r"another model: missing \['bias', 'weight'\], unexpected \['layers.0.weight'\]"
    ):
        load_state(Linear(2, 1), path)


def a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": [1]}))


def an_npz_with_a_pickle(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weight=np.array([object()]), allow_pickle=True)


def a_bare_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def a_zip_of_text(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weight.npy", "text")


def half_a_file(path: Path) -> None:
    save_state(Linear(2, 1), path)
    path.write_bytes(path.read_bytes()[:-40])


def one_bit_changed(path: Path) -> None:
    save_state(Linear(2, 1), path)
    content = bytearray(path.read_bytes())
    content[content.index(b"}") + 60] ^= 1  # within the numbers, behind the header
    path.write_bytes(content)


def nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "make", [a_pickle, an_npz_with_a_pickle, a_bare_array, a_zip_of_text, half_a_file, one_bit_changed, nothing]
)
def test_a_file_that_is_no_state_is_refused_in_one_sentence(tmp_path: Path, make: Any) -> None:
    path, model = tmp_path / "wrong.npz", Linear(2, 1)
    make(path)
    before = model.state_dict()
    with pytest.raises(
        ValueError, match=r"wrong.npz must be a whole .npz file of arrays, got .*: save_state writes one"
    ):
        load_state(model, path)
    assert same(model.state_dict(), before)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_state(Linear(2, 1), tmp_path / "none.npz")


# Damaged bytes


def written(path: Path) -> bytes:
    save_state(Quantized(1), path)
    return path.read_bytes()


def refused_or_exact(path: Path, content: bytes) -> bool:
    """Whether the bytes are refused with ValueError; what is not refused must be the state that was saved."""
    model = Quantized(0)
    before = model.state_dict()
    path.write_bytes(content)
    try:
        load_state(model, path)
    except ValueError as error:
        assert "\n" not in str(error) and str(error).startswith(str(path)), error
        assert same(model.state_dict(), before), "a refused state changes nothing"
        return True
    assert same(model.state_dict(), Quantized(1).state_dict()), "damaged bytes were loaded as another state"
    return False


def test_a_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    content = written(path)
    assert all(refused_or_exact(path, content[:n]) for n in range(0, len(content), 61))


def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """Every fifth byte of the archive's directory, and some of all others, takes a random value."""
    path, rng = tmp_path / "model.npz", np.random.default_rng(0)
    content = written(path)
    directory = content.index(b"PK\x01\x02")
    refused = 0
    places = [*range(0, directory, 23), *range(directory, len(content), 5)]
    for at in places:
        damaged = bytearray(content)
        damaged[at] ^= int(rng.integers(1, 256))
        refused += refused_or_exact(path, bytes(damaged))
    assert refused > len(places) / 3


def with_method(content: bytes, method: int) -> bytes:
    """Every entry says that it is compressed by `method`."""
    out = bytearray(content)
    for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = content.find(signature)
        while start >= 0:
            out[start + at : start + at + 2] = method.to_bytes(2, "little")
            start = content.find(signature, start + 4)
    return bytes(out)


@pytest.mark.parametrize("method", [1, 8, 9, 12, 14, 93, 95, 99], ids=lambda m: f"method {m}")
def test_a_wrong_compression_method_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "model.npz"
    assert refused_or_exact(path, with_method(written(path), method))


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    content = bytearray(written(path))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[content.index(b"PK\x03\x04") + 6] |= 1
    assert refused_or_exact(path, bytes(content))


def entry_of(header: str, data: bytes = b"") -> bytes:
    """A .npy file of version 1 with this header."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "entry",
    [
        entry_of("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"),
        entry_of("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999)}"),
        entry_of("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"),
        entry_of("{'descr': '|O', 'fortran_order': False, 'shape': (2, 1)}", pickle.dumps([1, 2])),
        entry_of("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 1)}", bytes(8)),
        entry_of("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}", bytes(9)),
        entry_of("[" * 100),
        entry_of("{'descr': __import__('os'), 'fortran_order': False, 'shape': ()}"),
    ],
    ids=["8 TB", "more than memory can count", "negative", "objects", "fields", "a byte more", "brackets", "code"],
)
def test_a_header_that_promises_nonsense_is_refused(tmp_path: Path, entry: bytes) -> None:
    path, model = tmp_path / "wrong.npz", Linear(2, 1, bias=False)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weight.npy", entry)
    with pytest.raises(ValueError, match=r"wrong\.npz"):
        load_state(model, path)


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.npz"
    array = entry_of("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}", bytes(8))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weight.npy", array)
        file.writestr("weight", array)
    with pytest.raises(ValueError, match="two arrays named 'weight'"):
        load_state(Linear(2, 1, bias=False), path)


def test_a_later_format_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "later.npz"
    save_state(Linear(2, 1), path)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"tinytorch state 3"
    with pytest.raises(ValueError, match="format b'tinytorch state 3', where this version knows"):
        load_state(Linear(2, 1), path)


def test_a_number_beyond_the_models_dtype_is_refused(tmp_path: Path) -> None:
    """float64 1e300 would become infinite in float32, 70000 in float16."""
    model = Linear(2, 1, bias=False)
    with pytest.raises(ValueError, match=r"weight must fit float32, got float64 numbers up to 1e\+300"):
        model.load_state_dict({"weight": np.array([[1.0, 1e300]])})
    model.weight.data = model.weight.data.astype(np.float16)
    with pytest.raises(ValueError, match="weight must fit float16"):
        model.load_state_dict({"weight": np.array([[1.0, 7e4]])})


# Writers


SAVE = """
import sys
from tinytorch.core import Linear, save_state
import numpy as np
model = Linear(64, 64)
for value in range(40):
    model.weight.data[:] = model.bias.data[:] = value
    save_state(model, sys.argv[1])
"""


def test_two_processes_that_save_to_one_path_never_break_it(tmp_path: Path) -> None:
    """Every read while they write is a whole state of one of them."""
    path, reader = tmp_path / "model.npz", Linear(64, 64)
    save_state(reader, path)
    assert reader.bias is not None
    reader.weight.data[:] = reader.bias.data[:] = 0
    save_state(reader, path)
    writers = [subprocess.Popen([sys.executable, "-c", SAVE, str(path)], stderr=subprocess.PIPE) for _ in range(2)]
    reads = 0
    while any(writer.poll() is None for writer in writers):
        load_state(reader, path)
        assert len(np.unique(np.append(reader.weight.data, reader.bias.data))) == 1, "a mixture of two states"
        reads += 1
    assert [writer.communicate()[1] for writer in writers] == [b"", b""]
    assert reads and [p.name for p in tmp_path.iterdir()] == ["model.npz"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_saved_file_keeps_its_permissions_and_a_new_one_has_the_usual_ones(tmp_path: Path) -> None:
    path, usual = tmp_path / "model.npz", tmp_path / "usual"
    usual.touch()
    save_state(Linear(2, 1), path)
    assert path.stat().st_mode == usual.stat().st_mode
    path.chmod(0o640)
    save_state(Linear(2, 1), path)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_stays_a_link_and_a_device_stays_a_device(tmp_path: Path) -> None:
    real, link = tmp_path / "real.npz", tmp_path / "link.npz"
    link.symlink_to(real)
    save_state(Linear(2, 1), link)
    assert link.is_symlink() and real.is_file()
    load_state(Linear(2, 1), real)
    with pytest.raises(OSError, match="must be a file to be written, got a folder or a device"):
        save_state(Linear(2, 1), os.devnull)
    with pytest.raises(OSError, match="got a folder"):
        save_state(Linear(2, 1), tmp_path)


def test_a_class_that_makes_states_is_no_state() -> None:
    """A module may keep the class of its tensors: it has the methods of a state, but nothing to call them on."""
    model = Linear(2, 1)
    model.kind = Codes  # type: ignore[attr-defined]
    assert list(model.state_dict()) == ["weight", "bias"]


# Where no layer is found


class Holding(Module):
    """A layer that is found, and something else."""

    def __init__(self, held: Any) -> None:
        self.head, self.held = Linear(8, 3), held

    def forward(self, x: Tensor) -> Any:
        return self.head(x)


HIDDEN: dict[str, tuple[Any, str]] = {
    "dict": ({"a": Linear(8, 8)}, "held holds modules in a dict"),
    "tuple": ((Linear(8, 8),), "held holds modules in a tuple"),
    "set": ({Linear(8, 8)}, "held holds modules in a set"),
    "list in a dict": ({"a": [Linear(8, 8)]}, "held holds modules in a dict"),
    "tuple in a list": ([(Linear(8, 8), 1)], "held holds modules in a tuple"),
    "parameters": ({"w": Tensor([1.0], requires_grad=True)}, "held holds parameters in a dict"),
    "in a layer": (Holding({"a": Linear(8, 8)}), r"held\.held holds modules in a dict"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_layers_that_are_not_found_are_told_of_instead_of_left_out(name: str, tmp_path: Path) -> None:
    held, said = HIDDEN[name]
    model, path = Holding(held), tmp_path / "model.npz"
    x, y = np.ones((4, 8), np.float32), np.zeros(4, np.int64)
    uses: list[Any] = [
        model.parameters,
        model.state_dict,
        model.eval,
        lambda: list(model.named_parameters()),
        lambda: model.load_state_dict({}),
        lambda: fit(model, x, y, 1),
        lambda: save_state(model, path),
        lambda: save_checkpoint(path, model=model),
    ]
    for use in uses:
        with pytest.raises(TypeError, match=f"{said}, where they are not found: use a list, or an attribute each"):
            use()
    assert not path.exists() and repr(model) and model(x).shape == (4, 3)


def test_layers_that_are_found_may_be_held_in_a_dict_as_well() -> None:
    layer = Linear(8, 8)
    state = (Tensor([1.0], requires_grad=True) * 2, Tensor([1.0]))  # a result, as an LSTM may keep, and a constant
    for held in ([layer, {"a": layer}], [layer, (layer, "text")], [{"a": 1, "b": np.ones(3)}], [state]):
        model = Holding(held)
        assert len(model.parameters()) == 2 + 2 * (held[0] is layer)
        assert [name for name in model.state_dict() if "head" not in name] == ["held.0.weight", "held.0.bias"] * (
            held[0] is layer
        )


# PyTorch's names


@pytest.mark.parametrize("norm", [BatchNorm1d, BatchNorm2d])
def test_a_batch_norms_count_of_pytorch_is_left_out(norm: type[BatchNorm2d]) -> None:
    model, wanted = Sequential(Conv2d(1, 2, 3), norm(2)), Sequential(Conv2d(1, 2, 3), norm(2)).state_dict()
    model.load_state_dict({**wanted, "layers.1.num_batches_tracked": np.array(7)})
    assert same(model.state_dict(), wanted)
    alone = norm(2)
    alone.load_state_dict({**alone.state_dict(), "num_batches_tracked": np.array(7)})


@pytest.mark.parametrize(
    "name",
    ["layers.0.num_batches_tracked", "num_batches_tracked", "layers.1.num_batches", "layers.1.x.num_batches_tracked"],
)
def test_no_other_name_is_left_out(name: str) -> None:
    model = Sequential(Conv2d(1, 2, 3), BatchNorm2d(2))
    with pytest.raises(ValueError, match=rf"another model: missing \[\], unexpected \['{name}'\]"):
        model.load_state_dict({**model.state_dict(), name: np.array(7)})


def test_of_many_names_the_first_are_told() -> None:
    model = Sequential(*(Linear(2, 2) for _ in range(20)))
    with pytest.raises(
        ValueError, match=r"missing \[('[^']*'(, )?){6}\] and 34 more, unexpected \[\]: make this one"
    ) as caught:
        model.load_state_dict({})
    assert len(str(caught.value)) < 300


# Paths


def test_model_and_path_in_the_wrong_order_are_told_the_right_one(tmp_path: Path) -> None:
    model: Any = Linear(2, 1)
    path: Any = tmp_path / "model.npz"
    name: Any = str(path)
    calls: list[Any] = [
        lambda: save_state(path, model),
        lambda: save_state(name, model),
        lambda: load_state(path, model),
        lambda: save_checkpoint(model, model=model),
        lambda: load_checkpoint(model, model=model),
    ]
    for call in calls:
        with pytest.raises(
            TypeError, match=r"wanted the path of a file, got a .*Linear: the order is save_state\(model, path\)"
        ):
            call()
    wrongs: list[Any] = [Adam(model.parameters()), model.state_dict(), Linear]
    for wrong in wrongs:
        with pytest.raises(TypeError, match="wanted a Module of tinytorch.core, got"):
            save_state(wrong, path)
    assert not path.exists()


def test_a_missing_folder_is_named_as_it_was_given(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "model.npz", tmp_path / "a" / "b" / "c.npz"):
        with pytest.raises(FileNotFoundError) as caught:
            save_state(Linear(2, 1), path)
        assert f"{path} must be in a folder that exists, got none at {path.parent}" in str(caught.value)
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="must be in a folder that exists"):
        save_checkpoint(tmp_path / "file" / "model.npz", model=Linear(2, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which nobody may make a file")
def test_where_no_file_can_be_made_the_path_is_named_not_the_file_beside_it() -> None:
    with pytest.raises(OSError, match="'/proc/model.npz'"):
        save_state(Linear(2, 1), "/proc/model.npz")
