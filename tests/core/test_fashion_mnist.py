"""Fashion-MNIST: where it is looked for, and how a damaged file is told from a whole one."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.core import fashion_mnist, fashion_mnist_available, load_fashion_mnist
from tinytorch.core.fashion_mnist import DEBIAN_FOLDER, SHA256, read_idx


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def fake(seed: int = 0) -> dict[str, bytes]:
    """The four files, with 6 images to train and 4 to test."""
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (n, 28, 28)) for n in (6, 4)]
    labels = [rng.integers(0, 10, n) for n in (6, 4)]
    return dict(zip(SHA256, map(idx, (images[0], labels[0], images[1], labels[1])), strict=True))


def write(folder: Path, files: dict[str, bytes], zipped: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
    return folder


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set on this machine, and no network."""
    monkeypatch.delenv("TINYTORCH_DATA", raising=False)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(fashion_mnist, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(fashion_mnist, "MIRRORS", [])


@pytest.mark.parametrize("zipped", [False, True])
def test_four_idx_files_become_a_dataset(tmp_path: Path, zipped: bool) -> None:
    files = fake()
    data = load_fashion_mnist(write(tmp_path / "here", files, zipped))
    assert data.name == "fashion-mnist"
    assert data.x_train.shape == (6, 784) and data.x_test.shape == (4, 784)
    assert data.x_train.dtype == np.float32 and data.y_test.dtype == np.int64
    pixels = np.frombuffer(files["train-images-idx3-ubyte"][16:], np.uint8)
    assert np.array_equal(data.x_train.ravel(), pixels.astype(np.float32) / np.float32(255))
    assert data.y_test.tolist() == list(files["t10k-labels-idx1-ubyte"][8:])


def test_path_comes_before_environment_before_debian_before_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> Any:
        return load_fashion_mnist().y_train.tolist()

    labels = {seed: list(fake(seed)["train-labels-idx1-ubyte"][8:]) for seed in range(4)}
    assert not fashion_mnist_available()
    write(tmp_path / "cache" / "fashion-mnist", fake(3), zipped=True)
    assert fashion_mnist_available() and found() == labels[3]
    write(tmp_path / "debian", fake(2), zipped=True)
    assert fashion_mnist_available() and found() == labels[2]
    monkeypatch.setenv("TINYTORCH_DATA", str(write(tmp_path / "env", fake(1))))
    assert fashion_mnist_available() and found() == labels[1]
    given = write(tmp_path / "given", fake(0))
    assert fashion_mnist_available(given) and load_fashion_mnist(str(given)).y_train.tolist() == labels[0]


def test_a_debian_folder_that_lacks_a_file_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "debian", dict(list(fake(2).items())[:3]))
    write(tmp_path / "cache" / "fashion-mnist", fake(3))
    assert fashion_mnist_available()
    assert load_fashion_mnist().y_train.tolist() == list(fake(3)["train-labels-idx1-ubyte"][8:])


@pytest.mark.parametrize("how", ["path", "environment"])
def test_a_named_folder_that_lacks_a_file_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    write(tmp_path / "cache" / "fashion-mnist", fake())
    folder = write(tmp_path / "named", dict(list(fake().items())[:3]))
    if how == "environment":
        monkeypatch.setenv("TINYTORCH_DATA", str(folder))
    path = folder if how == "path" else None
    assert not fashion_mnist_available(path)
    with pytest.raises(FileNotFoundError, match="needs t10k-labels-idx1-ubyte .or .gz. in .*named.*TINYTORCH_DATA"):
        load_fashion_mnist(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_truncated_file_is_named_with_what_to_do(tmp_path: Path, zipped: bool) -> None:
    folder = write(tmp_path / "here", fake(), zipped)
    path = folder / ("train-images-idx3-ubyte" + (".gz" if zipped else ""))
    whole = path.read_bytes()
    for keep in (len(whole) - 1, len(whole) // 2, 17, 15, 5, 3, 0):
        path.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match="train-images-idx3-ubyte.*copy or download it again"):
            load_fashion_mnist(folder)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"<html>not found</html>", "must be an IDX file of bytes, starting 00 00 08, got 3c 68 74 6d"),
        (struct.pack(">BBBBI", 0, 0, 13, 1, 1) + b"abcd", "starting 00 00 08, got 00 00 0d 01"),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 5) + b"abcd", "must hold 5 values, got 4"),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 3) + b"abcd", "must hold 3 values, got 4"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**31, 2) + b"a", "must hold 9223372036854775808 values, got 1"),
        (b"\x1f\x8b" + b"junk", "must be whole gzip"),
    ],
)
def test_another_format_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "file")


def test_an_idx_file_of_any_number_of_axes_is_read(tmp_path: Path) -> None:
    for shape in [(), (3,), (0, 4), (2, 3, 1, 2)]:
        array = np.arange(np.prod(shape, dtype=int), dtype=np.uint8).reshape(shape)
        (tmp_path / "file").write_bytes(idx(array))
        assert np.array_equal(read_idx(tmp_path / "file"), array)


def test_images_and_labels_must_belong_together(tmp_path: Path) -> None:
    files = fake()
    files["train-labels-idx1-ubyte"] = files["t10k-labels-idx1-ubyte"]
    with pytest.raises(ValueError, match=r"N images and N labels, got shapes \(6, 28, 28\) and \(4,\)"):
        load_fashion_mnist(write(tmp_path / "here", files))


def test_offline_is_one_sentence_with_every_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_fashion_mnist()
    message = str(caught.value)
    assert "\n" not in message
    for way in ("could not be downloaded", "dataset-fashion-mnist", "TINYTORCH_DATA", "path"):
        assert way in message


def test_a_folder_that_cannot_be_made_is_the_same_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file, not a folder")
    with pytest.raises(FileNotFoundError, match="could not be downloaded.*TINYTORCH_DATA"):
        load_fashion_mnist()


def test_importing_the_library_loads_no_network_code() -> None:
    import subprocess
    import sys

    code = "import sys, numpy; before = set(sys.modules); import tinytorch.core; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"urllib.request", "http.client", "ssl", "email", "gzip"} & set(run.stdout.split())


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not on this machine")
def test_the_checksums_are_those_of_the_files_debian_ships() -> None:
    for name, sha256 in SHA256.items():
        with gzip.open(DEBIAN_FOLDER / f"{name}.gz") as file:
            assert hashlib.sha256(file.read()).hexdigest() == sha256, name
