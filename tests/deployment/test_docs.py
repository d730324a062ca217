"""docs/deployment.md does what it says: its code runs, and its commands are known."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.deployment.published.command_models import convolutional
from tinytorch.deployment.published import command

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


@pytest.mark.engines
def test_the_pages_code_runs_and_finds_no_difference(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("in onnxruntime:\nlayers.0.input (Quantize): 1,024 values, none differs\n")
    assert done.stdout.count("none differs") == len(done.stdout.splitlines()) - 1


@pytest.mark.engines
def test_the_commands_for_anybodys_model_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    convolutional(Path("net.onnx"), head="head")
    images = np.random.default_rng(0).uniform(0, 1, (12, 3, 8, 8)).astype(np.float32)
    np.savez("inputs.npz", images=images)
    Path("photos").mkdir()
    for number, image in enumerate(images):
        Image.fromarray((255 * image.T).astype(np.uint8)).save(f"photos/{number}.png")
    commands = re.findall(r"^tito quantize ([^#\n]*)", PAGE, re.MULTILINE)
    assert len(commands) >= 3
    for words in commands:
        assert command.main(shlex.split(words)) == 0
    assert {"net-int8.onnx", "net-int4.onnx", "said.json", "said.png"} <= {path.name for path in Path.cwd().iterdir()}


def test_the_pages_commands_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "modules" / "source" / "17_quantization"))
    import deploy

    commands = re.findall(r"^tito deploy ([^#\n]*)", PAGE, re.MULTILINE)
    assert len(commands) >= 3
    for words in commands:
        assert deploy.parse(shlex.split(words)).out.name.startswith("net.")
