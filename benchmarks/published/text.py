"""Rendered text for the models of RapidOCR and for page orientation: lines and pages in several fonts and sizes.

The words are those of "The Zen of Python", numbers and random codes; the fonts are those that come with matplotlib.
Noise and blur are slight, some lines are small or pale.
"""

from __future__ import annotations

import codecs
import contextlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import ascii_letters, digits

import matplotlib
import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage

from .tasks import Array, Feed, Run, Score, Task, model_file, share, share_of_labels

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold"),
    *("DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic"),
)
MODELS = "rapidocr_onnxruntime/models"
Box = tuple[int, int, int, int]  # left, top, right, bottom


@cache
def words() -> tuple[str, ...]:
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    return tuple(codecs.decode(this.s, "rot13").split())


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / f"{name}.ttf"), size)


def some_word(rng: np.random.Generator) -> str:
    """A word, a number, a price or a code: "better", "4718", "31.50", "x7Rq2"."""
    code = "".join(rng.choice(list(ascii_letters + digits), int(rng.integers(4, 10))))
    number, price, word = rng.integers(10, 100_000), rng.integers(1, 10_000) / 100, rng.choice(words())
    return (code, f"{number}", f"{price:.2f}", str(word))[rng.integers(0, 4)]


def some_text(rng: np.random.Generator, n_words: int) -> str:
    return " ".join(some_word(rng) for _ in range(n_words))


def degraded(image: Image.Image, rng: np.random.Generator, noise: float, blur: float) -> NDArray[np.uint8]:
    """A grey image with slight blur (radius in pixels) and noise (standard deviation in levels): uint8 [h, w]."""
    grey = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, blur))), np.float32)
    return np.clip(np.rint(grey + rng.normal(0, rng.uniform(0, noise), grey.shape)), 0, 255).astype(np.uint8)


def line_image(rng: np.random.Generator, text: str) -> NDArray[np.uint8]:
    """One line of text, uint8 [height, width]: dark on light, or three times in ten light on dark."""
    face, pad = font(str(rng.choice(FONTS)), int(rng.integers(12, 36))), int(rng.integers(1, 8))
    left, top, right, bottom = (int(v) for v in face.getbbox(text))
    paper = int(rng.integers(120, 256))
    ink = paper - int(rng.integers(60, paper + 1))
    if rng.random() < 0.3:
        paper, ink = ink, paper
    image = Image.new("L", (right - left + 2 * pad, bottom - top + 2 * pad), paper)
    ImageDraw.Draw(image).text((pad - left, pad - top), text, ink, face)
    return degraded(image, rng, noise=12, blur=1.2)


def network_input(image: NDArray[np.uint8], height: int, width: int, widest: int | None = None) -> NDArray[np.float32]:
    """As RapidOCR does it: -1 to 1, the height given, the width in proportion.

    Narrower images are padded with 0 to `width`, wider ones squeezed to `widest`, if that is given.
    Returns float32 [1, 3, height, at least width].
    """
    own = max(1, round(image.shape[1] * height / image.shape[0]))
    own = min(own, widest or own)
    scaled = np.asarray(Image.fromarray(image).resize((own, height), Image.Resampling.BILINEAR), np.float32)
    x = np.zeros((1, 3, height, max(own, width)), np.float32)
    x[..., :own] = scaled / 127.5 - 1
    return x


def direction(seed: int = 1) -> Task:
    """Is a line upright or upside down?"""
    rng, n, few = np.random.default_rng(seed), 600, 64
    images = [line_image(rng, some_text(rng, 2)) for _ in range(n + few)]
    turned = rng.integers(0, 2, n + few)
    feeds = [{"x": network_input(i[::-1, ::-1] if t else i, 48, 192, 192)} for i, t in zip(images, turned, strict=True)]
    model = onnx.load(model_file("rapidocr-onnxruntime", f"{MODELS}/ch_ppocr_mobile_v2.0_cls_infer.onnx"))

    def answers(run: Run) -> Array:
        return np.array([run(feed)[0].argmax() for feed in feeds[few:]])

    asked, score = f"{n} rendered lines, upright or not", share_of_labels(turned[few:])
    return Task("text direction", "rapidocr-onnxruntime", model, asked, feeds[:few], answers, score, feeds[few])


def decoded(scores: Array, characters: list[str]) -> str:
    """The text of [columns, classes]: the best class of each column, repeats and blanks (class 0) left out (CTC)."""
    best = scores.argmax(1)
    kept = best[(best != 0) & (best != np.concatenate([[-1], best[:-1]]))]
    return "".join(characters[i - 1] for i in kept)


def recognition(seed: int = 2) -> Task:
    """Which text does a line say? Letters and digits count, spaces do not."""
    rng, n, few = np.random.default_rng(seed), 240, 48
    texts = [some_text(rng, int(rng.integers(1, 4))) for _ in range(n + few)]
    feeds = [{"x": network_input(line_image(rng, text), 48, 320)} for text in texts]
    model = onnx.load(model_file("rapidocr-onnxruntime", f"{MODELS}/ch_PP-OCRv4_rec_infer.onnx"))
    characters = [*{p.key: p.value for p in model.metadata_props}["character"].splitlines(), " "]

    def answers(run: Run) -> Array:
        return np.array([decoded(run(feed)[0][0], characters).replace(" ", "") for feed in feeds[few:]])

    asked, score = f"{n} rendered lines", share_of_labels([text.replace(" ", "") for text in texts[few:]])
    return Task("text recognition", "rapidocr-onnxruntime", model, asked, feeds[:few], answers, score, feeds[few])


@dataclass(frozen=True)
class Page:
    """A rendered page, uint8 [height, width], and where its lines are."""

    image: NDArray[np.uint8]
    boxes: list[Box]


def page(rng: np.random.Generator, width: int, height: int) -> Page:
    """Lines of text, one below the other, in fonts and sizes of their own."""
    image = Image.new("L", (width, height), int(rng.integers(200, 256)))
    draw, y = ImageDraw.Draw(image), int(rng.integers(10, 40))
    boxes: list[Box] = []
    while True:
        face = font(str(rng.choice(FONTS)), int(rng.integers(16, 30)))
        text, x = " ".join(rng.choice(words(), int(rng.integers(1, 6)))), int(rng.integers(8, width // 4))
        left, top, right, bottom = (int(v) for v in draw.textbbox((x, y), text, face))
        if bottom > height - 8:
            return Page(degraded(image, rng, noise=8, blur=0.7), boxes)
        if right < width - 8:
            draw.text((x, y), text, int(rng.integers(0, 80)), face)
            boxes.append((left, top, right, bottom))
            y = bottom + int(rng.integers(12, 40))


def found_boxes(text_map: Array) -> list[Box]:
    """The boxes of the islands of text, each grown by what the detector was trained to shrink them."""
    boxes: list[Box] = []
    for rows, columns in ndimage.find_objects(ndimage.label(text_map > 0.3)[0]):
        h, w = rows.stop - rows.start, columns.stop - columns.start
        grow = round(h * w * 1.6 / (2 * (h + w)))
        boxes.append((columns.start - grow, rows.start - grow, columns.stop + grow, rows.stop + grow))
    return boxes


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (a, b)]
    return shared / (sum(areas) - shared)


def detection(seed: int = 3) -> Task:
    """Where are the lines of a page? Found is a line that a box overlaps by half (intersection over union)."""
    rng, n, few = np.random.default_rng(seed), 30, 8
    pages = [page(rng, 384, 384) for _ in range(n + few)]
    feeds: list[Feed] = [{"x": network_input(p.image, 384, 384)} for p in pages]
    model = onnx.load(model_file("rapidocr-onnxruntime", f"{MODELS}/ch_PP-OCRv4_det_infer.onnx"))

    def answers(run: Run) -> Array:
        found = [(found_boxes(run(f)[0][0, 0]), p) for f, p in zip(feeds[few:], pages[few:], strict=True)]
        return np.array([any(overlap(b, line) >= 0.5 for b in boxes) for boxes, p in found for line in p.boxes])

    def score(answers: Array, _: Array) -> Score:
        return share(int(answers.sum()), len(answers))

    asked = f"{sum(len(p.boxes) for p in pages[few:])} lines of {n} rendered pages"
    return Task("text detection", "rapidocr-onnxruntime", model, asked, feeds[:few], answers, score, feeds[few])


MEAN, DEVIATION = (np.array(v, np.float32).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def orientation(seed: int = 4) -> Task:
    """By how many quarter turns is a page turned?"""
    rng, n, few = np.random.default_rng(seed), 200, 32
    turns = rng.integers(0, 4, n + few)
    images = [np.rot90(page(rng, 320, 320).image, -turn) for turn in turns]
    feeds: list[Feed] = [{"x": ((i / np.float32(255) - MEAN) / DEVIATION)[None].astype(np.float32)} for i in images]
    model = onnx.load(model_file("occular-deskew", "occular_deskew/weights/orientation_orinet_fp32.onnx"))

    def answers(run: Run) -> Array:
        return np.array([run(feed)[0].argmax() for feed in feeds[few:]])

    asked, score = f"{n} rendered pages, four directions", share_of_labels(turns[few:])
    return Task("page orientation", "occular-deskew", model, asked, feeds[:few], answers, score, feeds[few])
