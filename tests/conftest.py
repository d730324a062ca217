"""How `pytest -n` shares the tests among processes, the seeds that are left to chance, and what is left out of a run,
which its last lines say."""

from __future__ import annotations

import os
import zlib
from importlib.util import find_spec
from shutil import which
from typing import Any

import numpy as np
import pytest

LEFT_OUT = pytest.StashKey[dict[str, int]]()
"""For each mark of what this machine lacks, how many tests were left out."""


LIBRARIES = {
    "peers": ("peers", {"onnx": "onnx", "onnxruntime": "onnxruntime", "sklearn": "scikit-learn"}),
    "engines": (
        "deploy",
        {
            "onnx": "onnx",
            "onnxruntime": "onnxruntime",
            "flatbuffers": "flatbuffers",
            "ai_edge_litert": "ai-edge-litert",
        },
    ),
    "micro": ("micro", {"tflite_micro": "tflite-micro", "ethosu": "ethos-u-vela"}),
    "coreml": ("coreml", {"coremltools": "coremltools"}),
    "torch": ("torch", {"torch": "torch"}),
}
"""Of the marks for other libraries: the extra that brings them, and each module's package."""


TOOLS = {
    "cc": {"gcc": "gcc"},
    "cortex_m": {
        "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
        "qemu-system-arm": "qemu-system-arm",
    },
}
"""Of the marks for programs: each with the Debian packages that bring it."""


def lacking(mark: str) -> str:
    """What tests with this mark need and this machine has not, with its fix; empty where it has it."""
    if mark == "sandbox":
        from tito.grading.sandbox import bubblewrap

        here = bubblewrap.protection()
        return f"{here.reason}. Fix: {here.fix}" if here.kind == "none" else ""
    if mark == "compiler":
        from tinytorch.acceleration.runtime.features import compiler_fault

        fault = compiler_fault()
        return f"{fault.reason}. Fix: {fault.fix}" if fault else ""
    if mark in TOOLS:
        missing = [tool for tool in TOOLS[mark] if which(tool) is None]
        return f"{' and '.join(missing)} not installed. Fix: apt install {TOOLS[mark][missing[0]]}" if missing else ""
    extra, packages = LIBRARIES[mark]
    missing = [name for module, name in packages.items() if find_spec(module) is None]
    return f'{" and ".join(missing)} not installed. Fix: pip install -e ".[{extra}]"' if missing else ""


seeded_rng = np.random.default_rng
"""NumPy's own; what a test reaches is `rng_of_this_test`."""
seeds_of_this_test = np.random.SeedSequence(0)


def rng_of_this_test(seed: Any = None) -> np.random.Generator:
    """As `np.random.default_rng`, but without a seed it draws one from the test's name: a layer made without `rng=` has
    other weights in every test and at every call, and the same ones in every run, or a threshold would be missed by
    chance."""
    return seeded_rng(seeds_of_this_test.spawn(1)[0] if seed is None else seed)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    global seeds_of_this_test
    seeds_of_this_test = np.random.SeedSequence(zlib.crc32(item.nodeid.encode()))
    np.random.default_rng = rng_of_this_test


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "numprocesses", None):
        config.option.dist, config.option.loadscopereorder = "loadgroup", False
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each process computes on one core


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a file stay together, because they share its fixtures, unless marked with an `xdist_group`."""
    from xdist.scheduler import LoadGroupScheduling

    class GroupOrFile(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return str(super()._split_scope(nodeid)).split("::")[0]

    return GroupOrFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of what this machine lacks, unless its variable says so, as in CI: TITO_SANDBOX=required."""
    config.stash[LEFT_OUT] = {}
    for mark in ("sandbox", "compiler", *LIBRARIES, *TOOLS):
        marked = [item for item in items if item.get_closest_marker(mark)]
        if marked and os.environ.get(f"TITO_{mark.upper()}") != "required" and lacking(mark):
            config.stash[LEFT_OUT][mark] = len(marked)
            config.hook.pytest_deselected(items=marked)
            items[:] = [item for item in items if item not in marked]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left out"] = session.config.stash.get(LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left out", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for mark, count in config.stash.get(LEFT_OUT, {}).items():
        terminalreporter.section(f"no {mark}", yellow=True)
        terminalreporter.line(f"{count} tests were not run: {lacking(mark)}")
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and config.option.markexpr in config.getini("addopts"):
        terminalreporter.line("Whole rounds were left out; they run by: pytest tests/e2e -m e2e (or nightly, browser)")
