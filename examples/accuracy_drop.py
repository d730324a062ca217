"""Why is it less accurate in INT8? Layer by layer to the hidden unit that is too loud, which `equalize` mends."""

import numpy as np

from tinytorch.core import Adam, Linear, ReLU, Sequential, accuracy, fit, load_digits
from tinytorch.quantization import compare_layers, equalize, outputs, quantize_static

LOUD = 13
digits, rng = load_digits(), np.random.default_rng(0)
first, second, third = Linear(64, 64, rng=rng), Linear(64, 32, rng=rng), Linear(32, 10, rng=rng)
model = Sequential(first, ReLU(), second, ReLU(), third)
fit(model, digits.x_train, digits.y_train, 20, Adam(model.parameters(), lr=3e-3))
before = outputs(model, digits.x_test)

first.weight.data[LOUD] *= 300  # somebody's export: the same function, one hidden unit in other units
first.bias.data[LOUD] *= 300
second.weight.data[:, LOUD] /= 300
assert np.allclose(outputs(model, digits.x_test), before, atol=1e-3)

calibration = [digits.x_train[:256]]
drop = accuracy(model, digits.x_test, digits.y_test) - accuracy(
    quantize_static(model, calibration), digits.x_test, digits.y_test
)
assert drop > 0.03

worst = compare_layers(model, quantize_static(model, calibration), calibration)[0]
unit = worst.inputs.loudest.channel
assert (worst.layer, unit) == ("layers.2", LOUD), "the layer that is given the loud unit, and which unit"
given = np.maximum(digits.x_test @ first.weight.data.T + first.bias.data, 0)  # what it is given, by hand
times = given.max(0) / np.median(given.max(0))
assert times.argmax() == LOUD and times[LOUD] > 50

mended = quantize_static(equalize(model), calibration)
left = accuracy(model, digits.x_test, digits.y_test) - accuracy(mended, digits.x_test, digits.y_test)
assert left < 0.01
print(f"{worst.layer}, unit {unit}: {times.max():.0f} times the median; {drop:.1%} lost, {left:.1%} mended")
