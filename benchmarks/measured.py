"""What README.md and docs show was measured by these commands, each of which wrote a file of docs/images/data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DATA = ROOT / "docs" / "images" / "data"
sys.path.insert(0, str(ROOT / "modules" / "source" / "17_quantization"))  # the demo's folder is no package
from demo import Row  # noqa: E402

COMMANDS = {  # python -m ... FILE
    "schemes": ["tito", "demo", "17_quantization", "--data", "fashion-mnist", "--json"],
    "bits": ["benchmarks.bits", "--json"],
    "networks": ["benchmarks.kernels", "--only", "networks", "--json"],
}


def measure(name: str) -> None:
    """Run a command, one thread for everybody; its file is replaced when it has ended well.

    With it is kept how busy the machine was before: its load, in processes that wanted a processor.
    Raises CalledProcessError.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    new = DATA / f"{name}.json.new"
    command = [sys.executable, "-m", *COMMANDS[name], str(new)]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    measured = {"load": round(load, 1)} | json.loads(new.read_text(encoding="utf-8"))
    new.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    new.replace(DATA / f"{name}.json")


def is_there(name: str) -> bool:
    """Whether a command's file is there: what was never measured is neither drawn nor written."""
    return (DATA / f"{name}.json").is_file()


def load(name: str) -> dict[str, Any]:
    """A command's file."""
    found: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return found


def scheme_rows() -> list[Row]:
    """The demo's table: two networks, every scheme of each."""
    return [Row(**row) for row in load("schemes")["rows"]]


def network_ratios() -> dict[str, dict[str, float]]:
    """Of each network and batch, how many times faster ours is than LiteRT and the faster file of ONNX Runtime."""
    ratios: dict[str, dict[str, float]] = {}
    for row in load("networks")["rows"]:
        engine = "LiteRT" if row["peer"] == "litert" else "ONNX Runtime"
        each = ratios.setdefault(row["case"].removeprefix("network "), {})
        each[engine] = min(row["ratio"], each.get(engine, row["ratio"]))
    return ratios
