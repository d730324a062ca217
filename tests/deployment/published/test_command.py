"""`tito quantize` on small models: what is written and told, and each mistake as one sentence."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.deployment.published.command_models import convolutional, linear, recurrent, save
from tinytorch.deployment.published import command, measuring, options, progress, reading, sessions, telling
from tinytorch.deployment.published.quantizing import QuantizedOnnx

pytestmark = pytest.mark.engines


@dataclass
class Said:
    status: int
    out: str
    err: str

    def refuses(self, *parts: str, status: int = 1) -> None:
        """One sentence on standard error, with these parts in it."""
        assert self.status == status, self.err
        assert self.err.startswith("tito quantize: ") and self.err.count("\n") == 1, self.err
        for part in parts:
            assert part in self.err


Quantize = Callable[..., Said]


@pytest.fixture
def quantize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quantize:
    """The command in a folder of its own: with models, twelve images, and arrays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measuring, "ROUNDS", 1)
    rng = np.random.default_rng(0)
    convolutional(Path("net.onnx"))
    linear(Path("mlp.onnx"))
    Path("photos", "cats").mkdir(parents=True)
    for number in range(12):
        folder = Path("photos", "cats") if number % 2 else Path("photos")
        Image.fromarray(rng.integers(0, 256, (9, 13, 3), np.uint8)).save(folder / f"{number:02}.png")
    np.save("x.npy", rng.normal(size=(20, 16)).astype(np.float32))

    def run(*words: object) -> Said:
        capsys.readouterr()
        try:
            status = command.main([str(word) for word in words])
        except SystemExit as ended:
            status = int(ended.code or 0)
        out, err = capsys.readouterr()
        return Said(status, out, err)

    return run


def outputs(path: Path | str, feed: dict[str, Any]) -> Any:
    return sessions.in_onnxruntime(str(path), str(path)).run(None, feed)[0]


def strictly(text: str) -> Any:
    """JSON as the standard has it, which knows no Infinity."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


# What is written


def test_images_give_a_file_with_the_outputs_of_the_float_model(quantize: Quantize) -> None:
    said = quantize("net.onnx", "--calibrate", "photos", "--json", "said.json", "--plot", "drawn.png")
    assert (said.status, said.err) == (0, "")
    assert "12 images of photos, 8 at a time: scaled to cover, cropped at the centre to 8 x 8; RGB;" in said.out
    assert "first    Conv" in said.out and "second   Gemm" in said.out
    x = np.random.default_rng(1).uniform(0, 1, (5, 3, 8, 8)).astype(np.float32)
    wanted, got = (outputs(path, {"images": x}) for path in ("net.onnx", "net-int8.onnx"))
    assert np.linalg.norm(got - wanted) < 0.05 * np.linalg.norm(wanted)
    report = strictly(Path("said.json").read_text(encoding="utf-8"))
    assert [product["name"] for product in report["products"]] == ["first", "second"]
    assert report["bytes"] == Path("net-int8.onnx").stat().st_size and report["batch"] == 8
    assert report["bytes_before"] == Path("net.onnx").stat().st_size and report["speed"] > 0
    assert f"{report['output_error']:.2%}" in said.out
    assert Path("drawn.png").read_bytes().startswith(b"\x89PNG")
    made = {"net-int8.onnx", "said.json", "drawn.png"}
    assert {path.name for path in Path.cwd().iterdir()} == made | {"net.onnx", "mlp.onnx", "photos", "x.npy"}


def test_ranges_are_those_of_all_batches(quantize: Quantize) -> None:
    assert quantize("mlp.onnx", "--calibrate", "x.npy", "--batch", 3, "--json", "said.json").status == 0
    x, product = np.load("x.npy"), strictly(Path("said.json").read_text(encoding="utf-8"))["products"][0]
    assert (product["lo"], product["hi"]) == (x.min(), x.max())


def test_what_is_kept_stays_in_float_and_a_rule_is_followed(quantize: Quantize) -> None:
    words = ("--keep", "layer.0", "--rule", "*.1=weights", "--json", "said.json")
    assert quantize("mlp.onnx", "--calibrate", "x.npy", *words).status == 0
    report = strictly(Path("said.json").read_text(encoding="utf-8"))
    assert [product["how"] for product in report["products"]] == ["float32", "int8 weights, inputs in float"]
    assert report["products"][0]["weight_sqnr_db"] is None, "what is infinite is null"


def test_int4_needs_no_data_and_says_that_nothing_was_measured(quantize: Quantize) -> None:
    linear(Path("wide.onnx"), width=64)
    said = quantize("wide.onnx", "--type", "int4", "--group-size", "32")
    assert said.status == 0 and "int4 / 32" in said.out and "wide-int4.onnx: written and opened" in said.out
    assert "without --calibrate DATA no error and no time was measured" in said.out
    before = Path("wide.onnx").stat().st_size
    assert Path("wide-int4.onnx").stat().st_size < before / 4


def test_data_by_chance_is_warned_of(quantize: Quantize) -> None:
    said = quantize("net.onnx", "--random", "3", "--out", "guessed.onnx")
    assert said.status == 0 and Path("guessed.onnx").is_file()
    assert said.err.startswith("tito quantize: WARNING: the ranges of data by chance are guesses")


def test_of_many_products_ten_are_shown(quantize: Quantize) -> None:
    linear(Path("deep.onnx"), layers=25)
    said = quantize("deep.onnx", "--calibrate", "x.npy", "--json", "said.json", "--plot", "drawn.svg")
    assert "15 products more are in --json FILE" in said.out
    shown = [line.split()[0] for line in said.out.splitlines() if line.startswith("layer.")]
    products = strictly(Path("said.json").read_text(encoding="utf-8"))["products"]
    lowest = sorted(products, key=lambda product: (product["input_sqnr_db"], product["weight_sqnr_db"]))
    assert shown == [product["name"] for product in lowest[:10]]
    assert "<svg" in Path("drawn.svg").read_text(encoding="utf-8")


def test_the_weights_of_a_large_model_lie_beside_it(quantize: Quantize, monkeypatch: pytest.MonkeyPatch) -> None:
    linear(Path("wide.onnx"), width=64)
    monkeypatch.setattr(reading, "MUCH", 1000)
    np.save("wide.npy", np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32))
    said = quantize("wide.onnx", "--calibrate", "wide.npy", "--json", "said.json")
    assert said.status == 0, said.err
    files = [Path("wide-int8.onnx"), Path("wide-int8.onnx.data")]
    nbytes = sum(file.stat().st_size for file in files)
    assert strictly(Path("said.json").read_text(encoding="utf-8"))["bytes"] == nbytes
    assert np.isfinite(outputs("wide-int8.onnx", {"x": np.load("wide.npy")})).all()


def test_bytes_of_weights_in_other_files_are_counted(quantize: Quantize) -> None:
    import onnx

    model = onnx.load("mlp.onnx")
    onnx.save(model, "split.onnx", save_as_external_data=True, location="split.bin", size_threshold=0)
    assert quantize("split.onnx", "--calibrate", "x.npy", "--json", "said.json").status == 0
    before = strictly(Path("said.json").read_text(encoding="utf-8"))["bytes_before"]
    assert before == sum(Path(name).stat().st_size for name in ("split.onnx", "split.bin"))


@pytest.mark.parametrize(("out", "replaced"), [("w.onnx", "w.onnx"), ("new.onnx", "new.onnx.data")])
def test_weights_of_the_model_are_never_replaced(quantize: Quantize, out: str, replaced: str) -> None:
    import onnx

    model = onnx.load("mlp.onnx")
    onnx.save(model, "split.onnx", save_as_external_data=True, location=replaced, size_threshold=0)
    said = quantize("split.onnx", "--calibrate", "x.npy", "--out", out)
    said.refuses(f"{replaced} holds weights of split.onnx, which stays as it is")


def test_outside_of_a_course_it_runs_on_the_installed_package(tmp_path: Path) -> None:
    linear(tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32))
    (tmp_path / "numpy.py").write_text("raise SystemExit('not this one')\n", encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "TITO_PROJECT"}
    words = [sys.executable, "-P", "-m", "tito", "quantize", "net.onnx", "--calibrate", "x.npy"]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "") and "layer.1  MatMul" in done.stdout
    assert (tmp_path / "net-int8.onnx").is_file()


# Mistakes


def test_mistakes_that_are_seen_before_anything_is_tried(quantize: Quantize) -> None:
    images = ("net.onnx", "--calibrate", "photos")
    for words, sentence in (
        (["no.onnx"], "no.onnx: there is no such file"),
        (["photos"], "photos: this is a folder"),
        (["net.onnx"], "name them by --calibrate DATA"),
        (["net.onnx", "--calibrate", "no"], "no: there is no such file or folder"),
        ([*images, "--out", "net.onnx"], "net.onnx: this is the model itself"),
        ([*images, "--json", "photos/../net.onnx"], "this is the model itself"),
        ([*images, "--out", "photos"], "photos: this is a folder; name a file in it"),
        ([*images, "--out", "no/net.onnx"], "there is no folder no"),
        ([*images, "--plot", "drawn.jpg"], "--plot wants a file ending in .png or .svg, got drawn.jpg"),
        ([*images, "--type", "int4", "--activations", "static"], "no engine multiplies it by codes"),
        ([*images, "--group-size", "32"], "--group-size is for --type int4"),
        ([*images, "--group-size", "7"], "wanted 16, 32, 64, ..., got 7"),
        ([*images, "--rule", "second=bytes"], "wanted PATTERN= and one of static,"),
        ([*images, "--shape", "images=3,a"], "wanted an input and its sizes, as in images=1,3,224,224"),
        ([*images, "--size", "224"], "wanted height x width, as in 224x224, got 224"),
        ([*images, "--std", "0"], "wanted numbers above 0, got 0"),
        ([*images, "--batch", "0"], "wanted a whole number from 1 on, got 0"),
        ([*images, "--colour"], "unrecognized arguments: --colour; `tito quantize --help` lists the options"),
    ):
        quantize(*words).refuses(sentence, status=2)


def test_models_that_cannot_be_quantized(quantize: Quantize) -> None:
    import onnx
    from onnx.helper import make_node

    Path("text.onnx").write_text("no model", encoding="utf-8")
    quantize("text.onnx", "--random", "1").refuses("text.onnx is not an ONNX model")
    assert quantize("mlp.onnx", "--calibrate", "x.npy").status == 0
    said = quantize("mlp-int8.onnx", "--calibrate", "x.npy")
    said.refuses("mlp-int8.onnx is quantized already")
    save(Path("none.onnx"), [make_node("Relu", ["x"], ["y"])], {"x": (1, 16)}, ["y"])
    quantize("none.onnx", "--calibrate", "x.npy").refuses("there is nothing to quantize")
    model = onnx.load("mlp.onnx")
    model.graph.node.append(make_node("SequenceConstruct", ["y", "y"], ["both"]))
    model.graph.output.append(onnx.helper.make_tensor_sequence_value_info("both", 1, None))
    Path("both.onnx").write_bytes(model.SerializeToString())
    quantize("both.onnx", "--calibrate", "x.npy").refuses("output both of the model is no array: export it without")
    save(Path("own.onnx"), [make_node("Own", ["x"], ["y"], domain="own")], {"x": (1, 16)}, ["y"])
    quantize("own.onnx", "--calibrate", "x.npy").refuses("ONNX Runtime cannot run own.onnx", "Own")
    assert not Path("own-int8.onnx").exists()


def test_a_product_that_is_not_there_is_named(quantize: Quantize) -> None:
    said = quantize("mlp.onnx", "--calibrate", "x.npy", "--keep", "layer.7")
    said.refuses("'layer.7' fits no product; the nearest is layer.")
    said = quantize("mlp.onnx", "--calibrate", "x.npy", "--keep", "7")
    said.refuses("'7' fits no product; of 2 the first are layer.0, layer.1")


def test_within_an_error_that_nothing_keeps_nothing_is_written(quantize: Quantize) -> None:
    said = quantize("mlp.onnx", "--calibrate", "x.npy", "--budget", "0.0001%")
    said.refuses("within --budget all stays in float: the best product alone errs by ")


def test_a_budget_without_anything_to_choose_is_refused(quantize: Quantize) -> None:
    said = quantize("mlp.onnx", "--calibrate", "x.npy", "--budget", "1%", "--keep", "layer.*")
    said.refuses("here all stay in float: leave it out")


@pytest.mark.parametrize(("how", "hint"), [("dynamic", "--activations static is"), ("float", "float model.")])
def test_a_file_that_is_slower_is_said_to_be(
    quantize: Quantize, monkeypatch: pytest.MonkeyPatch, how: str, hint: str
) -> None:
    monkeypatch.setattr(telling, "SLOWER", math.inf)
    said = quantize("mlp.onnx", "--calibrate", "x.npy", "--activations", how)
    assert "ONNX Runtime is slower with it here than with the float model" in said.out and hint in said.out


def test_a_file_that_is_no_onnx_is_not_promised(quantize: Quantize) -> None:
    said = quantize("mlp.onnx", "--calibrate", "x.npy", "--out", "net.tflite")
    said.refuses("--out wants a file ending in .onnx", status=2)


@pytest.mark.parametrize(("module", "package"), [("onnx", "onnx"), ("onnxruntime", "onnxruntime"), ("PIL", "pillow")])
def test_a_library_that_is_missing_is_named(
    quantize: Quantize, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    quantize("net.onnx", "--calibrate", "photos").refuses(f"{package} is not installed: pip install {package}")


def test_on_a_full_disk_nothing_is_left(quantize: Quantize, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(result: QuantizedOnnx, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    before = sorted(Path.cwd().iterdir())
    monkeypatch.setattr(QuantizedOnnx, "save", full)
    quantize("mlp.onnx", "--calibrate", "x.npy").refuses("No space left on device", "; nothing was written")
    assert sorted(Path.cwd().iterdir()) == before


def test_ctrl_c_leaves_the_file_that_was_there(quantize: Quantize, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    Path("out.onnx").write_text("of before", encoding="utf-8")
    before = sorted(Path.cwd().iterdir())
    monkeypatch.setattr(command, "compared", stopped)
    said = quantize("mlp.onnx", "--calibrate", "x.npy", "--out", "out.onnx")
    said.refuses("stopped by Ctrl-C; nothing was written", status=130)
    assert sorted(Path.cwd().iterdir()) == before
    assert Path("out.onnx").read_text(encoding="utf-8") == "of before"


@pytest.mark.parametrize("fault", ["holds NaN or infinity", "has the shape (8, 17), the float model's (8, 16)"])
def test_a_file_that_gives_nonsense_is_not_written(
    quantize: Quantize, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    from onnx.helper import make_node

    w = np.full((16, 17), 1, np.float32) if "shape" in fault else np.full((16, 16), np.nan, np.float32)

    def nonsense(result: QuantizedOnnx, path: Path) -> None:
        save(path, [make_node("MatMul", ["x", "w"], ["y"])], {"x": ("N", 16)}, ["y"], w=w)

    monkeypatch.setattr(QuantizedOnnx, "save", nonsense)
    said = quantize("mlp.onnx", "--calibrate", "x.npy")
    said.refuses("nothing was written: the quantized model's output y", fault)
    assert not Path("mlp-int8.onnx").exists()


def test_an_exercise_that_is_not_written_is_no_traceback(quantize: Quantize, monkeypatch: pytest.MonkeyPatch) -> None:
    def stub(*_: object, **__: object) -> None:
        raise NotImplementedError("exercise quantize: your code is not written yet")

    monkeypatch.setattr(command, "quantize_onnx", stub)
    said = quantize("mlp.onnx", "--calibrate", "x.npy")
    said.refuses("this runs what you wrote, and exercise quantize: your code is not written yet")


# What is told


@pytest.mark.parametrize(
    ("error", "sqnr", "sentences"),
    [
        (0.012345, 38.17, ["Outputs are off by 1.23% of their size (38.2 dB), on"]),
        (0.2, 14.0, ["Outputs are off by 20.00% of their size (14.0 dB), on", "Less: --correct-bias"]),
        (0.0, math.inf, ["Outputs are those of the float model."]),
        (math.inf, -math.inf, ["Outputs have other shapes"]),
    ],
)
def test_the_error_of_the_outputs_is_told(error: float, sqnr: float, sentences: list[str]) -> None:
    said = telling.error_in_words(error, sqnr)
    assert len(said) == len(sentences)
    assert all(sentence.startswith(begin) for sentence, begin in zip(said, sentences, strict=True))


def test_progress_without_a_terminal_is_a_line_a_while(quantize: Quantize, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("mlp.onnx", "--calibrate", "x.npy", "--batch", "5")
    assert quantize(*words).err == "", "what is quick tells nothing"
    monkeypatch.setattr(progress, "SILENT", -1)
    monkeypatch.setattr(progress, "EVERY", -1)
    lines = quantize(*words).err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"calibrating: {n} of 4" for n in (1, 2, 3, 4)]
    assert lines[-1].endswith("0 s left")


def test_of_outputs_that_are_whole_numbers_the_equal_ones_are_counted(quantize: Quantize) -> None:
    from onnx.helper import make_node

    w = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    nodes = [make_node("MatMul", ["x", "w"], ["a"]), make_node("ArgMax", ["a"], ["ids"], axis=1, keepdims=0)]
    save(Path("best.onnx"), nodes, {"x": ("N", 16)}, ["ids"], w=w)
    said = quantize("best.onnx", "--calibrate", "x.npy", "--batch", "20", "--json", "said.json")
    wanted, got = (outputs(path, {"x": np.load("x.npy")}) for path in ("best.onnx", "best-int8.onnx"))
    assert f"Of whole numbers in the outputs {np.mean(wanted == got):.2%} are the float model's." in said.out
    assert "Outputs are" not in said.out
    assert strictly(Path("said.json").read_text(encoding="utf-8"))["same_whole_numbers"] == np.mean(wanted == got)


def test_where_sums_saturate_the_option_is_named(quantize: Quantize, monkeypatch: pytest.MonkeyPatch) -> None:
    for here in (True, False):
        monkeypatch.setattr(telling, "saturates", lambda here=here: here)
        said = quantize("mlp.onnx", "--calibrate", "x.npy")
        assert ("--type int7" in said.out) is here


def test_a_node_with_graphs_of_its_own_is_told(quantize: Quantize) -> None:
    import onnx
    from onnx import helper

    model = onnx.load("mlp.onnx")
    value = helper.make_tensor_value_info("inner", 1, None)
    branch = helper.make_graph([helper.make_node("Identity", ["y"], ["inner"])], "branch", [], [value])
    model.graph.input.append(helper.make_tensor_value_info("flag", 9, []))
    model.graph.node.append(helper.make_node("If", ["flag"], ["z"], "choice", then_branch=branch, else_branch=branch))
    model.graph.output[0].name = "z"
    Path("if.onnx").write_bytes(model.SerializeToString())
    np.savez("if.npz", x=np.load("x.npy"), flag=np.array(True))
    said = quantize("if.onnx", "--calibrate", "if.npz")
    assert said.status == 0 and "is what the graphs within these nodes hold: choice." in said.out


def test_a_state_is_given_with_an_axis_of_samples_before_it(quantize: Quantize) -> None:
    recurrent(Path("gru.onnx"))
    rng = np.random.default_rng(0)
    np.savez("flat.npz", x=rng.normal(size=(6, 16)), state=rng.normal(size=(12, 1, 16)))
    quantize("gru.onnx", "--calibrate", "flat.npz").refuses("the first axis of x", "an axis of samples before it")
    np.savez("states.npz", x=rng.normal(size=(6, 16)), state=rng.normal(size=(6, 2, 1, 16)), labels=np.arange(6))
    said = quantize("gru.onnx", "--calibrate", "states.npz")
    assert said.status == 0 and "6 samples of states.npz, 1 at a time" in said.out


@pytest.mark.parametrize(
    ("text", "value"), [("1%", 0.01), ("2.5 %", 0.025), ("900000", 900000.0), ("2MB", 2e6), ("300 kB", 3e5)]
)
def test_a_budget_is_an_error_or_bytes(text: str, value: float) -> None:
    assert options.budget(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "much", "0%", "100%", "-1%", "0", "1.2.3", "5 apples"])
def test_what_is_no_budget(text: str, quantize: Quantize) -> None:
    said = quantize("mlp.onnx", "--calibrate", "x.npy", f"--budget={text}")
    assert said.status == 2 and "wanted an error below 100%, such as 1%, or bytes, such as 2MB" in said.err


def test_within_a_budget_the_costliest_products_are_told(quantize: Quantize) -> None:
    how = ("--budget", "0.7%", "--json", "said.json", "--correct-bias", "--equalize")
    said = quantize("mlp.onnx", "--calibrate", "x.npy", *how)
    assert said.status == 0, said.err
    assert "Of the outputs' error these alone cause: layer." in said.out
    report = strictly(Path("said.json").read_text(encoding="utf-8"))
    assert report["output_error"] <= 0.007
    assert {row["how"] for row in report["sensitivities"]} >= {"float32", "int8 weights, static"}
    alone = quantize("mlp.onnx", "--type", "int8", "--activations", "dynamic", "--budget", "1%")
    assert alone.status == 2 and "measure on inputs: name them by --calibrate DATA" in alone.err
