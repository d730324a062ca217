"""A training loop and an optimizer of one's own, with the error of two-bit weights in the loop; codes by hand."""

import numpy as np

from tinytorch.core import CrossEntropyLoss, Linear, Optimizer, ReLU, Sequential, accuracy, batches, fit, load_digits
from tinytorch.quantization import IntType, convert, freeze, prepare_qat, quantize_static

digits, rng, INT2 = load_digits(), np.random.default_rng(0), IntType(2)


class SignDescent(Optimizer):
    """w -= lr * sign(grad): a subclass says how one parameter is changed, in place."""

    def update(self, i: int, w: np.ndarray, grad: np.ndarray, scratch: np.ndarray) -> None:
        w -= self.lr * np.sign(grad)


model = Sequential(Linear(64, 64, rng=rng), ReLU(), Linear(64, 10, rng=rng))
fit(model, digits.x_train, digits.y_train, 15)
rounded = quantize_static(model, [digits.x_train], weight_type=INT2)

prepared = prepare_qat(model, [digits.x_train[:256]], INT2)
optimizer, loss_of = SignDescent(prepared.parameters(), lr=2e-3), CrossEntropyLoss()
for epoch in range(12):
    optimizer.lr *= 0.8
    if epoch == 10:
        freeze(prepared)
    for x, y in batches(digits.x_train, digits.y_train, 64, seed=epoch):
        optimizer.zero_grad()
        loss_of(prepared(x), y).backward()
        optimizer.step()
trained = convert(prepared)

for name in ("layers.0", "layers.2"):  # the codes that training saw: two bits, symmetric, a scale a row
    weight, codes = prepared.get(name).layer.weight.data, trained.get(name).weight.q
    assert np.array_equal(codes, np.clip(np.rint(weight / np.abs(weight).max(1, keepdims=True)), -2, 1))
won = [accuracy(m, digits.x_test, digits.y_test) for m in (rounded, trained)]
assert won[1] > won[0] + 0.05
print(f"two-bit weights: {won[0]:.1%} rounded, {won[1]:.1%} trained")
