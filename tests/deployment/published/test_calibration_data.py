"""Calibration data: images as the model takes them, arrays streamed from their files, and what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.deployment.published.command_models import convolutional
from tinytorch.deployment.published.images import Pixels, image_samples
from tinytorch.deployment.published.model_files import Input, model_file
from tinytorch.deployment.published.samples import array_samples, random_samples, with_shapes

pytestmark = pytest.mark.engines
F4, U1, I8 = np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.int64)
RED, BLUE = (255, 51, 0), (0, 51, 255)


def image(*shape: int | None, dtype: np.dtype[Any] = F4) -> Input:
    return Input("images", dtype, shape)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture of 16 x 8: a quarter red, half blue, a quarter red."""
    pixels = np.full((8, 16, 3), RED, np.uint8)
    pixels[:, 4:12] = BLUE
    Image.fromarray(pixels).save(tmp_path / "flag.png")
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    return tmp_path


def first(folder: Path, wanted: Input, **options: Any) -> np.ndarray:
    samples = image_samples(folder, (wanted,), 8, None, Pixels(**options))
    (batch,) = samples.batches()
    return batch["images"]


def test_an_image_is_cropped_to_its_middle_in_both_layouts(folder: Path) -> None:
    x = first(folder, image(None, 3, 4, 4))
    assert x.shape == (1, 3, 4, 4) and x.dtype == np.float32
    assert np.allclose(x[0, :, 1:3, 1:3].reshape(3, -1).T, np.array(BLUE) / 255)
    last = first(folder, image(None, 4, 4, 3))
    assert np.array_equal(last, np.moveaxis(x, 1, -1))


def test_the_other_fits_keep_the_whole_image(folder: Path) -> None:
    stretched = first(folder, image(None, 3, None, None), size=(8, 8), fit="stretch")[0]
    assert np.allclose(stretched[:, :, 0].T, np.array(RED) / 255)
    padded = first(folder, image(None, 3, None, None), size=(16, 16), fit="pad")[0]
    assert np.array_equal(padded[:, 0], np.zeros((3, 16))) and np.allclose(padded[:, 8, 0], np.array(RED) / 255)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [0, 0.2, 1]),
        ({"interval": "-1..1"}, [-1, -0.6, 1]),
        ({"interval": "0..255"}, [0, 51, 255]),
        ({"is_bgr": True}, [1, 0.2, 0]),
        ({"mean": (0.5,), "std": (0.5,)}, [-1, -0.6, 1]),
        ({"mean": (0.1, 0.2, 0.3), "std": (1, 2, 3.5)}, [-0.1, 0, 0.2]),
    ],
)
def test_pixels_become_the_numbers_that_were_asked_for(
    folder: Path, options: dict[str, Any], wanted: list[float]
) -> None:
    assert np.allclose(first(folder, image(None, 3, 4, 4), **options)[0, :, 1, 1], wanted, atol=1e-6)


def test_a_model_of_one_channel_gets_grey_and_one_of_bytes_gets_bytes(folder: Path) -> None:
    assert first(folder, image(None, 1, 4, 4)).shape == (1, 1, 4, 4)
    x = first(folder, image(None, 4, 4, 3, dtype=U1), interval="0..255")
    assert x.dtype == np.uint8 and x[0, 1, 1].tolist() == [*BLUE]


def test_a_model_of_whole_batches_gets_no_part_of_one(folder: Path) -> None:
    for name in "abcd":
        (folder / f"{name}.png").write_bytes((folder / "flag.png").read_bytes())
    samples = image_samples(folder, (image(2, 3, 4, 4),), 8, None, Pixels())
    assert samples.count == 2 and [len(batch["images"]) for batch in samples.batches()] == [2, 2]
    assert "4 images" in samples.told
    assert image_samples(folder, (image(None, 3, 4, 4),), 8, 3, Pixels()).told.startswith("calibration: 3 images")


def test_images_that_cannot_be_used(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty")
    other = Input("more", F4, (None, 4))
    for where, inputs, options, sentence in (
        (empty, [image(None, 3, 4, 4)], {}, "holds no images"),
        (folder, [image(None, 3, None, None)], {}, "say which one, as in --size 224x224"),
        (folder, [image(None, 3, 4, 4)], {"size": (5, 4)}, "--size 5x4 does not fit the input images"),
        (folder, [image(None, 7, 4, 4)], {}, "is no image of 1 or 3 channels"),
        (folder, [image(None, 16)], {}, "is no image of 1 or 3 channels"),
        (folder, [image(None, 3, 4, 4), other], {}, "images fill one input, and the model has images"),
        (folder, [image(None, 3, 4, 4)], {"mean": (1, 2)}, "--mean has 2 numbers, and the images 3 channels"),
        (folder, [image(None, 3, 4, 4, dtype=U1)], {"std": (2,)}, "takes whole numbers: --range 0..255"),
        (folder, [image(2, 3, 4, 4)], {}, "holds 1 images, and the model takes 2 at a time"),
    ):
        with pytest.raises(ValueError, match=sentence):
            image_samples(where, tuple(inputs), 8, None, Pixels(**options))


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "half"])
def test_an_image_that_does_not_decode_is_named(folder: Path, content: bytes | None) -> None:
    whole = (folder / "flag.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r"broken\.png is no image that Pillow can read"):
        first(folder, image(None, 3, 4, 4))


def test_pixels_of_16_bits_are_refused_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png has pixels of more than 8 bits"):
        first(tmp_path, image(None, 3, 4, 4))


# Arrays

X = np.arange(7 * 2 * 3, dtype=np.float32).reshape(7, 2, 3)
WANTED = Input("x", F4, (None, 2, 3))


def together(path: Path, *inputs: Input, batch: int = 3, limit: int | None = None) -> list[dict[str, Any]]:
    samples = array_samples(path, inputs, batch, limit)
    batches = list(samples.batches())
    assert len(batches) == samples.count
    return batches


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_batches_together_are_the_file(tmp_path: Path, kind: str, order: Any) -> None:
    array = np.asarray(X, np.float64, order=order)
    path = tmp_path / ("x.npy" if kind == "npy" else "x.npz")
    {"npy": np.save, "npz": lambda p, a: np.savez(p, x=a), "compressed": lambda p, a: np.savez_compressed(p, x=a)}[
        kind
    ](path, array)
    batches = together(path, WANTED)
    assert [len(batch["x"]) for batch in batches] == [3, 3, 1]
    got = np.concatenate([batch["x"] for batch in batches])
    assert got.dtype == np.float32 and np.array_equal(got, X)
    assert np.array_equal(np.concatenate([batch["x"] for batch in together(path, WANTED, limit=4)]), X[:4])


def test_names_of_inputs_may_hold_anything(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"/net/in:0": X, "y=1": X[:, 0]}
    np.savez(tmp_path / "x.npz", **arrays)
    inputs = Input("/net/in:0", F4, (None, 2, 3)), Input("y=1", F4, (1, 3))
    assert np.array_equal(together(tmp_path / "x.npz", *inputs)[6]["y=1"], X[6:, 0])


def test_whole_inputs_and_a_single_number_go_with_each_sample(tmp_path: Path) -> None:
    state = np.arange(7 * 5 * 4).reshape(7, 5, 4)
    np.savez(tmp_path / "x.npz", x=X, state=state, rate=np.int64(16_000))
    batches = together(tmp_path / "x.npz", WANTED, Input("state", F4, (5, 4)), Input("rate", I8, ()))
    assert len(batches) == 7
    assert np.array_equal(batches[2]["x"], X[2:3]) and np.array_equal(batches[2]["state"], state[2])
    assert batches[2]["rate"].shape == () and batches[2]["rate"] == 16_000


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    for name, save in {"x.npy": np.save, "x.npz": lambda path, x: np.savez_compressed(path, x=x)}.items():
        save(tmp_path / name, np.zeros((64, 256, 256), np.float32))  # 16 MB
        samples = array_samples(tmp_path / name, (Input("x", F4, (None, 256, 256)),), 2, None)
        tracemalloc.start()
        for _ in samples.batches():
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 3_000_000, f"{name}: {most:,} bytes for batches of 524,288"


def test_arrays_that_cannot_be_used(tmp_path: Path) -> None:
    ids, two = Input("ids", I8, (None,)), (WANTED, Input("y", F4, (None, 3)))
    bad = X.copy()
    bad[4, 0, 1] = np.nan
    cases: list[tuple[Any, Sequence[Input], str]] = [
        (X, two, "a .npy holds one array, and the model has the inputs x, y"),
        ({"a": X}, [WANTED], "has no array for the input x: it holds a"),
        (X.astype(complex), [WANTED], "input x wants float32, .* holds complex128"),
        (X, [ids], "input ids wants int64, .* holds float32: convert it before"),
        (X[:, :1], [WANTED], r"wants arrays of that shape with samples .* has the shape \[7, 1, 3\]"),
        ({"x": X, "y": X[:5, 0]}, two, "different numbers of samples: x 7, y 5"),
        (X[:0], [WANTED], "holds 0 samples"),
        (X, [Input("x", F4, (8, 2, 3))], "holds 7 samples, and the model takes 8 at a time"),
        (bad, [WANTED], "sample 4 holds a NaN or an infinity"),
        (np.array(["a"]), [WANTED], "wants float32, .* holds <U1"),
        (np.array([None]), [WANTED], "holds object: wanted numbers"),
        (X, [Input("x", F4, None)], "the model does not say how many axes its input x has: --shape x="),
    ]
    for number, (arrays, inputs, sentence) in enumerate(cases):
        path = tmp_path / f"{number}.np{'z' if isinstance(arrays, dict) else 'y'}"
        np.savez(path, **arrays) if isinstance(arrays, dict) else np.save(path, arrays)
        with pytest.raises(ValueError, match=sentence):
            together(path, *inputs)


DAMAGES = {
    "empty": lambda whole: b"",
    "text": lambda whole: b"nothing",
    "cut": lambda whole: whole[:-90],
    "changed": lambda whole: whole[:200] + bytes([whole[200] ^ 255]) + whole[201:],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / name
    np.savez(path, x=X) if name == "x.npz" else np.save(path, X)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    if (name, damage) == ("x.npy", "changed"):  # there is no checksum: it is other numbers
        assert len(together(path, WANTED)) == 3
        return
    with pytest.raises(ValueError, match=r"x\.np[yz].* is (no|damaged)|it is damaged"):
        together(path, WANTED)


# By chance, and what a model says


def test_chance_gives_the_shapes_and_types_of_the_inputs() -> None:
    inputs = (WANTED, Input("ids", I8, (None, None)), Input("flag", np.dtype(bool), ()))
    with pytest.raises(ValueError, match=r"as in --shape ids=4,224"):
        random_samples(inputs, 10, 4)
    stated = with_shapes(inputs, {"ids": (4, 9)})
    samples = random_samples(stated, 10, 4)
    batches = list(samples.batches())
    assert samples.count == len(batches) == 3
    assert {name: (array.shape, array.dtype) for name, array in batches[0].items()} == {
        "x": ((4, 2, 3), F4),
        "ids": ((4, 9), I8),
        "flag": ((), np.dtype(bool)),
    }
    assert set(np.unique(batches[0]["ids"])) == {0, 1}
    assert np.array_equal(batches[1]["x"], [*random_samples(stated, 10, 4).batches()][1]["x"]), "the same again"


def test_shapes_that_do_not_fit_are_refused() -> None:
    for shapes, sentence in (({"y": (1,)}, "--shape names y"), ({"x": (1, 3, 3)}, "does not fit the input x")):
        with pytest.raises(ValueError, match=sentence):
            with_shapes((WANTED,), shapes)  # type: ignore[arg-type]


def test_the_inputs_of_a_model_are_read(tmp_path: Path) -> None:
    found = model_file(convolutional(tmp_path / "net.onnx", ("N", 8, 8, 3)))
    assert [str(each) for each in found.inputs] == ["images (float32 [any, 8, 8, 3])"]
