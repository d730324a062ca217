"""`tito deploy` on a few images: a file for each engine, what is told of it, and what is refused."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.test_demo import few_digits
from tinytorch.deployment import targets, to_onnx

FOLDER = Path(__file__).parents[2] / "modules" / "source" / "17_quantization"
pytestmark = pytest.mark.engines
Deploy = Callable[..., int]


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """The command, for digits of which a network learns in a blink."""
    monkeypatch.syspath_prepend(str(FOLDER))
    script = importlib.import_module("deploy")
    for name, value in {"EPOCHS": 1, "COMPARED": 8, "TIMED": 4, "ROUNDS": 1, "load_digits": few_digits}.items():
        monkeypatch.setattr(script, name, value)
    return lambda *words: int(script.main([str(word) for word in words]))


@pytest.mark.parametrize("network", ["convolutional", "linear"])
@pytest.mark.parametrize(
    "target", ["onnx", "tflite", "edgetpu", "tensorrt", pytest.param("tflite-micro", marks=pytest.mark.micro)]
)
def test_a_file_is_written_checked_and_told(
    deploy: Deploy, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, network: str
) -> None:
    out, said = tmp_path / f"net{targets.TARGETS[target].ending}", tmp_path / "said.json"
    assert deploy("--to", target, "--out", out, "--check", "--network", network, "--json", said) == 0
    report = json.loads(said.read_text(encoding="utf-8"))
    assert report["nbytes"] == out.stat().st_size
    assert report["differing"] in (0, None) and report["faults"] == []
    told = capsys.readouterr().out
    assert f"{report['nbytes']:,} bytes, for {target}" in told
    if report["engine"] is None:
        assert "Nothing here runs a file for tensorrt" in told
    else:
        assert report["engine_accuracy"] == report["accuracy"]
        assert "layers.0.input" in told


def test_c_is_two_files(deploy: Deploy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy("--to", "c", "--out", tmp_path / "digits.c", "--rounding", "gemmlowp") == 0
    assert "void digits(const int8_t *input, int8_t *output)" in (tmp_path / "digits.h").read_text(encoding="utf-8")
    assert '#include "digits.h"' in (tmp_path / "digits.c").read_text(encoding="utf-8")
    assert "bytes of RAM beside input and output, sums rounded as 'gemmlowp'" in capsys.readouterr().out


@pytest.mark.coreml
def test_core_ml_is_a_folder(deploy: Deploy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy("--to", "coreml", "--out", tmp_path / "net.mlpackage") == 0
    assert (tmp_path / "net.mlpackage" / "Manifest.json").is_file()
    assert [each.name for each in tmp_path.iterdir()] == ["net.mlpackage"]
    assert "was not run here" in capsys.readouterr().out


def test_weights_that_were_kept_give_the_same_file(deploy: Deploy, tmp_path: Path) -> None:
    weights, first, second = (tmp_path / name for name in ("net.npz", "first.onnx", "second.onnx"))
    assert deploy("--to", "onnx", "--out", first, "--save", weights) == 0
    assert deploy(weights, "--to", "onnx", "--out", second) == 0
    assert first.read_bytes() == second.read_bytes()


def test_a_broken_writer_is_found(deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **named: Any) -> Any:
        file = to_onnx(*args, **named)
        bias = next(t for t in file.graph.initializer if t.name == "layers.0.bias")
        bias.raw_data = bytes(reversed(bias.raw_data))
        return file

    monkeypatch.setattr(targets, "to_onnx", broken)
    assert deploy("--to", "onnx", "--out", tmp_path / "net.onnx", "--check") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--to", "onnx", "--out", "."], "this is a folder"),
        (["--to", "c", "--out", "2nd.c"], "its name becomes one in C"),
        (["--to", "c", "--out", "net.c", "--check"], "this runs where you compile it"),
        (["--to", "coreml", "--out", "net.bin"], "wanted the name of a new folder, such as net.mlpackage"),
        (["--to", "onyx", "--out", "net"], "invalid choice: 'onyx'"),
        (["--to", "tflite", "--out", "net.onnx"], "--to tflite wants --out FILE.tflite, got net.onnx"),
        (["--to", "onnx", "--out", "nowhere/net.onnx"], "there is no folder nowhere"),
        (["net.onnx", "--to", "tflite", "--out", "net.tflite"], "an ONNX model is quantized by `tito quantize`"),
    ],
    ids=[
        "a folder",
        "no name in C",
        "C is not checked",
        "no package",
        "no target",
        "another ending",
        "no folder",
        "ONNX",
    ],
)
def test_what_cannot_be_is_one_sentence(
    deploy: Deploy, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        deploy(*words)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_weights_of_another_network_are_refused(deploy: Deploy, tmp_path: Path) -> None:
    weights = tmp_path / "net.npz"
    assert deploy("--to", "onnx", "--out", tmp_path / "a.onnx", "--save", weights) == 0
    with pytest.raises(ValueError, match="the state is of another model"):
        deploy(weights, "--to", "onnx", "--out", tmp_path / "b.onnx", "--network", "linear")
    assert not (tmp_path / "b.onnx").exists()
