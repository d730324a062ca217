"""How `pytest -n` shares the tests among processes, and what is left out of a run, which its last lines say."""

from __future__ import annotations

import os
from typing import Any

import pytest

WITHOUT_SANDBOX = pytest.StashKey[int]()
"""How many tests that let strangers' code loose were left out, because this machine has no sandbox for it."""


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
    """Leave out what is marked `sandbox` where there is none, unless TITO_SANDBOX=required, as in CI."""
    sandboxed = [item for item in items if item.get_closest_marker("sandbox")]
    if not sandboxed or os.environ.get("TITO_SANDBOX") == "required":
        return
    from tito.grading.sandbox import bubblewrap

    if bubblewrap.protection().kind == "none":
        config.stash[WITHOUT_SANDBOX] = len(sandboxed)
        config.hook.pytest_deselected(items=sandboxed)
        items[:] = [item for item in items if item not in sandboxed]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["without sandbox"] = session.config.stash.get(WITHOUT_SANDBOX, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[WITHOUT_SANDBOX] = getattr(node, "workeroutput", {}).get("without sandbox", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if count := config.stash.get(WITHOUT_SANDBOX, 0):
        from tito.grading.sandbox import bubblewrap

        why = bubblewrap.protection()
        terminalreporter.section("no sandbox for strangers' code", yellow=True)
        terminalreporter.line(f"{count} tests of grading were not run: {why.reason}. Fix: {why.fix}")
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and config.option.markexpr in config.getini("addopts"):
        terminalreporter.line("Whole rounds were left out; they run by: pytest tests/e2e -m e2e (or nightly, browser)")
