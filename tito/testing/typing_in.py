"""Calls that wait for somebody to type, while tests run and nobody can: each raises, and says what to do instead."""

from __future__ import annotations

import bdb
import builtins
import cmd
import pdb
import sys
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, NoReturn
from unittest import mock

import pytest

INPUT = (
    "the code calls input(), but while tests run there is nobody who could type: remove the call, and take the value "
    "from the function's arguments"
)
DEBUGGER = (
    "the code calls a debugger (breakpoint(), pdb.set_trace() or the like), but while tests run there is nobody who "
    "could type: remove the call; print() shows values here, and in a cell of its own the function stops there"
)
SENTENCES = (INPUT, DEBUGGER)


def _no_input(*_: object, **__: object) -> NoReturn:
    raise EOFError(INPUT)


def _no_debugger(*_: object, **__: object) -> NoReturn:
    raise RuntimeError(DEBUGGER)


class NobodyTypes:
    """A pytest plugin under which input() and every debugger that is built on Python's own raise in a test."""

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self) -> Generator[None]:
        debuggers: list[tuple[Any, str]] = [(sys, "breakpointhook"), (pdb, "set_trace"), (bdb.Bdb, "set_trace")]
        debuggers += [(cmd.Cmd, "cmdloop")]  # where a debugger that was begun otherwise asks for commands
        with ExitStack() as patched:
            patched.enter_context(mock.patch.object(builtins, "input", _no_input))
            for owner, name in debuggers:
                patched.enter_context(mock.patch.object(owner, name, _no_debugger))
            yield


def said_in(text: str) -> str:
    """The sentence of this file that a message holds; empty where it holds none."""
    return next((sentence for sentence in SENTENCES if sentence in text), "")
