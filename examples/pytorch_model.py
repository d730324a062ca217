"""A convolutional network from PyTorch in INT8. PyTorch's own answers, kept beside its weights, are the check."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tinytorch.acceleration import accelerate
from tinytorch.core import BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, load_digits
from tinytorch.quantization import fold_batch_norms, model_nbytes, outputs, quantize_static

sent, digits = np.load(Path(__file__).with_name("torch_models.npz")), load_digits().images()
theirs = sent["cnn.answers"]
if find_spec("torch"):  # the real thing
    import torch
    from make_torch_models import cnn

    network = cnn()
    network.load_state_dict(
        {name: torch.from_numpy(sent[f"cnn.{name}"]) for name in network.state_dict() if f"cnn.{name}" in sent},
        strict=False,
    )
    theirs = network.eval()(torch.from_numpy(digits.x_test)).detach().numpy()

model = Sequential(
    Conv2d(1, 8, 3, padding=1), BatchNorm2d(8), ReLU(), MaxPool2d(2),
    Conv2d(8, 16, 3, padding=1), BatchNorm2d(16), ReLU(), Flatten(), Linear(256, 10),
)  # fmt: skip
model.load_state_dict({name: sent[name.replace("layers", "cnn")] for name in model.state_dict()})
assert np.allclose(outputs(model, digits.x_test), theirs, rtol=1e-4, atol=1e-4), "not PyTorch's numbers"

quantized = quantize_static(fold_batch_norms(model.eval()), [digits.x_train[:256]])
ours = outputs(accelerate(quantized), digits.x_test)

signal, noise = np.sum(theirs.astype(np.float64) ** 2), np.sum((theirs.astype(np.float64) - ours) ** 2)
same = np.mean(ours.argmax(1) == theirs.argmax(1))
assert signal > 10**2.5 * noise and same >= 0.98, "25 dB, and the same digit"
smaller = model_nbytes(model) / model_nbytes(quantized)
print(f"{smaller:.2f} times smaller; {same:.1%} of the digits as PyTorch, {10 * np.log10(signal / noise):.0f} dB")
