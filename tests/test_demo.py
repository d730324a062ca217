"""`tito demo 17_quantization` on a few images and one epoch: every scheme of its tables, timed, printed and drawn."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tinytorch.core import Dataset, load_digits

FOLDER = Path(__file__).parent.parent / "modules" / "source" / "17_quantization"


def few_digits() -> Dataset:
    """Digits, of which a network learns in a blink."""
    data = load_digits()
    train, test = slice(64), slice(32)
    return replace(
        data,
        x_train=data.x_train[train],
        y_train=data.y_train[train],
        x_test=data.x_test[test],
        y_test=data.y_test[test],
    )


def test_every_scheme_of_the_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    demo = importlib.import_module("demo")
    for name, value in {
        "EPOCHS": {"digits": 1},
        "CNN_EPOCHS": {"digits": 1},
        "HIDDEN": 32,
        "ROUNDS": 1,
        "load_digits": few_digits,
    }.items():
        monkeypatch.setattr(demo, name, value)
    drawn, written = tmp_path / "demo.png", tmp_path / "demo.json"

    assert demo.main(["--data", "digits", "--plot", str(drawn), "--json", str(written)]) == 0

    told = capsys.readouterr()
    assert len(told.err.splitlines()) == demo.steps_of("digits"), "a bar that counts other steps never ends"
    rows = json.loads(written.read_text(encoding="utf-8"))["rows"]
    float32 = {row["model"]: row["bytes"] for row in rows if row["scheme"] == "float32"}
    assert len(float32) == len(demo.KINDS)
    for row in rows:
        assert row["scheme"] in told.out
        assert row["scheme"] == "float32" or row["bytes"] < float32[row["model"]]
    assert drawn.read_bytes().startswith(b"\x89PNG")
