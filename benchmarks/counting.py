"""A pytest plugin: every test that was run, and the folder in which it ran, are a line of the file $TESTS_THAT_RAN."""

import os
from pathlib import Path

import pytest

FILE = "TESTS_THAT_RAN"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        with Path(os.environ[FILE]).open("a", encoding="utf-8") as stream:
            stream.write(f"{Path.cwd()}\t{report.nodeid}\n")
