"""Accuracy against the bits of the weights, for four ways to get there: `python -m benchmarks.bits`.

Weights of 2 to 8 bits with one scale a tensor, activations of 8: rounded after training (PTQ), rounded after
equalization, trained with the error (QAT), and trained with the steps (LSQ). Fashion-MNIST, one network, three seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.accuracy import mlp
from benchmarks.contest import machine
from tinytorch.core import Adam, Dataset, Module, accuracy, fit, load_fashion_mnist
from tinytorch.quantization import IntType, convert, equalize, freeze, prepare_qat

BITS = (2, 3, 4, 6, 8)
WIDTHS = [784, 256, 128, 10]
TUNING = 10_000  # images that training with the error sees, in three epochs
WAYS = ("PTQ", "PTQ, equalized", "QAT", "LSQ")


def measure(seeds: int = 3) -> dict[str, Any]:
    """The accuracies in [0, 1] of float32, [seeds], and of each way, [bits][seeds]. Says each on a line."""
    data = load_fashion_mnist()
    float32, ways = [], {way: [[0.0] * seeds for _ in BITS] for way in WAYS}
    for seed in range(seeds):
        model = mlp(WIDTHS, seed)
        fit(model, data.x_train, data.y_train, 2, Adam(model.parameters()), seed=seed)
        float32.append(accuracy(model, data.x_test, data.y_test))
        print(f"seed {seed}: float32 {float32[-1]:.2%}", flush=True)
        for i, bits in enumerate(BITS):
            for way in WAYS:
                ways[way][i][seed] = accuracy(quantized(model, data, way, bits, seed), data.x_test, data.y_test)
            shown = ", ".join(f"{way} {ways[way][i][seed]:.2%}" for way in WAYS)
            print(f"seed {seed}: {bits} bits: {shown}", flush=True)
    network = "-".join(map(str, WIDTHS))
    head = {"machine": machine(), "data": "Fashion-MNIST", "model": network, "images": len(data.x_test)}
    return {**head, "bits": list(BITS), "float32": float32, "ways": ways}


def quantized(model: Module, data: Dataset, way: str, bits: int, seed: int) -> Module:
    """The model with weights of so many bits, one scale a tensor, and activations of 8 bits."""
    x, y, calibration = data.x_train[:TUNING], data.y_train[:TUNING], [data.x_train[:512]]
    start = equalize(model) if way == "PTQ, equalized" else model
    qat = prepare_qat(start, calibration, IntType(bits), IntType(8), axis=None, learned=way == "LSQ")
    if way in ("QAT", "LSQ"):
        fit(qat, x, y, 2, Adam(qat.parameters(), lr=1e-3), seed=seed)
        fit(freeze(qat), x, y, 1, Adam(qat.parameters(), lr=2e-4), seed=seed + 1)
    return convert(qat)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bits", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the accuracies as JSON")
    args = parser.parse_args(argv)
    measured = measure()
    if args.json:
        args.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
