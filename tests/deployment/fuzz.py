"""Random networks in files for every engine, and how many of their codes differ there.

    python -m tests.deployment.fuzz [--networks 1000] [--seed 0]

Run from the project's root. Exits 1 if a code differs, but for three things that are counted: sums of two paths, which
an engine may add in another order, by one step; floats half way between two codes, of which LiteRT makes the one away
from zero; and LiteRT without delegates, which has kernels that round in two ways within one array.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args

from tests.deployment.networks import Case, case
from tinytorch.core import Module
from tinytorch.deployment import Add, Comparison, FloatLayer, compare, to_onnx, to_tflite, trace, with_output_codes
from tinytorch.deployment.onnx_graph import Codes, Form
from tinytorch.deployment.steps import is_dynamic

FORMS: list[tuple[Form, Codes]] = [(form, codes) for form in get_args(Form) for codes in get_args(Codes)]
FORMS.remove(("qdq", "int8"))  # ONNX Runtime computes these in float
LITERT = ("litert", "litert reference", "litert without delegates", "tflite micro")


def files(network: Case) -> Iterator[tuple[str, Module, Any]]:
    """(engine, model, file) of everything that the network can be written as."""
    shape = network.x.shape[1:]
    for form, codes in FORMS:
        yield "onnxruntime", network.model, to_onnx(network.model, shape, form, codes)
    try:
        model = with_output_codes(network.model, [network.x])
    except TypeError:  # a network whose last layer is in float
        return
    file = to_tflite(model, shape)
    for engine in LITERT:
        yield engine, model, file


def sums(network: Case) -> bool:
    """Whether the network holds a sum of two paths, which an engine may add in another order."""
    return any(isinstance(step, Add) for step in trace(network.model, network.x).steps)


def is_wrong(found: Comparison) -> bool:
    """Whether the first layer that differs is one that must not: what comes after it was given other codes."""
    first = next((layer for layer in found.layers if layer.differing), None)
    if first is None or found.engine == "litert without delegates":
        return False
    allowed = ("Add", "Quantize") if found.engine != "onnxruntime" else ("Add",)
    return first.kind not in allowed or first.largest > 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts, wrong, dynamic = Counter[str](), 0, 0
    for seed in range(args.seed, args.seed + args.networks):
        network = case(seed)
        has_sums = sums(network)
        if any(
            isinstance(step, FloatLayer) and is_dynamic(step.module) for step in trace(network.model, network.x).steps
        ):
            dynamic += 1  # a layer whose inputs were always 0 in calibration
            continue
        for engine, model, file in files(network):
            found = compare(model, file, network.x, engine)
            name = f"{engine}, {'with' if has_sums else 'without'} sums"
            counts[f"{name}: values"] += sum(layer.values for layer in found.layers)
            counts[f"{name}: differ"] += sum(layer.differing for layer in found.layers)
            if is_wrong(found):
                wrong += 1
                print(f"WRONG: seed {seed}, {engine}: {found.first}", flush=True)
    for name, count in sorted(counts.items()):
        print(f"{name:45} {count:12,}")
    print(f"{args.networks} networks, {dynamic} left out for a layer that is quantized dynamically; wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
