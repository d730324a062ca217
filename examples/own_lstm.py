"""An LSTM of one's own with PyTorch's weights, in INT8: its two products are Linear layers, which are quantized."""

from pathlib import Path

import numpy as np

from tinytorch.core import Linear, Module, Tensor, load_digits, sigmoid
from tinytorch.quantization import explain, outputs, quantize_dynamic

sent = np.load(Path(__file__).with_name("torch_models.npz"))


class RowReader(Module):
    """[N, rows, 8] -> [N, 10]: one row after another, then a Linear on the last state. Gates in PyTorch's order."""

    def __init__(self) -> None:
        self.of_row, self.of_state, self.head = Linear(8, 96), Linear(24, 96), Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = c = Tensor(np.zeros((len(x), 24), np.float32))
        for t in range(x.shape[1]):
            gates = self.of_row(x[:, t]) + self.of_state(h)
            i, f, g, o = (gates[:, k : k + 24] for k in range(0, 96, 24))
            c = sigmoid(f) * c + sigmoid(i) * g.tanh()
            h = sigmoid(o) * c.tanh()
        return self.head(h)


model, digits = RowReader(), load_digits()
names = {"of_row": "lstm.{}_ih_l0", "of_state": "lstm.{}_hh_l0", "head": "head.{}"}
parts = [(ours, theirs, kind) for ours, theirs in names.items() for kind in ("weight", "bias")]
model.load_state_dict({f"{ours}.{kind}": sent[f"lstm.{theirs.format(kind)}"] for ours, theirs, kind in parts})
x, answers = digits.x_test.reshape(-1, 8, 8), sent["lstm.answers"]
assert np.allclose(outputs(model, x), answers, rtol=1e-3, atol=1e-3), "not PyTorch's numbers"

int8 = quantize_dynamic(model)
same = np.mean(outputs(int8, x).argmax(1) == answers.argmax(1))
assert [row[1] for row in explain(int8)] == ["QuantizedLinear"] * 3 and same > 0.97
print(f"{same:.1%} of the digits as PyTorch's LSTM says")
