"""A key-value cache in UINT4, groups of 32: tokens are appended, a window of them is read; attention is the check."""

import numpy as np

from tinytorch.quantization import UINT4, QuantizedTensor

HEADS, WIDTH = 4, 64
NO_TOKENS = np.zeros((0, HEADS, WIDTH))


class Cache:
    """Keys or values [tokens, heads, width], a scale and a zero point for each 32 numbers of a head."""

    def __init__(self) -> None:
        self.held = QuantizedTensor.from_float(NO_TOKENS, UINT4, group_size=32, scale_dtype=np.float16)

    def append(self, new: np.ndarray) -> None:
        codes = QuantizedTensor.from_float(new[None], UINT4, group_size=32, scale_dtype=np.float16)
        self.held = QuantizedTensor.concatenate([self.held, codes])


def attention(query: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[heads, width], by keys and values [tokens, heads, width]."""
    fit = np.exp(np.einsum("hd,thd->ht", query, keys) / np.sqrt(WIDTH))
    return np.einsum("ht,thd->hd", fit / fit.sum(1, keepdims=True), values)


rng = np.random.default_rng(0)
keys, values = rng.normal(size=(2, 100, HEADS, WIDTH)).astype(np.float32)
k_cache, v_cache = Cache(), Cache()
for t in range(100):
    k_cache.append(keys[t])
    v_cache.append(values[t])
groups = keys.astype(np.float64).reshape(100, HEADS, 2, 32)  # half a step of each group's own range, and float16's part
step = (groups.max(-1, keepdims=True) - groups.min(-1, keepdims=True)) / 15
assert np.all(np.abs(k_cache.held.dequantize().reshape(groups.shape) - groups) <= step * 0.51 + 1e-3)
query, k, v = rng.normal(size=(HEADS, WIDTH)), k_cache.held[-64:], v_cache.held[-64:]
window, real = attention(query, k.dequantize(), v.dequantize()), attention(query, keys[-64:], values[-64:])
assert np.abs(window - real).max() < 0.1
print(f"{8 * k_cache.held.nbytes / keys.size:.2f} bits a number: {k_cache.held}")
