"""Random products, each compared with int64 arithmetic, on every kernel of this machine.

python tests/acceleration/fuzz.py --cases 10000 --seed 0
"""

import argparse
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytorch.acceleration import int8_matmul, kernels, prepack_int8, set_num_threads, use_kernel


@dataclass(frozen=True)
class Case:
    """One product. a: int8 or uint8 [..., M, K], strided as it comes; b: int8 [K, N], codes of so many bits;
    zero_point: one, or one a row."""

    a: Any
    b: Any
    zero_point: Any
    bits: int
    threads: int

    def __str__(self) -> str:
        a = f"{self.a.dtype} {self.a.shape} strides {self.a.strides}"
        b = f"{self.b.shape} of {self.bits} bits"
        return f"{a} @ {b}, zero point {np.ravel(self.zero_point)[:3]}, {self.threads} threads"


def length(rng: Any) -> int:
    """Mostly small, often at the edge of a tile."""
    edge = int(rng.choice([0, 1, 4, 6, 16, 32, 48, 64, 96, 128, 192, 256]))
    return max(0, edge + int(rng.integers(-2, 3))) if rng.random() < 0.6 else int(rng.integers(0, 300))


def codes(rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Codes that are random, or all at one end, where sums are largest."""
    info = np.iinfo(dtype)
    kind = rng.integers(4)
    if kind == 0:
        return np.full(shape, rng.choice([info.min, info.max]), dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def strided(rng: Any, a: Any) -> Any:
    """The same numbers in another order in memory: transposed, reversed, with gaps, read-only, off alignment."""
    kind = rng.integers(6)
    if kind == 0:
        a = np.asfortranarray(a)
    elif kind == 1:
        a = np.ascontiguousarray(a[..., ::-1, :])[..., ::-1, :]
    elif kind == 2:
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1] + 1), a.dtype)
        wide[..., 1::2] = a
        a = wide[..., 1::2]
    elif kind == 3:
        wide = np.zeros((*a.shape[:-1], a.shape[-1] + 7), a.dtype)
        wide[..., 3:-4] = a
        a = wide[..., 3:-4]
    elif kind == 4:
        a = a.copy()
        a.flags.writeable = False
    return a


def random_case(rng: Any) -> Case:
    m, k, n = length(rng), length(rng), length(rng)
    if rng.random() < 0.05:
        k = int(rng.integers(1000, 2600))  # cut into pieces
    batch = () if rng.random() < 0.8 else tuple(int(v) for v in rng.integers(0, 4, rng.integers(1, 3)))
    a = strided(rng, codes(rng, (*batch, m, k), rng.choice([np.int8, np.uint8])))
    zero_point: Any = int(rng.integers(-128, 256)) if rng.random() < 0.8 else 0
    if rng.random() < 0.1:
        zero_point = rng.integers(-128, 256, (m, 1))
    bits = int(rng.choice([8, 8, 4, 2]))
    b = strided(rng, codes(rng, (k, n), np.int8) >> (8 - bits))
    return Case(a, b, zero_point, bits, int(rng.integers(1, 4)))


def exact(case: Case) -> Any:
    """The definition, in int64."""
    return (case.a.astype(np.int64) - case.zero_point) @ case.b.astype(np.int64)


def fuzz(kernel: str, cases: int, seed: int) -> None:
    """AssertionError for the first product that is not exact."""
    rng = np.random.default_rng(seed)
    with use_kernel(kernel):
        for i in range(cases):
            case = random_case(rng)
            if i % 100 == 0:
                set_num_threads(case.threads)
            got, wanted = int8_matmul(case.a, prepack_int8(case.b, case.bits), case.zero_point), exact(case)
            assert got.dtype == np.int32 and got.shape == wanted.shape, (
                f"{kernel}, case {i}: {got.dtype} {got.shape}: {case}"
            )
            assert (got == wanted).all(), f"{kernel}, case {i}: {(got != wanted).sum()} sums are wrong: {case}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="products for each kernel")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for kernel in kernels():
        fuzz(kernel, options.cases, options.seed)
        print(f"{kernel:<12} {options.cases} products, every sum exact")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
