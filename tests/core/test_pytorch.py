"""from_torch and to_torch: equal answers, in PyTorch itself where it is installed, by its stored answers everywhere."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.core import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool1d,
    Module,
    ReLU6,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
    Tensor,
    concatenate,
    from_torch,
    to_torch,
)
from tinytorch.quantization import fold_batch_norms, quantize_dynamic

needs_torch = pytest.mark.torch


def twin() -> Sequential:
    """The model of make_torch_answers.py, built here."""
    return Sequential(
        Sequential(Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(0, 1), bias=False), BatchNorm2d(4), LeakyReLU(0.2)),
        AvgPool2d(2, 1, 1, count_include_pad=False), SiLU(), Conv2d(4, 6, 3, dilation=(1, 2), groups=2), ReLU6(),
        GlobalAvgPool2d(), Flatten(), Dropout(0.5), Linear(6, 5), LayerNorm(5), GELU(),
    )  # fmt: skip


def stored() -> dict[str, Any]:
    with np.load(Path(__file__).with_name("torch_answers.npz")) as file:
        return {key.removeprefix("model:"): file[key] for key in file.files if key.startswith("model:")}


def near(ours: Any, theirs: Any) -> bool:
    """But for the order of float32 sums: of at most 60 products, whose magnitudes add up to less than 64."""
    return ours.shape == theirs.shape and bool(np.abs(ours - theirs).max(initial=0) <= 60 * np.spacing(np.float32(64)))


def test_a_whole_model_gives_pytorchs_stored_answers() -> None:
    answers, model = stored(), twin()
    x, out = answers.pop("x"), answers.pop("out")
    nested = {key: key.replace("0.", "0.layers.", 1) if key.startswith("0.") else key for key in answers}
    model.load_state_dict({f"layers.{nested[key]}": array for key, array in answers.items()})
    assert near(model.eval()(x).data, out)


def test_without_pytorch_one_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom tinytorch.core import {0}\n{0}(None)"
    for name in ("from_torch", "to_torch"):
        done = subprocess.run([sys.executable, "-c", code.format(name)], capture_output=True, encoding="utf-8")
        assert done.returncode and "ImportError: PyTorch is not installed: pip install torch" in done.stderr


def test_the_library_does_not_load_pytorch_by_itself() -> None:
    code = "import sys, tinytorch.core, tinytorch.quantization; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def torch() -> Any:
    return importlib.import_module("torch")


def layers() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Of every kind with its options, and the shape of an input."""
    nn = torch().nn
    images, signals, rows = (2, 4, 9, 8), (3, 4, 11), (5, 4)
    return {
        "Linear": (nn.Linear(4, 3), rows),
        "Linear without bias": (nn.Linear(4, 3, bias=False), rows),
        "Conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), signals),
        "Conv1d, same": (nn.Conv1d(4, 6, 3, padding="same", dilation=2), signals),
        "Conv2d": (nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(0, 1), dilation=2, groups=2), images),
        "Conv2d, valid": (nn.Conv2d(4, 6, 3, padding="valid", bias=False), images),
        "Conv2d, same": (nn.Conv2d(4, 6, (5, 3), padding="same"), images),
        "BatchNorm1d, rows": (nn.BatchNorm1d(4, eps=1e-3, momentum=0.3), rows),
        "BatchNorm1d, signals": (nn.BatchNorm1d(4, affine=False), signals),
        "BatchNorm2d": (nn.BatchNorm2d(4), images),
        "LayerNorm": (nn.LayerNorm(8, eps=1e-4), images),
        "LayerNorm, plain": (nn.LayerNorm(8, elementwise_affine=False), images),
        "LayerNorm without bias": (nn.LayerNorm(8, bias=False), images),
        "activations": (
            nn.Sequential(nn.Tanh(), nn.GELU(), nn.SiLU(), nn.LeakyReLU(0.3), nn.ReLU6(), nn.Sigmoid(), nn.ReLU()), rows
        ),
        "MaxPool1d": (nn.MaxPool1d(4, stride=3, padding=2), signals),
        "MaxPool2d": (nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0)), images),
        "AvgPool1d": (nn.AvgPool1d((2,), padding=(1,)), signals),
        "AvgPool2d": (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), images),
        "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((1, 1)), images),
        "Flatten": (nn.Flatten(), images),
        "Dropout, Identity": (nn.Sequential(nn.Dropout(0.4), nn.Identity()), rows),
    }  # fmt: skip


@needs_torch
@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_every_layer_gives_the_same_answers_and_gradients_there_and_back(mode: str) -> None:
    for name, (layer, shape) in layers().items():
        if name.startswith("Dropout") and mode == "training":
            continue  # draws at random
        torch().manual_seed(0)
        for parameter in layer.parameters():
            torch().nn.init.normal_(parameter)
        layer.train()(torch().randn(shape))
        theirs = layer.train(mode == "training")
        ours, back = from_torch(theirs), to_torch(from_torch(theirs))
        assert all(m.training == (mode == "training") for _, m in ours.named_modules()), name
        x = torch().randn(shape, requires_grad=True)
        wanted = theirs(x)
        wanted.backward(torch().ones_like(wanted))
        mine = Tensor(x.detach().numpy(), requires_grad=True)
        got = ours(mine)
        got.backward(np.ones(got.shape, np.float32))
        assert mine.grad is not None
        assert near(got.data, wanted.detach().numpy()) and near(mine.grad, x.grad.numpy()), name
        again = back(x.detach()).detach().numpy()
        assert near(again, wanted.detach().numpy()), name
        assert [p.requires_grad for p in theirs.parameters()] == [True] * len(ours.parameters()), name


@needs_torch
def test_embeddings_and_shared_weights_stay_shared() -> None:
    nn = torch().nn
    table, head = nn.Embedding(7, 5, padding_idx=0), nn.Linear(5, 7, bias=False)
    head.weight = table.weight
    model = nn.Sequential(table, head, nn.Softmax(-1))
    ours = from_torch(model[:2])
    tokens = np.array([[1, 6, 0]])
    assert near(ours(tokens).data, model[:2](torch().tensor(tokens)).detach().numpy())
    assert ours.get("layers.0").weight is ours.get("layers.1").weight  # type: ignore[attr-defined]
    back = to_torch(ours)
    assert back[0].weight is back[1].weight
    twice = nn.Linear(3, 3)
    both = from_torch(nn.Sequential(twice, nn.ReLU(), twice))
    assert both.get("layers.0") is both.get("layers.2")


@needs_torch
def test_dtypes_are_kept_and_the_weights_are_copies() -> None:
    nn = torch().nn
    for dtype, ours in (("float64", np.float64), ("float16", np.float16), ("bfloat16", np.float32)):
        layer = nn.Linear(3, 2).to(getattr(torch(), dtype))
        weight = from_torch(layer).weight.data  # type: ignore[attr-defined]
        assert weight.dtype == ours and np.array_equal(weight, layer.weight.detach().float().numpy().astype(ours))
    made: Any = from_torch(layer)
    made.weight.data[...] = 9
    assert not (layer.weight == 9).any()
    layer.weight.requires_grad = False
    assert [name for name, _ in from_torch(layer).named_parameters()] == ["bias"]


@needs_torch
def test_own_modules_are_mapped_and_what_has_no_counterpart_is_named_by_its_path() -> None:
    nn = torch().nn

    class Block(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

        def forward(self, x: Any) -> Any:
            return x + self.body(x)

    model, x = nn.Sequential(nn.Linear(4, 4), Block(), Block()), torch().randn(3, 4)
    ours = from_torch(model, {Block: lambda block, convert: Residual(convert("body"))})
    assert near(ours(x.numpy()).data, model(x).detach().numpy())

    class Sum(nn.Module):  # type: ignore[name-defined]
        def __init__(self, block: Any) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Any) -> Any:
            return x + self.block(x)

    back = to_torch(ours, {Residual: lambda m, convert: Sum(convert("block"))})
    assert near(back(x).detach().numpy(), model(x).detach().numpy())
    with pytest.raises(ValueError, match=r"no counterpart for 1 \(Block\), 2 \(Block\): give from_torch a function"):
        from_torch(model)
    with pytest.raises(ValueError, match=r"no counterpart for layers\.1 \(Residual\), layers\.2 \(Residual\)"):
        to_torch(ours)
    with pytest.raises(TypeError, match="the function for Block must return a tinytorch.core.layers.Module, got a int"):
        from_torch(model, {Block: lambda block, convert: 3})


@needs_torch
def test_an_option_without_counterpart_is_named() -> None:
    nn = torch().nn

    class Doubled(nn.Linear):  # type: ignore[name-defined]
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    hooked = nn.Linear(2, 2)
    hooked.register_forward_hook(lambda module, inputs, output: output + 1)
    for layer, said in (
        (nn.PReLU(), "PReLU"),
        (nn.GELU(approximate="tanh"), "GELU, with approximate='tanh'"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "Conv2d, with padding_mode='reflect'"),
        (nn.Conv1d(2, 2, 4, padding="same"), "Conv1d, with padding='same', which is uneven for this kernel"),
        (nn.MaxPool2d(2, ceil_mode=True), "MaxPool2d, with ceil_mode=True"),
        (nn.AvgPool1d(3, padding=1, count_include_pad=False), "AvgPool1d, with count_include_pad=False"),
        (nn.AdaptiveAvgPool2d(2), "AdaptiveAvgPool2d, with output_size=2"),
        (nn.Flatten(0), "Flatten, with start_dim=0"),
        (nn.BatchNorm2d(2, momentum=None), "BatchNorm2d, with momentum=None"),
        (nn.BatchNorm1d(2, track_running_stats=False), "BatchNorm1d, with track_running_stats=False"),
        (nn.LayerNorm((3, 4)), "LayerNorm, over 2 axes"),
        (nn.Embedding(3, 2, max_norm=1.0), "Embedding, with max_norm=1.0"),
        (Doubled(2, 2), "Doubled"),
        (hooked, "Linear, with a forward or hooks of its own"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "torch.nn.utils.parametrize.ParametrizedLinear: make"),
    ):
        with pytest.raises(ValueError) as caught:
            from_torch(nn.Sequential(nn.ReLU(), nn.Sequential(layer)))
        assert f"no counterpart for 1.0 ({said}" in str(caught.value)


@needs_torch
def test_one_option_may_be_spelled_in_several_ways() -> None:
    nn, x = torch().nn, torch().randn(2, 3, 8)
    for layer in (nn.MaxPool1d([2], dilation=(1,)), nn.MaxPool1d((3,), stride=[2], padding=(1,)), nn.AvgPool1d([2])):
        assert np.array_equal(from_torch(layer)(x.numpy()).data, layer(x).numpy())
    images = torch().randn(2, 3, 6, 5)
    for layer in (nn.MaxPool2d([2, 1], dilation=(1, 1)), nn.AvgPool2d((2, 2)), nn.AdaptiveAvgPool2d([1, 1])):
        assert near(from_torch(layer)(images.numpy()).data, layer(images).numpy())
    assert "with dilation=(1, 2)" in refusal(nn.MaxPool2d(2, dilation=(1, 2)))


def refusal(model: Any) -> str:
    with pytest.raises(ValueError) as caught:
        from_torch(model)
    return str(caught.value)


@needs_torch
@pytest.mark.filterwarnings("ignore")  # what PyTorch says of its older functions
def test_what_no_function_of_own_would_mend_is_told_what_to_do_instead() -> None:
    t, nn = torch(), torch().nn
    bare = nn.BatchNorm2d(2)
    bare.running_mean = None
    codes = nn.Linear(2, 2)
    codes.weight = nn.Parameter(t.ones(2, 2, dtype=t.int8), requires_grad=False)
    sparse = nn.Linear(2, 2)
    sparse.weight = nn.Parameter(t.eye(2).to_sparse())
    prune = importlib.import_module("torch.nn.utils.prune")
    pruned = prune.random_unstructured(nn.Linear(2, 2), "weight", 0.5)
    linear = nn.Sequential(nn.Linear(2, 2))
    dynamic = importlib.import_module("torch.ao.quantization").quantize_dynamic(linear, {nn.Linear})
    run_once = "run the model once, which makes its weights"
    for layer, said in (
        (nn.Linear(2, 2, device="meta"), "Linear, whose weight is on the meta device: load its weights"),
        (nn.BatchNorm1d(2, device="meta"), "BatchNorm1d, whose running_mean is on the meta device: load its weights"),
        (bare, "BatchNorm2d, without a running_mean: load its weights"),
        (nn.LazyLinear(2), f"LazyLinear: {run_once}"),
        (nn.LazyConv2d(2, 3), f"LazyConv2d: {run_once}"),
        (nn.LazyBatchNorm1d(), f"LazyBatchNorm1d: {run_once}"),
        (codes, "Linear, with a weight of torch.int8: wanted float16, bfloat16, float32 or float64"),
        (nn.Linear(2, 2, dtype=t.complex64), "Linear, with a weight of torch.complex64: wanted float16"),
        (nn.Linear(2, 2).to(t.float8_e4m3fn), "Linear, with a weight of torch.float8_e4m3fn: wanted float16"),
        (sparse, "Linear, with a weight of layout torch.sparse_coo: make it dense"),
        (dynamic[0], "torch.ao.nn.quantized.dynamic.modules.linear.Linear: convert the float model"),
        (importlib.import_module("torch.ao.quantization").QuantStub(), "torch.ao.quantization.stubs.QuantStub: conv"),
        (pruned, "Linear, with a forward or hooks of its own: remove them"),
        (nn.utils.weight_norm(nn.Linear(2, 2)), "Linear, with a forward or hooks of its own: remove them"),
        (t.jit.trace(nn.Linear(2, 2), t.ones(1, 2)), "torch.jit._trace.TopLevelTracedModule: convert the model"),
        (nn.DataParallel(nn.Linear(2, 2)), "torch.nn.parallel.data_parallel.DataParallel: convert its module"),
        (nn.ModuleList([nn.Linear(2, 2)]), "ModuleList: it has no forward"),
        (nn.MaxPool2d(2, padding=2), "MaxPool2d: MaxPool2d needs a padding of at most half its size 2, got 2"),
        (nn.BatchNorm2d(2, eps=0.0), "BatchNorm2d: eps must be > 0 and finite, got 0.0"),
        (nn.Linear(0, 2), "Linear: Linear needs n_in as one integer >= 1, got 0"),
    ):
        message = refusal(nn.Sequential(nn.ReLU(), nn.Sequential(layer)))
        assert message.startswith(f"no counterpart for 1.0 ({said}") and "`own`)" not in message.replace("in `own`", "")
        assert "give from_torch a function" not in message
    both = refusal(nn.Sequential(nn.LazyLinear(2), nn.PReLU()))
    assert f"0 (LazyLinear: {run_once}), 1 (PReLU): give from_torch a function" in both


@needs_torch
def test_functions_for_own_classes_are_a_mapping_of_classes() -> None:
    nn = torch().nn
    for wrong in ([1], {"Linear": Linear}, lambda module, convert: None, {nn.Linear: 3}):
        with pytest.raises(TypeError, match=r"own must map classes to functions, as \{Block: function\}, got"):
            from_torch(nn.Linear(2, 2), wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="own must map classes to functions"):
            to_torch(Linear(2, 2), wrong)  # type: ignore[arg-type]


@needs_torch
def test_a_folded_model_keeps_its_names_and_a_quantized_one_is_refused() -> None:
    model = Sequential(Conv2d(2, 3, 3), BatchNorm2d(3), ReLU6(), Flatten(), Linear(12, 2)).eval()
    folded, x = fold_batch_norms(model), torch().randn(2, 2, 4, 4)
    back = to_torch(folded)
    assert list(back._modules) == ["0", "2", "3", "4"]
    assert near(back(x).detach().numpy(), folded(x.numpy()).data)
    with pytest.raises(ValueError, match=r"layers\.0 \(QuantizedConv2d: convert the float model that it was made of\)"):
        to_torch(quantize_dynamic(folded))


@needs_torch
def test_what_is_no_module_is_refused() -> None:
    for wrong in (Linear(2, 2), np.ones(3), None):
        with pytest.raises(TypeError, match=r"wanted a torch\.nn\.Module, got (a|None)"):
            from_torch(wrong)
    with pytest.raises(TypeError, match=r"wanted a torch\.nn\.Module, got the class Linear"):
        from_torch(torch().nn.Linear)
    with pytest.raises(TypeError, match=r"Linear takes a Tensor or an array, got a torch\.Tensor"):
        Linear(2, 2)(torch().ones(1, 2))
    with pytest.raises(TypeError, match=r"wanted a Module of tinytorch\.core"):
        to_torch(torch().nn.Linear(2, 2))


def test_activations_have_their_gradients(check_gradients: Any) -> None:
    x = np.array([-7.0, -1.5, -0.25, 0.5, 2.0, 5.5, 6.5, 9.0])
    for layer in (ReLU6(), LeakyReLU(0.2), SiLU(), Tanh(), Sigmoid()):
        check_gradients(layer.forward, x)


def test_signals_and_tokens_read_like_the_code_that_made_them() -> None:
    made: list[Module] = [Sequential(Conv1d(2, 3, 3), MaxPool1d(2)), Embedding(3, 4), LeakyReLU(0.2)]
    assert [repr(m) for m in made][1:] == ["Embedding(3, 4)", "LeakyReLU(0.2)"]


@needs_torch
def test_a_model_of_ones_own_is_mapped_through_its_lists_with_what_it_shares_and_each_parts_mode() -> None:
    nn = torch().nn

    class Net(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            twice = nn.Linear(4, 4)
            self.blocks = nn.ModuleList([twice, nn.ReLU(), twice, nn.BatchNorm1d(4)])
            self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 3)})

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            return torch().cat([self.heads["a"](x), self.heads["b"](x)], -1)

    class Both(Module):
        def __init__(self, body: Module, a: Module, b: Module) -> None:
            self.body, self.a, self.b = body, a, b

        def forward(self, x: Tensor) -> Tensor:
            seen = self.body(x)
            return concatenate([self.a(seen), self.b(seen)], axis=-1)

    def both(net: Any, convert: Any) -> Module:
        body = Sequential(*(convert(f"blocks.{i}") for i in range(len(net.blocks))))
        return Both(body, convert("heads.a"), convert("heads.b"))

    net, x = Net().train(), torch().randn(6, 4)
    net.blocks[3].eval()
    ours = from_torch(net, {Net: both})
    assert near(ours(x.numpy()).data, net(x).detach().numpy())
    assert ours.get("body.layers.0") is ours.get("body.layers.2")
    assert [ours.get(name).training for name in ("", "body.layers.0", "body.layers.3", "a")] == [
        True,
        True,
        False,
        True,
    ]
    net.heads["b"] = nn.PReLU()
    with pytest.raises(ValueError, match=r"no counterpart for heads\.b \(PReLU\)"):
        from_torch(net, {Net: both})
