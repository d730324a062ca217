"""A pytest plugin that keeps the first failure of a run."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tito.testing.protocol import Failure
from tito.testing.pytest_reporter import failure_of


class FirstFailure:
    """test: the id of the test that failed first, or was skipped; failure: its exception; ran: did any test run?"""

    def __init__(self) -> None:
        self.test, self.ran = "", False
        self.failure: Failure | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.ran |= report.when == "call"
        if (report.failed or report.skipped) and self.failure is None:
            self.test = item.nodeid
            raised = call.excinfo and failure_of(call.excinfo.value, item.path)
            self.failure = raised or Failure("Failed", "no reason")
        return report
