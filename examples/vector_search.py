"""The ten nearest of 100 000 vectors by compiled products of codes; the exact search, in float64, is the check."""

import numpy as np

from tinytorch.acceleration import int8_matmul, prepack_int8
from tinytorch.quantization import QuantizedTensor

ROWS, WIDTH, WANTED = 100_000, 64, 10
rng = np.random.default_rng(0)
centers = rng.normal(size=(200, WIDTH))
rows = (centers[rng.integers(0, 200, ROWS)] + rng.normal(size=(ROWS, WIDTH))).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
queries = rows[rng.integers(0, ROWS, 32)] + np.float32(0.05) * rng.normal(size=(32, WIDTH)).astype(np.float32)

stored = QuantizedTensor.from_float(rows, axis=0)  # int8, a scale for each vector
packed, row_scales = prepack_int8(stored.q.T), stored.qparams.scale.ravel()


def search(queries: np.ndarray, first: int = 4 * WANTED) -> np.ndarray:
    """The WANTED nearest rows of each query, [N, WANTED]: by codes, then the `first` of them once more in float."""
    asked = QuantizedTensor.from_float(queries, axis=0)
    scores = int8_matmul(asked.q, packed) * row_scales  # what a query's own scale would change is no order
    found = np.argpartition(-scores, first, axis=1)[:, :first]
    exact = np.einsum("nfw,nw->nf", stored[found.ravel()].dequantize().reshape(*found.shape, WIDTH), queries)
    return np.take_along_axis(found, np.argsort(-exact, axis=1)[:, :WANTED], axis=1)


exact = np.argsort(-(queries.astype(np.float64) @ rows.astype(np.float64).T), axis=1)[:, :WANTED]
recall = np.mean([len(set(a) & set(b)) / WANTED for a, b in zip(search(queries), exact, strict=True)])
assert recall > 0.9

asked = QuantizedTensor.from_float(queries, axis=0).q.astype(np.int64)
assert np.array_equal(int8_matmul(asked.astype(np.int8), packed)[:, :2000], asked @ stored.q[:2000].astype(np.int64).T)
print(f"recall {recall:.1%} of the ten nearest; {rows.nbytes / stored.nbytes:.2f} times smaller")
