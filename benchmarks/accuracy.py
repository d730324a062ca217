"""What low precision costs and what brings it back: the accuracies that docs/results.md quotes, over several seeds.

`python -m benchmarks.accuracy` prints a table a claim: the mean over the seeds, and where the true mean lies with 95 %
(Student's t). Fashion-MNIST takes part where it is installed. `--quick` runs the digits only, for a smoke test.
"""

import argparse
import sys
import time
from collections.abc import Callable
from copy import copy
from statistics import mean, stdev

import numpy as np

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
    accuracy,
    fashion_mnist_available,
    fit,
    load_digits,
    load_fashion_mnist,
    train_step,
)
from tinytorch.quantization import (
    GradScaler,
    IntType,
    assign_bits,
    convert,
    equalize,
    fold_batch_norms,
    freeze,
    mixed_step,
    model_arrays,
    outputs,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    sensitivity,
    sqnr_db,
)
from tinytorch.quantization.trees import map_modules

T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's t by number of seeds
Result = dict[str, float]


def points(values: list[float]) -> str:
    """Mean and 95 % interval of the mean, for accuracies in [0, 1], in percent."""
    half = T_975[len(values)] * stdev(values) / len(values) ** 0.5
    return f"{100 * mean(values):6.2f} +- {100 * half:.2f}"


def mlp(widths: list[int], seed: int) -> Sequential:
    """Linear layers of these widths with ReLU between."""
    rng, layers = np.random.default_rng(seed), list[Module]()
    for n_in, n_out in zip(widths, widths[1:], strict=False):
        layers += [Linear(n_in, n_out, rng=rng), ReLU()]
    return Sequential(*layers[:-1])


def cnn(seed: int) -> Sequential:
    """Two convolutions with batch normalization and pooling, and two linear layers, for 28 x 28 images."""
    rng = np.random.default_rng(seed)
    return Sequential(
        Conv2d(1, 16, 3, padding=1, rng=rng), BatchNorm2d(16), ReLU(), MaxPool2d(2),
        Conv2d(16, 32, 3, padding=1, rng=rng), BatchNorm2d(32), ReLU(), MaxPool2d(2),
        Flatten(), Linear(1568, 64, rng=rng), ReLU(), Linear(64, 10, rng=rng),
    )  # fmt: skip


def rescaled(model: Module, units: int = 8, factor: float = 40.0) -> Module:
    """The same function with `units` hidden units of the first layer grown by `factor`, what they feed shrunk by it."""
    twin = map_modules(model, lambda name, m: copy(m) if isinstance(m, Linear) else None)
    assert isinstance(twin, Sequential)
    first, second = twin.layers[0], twin.layers[2]
    assert isinstance(first, Linear) and first.bias is not None and isinstance(second, Linear)
    grow = np.where(np.arange(len(first.weight.data)) < units, factor, 1).astype(np.float32)
    first.weight = Tensor(first.weight.data * grow[:, None], requires_grad=True)
    first.bias = Tensor(first.bias.data * grow, requires_grad=True)
    second.weight = Tensor(second.weight.data / grow, requires_grad=True)
    return twin


def low_bits(data: Dataset, seed: int, widths: list[int], epochs: int, tuning: int) -> Result:
    """Rounded after training, trained with the error, and trained steps; the twin, equalized."""
    x, y, test = data.x_train, data.y_train, (data.x_test, data.y_test)
    model = mlp(widths, seed)
    fit(model, x, y, epochs, Adam(model.parameters(), lr=2e-3 if len(x) < 5000 else 1e-3), seed=seed)
    calibration = [x[:512]]
    twin = rescaled(model)
    result = {
        "float32": accuracy(model, *test),
        "int8 static, per channel": accuracy(quantize_static(model, calibration), *test),
        "twin, int8 per tensor": accuracy(quantize_static(twin, calibration, axis=None), *test),
        "twin, int8 per tensor, equalized": accuracy(quantize_static(equalize(twin), calibration, axis=None), *test),
    }
    for weights, activations in ((4, 4), (3, 8), (2, 8)):
        for name, learned in (("QAT", False), ("LSQ", True)):
            how = f"weights int{weights}, activations int{activations}, per tensor"
            qat = prepare_qat(model, calibration, IntType(weights), IntType(activations), axis=None, learned=learned)
            if not learned:
                result[f"{how}: PTQ"] = accuracy(convert(qat), *test)
            fit(qat, x, y, tuning, Adam(qat.parameters(), lr=1e-3), seed=seed)
            fit(freeze(qat), x, y, max(1, tuning // 2), Adam(qat.parameters(), lr=2e-4), seed=seed + 1)
            result[f"{how}: {name}"] = accuracy(convert(qat), *test)
    return result


def images(data: Dataset, seed: int) -> Result:
    """A convolutional network: INT8, its size, and bits for each layer against the same bits for all."""
    data = data.images()
    test, model = (data.x_test, data.y_test), cnn(seed)
    fit(model, data.x_train, data.y_train, 2, Adam(model.parameters()), seed=seed)
    fit(model, data.x_train, data.y_train, 1, Adam(model.parameters(), lr=2e-4), seed=seed + 1)
    folded = fold_batch_norms(model.eval())
    int8 = quantize_static(folded, np.array_split(data.x_train[:512], 8))
    types = [IntType(bits) for bits in (2, 3, 4, 5, 6, 8)]
    table = sensitivity(folded, data.x_train[:1000], data.y_train[:1000], types)
    names = list(dict.fromkeys(row.layer for row in table))
    uniform = {name: IntType(4) for name in names}
    budget = sum(row.nbytes for row in table if row.int_type == IntType(4))
    chosen, lean = assign_bits(table, budget), assign_bits(table, int(0.85 * budget))
    size = {(row.layer, row.int_type): row.nbytes for row in table}
    reference = outputs(folded, data.x_test)
    result = {
        "float32": accuracy(model, *test),
        "int8 static": accuracy(int8, *test),
        "= weights smaller by": weight_bytes(folded) / weight_bytes(int8),
    }
    choices = {"uniform int4": uniform, "assigned, same size": chosen, "assigned, 15 % smaller": lean}
    for name, choice in choices.items():
        quantized = quantize_dynamic(folded, None, rules=choice)
        result[name] = accuracy(quantized, *test)
        result[f"= {name}: bytes"] = sum(size[layer, t] for layer, t in choice.items())
        result[f"= {name}: SQNR, dB"] = sqnr_db(reference, outputs(quantized, data.x_test))
    return result


def weight_bytes(model: Module) -> int:
    """Bytes of everything but the biases."""
    return sum(a.nbytes for name, a in model_arrays(model).items() if not name.endswith(("bias", "grad")))


def precision(data: Dataset, seed: int, widths: list[int], epochs: int) -> Result:
    """The same network trained in float32, and with products in 16 bits; the last one without loss scaling."""
    steps = {
        "float32": train_step,
        "bfloat16": mixed_step("bfloat16"),
        "float16, scaled": mixed_step("float16", GradScaler()),
        "float16, loss / 1e7, scaled": mixed_step("float16", GradScaler(2.0**40, growth_interval=100), 1e-7),
        "float16, loss / 1e7, not scaled": mixed_step("float16", None, 1e-7),
    }
    result = {}
    for name, step in steps.items():
        model = mlp(widths, seed)
        fit(model, data.x_train, data.y_train, epochs, Adam(model.parameters(), eps=1e-16), seed=seed, step=step)
        result[name] = accuracy(model, data.x_test, data.y_test)
    return result


def report(title: str, run: Callable[[int], Result], seeds: int) -> None:
    """Run once a seed; print a row a result."""
    start = time.perf_counter()
    results = [run(seed) for seed in range(seeds)]
    print(f"\n{title}: {seeds} seeds, {time.perf_counter() - start:.0f} s")
    for name in results[0]:
        values = [result[name] for result in results]
        shown = f"{mean(values):9.2f}" if name.startswith("=") else f"{points(values)} %"
        print(f"  {name.lstrip('= '):<52}{shown}", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, choices=sorted(T_975))
    parser.add_argument("--quick", action="store_true", help="the digits only, few epochs")
    args = parser.parse_args(argv)
    digits, quick = load_digits(), args.quick
    epochs = 10 if quick else 40
    report("digits, 64-64-32-10", lambda s: low_bits(digits, s, [64, 64, 32, 10], epochs, epochs // 2), args.seeds)
    report("digits, training in 16 bits", lambda s: precision(digits, s, [64, 128, 128, 10], epochs // 2), args.seeds)
    if quick:
        return 0
    if not fashion_mnist_available():
        print("\nFashion-MNIST is not on this machine: install dataset-fashion-mnist, or set TINYTORCH_DATA")
        return 1
    fashion = load_fashion_mnist()
    report("Fashion-MNIST, 784-256-128-10", lambda s: low_bits(fashion, s, [784, 256, 128, 10], 4, 3), args.seeds)
    report("Fashion-MNIST, training in 16 bits", lambda s: precision(fashion, s, [784, 256, 128, 10], 4), args.seeds)
    report("Fashion-MNIST, convolutional", lambda s: images(fashion, s), args.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
