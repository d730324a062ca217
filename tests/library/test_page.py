"""docs/library.md does what it says: its code runs as it stands, prints what it shows, and names what there is."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```python\n(.*?)```\n(?:```text\n(.*?)```\n)?", re.DOTALL)
PROCESSES = {"# another process\n": "another", "# with scikit-learn\n": "scikit-learn", "# with PyTorch\n": "PyTorch"}


def scripts() -> dict[str, tuple[str, str]]:
    """The page's processes by name: the code of each, and what it prints."""
    parts: dict[str, list[tuple[str, str]]] = {name: [] for name in ("the first", *PROCESSES.values())}
    for code, shown in BLOCK.findall(PAGE):
        parts[PROCESSES.get(code.partition("\n")[0] + "\n", "the first")].append((code, shown))
    return {name: ("\n".join(c for c, _ in blocks), "".join(s for _, s in blocks)) for name, blocks in parts.items()}


def run(code: str, folder: Path) -> str:
    script = folder / "script.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, script.name], cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page is run: it has the examples' weights, and what the first process leaves."""
    here = tmp_path_factory.mktemp("page")
    shutil.copytree(ROOT / "examples", here / "examples")
    code, shown = scripts()["the first"]
    assert run(code, here) == shown, "the page prints what it shows"
    return here


def test_the_page_runs_from_weights_to_a_saved_model(folder: Path) -> None:
    assert (folder / "digits-int8.npz").is_file() and (folder / "answers.npy").is_file()


def test_another_process_serves_what_was_saved_from_threads(folder: Path) -> None:
    run(scripts()["another"][0], folder)


@pytest.mark.peers
def test_the_lines_for_scikit_learn_give_its_predictions(folder: Path) -> None:
    run(scripts()["scikit-learn"][0], folder)


@pytest.mark.torch
def test_the_lines_for_pytorch_convert_a_module_and_name_what_they_cannot(tmp_path: Path) -> None:
    code, shown = scripts()["PyTorch"]
    assert run(code, tmp_path) == shown


@pytest.mark.torch
def test_what_the_page_calls_pytorchs_is_there() -> None:
    said = PAGE.partition("## If you know")[2]
    for module, names in (
        ("", "fuse_modules MinMaxObserver MovingAverageMinMaxObserver HistogramObserver prepare convert prepare_qat"),
        ("", "quantize_dynamic disable_observer"),
        ("._equalize", "equalize"),
        ("._correct_bias", "bias_correction"),
        ("._learnable_fake_quantize", "_LearnableFakeQuantize"),
    ):
        there = importlib.import_module(f"torch.ao.quantization{module}")
        for name in names.split():
            assert hasattr(there, name) and f"{name}`" in said, name


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # which are to be removed some day
def test_pytorch_adds_a_bias_unrounded_but_in_qnnpack_and_takes_7_bits_of_a_dynamic_input_on_x86() -> None:
    """The rows of the page's second table, as PyTorch computes here: steps of s_x * s_w / 10 tell a rounded bias."""
    torch = importlib.import_module("torch")
    engines = torch.backends.quantized
    step, before = 0.125, engines.engine
    zeros = torch.quantize_per_tensor(torch.zeros(1, 8), 0.5, 0, torch.quint8)
    weight = torch.quantize_per_tensor(torch.zeros(1, 8), 0.25, 0, torch.qint8)
    one = torch.quantize_per_tensor(torch.ones(1, 8) / 8, 1 / 127, 0, torch.qint8)
    ramp = torch.linspace(0, 1, 4001).reshape(-1, 1).expand(-1, 8)
    unrounded, levels = {}, {}
    try:
        for engine in {"fbgemm", "qnnpack"} & set(engines.supported_engines):
            engines.engine = engine
            packed = torch.ops.quantized.linear_prepack(weight, torch.tensor([0.4 * step]))
            code = torch.ops.quantized.linear(zeros, packed, 0.1 * step, 0).int_repr().item()
            packed = torch.ops.quantized.linear_prepack(one, None)
            answers = torch.ops.quantized.linear_dynamic(ramp, packed, True)
            unrounded[engine], levels[engine] = code == 4, len(answers.unique())
    finally:
        engines.engine = before
    assert unrounded and all(kept == (engine == "fbgemm") for engine, kept in unrounded.items())
    assert levels.get("fbgemm", 128) == 128 and levels.get("qnnpack", 256) == 256


def test_what_the_page_calls_ours_is_offered() -> None:
    """The first column of its table, and what it names in prose as a call."""
    packages = [importlib.import_module(f"tinytorch.{name}") for name in ("core", "quantization", "acceleration")]
    table = PAGE.partition("## If you know")[2].partition("\n\n")[0].splitlines()[3:]
    named = {re.match(r"\w+", span) for row in table for span in re.findall(r"`([^`]+)`", row.split("|")[1])}
    names = {found.group() for found in named if found} - {"axis", "rules"}
    assert len(names) > 15 and not {name for name in names if not any(hasattr(p, name) for p in packages)}


@pytest.mark.peers
def test_what_the_page_calls_onnx_runtimes_is_there() -> None:
    quantization = importlib.import_module("onnxruntime.quantization")
    for name in ("quantize_static", "quantize_dynamic", "quant_pre_process", "CalibrationDataReader"):
        assert hasattr(quantization, name) and f"`{name}`" in PAGE
    assert {"MinMax", "Percentile", "Entropy"} <= {method.name for method in quantization.CalibrationMethod}
    lowest, highest = quantization.quant_utils.get_qmin_qmax_for_qType(3, symmetric=True)  # 3: ONNX's INT8
    assert (int(lowest), int(highest)) == (-127, 127), "the row of symmetric codes"
