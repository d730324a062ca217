"""Random convolutions, each compared with int64 arithmetic in NumPy, on every kernel of this machine.

python tests/acceleration/fuzz_convolutions.py --cases 10000 --seed 0
"""

import argparse
import sys
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from tinytorch.acceleration import Int8Conv2d, kernels, set_num_threads, use_kernel
from tinytorch.quantization import INT8, UINT8, QParams


@dataclass(frozen=True)
class Shape:
    """Of a convolution: images [N, channels, height, width], weights [filters, channels / groups, *kernel]."""

    images: tuple[int, int, int, int]
    weights: tuple[int, int, int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


@dataclass(frozen=True)
class Case:
    """One convolution. codes: int8 or uint8 [N, channels, height, width]; qparams: of all, or of each image."""

    shape: Shape
    codes: Any
    weights: Any
    qparams: Any
    out: Any  # quantization parameters of the codes that come out, or None: float32
    bias: Any  # int32 with codes out, or none, or any of the two
    scale: Any
    relu: bool
    threads: int

    def __str__(self) -> str:
        kind = "float32" if self.out is None else self.out.int_type.storage
        return f"{self.shape}, {self.codes.dtype} -> {kind}, ReLU {self.relu}, {self.qparams}, {self.threads} threads"


def either(rng: Any, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def random_groups(rng: Any) -> tuple[int, int, int]:
    """(groups, channels, filters): one group, channels alone, or something between; at the edge of 16 or 64, or odd."""
    kind, few = rng.integers(3), int(either(rng, 1, 2, 3, 4, 5, 7, 8, 13, 16))
    if kind == 0:
        many = [1, 3, 4, 8, 15, 16, 17, 32, 63, 64, 65, 96, int(rng.integers(1, 140))]
        return 1, int(either(rng, *many)), int(either(rng, *many))
    if kind == 1:
        channels = int(either(rng, 2, 3, 8, 15, 16, 17, 31, 32, 48, 64, 65, int(rng.integers(2, 200))))
        return channels, channels, channels * int(either(rng, 1, 1, 1, 2, 3, 6))
    groups = int(rng.integers(2, 9))
    return groups, groups * few, groups * int(either(rng, 1, 2, 3, 4, 6, 15, 16, 17, 40))


def random_shape(rng: Any) -> Shape:
    groups, channels, filters = random_groups(rng)
    while True:
        kernel = either(
            rng, (1, 1), (3, 3), (3, 3), (2, 3), (5, 5), (1, 7), tuple(int(k) for k in rng.integers(1, 10, 2))
        )
        stride = either(rng, (1, 1), (1, 1), (2, 2), tuple(int(s) for s in rng.integers(1, 5, 2)))
        padding = either(rng, (0, 0), (1, 1), tuple(int(p) for p in rng.integers(0, 6, 2)))
        dilation = either(rng, (1, 1), (1, 1), tuple(int(d) for d in rng.integers(1, 4, 2)))
        size = tuple(int(s) for s in rng.integers(1, int(either(rng, 8, 16, 24)), 2))
        fits = all(s + 2 * p > d * (k - 1) for s, p, d, k in zip(size, padding, dilation, kernel, strict=True))
        if fits:
            images = int(either(rng, 1, 1, 2, 3)), channels, size[0], size[1]
            return Shape(images, (filters, channels // groups, *kernel), stride, padding, dilation, groups)


def random_codes(rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Codes that are random, or all at one end, where sums are largest; channels come first or last in memory."""
    info = np.iinfo(dtype)
    if rng.integers(4) == 0:
        codes = np.full(shape, either(rng, info.min, info.max), dtype)
    else:
        codes = rng.integers(info.min, info.max + 1, shape).astype(dtype)
    order = rng.integers(4)
    if order == 0:
        return np.asfortranarray(codes)
    return codes if order == 1 else np.ascontiguousarray(codes.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def random_qparams(rng: Any, kind: Any, images: int = 0) -> Any:
    """Of a whole tensor, or of each of its images."""
    shape: tuple[int, ...] = (images, 1, 1, 1) if images else ()
    zero_point: Any = rng.integers(kind.qmin, kind.qmax + 1, shape)
    scale: Any = rng.uniform(0.001, 0.1, shape).astype(np.float32)
    return QParams(scale, zero_point, kind) if images else QParams(np.float32(scale), int(zero_point), kind)


def random_case(rng: Any) -> Case:
    shape = random_shape(rng)
    filters, kind, to = shape.weights[0], either(rng, INT8, UINT8), either(rng, "codes", "codes", "reals", "by image")
    out = random_qparams(rng, either(rng, INT8, UINT8)) if to == "codes" else None
    whole = rng.integers(-50_000, 50_000, filters).astype(np.int32)
    bias = either(rng, None, whole) if to == "codes" else either(rng, None, whole, rng.normal(size=filters))
    if bias is not None and bias.dtype == np.float64:
        bias = bias.astype(np.float32)
    scale = rng.uniform(0.0001, 0.01, filters if rng.integers(4) else 1).astype(np.float32)
    return Case(
        shape, random_codes(rng, shape.images, kind.storage), random_codes(rng, shape.weights, np.int8),
        random_qparams(rng, kind, shape.images[0] if to == "by image" else 0), out, bias, scale,
        bool(rng.integers(2)), int(rng.integers(1, 4)),
    )  # fmt: skip


def exact_sums(case: Case) -> Any:
    """The definition, in int64: sums [N, filters, rows, columns] of code - zero point times weight."""
    shape, (filters, each, high, wide) = case.shape, case.shape.weights
    (down, right), (above, left), (far, apart) = shape.stride, shape.padding, shape.dilation
    x = np.pad(case.codes.astype(np.int64) - case.qparams.zero_point, ((0, 0), (0, 0), (above,) * 2, (left,) * 2))
    rows = (x.shape[2] - far * (high - 1) - 1) // down + 1
    columns = (x.shape[3] - apart * (wide - 1) - 1) // right + 1
    x = x.reshape(len(x), shape.groups, each, *x.shape[2:])
    weights = case.weights.astype(np.int64).reshape(shape.groups, -1, each, high, wide)
    sums = np.zeros((len(x), shape.groups, filters // shape.groups, rows, columns), np.int64)
    for i, j in product(range(high), range(wide)):
        pixels = x[..., i * far :: down, j * apart :: right][..., :rows, :columns]
        for c in range(each):
            sums += pixels[:, :, c, None] * weights[None, :, :, c, i, j, None, None]
    return sums.reshape(len(x), filters, rows, columns)


def definition(case: Case) -> Any:
    """What follows the sums, each step rounded to float32 as `Int8Linear` says."""
    sums, by_channel = exact_sums(case), (1, -1, 1, 1)
    if case.bias is not None and case.bias.dtype == np.int32:
        sums += case.bias.reshape(by_channel)
    scale = np.float32(case.qparams.scale) * case.scale.reshape(by_channel)
    if case.out is not None:
        codes = np.rint(sums.astype(np.float32) * (scale / np.float32(case.out.scale))) + case.out.zero_point
        lowest = max(case.out.int_type.qmin, case.out.zero_point if case.relu else case.out.int_type.qmin)
        return np.clip(codes, lowest, case.out.int_type.qmax).astype(case.out.int_type.storage)
    reals = sums.astype(np.float32) * scale
    if case.bias is not None and case.bias.dtype == np.float32:
        reals += case.bias.reshape(by_channel)
    return np.maximum(reals, 0) if case.relu else reals


def computed(case: Case) -> Any:
    shape, static = case.shape, np.ndim(case.qparams.scale) == 0
    layer = Int8Conv2d(
        case.weights, case.scale, case.bias, case.qparams if static else None, case.out, case.relu, shape.stride,
        shape.padding, shape.groups, shape.dilation, not static,
    )  # fmt: skip
    return layer.of_codes(case.codes, case.qparams)


def fuzz(kernel: str, cases: int, seed: int) -> None:
    """AssertionError for the first convolution that has not the bits of the definition."""
    rng = np.random.default_rng(seed)
    with use_kernel(kernel):
        for i in range(cases):
            case = random_case(rng)
            if i % 100 == 0:
                set_num_threads(case.threads)
            got, wanted = computed(case), definition(case)
            assert got.dtype == wanted.dtype and got.shape == wanted.shape, (
                f"{kernel}, case {i}: {got.dtype} {got.shape}: {case}"
            )
            assert (got == wanted).all(), f"{kernel}, case {i}: {(got != wanted).sum()} results are wrong: {case}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="convolutions for each kernel")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for kernel in kernels():
        fuzz(kernel, options.cases, options.seed)
        print(f"{kernel:<12} {options.cases} convolutions, every bit that of the definition", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
