"""A network in every engine that runs here: how many codes differ, how large its file is, how fast it runs.

    python -m benchmarks.deployment [--images N] [--quick]

Two networks are trained (Fashion-MNIST where it is installed, digits with --quick), quantized per channel and per
tensor, and written in every form. All codes of every layer are compared, and the floats that come out. Times are
ratios of medians of rounds in turns on one thread, a batch of BATCH images, answers as compared: above 1 the engine is
faster than this package's compiled kernels. It prints the tables of docs/deployment.md. Run it from the project's root;
it exits 1 where a code differs that must not: of what is exact, none.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.acceleration import accelerate, kernels, set_num_threads
from tinytorch.core import (
    Adam,
    BatchNorm2d,
    Conv2d,
    Dataset,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    Tensor,
    fit,
    load_digits,
    load_fashion_mnist,
)
from tinytorch.deployment import Trace, compare_steps, to_c, to_onnx, to_tflite, trace, with_output_codes
from tinytorch.deployment.engines import ENGINES
from tinytorch.deployment.tflite_engines import least_arena
from tinytorch.quantization import fold_batch_norms, quantize_static, speedup, time_interleaved

BATCH, ROUNDS, CHUNK = 256, 15, 500
REFERENCE = 100  # images for the standard's evaluator, which is written to be read


@dataclass(frozen=True)
class Written:
    """A network as a file. exact: no code may differ in this engine. images: of how many all codes are compared."""

    name: str
    engine: str
    model: Module
    content: bytes
    exact: bool = True
    images: int | None = None


@dataclass(frozen=True)
class Row:
    """A line of the table. differing: of values, the codes of all layers. floats: those of the output that differ."""

    network: str
    name: str
    engine: str
    values: int
    differing: int
    floats: int
    nbytes: int
    ratio: float


def networks(data: Dataset) -> Iterator[tuple[str, Dataset, Module]]:
    """A network of Linear layers and one of convolutions, trained."""
    rng = np.random.default_rng(0)
    n_in, side = data.x_train.shape[1], int(data.x_train.shape[1] ** 0.5) // 4
    mlp = Sequential(Linear(n_in, 256, rng=rng), ReLU(), Linear(256, 128, rng=rng), ReLU(), Linear(128, 10, rng=rng))
    cnn = Sequential(
        *(Conv2d(1, 16, 3, padding=1, rng=rng), BatchNorm2d(16), ReLU(), MaxPool2d(2)),
        *(Conv2d(16, 32, 3, padding=1, rng=rng), BatchNorm2d(32), ReLU(), MaxPool2d(2)),
        *(Flatten(), Linear(32 * side * side, 64, rng=rng), ReLU(), Linear(64, 10, rng=rng)),
    )
    for name, own, model in (("MLP", data, mlp), ("CNN", data.images(), cnn)):
        fit(model, own.x_train[:20_000], own.y_train[:20_000], 1, Adam(model.parameters()))
        yield name, own, fold_batch_norms(model.eval()) if name == "CNN" else model.eval()


def written(model: Module, with_codes: Module, shape: tuple[int, ...]) -> Iterator[Written]:
    """Every form of a network."""

    def onnx(form: Any, codes: Any) -> bytes:
        return bytes(to_onnx(model, shape, form, codes).SerializeToString())

    for form in ("qdq", "qoperator", "standard"):
        yield Written(f"{form}, uint8", "onnxruntime", model, onnx(form, "uint8"))
    for form in ("qoperator", "standard"):
        yield Written(f"{form}, int8", "onnxruntime", model, onnx(form, "int8"))
    yield Written("qdq, int8", "onnxruntime", model, onnx("qdq", "int8"), exact=False)
    yield Written("standard, uint8", "reference", model, onnx("standard", "uint8"), images=REFERENCE)
    file = to_tflite(with_codes, shape)
    yield Written("tflite", "litert", with_codes, file)
    yield Written("tflite", "litert reference", with_codes, file)
    yield Written("tflite", "litert without delegates", with_codes, file)
    yield Written("tflite", "tflite micro", with_codes, file, images=REFERENCE)


def measured(network: str, file: Written, traces: list[Trace], ours: Callable[[Any], Any], batch: Tensor) -> Row:
    values = differing = floats = left = 0
    left = file.images or sum(len(t.arrays[t.x.name]) for t in traces)
    for steps in traces:
        if left <= 0:
            break
        own = steps if left >= len(steps.arrays[steps.x.name]) else trace(file.model, steps.arrays[steps.x.name][:left])
        left -= len(own.arrays[own.x.name])
        found = compare_steps(own, file.content, file.engine)
        values += sum(layer.values for layer in found.layers)
        differing += sum(layer.differing for layer in found.layers)
        floats += found.output.differing if found.output else 0
    engine = ENGINES[file.engine]
    predict = engine.prepare(engine.opened(file.content), traces[0], ["output"])
    few = Tensor(batch.data[:REFERENCE]) if file.images else batch
    seconds = time_interleaved([ours, lambda x: predict(x.data)], few, 1 if file.images else ROUNDS)
    ratio = speedup(seconds[0], seconds[1])
    return Row(network, file.name, file.engine, values, differing, floats, len(file.content), ratio)


def show(rows: list[Row]) -> None:
    print("| network | file | engine | codes that differ | floats that differ | bytes | speed |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        codes = f"{row.differing:,} of {row.values:,}"
        cells = [row.network, row.name, row.engine, codes, f"{row.floats:,}", f"{row.nbytes:,}", f"{row.ratio:.2f}"]
        print(f"| {' | '.join(cells)} |")


def chunks(x: NDArray[np.float32], model: Module) -> list[Trace]:
    return [trace(model, x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="digits, per channel, for a smoke test")
    args = parser.parse_args()
    set_num_threads(1)
    data = load_digits() if args.quick else load_fashion_mnist()
    wrong = 0
    rows: list[Row] = []
    memory: list[str] = []
    for network, own, floats in networks(data):
        x, batches = own.x_test[: args.images], np.array_split(own.x_train[:1024], 8)
        for axis in (0,) if args.quick else (0, None):
            name = f"{network}, {'per channel' if axis == 0 else 'per tensor'}"
            model = quantize_static(floats, batches, axis=axis)
            with_codes = with_output_codes(model, batches)
            traces = {id(m): chunks(x, m) for m in (model, with_codes)}
            fast = {id(m): accelerate(m) for m in (model, with_codes)}
            for file in written(model, with_codes, x.shape[1:]):
                key = id(file.model)
                row = measured(name, file, traces[key], fast[key], Tensor(x[:BATCH]))
                rows.append(row)
                wrong += file.exact and row.differing > 0
                print(f"{name}, {file.name} in {file.engine}: {row.differing} differ", file=sys.stderr, flush=True)
            c = to_c(with_codes, x.shape[1:])
            arena = least_arena(to_tflite(with_codes, x.shape[1:], "int8"))
            memory.append(
                f"{name}: in C {c.constants:,} bytes of constants and {c.arena:,} of RAM, "
                f"in TFLite Micro an arena of {arena:,} bytes, with pointers of 8"
            )
    show(rows)
    print("\n" + "\n".join(memory))
    print(f"\n{data.name}, {len(x):,} images; kernel {kernels()[0]}; {platform.processor() or platform.machine()}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
