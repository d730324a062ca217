"""A peer that is too old, or missing where it is required, fails a test with one sentence, not with a traceback."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from .peers import MissingPeer


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    try:
        return (yield)
    except MissingPeer as error:
        sentence = str(error)
    pytest.fail(sentence, pytrace=False)
