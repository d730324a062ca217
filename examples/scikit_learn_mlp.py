"""scikit-learn's MLP in INT8: its coefficients taken over, its predictions kept, its products recomputed by hand."""

import warnings

import numpy as np
from sklearn.neural_network import MLPClassifier

from tinytorch.core import Linear, Module, ReLU, Sequential, load_digits
from tinytorch.quantization import outputs, quantize_dynamic

warnings.simplefilter("ignore")  # thirty rounds do not converge, and are enough
digits = load_digits()
mlp = MLPClassifier((64, 32), max_iter=30, random_state=0).fit(digits.x_train, digits.y_train)

layers: list[Module] = []
for weight, bias in zip(mlp.coefs_, mlp.intercepts_, strict=True):
    layer = Linear(*weight.shape)
    layer.load_state_dict({"weight": weight.T, "bias": bias})
    layers += [layer, ReLU()]
model = Sequential(*layers[:-1])
assert (outputs(model, digits.x_test).argmax(1) == mlp.predict(digits.x_test)).all()

int8 = quantize_dynamic(model)
predicted = np.array([outputs(int8, x[None])[0].argmax() for x in digits.x_test])
same = np.mean(predicted == mlp.predict(digits.x_test))
assert same > 0.98


def by_hand(x: np.ndarray) -> np.ndarray:
    """The same three layers in Python's and NumPy's plain arithmetic, for one image [64]."""
    for i, (weight, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True)):
        scale, steps = (max(x.max(), 0) - min(x.min(), 0)) / 255, np.abs(weight).max(0) / 127
        zero = round(-min(x.min(), 0) / scale)
        sums = (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) @ np.rint(weight / steps)
        x = sums * scale * steps + bias if i == 2 else np.maximum(sums * scale * steps + bias, 0)
    return x


assert all(by_hand(x).argmax() == got for x, got in zip(digits.x_test[:100], predicted[:100], strict=True))
print(f"{same:.1%} of the predictions are scikit-learn's")
