"""Weights of few bits: INT4 beside our INT8, and weights alone beside ONNX Runtime's MatMulNBits, answers checked."""

from functools import partial
from typing import Any

import numpy as np

from benchmarks.contest import Contest
from tinytorch.acceleration import Int8Linear, accelerate, int4_linear, prepack_int4, prepack_int8
from tinytorch.core import Linear, ReLU, Sequential, Tensor
from tinytorch.quantization import INT4, IntType, QParams, QuantizedTensor, WeightOnlyLinear, quantize_static

SIZES, BLOCKS = (4096, 1024), (32, 64, 128)


def int4(contest: Contest, rows: list[int]) -> None:
    """int4_linear beside Int8Linear of the same codes: a scale a column, and a scale a group."""
    rng, n = np.random.default_rng(0), SIZES[0]
    q = rng.integers(-8, 8, (n, n)).astype(np.int8)
    scale = rng.uniform(0.1, 1, n).astype(np.float32)
    layer, packs = Int8Linear(prepack_int8(q), scale), {"by column": prepack_int4(q, scale)}
    for group in BLOCKS[::-1]:
        packs[f"groups of {group}"] = prepack_int4(q, np.tile(scale, (n // group, 1)), group)
    for m in rows:
        x = rng.normal(size=(m, n)).astype(np.float32)
        wanted = layer(x)
        for name, pack in packs.items():
            error = np.abs(int4_linear(x, pack) - wanted).max()
            assert error <= (0 if name == "by column" else 1e-5 * np.abs(wanted).max()), f"{name} is wrong by {error}"
            others = {"our INT8": partial(layer, x)}
            contest.run(f"int4 {name} {m}x{n}x{n}", partial(int4_linear, x, pack), others, 2 * m * n * n)


def models(contest: Contest, batches: list[int]) -> None:
    """Compiled networks whose weights are kept in 4 and 2 bits, beside the same network in 8."""
    rng = np.random.default_rng(0)
    for width in (64, 512, 2048):
        layers = [layer for n in (784, width) for layer in (Linear(n, width, rng=rng), ReLU())]
        model = Sequential(*layers, Linear(width, 10, rng=rng))
        calibration = [rng.random((64, 784)).astype(np.float32)]
        quantized = {bits: quantize_static(model, calibration, weight_type=IntType(bits)) for bits in (8, 4, 2)}
        fast = {bits: accelerate(each) for bits, each in quantized.items()}
        for batch in batches:
            x = rng.random((batch, 784)).astype(np.float32)
            for bits in (4, 2):
                assert (accelerated(fast[bits], x) == accelerated(quantized[bits], x)).all(), "other bits than NumPy's"
                others = {"in 8 bits": partial(accelerated, fast[8], x)}
                case = f"few bits: {bits} {batch}x784-{width}-{width}-10"
                contest.run(case, partial(accelerated, fast[bits], x), others, batch)


def accelerated(model: Any, x: Any) -> Any:
    """What a model gives for an array."""
    return model(Tensor(x)).data


def weight_only(contest: Contest, peers: list[Any], rows: list[int]) -> None:
    """The same codes and scales in blocks, under float32 activations (accuracy level 1 of MatMulNBits: the accelerated
    WeightOnlyLinear) and under 8-bit ones (level 4: int4_linear)."""
    rng = np.random.default_rng(0)
    for n, block in ((n, block) for n in SIZES for block in BLOCKS):
        q = rng.integers(-8, 8, (n, n // block, block)).astype(np.int8)  # [out, groups, steps of K]
        scale = rng.uniform(0.001, 0.01, (n, n // block)).astype(np.float32)
        fast: Any = accelerate(WeightOnlyLinear(QuantizedTensor(q, QParams(scale[:, :, None], 0, INT4), (n, n))))
        pack = prepack_int4(np.ascontiguousarray(q.reshape(n, n).T), np.ascontiguousarray(scale.T), block)
        for m in rows:
            x = rng.normal(size=(m, n)).astype(np.float32)
            exact = x.astype(np.float64) @ (q * scale[:, :, None]).astype(np.float64).reshape(n, n).T
            for bits, level, worst in ((32, 1, 1e-5), (8, 4, 0.05)):
                ours = partial(accelerated, fast, x) if bits == 32 else partial(int4_linear, x, pack)
                others: dict[str, Any] = {}
                for peer in peers:
                    if hasattr(peer, "stored_codes"):
                        others |= peer.stored_codes(x, q, scale, level)
                for name, call in {"ours": ours, **others}.items():
                    error = np.abs(np.asarray(call()) - exact).max() / np.abs(exact).max()
                    assert error < worst, f"{name} is wrong by {error:.1e}"
                case = f"{bits}-bit activations, blocks of {block} {m}x{n}x{n}"
                contest.run(case, ours, others, 2 * m * n * n)
