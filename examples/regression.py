"""A regression in INT8, trained by squared error; the integer network is recomputed from its codes by hand."""

from functools import partial

import numpy as np

from tinytorch.core import Adam, Linear, MSELoss, ReLU, Sequential, fit, r2_score, train_step
from tinytorch.quantization import outputs, quantize_static

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (4000, 3)).astype(np.float32)
y = (np.sin(3 * x[:, :1]) + x[:, 1:2] * x[:, 2:]).astype(np.float32)

model = Sequential(Linear(3, 64, rng=rng), ReLU(), Linear(64, 1, rng=rng))
fit(model, x[:3000], y[:3000], 40, Adam(model.parameters(), lr=1e-2), step=partial(train_step, loss=MSELoss()))
int8 = quantize_static(model, [x[:512]])
got = outputs(int8, x[3000:])

first, second = int8.get("layers.0"), int8.get("layers.2")
p, q = first.input_qparams, second.input_qparams
codes = np.clip(np.rint(x[3000:] / p.scale) + p.zero_point, -128, 127) - p.zero_point
hidden = codes @ first.weight.dequantize().T.astype(np.float64) * p.scale + model.get("layers.0").bias.data
codes = np.clip(np.rint(hidden / q.scale) + q.zero_point, -128, 127) - q.zero_point  # clips what is below 0: the ReLU
by_hand = codes @ second.weight.dequantize().T.astype(np.float64) * q.scale + model.get("layers.2").bias.data
assert np.abs(got - by_hand).max() < 3 * q.scale * np.abs(second.weight.dequantize()).max(), (
    "a code or two apart, at ties"
)

residual, spread = np.sum((got - y[3000:]) ** 2.0), np.sum((y[3000:] - y[3000:].mean()) ** 2.0)
assert abs(r2_score(int8, x[3000:], y[3000:]) - (1 - residual / spread)) < 1e-4 and residual < 0.02 * spread
print(f"R2 {1 - residual / spread:.4f} in INT8, {r2_score(model, x[3000:], y[3000:]):.4f} in float32")
