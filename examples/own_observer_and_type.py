"""An observer and an integer type of one's own: a range of four deviations, six-bit weights; codes by hand."""

import numpy as np
from numpy.typing import ArrayLike

from tinytorch.core import Adam, Linear, ReLU, Sequential, accuracy, fit, load_digits
from tinytorch.quantization import IntType, Observer, quantize_static


class Deviations(Observer):
    """The mean and four standard deviations about it; it remembers three numbers, however many it is shown."""

    count, total, squares = 0, 0.0, 0.0

    def observe(self, x: ArrayLike) -> None:
        x = np.asarray(x, np.float64)
        self.count, self.total, self.squares = self.count + x.size, self.total + x.sum(), self.squares + (x**2).sum()

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        self._require(self.count)
        mean = self.total / self.count
        reach = 4 * np.sqrt(max(self.squares / self.count - mean**2, 0))
        return np.asarray(mean - reach), np.asarray(mean + reach)


digits, rng = load_digits(), np.random.default_rng(0)
model = Sequential(Linear(64, 64, rng=rng), ReLU(), Linear(64, 10, rng=rng))
fit(model, digits.x_train, digits.y_train, 15, Adam(model.parameters(), lr=3e-3))
calibration = [digits.x_train[i : i + 64] for i in range(0, 1280, 64)]
int6 = quantize_static(model, calibration, Deviations, weight_type=IntType(6, narrow=True))

seen, layer = digits.x_train[:1280].astype(np.float64), int6.get("layers.0")
lo, hi = min(seen.mean() - 4 * seen.std(), 0), max(seen.mean() + 4 * seen.std(), 0)
assert np.isclose(layer.input_qparams.scale, (hi - lo) / 255, rtol=1e-5)
weight = model.get("layers.0").weight.data
step = np.abs(weight).max(1, keepdims=True) / np.float32(31)
assert np.array_equal(layer.weight.q, np.clip(np.rint(weight / step), -31, 31))
lost = accuracy(model, digits.x_test, digits.y_test) - accuracy(int6, digits.x_test, digits.y_test)
assert lost < 0.02
print(f"{layer}: {lost:.1%} lost")
