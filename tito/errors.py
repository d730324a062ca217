"""What a command may end with: an exit status, or one sentence that says what was wanted, what came, and what to do."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """The exit statuses of every command; a shell script may rely on them."""

    DONE = 0
    FAILED = 1  # the work was tried and failed: a test, an export, a check
    WRONG_CALL = 2  # the work was not tried: an unknown module, a missing argument
    INTERRUPTED = 130  # Ctrl-C, as shells count it


class TitoError(Exception):
    """A person's mistake, told in one sentence. Raised anywhere below a command, shown without a traceback."""

    status = Status.FAILED


class Stopped(TitoError):
    """Ctrl-C, after everything that was started has been ended; the sentence says what is kept."""

    status = Status.INTERRUPTED


class WrongCall(TitoError):
    """The command was called with something that does not exist: exit status 2."""

    status = Status.WRONG_CALL
