"""Ask PyTorch, once, and keep its answers in torch_answers.npz, so that the tests need no PyTorch.

    pip install torch numpy
    python tests/conformance/make_torch_answers.py

The same versions on the same kind of processor write the same bytes. The arrays:

    versions                    torch, numpy, and the processor's instructions that torch used
    scale, zero_point, signed   [P]     one a row; signed: int8, else uint8
    x                           [P, N]  float32: ties, their two neighbours, random, infinite, huge, subnormal
    quantized                   [P, N]  torch.quantize_per_tensor: the codes
    faked                       [P, N]  torch.fake_quantize_per_tensor_affine: reals
    channel_*                   the same two per channel, a scale a row, int8
    nan_codes                   [2]     what quantize_per_tensor and fake_quantize make of NaN: int8, scale 1
    range_*                     MinMaxObserver: the batches; scale and zero point as quint8, qint8, symmetric qint8
    average_*                   MovingAverageMinMaxObserver: the batches, the constant, the range at the end
    histogram_*                 HistogramObserver: the data; scale and zero point as qint8, for comparison only
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.ao.quantization import observer

warnings.filterwarnings("ignore", message=".*deprecated", category=Warning)  # why the answers are kept here

CODES = {True: (torch.qint8, -128, 127), False: (torch.quint8, 0, 255)}
SCALES = np.array([1.0, 0.5, 2**-10, 0.1, 1 / 3, 3 / 255, 1 / 127, 7.0], np.float32)


def values(scale: np.float32, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """float32 [520]: what two libraries are most likely to disagree on, and what they should not."""
    ties = ((rng.integers(-280, 280, 120) + np.float32(0.5)) * scale).astype(np.float32)
    above, below = np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))
    rest = (rng.uniform(-300, 300, 150) * scale).astype(np.float32)
    ends = np.array([0, -0.0, np.inf, -np.inf, 3e38, -3e38, 1e-45, -1e-45, 1e9, -1e9], np.float32)
    return np.concatenate([ties, above, below, rest, ends])


def per_tensor(rng: np.random.Generator) -> dict[str, Any]:
    answers: dict[str, list[Any]] = {k: [] for k in ("scale", "zero_point", "signed", "x", "quantized", "faked")}
    for signed, (dtype, qmin, qmax) in CODES.items():
        for i, scale in enumerate(SCALES):
            zero_point = [0, 1, qmin, qmax, 2, qmin + 1, 77, 0][i]  # odd and even, the ends, and 0
            x = values(scale, rng)
            t = torch.from_numpy(x)
            quantized = torch.quantize_per_tensor(t, float(scale), zero_point, dtype).int_repr().numpy()
            faked = torch.fake_quantize_per_tensor_affine(t, float(scale), zero_point, qmin, qmax).numpy()
            for name, value in zip(answers, (scale, zero_point, signed, x, quantized, faked), strict=True):
                answers[name].append(value)
    dtypes = {"zero_point": np.int32, "quantized": np.int16}
    return {name: np.array(value, dtypes.get(name)) for name, value in answers.items()}


def per_channel(rng: np.random.Generator) -> dict[str, Any]:
    scale, zero_point = SCALES, np.array([0, 1, -3, 7, 100, -128, 127, 2])
    x = np.stack([values(s, rng) for s in scale])
    t, s, z = torch.from_numpy(x), torch.from_numpy(scale), torch.from_numpy(zero_point)
    quantized = torch.quantize_per_channel(t, s.double(), z, 0, torch.qint8).int_repr().numpy()
    faked = torch.fake_quantize_per_channel_affine(t, s, z.int(), 0, -128, 127).numpy()
    return {
        "channel_scale": scale,
        "channel_zero_point": zero_point.astype(np.int32),
        "channel_x": x,
        "channel_quantized": quantized,
        "channel_faked": faked,
    }


def not_a_number() -> dict[str, Any]:
    nan = torch.full((64,), float("nan"))
    quantized = torch.quantize_per_tensor(nan, 1.0, 0, torch.qint8).int_repr()
    faked = torch.fake_quantize_per_tensor_affine(nan, 1.0, 0, -128, 127)
    return {"nan_codes": np.array([int(quantized[0]), int(faked[0])])}


def ranges(rng: np.random.Generator) -> dict[str, Any]:
    """MinMaxObserver over two-batch streams: two-sided, one-sided, constant, all zero, a tie, tiny."""
    streams = rng.normal(size=(40, 2, 4)) * 10.0 ** rng.integers(-4, 5, (40, 1, 1))
    streams[8:16] = np.abs(streams[8:16])
    streams[16:20] *= -np.sign(streams[16:20])
    streams[20:24] = streams[20:24, :1, :1]
    streams[24], streams[25] = 0, np.array([-253, 257, 0, 1])
    streams[26:28] *= 1e-30
    answers: dict[str, Any] = {"range_batches": streams.astype(np.float32)}
    kinds = {
        "quint8": (torch.quint8, torch.per_tensor_affine),
        "qint8": (torch.qint8, torch.per_tensor_affine),
        "symmetric": (torch.qint8, torch.per_tensor_symmetric),
    }
    for name, (dtype, scheme) in kinds.items():
        chosen = []
        for batches in answers["range_batches"]:
            watch = observer.MinMaxObserver(dtype=dtype, qscheme=scheme)
            for batch in batches:
                watch(torch.from_numpy(batch))
            chosen.append([v.numpy()[0] for v in watch.calculate_qparams()])
        answers[f"range_{name}_scale"] = np.array([c[0] for c in chosen], np.float32)
        answers[f"range_{name}_zero_point"] = np.array([c[1] for c in chosen], np.int32)
    return answers


def averages(rng: np.random.Generator) -> dict[str, Any]:
    batches = (rng.normal(size=(12, 24, 4)) * 10.0 ** rng.integers(-3, 4, (12, 1, 1))).astype(np.float32)
    constants, lo, hi = np.array([0.01, 0.1, 0.5] * 4), [], []
    for stream, constant in zip(batches, constants, strict=True):
        watch = observer.MovingAverageMinMaxObserver(averaging_constant=float(constant))
        for batch in stream:
            watch(torch.from_numpy(batch))
        lo.append(watch.min_val.item())
        hi.append(watch.max_val.item())
    return {
        "average_batches": batches,
        "average_constant": constants,
        "average_lo": np.array(lo, np.float32),
        "average_hi": np.array(hi, np.float32),
    }


def histograms(rng: np.random.Generator) -> dict[str, Any]:
    normal = rng.normal(size=1000)
    data = np.stack([normal, np.append(normal[:-1], 12.0), np.maximum(normal, 0)]).astype(np.float32)
    chosen = []
    for x in data:
        watch = observer.HistogramObserver(dtype=torch.qint8, qscheme=torch.per_tensor_affine)
        watch(torch.from_numpy(x))
        chosen.append([v.numpy()[0] for v in watch.calculate_qparams()])
    return {
        "histogram_x": data,
        "histogram_scale": np.array([c[0] for c in chosen], np.float32),
        "histogram_zero_point": np.array([c[1] for c in chosen], np.int32),
    }


def main() -> None:
    rng = np.random.default_rng(17)
    versions = [torch.__version__, np.__version__, torch.backends.cpu.get_cpu_capability()]
    answers: dict[str, Any] = {"versions": np.array(versions)}
    for part in (per_tensor, per_channel, ranges, averages, histograms):
        answers |= part(rng)
    answers |= not_a_number()
    path = Path(__file__).with_name("torch_answers.npz")
    np.savez_compressed(path, **answers)
    print(f"{path.name}: {path.stat().st_size} bytes, torch {versions[0]}")


if __name__ == "__main__":
    main()
