"""File types for Magika: files of this Python and of the packages beside it, whose extension says what they are."""

from __future__ import annotations

import itertools
import json
import os
import sysconfig
from pathlib import Path

import numpy as np
import onnx

from .tasks import Array, Feed, Run, Task, model_file, share_of_labels

FOLDER = "magika/models/standard_v3_3"
LABELS = {
    **{"py": "python", "pyi": "python", "c": "c", "h": "c", "hpp": "cpp", "cpp": "cpp", "js": "javascript"},
    **{"ts": "typescript", "css": "css", "html": "html", "json": "json", "svg": "svg", "xml": "xml", "md": "markdown"},
    **{"rst": "rst", "yaml": "yaml", "yml": "yaml", "toml": "toml", "cfg": "ini", "ini": "ini", "sh": "shell"},
    **{"png": "png", "jpg": "jpeg", "gif": "gif", "gz": "gzip", "zip": "zip", "whl": "zip", "npy": "npy", "npz": "npz"},
    **{
        "ttf": "ttf",
        "woff": "woff",
        "woff2": "woff2",
        "pdf": "pdf",
        "exe": "pebin",
        "so": "elf",
        "pyc": "pythonbytecode",
    },
    **{"ipynb": "ipynb", "csv": "csv", "tex": "latex", "f90": "fortran", "f": "fortran", "java": "java", "po": "po"},
    **{
        "wav": "wav",
        "pem": "pem",
        "onnx": "onnx",
        "cmake": "cmake",
        "proto": "proto",
        "jinja": "jinja",
        "tsx": "typescript",
    },
}
EACH, LEAST = 30, 32  # files of a type at most; bytes of a file at least


def features(path: Path, size: int = 1024, block: int = 4096) -> Array:
    """The first and the last 1024 bytes, without white space at the ends, 256 where there are none: int32 [1, 2048]."""
    content = path.read_bytes()
    first, last = content[:block].lstrip()[:size], content[-block:].rstrip()[-size:]
    x = np.full((1, 2 * size), 256, np.int32)
    x[0, : len(first)] = list(first)
    if last:
        x[0, -len(last) :] = list(last)
    return x


def labelled() -> list[tuple[Path, str]]:
    """Files beside this Python, by their type: of each at most EACH, drawn with a fixed seed."""
    of_type: dict[str, list[Path]] = {}
    for root in {sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")}:
        for folder, _, files in os.walk(root):
            for file in files:
                label = LABELS.get(file.rpartition(".")[2].lower())
                if label:
                    of_type.setdefault(label, []).append(Path(folder, file))
    rng, drawn = np.random.default_rng(5), []
    for label in sorted(of_type):
        paths = sorted(set(of_type[label]))
        large = (paths[i] for i in rng.permutation(len(paths)) if paths[i].stat().st_size >= LEAST)
        drawn += [(path, label) for path in itertools.islice(large, EACH)]
    return [drawn[i] for i in rng.permutation(len(drawn))]


def file_types() -> Task:
    """Which type has a file?"""
    few, chosen = 128, labelled()
    config = json.loads(model_file("magika", f"{FOLDER}/config.min.json").read_text(encoding="utf-8"))
    names = np.array(config["target_labels_space"])
    feeds: list[Feed] = [{"bytes": features(path)} for path, _ in chosen]
    asked_of = [{"bytes": np.concatenate([f["bytes"] for f in feeds[i : i + 16]])} for i in range(few, len(feeds), 16)]

    def answers(run: Run) -> Array:
        return np.concatenate([names[run(feed)[0].argmax(1)] for feed in asked_of])

    asked = f"{len(chosen) - few} files of {len({label for _, label in chosen})} types, by extension"
    score = share_of_labels([label for _, label in chosen[few:]])
    model = onnx.load(model_file("magika", f"{FOLDER}/model.onnx"))
    return Task("file types", "magika", model, asked, feeds[:few], answers, score, feeds[few])
