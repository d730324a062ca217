"""A transformer block of one's own, its weights in INT4: the same block in plain NumPy, on the dequantized weights."""

import numpy as np

from tinytorch.core import Embedding, LayerNorm, Linear, Module, SelfAttention, Tensor, gelu
from tinytorch.quantization import model_nbytes, outputs, quantize_weight_only, sqnr_db

WIDTH, HEADS = 64, 4


class Block(Module):
    """Pre-norm attention and a feed-forward part, each with a path around it; then logits for 50 tokens."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.tokens, self.before, self.between = Embedding(50, WIDTH, rng), LayerNorm(WIDTH), LayerNorm(WIDTH)
        self.attend = SelfAttention(WIDTH, HEADS, rng)
        self.wide, self.narrow, self.head = (Linear(i, o, rng=rng) for i, o in ((64, 256), (256, 64), (64, 50)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        x = x + self.attend(self.before(x))
        return self.head(x + self.narrow(gelu(self.wide(self.between(x)))))


model, x = Block(np.random.default_rng(0)), np.random.default_rng(1).integers(0, 50, (8, 12))
int4 = quantize_weight_only(model, group_size=32)

real = {name: layer for name, layer in int4.named_modules() if hasattr(layer, "explanation")}
product = lambda name, x: x @ real[name].weight.dequantize().T.astype(np.float64) + real[name].bias  # noqa: E731
normed = lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)  # noqa: E731
h = real["tokens"].weight.dequantize().astype(np.float64)[x]
parts = [product(f"attend.{of}", normed(h)).reshape(8, 12, HEADS, 16) for of in ("query", "key", "value")]
fit = np.exp(np.einsum("nqhd,nkhd->nhqk", *parts[:2]) / 4)
mixed = np.einsum("nhqk,nkhd->nqhd", fit / fit.sum(-1, keepdims=True), parts[2])
h = h + product("attend.out", mixed.reshape(8, 12, WIDTH))
wide = product("wide", normed(h))
h = h + product("narrow", wide / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3))))
assert np.allclose(outputs(int4, x), product("head", h), atol=2e-3)
smaller, db = model_nbytes(model) / model_nbytes(int4), sqnr_db(outputs(model, x), outputs(int4, x))
print(f"{smaller:.1f} times smaller, {db:.0f} dB")
